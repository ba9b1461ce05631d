//! From the head that an upstream sent to the head that the client gets.
//!
//! Two ways, one for each plan (and [`early`] for a stream that cannot wait): [`pass`] for a body that goes through byte for byte, [`stream`] for one that tidegate writes
//! anew as a stream ([`answer`] where it becomes one answer). Pure; it looks at no body and decides no plan. Called by [`super::handle`].
//!
//! Invariant: nothing of the connection to the upstream, and no secret that went up, is in a head that goes to
//! the client; and a reframed response carries no field that describes the bytes before.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use memchr::memmem;

use super::headers::{self, RequestId, X_REQUEST_ID};
use crate::bridge::{Bridge, SSE};
use crate::codec::mask::Mask;
use crate::format::essence;

/// The head of a response whose body goes through untouched: status and fields stay but for those of the hop.
///
/// `secrets` is what the route's injectors put into the request: wherever a field echoes one of them, it is hidden.
pub(super) fn pass(mut head: Parts, id: &RequestId, secrets: &[Vec<u8>]) -> Parts {
    // RFC 9112 6.3: with a transfer coding, Content-Length says nothing and must not be passed on.
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    headers::clean_response(&mut head.headers);
    hide(&mut head.headers, secrets);
    headers::add_via_to_response(&mut head.headers, head.version);
    name_request(&mut head.headers, id);
    // The version is that of the client's connection; hyper takes an upstream's HTTP/1.0 for its own.
    head.version = Version::HTTP_11;
    head
}

/// Takes from the head of a body that passes, but without its content coding, what describes the coded bytes.
pub(super) fn forget_coding(headers: &mut HeaderMap) {
    for name in OF_THE_CODED_BODY {
        headers.remove(name);
    }
}

/// The head of a response whose body tidegate writes anew as a stream; the status stays.
pub(super) fn stream(head: Parts, bridge: &Bridge, id: &RequestId, secrets: &[Vec<u8>]) -> Parts {
    let mut head = written_anew(head, id, secrets);
    let cache_control = cache_control(&head.headers);
    head.headers.insert(header::CACHE_CONTROL, cache_control);
    let own = head.headers.remove(header::CONTENT_TYPE);
    head.headers.extend(OF_A_STREAM);
    if *bridge == SSE {
        head.headers.insert(header::CONTENT_TYPE, OF_EVENTS);
        return head;
    }
    let is_theirs = |own: &HeaderValue| {
        own.to_str().is_ok_and(|own| bridge.media_types.contains(&essence(own).to_ascii_lowercase().as_str()))
    };
    let usual = bridge.media_types.first().map(|name| HeaderValue::from_static(name));
    let media_type = own.filter(is_theirs).or(usual);
    head.headers.extend(media_type.map(|media_type| (header::CONTENT_TYPE, media_type)));
    head
}

/// The head of a response whose body was a stream, and is one answer of `length` bytes in JSON; the status stays.
pub(super) fn answer(head: Parts, length: u64, id: &RequestId, secrets: &[Vec<u8>]) -> Parts {
    let mut head = written_anew(head, id, secrets);
    head.headers.remove(X_ACCEL_BUFFERING);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    head
}

/// Without what describes the body of the upstream.
fn written_anew(head: Parts, id: &RequestId, secrets: &[Vec<u8>]) -> Parts {
    let mut head = pass(head, id, secrets);
    forget_coding(&mut head.headers);
    for name in OF_THE_OLD_BODY {
        head.headers.remove(name);
    }
    head
}

/// What an event stream asks of caches, and what the upstream asks beyond that.
fn cache_control(headers: &HeaderMap) -> HeaderValue {
    let has = |directive: &str| {
        headers::tokens(headers, &header::CACHE_CONTROL).any(|token| {
            let name = token.split('=').next().unwrap_or_default();
            name.trim_end().eq_ignore_ascii_case(directive)
        })
    };
    HeaderValue::from_static(match (has("no-store"), has("private")) {
        (false, false) => "no-cache, no-transform",
        (true, false) => "no-cache, no-transform, no-store",
        (false, true) => "no-cache, no-transform, private",
        (true, true) => "no-cache, no-transform, no-store, private",
    })
}

/// Sets `X-Request-Id`. The upstream's own, if it is another, is what its support asks for: it stays under another name.
fn name_request(headers: &mut HeaderMap, id: &RequestId) {
    if let Some(other) = headers.insert(X_REQUEST_ID, id.value().clone()).filter(|other| other != id.value())
    {
        headers.insert(X_UPSTREAM_REQUEST_ID, other);
    }
}

/// Puts stars in the place of every one of `secrets`.
pub(super) fn hide(headers: &mut HeaderMap, secrets: &[Vec<u8>]) {
    if secrets.is_empty() {
        return;
    }
    for value in headers.values_mut() {
        if let Some(masked) = masked(value.as_bytes(), secrets) {
            // Stars are allowed in a field value; if nothing else goes, the whole value does.
            *value = HeaderValue::try_from(masked).unwrap_or(HeaderValue::from_static("***"));
        }
    }
}

/// Bytes with stars in the place of every one of `secrets`; `None` if none is in them.
pub(super) fn masked(value: &[u8], secrets: &[Vec<u8>]) -> Option<Vec<u8>> {
    if secrets.is_empty() {
        return None;
    }
    let has = |secret: &Vec<u8>| !secret.is_empty() && memmem::find(value, secret).is_some();
    // A value with escapes may spell a secret; the search above does not see that.
    if !secrets.iter().any(has) && !value.contains(&b'\\') {
        return None;
    }
    let mut mask = Mask::new(secrets.to_vec());
    let mut out = Vec::with_capacity(value.len());
    mask.push(value, &mut out);
    mask.finish(&mut out);
    Some(out)
}

/// The head of a stream that begins before there is a response.
pub(super) fn early(id: &RequestId) -> Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.headers.insert(header::CACHE_CONTROL, cache_control(&head.headers));
    head.headers.extend(OF_A_STREAM);
    head.headers.insert(header::CONTENT_TYPE, OF_EVENTS);
    name_request(&mut head.headers, id);
    head
}

const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// Fields about the bytes of a body in its coding: length, coding, parts, digests, strong validator.
const OF_THE_CODED_BODY: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::ETAG,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What else is about a body that is not sent: its trailers and its age. Without a validator of its own the stream
/// must not have that of the old body either (`ETag`, `Last-Modified`).
const OF_THE_OLD_BODY: [HeaderName; 3] = [header::LAST_MODIFIED, header::TRAILER, header::EXPIRES];

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const OF_EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

const OF_A_STREAM: [(HeaderName, HeaderValue); 2] = [
    (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::NDJSON;

    fn response(version: Version, fields: &[(&str, &str)]) -> Parts {
        let mut builder = http::Response::builder().status(201).version(version);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn id() -> RequestId {
        RequestId::of(&response(Version::HTTP_11, &[("x-request-id", "our-id")]).headers, true)
    }

    fn list(head: &Parts) -> Vec<String> {
        let field =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut fields: Vec<String> = head.headers.iter().map(field).collect();
        fields.sort();
        fields
    }

    #[test]
    fn passed_head_keeps_all_but_what_is_of_the_hop() {
        let head = response(
            Version::HTTP_10,
            &[
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("alt-svc", "h3=\":443\""),
                ("x-accel-redirect", "/secret"),
                ("x-accel-buffering", "no"),
                ("content-length", "5"),
                ("content-encoding", "gzip"),
                ("etag", "\"a\""),
                ("set-cookie", "a=b"),
                ("set-cookie", "c=d"),
                ("trailer", "x-checksum"),
                ("x-request-id", "our-id"),
            ],
        );
        let head = pass(head, &id(), &[]);
        assert_eq!((head.status.as_u16(), head.version), (201, Version::HTTP_11));
        assert_eq!(
            list(&head),
            [
                "content-encoding: gzip",
                "content-length: 5",
                "etag: \"a\"",
                "set-cookie: a=b",
                "set-cookie: c=d",
                "trailer: x-checksum",
                "via: 1.0 tidegate",
                "x-request-id: our-id",
            ]
        );
    }

    #[test]
    fn length_beside_a_transfer_coding_is_not_passed() {
        let fields = [("transfer-encoding", "chunked"), ("content-length", "5")];
        let head = pass(response(Version::HTTP_11, &fields), &id(), &[]);
        assert_eq!(list(&head), ["via: 1.1 tidegate", "x-request-id: our-id"]);
    }

    #[test]
    fn request_id_of_the_upstream_stays_under_another_name() {
        let head = pass(response(Version::HTTP_2, &[("x-request-id", "req_1")]), &id(), &[]);
        assert_eq!(list(&head), ["via: 2 tidegate", "x-request-id: our-id", "x-upstream-request-id: req_1"]);
    }

    #[test]
    fn streamed_head_describes_the_stream_and_not_the_old_body() {
        let head = response(
            Version::HTTP_11,
            &[
                ("content-type", "application/json"),
                ("content-length", "5"),
                ("content-encoding", "gzip"),
                ("content-range", "bytes 0-4/5"),
                ("accept-ranges", "bytes"),
                ("etag", "\"a\""),
                ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("content-digest", "sha-256=:x:"),
                ("repr-digest", "sha-256=:x:"),
                ("digest", "sha-256=x"),
                ("content-md5", "x"),
                ("trailer", "x-checksum"),
                ("expires", "0"),
                ("cache-control", "max-age=60"),
                ("x-accel-buffering", "yes"),
                ("openai-organization", "o"),
            ],
        );
        let head = stream(head, &SSE, &id(), &[]);
        assert_eq!(head.status.as_u16(), 201);
        assert_eq!(
            list(&head),
            [
                "cache-control: no-cache, no-transform",
                "content-type: text/event-stream; charset=utf-8",
                "openai-organization: o",
                "via: 1.1 tidegate",
                "x-accel-buffering: no",
                "x-content-type-options: nosniff",
                "x-request-id: our-id",
            ]
        );
    }

    #[test]
    fn passed_head_without_the_coding_describes_the_decoded_body() {
        let fields = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("content-length", "5"),
            ("content-digest", "sha-256=:x:"),
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        let mut head = response(Version::HTTP_11, &fields);
        forget_coding(&mut head.headers);
        assert_eq!(
            list(&head),
            ["content-type: application/json", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"]
        );
    }

    #[test]
    fn stricter_cache_control_of_the_upstream_stays() {
        for (upstream, expected) in [
            ("no-store", "no-cache, no-transform, no-store"),
            ("Private=\"set-cookie\", max-age=0", "no-cache, no-transform, private"),
            ("public, NO-STORE,private", "no-cache, no-transform, no-store, private"),
            ("x-private, no-storage", "no-cache, no-transform"),
        ] {
            let head = stream(response(Version::HTTP_11, &[("cache-control", upstream)]), &SSE, &id(), &[]);
            assert_eq!(head.headers[header::CACHE_CONTROL], expected, "{upstream}");
        }
    }

    #[test]
    fn lines_have_the_name_that_the_upstream_gave_them_or_the_usual_one() {
        for (own, want) in [
            ("text/event-stream", "application/x-ndjson"),
            ("Application/JSONL; charset=utf-8", "Application/JSONL; charset=utf-8"),
            ("application/json-seq", "application/x-ndjson"),
        ] {
            let head = response(Version::HTTP_11, &[("content-type", own), ("content-length", "5")]);
            let head = stream(head, &NDJSON, &id(), &[]);
            assert_eq!(head.headers[header::CONTENT_TYPE], want);
            assert!(!head.headers.contains_key(header::CONTENT_LENGTH), "{own}");
            assert_eq!(head.headers["x-accel-buffering"], "no");
        }
    }

    #[test]
    fn head_of_an_answer_describes_it_and_not_the_stream() {
        let fields = [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), ("etag", "\"a\"")];
        let head = answer(response(Version::HTTP_11, &fields), 7, &id(), &[]);
        assert_eq!(
            list(&head),
            [
                "content-length: 7",
                "content-type: application/json",
                "via: 1.1 tidegate",
                "x-request-id: our-id"
            ]
        );
    }

    #[test]
    fn echoed_secret_is_hidden_in_every_field() {
        let secrets = [b"sk/canary".to_vec(), b"sk%2Fcanary".to_vec(), Vec::new()];
        let fields = [
            ("location", "https://up/?key=sk%2Fcanary&a=b"),
            ("x-plain", "sk/canary"),
            ("x-debug", "{\"key\":\"sk\\/canary\"}"),
            ("x-other", "sk/can"),
            ("x-request-id", "sk/canary"),
        ];
        for anew in [false, true] {
            let head = response(Version::HTTP_11, &fields);
            let head = if anew { stream(head, &SSE, &id(), &secrets) } else { pass(head, &id(), &secrets) };
            assert_eq!(head.headers["location"], "https://up/?key=***********&a=b");
            assert_eq!(head.headers["x-plain"], "*********");
            assert_eq!(head.headers["x-debug"], "{\"key\":\"**********\"}");
            assert_eq!(head.headers["x-other"], "sk/can");
            assert_eq!(head.headers["x-upstream-request-id"], "*********");
        }
    }
}
