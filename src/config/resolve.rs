//! From what was typed to what it means: [`File`] to [`Config`].
//!
//! Everything that needs more than one key, or the world outside the document, is checked here: names of
//! upstreams, routes that contradict each other, files, secrets, addresses. Mistakes are collected, not
//! returned at the first; a part that could not be resolved is `None`, and a [`Config`] comes out only if
//! there is none of these. Form and range of single values are checked before, by [`super::check`].

mod profiles;
mod route;
mod shapes;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use toml::Spanned;
use tracing::level_filters::LevelFilter;

use super::file::{self, File};
use super::forms::{self, Address};
use super::mistake::{Collector, Mistakes, Source};
use super::units::CountOrAuto;
use super::{
    ClientTls, Config, Endpoint, HttpVersion, Limits, ListenAddress, Listener, ServerTimeouts, ServerTls,
    Upstream, tls,
};

/// Reads and resolves a configuration: as typed (with defaults), and what it means.
///
/// Files are opened, secrets read and host names of listeners resolved; this blocks.
///
/// # Errors
/// Every mistake that was found.
pub fn read(source: &Source) -> Result<(File, Config), Mistakes> {
    let mut found = Collector::new(source);
    let mut file = File::read(source, &mut found)?;
    let config = resolve(&file, &mut found);
    if let Some(shown) = config.as_ref().and_then(|config| profiles::shown(&file, &config.routes)) {
        file.profile = shown;
    }
    found.finish()?;
    match config {
        Some(config) => Ok((file, config)),
        None => Err(Mistakes::one(source.place(&(0..0)), "cannot be resolved")),
    }
}

fn resolve(file: &File, found: &mut Collector<'_>) -> Option<Config> {
    let listeners = listeners(&file.listener, found);
    let upstreams: Vec<_> =
        file.upstream.iter().map(|(name, upstream)| self::upstream(name, upstream, found)).collect();
    let routes = route::routes(file, listeners.iter().flatten(), found);
    let networks = file.server.trusted_proxies.iter().map(|network| forms::network(network).ok());
    let metrics = metrics(&file.metrics.address, found);
    Some(Config {
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        routes: routes?,
        workers: match file.server.workers {
            CountOrAuto::Count(count) => count,
            CountOrAuto::Auto(_) => std::thread::available_parallelism().map_or(1, usize::from),
        },
        takeover: file.server.takeover == file::Takeover::On,
        trusted_proxies: networks.collect::<Option<_>>()?,
        timeouts: ServerTimeouts {
            tls_handshake: file.timeouts.tls_handshake.0,
            request_head: file.timeouts.request_head.0,
            client_write_stall: file.timeouts.client_write_stall.0,
            drain: file.timeouts.drain.0,
        },
        limits: Limits {
            max_head_bytes: file.limits.max_head_bytes.bytes(),
            max_headers: file.limits.max_headers,
            max_connections: file.limits.max_connections,
            max_connections_per_client: file.limits.max_connections_per_client,
            min_body_rate: file.limits.min_body_rate.0,
            max_carry_total: file.limits.max_carry_total.bytes(),
        },
        metrics: metrics?,
        log_format: file.log.format,
        log_level: file.log.level.parse::<LevelFilter>().ok()?,
    })
}

/// The listeners; one that is there twice is a mistake.
fn listeners(typed: &[file::Listener], found: &mut Collector<'_>) -> Vec<Option<Listener>> {
    let mut seen: Vec<&Spanned<String>> = Vec::new();
    let mut listeners = Vec::new();
    for listener in typed {
        let address = &listener.address;
        let twice = seen.iter().find(|other| other.get_ref() == address.get_ref());
        if let Some(first) = twice.filter(|first| !first.get_ref().ends_with(":0")) {
            let first = found.source().place(&first.span());
            found.add(address.span(), "listener.address", format_args!("is already listened on ({first})"));
        }
        seen.push(address);
        let (address, tls) =
            (listen_address(address, found), listener.tls.as_ref().map(|tls| server_tls(tls, found)));
        listeners.push(match (address, tls) {
            (Some(address), None) => Some(Listener { address, tls: None }),
            (Some(address), Some(Some(tls))) => Some(Listener { address, tls: Some(tls) }),
            _ => None,
        });
    }
    listeners
}

fn listen_address(typed: &Spanned<String>, found: &mut Collector<'_>) -> Option<ListenAddress> {
    match forms::address(typed.get_ref()).ok()? {
        Address::Unix(path) => Some(ListenAddress::Unix(path)),
        Address::Tcp { host, port } => {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let addresses = addresses.map_err(|error| format!("cannot resolve {host:?}: {error}"));
            found.ok(typed.span(), "listener.address", addresses).map(ListenAddress::Tcp)
        }
    }
}

/// The first address of the name: a monitoring system asks one.
fn metrics(typed: &Spanned<String>, found: &mut Collector<'_>) -> Option<Option<SocketAddr>> {
    let Some((host, port)) = forms::metrics(typed.get_ref()).ok()? else { return Some(None) };
    let address = (host.as_str(), port).to_socket_addrs().map(|mut addresses| addresses.next());
    let address = match address {
        Ok(Some(address)) => Ok(Some(address)),
        Ok(None) => Err(format!("{host:?} has no address")),
        Err(error) => Err(format!("cannot resolve {host:?}: {error}")),
    };
    found.ok(typed.span(), "metrics.address", address)
}

fn server_tls(typed: &file::Tls, found: &mut Collector<'_>) -> Option<ServerTls> {
    let (cert, key) = (PathBuf::from(typed.cert.get_ref()), PathBuf::from(typed.key.get_ref()));
    let chain = found.ok(typed.cert.span(), "listener.tls.cert", tls::chain(&cert));
    let private = found.ok(typed.key.span(), "listener.tls.key", tls::key(&key));
    let config = tls::server(chain?, private?)
        .map_err(|error| format!("{} does not fit {}: {error}", key.display(), cert.display()));
    let config = found.ok(typed.key.span(), "listener.tls.key", config)?;
    Some(ServerTls { cert, key, config })
}

fn upstream(name: &str, typed: &file::Upstream, found: &mut Collector<'_>) -> Option<Upstream> {
    let url = forms::url(typed.url.get_ref()).ok()?;
    let http = match typed.http {
        file::HttpVersion::Auto => HttpVersion::Auto,
        file::HttpVersion::Http1 => HttpVersion::Http1,
        file::HttpVersion::Http2 => HttpVersion::Http2,
    };
    if let (Some(ca), false) = (&typed.ca, url.https) {
        let key = format!("upstream.{name}.ca");
        found.add(
            ca.span(),
            &key,
            "is for https, and the url is not (write url = \"https://…\", or remove ca)",
        );
    }
    let tls = match &url.endpoint {
        Endpoint::Tcp { host, .. } if url.https => Some(client_tls(name, typed, host, http, found)?),
        _ => None,
    };
    Some(Upstream {
        name: name.to_owned(),
        endpoint: url.endpoint,
        tls,
        authority: url.authority,
        base_path: url.base_path,
        http,
        connect_timeout: typed.connect_timeout.0,
        tls_handshake_timeout: typed.tls_handshake_timeout.0,
        idle_timeout: typed.idle_timeout.0,
        max_idle: typed.max_idle,
    })
}

fn client_tls(
    name: &str,
    typed: &file::Upstream,
    host: &str,
    http: HttpVersion,
    found: &mut Collector<'_>,
) -> Option<ClientTls> {
    let (span, key) = match &typed.ca {
        Some(ca) => (ca.span(), format!("upstream.{name}.ca")),
        None => (typed.url.span(), format!("upstream.{name}.url")),
    };
    let roots = match &typed.ca {
        Some(ca) => tls::roots(ca.get_ref().as_ref()),
        None => tls::system_roots(),
    };
    let server =
        ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name for a certificate"));
    let server = found.ok(typed.url.span(), &format!("upstream.{name}.url"), server);
    let config = tls::client(found.ok(span.clone(), &key, roots)?, http);
    Some(ClientTls { name: server?, config: found.ok::<Arc<_>>(span, &key, config)? })
}
