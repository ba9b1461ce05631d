//! From the head that a client sent to the head that goes up.
//!
//! [`admit`] checks what hyper does not (request target, `Host`, transfer coding, fields of HTTP/2) before a route is looked
//! for; once there is one, [`upstream_uri`] says where the request goes, which all that follows judges it by, and [`build`]
//! makes the upstream's head. Pure: no IO but reading a secret. The body is not touched, and its framing is made anew by
//! [`crate::upstream`].
//!
//! Invariant: nothing goes up that was meant for tidegate alone (hop-by-hop fields, its own key, on routes with
//! injectors every credential of the client), and what injectors put in is put in last, so nothing replaces it.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Request, Version};

use super::headers::{self, RequestId};
use super::host::Host;
use crate::auth;
use crate::bridge::{BRIDGES, Bridge};
use crate::codec::mask::Secrets;
use crate::config::{Config, Route, StreamSettings};
use crate::route;
use crate::server::client::Client;
use crate::stream::Cause;

/// A request that does not go up. The text is for the client's error body; the cause, if there is one, is for the log
/// only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    /// CONNECT would make tidegate a tunnel; TRACE would show the client what was injected (RFC 9110 9.3.8).
    #[error("this method is not implemented")]
    Method,
    /// Not exactly one valid host (RFC 9112 3.2, RFC 9113 8.3.1).
    #[error("{0}")]
    Host(&'static str),
    /// The request target is not one of this method (RFC 9112 3.2, RFC 9113 8.3.1).
    #[error("the request target is not a path")]
    Target,
    /// A transfer coding other than `chunked` (RFC 9112 6.1).
    #[error("the only transfer coding of a request is chunked")]
    TransferCoding,
    /// More fields than `max_headers`, which hyper counts in HTTP/1.1 only.
    #[error("the request has more than {0} header fields")]
    TooManyFields(usize),
    /// White space around a value, which HTTP/2 has no room for (RFC 9113 8.2.1).
    #[error("a field value begins or ends with white space")]
    FieldValue,
    /// The path is no path any more once it is rewritten.
    #[error("the path is not valid")]
    Path(#[source] http::Error),
    /// The parameter that names the bridge does not name one, or comes twice.
    #[error("the query parameter {0:?} is not one of {1}")]
    Bridge(String, String),
    /// The request was here before (RFC 9110 7.6.3).
    #[error("the request goes round in a loop")]
    Loop,
    /// The route's own credential is not to be had.
    #[error("the credential for the upstream is not available")]
    Credential(#[from] auth::Error),
}

impl Refusal {
    /// What it is called towards clients and in the log.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Refusal::Method => Cause::ClientMethodNotImplemented,
            Refusal::Host(_) => Cause::ClientBadHost,
            Refusal::TransferCoding => Cause::ClientBadTransferCoding,
            Refusal::TooManyFields(_) => Cause::ClientTooManyHeaders,
            Refusal::FieldValue => Cause::ClientBadFieldValue,
            Refusal::Target | Refusal::Path(_) => Cause::ClientBadPath,
            Refusal::Bridge(..) => Cause::ClientBadBridge,
            Refusal::Loop => Cause::ClientLoopDetected,
            Refusal::Credential(_) => Cause::TidegateCredentialUnavailable,
        }
    }

    /// Whether the connection ends with the answer (HTTP/1.1): where a head is not what it must be, what follows it
    /// need not be a request either, and behind CONNECT it would be the inside of a tunnel.
    pub(super) fn closes(&self) -> bool {
        match self {
            Refusal::Method
            | Refusal::Host(_)
            | Refusal::Target
            | Refusal::TransferCoding
            | Refusal::FieldValue
            | Refusal::Path(_) => true,
            Refusal::TooManyFields(_) | Refusal::Bridge(..) | Refusal::Loop | Refusal::Credential(_) => false,
        }
    }
}

/// What [`build`] needs to know beside the head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The configuration.
    pub(super) config: &'a Config,
    /// The route that the request takes.
    pub(super) route: &'a Route,
    /// Whether the response may be a stream that tidegate reads: then the upstream must not compress it.
    pub(super) may_stream: bool,
    /// What the route injects and the response must not show: compressed, nobody would find it there.
    pub(super) secrets: &'a Secrets,
    /// Who sent it.
    pub(super) client: &'a Client,
    /// Whether that is a trusted proxy ([`headers::is_trusted`]).
    pub(super) trusted: bool,
    /// The host that it is for ([`admit`]).
    pub(super) host: Option<&'a Host>,
    /// Its name.
    pub(super) id: &'a RequestId,
}

/// Lets a request in that hyper took for one, and says for which host it is, as the client sees it: `None` only where
/// HTTP/1.0 has none.
///
/// # Errors
/// [`Refusal::Method`], [`Refusal::Target`], [`Refusal::TooManyFields`], [`Refusal::FieldValue`],
/// [`Refusal::TransferCoding`], [`Refusal::Host`].
pub(super) fn admit(head: &Parts, max_headers: usize) -> Result<Option<Host>, Refusal> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    let path = head.uri.path();
    if !path.starts_with('/') && (path != "*" || head.method != Method::OPTIONS) {
        return Err(Refusal::Target);
    }
    if head.headers.len() > max_headers {
        return Err(Refusal::TooManyFields(max_headers));
    }
    if head.version == Version::HTTP_2 && head.headers.values().any(is_padded) {
        return Err(Refusal::FieldValue);
    }
    // Content-Length beside it is none of these: hyper has removed it, reads chunks, and closes the connection after
    // the answer, which is one of the two ways that RFC 9112 6.1 leaves.
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return Err(Refusal::TransferCoding),
    }
    Host::of(head).map_err(Refusal::Host)
}

/// Takes the parameter out of the query by which the client says how it wants to be written to (`stream.bridge_query`).
///
/// # Errors
/// [`Refusal::Bridge`].
pub(super) fn bridge(settings: &StreamSettings, uri: &mut Uri) -> Result<Option<&'static Bridge>, Refusal> {
    let Some(parameter) = &settings.bridge_query else { return Ok(None) };
    let mut named = Vec::new();
    auth::query::remove(uri, |name, value| {
        let is_it = name == parameter.as_bytes();
        if is_it {
            named.push(std::str::from_utf8(value).ok().and_then(Bridge::named));
        }
        is_it
    });
    match named[..] {
        [] => Ok(None),
        [Some(bridge)] => Ok(Some(bridge)),
        _ => {
            let names = BRIDGES.iter().map(|bridge| bridge.name).collect::<Vec<_>>().join(", ");
            Err(Refusal::Bridge(parameter.clone(), names))
        }
    }
}

/// Makes the head that goes up, of one whose URI is that of [`upstream_uri`]: no hop-by-hop or framing fields, `Host` set,
/// credentials as the route has it. HTTP version and framing are left to [`crate::upstream`].
///
/// # Errors
/// [`Refusal::Loop`], [`Refusal::Credential`].
pub(super) fn build(context: Context<'_>, mut head: Parts) -> Result<Parts, Refusal> {
    let Context { config, route, .. } = context;
    if headers::is_loop(&head.headers) {
        return Err(Refusal::Loop);
    }
    if route.strip_client_credentials {
        auth::client::strip(&mut head);
    }
    let version = head.version;
    let mut fields = head.headers;
    fields.reserve(ADDED_FIELDS);
    headers::clean_request(&mut fields, context.trusted);
    headers::forward(&mut fields, context.client, context.host, context.trusted);
    headers::add_via_to_request(&mut fields, version);
    fields.insert(headers::X_REQUEST_ID, context.id.value().clone());
    join_cookies(&mut fields);
    if context.may_stream || !context.secrets.is_empty() {
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let own = || authority_value(&config.upstreams[route.upstream].authority);
    let client_host = context.host.filter(|_| route.preserve_host);
    fields.insert(header::HOST, client_host.map_or_else(own, |host| host.value().clone()));

    // A new head, so that no extension of the client's connection (a pending upgrade) goes along.
    let (mut upstream, ()) = Request::new(()).into_parts();
    upstream.method = head.method;
    upstream.uri = head.uri;
    upstream.headers = fields;
    for injector in &route.injectors {
        injector.inject(&mut upstream)?;
    }
    headers::remove_lookalikes(&mut upstream.headers);
    Ok(upstream)
}

/// Whether that is `application/json`, or a media type with the suffix `+json` (RFC 6839 3.1).
pub(super) fn is_json(essence: &str) -> bool {
    let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
    essence.eq_ignore_ascii_case("application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

/// Where a request for this URI goes on this route: origin form, the path rewritten.
///
/// # Errors
/// [`Refusal::Path`].
pub(super) fn upstream_uri(config: &Config, route: &Route, uri: &Uri) -> Result<Uri, Refusal> {
    let origin = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    // What was compared with the routes is also what goes up.
    let origin = match (route::normal(origin.path()), origin.query()) {
        (std::borrow::Cow::Borrowed(_), _) => origin,
        (path, None) => PathAndQuery::try_from(path.as_ref()).map_err(invalid_path)?,
        (path, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")).map_err(invalid_path)?,
    };
    config.upstream_path(route, &origin).map(Uri::from).map_err(invalid_path)
}

fn invalid_path(error: http::uri::InvalidUri) -> Refusal {
    Refusal::Path(error.into())
}

fn authority_value(authority: &Authority) -> HeaderValue {
    // Every character of an authority is one of a field value.
    HeaderValue::try_from(authority.as_str()).unwrap_or(HeaderValue::from_static(""))
}

/// HTTP/2 may cut `Cookie` into several fields; other versions know only one (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::try_from(cookies.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn is_padded(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

/// How many fields a request gets, about: room is made once.
const ADDED_FIELDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixture::{head, secret};
    use crate::auth::{bearer::Bearer, query::Query};
    use crate::config::{PathMatch, Rewrite};
    use crate::proxy::plan::Ask;
    use crate::route::fixture;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn plain_route() -> Route {
        fixture::route(PathMatch::Prefix(String::new()))
    }

    fn built(route: Route, mut head: Parts) -> Result<Parts, Refusal> {
        let config = fixture::config(vec![route]);
        let client = Client::new(Some("198.51.100.7:999".parse().unwrap()), None, false);
        let id = RequestId::of(&HeaderMap::new(), false);
        let host = admit(&head, 100)?;
        let (route, stream) = (&config.routes[0], config.routes[0].stream(0));
        let ask = Ask::new(stream, &head.method, head.uri.path(), &head.headers);
        let context = Context {
            config: &config,
            route,
            may_stream: ask.may_stream(stream, &head.method),
            secrets: &Secrets::new(route.injectors.iter().flat_map(|injector| injector.secrets()).collect()),
            client: &client,
            trusted: false,
            host: host.as_ref(),
            id: &id,
        };
        head.uri = upstream_uri(&config, route, &head.uri)?;
        build(context, head)
    }

    #[test]
    fn target_that_is_no_path_is_refused() {
        let of = |method: Method, uri: &str| {
            let mut head = head(uri, &[("host", "a")]);
            head.method = method;
            admit(&head, 100).map(drop).map_err(|refusal| refusal.cause())
        };
        for uri in ["a", "a:80", "*"] {
            assert_eq!(of(Method::GET, uri), Err(Cause::ClientBadPath), "{uri}");
        }
        assert_eq!(of(Method::OPTIONS, "*"), Ok(()));
        assert_eq!(of(Method::GET, "http://a"), Ok(()));
    }

    #[test]
    fn http_2_has_as_many_fields_as_http_1_and_none_with_space_around() {
        let of = |version, fields: Fields<'_>| {
            let mut head = head("http://a/", fields);
            head.version = version;
            admit(&head, 2).map(drop).map_err(|refusal| refusal.cause())
        };
        for value in [" x", "x\t", " "] {
            assert_eq!(of(Version::HTTP_2, &[("x", value)]), Err(Cause::ClientBadFieldValue), "{value:?}");
        }
        assert_eq!(of(Version::HTTP_2, &[("x", ""), ("x", "a b")]), Ok(()));
        assert_eq!(of(Version::HTTP_2, &[("x", ""), ("x", ""), ("y", "")]), Err(Cause::ClientTooManyHeaders));
    }

    #[test]
    fn connect_trace_and_unknown_codings_are_not_implemented() {
        for method in [Method::CONNECT, Method::TRACE] {
            let mut head = head("/", &[("host", "a")]);
            head.method = method;
            assert_eq!(admit(&head, 100).unwrap_err().cause(), Cause::ClientMethodNotImplemented);
        }
        for codings in [&["gzip, chunked"][..], &["chunked", "chunked"], &["chunked, chunked"], &["identity"]]
        {
            let mut fields = vec![("host", "a")];
            fields.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            assert!(matches!(admit(&head("/", &fields), 100), Err(Refusal::TransferCoding)), "{codings:?}");
        }
        assert!(admit(&head("/", &[("host", "a"), ("transfer-encoding", "Chunked")]), 100).is_ok());
    }

    #[test]
    fn head_that_goes_up_has_what_is_for_the_upstream_only() {
        let mut head = head(
            "http://client.example/v1/chat?a=%20&b",
            &[
                ("host", "client.example"),
                ("connection", "keep-alive, x-hop"),
                ("x-hop", "1"),
                ("expect", "100-continue"),
                ("content-length", "5"),
                ("upgrade", "websocket"),
                ("x-accel-expires", "0"),
                ("x-request-id", "forged"),
                ("accept-encoding", "gzip"),
                ("authorization", "Bearer client"),
                ("x-own", "kept"),
                ("x-own", "twice"),
            ],
        );
        head.extensions.insert("of the client");
        let head = built(plain_route(), head).unwrap();
        assert_eq!(head.uri, "/v1/chat?a=%20&b");
        assert!(head.uri.authority().is_none());
        assert!(head.extensions.is_empty());
        assert_eq!(head.headers["host"], "up.example");
        assert_eq!(head.headers["accept-encoding"], "gzip");
        assert_eq!(head.headers["authorization"], "Bearer client");
        assert_eq!(head.headers["x-forwarded-for"], "198.51.100.7");
        assert_eq!(head.headers["x-forwarded-host"], "client.example");
        assert_eq!(head.headers["x-request-id"].len(), 32);
        assert_eq!(head.headers.get_all("x-own").iter().count(), 2);
        let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "authorization",
                "forwarded",
                "host",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-own",
                "x-request-id",
            ]
        );
    }

    #[test]
    fn path_goes_up_rewritten_in_its_normal_form() {
        let mut route = fixture::route(PathMatch::Prefix("/v1".to_owned()));
        route.rewrite = Rewrite::StripPrefix("/v1".to_owned());
        let head = built(route, head("/%761/%7Ea%2Fb?%61", &[("host", "a")])).unwrap();
        assert_eq!(head.uri, "/~a%2Fb?%61");
    }

    #[test]
    fn host_of_the_client_goes_up_where_the_route_preserves_it() {
        let mut route = plain_route();
        route.preserve_host = true;
        let new = built(route, head("/", &[("host", "client.example:81")])).unwrap();
        assert_eq!(new.headers["host"], "client.example:81");
        let mut route = plain_route();
        route.preserve_host = true;
        let mut old = head("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(built(route, old).unwrap().headers["host"], "up.example");
    }

    #[test]
    fn request_that_was_here_before_is_refused() {
        let once = built(plain_route(), head("/", &[("host", "a")])).unwrap();
        let error = built(plain_route(), once).unwrap_err();
        assert_eq!(error.cause(), Cause::ClientLoopDetected);
    }

    #[test]
    fn credentials_of_the_client_are_replaced_where_the_route_injects() {
        let mut route = plain_route();
        route.strip_client_credentials = true;
        route.injectors = vec![
            Box::new(Bearer::new(secret("up-bearer"))),
            Box::new(Query::new("key".to_owned(), secret("up-key"))),
        ];
        let fields = [
            ("host", "a"),
            ("authorization", "Bearer c"),
            ("cookie", "a=b"),
            ("x-api-key", "c"),
            ("accept-encoding", "gzip"),
        ];
        let head = built(route, head("/p?key=c&alt=sse", &fields)).unwrap();
        assert_eq!(head.uri, "/p?alt=sse&key=up-key");
        assert_eq!(head.headers["authorization"], "Bearer up-bearer");
        assert_eq!(head.headers["accept-encoding"], "identity");
        assert!(!head.headers.contains_key("cookie") && !head.headers.contains_key("x-api-key"));
    }

    #[test]
    fn missing_credential_is_the_fault_of_the_proxy_and_names_nothing_to_the_client() {
        let mut route = plain_route();
        route.injectors = vec![Box::new(Bearer::new(crate::auth::fixture::unreadable()))];
        let error = built(route, head("/", &[("host", "a")])).unwrap_err();
        assert_eq!(error.cause(), Cause::TidegateCredentialUnavailable);
        assert!(!error.to_string().contains("TIDEGATE_TEST"));
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("TIDEGATE_TEST"));
    }

    #[test]
    fn cookies_that_http_2_cut_are_joined() {
        let head =
            built(plain_route(), head("/", &[("host", "a"), ("cookie", "a=b"), ("cookie", "c=d")])).unwrap();
        let cookies: Vec<_> = head.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=b; c=d"]);
    }
}
