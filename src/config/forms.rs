//! The forms of text values: addresses, URLs, hosts, paths, methods, networks, header names.
//!
//! Each function reads one text without looking at anything else; nothing is resolved or opened. The check of the
//! document calls them for their errors, [`super::resolve`] for their values: one opinion about each form.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Method};

use super::mistake::suggestion;
use super::units::{Size, TimeOrOff};
use super::{Endpoint, PathMatch, Secret};
use crate::proxy::is_hop_by_hop;

/// An address to listen on, not resolved yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// The URL of an upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) https: bool,
    pub(super) endpoint: Endpoint,
    pub(super) authority: Authority,
    pub(super) base_path: String,
}

/// A value that may be a secret: a reference, or plain text.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Secret(Secret),
    Literal(String),
}

/// `host:port` or `off`.
pub(super) fn metrics(text: &str) -> Result<Option<(String, u16)>, String> {
    if text == "off" {
        return Ok(None);
    }
    match address(text)? {
        Address::Tcp { host, port } => Ok(Some((host, port))),
        Address::Unix(_) => Err("metrics are read over TCP (write \"127.0.0.1:9464\")".to_owned()),
    }
}

/// `host:port`, `[v6]:port` or `unix:PATH`.
pub(super) fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("unix: takes the path of a socket (such as \"unix:/run/tidegate.sock\")".to_owned()),
            path => Ok(Address::Unix(PathBuf::from(path))),
        };
    }
    if text.contains("://") {
        return Err(format!("{text:?} is a URL, not an address (write \"HOST:PORT\")"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = if port.is_empty() { text } else { port };
        return Err(format!("{text:?} has no host (try \"127.0.0.1:{port}\")"));
    }
    if port.is_empty() {
        return Err(format!("{text:?} has no port (try \"{}:8080\")", host.trim_end_matches(':')));
    }
    let bare = bare_host(host).ok_or_else(|| format!("{host:?} is not a host name or an address"))?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port (a number from 0 to 65535; 0 = any free one)"))?;
    Ok(Address::Tcp { host: bare.to_owned(), port })
}

/// `http://HOST[:PORT][/BASE]`, `https://…` or `unix:PATH`.
pub(super) fn url(text: &str) -> Result<Url, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err("unix: takes the path of a socket (such as \"unix:/run/app.sock\")".to_owned());
        }
        let authority = Authority::from_static("localhost");
        return Ok(Url {
            https: false,
            endpoint: Endpoint::Unix(path.into()),
            authority,
            base_path: String::new(),
        });
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    // Whoever writes a password or a key here must not find it in a log. It may hold a slash, so that only an
    // `@` in a base path, which can be written %40, tells nothing.
    if rest.contains('@') {
        return Err("a URL holds no user or password here (write inject = [{ basic = { user = \"…\", \
                    password = \"env:NAME\" } }] in the route)"
            .to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("has a query or a fragment (an upstream is a host and a base path)".to_owned());
    }
    let https = match scheme {
        "http" => false,
        "https" => true,
        "" => return Err(format!("{text:?} has no scheme (try \"http://{text}\")")),
        _ => return Err(format!("scheme {scheme:?} is not known (write http://, https:// or unix:)")),
    };
    let uri: Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    let authority = uri.authority().ok_or_else(|| format!("{text:?} has no host"))?;
    let host = bare_host(authority.host()).ok_or_else(|| format!("{text:?} has no valid host"))?.to_owned();
    let usual = if https { 443 } else { 80 };
    let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
        "" => usual,
        colon_port => match colon_port.trim_start_matches(':').parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("{text:?} has no valid port")),
        },
    };
    let named = if port == usual { authority.host() } else { authority.as_str() };
    let authority = named.parse().map_err(|error| format!("{text:?} has no valid host: {error}"))?;
    let base_path = uri.path().trim_end_matches('/').to_owned();
    Ok(Url { https, endpoint: Endpoint::Tcp { host, port }, authority, base_path })
}

/// A host that requests may ask for: lower case, no port.
pub(super) fn host(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err(format!(
            "{text:?}: there are no patterns (leave host out to match all, or write one route per host)"
        ));
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("{text:?} is not a host (write the name alone, such as \"api.example.com\")"));
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && bare_host(name).is_some()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("{text:?} carries a port (write {name:?}: it matches on every port)"));
    }
    match bare_host(text) {
        Some(_) => Ok(text.trim_end_matches('.').to_ascii_lowercase()),
        None => Err(format!("{text:?} is not a host name or an address")),
    }
}

/// `/prefix`, or `=/exact`.
pub(super) fn path(text: &str) -> Result<PathMatch, String> {
    match text.strip_prefix('=') {
        Some(exact) => absolute_path(exact).map(|()| PathMatch::Exact(exact.to_owned())),
        None => prefix(text).map(PathMatch::Prefix),
    }
}

/// A path that whole segments follow: `/v1`; the root, typed as `/`, is the empty string.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    absolute_path(text)?;
    if text == "/" {
        return Ok(String::new());
    }
    if text.ends_with('/') {
        let shorter = text.trim_end_matches('/');
        return Err(format!("{text:?} ends with a slash (write {shorter:?}: it matches whole segments)"));
    }
    Ok(text.to_owned())
}

/// An HTTP method in its usual upper case.
pub(super) fn method(text: &str) -> Result<Method, String> {
    let method =
        Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not an HTTP method"))?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        // RFC 9110 9.1: methods are case-sensitive.
        return Err(format!("{text:?} is not in upper case (write {:?})", text.to_ascii_uppercase()));
    }
    Ok(method)
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<ipnet::IpNet, String> {
    text.parse::<ipnet::IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from))
        .map_err(|_| format!("{text:?} is not a network (such as \"10.0.0.0/8\") or an address"))
}

/// The name of a header that may be set for the upstream.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not a header name"))?;
    if NEVER_SET.contains(&name) || is_hop_by_hop(&name) {
        return Err(format!("{text:?} belongs to the connection and cannot be set"));
    }
    Ok(name)
}

/// A reference to a secret, or a literal; neither is repeated in errors.
pub(super) fn content(text: &str) -> Result<Content, String> {
    if SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
        return Secret::parse(text).map(Content::Secret);
    }
    match HeaderValue::from_str(text) {
        Ok(_) => Ok(Content::Literal(text.to_owned())),
        Err(_) => Err("the value holds characters that no header can carry".to_owned()),
    }
}

/// Anything but nothing.
pub(super) fn something(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

/// The name of a profile: it may be the value of a field.
pub(super) fn profile(text: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!("{text:?} is no name of a profile (write letters, digits, - and _)"))
}

/// A part of a `User-Agent` by which clients are known.
pub(super) fn user_agent(text: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if (1..=MAX_AGENT_BYTES).contains(&text.trim().len()) && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is no part of a User-Agent (from 1 to {MAX_AGENT_BYTES} characters of ASCII, such as \"okhttp/\")"
    ))
}

/// The data of an event that marks an end, or `event:NAME`.
pub(super) fn marker(text: &str) -> Result<(), String> {
    let inside = text.strip_prefix("event:").unwrap_or(text);
    if inside.trim().is_empty() {
        return Err(format!("{text:?} is no end marker (such as \"[DONE]\", or \"event:done\")"));
    }
    match text.contains(['\r', '\n', '\0']) {
        true => Err(format!("{text:?} is not on one line, and the data of an end marker is")),
        false => Ok(()),
    }
}

/// When a stream is closed behind its end marker. `None`: that follows from other keys.
pub(super) fn closing(text: &str) -> Result<Option<TimeOrOff>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let TimeOrOff(time) = text.parse().map_err(|what: String| format!("{what}, \"auto\" or \"off\""))?;
    match time.is_some_and(|time| time > Duration::from_secs(60)) {
        true => Err(format!("{text:?} is out of range (at the most \"1m\")")),
        false => Ok(Some(TimeOrOff(time))),
    }
}

/// Where a value stands in JSON (see [`crate::dialect::pointer`]); `None` for `off`.
pub(super) fn pointer(text: &str) -> Result<Option<&str>, String> {
    if text == "off" {
        return Ok(None);
    }
    let Some(path) = text.strip_prefix('/') else {
        return Err(format!("{text:?} does not begin with a slash (such as \"/text\", or \"off\")"));
    };
    if path.split('/').any(str::is_empty) {
        return Err(format!("{text:?} has an empty key in it (such as \"/choices/*/delta/content\")"));
    }
    match path.contains(['~', '"', '\\']) {
        true => {
            Err(format!("{text:?} has a key that no pointer finds here (write it without ~, quotes and \\)"))
        }
        false => Ok(Some(text)),
    }
}

/// The largest event that is not divided, in bytes; `None` for `off`.
pub(super) fn largest(text: &str) -> Result<Option<usize>, String> {
    if text == "off" {
        return Ok(None);
    }
    let size = text.parse::<Size>().map_err(|what| format!("{what}, or \"off\""))?;
    match (256..=1 << 20).contains(&size.bytes()) {
        true => Ok(Some(size.bytes())),
        false => Err(format!("{text} is out of range (from 256B to 1MiB, or \"off\")")),
    }
}

/// The name of a query parameter; `None`: off.
///
/// # Errors
/// What is wrong, and what to write.
pub(super) fn parameter(text: &str) -> Result<Option<&str>, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match text {
        "off" => Ok(None),
        name if !name.is_empty() && name.bytes().all(is_plain) => Ok(Some(name)),
        _ => Err(format!("{text:?} is no name of a parameter (letters, digits and -._~, or \"off\")")),
    }
}

/// One word of a list.
pub(super) fn word(text: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    Err(format!("{text:?} is not known{}", suggestion(text, words)))
}

/// A path that [`crate::route`] can match: absolute, no query, nothing that would be refused in a request.
fn absolute_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("{text:?} does not begin with a slash (write \"/{text}\")"));
    }
    if text.contains(['?', '#']) {
        return Err(format!("{text:?} has a query or a fragment (routes match the path alone)"));
    }
    let dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if text.split('/').any(dots) {
        return Err(format!("{text:?} has a dot segment (requests with one are refused)"));
    }
    PathAndQuery::try_from(text).map(drop).map_err(|_| format!("{text:?} is not a path"))
}

/// The host without brackets, if it is a name or an address.
fn bare_host(host: &str) -> Option<&str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok().then_some(inner);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!host.is_empty() && !host.starts_with('.') && host.bytes().all(allowed)).then_some(host)
}

impl std::str::FromStr for Content {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        content(text)
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Secret(secret) => secret.fmt(f),
            Content::Literal(text) => f.write_str(text),
        }
    }
}

super::units::serde_as_text!(Content);

/// What makes a text a reference to a secret.
const SCHEMES: &[&str] = &["env:", "file:", "cred:", "inline:"];

/// Framing, and the one that has its own key (`host_header`).
const NEVER_SET: [HeaderName; 3] = [CONTENT_LENGTH, HOST, TRAILER];

/// Longest text that a `User-Agent` is searched for.
const MAX_AGENT_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_in_every_form() {
        let tcp = |host: &str, port| Ok(Address::Tcp { host: host.to_owned(), port });
        assert_eq!(address("127.0.0.1:8080"), tcp("127.0.0.1", 8080));
        assert_eq!(address("localhost:0"), tcp("localhost", 0));
        assert_eq!(address("[::1]:443"), tcp("::1", 443));
        assert_eq!(address("unix:/run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
    }

    #[test]
    fn address_mistake_says_what_to_write() {
        for (typed, hint) in [
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("localhost", "localhost:8080"),
            ("localhost:", "localhost:8080"),
            ("http://localhost:1", "HOST:PORT"),
            ("localhost:http", "65535"),
            ("::1:80", "not a host"),
            ("unix:", "/run/tidegate.sock"),
        ] {
            let error = address(typed).unwrap_err();
            assert!(error.contains(hint), "{typed}: {error}");
        }
    }

    #[test]
    fn url_is_read_with_default_ports_and_base_path() {
        for (typed, host, port, authority, base) in [
            ("http://127.0.0.1:11434", "127.0.0.1", 11434, "127.0.0.1:11434", ""),
            ("https://api.openai.com/", "api.openai.com", 443, "api.openai.com", ""),
            ("https://api.openai.com:443/v1/", "api.openai.com", 443, "api.openai.com", "/v1"),
            ("http://[::1]:80/a/b", "::1", 80, "[::1]", "/a/b"),
            ("http://h:443", "h", 443, "h:443", ""),
        ] {
            let url = url(typed).unwrap();
            assert_eq!(url.endpoint, Endpoint::Tcp { host: host.to_owned(), port });
            assert_eq!((url.authority.as_str(), url.base_path.as_str()), (authority, base));
            assert_eq!(url.https, typed.starts_with("https"));
        }
        assert_eq!(url("unix:/run/a.sock").unwrap().endpoint, Endpoint::Unix("/run/a.sock".into()));
    }

    #[test]
    fn url_mistake_says_what_to_write_and_never_repeats_a_password() {
        for (typed, hint) in [
            ("localhost:11434", "http://localhost:11434"),
            ("ftp://h", "http://"),
            ("http://", "not a URL"),
            ("http://h:99999", "port"),
            ("http://h/?key=1", "query"),
            ("https://me:canary@h", "inject"),
            ("https://:canary@h/x", "inject"),
            ("me:canary@h", "inject"),
            ("https://me:/canary@h", "inject"),
            ("me:/canary@h", "inject"),
            ("https://h?key=canary", "query"),
        ] {
            let error = url(typed).unwrap_err();
            assert!(error.contains(hint) && !error.contains("canary"), "{typed}: {error}");
        }
    }

    #[test]
    fn host_is_lower_case_without_port() {
        assert_eq!(host("API.Example.com."), Ok("api.example.com".to_owned()));
        assert_eq!(host("[::1]"), Ok("[::1]".to_owned()));
        for (typed, hint) in [
            ("a.com:80", "\"a.com\""),
            ("*.a.com", "patterns"),
            ("http://a.com", "name alone"),
            ("a b", "not a host"),
        ] {
            assert!(host(typed).unwrap_err().contains(hint), "{typed}");
        }
    }

    #[test]
    fn path_is_a_prefix_unless_marked_exact() {
        assert_eq!(path("/"), Ok(PathMatch::Prefix(String::new())));
        assert_eq!(path("/v1"), Ok(PathMatch::Prefix("/v1".to_owned())));
        assert_eq!(path("=/v1/"), Ok(PathMatch::Exact("/v1/".to_owned())));
        assert_eq!(path("=/"), Ok(PathMatch::Exact("/".to_owned())));
    }

    #[test]
    fn path_that_no_request_can_match_is_refused() {
        for (typed, hint) in [
            ("v1", "\"/v1\""),
            ("", "\"/\""),
            ("/v1/", "\"/v1\""),
            ("/a/../b", "dot segment"),
            ("/a/%2E%2e/b", "dot segment"),
            ("/a?b", "query"),
            ("=v1", "\"/v1\""),
            ("/a b", "not a path"),
        ] {
            let error = path(typed).unwrap_err();
            assert!(error.contains(hint), "{typed}: {error}");
        }
    }

    #[test]
    fn method_network_and_header_name_are_checked() {
        assert_eq!(method("POST"), Ok(Method::POST));
        assert!(method("post").unwrap_err().contains("\"POST\""));
        assert!(method("a b").is_err());
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        assert!(network("10.0.0.0/33").is_err());
        assert_eq!(header_name("X-Api-Key").unwrap(), "x-api-key");
        assert!(header_name("Transfer-Encoding").is_err());
        assert!(header_name("a b").is_err());
    }

    #[test]
    fn content_is_a_secret_where_it_names_a_scheme() {
        assert!(matches!(content("env:KEY"), Ok(Content::Secret(_))));
        assert!(matches!(content("2024-06-01"), Ok(Content::Literal(_))));
        let error = content("env:canary-1").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
        let error = content("canary\n").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
