//! Requests to leave HTTP on a connection: `Upgrade` (RFC 9110 7.8), mostly to WebSocket (RFC 6455), and the extended
//! CONNECT of HTTP/2 (RFC 8441), which goes up as the `Upgrade` that it stands for.
//!
//! Both fields are of the hop, so they are made anew: `Upgrade` names what the client asked for and tidegate lets
//! through, and what the upstream switched to must be one of these. Everything else of such a request is as ever:
//! route, client key, injectors, hop-by-hop rules. Pure; the bytes behind the 101 are [`crate::relay`]'s business.
//!
//! An `Upgrade` that is not let through is ignored, as RFC 9110 7.8 allows: the request is an ordinary one.
//!
//! Invariant: nobody gets a tunnel in which HTTP goes on, past routes and keys.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version, request, response};
use hyper::ext::Protocol;
use ring::digest;

use super::headers;

/// An upgrade that a client asked for.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// As the client wrote them, in its order; never empty.
    protocols: Vec<String>,
    /// Set for an extended CONNECT, which has no key of its own: ours.
    key: Option<HeaderValue>,
}

impl Upgrade {
    /// The upgrade that `head` asks for, if it is let through. An extended CONNECT is changed into the GET that it
    /// stands for (RFC 8441 5, RFC 6455 4.1).
    ///
    /// Ignored: `h2c`, which RFC 9113 3.1 has dropped, and every other way to speak HTTP in a tunnel; an `Upgrade` that
    /// `Connection` does not name, or of HTTP/1.0; and one with a request body, which would have to be through before
    /// the protocol changes.
    pub(super) fn asked(head: &mut request::Parts, has_body: bool) -> Option<Self> {
        if is_websocket_connect(head) {
            head.method = Method::GET;
            return Some(Upgrade { protocols: vec![WEBSOCKET.to_owned()], key: Some(new_key()) });
        }
        let is_named = || {
            headers::tokens(&head.headers, &header::CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"))
        };
        if head.version != Version::HTTP_11 || has_body || head.method == Method::CONNECT || !is_named() {
            return None;
        }
        let protocols = headers::tokens(&head.headers, &header::UPGRADE).filter(|name| !is_http(name));
        let protocols: Vec<String> = protocols.map(str::to_owned).collect();
        (!protocols.is_empty()).then_some(Upgrade { protocols, key: None })
    }

    /// Whether it came as an extended CONNECT.
    pub(super) fn is_connect(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the answer to it is the end of HTTP: a 101, and for an extended CONNECT every 2xx, which may not
    /// reach the client as a response (RFC 9110 9.3.6).
    pub(super) fn is_over(&self, head: &response::Parts) -> bool {
        head.status == StatusCode::SWITCHING_PROTOCOLS || (self.is_connect() && head.status.is_success())
    }

    /// Puts it into the fields that go up. `Connection` is added where they are written.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        if let Ok(protocols) = HeaderValue::try_from(self.protocols.join(", ")) {
            headers.insert(header::UPGRADE, protocols);
        }
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// What the upstream's 101 switches to.
    ///
    /// # Errors
    /// It is not what was asked for.
    pub(super) fn agreed(&self, head: &response::Parts) -> Result<HeaderValue, &'static str> {
        // RFC 9110 7.8: a 101 names its protocols, and only ones that were asked for.
        let protocols: Vec<&str> = headers::tokens(&head.headers, &header::UPGRADE).collect();
        let was_asked = |name: &&str| self.protocols.iter().any(|asked| asked.eq_ignore_ascii_case(name));
        if protocols.is_empty() || !protocols.iter().all(was_asked) {
            return Err("status 101 to a protocol that was not asked for");
        }
        // RFC 6455 4.1, of which tidegate is the client where it made the key.
        let accepts = |key| head.headers.get(header::SEC_WEBSOCKET_ACCEPT) == Some(&accept(key));
        if !self.key.as_ref().is_none_or(accepts) {
            return Err("status 101 with a wrong Sec-WebSocket-Accept");
        }
        HeaderValue::try_from(protocols.join(", ")).map_err(|_| "status 101 with a bad Upgrade")
    }

    /// Makes the client's 101 (of an extended CONNECT: 200) of a head that lost what was of the hop.
    pub(super) fn finish(&self, head: &mut response::Parts, agreed: HeaderValue) {
        // RFC 9110 8.6: not in a 1xx, nor in a 2xx to CONNECT.
        head.headers.remove(header::CONTENT_LENGTH);
        if self.is_connect() {
            head.status = StatusCode::OK;
            head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        } else {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, agreed);
        }
    }
}

/// RFC 8441 4: `:protocol`. Other protocols over CONNECT (UDP, WebTransport) have no HTTP/1.1 form to go up in.
fn is_websocket_connect(head: &request::Parts) -> bool {
    let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
    head.method == Method::CONNECT && protocol.is_some_and(|name| name.eq_ignore_ascii_case(WEBSOCKET))
}

/// Whether HTTP would go on in a tunnel of this protocol: `h2c`, `HTTP/2.0`, `TLS/1.0` (RFC 2817) with HTTP in it.
fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default().trim_end();
    ["h2c", "h2", "http", "https", "tls"].iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// A new `Sec-WebSocket-Key`: 16 bytes that no other handshake has. It keeps caches out, and is no secret.
fn new_key() -> HeaderValue {
    let [high, low] = headers::random();
    let nonce = [high.to_be_bytes(), low.to_be_bytes()].concat();
    HeaderValue::try_from(BASE64_STANDARD.encode(nonce)).unwrap_or(HeaderValue::from_static(""))
}

/// The `Sec-WebSocket-Accept` to a key (RFC 6455 4.2.2).
fn accept(key: &HeaderValue) -> HeaderValue {
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::try_from(BASE64_STANDARD.encode(sha1.finish())).unwrap_or(HeaderValue::from_static(""))
}

const WEBSOCKET: &str = "websocket";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> request::Parts {
        let mut builder = http::Request::get("/ws").version(version);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn switch(fields: &[(&str, &str)]) -> response::Parts {
        let mut builder = http::Response::builder().status(101);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    /// What goes up in `Upgrade`.
    fn asked(version: Version, fields: &[(&str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        Upgrade::asked(&mut request(version, fields), false)?.ask(&mut headers);
        Some(headers[header::UPGRADE].to_str().unwrap().to_owned())
    }

    #[test]
    fn upgrade_goes_up_without_what_would_smuggle_http() {
        for (upgrade, expected) in [
            ("websocket", Some("websocket")),
            ("WebSocket, foo/2", Some("WebSocket, foo/2")),
            ("h2c", None),
            ("H2C , websocket", Some("websocket")),
            ("HTTP/2.0, TLS/1.0, https, h2", None),
            ("h2c-not", Some("h2c-not")),
            ("", None),
        ] {
            let fields = [("connection", "keep-alive, Upgrade"), ("upgrade", upgrade)];
            assert_eq!(asked(Version::HTTP_11, &fields).as_deref(), expected, "{upgrade}");
        }
    }

    #[test]
    fn upgrade_is_ignored_if_it_is_none() {
        let (named, upgrade) = (("connection", "upgrade"), ("upgrade", "websocket"));
        assert!(asked(Version::HTTP_11, &[named, upgrade]).is_some());
        assert_eq!(asked(Version::HTTP_11, &[upgrade]), None, "Connection does not name it");
        assert_eq!(asked(Version::HTTP_11, &[("connection", "close"), upgrade]), None);
        assert_eq!(asked(Version::HTTP_10, &[named, upgrade]), None, "RFC 9110 7.8");
        assert_eq!(asked(Version::HTTP_11, &[named]), None);
        assert!(Upgrade::asked(&mut request(Version::HTTP_11, &[named, upgrade]), true).is_none(), "a body");
    }

    #[test]
    fn switch_must_be_to_what_was_asked_for() {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket, foo")];
        let upgrade = Upgrade::asked(&mut request(Version::HTTP_11, &fields), false).unwrap();
        for (names, agreed) in
            [("WebSocket", Some("WebSocket")), ("foo", Some("foo")), ("h2c", None), ("foo, h2c", None)]
        {
            let result = upgrade.agreed(&switch(&[("upgrade", names)]));
            assert_eq!(result.ok().as_ref().map(|it| it.to_str().unwrap()), agreed, "{names}");
        }
        assert!(upgrade.agreed(&switch(&[])).is_err(), "RFC 9110 15.2.2");
    }

    #[test]
    fn head_of_the_client_has_the_fields_of_its_own_hop() {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        let upgrade = Upgrade::asked(&mut request(Version::HTTP_11, &fields), false).unwrap();
        let mut head = switch(&[("content-length", "0"), ("sec-websocket-accept", "x")]);
        upgrade.finish(&mut head, HeaderValue::from_static("WebSocket"));
        assert_eq!(head.status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(
            (&head.headers["connection"], &head.headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"WebSocket".parse().unwrap())
        );
        assert!(
            !head.headers.contains_key("content-length") && head.headers.contains_key("sec-websocket-accept")
        );
    }

    fn connect(protocol: &'static str) -> request::Parts {
        let mut head = request(Version::HTTP_2, &[("sec-websocket-version", "13")]);
        head.method = Method::CONNECT;
        head.extensions.insert(Protocol::from_static(protocol));
        head
    }

    #[test]
    fn extended_connect_becomes_a_handshake_with_a_key_of_ours() {
        let mut head = connect("websocket");
        let upgrade = Upgrade::asked(&mut head, false).unwrap();
        assert_eq!((&head.method, upgrade.is_connect()), (&Method::GET, true));
        upgrade.ask(&mut head.headers);
        let key = head.headers[header::SEC_WEBSOCKET_KEY].clone();
        assert_eq!(BASE64_STANDARD.decode(&key).unwrap().len(), 16);
        let right = accept(&key);
        let answer = |accept: &str| switch(&[("upgrade", "websocket"), ("sec-websocket-accept", accept)]);
        assert!(upgrade.agreed(&answer("x")).is_err());
        let mut head = answer(right.to_str().unwrap());
        let agreed = upgrade.agreed(&head).unwrap();
        upgrade.finish(&mut head, agreed);
        assert_eq!((head.status, head.headers.len()), (StatusCode::OK, 1), "{head:?}");
    }

    #[test]
    fn other_connects_are_left_as_they_are() {
        let mut head = connect("connect-udp");
        assert!(Upgrade::asked(&mut head, false).is_none());
        assert_eq!(head.method, Method::CONNECT);
        let mut plain = request(Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        plain.method = Method::CONNECT;
        assert!(Upgrade::asked(&mut plain, false).is_none());
    }

    /// The example of RFC 6455 1.3.
    #[test]
    fn accept_is_that_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
