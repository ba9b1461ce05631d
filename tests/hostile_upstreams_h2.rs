//! HTTP/2 upstreams that flood, lie or break the protocol, frame by frame: what the client sees, what the log says, and
//! whether the connection takes the next request. While each of them does its worst, a request to a neighbour on the
//! same worker is served. The table is also the one of docs/security.md.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::access::outcome;
use crate::support::client::{Call, Request};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::support::http2_upstream::{Connection, Server, headers};
use crate::support::tidegate::{Launch, Tidegate};
use crate::support::upstream::Upstream;
use crate::support::{security, within};

/// What the client gets.
#[derive(Clone, Copy, Debug)]
enum Gets {
    /// From tidegate: a status and a code.
    Refusal(u16, &'static str),
    /// A whole body.
    Whole(&'static str),
    /// A body that begins like this and breaks off.
    Cut(&'static str),
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Debug)]
enum After {
    /// The next request comes on it.
    Kept,
    /// The next request comes on another.
    Left,
}

struct Case {
    name: &'static str,
    /// Has a body.
    post: bool,
    /// The SETTINGS that the connection begins with.
    settings: &'static [u8],
    /// What is written to the stream with this number.
    says: fn(u32) -> Vec<u8>,
    /// What is written again and again after that; nothing if empty.
    floods: fn(u32) -> Vec<u8>,
    gets: Gets,
    outcome: &'static str,
    after: After,
    rfc: &'static str,
}

use After::{Kept, Left};
use Gets::{Cut, Refusal, Whole};

const BROKEN: Gets = Refusal(502, "upstream_http2_error");
const HTTP2: &str = outcome::HTTP2_ERROR;
const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "text/plain")];

const PLAIN: Case = Case {
    name: "",
    post: false,
    settings: b"",
    says: |_| Vec::new(),
    floods: |_| Vec::new(),
    gets: BROKEN,
    outcome: HTTP2,
    after: Left,
    rfc: "",
};

/// An event that is whole, and the end of the stream.
fn answer(stream: u32) -> Vec<u8> {
    [headers(0, stream, OK), frame(DATA, END_STREAM, stream, b"ok")].concat()
}

fn begun(stream: u32) -> Vec<u8> {
    [headers(0, stream, OK), frame(DATA, 0, stream, b"ok")].concat()
}

const CASES: &[Case] = &[
    Case {
        name: "an answer in HTTP/1.1",
        says: |_| b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        rfc: "9113 4.2",
        ..PLAIN
    },
    // --- floods ---
    Case { name: "endless SETTINGS", floods: |_| frame(SETTINGS, 0, 0, b""), rfc: "9113 10.5", ..PLAIN },
    Case {
        name: "endless SETTINGS inside a body",
        says: begun,
        floods: |_| frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64"),
        gets: Cut("ok"),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case { name: "endless PING", floods: |_| frame(PING, 0, 0, &[7; 8]), rfc: "9113 10.5", ..PLAIN },
    Case {
        name: "endless GOAWAY",
        says: begun,
        floods: |_| frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        gets: Cut("ok"),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "endless PRIORITY",
        floods: |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "endless frames of an unknown type",
        floods: |_| frame(0xee, 0, 0, &[0; 100]),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "endless WINDOW_UPDATE",
        says: |_| frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0"),
        floods: |stream| {
            [frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]), frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0")]
                .concat()
        },
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "endless empty DATA",
        says: begun,
        floods: |stream| frame(DATA, 0, stream, b""),
        gets: Cut("ok"),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "endless interim responses",
        floods: |stream| headers(0, stream, &[(":status", "103"), ("link", "</x>")]),
        rfc: "9110 15.2",
        ..PLAIN
    },
    Case {
        name: "endless CONTINUATION",
        says: |stream| frame(HEADERS, 0, stream, &block(OK)),
        floods: |stream| {
            frame(CONTINUATION, 0, stream, &block(&[("x-padding", "yyyyyyyyyyyyyyyyyyyyyyyyy")]))
        },
        rfc: "9113 10.5.1",
        ..PLAIN
    },
    Case {
        name: "endless empty CONTINUATION",
        says: |stream| frame(HEADERS, 0, stream, &block(OK)),
        floods: |stream| frame(CONTINUATION, 0, stream, b""),
        rfc: "9113 10.5.1",
        ..PLAIN
    },
    Case {
        name: "endless RST_STREAM",
        floods: |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]),
        rfc: "9113 10.5",
        ..PLAIN
    },
    Case {
        name: "a head larger than 64 KiB",
        says: |stream| {
            let large = "y".repeat(15_000);
            let mut says = frame(HEADERS, 0, stream, &block(OK));
            for _ in 0..8 {
                says.extend(frame(CONTINUATION, 0, stream, &block(&[("x-padding", &large)])));
            }
            says.extend(frame(CONTINUATION, END_HEADERS, stream, b""));
            says
        },
        rfc: "9113 10.5.1",
        ..PLAIN
    },
    Case {
        name: "a head of references that blow up (HPACK)",
        says: |stream| {
            // A field of 3 KiB that is remembered, and a thousand references to it of one byte each.
            let value = "y".repeat(3000);
            let mut bomb = block(&[(":status", "200"), ("x", &value)]);
            let at = block(&[(":status", "200")]).len();
            bomb[at] = 0x40;
            bomb.extend(vec![0x80 | 62; 1000]);
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb)
        },
        rfc: "9113 10.5.1",
        ..PLAIN
    },
    Case {
        name: "a body in frames of one byte",
        says: |stream| {
            let mut says = headers(0, stream, OK);
            says.extend(frame(DATA, 0, stream, b"x").repeat(20_000));
            says.extend(frame(DATA, END_STREAM, stream, b""));
            says
        },
        gets: Whole("x*20000"),
        outcome: outcome::DONE,
        after: Kept,
        rfc: "9113 6.1",
        ..PLAIN
    },
    Case {
        name: "no window for the request body",
        post: true,
        settings: b"\0\x04\0\0\0\0",
        gets: Refusal(504, "upstream_timeout_response_head"),
        outcome: outcome::TIMEOUT_RESPONSE_HEAD,
        after: Kept,
        rfc: "9113 6.9",
        ..PLAIN
    },
    Case {
        name: "no window for the request body, and an answer",
        post: true,
        settings: b"\0\x04\0\0\0\0",
        says: answer,
        gets: Whole("ok"),
        outcome: outcome::DONE,
        after: Kept,
        rfc: "9113 8.1",
        ..PLAIN
    },
    Case {
        name: "room for no stream at all",
        says: |_| frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\0"),
        gets: Refusal(504, "upstream_timeout_response_head"),
        outcome: outcome::TIMEOUT_RESPONSE_HEAD,
        rfc: "9113 5.1.2",
        ..PLAIN
    },
    // --- what breaks the protocol ---
    Case {
        name: "SETTINGS with a value that is not allowed",
        says: |_| frame(SETTINGS, 0, 0, b"\0\x05\0\0\0\0"),
        rfc: "9113 6.5.2",
        ..PLAIN
    },
    Case {
        name: "a window larger than 2^31-1",
        says: |_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        rfc: "9113 6.9.1",
        ..PLAIN
    },
    Case {
        name: "PUSH_PROMISE, which was switched off",
        says: |stream| frame(PUSH_PROMISE, END_HEADERS, stream, &[&[0, 0, 0, 2], &block(OK)[..]].concat()),
        rfc: "9113 8.4",
        ..PLAIN
    },
    Case {
        name: "a frame larger than was allowed",
        says: |stream| [headers(0, stream, OK), frame(DATA, 0, stream, &[b'x'; 16_385])].concat(),
        gets: Cut(""),
        rfc: "9113 4.2",
        ..PLAIN
    },
    Case {
        name: "DATA that is padded beyond its end",
        says: |stream| [headers(0, stream, OK), frame(DATA, PADDED, stream, &[9, 0])].concat(),
        gets: Cut(""),
        rfc: "9113 6.1",
        ..PLAIN
    },
    Case {
        name: "DATA before a head",
        says: |stream| frame(DATA, END_STREAM, stream, b"evil"),
        rfc: "9113 8.1",
        ..PLAIN
    },
    Case {
        name: "a head without a status",
        says: |stream| headers(END_STREAM, stream, &[("content-type", "text/plain")]),
        after: Kept,
        rfc: "9113 8.3.2",
        ..PLAIN
    },
    Case {
        name: "a field name in upper case",
        says: |stream| headers(END_STREAM, stream, &[(":status", "200"), ("X-Upper", "1")]),
        rfc: "9113 8.2.1",
        ..PLAIN
    },
    Case {
        name: "CR and LF in a field value (response splitting)",
        says: |stream| headers(END_STREAM, stream, &[(":status", "200"), ("x", "a\r\nset-cookie: evil=1")]),
        rfc: "9113 8.2.1",
        ..PLAIN
    },
    Case {
        name: "a field of the connection (`Connection`, `Transfer-Encoding`)",
        says: |stream| headers(END_STREAM, stream, &[(":status", "200"), ("transfer-encoding", "chunked")]),
        after: Kept,
        rfc: "9113 8.2.2",
        ..PLAIN
    },
    Case {
        name: "101, which does not exist in HTTP/2: left out as every interim response",
        says: |stream| [headers(0, stream, &[(":status", "101")]), answer(stream)].concat(),
        gets: Whole("ok"),
        outcome: outcome::DONE,
        after: Kept,
        rfc: "9113 8.6",
        ..PLAIN
    },
    Case {
        name: "fewer bytes than `Content-Length` says",
        says: |stream| {
            let head = headers(0, stream, &[(":status", "200"), ("content-length", "9")]);
            [head, frame(DATA, END_STREAM, stream, b"ok")].concat()
        },
        gets: Cut(""),
        after: Kept,
        rfc: "9113 8.1.1",
        ..PLAIN
    },
    Case {
        name: "more bytes than `Content-Length` says",
        says: |stream| {
            let head = headers(0, stream, &[(":status", "200"), ("content-length", "2")]);
            [head, frame(DATA, END_STREAM, stream, b"ok-evil")].concat()
        },
        gets: Cut(""),
        after: Kept,
        rfc: "9113 8.1.1",
        ..PLAIN
    },
    // --- ends ---
    Case {
        name: "a reset before the head",
        says: |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]),
        after: Kept,
        rfc: "9113 6.4",
        ..PLAIN
    },
    Case {
        name: "a reset inside the body",
        says: |stream| [begun(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])].concat(),
        gets: Cut("ok"),
        after: Kept,
        rfc: "9113 6.4",
        ..PLAIN
    },
    Case {
        name: "a reset with NO_ERROR inside the body",
        says: |stream| [begun(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 0])].concat(),
        gets: Cut("ok"),
        outcome: outcome::TRUNCATED,
        after: Kept,
        rfc: "9113 8.1",
        ..PLAIN
    },
    Case {
        name: "GOAWAY with an error, and the answer after it",
        says: |stream| [frame(GOAWAY, 0, 0, &[0, 0, 0, stream as u8, 0, 0, 0, 2]), answer(stream)].concat(),
        gets: Whole("ok"),
        outcome: outcome::DONE,
        rfc: "9113 6.8",
        ..PLAIN
    },
    Case {
        name: "`X-Accel-*` and `Alt-Svc`: taken out",
        says: |stream| {
            let head = [(":status", "200"), ("x-accel-redirect", "/etc"), ("alt-svc", "h3=\":1\"")];
            [headers(0, stream, &head), frame(DATA, END_STREAM, stream, b"ok")].concat()
        },
        gets: Whole("ok"),
        outcome: outcome::DONE,
        after: Kept,
        rfc: "",
        ..PLAIN
    },
];

async fn proxy(server: &Server, neighbour: &Upstream) -> Tidegate {
    let route = |path: &str, upstream: &str| {
        format!(
            "[[route]]\npath = \"{path}\"\nupstream = \"{upstream}\"\ntimeouts = {{ response_head = \"5s\", event_gap = \"10s\" }}\n"
        )
    };
    let tables = [server.table("up"), neighbour.table("neighbour")].concat();
    let routes = [route("/", "up"), route("/neighbour", "neighbour")].concat();
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n[server]\nworkers = 1\n";
    Launch::config([listener, &tables, &routes].concat()).start().await
}

#[tokio::test]
async fn hostile_http2_upstream_gets_a_clear_refusal_or_a_truthful_end_and_others_are_served() {
    let mut neighbour = Upstream::start().await;
    let mut faults = String::new();
    for (number, case) in CASES.iter().enumerate() {
        let server = Server::start().await;
        let mut proxy = proxy(&server, &neighbour).await;
        let path = format!("/{number}");
        let before = proxy.rss();
        let request = if case.post { Request::post(&path, &"x".repeat(1000)) } else { Request::get(&path) };
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut connection = server.request(case.settings).await;
        let http = proxy.http();
        let (seen, _, ()) = tokio::join!(see(&mut call), say(case, &mut connection), async {
            let mut call = Call::start(&http, &Request::get("/neighbour")).await;
            neighbour.request().await.answer(200, &[], b"served").await;
            assert_eq!(call.body().await, b"served", "beside {}", case.name);
        });
        let line = proxy.access(&path).await;
        let after = after(&proxy, &server, connection).await;
        let grown = grown(&proxy, before).await;
        let expected = match case.gets {
            Refusal(status, code) => format!("{status} {code}"),
            Whole(body) => format!("200 whole {body:?}"),
            Cut(body) => format!("200 cut {body:?}"),
        };
        let told = (seen.as_str(), line.need("outcome"), after);
        if told != (expected.as_str(), case.outcome, case.after) || grown > MAX_GROWTH || !proxy.is_running()
        {
            let _ = writeln!(
                faults,
                "{}:\n  seen {told:?}\n  not  {:?}\n  {} KiB more; {line:?}",
                case.name,
                (&expected, case.outcome, case.after),
                grown >> 10
            );
        }
        assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn security_page_shows_every_http2_case() {
    let rows: Vec<String> = CASES
        .iter()
        .map(|case| {
            let gets = match case.gets {
                Refusal(status, code) => format!("{status} `{code}`"),
                Whole(_) => "200, whole".to_owned(),
                Cut(_) => "200, cut".to_owned(),
            };
            let kept = if case.after == Kept { "yes" } else { "no" };
            format!("| {} | {gets} | `{}` | {kept} | {} |", case.name, case.outcome, security::rfc(case.rfc))
        })
        .collect();
    security::assert_rows(
        "| from an HTTP/2 upstream | the client gets | outcome | used again | RFC |",
        &rows,
    );
}

/// Writes what the case says, and floods until nobody takes it any more.
async fn say(case: &Case, connection: &mut Connection) -> usize {
    let stream = connection.stream;
    let mut written = 0;
    if connection.write(&(case.says)(stream)).await.is_none() {
        return written;
    }
    let piece = (case.floods)(stream);
    let piece = piece.repeat((64 << 10) / piece.len().max(1));
    while !piece.is_empty() && within("a write or an end", connection.write(&piece)).await.is_some() {
        written += piece.len();
        assert!(written < 64 << 20, "{}: {written} bytes were taken", case.name);
    }
    written
}

async fn see(call: &mut Call) -> String {
    let head = match call.try_head().await {
        Ok(head) => head,
        Err(why) => return format!("no head: {why}"),
    };
    for name in ["x-accel-redirect", "alt-svc", "set-cookie"] {
        assert_eq!(head.one(name), None);
    }
    let rest = call.rest().await;
    let body = String::from_utf8(rest.bytes()).expect("text");
    match head.status() {
        200 if body.len() > 100 => format!("200 whole \"{}*{}\"", &body[..1], body.len()),
        200 => format!("200 {} {body:?}", if rest.cut.is_some() { "cut" } else { "whole" }),
        status => {
            let error: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            format!("{status} {}", error["error"]["code"].as_str().unwrap_or(&body))
        }
    }
}

/// On which connection the next request comes.
async fn after(proxy: &Tidegate, server: &Server, mut connection: Connection) -> After {
    let probe = Call::start(&proxy.http(), &Request::get("/probe")).await;
    let found = tokio::select! {
        Some(_) = connection.next_request() => Kept,
        _ = server.request(b"") => Left,
    };
    drop(probe);
    found
}

/// Each connection says that it is leaving before it has taken anything: a request is sent three times, then refused.
#[tokio::test]
async fn goaway_on_every_connection_is_a_refusal_after_three_attempts() {
    let (server, neighbour) = (Server::start().await, Upstream::start().await);
    let proxy = proxy(&server, &neighbour).await;
    let mut call = Call::start(&proxy.http(), &Request::get("/storm")).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = server.request(b"").await;
        connection.write(&frame(GOAWAY, 0, 0, &[0; 8])).await;
        connections.push(connection);
    }
    assert_eq!(within("the answer", see(&mut call)).await, "502 upstream_http2_error");
    proxy.access("/storm").await.assert_ended(HTTP2, "head");
    // A fourth attempt would have come before the next request, and would get its answer.
    let mut next = Call::start(&proxy.http(), &Request::get("/next")).await;
    let mut connection = server.request(b"").await;
    connection.write(&answer(connection.stream)).await;
    assert_eq!(within("the answer", see(&mut next)).await, "200 whole \"ok\"");
}

/// How much memory it has more than `before`, once the allocator has given back what was freed a second ago.
async fn grown(proxy: &Tidegate, before: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        let grown = proxy.rss().saturating_sub(before);
        if grown <= MAX_GROWTH || Instant::now() > deadline {
            return grown;
        }
    }
}

/// What one hostile connection may leave behind, in bytes.
const MAX_GROWTH: u64 = 8 << 20;
