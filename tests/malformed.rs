//! HTTP/1.1 requests that no careful client sends. Each is followed, on the same connection and in the same breath, by a
//! good one: where the end of a message is in doubt, that is where a second request would be smuggled in.

use crate::support::attempt::{Answer, Case, GoesUp, Scene, Then};
use crate::support::wire::{Framing, Wire};
use crate::support::within;

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

/// A refusal by the head: nothing goes up, and the connection ends.
fn refused(
    name: &'static str,
    request: impl Into<Vec<u8>>,
    outcome: &'static str,
    rule: &'static str,
) -> Case {
    let (goes_up, then) = (GoesUp::Nothing, Then::Closes);
    Case { name, bytes: request.into(), answer: Answer::Status(400), outcome, goes_up, then, rule }
}

/// A refusal by hyper.
fn malformed(name: &'static str, request: impl Into<Vec<u8>>, rule: &'static str) -> Case {
    refused(name, request, "client:malformed", rule)
}

/// A request that goes up as if it had been written well.
fn accepted(name: &'static str, request: impl Into<Vec<u8>>, body: &'static str, rule: &'static str) -> Case {
    let (goes_up, then) = (GoesUp::Whole(body), Then::Serves);
    Case { name, bytes: request.into(), answer: Answer::Status(200), outcome: "done", goes_up, then, rule }
}

fn get(line: &str, fields: &str) -> String {
    format!("{line}\r\nhost: a\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    get("POST /p HTTP/1.1", fields) + body
}

fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked\r\n", body)
}

/// What a request is framed by: RFC 9112 6.
fn framing() -> Vec<Case> {
    let abc = "3\r\nabc\r\n0\r\n\r\n";
    let both = |name, fields: &str| Case {
        then: Then::Closes,
        ..accepted(name, post(fields, abc), "abc", "RFC 9112 6.1, 6.3: chunked counts, Content-Length goes")
    };
    let coding = |name, coding: &str| {
        let request = post(&format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n");
        refused(name, request, "client:bad_transfer_coding", "RFC 9112 6.1")
    };
    let no_coding = |name, coding: &str| {
        malformed(name, post(&format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n"), "RFC 9112 6.3")
    };
    let length = |name, fields: &str| malformed(name, post(fields, "ab"), "RFC 9112 6.3, RFC 9110 8.6");
    vec![
        both(
            "Content-Length, then Transfer-Encoding: chunked",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        ),
        both(
            "Transfer-Encoding: chunked, then Content-Length",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        ),
        coding("Transfer-Encoding: gzip, chunked", "gzip, chunked"),
        coding("Transfer-Encoding: chunked, chunked", "chunked, chunked"),
        coding("Transfer-Encoding: , chunked", ",chunked"),
        coding("Transfer-Encoding: chunked, in two fields", "chunked\r\ntransfer-encoding: chunked"),
        coding("Transfer-Encoding: gzip, chunked, with Content-Length", "gzip, chunked\r\ncontent-length: 3"),
        no_coding("Transfer-Encoding: chunked, identity", "chunked, identity"),
        no_coding("Transfer-Encoding: identity", "identity"),
        no_coding("Transfer-Encoding: xchunked", "xchunked"),
        no_coding("Transfer-Encoding: \"chunked\", in quotes", "\"chunked\""),
        no_coding("Transfer-Encoding without a value", ""),
        malformed(
            "Transfer-Encoding with a vertical tab",
            post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"),
            "RFC 9110 5.5",
        ),
        malformed(
            "Transfer-Encoding in HTTP/1.0",
            get("POST /p HTTP/1.0", "transfer-encoding: chunked\r\n") + "0\r\n\r\n",
            "RFC 9112 6.1",
        ),
        length("Content-Length twice, not the same", "content-length: 1\r\ncontent-length: 2\r\n"),
        length("Content-Length: 2, 2", "content-length: 2, 2\r\n"),
        length("Content-Length: +2", "content-length: +2\r\n"),
        length("Content-Length: -2", "content-length: -2\r\n"),
        length("Content-Length: 0x2", "content-length: 0x2\r\n"),
        length("Content-Length without a value", "content-length: \r\n"),
        length("Content-Length past 64 bits", "content-length: 18446744073709551616\r\n"),
        Case {
            answer: Answer::Status(413),
            outcome: "client:request_body_too_large",
            ..malformed(
                "Content-Length past `max_request_body`",
                post("content-length: 2000\r\n", ""),
                "RFC 9110 15.5.14",
            )
        },
    ]
}

/// Chunks: RFC 9112 7.1.
fn chunks() -> Vec<Case> {
    let size = |name, body: &str| Case {
        goes_up: GoesUp::Broken,
        ..refused(name, chunked(body), "client:malformed_body", "RFC 9112 7.1")
    };
    let long = "x".repeat(20_000);
    vec![
        size("Chunk size that is no number", "x\r\nabc\r\n0\r\n\r\n"),
        size("Chunk size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        size("Chunk size 0x3", "0x3\r\nabc\r\n0\r\n\r\n"),
        size("Chunk size that is empty", "\r\nabc\r\n0\r\n\r\n"),
        size("Chunk size behind a space", " 3\r\nabc\r\n0\r\n\r\n"),
        size("Chunk size past 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        size("Bare LF behind a chunk size", "3\nabc\r\n0\r\n\r\n"),
        size("Bare CR behind a chunk size", "3\rabc\r\n0\r\n\r\n"),
        size("LF in a chunk extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        size("Bare CR in a chunk extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        size("Chunk extensions past 16 KiB", &format!("3;{long}\r\nabc\r\n0\r\n\r\n")),
        size("Chunk that is longer than its size", "2\r\nabc\r\n0\r\n\r\n"),
        size("Chunk that is shorter than its size", "4\r\nabc\r\n0\r\n\r\n"),
        size("Bare LF behind chunk data", "3\r\nabc\n0\r\n\r\n"),
        Case {
            rule: "RFC 9112 7.1.2, 5",
            ..size("Trailer that is no field", "3\r\nabc\r\n0\r\nx y\r\n\r\n")
        },
        Case {
            rule: "RFC 9112 7.1.2, 5.2",
            ..size("Trailer with a folded line", "3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n")
        },
        size("Trailers past `max_headers`", &format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(200))),
        size(
            "Trailers past `max_head_bytes`",
            &format!("3\r\nabc\r\n0\r\nx: {}\r\n\r\n", "x".repeat(40_000)),
        ),
        Case {
            answer: Answer::Status(413),
            outcome: "client:request_body_too_large",
            rule: "RFC 9110 15.5.14",
            ..size("Chunks past `max_request_body`", &format!("7d0\r\n{}\r\n", "x".repeat(2000)).repeat(100))
        },
    ]
}

/// Where a request goes: RFC 9112 3.2.
fn targets() -> Vec<Case> {
    let host = |name, line: &str, fields: &str| {
        refused(name, format!("{line}\r\n{fields}\r\n"), "client:bad_host", "RFC 9112 3.2")
    };
    let path = |name, line: &str, rule| refused(name, get(line, ""), "client:bad_path", rule);
    let method = |name, line: &str, rule| Case {
        answer: Answer::Status(501),
        ..refused(name, get(line, ""), "client:method_not_implemented", rule)
    };
    let origin = "GET /p HTTP/1.1";
    vec![
        host("No Host", origin, ""),
        host("Two Hosts", origin, "host: a\r\nhost: b\r\n"),
        host("Two Hosts that are the same", origin, "host: a\r\nhost: a\r\n"),
        host("Host without a value", origin, "host:\r\n"),
        host("Host that is a list", origin, "host: a, b\r\n"),
        host("Host with a user", origin, "host: u@a\r\n"),
        host("Host with a path", origin, "host: a/b\r\n"),
        host("Absolute target of another host", "GET http://b/p HTTP/1.1", "host: a\r\n"),
        host("Absolute target of another port", "GET http://a:81/p HTTP/1.1", "host: a\r\n"),
        host("Absolute target with a user", "GET http://u@a/p HTTP/1.1", "host: a\r\n"),
        host("Absolute target that is not HTTP", "GET ftp://a/p HTTP/1.1", "host: a\r\n"),
        path("Target that is a host", "GET a HTTP/1.1", "RFC 9112 3.2.3"),
        path("Target that is a host and a port", "GET a:80 HTTP/1.1", "RFC 9112 3.2.3"),
        path("Target * of another method than OPTIONS", "GET * HTTP/1.1", "RFC 9112 3.2.4"),
        malformed("Target that is a query", get("GET ?x HTTP/1.1", ""), "RFC 9112 3.2.1"),
        path("Dot segment", "GET /p/../q HTTP/1.1", "RFC 3986 5.2.4, 6.2.2.3"),
        path("Dot segment in percent-encoding", "GET /p/%2e%2E/q HTTP/1.1", "RFC 3986 5.2.4, 6.2.2.3"),
        path("Dot segment behind an encoded slash", "GET /p%2f..%2fq HTTP/1.1", "RFC 3986 5.2.4, 6.2.2.3"),
        path("Dot segment with a parameter", "GET /p/..;a/q HTTP/1.1", "RFC 3986 3.3"),
        path("Backslash in a path", "GET /p\\..\\q HTTP/1.1", "RFC 3986 3.3"),
        path("Control character in percent-encoding", "GET /p%00 HTTP/1.1", "RFC 3986 3.3"),
        path("% that encodes nothing", "GET /p%zz HTTP/1.1", "RFC 3986 2.1"),
        method("CONNECT", "CONNECT a:80 HTTP/1.1", "RFC 9110 9.3.6"),
        method("TRACE", "TRACE /p HTTP/1.1", "RFC 9110 9.3.8"),
    ]
}

/// How a head is written: RFC 9112 2.2, 3, 5.
fn syntax() -> Vec<Case> {
    let line = |name, line: &str| malformed(name, get(line, ""), "RFC 9112 3");
    let version = |name, line: &str| malformed(name, get(line, ""), "RFC 9112 2.3");
    let field = |name, fields: &str, rule| malformed(name, get("GET /p HTTP/1.1", fields), rule);
    vec![
        line("Method with a character that is none", "G@T /p HTTP/1.1"),
        line("Space before the method", " GET /p HTTP/1.1"),
        line("Two spaces before the target", "GET  /p HTTP/1.1"),
        line("Two spaces before the version", "GET /p  HTTP/1.1"),
        line("Space behind the version", "GET /p HTTP/1.1 "),
        line("Space in the target", "GET /p q HTTP/1.1"),
        line("Tabs for spaces", "GET\t/p\tHTTP/1.1"),
        line("NUL in the target", "GET /p\0 HTTP/1.1"),
        line("CR in the request line", "GET /p\r HTTP/1.1"),
        version("HTTP/0.9: no version", "GET /p"),
        version("HTTP/0.9", "GET /p HTTP/0.9"),
        version("HTTP/1.2", "GET /p HTTP/1.2"),
        version("HTTP/1.10", "GET /p HTTP/1.10"),
        version("HTTP/2.0", "GET /p HTTP/2.0"),
        version("http/1.1", "GET /p http/1.1"),
        malformed("No HTTP at all", "SSH-2.0-OpenSSH\r\n\r\n", "RFC 9112 3"),
        malformed("TLS on a listener without", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", "RFC 9112 3"),
        malformed("Preface of HTTP/2 that goes wrong", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "RFC 9113 3.4"),
        malformed("Bare CR for line ends", "GET /p HTTP/1.1\rhost: a\r\r", "RFC 9112 2.2"),
        field("Bare CR in a value", "x: a\rb\r\n", "RFC 9112 2.2, RFC 9110 5.5"),
        field("NUL in a value", "x: a\0b\r\n", "RFC 9110 5.5"),
        field("Control character in a value", "x: a\x0bb\r\n", "RFC 9110 5.5"),
        field("NUL in a name", "x\0: a\r\n", "RFC 9110 5.1"),
        field("Name with a character that is none", "x@y: a\r\n", "RFC 9110 5.1"),
        field("Name that is empty", ": a\r\n", "RFC 9110 5.1"),
        field("Space before the colon", "x : a\r\n", "RFC 9112 5.1"),
        field(
            "Space before the colon of Transfer-Encoding",
            "transfer-encoding : chunked\r\n",
            "RFC 9112 5.1",
        ),
        field("Line without a colon", "xyz\r\n", "RFC 9112 5"),
        field("Folded line", "x: a\r\n b\r\n", "RFC 9112 5.2"),
        field("Folded Transfer-Encoding", "transfer-encoding:\r\n chunked\r\n", "RFC 9112 5.2"),
        malformed("Space before the first field", "GET /p HTTP/1.1\r\n host: a\r\n\r\n", "RFC 9112 2.2"),
    ]
}

/// Heads that are too large.
fn sizes() -> Vec<Case> {
    let large =
        |name, request: String, rule| Case { answer: Answer::Status(431), ..malformed(name, request, rule) };
    let long = |length| "x".repeat(length);
    vec![
        large(
            "More fields than `max_headers`",
            get("GET /p HTTP/1.1", &"x: y\r\n".repeat(101)),
            "RFC 6585 5",
        ),
        large(
            "Head past `max_head_bytes`",
            get("GET /p HTTP/1.1", &format!("x: {}\r\n", long(33_000))),
            "RFC 6585 5",
        ),
        large(
            "Head past all buffers",
            get("GET /p HTTP/1.1", &format!("x: {}\r\n", long(300_000))),
            "RFC 6585 5",
        ),
        Case {
            answer: Answer::Status(414),
            ..malformed(
                "Target past `max_head_bytes`",
                get(&format!("GET /p{} HTTP/1.1", long(40_000)), ""),
                "RFC 9112 3, RFC 9110 15.5.15",
            )
        },
    ]
}

/// Odd, and harmless once it is written anew.
fn normalised() -> Vec<Case> {
    let goes = |name, request: String, rule| accepted(name, request, "", rule);
    let body = |name, body: &str, rule| accepted(name, chunked(body), "abc", rule);
    vec![
        goes("Bare LF for line ends", "GET /p HTTP/1.1\nhost: a\n\n".into(), "RFC 9112 2.2: taken as CRLF"),
        goes(
            "Empty lines before the request",
            format!("\r\n\r\n{}", get("GET /p HTTP/1.1", "")),
            "RFC 9112 2.2: dropped",
        ),
        goes(
            "Absolute target of the same host",
            get("GET http://A:80/p HTTP/1.1", ""),
            "RFC 9112 3.2.2: origin form goes up",
        ),
        goes("Fragment in the target", get("GET /p#/../x HTTP/1.1", ""), "RFC 9112 3.2: dropped"),
        goes(
            "Percent-encoding that nothing needs",
            get("GET /%70 HTTP/1.1", ""),
            "RFC 3986 6.2.2.2: decoded",
        ),
        accepted(
            "Content-Length twice, the same",
            post("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
            "abc",
            "RFC 9110 8.6: one goes up",
        ),
        accepted(
            "Transfer-Encoding: Chunked",
            post("transfer-encoding: Chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            "abc",
            "RFC 9112 7",
        ),
        goes(
            "Transfer_Encoding, with an underscore",
            post("transfer_encoding: chunked\r\n", ""),
            "a lookalike: dropped",
        ),
        goes(
            "Upgrade: h2c",
            get(
                "GET /p HTTP/1.1",
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAA\r\n",
            ),
            "RFC 9113 3.1: dropped",
        ),
        body("Chunk extensions", "3;a=b\r\nabc\r\n0;x\r\n\r\n", "RFC 9112 7.1.1: dropped"),
        body("Chunk size with zeros in front", "0003\r\nabc\r\n000\r\n\r\n", "RFC 9112 7.1"),
        body("Space behind a chunk size", "3 \r\nabc\r\n0\r\n\r\n", "RFC 9112 7.1.1: dropped"),
        body(
            "Content-Length as a trailer",
            "3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n",
            "RFC 9110 6.5.1: dropped",
        ),
    ]
}

/// Everything that is refused.
pub fn refusals() -> Vec<Case> {
    [framing(), chunks(), targets(), syntax(), sizes()]
        .into_iter()
        .flatten()
        .filter(|case| case.answer != Answer::Status(200))
        .collect()
}

/// Everything odd that goes up.
pub fn acceptances() -> Vec<Case> {
    let mut cases: Vec<_> = framing().into_iter().filter(|case| case.answer == Answer::Status(200)).collect();
    cases.extend(normalised());
    cases
}

/// Sends the attempt with the good request behind it, and reads what comes until that is answered or the connection ends.
async fn attempt(scene: &Scene, case: &Case) {
    let before = scene.before();
    let mut wire = Wire::connect(&scene.proxy.http()).await;
    // The proxy need not read all of it.
    let _ = within(case.name, wire.try_write(&[case.bytes.as_slice(), NEXT.as_bytes()].concat())).await;
    let status = response(&mut wire, case.name).await;
    assert_eq!(Answer::Status(status), case.answer, "{}", case.name);
    match case.then {
        Then::Serves => assert_eq!(response(&mut wire, case.name).await, 200, "{}", case.name),
        Then::Closes => {
            let end = within(case.name, wire.fill()).await;
            assert!(matches!(end, Ok(0)), "{}: not closed, but {end:?} {:?}", case.name, wire.take_all());
        }
    }
    drop(wire);
    scene.check(case, before).await;
}

async fn response(wire: &mut Wire, name: &str) -> u16 {
    let head = within(name, wire.head()).await;
    let head = head.ok().flatten().unwrap_or_else(|| panic!("{name}: no response"));
    let mut framing = Framing::of_response(&head, "GET");
    while within(name, wire.piece(&mut framing)).await.expect("a whole response").is_some() {}
    head.status()
}

#[tokio::test]
async fn request_that_is_malformed_is_refused_and_nothing_follows_it() {
    let cases = refusals();
    assert!(cases.len() > 90, "{}", cases.len());
    let scene = Scene::start("max_request_body = \"1KiB\"").await;
    for case in &cases {
        attempt(&scene, case).await;
    }
    scene.check_heads(5);
}

#[tokio::test]
async fn request_that_is_odd_goes_up_once_and_regular() {
    let cases = acceptances();
    assert!(cases.len() > 10, "{}", cases.len());
    let scene = Scene::start("").await;
    for case in &cases {
        attempt(&scene, case).await;
    }
    scene.check_heads(cases.len());
}

/// The same attempts cut into single bytes: no answer may hang on how a request arrives.
#[tokio::test]
async fn refusal_does_not_depend_on_how_the_request_is_cut() {
    let scene = Scene::start("max_request_body = \"1KiB\"").await;
    let cases: Vec<_> = refusals().into_iter().filter(|case| case.bytes.len() < 200).collect();
    assert!(cases.len() > 80, "{}", cases.len());
    for case in cases.iter().step_by(3) {
        let before = scene.before();
        let mut wire = Wire::connect(&scene.proxy.http()).await;
        for byte in &case.bytes {
            if wire.try_write(std::slice::from_ref(byte)).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = wire.try_write(NEXT.as_bytes()).await;
        let status = response(&mut wire, case.name).await;
        assert_eq!(Answer::Status(status), case.answer, "{}", case.name);
        drop(wire);
        scene.check(case, before).await;
    }
}
