//! The support code against itself: scripted upstream and raw client with nothing between them, and the
//! checkers against streams that are wrong on purpose. If these fail, no other failure means anything.

use std::time::{Duration, Instant};

use crate::support::access::Line;
use crate::support::certs::Certs;
use crate::support::client::{Call, Http2, Request, Version};
use crate::support::sse::{self, Event};
use crate::support::upstream::{Deaf, Speaks, Upstream};
use crate::support::wire::{Endpoint, Wire};
use crate::support::{Dir, within};

fn address(upstream: &Upstream) -> std::net::SocketAddr {
    let (_, port) = upstream.url.rsplit_once(':').expect("a URL with a port");
    ([127, 0, 0, 1], port.parse().expect("a port")).into()
}

async fn lock_step(endpoint: Endpoint, version: Version, mut upstream: Upstream) {
    let mut call = Call::start_as(version, &endpoint, &Request::stream("/v1/x?y=1")).await;
    let mut exchange = upstream.request().await;
    assert_eq!((exchange.head.method(), exchange.head.target()), ("POST", "/v1/x?y=1"));
    assert_eq!(exchange.head.one("host"), Some("proxy.test"));
    assert!(exchange.body().await.ends_with(br#""stream":true}"#));
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        exchange.chunk(event.as_bytes()).await;
        assert_eq!(call.piece().await.data, event.as_bytes());
    }
    exchange.end().await;
    assert!(call.rest().await.cut.is_none());
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn upstream_and_client_meet_over_every_transport() {
    let certs = Certs::new();
    let plain = Upstream::start().await;
    lock_step(Endpoint::Tcp(address(&plain)), Version::Http1, plain).await;
    let h2c = Upstream::h2c().await;
    lock_step(Endpoint::Tcp(address(&h2c)), Version::Http2, h2c).await;
    let tls = Upstream::tls(Speaks::Http1, &certs).await;
    lock_step(Endpoint::Tls(address(&tls), certs.client(&["http/1.1"])), Version::Http1, tls).await;
    let tls = Upstream::tls(Speaks::Http2, &certs).await;
    lock_step(Endpoint::Tls(address(&tls), certs.client(&["h2"])), Version::Http2, tls).await;
    let dir = Dir::new();
    let unix = Upstream::unix(&dir);
    lock_step(Endpoint::Unix(dir.join("upstream.sock")), Version::Http1, unix).await;
}

#[tokio::test]
async fn upstream_keeps_a_connection_for_the_next_request() {
    let mut upstream = Upstream::start().await;
    let endpoint = Endpoint::Tcp(address(&upstream));
    let mut call = Call::start(&endpoint, &Request::get("/1")).await;
    upstream.request().await.answer(404, &[("x-a", "1")], b"no").await;
    assert_eq!(call.status().await, 404);
    assert_eq!(call.head().await.one("X-A"), Some("1"));
    assert_eq!(call.body().await, b"no");
    let mut call = call.again(&Request::new("HEAD", "/2")).await;
    let exchange = upstream.request().await;
    assert_eq!((exchange.connection, upstream.accepted(), upstream.open()), (0, 1, 1));
    exchange.answer(200, &[], b"").await;
    assert_eq!(call.body().await, b"");
    drop(call);
    crate::support::upstream::settled(Duration::from_secs(5), "the close", || upstream.open() == 0).await;
}

#[tokio::test]
async fn upstream_tells_when_the_client_left() {
    let mut upstream = Upstream::start().await;
    let endpoint = Endpoint::Tcp(address(&upstream));
    for reset in [false, true] {
        let call = Call::start(&endpoint, &Request::get("/")).await;
        let mut exchange = upstream.request().await;
        let left = if reset { call.reset() } else { call.close() };
        exchange.assert_closed_within(Duration::from_millis(100), &left).await;
    }
    let mut h2c = Upstream::h2c().await;
    let connection = Http2::connect(&Endpoint::Tcp(address(&h2c))).await;
    for reset in [true, false] {
        let call = connection.call(&Request::get("/")).await;
        let mut exchange = h2c.request().await;
        exchange.respond_sse().await;
        let left = if reset { call.reset() } else { call.close() };
        exchange.assert_closed_within(Duration::from_millis(100), &left).await;
    }
}

#[tokio::test]
async fn client_tells_a_cut_body_from_a_complete_one() {
    for version in [Version::Http1, Version::Http2] {
        let mut upstream =
            if version == Version::Http1 { Upstream::start().await } else { Upstream::h2c().await };
        let endpoint = Endpoint::Tcp(address(&upstream));
        let mut call = Call::start_as(version, &endpoint, &Request::get("/")).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        exchange.chunk(b"data: a\n\n").await;
        assert_eq!(call.piece().await.data, b"data: a\n\n");
        exchange.reset();
        let rest = call.rest().await;
        assert!(rest.cut.is_some() && rest.pieces.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn client_keeps_the_edges_of_chunks_that_came_in_one_read() {
    let mut upstream = Upstream::start().await;
    let mut call = Call::start(&Endpoint::Tcp(address(&upstream)), &Request::get("/")).await;
    let mut exchange = upstream.request().await;
    exchange
        .wire()
        .write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
        .await;
    let rest = call.rest().await;
    assert_eq!(rest.cut, None);
    assert_eq!((rest.pieces[0].data.as_slice(), rest.pieces[1].data.as_slice()), (&b"a"[..], &b"bc"[..]));
    assert_eq!(rest.pieces[0].read, rest.pieces[1].read);
}

#[tokio::test]
async fn client_may_give_up_waiting_for_a_chunk_and_come_back() {
    let mut upstream = Upstream::start().await;
    let mut call = Call::start(&Endpoint::Tcp(address(&upstream)), &Request::get("/")).await;
    let mut exchange = upstream.request().await;
    exchange.respond(200, &[]).await;
    for piece in [&b"5\r\nab"[..], b"cde", b"\r\n0\r\nx-t: 1\r\n", b"\r\n"] {
        let early = tokio::time::timeout(Duration::from_millis(5), call.try_piece()).await;
        assert!(early.is_err(), "{early:?}");
        exchange.wire().write(piece).await;
        if piece.starts_with(b"\r\n0") {
            assert_eq!(call.piece().await.data, b"abcde");
        }
    }
    assert!(call.rest().await.cut.is_none());
}

#[tokio::test]
async fn http2_window_tells_when_nobody_reads() {
    let mut upstream = Upstream::h2c().await;
    let mut call =
        Call::start_as(Version::Http2, &Endpoint::Tcp(address(&upstream)), &Request::get("/")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    let mut sent = 0;
    while exchange.chunk_if_room(&[b'x'; 1000], Duration::from_millis(50)).await {
        sent += 1000;
    }
    assert_eq!(sent, 65_000, "the window of a stream is 65,535 bytes");
    call.piece().await;
    while sent > 0 {
        exchange.chunk_if_room(b"y", Duration::from_secs(5)).await;
        sent -= call.piece().await.data.len().min(sent);
    }
}

#[tokio::test]
async fn flood_stops_when_nobody_reads() {
    let mut upstream = Upstream::start().await;
    let mut wire = Wire::connect(&Endpoint::Tcp(address(&upstream))).await;
    wire.write(&Request::get("/").to_bytes()).await;
    let mut exchange = upstream.request().await;
    exchange.respond(200, &[]).await;
    let written = exchange.flood(1 << 30, Duration::from_millis(200)).await;
    assert!((1 << 10..1 << 29).contains(&written), "{written}");
}

#[tokio::test]
async fn deaf_listener_lets_a_connection_attempt_hang() {
    let deaf = Deaf::start().await;
    let address = deaf.url.strip_prefix("http://").expect("a URL").to_owned();
    let attempt = tokio::net::TcpStream::connect(address);
    assert!(tokio::time::timeout(Duration::from_millis(300), attempt).await.is_err());
}

#[tokio::test]
async fn until_closed_measures_from_the_close() {
    let mut upstream = Upstream::start().await;
    let call = Call::start(&Endpoint::Tcp(address(&upstream)), &Request::get("/")).await;
    let mut exchange = upstream.request().await;
    let before = Instant::now();
    let left = call.close();
    let seen = within("the close", exchange.closed()).await;
    assert!(before <= left.at && left.at <= seen);
}

#[test]
fn parser_reads_the_standard_to_the_letter() {
    let stream = "\u{feff}data: a\r\ndata:b\rdata\n\nid: 1\nretry: x\nevent: e\n\n: c\nretry: 5\ndata:  d\n\ndata: tail\n";
    let first = Event { data: "a\nb\n".into(), ..Event::message("") };
    let second = Event { data: " d".into(), retry: Some(5), ..Event::message("") };
    assert_eq!(sse::parse(stream.as_bytes()), [first, second]);
    assert_eq!(sse::parse(b"data: \xff\n\n"), [Event::message("\u{fffd}")]);
}

#[test]
fn faults_are_found_and_canonical_streams_have_none() {
    let good: &[&[u8]] = &[
        b":\n",
        b"event: e\nid: 1\nretry: 2\ndata: a\ndata: b\n\n",
        b": note\ndata: \n\n",
        b"event: ping\n\n",
        b"event: finish\ndata: \nmeta:{}\n\n",
    ];
    assert_eq!(sse::faults(good.iter().copied()), [""; 0]);
    let bad: &[&[&[u8]]] = &[
        &[b"data: a\r\n\r\n"],
        &[b"data:a\n\n"],
        &[b"data: a\n\n\n"],
        &[b"data: a\n\n", b"\n"],
        &[b"data: a\n"],
        &[b"data: a\n\ndata: b\n\n"],
        &[b"data: a\nid: 1\n\n"],
        &[b": c\n\n"],
        &[b"\xef\xbb\xbfdata: a\n\n"],
        &[b"data: a\n: c\ndata: b\n\n"],
        &[b"data: \xe4\xbd", b"\xa0\n\n"],
        &[b"\ndata: a\n\n"],
    ];
    for case in bad {
        assert_ne!(sse::faults(case.iter().copied()), [""; 0], "{case:?}");
    }
    assert!(sse::is_heartbeat(b":\n") && !sse::is_heartbeat(b":\n\n"));
}

#[test]
fn access_line_is_taken_apart() {
    let line =
        r#"ts=2026-01-01T00:00:00Z level=info msg=request path=/a status=200 note="a \"b\" c" outcome=done"#;
    let line = Line::parse(line).expect("logfmt");
    assert!(line.is_access());
    assert_eq!((line.need("path"), line.need("note"), line.number("status")), ("/a", "a \"b\" c", 200.0));
    assert!(Line::parse("not logfmt").is_none());
}
