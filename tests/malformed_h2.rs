//! HTTP/2 requests that no library sends, written frame by frame. Behind each, on another stream, comes a good one: a
//! fault of one stream must stay with it, and where it cannot (RFC 9113 5.4.1), the connection must end.

use crate::support::attempt::{Answer, Case, GoesUp, Scene, Then};
use crate::support::certs::Certs;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2,
    SETTINGS, WINDOW_UPDATE, block, frame, get, request, statuses,
};
use crate::support::within;

/// The stream of the attempt, and that of the good request behind it.
const OWN: u32 = 1;
const NEXT: u32 = 101;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// h2 resets the stream before the handler hears of it.
fn reset(name: &'static str, bytes: Vec<u8>, rule: &'static str) -> Case {
    let answer = Answer::Reset(1);
    Case {
        name,
        bytes,
        answer,
        outcome: "client:malformed",
        goes_up: GoesUp::Nothing,
        then: Then::Serves,
        rule,
    }
}

/// h2 ends the connection.
fn ended(name: &'static str, bytes: Vec<u8>, rule: &'static str) -> Case {
    Case { answer: Answer::GoAway(1), then: Then::Closes, ..reset(name, bytes, rule) }
}

/// tidegate answers.
fn refused(
    name: &'static str,
    bytes: Vec<u8>,
    answer: u16,
    outcome: &'static str,
    rule: &'static str,
) -> Case {
    Case { answer: Answer::Status(answer), outcome, ..reset(name, bytes, rule) }
}

fn accepted(name: &'static str, bytes: Vec<u8>, body: &'static str, rule: &'static str) -> Case {
    Case { goes_up: GoesUp::Whole(body), ..refused(name, bytes, 200, "done", rule) }
}

/// A GET with these fields behind the pseudo-header fields.
fn with(fields: Fields<'_>) -> Vec<u8> {
    request(OWN, &[get("/p").as_slice(), fields].concat())
}

/// A GET with these pseudo-header fields for those of the same name; none for an empty value.
fn pseudo(changed: Fields<'_>) -> Vec<u8> {
    let value =
        |name, usual| changed.iter().find(|(other, _)| *other == name).map_or(usual, |(_, value)| *value);
    let fields = get("/p").into_iter().map(|(name, usual)| (name, value(name, usual)));
    request(OWN, &fields.filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
}

/// A POST with a body in one frame, and frames behind it.
fn post(fields: Fields<'_>, end: u8, more: &[u8]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/p")];
    let head = frame(HEADERS, END_HEADERS, OWN, &block(&[head.as_slice(), fields].concat()));
    [head, frame(DATA, end, OWN, b"abc"), more.to_vec()].concat()
}

/// Fields of one hop, which HTTP/2 does not have (RFC 9113 8.2.2).
fn hop_by_hop() -> Vec<Case> {
    let one = |name, field| reset(name, with(&[field]), "RFC 9113 8.2.2");
    vec![
        one("Connection", ("connection", "close")),
        one("Keep-Alive", ("keep-alive", "timeout=5")),
        one("Proxy-Connection", ("proxy-connection", "keep-alive")),
        one("Transfer-Encoding", ("transfer-encoding", "chunked")),
        one("Upgrade", ("upgrade", "h2c")),
        one("TE with more than trailers", ("te", "gzip")),
    ]
}

/// Names and values (RFC 9113 8.2.1).
fn fields() -> Vec<Case> {
    let name = |name, field| ended(name, with(&[(field, "1")]), "RFC 9113 8.2.1");
    let value = |name, value| ended(name, with(&[("x", value)]), "RFC 9113 8.2.1");
    let padded =
        |name, value| refused(name, with(&[("x", value)]), 400, "client:bad_field_value", "RFC 9113 8.2.1");
    vec![
        name("Name in upper case", "X-Upper"),
        name("Name with a space", "x y"),
        name("Name with a colon", "x:y"),
        name("Name that is empty", ""),
        value("LF in a value", "a\nb"),
        value("CR in a value", "a\rb"),
        value("NUL in a value", "a\0b"),
        value("HTTP/1.1 in a value", "a\r\ntransfer-encoding: chunked\r\n\r\n"),
        padded("Space before a value", " a"),
        padded("Tab behind a value", "a\t"),
    ]
}

/// Pseudo-header fields (RFC 9113 8.3).
fn pseudo_fields() -> Vec<Case> {
    let bad = |name, changed: Fields<'_>| reset(name, pseudo(changed), "RFC 9113 8.3.1");
    let method = |name, method| ended(name, pseudo(&[(":method", method)]), "RFC 9110 9.1");
    let twice =
        |name, field| reset(name, request(OWN, &[&[field], get("/p").as_slice()].concat()), "RFC 9113 8.3");
    let path = |name, path, rule| refused(name, pseudo(&[(":path", path)]), 400, "client:bad_path", rule);
    vec![
        bad("No :method", &[(":method", "")]),
        bad("No :scheme", &[(":scheme", "")]),
        bad("No :path", &[(":path", "")]),
        reset(
            ":path that is empty",
            request(OWN, &[&[(":path", "")], &get("/p")[..3]].concat()),
            "RFC 9113 8.3.1",
        ),
        bad(":path without a slash", &[(":path", "p")]),
        bad(":path that is a URL", &[(":path", "http://b/p")]),
        bad("HTTP/1.1 in :path", &[(":path", "/p HTTP/1.1\r\nx: y\r\n\r\n")]),
        bad("Space in :path", &[(":path", "/p q")]),
        path(":path * of another method than OPTIONS", "*", "RFC 9113 8.3.1"),
        path("Dot segment", "/p/../q", "RFC 3986 5.2.4, 6.2.2.3"),
        method("HTTP/1.1 in :method", "GET / HTTP/1.1\r\nx: y"),
        method("Space in :method", "GET /"),
        bad(":scheme with a space", &[(":scheme", "ht tp")]),
        refused(
            ":scheme that is not HTTP",
            pseudo(&[(":scheme", "ftp")]),
            400,
            "client:bad_host",
            "RFC 9113 8.3.1",
        ),
        twice("Two :method", (":method", "POST")),
        twice("Two :scheme", (":scheme", "https")),
        twice("Two :authority", (":authority", "b")),
        twice("Two :path", (":path", "/q")),
        twice(":status", (":status", "200")),
        reset(
            ":path behind a field",
            request(OWN, &[&get("/p")[..3], &[("x", "y"), (":path", "/p")]].concat()),
            "RFC 9113 8.3",
        ),
        ended("Pseudo-header field that does not exist", with(&[(":x", "y")]), "RFC 9113 8.3"),
        refused(
            "CONNECT with a :protocol that is no WebSocket",
            request(
                OWN,
                &[&get("/p")[1..], &[(":method", "CONNECT"), (":protocol", "connect-udp")]].concat(),
            ),
            501,
            "client:method_not_implemented",
            "RFC 8441 4",
        ),
        refused(
            "CONNECT",
            request(OWN, &[(":method", "CONNECT"), (":authority", "a:80")]),
            501,
            "client:method_not_implemented",
            "RFC 9110 9.3.6",
        ),
        refused(
            "TRACE",
            pseudo(&[(":method", "TRACE")]),
            501,
            "client:method_not_implemented",
            "RFC 9110 9.3.8",
        ),
    ]
}

/// For which host (RFC 9113 8.3.1).
fn hosts() -> Vec<Case> {
    let host = |name, bytes| refused(name, bytes, 400, "client:bad_host", "RFC 9113 8.3.1");
    let authority = |name, authority| reset(name, pseudo(&[(":authority", authority)]), "RFC 9113 8.3.1");
    vec![
        host("Neither :authority nor Host", pseudo(&[(":authority", "")])),
        host("Host that is not :authority", with(&[("host", "b")])),
        host("Two Hosts", with(&[("host", "a"), ("host", "a")])),
        host(":authority with a user", pseudo(&[(":authority", "u@a")])),
        authority(":authority with a space", "a b"),
        authority(":authority with a path", "a/b"),
    ]
}

/// Where a body ends (RFC 9113 8.1.1).
fn lengths() -> Vec<Case> {
    let length = |name, fields: Fields<'_>| reset(name, post(fields, END_STREAM, b""), "RFC 9113 8.1.1");
    let body = |name, bytes| Case {
        goes_up: GoesUp::Broken,
        outcome: "client:malformed_body",
        ..reset(name, bytes, "RFC 9113 8.1.1")
    };
    let trailers = frame(HEADERS, END_HEADERS, OWN, &block(&[("x", "y")]));
    vec![
        reset("Content-Length without a body", with(&[("content-length", "5")]), "RFC 9113 8.1.1"),
        length("Content-Length that is no number", &[("content-length", "x")]),
        length("Content-Length twice, not the same", &[("content-length", "3"), ("content-length", "4")]),
        body("Body longer than Content-Length", post(&[("content-length", "2")], END_STREAM, b"")),
        body("Body shorter than Content-Length", post(&[("content-length", "4")], END_STREAM, b"")),
        body("Trailers that do not end the stream", post(&[], 0, &trailers)),
    ]
}

/// Heads that are too large.
fn sizes() -> Vec<Case> {
    let names: Vec<String> = (0..150).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let long = "x".repeat(8000);
    let large =
        block(&[get("/p"), (0..6).map(|number| (names[number].as_str(), long.as_str())).collect()].concat());
    let mut pieces = large.chunks(16_000).peekable();
    let mut head = frame(HEADERS, END_STREAM, OWN, pieces.next().expect("a piece"));
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        head.extend(frame(CONTINUATION, end, OWN, piece));
    }
    vec![
        refused("More fields than `max_headers`", with(&many), 431, "client:too_many_headers", "RFC 6585 5"),
        refused("Head past `max_head_bytes`", head, 431, "client:malformed", "RFC 9113 10.5.1"),
    ]
}

/// Frames that break the connection.
fn frames() -> Vec<Case> {
    let size = |name, bytes| Case { answer: Answer::GoAway(6), ..ended(name, bytes, "RFC 9113 4.2") };
    vec![
        ended("Stream with an even number", request(2, &get("/p")), "RFC 9113 5.1.1"),
        ended("Stream 0", request(0, &get("/p")), "RFC 9113 5.1.1"),
        ended("DATA on a stream that was not opened", frame(DATA, 0, OWN, b"x"), "RFC 9113 5.1"),
        ended(
            "RST_STREAM of a stream that was not opened",
            frame(RST_STREAM, 0, OWN, &[0, 0, 0, 8]),
            "RFC 9113 6.4",
        ),
        ended("WINDOW_UPDATE by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), "RFC 9113 6.9"),
        Case {
            answer: Answer::GoAway(3),
            ..ended(
                "Window past 31 bits",
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                "RFC 9113 6.9.1",
            )
        },
        ended("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), "RFC 9113 6.5"),
        ended("SETTINGS on a stream", frame(SETTINGS, 0, OWN, &[]), "RFC 9113 6.5"),
        ended("PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), "RFC 9113 6.7"),
        ended("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, OWN, b""), "RFC 9113 6.10"),
        ended(
            "Other frame inside a head",
            [frame(HEADERS, END_STREAM, OWN, &block(&get("/p"))), frame(PING, 0, 0, &[0; 8])].concat(),
            "RFC 9113 6.10",
        ),
        ended(
            "Header block that cannot be decoded",
            frame(HEADERS, END_HEADERS | END_STREAM, OWN, &[0x80]),
            "RFC 7541 6.1",
        ),
        size("Frame past 16 KiB", frame(DATA, 0, OWN, &[0; 20_000])),
        size("HTTP/1.1 behind the preface", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
    ]
}

/// Everything that is refused.
pub fn refusals() -> Vec<Case> {
    let all = [hop_by_hop(), fields(), pseudo_fields(), hosts(), lengths(), sizes(), frames()];
    all.into_iter().flatten().collect()
}

/// Everything odd that goes up.
pub fn acceptances() -> Vec<Case> {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, OWN, &block(&[("content-length", "5")]));
    vec![
        accepted("TE: trailers", with(&[("te", "trailers")]), "", "RFC 9110 10.1.4: goes up as of one hop"),
        accepted(
            "Host instead of :authority",
            request(OWN, &[(":method", "GET"), (":scheme", "http"), (":path", "/p"), ("host", "a")]),
            "",
            "RFC 9113 8.3.1",
        ),
        accepted("Host that is :authority", with(&[("host", "A:80")]), "", "RFC 9113 8.3.1: one goes up"),
        accepted("Fragment in :path", pseudo(&[(":path", "/p#x")]), "", "RFC 9113 8.3.1: dropped"),
        accepted(
            "Content-Length twice, the same",
            post(&[("content-length", "3"), ("content-length", "3")], END_STREAM, b""),
            "abc",
            "RFC 9110 8.6: one goes up",
        ),
        accepted("Content-Length as a trailer", post(&[], 0, &trailers), "abc", "RFC 9110 6.5.1: dropped"),
        accepted(
            "Cookie in pieces",
            with(&[("cookie", "a=b"), ("cookie", "c=d")]),
            "",
            "RFC 9113 8.2.3: one field goes up",
        ),
    ]
}

async fn attempt(scene: &Scene, case: &Case) {
    let before = scene.before();
    let mut client = RawHttp2::connect(&scene.proxy.http(), &[]).await;
    let next = if case.then == Then::Serves { request(NEXT, &get("/next")) } else { Vec::new() };
    client.write(&[case.bytes.as_slice(), &next].concat()).await;
    let frames = match case.then {
        Then::Serves => within(case.name, until_answered(&mut client)).await,
        Then::Closes => client.until_closed().await,
    };
    let statuses = statuses(&frames);
    let ends = |kind, stream| frames.iter().find(|frame| frame.kind == kind && frame.stream == stream);
    // A response may be followed by a reset, because the rest of the request is not wanted.
    let answer = match (statuses.get(&OWN), ends(RST_STREAM, OWN), ends(GOAWAY, 0)) {
        (Some(status), _, None) => Some(Answer::Status(*status)),
        (None, Some(reset), None) => Some(Answer::Reset(reset.reason())),
        (None, _, Some(goaway)) => Some(Answer::GoAway(goaway.reason())),
        _ => None,
    };
    assert_eq!(answer, Some(case.answer), "{}: {frames:?}", case.name);
    if case.then == Then::Serves {
        assert_eq!(statuses.get(&NEXT), Some(&200), "{}: {frames:?}", case.name);
    }
    drop(client);
    scene.check(case, before).await;
}

/// Everything until both streams have ended, or the connection has.
async fn until_answered(client: &mut RawHttp2) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let is_end = |frame: &Frame, stream| {
        frame.stream == stream
            && (frame.kind == RST_STREAM
                || frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS))
    };
    while ![OWN, NEXT].iter().all(|stream| frames.iter().any(|frame| is_end(frame, *stream))) {
        match client.next().await {
            Some(frame) => frames.push(frame),
            None => break,
        }
    }
    frames
}

#[tokio::test]
async fn fault_of_a_request_stays_with_its_stream_or_ends_the_connection() {
    let cases = refusals();
    assert!(cases.len() > 60, "{}", cases.len());
    let scene = Scene::start("").await;
    for case in &cases {
        attempt(&scene, case).await;
    }
    scene.check_heads(30);
}

/// What passes is seen above TLS.
#[tokio::test]
async fn fault_of_a_request_is_told_over_tls_too() {
    let certs = Certs::new();
    let listener = format!("\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let scene = Scene::start(&listener).await;
    let mut client = RawHttp2::connect(&scene.proxy.https(&certs, &["h2"]), &[]).await;
    let case = hop_by_hop().swap_remove(0);
    let before = scene.before();
    client.write(&[case.bytes.as_slice(), &request(NEXT, &get("/next"))].concat()).await;
    let frames = within(case.name, until_answered(&mut client)).await;
    assert_eq!(statuses(&frames).get(&NEXT), Some(&200), "{frames:?}");
    scene.check(&case, before).await;
}

#[tokio::test]
async fn request_that_is_odd_goes_up_once_and_regular() {
    let cases = acceptances();
    let scene = Scene::start("").await;
    for case in &cases {
        attempt(&scene, case).await;
    }
    scene.check_heads(2 * cases.len());
}
