//! Which route a request takes: pure, over (host, method, path).
//!
//! Routing is security: what a route lets through, and with whose credentials, hangs on its path. So paths that two
//! servers could read differently are refused ([`NoRoute::BadPath`]) before any route is looked at, and a path is
//! compared in [its normal form](normal), which is also what goes up. Invariant: no path that is routed can leave
//! its prefix by a dot segment, plain or encoded. Called by [`crate::proxy::handle`]; the order of the routes is made
//! by [`crate::config`].

use std::borrow::Cow;

use http::Method;

use crate::config::{Config, PathMatch, Route};

/// Why a request takes no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No route has this host and path: 404.
    #[error("no route leads there")]
    NotFound,
    /// Routes have this host and path, but not this method: 405.
    #[error("this path does not take this method")]
    MethodNotAllowed(
        /// The methods that are allowed there, for `Allow` (RFC 9110 10.2.1).
        Vec<Method>,
    ),
    /// A path that could mean something else further on: 400.
    #[error("the path has dot segments, backslashes, control characters or a stray %")]
    BadPath,
}

/// Finds the route of a request, as an index into [`Config::routes`]: the first in the order of the config whose host, path and method all match.
///
/// `host` is the client's, with or without a port. A route for GET takes HEAD too (RFC 9110 9.3.2).
///
/// # Errors
/// See [`NoRoute`].
pub fn find(config: &Config, host: Option<&str>, method: &Method, path: &str) -> Result<usize, NoRoute> {
    if !is_unambiguous(path) {
        return Err(NoRoute::BadPath);
    }
    let path = normal(path);
    let host = host.map(host_name);
    let mut allowed = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        if !host_matches(route, host) || !path_matches(&route.path, &path) {
            continue;
        }
        if method_matches(route, method) {
            return Ok(index);
        }
        for other in &route.methods {
            allow(&mut allowed, other);
            if *other == Method::GET {
                allow(&mut allowed, &Method::HEAD);
            }
        }
    }
    Err(if allowed.is_empty() { NoRoute::NotFound } else { NoRoute::MethodNotAllowed(allowed) })
}

/// The path with every needlessly encoded character decoded: `%61` is `a` (RFC 3986 6.2.2.2), `%2F` stays.
///
/// Both forms name the same resource; a server behind tidegate will decode it anyway. Without this, `/%61dmin`
/// would be routed past a route for `/admin` to a server that reads `/admin`.
pub fn normal(path: &str) -> Cow<'_, str> {
    // Most paths have nothing to decode.
    if memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    let mut normal = String::new();
    let mut copied = 0;
    for (at, _) in path.match_indices('%') {
        if let Some(byte) = encoded_byte(&path.as_bytes()[at..]).filter(|byte| is_unreserved(*byte)) {
            normal.push_str(&path[copied..at]);
            normal.push(char::from(byte));
            copied = at + ENCODED_LEN;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(path);
    }
    normal.push_str(&path[copied..]);
    Cow::Owned(normal)
}

fn host_matches(route: &Route, host: Option<&str>) -> bool {
    match &route.host {
        None => true,
        Some(expected) => host.is_some_and(|host| host.eq_ignore_ascii_case(host_name(expected))),
    }
}

/// A host without port, and without the dot that may end a fully qualified name.
fn host_name(host: &str) -> &str {
    // The colons of an IPv6 literal are inside its brackets (RFC 3986 3.2.2).
    let name = match memchr::memrchr(b':', host.as_bytes()) {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a path in its [normal form](normal) meets the condition.
pub(crate) fn path_matches(condition: &PathMatch, path: &str) -> bool {
    match condition {
        PathMatch::Exact(expected) => path == expected,
        PathMatch::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
            // The root alone matches neither the `*` of OPTIONS nor the empty path of CONNECT.
            rest.starts_with('/') || (rest.is_empty() && !prefix.is_empty())
        }),
    }
}

fn method_matches(route: &Route, method: &Method) -> bool {
    route.methods.is_empty()
        || route.methods.contains(method)
        || (*method == Method::HEAD && route.methods.contains(&Method::GET))
}

fn allow(allowed: &mut Vec<Method>, method: &Method) {
    if !allowed.contains(method) {
        allowed.push(method.clone());
    }
}

/// Whether every server will read the same path.
fn is_unambiguous(path: &str) -> bool {
    is_plain(path.as_bytes()) || has_no_dot_segment(path)
}

/// Whether a path has nothing that could mean something else: no escape, and no segment that begins with a dot. True for
/// most, and quicker to tell than that the others are harmless.
fn is_plain(path: &[u8]) -> bool {
    let is_odd = |byte: u8| byte.is_ascii_control() || matches!(byte, b'%' | b'\\');
    let has_dot = path.windows(2).fold(path.first() == Some(&b'.'), |has, pair| has | (pair == b"/."));
    // Every byte is looked at, which is quicker than to stop at the first.
    !path.iter().fold(has_dot, |odd, byte| odd | is_odd(*byte))
}

fn has_no_dot_segment(path: &str) -> bool {
    let mut rest = path.as_bytes();
    let mut dots = Dots::Begin;
    while let Some(first) = rest.first() {
        let (byte, len) = match (first, encoded_byte(rest)) {
            (b'%', None) | (b'\\', _) => return false,
            (_, Some(byte)) => (byte, ENCODED_LEN),
            _ => (*first, 1),
        };
        // Some servers decode before they split at slashes, take backslashes for slashes, or cut what follows a
        // semicolon: then `..%2f`, `..%5c` and `..;a/` lead up as `../` does.
        let ends = matches!(byte, b'/' | b'\\' | b';');
        if byte.is_ascii_control() || (ends && dots.is_segment()) {
            return false;
        }
        dots = match (byte, dots) {
            (b'/' | b'\\', _) => Dots::Begin,
            (b'.', Dots::Begin) => Dots::One,
            (b'.', Dots::One) => Dots::Two,
            _ => Dots::Other,
        };
        rest = &rest[len..];
    }
    !dots.is_segment()
}

/// What a segment has been so far.
#[derive(Clone, Copy)]
enum Dots {
    Begin,
    One,
    Two,
    Other,
}

impl Dots {
    /// Whether that is `.` or `..` (RFC 3986 3.3).
    fn is_segment(self) -> bool {
        matches!(self, Dots::One | Dots::Two)
    }
}

/// The byte that `text` begins with in percent-encoding (RFC 3986 2.1).
fn encoded_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `%XX`.
const ENCODED_LEN: usize = 3;

#[cfg(test)]
pub(crate) mod fixture {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::config::{
        ClientAuth, Config, Endpoint, FormatSetting, HttpVersion, Limits, LogFormat, PathMatch, Profile,
        Profiles, Rewrite, Route, RouteTimeouts, ServerTimeouts, StreamSettings, Upstream,
    };

    pub(crate) fn config(routes: Vec<Route>) -> Config {
        let second = Duration::from_secs(1);
        Config {
            listeners: Vec::new(),
            upstreams: vec![Upstream {
                name: "up".to_owned(),
                endpoint: Endpoint::Tcp { host: "up.example".to_owned(), port: 80 },
                tls: None,
                authority: "up.example".parse().unwrap(),
                base_path: String::new(),
                http: HttpVersion::Auto,
                connect_timeout: second,
                tls_handshake_timeout: second,
                idle_timeout: second,
                max_idle: 1,
            }],
            routes,
            workers: 1,
            takeover: true,
            trusted_proxies: vec!["192.0.2.0/24".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
            timeouts: ServerTimeouts {
                tls_handshake: second,
                request_head: second,
                client_write_stall: second,
                drain: second,
            },
            limits: Limits {
                max_head_bytes: 1,
                max_headers: 1,
                max_connections: 1,
                max_connections_per_client: 1,
                min_body_rate: 0,
                max_carry_total: 1,
            },
            metrics: None,
            log_format: LogFormat::Logfmt,
            log_level: tracing::level_filters::LevelFilter::INFO,
        }
    }

    pub(crate) fn stream() -> StreamSettings {
        StreamSettings {
            format: FormatSetting::Auto,
            dialect: None,
            intent: None,
            hold: None,
            early_head: None,
            heartbeat: None,
            heartbeat_form: crate::stream::HeartbeatForm::Comment,
            errors: crate::config::Errors::Status,
            transcode: true,
            repair: crate::config::RepairSetting { auto: true, named: crate::codec::repair::Repairs::NONE },
            max_event_bytes: 1,
            literal_space: false,
            shapes: None,
            bridge: None,
            bridge_query: None,
            fake_stream: false,
        }
    }

    pub(crate) fn route(path: PathMatch) -> Route {
        Route {
            name: format!("{path:?}"),
            host: None,
            path,
            methods: Vec::new(),
            upstream: 0,
            rewrite: Rewrite::None,
            preserve_host: false,
            injectors: Vec::new(),
            client_auth: ClientAuth::None,
            strip_client_credentials: false,
            profiles: Profiles {
                by_header: false,
                detect: false,
                signs: Arc::default(),
                choices: vec![Profile { name: "auto".to_owned(), stream: stream() }],
            },
            timeouts: RouteTimeouts {
                response_head: None,
                first_event: None,
                first_content: None,
                event_gap: None,
                request_body_idle: None,
                total: None,
                tunnel_idle: None,
                tunnel_total: None,
            },
            max_request_body: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(prefix: &str) -> Route {
        fixture::route(PathMatch::Prefix(prefix.to_owned()))
    }

    fn named(mut route: Route, name: &str) -> Route {
        route.name = name.to_owned();
        route
    }

    fn found<'c>(config: &'c Config, host: Option<&str>, method: &Method, path: &str) -> &'c str {
        find(config, host, method, path).map_or("-", |index| config.routes[index].name.as_str())
    }

    #[test]
    fn prefix_matches_on_segment_boundaries() {
        let config = fixture::config(vec![named(prefix("/v1"), "v1")]);
        for path in ["/v1", "/v1/", "/v1/chat", "/v1//chat", "/%761/x", "/v%31"] {
            assert_eq!(found(&config, None, &Method::GET, path), "v1", "{path}");
        }
        for path in ["/v1beta", "/v", "/", "//v1", "/V1", "/v1%2Fx", "/x/v1", "/v1;x", "v1", ""] {
            assert_eq!(find(&config, None, &Method::GET, path).unwrap_err(), NoRoute::NotFound, "{path}");
        }
    }

    #[test]
    fn root_prefix_matches_every_path_that_begins_with_a_slash() {
        let config = fixture::config(vec![named(prefix(""), "root")]);
        for path in ["/", "//", "/a", "/a/%2Fb"] {
            assert_eq!(found(&config, None, &Method::GET, path), "root", "{path}");
        }
        for path in ["*", ""] {
            assert_eq!(found(&config, None, &Method::OPTIONS, path), "-", "{path}");
        }
    }

    #[test]
    fn exact_path_matches_the_whole_path_only() {
        let config = fixture::config(vec![named(fixture::route(PathMatch::Exact("/a".to_owned())), "a")]);
        assert_eq!(found(&config, None, &Method::GET, "/a"), "a");
        assert_eq!(found(&config, None, &Method::GET, "/%61"), "a");
        for path in ["/a/", "/a/b", "/ab", "/"] {
            assert_eq!(found(&config, None, &Method::GET, path), "-", "{path}");
        }
    }

    #[test]
    fn first_route_whose_every_condition_matches_wins() {
        let mut post = named(prefix("/v1/chat"), "post");
        post.methods = vec![Method::POST];
        let mut host = named(prefix("/v1"), "host");
        host.host = Some("ai.example".to_owned());
        let config = fixture::config(vec![post, host, named(prefix(""), "rest")]);
        assert_eq!(found(&config, None, &Method::POST, "/v1/chat"), "post");
        assert_eq!(found(&config, Some("ai.example"), &Method::GET, "/v1/chat"), "host");
        assert_eq!(found(&config, None, &Method::GET, "/v1/chat"), "rest");
    }

    #[test]
    fn host_is_compared_without_port_case_and_final_dot() {
        let mut name = named(prefix(""), "name");
        name.host = Some("ai.example".to_owned());
        let mut address = named(prefix(""), "address");
        address.host = Some("[::1]".to_owned());
        let config = fixture::config(vec![name, address]);
        for host in ["ai.example", "AI.Example:8080", "ai.example.", "ai.example.:80", "ai.example:"] {
            assert_eq!(found(&config, Some(host), &Method::GET, "/"), "name", "{host}");
        }
        for host in ["[::1]", "[::1]:80"] {
            assert_eq!(found(&config, Some(host), &Method::GET, "/"), "address", "{host}");
        }
        for host in [None, Some(""), Some("xai.example"), Some("ai.example.org"), Some("[::2]:1")] {
            assert_eq!(found(&config, host, &Method::GET, "/"), "-", "{host:?}");
        }
    }

    #[test]
    fn head_takes_a_get_route_and_other_methods_are_told_what_is_allowed() {
        let mut get = prefix("/a");
        get.methods = vec![Method::GET];
        let mut post = prefix("/a");
        post.methods = vec![Method::POST, Method::GET];
        let config = fixture::config(vec![named(get, "get"), named(post, "post")]);
        assert_eq!(found(&config, None, &Method::HEAD, "/a"), "get");
        assert_eq!(
            find(&config, None, &Method::PUT, "/a").unwrap_err(),
            NoRoute::MethodNotAllowed(vec![Method::GET, Method::HEAD, Method::POST])
        );
        assert_eq!(find(&config, None, &Method::PUT, "/b").unwrap_err(), NoRoute::NotFound);
    }

    #[test]
    fn path_that_could_mean_another_is_refused() {
        let config = fixture::config(vec![prefix("")]);
        for path in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/../",
            "/%2e",
            "/%2E%2e/",
            "/.%2E/a",
            "/%2e.",
            "..",
            ".",
            "/a%2f..",
            "/a/..%2fb",
            "/a%2F.%2Fb",
            "/..%5cb",
            "/a%5C..",
            "/a\\b",
            "\\",
            "/..;/a",
            "/.;x=1/a",
            "/..%3b/a",
            "/%00",
            "/a%1F",
            "/%7f",
            "/a%0d%0a",
            "/\u{7f}",
            "/%",
            "/%2",
            "/%zz",
            "/%%32e%%32e/",
            "/%+1",
        ] {
            assert_eq!(
                find(&config, None, &Method::GET, path).map(|index| &config.routes[index].name),
                Err(NoRoute::BadPath),
                "{path}"
            );
        }
    }

    #[test]
    fn unusual_path_that_means_one_thing_is_routed() {
        let config = fixture::config(vec![named(prefix(""), "root")]);
        for path in [
            "/...",
            "/a..",
            "/..a",
            "/.well-known/x",
            "/a.b",
            "/a;b",
            "/a%2Fb",
            "/a%5Cb",
            "/%20",
            "/%252e%252e/",
            "//",
            "/models/meta%2FLlama-3.1:generate",
            "/\u{e9}",
            "/%C3%A9",
            "/a/%25",
            "/a..;b",
            "/.a;/",
        ] {
            assert_eq!(found(&config, None, &Method::GET, path), "root", "{path}");
        }
    }

    #[test]
    fn normal_form_decodes_what_needs_no_encoding() {
        for (path, expected) in [
            ("/a", "/a"),
            ("/%61%7e%2D/%2F%3f%20", "/a~-/%2F%3f%20"),
            ("/%2561", "/%2561"),
            ("/x%", "/x%"),
            ("/%C3%A9\u{e9}", "/%C3%A9\u{e9}"),
        ] {
            assert_eq!(normal(path), expected);
        }
        assert!(matches!(normal("/%2F"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_routed_path_has_a_dot_segment_however_often_it_is_decoded_once(
            path in "(/|\\.|%2e|%2E|%2f|%5C|;|%3B|a|\u{e9}|%|2){0,12}",
        ) {
            let path = format!("/{path}");
            let config = fixture::config(vec![prefix("")]);
            if find(&config, None, &Method::GET, &path).is_ok() {
                let sent = normal(&path);
                let decoded = percent_encoding::percent_decode_str(&sent).decode_utf8_lossy();
                for segment in decoded.split(['/', '\\']) {
                    let segment = segment.split(';').next().unwrap_or_default();
                    prop_assert!(segment != "." && segment != "..", "{} {}", path, decoded);
                }
            }
        }
    }
}
