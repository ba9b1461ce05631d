//! What clients must show, and which credentials of theirs go no further.
//!
//! [`check`] asks for tidegate's own key; [`strip`] removes whatever else a client sent to identify itself, on
//! routes where tidegate puts its own credential in. Both are pure over the request head, called by
//! [`crate::proxy`] in that order.
//!
//! Invariant: after [`check`] succeeded, tidegate's key is nowhere in the head, in none of the places that are
//! looked at.

use http::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL,
};
use http::request::Parts;
use subtle::ConstantTimeEq as _;

use super::query;
use crate::config::ClientAuth;
use crate::stream::Cause;

/// A client that is not let in, or that nobody can be let in now. The text is for the client's error body; the cause, if
/// there is one, is for the log only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No key in any of the places.
    #[error(
        "this server asks for a key: send it as `authorization: Bearer KEY`, `x-api-key: KEY` or `?key=KEY`"
    )]
    NoKey,
    /// None of the keys that were presented is the right one.
    #[error("the key is wrong")]
    WrongKey,
    /// tidegate cannot read its own key, so nobody can be let in.
    #[error("the server cannot check keys now")]
    Unreadable(#[source] super::Error),
}

impl Refused {
    /// What it is called towards clients and in the log.
    pub fn cause(&self) -> Cause {
        match self {
            Refused::NoKey => Cause::ClientMissingApiKey,
            Refused::WrongKey => Cause::ClientInvalidApiKey,
            Refused::Unreadable(_) => Cause::TidegateClientKeyUnavailable,
        }
    }

    /// The `WWW-Authenticate` of the answer, which a 401 must have (RFC 9110 15.5.2; its form: RFC 6750 3).
    pub fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Refused::NoKey => Some(HeaderValue::from_static("Bearer")),
            Refused::WrongKey => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Refused::Unreadable(_) => None,
        }
    }
}

/// Lets the request in if it presents the key of `auth`, and removes that key from it.
///
/// Looked at: `Authorization: Bearer`, `x-api-key`, `api-key`, `x-goog-api-key`, and the query parameters `key`,
/// `access_token`, `api_key` (an `EventSource` cannot set headers). It is enough that one of them has the right key, since a
/// client may need another for the upstream itself (`x-api-key` for tidegate, `Authorization` for what is behind it);
/// what does not match stays. Comparison takes the same time for all keys of the right length.
///
/// # Errors
/// See [`Refused`]; then `head` is unchanged.
pub fn check(auth: &ClientAuth, head: &mut Parts) -> Result<(), Refused> {
    let ClientAuth::Key(secret) = auth else { return Ok(()) };
    // An empty key would let everybody in; `reveal` refuses it.
    let key = super::reveal(secret).map_err(Refused::Unreadable)?;
    let (mut presented, mut right) = (false, false);
    let mut is_key = |candidate: &[u8]| {
        let same = bool::from(candidate.ct_eq(key.as_bytes()));
        presented = true;
        right |= same;
        same
    };
    remove_values(&mut head.headers, &AUTHORIZATION, |value| bearer(value).is_some_and(&mut is_key));
    for name in &KEY_HEADERS {
        remove_values(&mut head.headers, name, |value| is_key(value.as_bytes()));
    }
    query::remove(&mut head.uri, |name, value| is_key_parameter(name) && is_key(value));
    match (right, presented) {
        (true, _) => Ok(()),
        (false, true) => Err(Refused::WrongKey),
        (false, false) => Err(Refused::NoKey),
    }
}

/// Removes everything with which the client identifies itself: `Authorization`, `Proxy-Authorization`, `x-api-key`,
/// `api-key`, `x-goog-api-key`, `Cookie`, the query parameters `key`, `access_token`, `api_key`, and the subprotocol in
/// which a browser has to put its key, since it cannot set headers of a WebSocket. Of a header, also the spelling with
/// underscores, which some servers take for the same.
pub fn strip(head: &mut Parts) {
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].iter().chain(&KEY_HEADERS) {
        head.headers.remove(name);
    }
    let spelled =
        |name: &HeaderName| KEY_HEADERS.iter().any(|key| name.as_str().replace('_', "-") == key.as_str());
    let names: Vec<HeaderName> = head.headers.keys().filter(|name| spelled(name)).cloned().collect();
    for name in names {
        head.headers.remove(name);
    }
    query::remove(&mut head.uri, |name, _| is_key_parameter(name));
    strip_subprotocols(&mut head.headers);
}

fn strip_subprotocols(headers: &mut HeaderMap) {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&[u8]> = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let kept: Vec<&[u8]> =
        offered.iter().copied().filter(|name| !name.starts_with(KEY_SUBPROTOCOL)).collect();
    if kept.len() < offered.len() {
        let kept = HeaderValue::from_bytes(&kept.join(&b", "[..])).ok().filter(|kept| !kept.is_empty());
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        if let Some(kept) = kept {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
        }
    }
}

fn is_key_parameter(name: &[u8]) -> bool {
    KEY_PARAMETERS.iter().any(|parameter| parameter.as_bytes() == name)
}

/// The token of a bearer credential; the scheme is in any case (RFC 9110 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(BEARER_SCHEME.len())?;
    scheme.eq_ignore_ascii_case(BEARER_SCHEME).then(|| token.trim_ascii())
}

/// Removes the values of `name` for which `unwanted` is true; the others keep their order.
fn remove_values(headers: &mut HeaderMap, name: &HeaderName, mut unwanted: impl FnMut(&HeaderValue) -> bool) {
    let all: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let kept: Vec<HeaderValue> =
        all.iter().filter(|value| !unwanted(value)).map(|value| (*value).clone()).collect();
    if kept.len() < all.len() {
        headers.remove(name);
        for value in kept {
            headers.append(name.clone(), value);
        }
    }
}

const BEARER_SCHEME: &[u8] = b"bearer ";

/// Where the SDKs of Anthropic, Azure and Google put their keys.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// How OpenAI's Realtime API takes a key from a browser:
/// <https://platform.openai.com/docs/guides/realtime-websocket>.
const KEY_SUBPROTOCOL: &[u8] = b"openai-insecure-api-key.";

const KEY_PARAMETERS: [&str; 3] = ["key", "access_token", "api_key"];

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::fixture;
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn key() -> ClientAuth {
        ClientAuth::Key(fixture::secret("tg-key"))
    }

    fn names(head: &Parts) -> Vec<&str> {
        head.headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn key_is_accepted_in_every_place_and_removed() {
        let places: &[(&str, Fields<'_>)] = &[
            ("/p?a=1", &[("authorization", "Bearer tg-key")]),
            ("/p?a=1", &[("authorization", "bEARER   tg-key")]),
            ("/p?a=1", &[("x-api-key", "tg-key")]),
            ("/p?a=1", &[("api-key", "tg-key")]),
            ("/p?a=1", &[("x-goog-api-key", "tg-key")]),
            ("/p?key=tg-key&a=1", &[]),
            ("/p?a=1&access_token=tg%2Dkey", &[]),
            ("/p?a=1&api_key=tg-key", &[]),
            ("/p?a=1&key=tg-key", &[("authorization", "Bearer tg-key"), ("api-key", "tg-key")]),
        ];
        for (uri, headers) in places {
            let mut head = fixture::head(uri, headers);
            assert!(check(&key(), &mut head).is_ok(), "{uri} {headers:?}");
            assert_eq!(head.uri, "/p?a=1");
            assert!(head.headers.is_empty(), "{headers:?}");
        }
    }

    #[test]
    fn credentials_for_the_upstream_stay() {
        let mut head = fixture::head(
            "/p?key=other",
            &[
                ("authorization", "Bearer upstream"),
                ("x-api-key", "first"),
                ("x-api-key", "tg-key"),
                ("x-api-key", "last"),
            ],
        );
        assert!(check(&key(), &mut head).is_ok());
        assert_eq!(head.uri, "/p?key=other");
        assert_eq!(head.headers[AUTHORIZATION], "Bearer upstream");
        let kept: Vec<_> = head.headers.get_all("x-api-key").iter().collect();
        assert_eq!(kept, ["first", "last"]);
    }

    #[test]
    fn request_without_the_key_is_refused_and_unchanged() {
        let refused: &[(&str, Fields<'_>, &str)] = &[
            ("/", &[], "missing_api_key"),
            ("/?token=tg-key", &[("cookie", "key=tg-key")], "missing_api_key"),
            ("/", &[("authorization", "Basic tg-key")], "missing_api_key"),
            ("/", &[("authorization", "tg-key")], "missing_api_key"),
            ("/", &[("authorization", "Bearer tg-keys")], "invalid_api_key"),
            ("/", &[("authorization", "Bearer ")], "invalid_api_key"),
            ("/?key=TG-KEY", &[("x-api-key", "tg-ke")], "invalid_api_key"),
            ("/?key", &[], "invalid_api_key"),
        ];
        for (uri, headers, code) in refused {
            let mut head = fixture::head(uri, headers);
            let error = check(&key(), &mut head).unwrap_err();
            assert_eq!(error.cause().what(), *code, "{uri} {headers:?}");
            assert_eq!(error.cause().status(), StatusCode::UNAUTHORIZED);
            assert!(error.challenge().unwrap().as_bytes().starts_with(b"Bearer"));
            assert_eq!(head.uri, *uri);
            assert_eq!(head.headers.len(), headers.len());
        }
    }

    #[test]
    fn nobody_is_let_in_by_a_key_that_is_unreadable() {
        let mut head = fixture::head("/?key=", &[("x-api-key", ""), ("authorization", "Bearer ")]);
        let error = check(&ClientAuth::Key(fixture::unreadable()), &mut head).unwrap_err();
        assert_eq!(error.cause(), Cause::TidegateClientKeyUnavailable);
        assert!(error.challenge().is_none());
        assert!(!error.to_string().contains("TIDEGATE_TEST"), "{error}");
    }

    #[test]
    fn everybody_is_let_in_untouched_without_client_auth() {
        let mut head = fixture::head("/?key=a", &[("x-api-key", "b")]);
        assert!(check(&ClientAuth::None, &mut head).is_ok());
        assert_eq!(head.uri, "/?key=a");
        assert_eq!(head.headers["x-api-key"], "b");
    }

    #[test]
    fn strip_removes_all_credentials_and_nothing_else() {
        let mut head = fixture::head(
            "/p?key=a&alt=sse&access_token=b&api_k%65y=c&apikey=d",
            &[
                ("authorization", "Negotiate x"),
                ("proxy-authorization", "Basic x"),
                ("cookie", "a=b"),
                ("cookie", "c=d"),
                ("x-api-key", "x"),
                ("api-key", "x"),
                ("x-goog-api-key", "x"),
                ("x_api_key", "x"),
                ("api_key", "x"),
                ("accept", "*/*"),
                ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-x"),
                ("sec-websocket-protocol", "openai-beta.realtime-v1"),
            ],
        );
        strip(&mut head);
        assert_eq!(names(&head), ["accept", "sec-websocket-protocol"]);
        assert_eq!(head.headers["sec-websocket-protocol"], "realtime, openai-beta.realtime-v1");
        let mut only = fixture::head("/", &[("sec-websocket-protocol", "openai-insecure-api-key.sk-x")]);
        strip(&mut only);
        assert_eq!(names(&only), [""; 0]);
        assert_eq!(head.uri, "/p?alt=sse&apikey=d");
    }
}
