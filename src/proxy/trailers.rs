//! Trailer sections, both ways.
//!
//! A trailer comes when the head has long been acted upon, so whatever would change how a message is framed,
//! routed, authorised or read is dropped (RFC 9110 6.5.1). Pure. Nobody is asked whether an upstream takes
//! trailers: HTTP has no way to; a client says so with `TE: trailers`, and gets none if it does not.
//!
//! Invariant: no trailer says what a head may not say, and none carries a secret that went up.
//!
//! Called by [`super::handle`] and, at the end of a response, by [`crate::relay`].

use http::header::{self, HeaderMap, HeaderName};

use super::{headers, response};
use crate::codec::mask::Secrets;

/// What of a response's trailers one client gets.
#[derive(Debug, Clone)]
pub(crate) struct Trailers {
    wanted: bool,
    secrets: Secrets,
}

impl Trailers {
    /// For the client that sent `request`: `secrets` went up and must not come back.
    pub(crate) fn new(request: &HeaderMap, secrets: Secrets) -> Self {
        Trailers { wanted: headers::takes_trailers(request), secrets }
    }

    /// What the client gets of `trailers`; `None` if that is nothing.
    pub(crate) fn to_client(&self, mut trailers: HeaderMap) -> Option<HeaderMap> {
        if !self.wanted {
            return None;
        }
        retain_allowed(&mut trailers);
        response::hide(&mut trailers, &self.secrets);
        (!trailers.is_empty()).then_some(trailers)
    }
}

/// What goes up of the trailers of a request.
pub(super) fn to_upstream(mut trailers: HeaderMap) -> HeaderMap {
    retain_allowed(&mut trailers);
    trailers
}

fn retain_allowed(trailers: &mut HeaderMap) {
    headers::remove_hop_by_hop(trailers);
    trailers.remove(header::TE);
    let refused: Vec<HeaderName> = trailers.keys().filter(|name| is_refused(name)).cloned().collect();
    for name in refused {
        trailers.remove(name);
    }
}

fn is_refused(name: &HeaderName) -> bool {
    let name = name.as_str();
    REFUSED.contains(&name) || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// RFC 9110 6.5.1, in its order: framing, routing, request modifiers, authentication, control of responses, format of
/// the content. The names that vendors gave to keys are authentication.
const REFUSED: &[&str] = &[
    "content-length",
    "trailer",
    "host",
    "forwarded",
    "via",
    "max-forwards",
    "cache-control",
    "expect",
    "pragma",
    "range",
    "accept-encoding",
    "authorization",
    "authentication-info",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "content-encoding",
    "content-range",
    "content-type",
    "x-real-ip",
    "x-request-id",
];

/// Conditions of requests; who asked; and what steers nginx.
const REFUSED_PREFIXES: &[&str] = &["if-", "x-forwarded-", "x-accel-", "proxy-"];

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn trailers_that_would_change_the_message_are_dropped() {
        let fields: Vec<(&'static str, &'static str)> = REFUSED.iter().map(|name| (*name, "1")).collect();
        assert_eq!(names(&to_upstream(map(&fields))), [""; 0]);
        let more = [("transfer-encoding", "chunked"), ("te", "trailers"), ("if-match", "*"), ("x-sum", "1")];
        assert_eq!(names(&to_upstream(map(&more))), ["x-sum"]);
        let more =
            [("x-forwarded-for", "::1"), ("x-accel-redirect", "/"), ("grpc-status", "0"), ("etag", "1")];
        let left = to_upstream(map(&more));
        assert!(left.len() == 2 && left.contains_key("grpc-status") && left.contains_key("etag"), "{left:?}");
    }

    #[test]
    fn client_gets_trailers_only_if_it_takes_them() {
        let sent = || map(&[("grpc-status", "0"), ("connection", "x-hop"), ("x-hop", "1")]);
        for (te, expected) in
            [(Some("trailers"), true), (Some("gzip, Trailers"), true), (Some("gzip"), false)]
        {
            let request = te.map_or_else(HeaderMap::new, |te| map(&[("te", te)]));
            let passed = Trailers::new(&request, Secrets::default()).to_client(sent());
            assert_eq!(passed.as_ref().map(names), expected.then(|| vec!["grpc-status"]), "{te:?}");
        }
        assert!(Trailers::new(&HeaderMap::new(), Secrets::default()).to_client(sent()).is_none());
    }

    #[test]
    fn secret_is_hidden_and_nothing_is_left_of_nothing() {
        let takes = map(&[("te", "trailers")]);
        let trailers = Trailers::new(&takes, Secrets::new(vec![b"sk-canary".to_vec()]));
        let passed = trailers.to_client(map(&[("x-echo", "was sk-canary")])).unwrap();
        assert_eq!(passed["x-echo"], "was *********");
        assert!(trailers.to_client(map(&[("content-length", "1")])).is_none());
    }
}
