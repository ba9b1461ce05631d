//! An event reaches the client before the next one exists: the upstream sends event n+1 only after the client
//! holds event n, so a proxy that waits for anything waits forever.

use crate::support::Dir;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request, Version};
use crate::support::sse;
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Speaks, Upstream};
use crate::support::wire::Endpoint;

/// Event by event from `upstream` to a client at `endpoint`; each event is one chunk or DATA frame.
async fn lock_step(endpoint: &Endpoint, version: Version, upstream: &mut Upstream) {
    let mut call = Call::start_as(version, endpoint, &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    for number in 0..20 {
        let event = format!("event: token\nid: {number}\ndata: {{\"t\":\"第 {number} 个\"}}\n\n");
        exchange.chunk(event.as_bytes()).await;
        assert_eq!(String::from_utf8_lossy(&call.piece().await.data), event);
    }
    exchange.chunk(b"data: [DONE]\n\n").await;
    assert_eq!(call.piece().await.data, b"data: [DONE]\n\n");
    exchange.end().await;
    let rest = call.rest().await;
    assert!(rest.cut.is_none() && rest.pieces.is_empty(), "{rest:?}");
}

fn listening_with_tls(upstream: &Upstream, certs: &Certs) -> Launch {
    let tls = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n\n", certs.listener_tls());
    Launch::config(tls + &config(upstream, ""))
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_over_http1() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    lock_step(&proxy.http(), Version::Http1, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_over_h2c() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    lock_step(&proxy.http(), Version::Http2, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_over_tls() {
    let mut upstream = Upstream::start().await;
    let certs = Certs::new();
    let proxy = listening_with_tls(&upstream, &certs).start().await;
    lock_step(&proxy.https(&certs, &["http/1.1"]), Version::Http1, &mut upstream).await;
    lock_step(&proxy.https(&certs, &["h2"]), Version::Http2, &mut upstream).await;
    lock_step(&proxy.https(&certs, &[]), Version::Http1, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_by_a_tls_upstream() {
    let certs = Certs::new();
    let mut upstream = Upstream::tls(Speaks::Http1, &certs).await;
    let proxy = Tidegate::before(&upstream, "").await;
    lock_step(&proxy.http(), Version::Http1, &mut upstream).await;
    lock_step(&proxy.http(), Version::Http2, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_by_an_h2c_upstream() {
    let mut upstream = Upstream::h2c().await;
    let proxy = Tidegate::before(&upstream, "").await;
    lock_step(&proxy.http(), Version::Http1, &mut upstream).await;
    lock_step(&proxy.http(), Version::Http2, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_by_an_h2_tls_upstream() {
    let certs = Certs::new();
    let mut upstream = Upstream::tls(Speaks::Http2, &certs).await;
    let proxy = listening_with_tls(&upstream, &certs).start().await;
    lock_step(&proxy.http(), Version::Http1, &mut upstream).await;
    lock_step(&proxy.https(&certs, &["h2"]), Version::Http2, &mut upstream).await;
}

/// `http = "auto"` finds HTTP/2 by ALPN alone.
#[tokio::test]
async fn http_version_of_a_tls_upstream_is_found_by_alpn() {
    let certs = Certs::new();
    let mut upstream = Upstream::tls(Speaks::Http2, &certs).await;
    let text = config(&upstream, "").replace("http = \"2\"", "http = \"auto\"");
    let proxy = Launch::config(text).start().await;
    lock_step(&proxy.http(), Version::Http1, &mut upstream).await;
}

#[tokio::test]
async fn event_arrives_before_the_next_is_sent_over_unix_sockets() {
    let dir = Dir::new();
    let mut upstream = Upstream::unix(&dir);
    let listener = dir.join("front.sock");
    let text = config(&upstream, "").replace("127.0.0.1:0", &format!("unix:{}", listener.display()));
    let proxy = Launch::config(text).start().await;
    lock_step(&proxy.unix(), Version::Http1, &mut upstream).await;
    lock_step(&proxy.unix(), Version::Http2, &mut upstream).await;
}

/// Without a request body the verdict comes from `Accept` or the label alone.
#[tokio::test]
async fn event_arrives_before_the_next_is_sent_to_an_event_source() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for request in [Request::get("/events").field("accept", "text/event-stream"), Request::get("/events")] {
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        for event in [&b"data: 1\n\n"[..], b"data: 2\n\n"] {
            exchange.chunk(event).await;
            assert_eq!(call.piece().await.data, event);
        }
        exchange.end().await;
        assert!(call.rest().await.cut.is_none());
    }
}

/// A piece of an event is nothing: only a later, whole event proves that nothing came before it.
#[tokio::test]
async fn event_cut_inside_a_character_is_held_until_it_is_whole() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    let event = "data: 你🌍\n\n".as_bytes();
    for cut in 1..event.len() {
        exchange.chunk(&event[..cut]).await;
        let early = tokio::time::timeout(std::time::Duration::from_millis(5), call.try_piece()).await;
        assert!(early.is_err(), "{early:?} came of {cut} bytes");
        exchange.chunk(&event[cut..]).await;
        assert_eq!(call.piece().await.data, event, "cut after {cut}");
    }
}

/// A CR ends its line at once: waiting for a LF that may follow would hold the event.
#[tokio::test]
async fn event_that_ends_in_a_bare_cr_is_not_held() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: a\r\r").await;
    assert_eq!(call.piece().await.data, b"data: a\n\n");
    exchange.chunk(b"\ndata: b\r\n\r").await;
    assert_eq!(call.piece().await.data, b"data: b\n\n");
    exchange.chunk(b"\ndata: c\n\n").await;
    assert_eq!(call.piece().await.data, b"data: c\n\n");
}

#[tokio::test]
async fn events_of_one_read_arrive_in_chunks_of_their_own() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    let burst: String = (0..64).map(|number| format!("data:{number}\r\n\r\n")).collect();
    exchange.chunk(burst.as_bytes()).await;
    for number in 0..64 {
        assert_eq!(call.piece().await.data, format!("data: {number}\n\n").as_bytes());
    }
}

/// Where DATA frames end means nothing to a client; each costs the proxy more than the event in it.
#[tokio::test]
async fn events_of_one_read_share_data_frames_that_cut_none() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let request = Request::stream("/v1/chat/completions");
    let mut call = Call::start_as(Version::Http2, &proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    let text = "好".repeat(100);
    let burst: String = (0..150).map(|number| format!("data: {number} {text}\n\n")).collect();
    exchange.chunk(burst.as_bytes()).await;
    exchange.end().await;
    let frames = call.rest().await.pieces;
    // There may be more reads than one.
    assert!(frames.len() < 30, "{} frames for 150 events", frames.len());
    for frame in &frames {
        assert!(frame.data.ends_with(b"\n\n") && frame.data.len() <= 16 << 10, "{frame:?}");
    }
    let all: Vec<u8> = frames.into_iter().flat_map(|frame| frame.data).collect();
    assert_eq!(String::from_utf8_lossy(&all), burst);
}

/// The request body may still be on its way up while events come down.
#[tokio::test]
async fn response_streams_while_the_request_is_still_being_sent() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = crate::support::wire::Wire::connect(&proxy.http()).await;
    let head =
        "POST /duplex HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.write(head.as_bytes()).await;
    let mut call = Call::written(wire, "POST");
    call.wire().write(b"1\r\na\r\n").await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"a"[..]));
    exchange.respond_sse().await;
    for number in 0..5 {
        exchange.chunk(format!("data: {number}\n\n").as_bytes()).await;
        assert_eq!(sse::parse(&call.piece().await.data)[0].data, number.to_string());
        call.wire().write(b"1\r\nb\r\n").await;
        assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"b"[..]));
    }
    call.wire().write(b"0\r\n\r\n").await;
    assert_eq!(exchange.body_piece().await, None);
    exchange.end().await;
    assert!(call.rest().await.cut.is_none());
}
