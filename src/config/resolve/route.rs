//! The routes: who they match, what they inject, who may use them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use toml::Spanned;

use super::profiles::{check_names, profiles};
use crate::auth::Injector;
use crate::auth::basic::Basic;
use crate::auth::bearer::Bearer;
use crate::auth::header::{Header, HeaderContent};
use crate::auth::query::Query;
use crate::config::file::{self, ClientCredentials, File, HostHeader, Inject};
use crate::config::forms::{self, Content};
use crate::config::mistake::{Collector, suggestion};
use crate::config::switches::Layers;
use crate::config::{ClientAuth, ListenAddress, Listener, PathMatch, Rewrite, Route, RouteTimeouts, Secret};
use crate::profile::Signs;

/// The routes in the order of `file`; `None` if any of them has a mistake.
pub(super) fn routes<'l>(
    file: &File,
    listeners: impl Iterator<Item = &'l Listener>,
    found: &mut Collector<'_>,
) -> Option<Vec<Route>> {
    let exposed = listeners.map(|listener| &listener.address).find(|address| !is_loopback(address));
    let upstreams: Vec<&str> = file.upstream.keys().map(String::as_str).collect();
    let layers = Layers::new(&file.profile)?;
    check_names(file, &layers, found);
    let signs = layers.own().signs(found);
    let mut routes = Vec::new();
    for typed in &file.route {
        if let Some(address) = exposed {
            refuse_open_relay(typed.get_ref(), address, found);
        }
        routes.push(route(typed.get_ref(), &upstreams, (&layers, &signs), found));
    }
    refuse_same_conditions(file, &routes, found);
    routes.into_iter().collect()
}

fn route(
    typed: &file::Route,
    upstreams: &[&str],
    (layers, signs): (&Layers<'_>, &Arc<[Signs]>),
    found: &mut Collector<'_>,
) -> Option<Route> {
    let path = forms::path(typed.path.get_ref()).ok()?;
    let rewrite = rewrite(typed, &path, found);
    let injectors: Vec<_> = typed.inject.iter().map(|inject| injector(inject, found)).collect();
    let client_auth = client_auth(typed, found);
    let profiles = profiles(&typed.stream, layers, signs);
    let upstream = upstreams.iter().position(|name| name == typed.upstream.get_ref());
    if upstream.is_none() && !upstreams.is_empty() {
        let name = typed.upstream.get_ref();
        let what = format!("no upstream is called {name:?}{}", suggestion(name, upstreams));
        found.add(typed.upstream.span(), "route.upstream", what);
    }
    Some(Route {
        name: typed.name.clone().unwrap_or_default(),
        host: typed.host.as_ref().map(|host| forms::host(host)).transpose().ok()?,
        path,
        methods: methods(typed).ok()?,
        upstream: upstream?,
        rewrite: rewrite?,
        preserve_host: typed.host_header == HostHeader::Preserve,
        injectors: injectors.into_iter().collect::<Option<_>>()?,
        client_auth: client_auth?,
        strip_client_credentials: typed.client_credentials == Some(ClientCredentials::Strip),
        profiles: profiles?,
        timeouts: RouteTimeouts {
            response_head: typed.timeouts.response_head.0,
            first_event: typed.timeouts.first_event.0,
            first_content: typed.timeouts.first_content.0,
            event_gap: typed.timeouts.event_gap.0,
            request_body_idle: typed.timeouts.request_body_idle.0,
            total: typed.timeouts.total.0,
            tunnel_idle: typed.timeouts.tunnel_idle.0,
            tunnel_total: typed.timeouts.tunnel_total.0,
        },
        max_request_body: typed.max_request_body.0,
    })
}

fn methods(typed: &file::Route) -> Result<Vec<Method>, String> {
    typed.methods.get_ref().iter().map(|method| forms::method(method)).collect()
}

fn rewrite(typed: &file::Route, path: &PathMatch, found: &mut Collector<'_>) -> Option<Rewrite> {
    let strip = *typed.strip_prefix.get_ref();
    let Some(rewrite) = &typed.rewrite else {
        return match path {
            _ if !strip => Some(Rewrite::None),
            PathMatch::Prefix(prefix) => Some(Rewrite::StripPrefix(prefix.clone())),
            PathMatch::Exact(_) => {
                let what =
                    "an exact path has no prefix to strip (write rewrite = { from = \"…\", to = \"…\" })";
                found.add(typed.strip_prefix.span(), "route.strip_prefix", what);
                None
            }
        };
    };
    if strip {
        let what = "stands beside strip_prefix, and only one of them can be (remove strip_prefix)";
        found.add(rewrite.span(), "route.rewrite", what);
    }
    let (from, to) =
        (forms::prefix(&rewrite.get_ref().from).ok()?, forms::prefix(&rewrite.get_ref().to).ok()?);
    let matched = match path {
        PathMatch::Prefix(path) | PathMatch::Exact(path) => path,
    };
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let reachable =
        begins(matched, &from) || (matches!(path, PathMatch::Prefix(_)) && begins(&from, matched));
    if !reachable {
        let what =
            format!("no path of this route begins with {from:?} (its path is {:?})", typed.path.get_ref());
        found.add(rewrite.span(), "route.rewrite.from", what);
    }
    Some(Rewrite::Replace(from, to))
}

/// One entry of `inject`.
fn injector(typed: &Spanned<Inject>, found: &mut Collector<'_>) -> Option<Box<dyn Injector>> {
    let inject = typed.get_ref();
    let kinds =
        [inject.bearer.is_some(), inject.header.is_some(), inject.query.is_some(), inject.basic.is_some()];
    let takes_value = inject.header.is_some() || inject.query.is_some();
    if kinds.iter().filter(|there| **there).count() != 1 {
        let what = "is one of { bearer = \"…\" }, { header = \"…\", value = \"…\" }, { query = \"…\", value = \"…\" }, \
                    { basic = { user = \"…\", password = \"…\" } }";
        found.add(typed.span(), "route.inject", what);
        return None;
    }
    match &inject.value {
        None if takes_value => {
            found.add(typed.span(), "route.inject.value", "is missing (write value = \"env:NAME\")");
            return None;
        }
        Some(value) if !takes_value => {
            found.add(value.span(), "route.inject.value", "is for header and query (remove it)");
            return None;
        }
        _ => {}
    }
    if let Some(bearer) = &inject.bearer {
        return Some(Box::new(Bearer::new(revealed(bearer, "route.inject.bearer", found)?)));
    }
    if let Some(basic) = &inject.basic {
        let password = revealed(&basic.password, "route.inject.basic.password", found)?;
        return Some(Box::new(Basic::new(basic.user.clone(), password)));
    }
    let value = inject.value.as_ref()?;
    if let Some(query) = &inject.query {
        let Content::Secret(secret) = value.get_ref() else {
            found.add(value.span(), "route.inject.value", NOT_LITERAL);
            return None;
        };
        let secret = Spanned::new(value.span(), secret.clone());
        return Some(Box::new(Query::new(
            query.get_ref().clone(),
            revealed(&secret, "route.inject.value", found)?,
        )));
    }
    let name = forms::header_name(inject.header.as_ref()?.get_ref()).ok()?;
    let content = header_content(&name, value, found)?;
    Some(Box::new(Header::new(name, content)))
}

fn header_content(
    name: &HeaderName,
    value: &Spanned<Content>,
    found: &mut Collector<'_>,
) -> Option<HeaderContent> {
    match value.get_ref() {
        Content::Secret(secret) => {
            let secret = Spanned::new(value.span(), secret.clone());
            revealed(&secret, "route.inject.value", found).map(HeaderContent::Secret)
        }
        Content::Literal(_) if CREDENTIAL_HEADERS.contains(&name.as_str()) => {
            found.add(value.span(), "route.inject.value", NOT_LITERAL);
            None
        }
        Content::Literal(text) => HeaderValue::from_str(text).ok().map(HeaderContent::Literal),
    }
}

/// The secret, if it can be read now.
fn revealed(typed: &Spanned<Secret>, key: &str, found: &mut Collector<'_>) -> Option<Secret> {
    found.ok(typed.span(), key, typed.get_ref().reveal())?;
    Some(typed.get_ref().clone())
}

fn client_auth(typed: &file::Route, found: &mut Collector<'_>) -> Option<ClientAuth> {
    match (&typed.client_key, &typed.auth) {
        (Some(_), Some(auth)) => {
            let what = "\"none\" stands beside client_key, and only one of them can be true (remove one)";
            found.add(auth.span(), "route.auth", what);
            None
        }
        (Some(key), None) => revealed(key, "route.client_key", found).map(ClientAuth::Key),
        (None, _) => Some(ClientAuth::None),
    }
}

/// Nobody gets an injected secret for the asking: a route that has one, and no word about who may use it, must
/// not be reachable from other machines.
fn refuse_open_relay(typed: &file::Route, address: &ListenAddress, found: &mut Collector<'_>) {
    let secret = typed.inject.iter().find(|inject| {
        let inject = inject.get_ref();
        let value = inject.value.as_ref().map(Spanned::get_ref);
        inject.bearer.is_some() || inject.basic.is_some() || matches!(value, Some(Content::Secret(_)))
    });
    let Some(secret) = secret.filter(|_| typed.client_key.is_none() && typed.auth.is_none()) else { return };
    let address = match address {
        ListenAddress::Tcp(addresses) => addresses.first().map(ToString::to_string).unwrap_or_default(),
        ListenAddress::Unix(path) => path.display().to_string(),
    };
    let remedy = match found.source().is_flags() {
        true => "add --client-key env:NAME, or --no-client-auth if that is meant",
        false => "write client_key = \"env:NAME\" in this route, or auth = \"none\" if that is meant",
    };
    let what = format!("everybody who reaches {address} could use this secret ({remedy})");
    found.add(secret.span(), "route.inject", what);
}

/// Two routes between which only their order would decide.
fn refuse_same_conditions(file: &File, routes: &[Option<Route>], found: &mut Collector<'_>) {
    for (index, (typed, route)) in file.route.iter().zip(routes).enumerate() {
        let Some(route) = route else { continue };
        let earlier = routes[..index].iter().zip(&file.route).find(|(other, _)| {
            other.as_ref().is_some_and(|other| {
                let methods = match (other.methods.is_empty(), route.methods.is_empty()) {
                    (true, true) => true,
                    (false, false) => other.methods.iter().any(|method| route.methods.contains(method)),
                    _ => false,
                };
                methods && other.host == route.host && other.path == route.path
            })
        });
        if let Some((_, earlier)) = earlier {
            let earlier = found.source().place(&earlier.get_ref().path.span());
            let what =
                format!("matches the same requests as {earlier} (change host, path or methods of one)");
            found.add(typed.get_ref().path.span(), "route.path", what);
        }
    }
}

fn is_loopback(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Tcp(addresses) => {
            addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
        }
        ListenAddress::Unix(_) => true,
    }
}

/// Headers that carry credentials by their definition or by common use.
const CREDENTIAL_HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];

/// What is said to a secret that is written out.
const NOT_LITERAL: &str = "is a secret, which is named here, not written (write \"env:NAME\", \"file:PATH\" or \
                           \"cred:NAME\"; \"inline:VALUE\" if it really must stand in this place)";
