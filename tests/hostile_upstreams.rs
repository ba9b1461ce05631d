//! HTTP/1.1 upstreams that are hostile, broken or only odd: what the client sees, what the log says, and whether the
//! connection may carry another request. The table is also the one of docs/security.md.

use std::fmt::Write as _;

use crate::support::access::outcome;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request, Rest};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Exchange, Speaks, Upstream};
use crate::support::{security, within};

/// What the client asks for.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Get,
    Head,
    /// A POST that wants a stream.
    Stream,
}

/// What the upstream writes after the request.
#[derive(Clone, Copy)]
enum Says {
    /// This, and then it waits.
    Then(&'static str),
    /// This, and then it closes the connection.
    Close(&'static str),
    /// This, and then it resets the connection.
    Reset(&'static str),
    /// The first once, the second until nobody takes it any more: 64 MiB would be too much.
    Endless(&'static str, &'static str),
}

/// What the client gets.
#[derive(Clone, Copy)]
enum Gets {
    /// 502 from tidegate, with this code.
    Refusal(&'static str),
    /// A whole response: its status and its body.
    Whole(u16, &'static str),
    /// A response that begins like this and breaks off.
    Cut(u16, &'static str),
    /// An event stream that begins like this and ends with an error event of this code.
    ErrorEvent(&'static str, &'static str),
}

/// What becomes of the upstream's connection.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Connection {
    Kept,
    Closed,
}

struct Case {
    /// For people: a row of docs/security.md.
    name: &'static str,
    ask: Ask,
    says: Says,
    gets: Gets,
    /// Fields that must be in the head with this value, and (with an empty value) that must not be there.
    fields: &'static [(&'static str, &'static str)],
    outcome: &'static str,
    connection: Connection,
    /// The section that decides.
    rfc: &'static str,
}

use Ask::{Get, Head, Stream};
use Connection::{Closed, Kept};
use Gets::{Cut, ErrorEvent, Refusal, Whole};
use Says::{Close, Endless, Reset, Then};

const CASES: &[Case] = &[
    // --- what is no HTTP ---
    Case {
        name: "bytes that are no HTTP",
        ask: Get,
        says: Then("SSH-2.0-OpenSSH_9.6\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 2.3",
    },
    Case {
        name: "another protocol's version (HTTP/2.0, ICY)",
        ask: Get,
        says: Then("HTTP/2.0 200 OK\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 2.3",
    },
    Case {
        name: "a body without a head (HTTP/0.9)",
        ask: Get,
        says: Close("<html>hello</html>"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 2.3",
    },
    Case {
        name: "endless bytes without a line end",
        ask: Get,
        says: Endless(
            "HTTP/1.1 200 OK\r\nX: ",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 5.4",
    },
    Case {
        name: "endless empty lines before a head",
        ask: Get,
        says: Endless("", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 2.2",
    },
    Case {
        name: "a few empty lines before a head",
        ask: Get,
        says: Then("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 2.2",
    },
    // --- heads ---
    Case {
        name: "endless header fields",
        ask: Get,
        says: Endless(
            "HTTP/1.1 200 OK\r\n",
            "X-Padding: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        ),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 5.4",
    },
    Case {
        name: "more than 100 header fields",
        ask: Get,
        says: Then(concat!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
            "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            "a:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            "\r\n"
        )),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 5.4",
    },
    Case {
        name: "a bare CR in a field value (response splitting)",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 2.2",
    },
    Case {
        name: "a NUL or another control in a field value",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 5.5",
    },
    Case {
        name: "a folded field line",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 5.2",
    },
    Case {
        name: "a line without a colon, or without a name",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 5",
    },
    Case {
        name: "blanks between a field name and its colon: taken out",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nX-Odd : 1\r\nContent-Length : 2\r\n\r\nok"),
        gets: Whole(200, "ok"),
        fields: &[("x-odd", "1"), ("content-length", "2")],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 5.1",
    },
    Case {
        name: "lines that end in LF alone",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\nX: 1\nContent-Length: 2\n\nok"),
        gets: Whole(200, "ok"),
        fields: &[("x", "1")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9112 2.2",
    },
    Case {
        name: "a status that is no number from 100 to 999",
        ask: Get,
        says: Then("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 15",
    },
    Case {
        name: "hop-by-hop fields, and those that `Connection` names: taken out",
        ask: Get,
        says: Then(concat!(
            "HTTP/1.1 200 OK\r\nConnection: X-Secret-Hop, keep-alive\r\nX-Secret-Hop: 1\r\nKeep-Alive: timeout=5\r\n",
            "Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: gzip\r\n",
            "Content-Length: 2\r\n\r\nok"
        )),
        gets: Whole(200, "ok"),
        fields: &[
            ("x-secret-hop", ""),
            ("keep-alive", ""),
            ("proxy-connection", ""),
            ("proxy-authenticate", ""),
            ("upgrade", ""),
            ("te", ""),
            ("content-length", "2"),
        ],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9110 7.6.1",
    },
    Case {
        name: "`Connection` that names a field meant for the recipient: that one stays",
        ask: Get,
        says: Then(
            "HTTP/1.1 200 OK\r\nConnection: content-length, cache-control\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok",
        ),
        gets: Whole(200, "ok"),
        fields: &[("cache-control", "no-store"), ("content-length", "2")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9110 7.6.1",
    },
    Case {
        name: "`X-Accel-*`: taken out, never obeyed",
        ask: Get,
        says: Then(concat!(
            "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /internal/secret\r\nX-Accel-Buffering: yes\r\nX-Accel-Expires: 60\r\n",
            "X-Accel-Limit-Rate: 1\r\nX-Accel-Charset: koi8-r\r\nContent-Length: 2\r\n\r\nok"
        )),
        gets: Whole(200, "ok"),
        fields: &[
            ("x-accel-redirect", ""),
            ("x-accel-buffering", ""),
            ("x-accel-expires", ""),
            ("x-accel-limit-rate", ""),
            ("x-accel-charset", ""),
        ],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "",
    },
    Case {
        name: "`X-Accel-Buffering: yes` on an event stream: replaced by our own `no`",
        ask: Stream,
        says: Then(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: yes\r\nContent-Length: 9\r\n\r\ndata: a\n\n",
        ),
        gets: Whole(200, "data: a\n\n"),
        fields: &[("x-accel-buffering", "no"), ("content-length", "")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "",
    },
    Case {
        name: "a redirect: passed, never followed",
        ask: Get,
        says: Then(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/else\r\nContent-Length: 0\r\n\r\n",
        ),
        gets: Whole(307, ""),
        fields: &[("location", "http://127.0.0.1:1/else")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9110 15.4",
    },
    Case {
        name: "a redirect to a stream request: passed, never followed",
        ask: Stream,
        says: Then(
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        ),
        gets: Whole(302, "<html>"),
        fields: &[("location", "/login")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9110 15.4",
    },
    // --- interim responses ---
    Case {
        name: "101 that nobody asked for",
        ask: Get,
        says: Then("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 15.2.2",
    },
    Case {
        name: "endless interim responses",
        ask: Get,
        says: Endless("", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9110 15.2",
    },
    // --- framing: lengths ---
    Case {
        name: "several `Content-Length`s that differ",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\nok-evil"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "`Content-Length` that is no number (`+2`, `0x2`, `2,7`, too large)",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "the same `Content-Length` several times: one of them",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 02\r\n\r\nok"),
        gets: Whole(200, "ok"),
        fields: &[("content-length", "2")],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9110 8.6",
    },
    Case {
        name: "`Content-Length` beside chunks: the chunks count",
        ask: Get,
        says: Then(
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        gets: Whole(200, "ok"),
        fields: &[("content-length", "")],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "more bytes than `Content-Length` says: left out",
        ask: Get,
        says: Then(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 9.2",
    },
    Case {
        name: "fewer bytes than `Content-Length` says",
        ask: Get,
        says: Close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::TRUNCATED,
        connection: Closed,
        rfc: "9112 8",
    },
    Case {
        name: "a body after 204",
        ask: Get,
        says: Then("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        gets: Whole(204, ""),
        fields: &[("content-length", "")],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "204 that announces a body, even if none is there yet",
        ask: Get,
        says: Then("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        gets: Whole(204, ""),
        fields: &[("transfer-encoding", "")],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.1",
    },
    Case {
        name: "a body in answer to HEAD",
        ask: Head,
        says: Then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        gets: Whole(200, ""),
        fields: &[("content-length", "4")],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.3",
    },
    // --- framing: transfer codings and chunks ---
    Case {
        name: "a transfer coding other than `chunked`",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        gets: Refusal("upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7",
    },
    Case {
        name: "`Transfer-Encoding: chunked` twice: once",
        ask: Get,
        says: Then(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Kept,
        rfc: "9112 6.1",
    },
    Case {
        name: "chunks in HTTP/1.0: read as such",
        ask: Get,
        says: Then(
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.1",
    },
    Case {
        name: "a chunk size that is no number",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    Case {
        name: "a chunk size that overflows",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n10000000000000000\r\n"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    Case {
        name: "a chunk size of endless digits",
        ask: Get,
        says: Endless(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    Case {
        name: "an endless chunk extension",
        ask: Get,
        says: Endless(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2;",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1.1",
    },
    Case {
        name: "a chunk that does not end where its size says",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokevil\r\n0\r\n\r\n"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    Case {
        name: "chunk lines that end in LF alone",
        ask: Get,
        says: Then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n"),
        gets: Cut(200, ""),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    Case {
        name: "endless trailers",
        ask: Get,
        says: Endless(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
            "X-Padding: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        ),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1.2",
    },
    Case {
        name: "bytes after the last chunk",
        ask: Get,
        says: Then(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 9.2",
    },
    Case {
        name: "an end before the last chunk",
        ask: Get,
        says: Close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::TRUNCATED,
        connection: Closed,
        rfc: "9112 8",
    },
    Case {
        name: "an end between the last chunk and its empty line",
        ask: Get,
        says: Close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::TRUNCATED,
        connection: Closed,
        rfc: "9112 8",
    },
    Case {
        name: "broken chunks in an event stream",
        ask: Stream,
        says: Then(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\nzz\r\n",
        ),
        gets: ErrorEvent("data: a\n\n", "upstream_malformed"),
        fields: &[],
        outcome: outcome::MALFORMED,
        connection: Closed,
        rfc: "9112 7.1",
    },
    // --- ends ---
    Case {
        name: "an end before the head",
        ask: Get,
        says: Close(""),
        gets: Refusal("upstream_closed_before_head"),
        fields: &[],
        outcome: outcome::CLOSED_BEFORE_HEAD,
        connection: Closed,
        rfc: "9112 8",
    },
    Case {
        name: "an end inside the head",
        ask: Get,
        says: Close("HTTP/1.1 200 OK\r\nContent-Le"),
        gets: Refusal("upstream_closed_before_head"),
        fields: &[],
        outcome: outcome::CLOSED_BEFORE_HEAD,
        connection: Closed,
        rfc: "9112 8",
    },
    Case {
        name: "HTTP/1.0, its body ended by the connection",
        ask: Get,
        says: Close("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nok"),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "HTTP/1.0 with `keep-alive`",
        ask: Get,
        says: Then("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        gets: Whole(200, "ok"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 9.3",
    },
    Case {
        name: "an event stream that is ended by the connection",
        ask: Stream,
        says: Close("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n"),
        gets: Whole(200, "data: a\n\n"),
        fields: &[],
        outcome: outcome::DONE,
        connection: Closed,
        rfc: "9112 6.3",
    },
    Case {
        name: "a reset where the connection was to end the body",
        ask: Get,
        says: Reset("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nok"),
        gets: Cut(200, "ok"),
        fields: &[],
        outcome: outcome::TRUNCATED,
        connection: Closed,
        rfc: "9112 9.8",
    },
    Case {
        name: "a reset inside an event stream",
        ask: Stream,
        says: Reset("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n"),
        gets: ErrorEvent("data: a\n\n", "upstream_truncated"),
        fields: &[],
        outcome: outcome::TRUNCATED,
        connection: Closed,
        rfc: "9112 9.8",
    },
];

/// Nothing of what follows is left to a timeout: one that runs out shows as its own outcome.
const BOUNDS: &str = "timeouts = { response_head = \"2s\", event_gap = \"2s\" }\n[server]\nworkers = 1";

/// One process for all of them, with one worker and so one pool: none may hurt the next.
#[tokio::test]
async fn hostile_upstream_gets_a_clear_refusal_or_a_truthful_end_and_the_process_goes_on() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Launch::config(config(&upstream, BOUNDS)).start().await;
    let mut faults = String::new();
    for (number, case) in CASES.iter().enumerate() {
        let path = format!("/v1/chat/completions/{number}");
        let (seen, connection) = play(case, &path, &proxy, &mut upstream).await;
        let line = proxy.access(&path).await;
        let expected = expected(case);
        let ended = (line.need("outcome"), connection);
        if seen != expected || ended != (case.outcome, case.connection) {
            let _ = writeln!(
                faults,
                "{}:\n  seen {seen} {ended:?}\n  not  {expected} {:?}\n  in {line:?}",
                case.name,
                (case.outcome, case.connection)
            );
        }
    }
    assert!(proxy.is_running());
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn security_page_shows_every_case() {
    let rows: Vec<String> = CASES
        .iter()
        .map(|case| {
            let gets = match case.gets {
                Refusal(code) => format!("502 `{code}`"),
                Whole(status, _) => format!("{status}, whole"),
                Cut(status, _) => format!("{status}, cut"),
                ErrorEvent(_, code) => format!("the events so far, then an error event, `{code}`"),
            };
            let kept = if case.connection == Kept { "yes" } else { "no" };
            format!("| {} | {gets} | `{}` | {kept} | {} |", case.name, case.outcome, security::rfc(case.rfc))
        })
        .collect();
    security::assert_rows(
        "| from an HTTP/1.1 upstream | the client gets | outcome | used again | RFC |",
        &rows,
    );
}

fn expected(case: &Case) -> String {
    let fields: String = case.fields.iter().fold(String::new(), |mut all, (name, value)| {
        let _ = write!(all, " {name}={value:?}");
        all
    });
    match case.gets {
        Refusal(code) => format!("502 {code}"),
        Whole(status, body) => format!("{status} whole {body:?}{fields}"),
        Cut(status, body) => format!("{status} cut {body:?}{fields}"),
        ErrorEvent(body, code) => format!("200 whole {body:?} then {code}{fields}"),
    }
}

/// What the client saw, in the words of [`expected`], and what became of the connection.
async fn play(case: &Case, path: &str, proxy: &Tidegate, upstream: &mut Upstream) -> (String, Connection) {
    let request = match case.ask {
        Get => Request::get(path),
        Head => Request::new("HEAD", path),
        Stream => Request::stream(path),
    };
    let mut call = Call::start(&proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    let connection = exchange.connection;
    let (mut seen, written) = tokio::join!(see(case, &mut call), say(case.says, exchange));
    if written > TOO_MUCH {
        let _ = write!(seen, " after {written} bytes");
    }

    // Whether the next request goes out on the same connection.
    let mut probe = Call::start(&proxy.http(), &Request::get("/probe")).await;
    let exchange = upstream.request().await;
    let reused = exchange.connection == connection;
    exchange.answer(200, &[], b"probe").await;
    assert_eq!(probe.body().await, b"probe", "after {}", case.name);
    (seen, if reused { Kept } else { Closed })
}

/// Says it. How many bytes were taken of it.
async fn say(says: Says, mut exchange: Exchange) -> usize {
    match says {
        Then(bytes) => {
            exchange.wire().write(bytes.as_bytes()).await;
            exchange.keep();
            bytes.len()
        }
        Close(bytes) => {
            exchange.wire().write(bytes.as_bytes()).await;
            bytes.len()
        }
        Reset(bytes) => {
            exchange.wire().write(bytes.as_bytes()).await;
            // What was not read yet would be lost with the connection.
            within("the bytes to be read", exchange.wire().until_read()).await;
            exchange.reset();
            bytes.len()
        }
        Endless(begin, again) => {
            exchange.wire().write(begin.as_bytes()).await;
            let piece = again.repeat((64 << 10) / again.len());
            let mut written = begin.len();
            while written <= TOO_MUCH
                && within("a write or an end", exchange.wire().try_write(piece.as_bytes())).await.is_ok()
            {
                written += piece.len();
            }
            written
        }
    }
}

/// More than the sockets between two programs hold.
const TOO_MUCH: usize = 64 << 20;

async fn see(case: &Case, call: &mut Call) -> String {
    let head = match call.try_head().await {
        Ok(head) => head,
        Err(why) => return format!("no head: {why}"),
    };
    let Rest { pieces, cut } = call.rest().await;
    let body: Vec<u8> = pieces.iter().flat_map(|piece| piece.data.clone()).collect();
    let text = String::from_utf8_lossy(&body);
    let fields: String = case.fields.iter().fold(String::new(), |mut all, (name, _)| {
        let _ = write!(all, " {name}={:?}", head.all(name).join(" AND "));
        all
    });
    let status = head.status();
    if status == 502 {
        let error: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        return format!("502 {}", error["error"]["code"].as_str().unwrap_or(&text));
    }
    if let Some((body, error)) = text.split_once("event: error\ndata: ") {
        let error: serde_json::Value = serde_json::from_str(error).unwrap_or_default();
        let code = error["error"]["code"].as_str().unwrap_or_default();
        return format!(
            "{status} {} {body:?} then {code}{fields}",
            if cut.is_some() { "cut" } else { "whole" }
        );
    }
    format!("{status} {} {text:?}{fields}", if cut.is_some() { "cut" } else { "whole" })
}

/// RFC 9112 9.8: over TLS a body that the connection ends is complete only if the end was announced.
#[tokio::test]
async fn tls_body_without_a_length_is_cut_when_the_end_was_not_announced() {
    let certs = Certs::new();
    let mut upstream = Upstream::tls(Speaks::Http1, &certs).await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (announced, cut) in [(true, false), (false, true)] {
        let path = format!("/{announced}");
        let mut call = Call::start(&proxy.http(), &Request::get(&path)).await;
        let mut exchange = upstream.request().await;
        exchange.wire().write(b"HTTP/1.1 200 OK\r\n\r\nok").await;
        if announced {
            exchange.wire().half_close().await;
        }
        drop(exchange);
        let rest = call.rest().await;
        assert_eq!((rest.bytes().as_slice(), rest.cut.is_some()), (&b"ok"[..], cut));
        let ended = if cut { outcome::TRUNCATED } else { outcome::DONE };
        assert_eq!(proxy.access(&path).await.need("outcome"), ended);
    }
}
