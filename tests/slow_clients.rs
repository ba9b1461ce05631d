//! Clients that take their time: each wait for them has a name and an end, and what they hold meanwhile has a bound.

use std::time::{Duration, Instant};

use crate::support::access::outcome;
use crate::support::alone;
use crate::support::client::{Call, Request, Version};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, RST_STREAM, RawHttp2, block, frame, get, request, statuses,
};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;
use crate::support::within;

/// What `request_head` is here.
const HEAD: Duration = Duration::from_millis(400);

/// With a short wait for heads.
async fn impatient(upstream: &Upstream) -> Tidegate {
    Tidegate::before(upstream, "\n[timeouts]\nrequest_head = \"400ms\"").await
}

/// Writes the bytes one after the other, at a pace that is no silence, each some time after the one before, until nobody
/// takes them any more.
async fn trickle(wire: &mut Wire, bytes: impl Iterator<Item = u8>) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for byte in bytes {
        pace.tick().await;
        if wire.try_write(&[byte]).await.is_err() {
            return;
        }
    }
}

/// A byte now and then does not make a head that is on its way: the time is that of the whole head.
#[tokio::test]
async fn head_that_trickles_in_is_a_408() {
    let upstream = Upstream::start().await;
    let proxy = impatient(&upstream).await;
    let start = Instant::now();
    let mut wire = Wire::connect(&proxy.http()).await;
    let head = b"GET /slow HTTP/1.1\r\nhost: a\r\nx: ".iter().copied().chain(std::iter::repeat(b'x'));
    within("the end of the patience", trickle(&mut wire, head.take(60))).await;
    let mut call = Call::written(wire, "GET");
    assert_eq!(call.status().await, 408);
    assert_eq!(call.head().await.one("connection"), Some("close"));
    assert!(start.elapsed() >= HEAD);
    let line = proxy.logged("timeout_request_head").await;
    assert!(line.contains("method=- status=408 outcome=client:timeout_request_head phase=request"), "{line}");
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn connection_on_which_nothing_comes_is_closed_without_a_word() {
    let mut upstream = Upstream::start().await;
    let proxy = impatient(&upstream).await;
    for used in [false, true] {
        let mut wire = Wire::connect(&proxy.http()).await;
        if used {
            wire.write(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
            upstream.request().await.answer(200, &[], b"ok").await;
            let mut call = Call::written(wire, "GET");
            assert_eq!(call.body().await, b"ok");
            wire = call.into_wire();
        }
        let start = Instant::now();
        within("the end of the patience", wire.until_closed()).await;
        assert!(start.elapsed() > HEAD / 2, "after {:?}", start.elapsed());
        assert!(wire.take_all().is_empty());
    }
    assert_eq!(proxy.access_lines().len(), 1);
}

#[tokio::test]
async fn preface_of_http2_that_does_not_come_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = impatient(&upstream).await;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"PRI * HTTP/2.0\r\n\r\nSM").await;
    within("the end of the patience", wire.until_closed()).await;
    proxy.logged("client:timeout_request_head").await;
}

/// Other frames must wait for the end of a header block, so a client that does not finish one holds its own streams only;
/// but those would keep the connection, and what came of the head, for as long as they last.
#[tokio::test]
async fn http2_head_that_is_not_finished_ends_the_connection_with_its_streams() {
    let mut upstream = Upstream::start().await;
    let proxy = impatient(&upstream).await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    client.write(&request(1, &get("/running"))).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    let head = block(&get("/slow"));
    let start = Instant::now();
    client.write(&frame(HEADERS, 0, 3, &head[..10])).await;
    let mut pace = tokio::time::interval(HEAD / 5);
    // Many more pieces would be a flood.
    for piece in head[10..40].chunks(10) {
        pace.tick().await;
        client.write(&frame(CONTINUATION, 0, 3, piece)).await;
    }
    client.until_closed().await;
    assert!(start.elapsed() >= HEAD, "after {:?}", start.elapsed());
    within("the upstream to be left", exchange.closed()).await;
    proxy.access("/running").await.assert_ended("client:timeout_request_head", "first_event");
    let refused = proxy.access_lines().iter().filter(|line| line.get("path").is_none()).count();
    assert_eq!(refused, 1, "{}", proxy.log());
}

/// A byte every now and then is not silence, and would hold the upstream's connection for as long as the body may be large.
#[tokio::test]
async fn body_that_trickles_in_is_a_408() {
    let mut upstream = Upstream::start().await;
    let more = "timeouts = { request_body_idle = \"400ms\" }\n[limits]\nmin_body_rate = \"1KiB\"";
    let proxy = Tidegate::before(&upstream, more).await;
    let start = Instant::now();
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    let mut exchange = upstream.request().await;
    within("the end of the patience", trickle(&mut wire, std::iter::repeat_n(b'x', 100))).await;
    let mut call = Call::written(wire, "POST");
    assert_eq!(call.status().await, 408);
    assert_eq!(call.json().await["error"]["code"], "request_body_too_slow");
    assert!(start.elapsed() >= Duration::from_millis(400));
    within("the upstream to be left", exchange.closed()).await;
    proxy.access("/slow").await.assert_ended("client:request_body_too_slow", "request");
}

#[tokio::test]
async fn http2_body_that_trickles_in_is_a_408_for_its_stream_alone() {
    let mut upstream = Upstream::start().await;
    let more = "timeouts = { request_body_idle = \"400ms\" }\n[limits]\nmin_body_rate = \"1KiB\"";
    let proxy = Tidegate::before(&upstream, more).await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/slow")];
    client.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    let mut exchange = upstream.request().await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..40 {
        pace.tick().await;
        client.write(&frame(DATA, 0, 1, b"x")).await;
    }
    within("the upstream to be left", exchange.closed()).await;
    client.write(&request(3, &get("/next"))).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    let mut frames = Vec::new();
    while !statuses(&frames).contains_key(&3) {
        frames.push(within("the responses", client.next()).await.expect("the connection stays"));
    }
    assert_eq!(statuses(&frames).get(&1), Some(&408), "{frames:?}");
    proxy.access("/slow").await.assert_ended("client:request_body_too_slow", "request");
}

/// The rate is asked of the client, not of the upstream: while nobody can take its bytes, it is not slow.
#[tokio::test]
async fn body_that_the_upstream_takes_slowly_is_not_too_slow() {
    let mut upstream = Upstream::start().await;
    let more = "timeouts = { request_body_idle = \"300ms\" }\n[limits]\nmin_body_rate = \"64MiB\"";
    let proxy = Tidegate::before(&upstream, more).await;
    let size = 8 << 20;
    let mut wire = Wire::connect(&proxy.http()).await;
    let head = format!("POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    wire.write(head.as_bytes()).await;
    let mut exchange = upstream.request().await;
    let upload = tokio::spawn(async move {
        wire.write(&vec![b'x'; size]).await;
        Call::written(wire, "POST")
    });
    // Longer than a client may be silent: two that are, one after the other, are refused meanwhile.
    for _ in 0..2 {
        let mut silent = Wire::connect(&proxy.http()).await;
        silent.write(b"POST /silent HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await;
        let _unanswered = upstream.request().await;
        assert_eq!(Call::written(silent, "POST").status().await, 408);
    }
    assert_eq!(exchange.body().await.len(), size);
    exchange.answer(200, &[], b"ok").await;
    let mut call = within("the upload", upload).await.expect("no panic");
    assert_eq!(call.status().await, 200);
}

/// What was written for a client that reads nothing is bounded, and so is the time that it is kept.
#[tokio::test]
async fn client_that_reads_nothing_is_cut_and_held_little_meanwhile() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[timeouts]\nclient_write_stall = \"1s\"").await;
    let before = proxy.rss();
    for path in ["/1", "/2"] {
        let wire = Wire::connect_narrow(&proxy.http()).await;
        let call = Call::over(wire, &Request::get(path)).await;
        let mut exchange = upstream.request().await;
        exchange.respond(200, &[("content-type", "application/octet-stream")]).await;
        let swallowed = exchange.flood(64 << 20, Duration::from_millis(300)).await;
        assert!(swallowed <= 4 << 20, "{swallowed} bytes were taken for a client that reads nothing");
        within("the upstream to be left", exchange.closed()).await;
        proxy.access(path).await.assert_ended(outcome::CLIENT_STALLED, "body");
        drop(call);
    }
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < 8 << 20, "RSS grew by {grown} bytes");
}

/// A client that reads its socket, but gives a stream no window, cannot be told from one that is busy but by time.
#[tokio::test]
async fn http2_streams_without_a_window_are_reset_and_held_little_meanwhile() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[timeouts]\nclient_write_stall = \"2s\"").await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let mut client = RawHttp2::connect(&proxy.http(), &[0, 4, 0, 0, 0, 0]).await;
    let before = proxy.rss();
    let streams = 100;
    let mut floods = Vec::new();
    for number in 0..streams {
        client.write(&request(2 * number + 1, &get("/stuck"))).await;
        let mut exchange = upstream.request().await;
        exchange.respond(200, &[("content-type", "application/octet-stream")]).await;
        floods.push(tokio::spawn(async move {
            // Until nothing more is taken, or the proxy has left.
            let flood = async { while exchange.try_chunk(&[0; 16 << 10]).await.is_ok() {} };
            flood.await;
        }));
    }
    let grown = within("all streams to be reset", async {
        let (mut resets, mut most) = (0, 0);
        while resets < streams {
            let frame = client.next().await.expect("the connection stays");
            resets += u32::from(frame.kind == RST_STREAM);
            most = proxy.rss().saturating_sub(before).max(most);
        }
        most
    })
    .await;
    assert!(grown < 32 << 20, "RSS grew by {grown} bytes for {streams} streams");
    for flood in floods {
        within("the upstream to be left", flood).await.expect("no panic");
    }
    let line = proxy.access("/stuck").await;
    assert_eq!(line.need("outcome"), outcome::CLIENT_STALLED, "{line:?}");
    // The connection is as good as before.
    client.write(&request(1001, &get("/next"))).await;
    upstream.request().await.answer(204, &[], b"").await;
    let head = within("a response", async {
        loop {
            let frame = client.next().await.expect("the connection stays");
            if frame.stream == 1001 {
                return frame;
            }
        }
    })
    .await;
    assert_eq!(statuses(&[head]).get(&1001), Some(&204));
}

#[tokio::test]
async fn others_are_served_while_heads_and_bodies_trickle_in() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[server]\nworkers = 1").await;
    let (mut slow, mut held) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let mut wire = Wire::connect(&proxy.http()).await;
        let begin: &[u8] = match number % 2 {
            0 => b"GET /slow HTTP/1.1\r\nhost:",
            _ => b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx",
        };
        wire.write(begin).await;
        slow.push(wire);
    }
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &Request::get("/quick")).await;
        loop {
            let exchange = upstream.request().await;
            if exchange.head.target() == "/quick" {
                exchange.answer(200, &[], b"ok").await;
                break;
            }
            held.push(exchange);
        }
        assert_eq!(call.body().await, b"ok");
    }
    assert_eq!(slow.len(), 200);
}
