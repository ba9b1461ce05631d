//! Streams over HTTP/1.1 leave without hyper, and a client cannot tell: the same bytes, the same connection afterwards, the
//! same end. All other tests run in both positions of `server.takeover` (tests/run).

use rustix::process::Signal;

use crate::support::access::outcome;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::Wire;
use crate::support::within;

const PATH: &str = "/v1/chat/completions";
/// What is logged at `debug` when hyper lets go.
const TAKEN: &str = "stream goes on without hyper";

/// A tidegate that tells of takeovers; in this `position`, whatever the run of the tests is in.
async fn launch(upstream: &Upstream, position: &str, more: &str) -> Tidegate {
    let own = format!("[server]\nworkers = 1\ntakeover = \"{position}\"\n[log]\nlevel = \"debug\"");
    Launch::config(config(upstream, &format!("{more}\n{own}"))).start().await
}

fn taken(proxy: &Tidegate) -> usize {
    proxy.log().matches(TAKEN).count()
}

/// A stream of which the client holds the first event.
async fn begun(call: &mut Call, upstream: &mut Upstream) -> Exchange {
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: 1\n\n").await;
    assert_eq!(call.piece().await.data, b"data: 1\n\n");
    exchange
}

/// The rest of that stream, properly ended.
async fn ended(call: &mut Call, mut exchange: Exchange) {
    exchange.chunk(b"data: 2\n\n").await;
    assert_eq!(call.piece().await.data, b"data: 2\n\n");
    exchange.end().await;
    assert_eq!(call.rest().await.cut, None);
}

#[tokio::test]
async fn connection_carries_the_next_request_after_each_stream() {
    let certs = Certs::new();
    let mut upstream = Upstream::start().await;
    let tls = format!("\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let proxy = launch(&upstream, "on", &tls).await;
    for (index, endpoint) in [proxy.http(), proxy.https(&certs, &["http/1.1"])].iter().enumerate() {
        let mut wire = Wire::connect(endpoint).await;
        for _ in 0..3 {
            let mut call = Call::over(wire, &Request::stream(PATH)).await;
            let exchange = begun(&mut call, &mut upstream).await;
            ended(&mut call, exchange).await;
            call = call.again(&Request::get("/short")).await;
            upstream.request().await.answer(200, &[("content-length", "2")], b"ok").await;
            assert_eq!(call.body().await, b"ok");
            wire = call.into_wire();
        }
        assert_eq!(taken(&proxy), 3 * (index + 1), "{endpoint:?}");
    }
}

#[tokio::test]
async fn pipelined_request_is_answered_after_the_stream() {
    let mut upstream = Upstream::start().await;
    let proxy = launch(&upstream, "on", "").await;
    // One comes with the request, in hyper's own read; the other while the stream goes on, half of it.
    let next = Request::get("/next").to_bytes();
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(&[Request::stream(PATH).to_bytes(), next.clone()].concat()).await;
    let mut call = Call::written(wire, "POST");
    let exchange = begun(&mut call, &mut upstream).await;
    let (half, rest) = next.split_at(7);
    call.wire().write(half).await;
    ended(&mut call, exchange).await;
    for last in [false, true] {
        let exchange = upstream.request().await;
        assert_eq!(exchange.head.target(), "/next");
        exchange.answer(200, &[("content-length", "2")], b"ok").await;
        call = Call::written(call.into_wire(), "GET");
        assert_eq!(call.body().await, b"ok");
        if !last {
            call.wire().write(rest).await;
        }
    }
    assert_eq!(taken(&proxy), 1);
}

/// What of it came in one read with the request is not counted: nobody knows where in that the request ended.
#[tokio::test]
async fn client_may_send_64_kib_ahead_of_a_stream_and_not_a_byte_more() {
    let padded = |padding: usize| Request::get("/next").field("x-padding", &"x".repeat(padding)).to_bytes();
    let next = padded((8 << 10) - padded(0).len());
    assert_eq!(next.len(), 8 << 10);
    let cases = ["on", "off"]
        .into_iter()
        .flat_map(|position| [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(with, over)| (position, with, over)));
    for (position, with, over) in cases {
        let case = format!("{position}, {with} with the request, {over} too much");
        let mut upstream = Upstream::start().await;
        let proxy = launch(&upstream, position, "").await;
        let short = Request::get("/next").to_bytes().repeat(with);
        let mut wire = Wire::connect(&proxy.http()).await;
        wire.write(&[Request::stream(PATH).to_bytes(), short].concat()).await;
        let mut call = Call::written(wire, "POST");
        let mut exchange = begun(&mut call, &mut upstream).await;
        if position == "on" {
            proxy.logged(TAKEN).await;
        }
        call.wire().write(&[next.repeat(8), b"G".repeat(over)].concat()).await;
        if over > 0 {
            within(&case, exchange.closed()).await;
            proxy.access(PATH).await.assert_ended(outcome::CLIENT_FLOODED, "body");
            continue;
        }
        within(&case, call.wire().until_read()).await;
        ended(&mut call, exchange).await;
        for _ in 0..with + 8 {
            upstream.request().await.answer(200, &[("content-length", "2")], b"ok").await;
            call = Call::written(call.into_wire(), "GET");
            assert_eq!(call.body().await, b"ok", "{case}");
        }
    }
}

#[tokio::test]
async fn connection_closes_after_the_stream_where_the_client_wants_that() {
    let mut upstream = Upstream::start().await;
    let proxy = launch(&upstream, "on", "").await;
    let request = Request::stream(PATH).field("connection", "close");
    let mut call = Call::start(&proxy.http(), &request).await;
    let exchange = begun(&mut call, &mut upstream).await;
    ended(&mut call, exchange).await;
    assert_eq!(call.wire().end().await.expect("a proper end"), b"");
    assert_eq!(taken(&proxy), 1);
    proxy.access(PATH).await.assert_ended(outcome::DONE, "end");
}

/// What the client sees: the head without the fields that differ from run to run, each chunk, and how it ends.
async fn seen(position: &str, cut: bool) -> Vec<String> {
    let mut upstream = Upstream::start().await;
    let proxy = launch(&upstream, position, "stream = { heartbeat = \"off\" }").await;
    let mut call = Call::start(&proxy.http(), &Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: 1\n\n").await;
    let head = call.head().await.clone();
    let stays = |(name, _): &&(String, String)| name != "date" && name != "x-request-id";
    let fields: Vec<_> = head.fields.iter().filter(stays).collect();
    let mut seen = vec![format!("{} {fields:?}", head.start)];
    // The pieces of the second come in one read, so that they leave in one write.
    for (text, pieces) in [("data: 2\r\n\r\ndata: 3\n\n", 3), (": comment\n\nevent: a\rdata: 4\r\r", 2)] {
        exchange.chunk(text.as_bytes()).await;
        for _ in 0..pieces {
            seen.push(String::from_utf8_lossy(&call.piece().await.data).into_owned());
        }
    }
    if cut {
        exchange.reset()
    } else {
        exchange.end().await
    }
    let rest = call.rest().await;
    seen.push(format!("{} cut: {:?}", String::from_utf8_lossy(&rest.bytes()), rest.cut));
    assert_eq!(taken(&proxy), usize::from(position == "on"), "{position}");
    seen
}

#[tokio::test]
async fn client_sees_the_same_in_both_positions() {
    for cut in [false, true] {
        let (on, off) = (seen("on", cut).await, seen("off", cut).await);
        assert_eq!(on, off, "cut: {cut}");
        assert_eq!(on.len(), 7, "{on:?}");
    }
}

/// The head may be all that a client is sent for a while, and an answer may be whole in one read: neither is a reason to
/// wait, or to let go.
#[tokio::test]
async fn head_comes_before_the_first_event_and_a_short_answer_is_not_taken() {
    let mut upstream = Upstream::start().await;
    let proxy = launch(&upstream, "on", "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    assert_eq!(call.piece().await.data, b":\n", "the head, and a comment at once");
    exchange.chunk(b"data: 1\n\n").await;
    assert_eq!(call.piece().await.data, b"data: 1\n\n");
    exchange.end().await;
    assert_eq!(call.rest().await.cut, None);
    assert_eq!(taken(&proxy), 1);
    let mut call = call.again(&Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
                 9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n";
    exchange.wire().write(whole.as_bytes()).await;
    assert_eq!(call.body().await, b"data: 1\n\ndata: 2\n\n");
    assert_eq!(taken(&proxy), 1);
}

/// Off, hyper closes a connection that is in the middle of a head when a drain begins; so it is after a stream.
#[tokio::test]
async fn drain_does_not_wait_for_half_a_request_behind_a_stream() {
    for position in ["on", "off"] {
        let mut upstream = Upstream::start().await;
        let mut proxy = launch(&upstream, position, "").await;
        let mut call = Call::start(&proxy.http(), &Request::stream(PATH)).await;
        let exchange = begun(&mut call, &mut upstream).await;
        ended(&mut call, exchange).await;
        call.wire().write(b"GET /ha").await;
        call.wire().until_read().await;
        proxy.signal(Signal::TERM);
        assert!(proxy.exit().await.success());
        assert_eq!(proxy.access_lines().len(), 1, "{position}: {}", proxy.log());
    }
}
