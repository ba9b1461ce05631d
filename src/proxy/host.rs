//! For which host a request is.
//!
//! Exactly one, and one that every server reads alike (RFC 9112 3.2, RFC 9113 8.3.1): what routes are chosen by, and what
//! the upstream is told, must not be two things. Pure. Called by [`super::request`].

use http::Version;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};

/// The host that a request is for, with or without a port, as the client wrote it.
#[derive(Debug, Clone)]
pub(super) struct Host(HeaderValue);

impl Host {
    /// That of `head`; `None` only where HTTP/1.0 has none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(head: &Parts) -> Result<Option<Self>, &'static str> {
        match (target_host(&head.uri)?, host_field(&head.headers)?) {
            // RFC 9112 3.2: HTTP/1.1 without Host is 400, in absolute form too.
            (_, None) if head.version == Version::HTTP_11 => Err("no Host"),
            (None, None) if head.version == Version::HTTP_2 => Err("no :authority and no Host"),
            (Some(target), Some(field)) if !is_same_host(target, field.as_str(), head.uri.scheme()) => {
                Err("Host is not that of the request target")
            }
            (Some(target), _) => HeaderValue::try_from(target.as_str())
                .map(|value| Some(Host(value)))
                .map_err(|_| INVALID_HOST),
            (None, field) => Ok(field),
        }
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As the value of a field.
    pub(super) fn value(&self) -> &HeaderValue {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn from_static(host: &'static str) -> Self {
        Host(HeaderValue::from_static(host))
    }
}

/// The host of an absolute-form target, or of `:authority`.
fn target_host(uri: &Uri) -> Result<Option<&Authority>, &'static str> {
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err("the scheme is not http or https");
    }
    match uri.authority() {
        Some(authority) if !is_host(authority.as_str()) => Err(INVALID_HOST),
        authority => Ok(authority),
    }
}

fn host_field(headers: &HeaderMap) -> Result<Option<Host>, &'static str> {
    let mut fields = headers.get_all(header::HOST).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err("more than one Host"),
        (Some(field), None) if field.to_str().is_ok_and(is_host) => Ok(Some(Host(field.clone()))),
        (Some(_), None) => Err(INVALID_HOST),
    }
}

/// Whether `text` is a host with or without a port, as the web has them: letters, digits, `-._~`, or an address in
/// brackets. The other characters of RFC 3986 3.2.2 (commas, `@`, percent-encoding) are in no host that is
/// reached, but in attacks.
fn is_host(text: &str) -> bool {
    let (name, port) = split(text);
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
    };
    let is_port =
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    !name.is_empty() && is_name && is_port
}

/// The name, and the port behind it if there is one. The colons of an IPv6 literal are inside its brackets (RFC 3986
/// 3.2.2).
fn split(host: &str) -> (&str, &str) {
    let colon = memchr::memrchr(b':', host.as_bytes());
    match colon.map(|colon| (&host[..colon], &host[colon + 1..])) {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Case does not matter, nor a port that is the scheme's own (RFC 9110 4.2.3).
fn is_same_host(one: &Authority, other: &str, scheme: Option<&Scheme>) -> bool {
    let default = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let (name, port) = split(other);
    one.host().eq_ignore_ascii_case(name)
        && one.port_u16().unwrap_or(default) == port.parse().unwrap_or(default)
}

const INVALID_HOST: &str = "the host is not valid";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixture::head;

    fn host_of(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, &'static str> {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let mut head = head(uri, &fields);
        head.version = version;
        Host::of(&head).map(|host| host.map(|host| host.as_str().to_owned()))
    }

    #[test]
    fn host_is_taken_where_there_is_exactly_one() {
        let http11 = |uri: &str, hosts: &[&str]| host_of(Version::HTTP_11, uri, hosts);
        assert_eq!(http11("/", &["a.example:80"]), Ok(Some("a.example:80".to_owned())));
        assert_eq!(http11("/", &["[::1]:8080"]), Ok(Some("[::1]:8080".to_owned())));
        assert_eq!(http11("/", &["a:"]), Ok(Some("a:".to_owned())));
        assert_eq!(http11("http://a/", &["A:80"]), Ok(Some("a".to_owned())));
        assert_eq!(http11("https://a:443/", &["a"]), Ok(Some("a:443".to_owned())));
        assert_eq!(http11("/", &[]), Err("no Host"));
        assert_eq!(http11("http://a/", &[]), Err("no Host"));
        assert_eq!(http11("/", &["a", "a"]), Err("more than one Host"));
        for (uri, host) in [("http://a/", "b"), ("http://a/", "a:8080"), ("https://a/", "a:80")] {
            assert_eq!(http11(uri, &[host]), Err("Host is not that of the request target"), "{uri} {host}");
        }
        assert_eq!(http11("ftp://a/", &["a"]), Err("the scheme is not http or https"));
        assert_eq!(http11("http://u@a/", &["a"]), Err(INVALID_HOST));
    }

    #[test]
    fn host_of_http_1_0_may_be_missing_and_http_2_has_its_own() {
        assert_eq!(host_of(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(host_of(Version::HTTP_10, "/", &["a"]), Ok(Some("a".to_owned())));
        assert_eq!(host_of(Version::HTTP_2, "https://a/", &[]), Ok(Some("a".to_owned())));
        assert_eq!(host_of(Version::HTTP_2, "https://a/", &["a"]), Ok(Some("a".to_owned())));
        assert_eq!(host_of(Version::HTTP_2, "/", &["a"]), Ok(Some("a".to_owned())));
        assert_eq!(
            host_of(Version::HTTP_2, "https://a/", &["b"]),
            Err("Host is not that of the request target")
        );
        assert_eq!(host_of(Version::HTTP_2, "/", &[]), Err("no :authority and no Host"));
    }

    #[test]
    fn invalid_host_is_refused() {
        for host in [
            "", ":80", "a b", "a,b", "u@a", "a/b", "a:b", "a:80:80", "a:65536", "a:+80", "::1", "[::1",
            "[::1]x", "[]", "[a]", "a%2e", "\u{e9}", "a?b", "a#b",
        ] {
            assert_eq!(host_of(Version::HTTP_11, "/", &[host]), Err(INVALID_HOST), "{host}");
        }
    }
}
