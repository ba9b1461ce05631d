//! What is no stream goes through byte for byte, with status and headers, as it comes and at the pace of the
//! slower side.

use std::time::Duration;

use crate::support::alone;
use crate::support::client::{Call, Request, Version};
use crate::support::tidegate::{Tidegate, config};
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::{Framing, Wire};

#[tokio::test]
async fn body_status_and_headers_are_kept() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let fields = [
        ("content-type", "application/json"),
        ("etag", "\"1\""),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("retry-after", "7"),
        ("server", "s"),
        ("cache-control", "private"),
        ("x-odd", "a,  b;c=\"d\""),
    ];
    for version in [Version::Http1, Version::Http2] {
        for status in [200, 201, 418, 500, 503] {
            let mut call = Call::start_as(version, &proxy.http(), &Request::get("/file")).await;
            upstream.request().await.answer(status, &fields, &body).await;
            assert_eq!(call.status().await, status);
            let head = call.head().await;
            for (name, _) in &fields {
                let sent: Vec<_> =
                    fields.iter().filter(|(n, _)| n == name).map(|(_, value)| *value).collect();
                assert_eq!(head.all(name), sent, "{name}");
            }
            assert_eq!(head.one("content-length"), Some("70000"));
            assert!(call.body().await == body, "the body was changed");
        }
    }
}

#[tokio::test]
async fn responses_without_a_body_stay_without() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\netag: \"2\"\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"3\"\r\ncontent-length: 12\r\n\r\n"),
    ] {
        let mut call = Call::start(&proxy.http(), &Request::new(method, "/")).await;
        let mut exchange = upstream.request().await;
        exchange.wire().write(head.as_bytes()).await;
        exchange.keep();
        assert_eq!(call.status().await.to_string(), head[9..12]);
        if head.contains("12345") {
            assert_eq!(call.head().await.one("content-length"), Some("12345"));
        }
        // A byte of body that should not be there would stand before the next response.
        let mut call = call.again(&Request::get("/next")).await;
        upstream.request().await.answer(200, &[], b"next").await;
        assert_eq!(call.body().await, b"next", "after {head:?}");
    }
}

#[tokio::test]
async fn body_flows_piece_by_piece() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (kind, version) in [
        ("application/octet-stream", Version::Http1),
        ("application/json", Version::Http1),
        ("application/vnd.amazon.eventstream", Version::Http2),
    ] {
        let mut call = Call::start_as(version, &proxy.http(), &Request::get("/slow")).await;
        let mut exchange = upstream.request().await;
        exchange.respond(200, &[("content-type", kind)]).await;
        assert_eq!(call.status().await, 200);
        for number in 0..5u8 {
            exchange.chunk(&[b'{', number, 0xff]).await;
            assert_eq!(call.piece().await.data, [b'{', number, 0xff], "{kind}");
        }
        exchange.end().await;
        assert!(call.rest().await.cut.is_none());
    }
}

#[tokio::test]
async fn trailerless_close_delimited_body_is_complete() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::get("/old")).await;
    let mut exchange = upstream.request().await;
    exchange.wire().write(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello").await;
    drop(exchange);
    assert_eq!(call.body().await, b"hello");
}

#[tokio::test]
async fn request_body_goes_up_byte_for_byte_as_it_comes() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let body: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let mut call = Call::start(&proxy.http(), &Request::new("PUT", "/up").body(&body)).await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.head.one("content-length"), Some("300000"));
    assert!(exchange.body().await == body, "the body was changed");
    exchange.answer(200, &[], b"").await;
    assert_eq!(call.status().await, 200);

    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    wire.write(b"3\r\nabc\r\n").await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.head.one("transfer-encoding"), Some("chunked"));
    assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"abc"[..]));
    wire.write(b"2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"de"[..]));
    assert_eq!(exchange.body_piece().await, None);
}

#[tokio::test]
async fn expected_continue_is_answered_and_the_upstream_sees_an_ordinary_request() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /c HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    let interim = crate::support::within("100 Continue", wire.head()).await.unwrap().expect("a head");
    assert_eq!(interim.status(), 100);
    wire.write(b"hi").await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.head.one("expect"), None);
    assert_eq!(exchange.body().await, b"hi");
    exchange.answer(200, &[], b"ok").await;
    let mut call = Call::written(wire, "POST");
    assert_eq!(call.body().await, b"ok");
}

#[tokio::test]
async fn early_answer_arrives_although_the_upload_goes_on() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\nabc").await;
    let exchange = upstream.request().await;
    exchange.answer(413, &[("connection", "close")], b"too much").await;
    let mut call = Call::written(wire, "POST");
    assert_eq!(call.status().await, 413);
    assert_eq!(call.body().await, b"too much");
}

/// 2 GB would prove no more than 256 MB: what is kept, is kept per byte.
#[tokio::test]
async fn large_download_leaves_memory_as_it_was() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut highest = 0;
    let mut before = 0;
    for size in [16 << 20, 256 << 20] {
        before = proxy.rss();
        let call = Call::start(&proxy.http(), &Request::get("/large")).await;
        let exchange = upstream.request().await;
        let sender = tokio::spawn(send_zeros(exchange, size));
        let mut wire = call.into_wire();
        let head = wire.head().await.unwrap().expect("a head");
        assert_eq!(Framing::of_response(&head, "GET"), Framing::Length(size));
        let mut left = size - wire.take_all().len();
        highest = proxy.rss();
        let mut next_look = left;
        while left > 0 {
            let count = crate::support::within("more of the download", wire.fill()).await.unwrap();
            assert_ne!(count, 0, "the download was cut with {left} bytes to go");
            left -= wire.take_all().len();
            if left < next_look {
                highest = highest.max(proxy.rss());
                next_look = left.saturating_sub(8 << 20);
            }
        }
        sender.await.expect("the upstream sends all");
    }
    let grown = highest.saturating_sub(before);
    assert!(grown < 4 << 20, "RSS grew by {grown} bytes, from {before}");
}

async fn send_zeros(mut exchange: Exchange, size: usize) {
    let wire = exchange.wire();
    wire.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes()).await;
    let block = vec![0; 256 << 10];
    for _ in 0..size / block.len() {
        wire.write(&block).await;
    }
    exchange.keep();
}

#[tokio::test]
async fn slow_reader_slows_the_upstream() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::get("/flood")).await;
    let mut exchange = upstream.request().await;
    exchange.respond(200, &[("content-type", "application/octet-stream")]).await;
    assert_eq!(call.status().await, 200);
    let before = proxy.rss();
    let swallowed = exchange.flood(64 << 20, Duration::from_millis(500)).await;
    assert!(swallowed <= 4 << 20, "{swallowed} bytes were taken for a client that reads nothing");
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < 1 << 20, "RSS grew by {grown} bytes");
    drop(exchange);
    let rest = call.rest().await;
    assert!(rest.cut.is_some(), "a body that broke off looked complete");
}

/// Small DATA frames that wait for slow readers count against a budget of the whole connection; with windows
/// as they come by default the HTTP/2 client closes it, and every other stream dies with the slow ones.
#[tokio::test]
async fn unread_streams_of_an_http2_upstream_leave_their_neighbours_alone() {
    let _alone = alone().await;
    let mut upstream = Upstream::h2c().await;
    let text = config(&upstream, "\n[server]\nworkers = 1");
    let proxy = crate::support::tidegate::Launch::config(text).start().await;

    let mut unread = Vec::new();
    for _ in 0..8 {
        let wire = Wire::connect_narrow(&proxy.http()).await;
        let mut call = Call::over(wire, &Request::stream("/v1/chat/completions")).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        assert_eq!(call.status().await, 200);
        fill_with_small_frames(&mut call, &mut exchange).await;
        unread.push((call, exchange));
    }

    let mut healthy = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    assert_eq!(upstream.accepted(), 1, "all of them share a connection");
    exchange.respond_sse().await;
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        exchange.chunk(event.as_bytes()).await;
        assert_eq!(healthy.piece().await.data, event.as_bytes());
    }
}

/// Sends until nothing goes any more, so that what waits in the proxy is small frames and nothing else: large
/// ones first, to fill all that is on the way, and small ones in the place of each large one that is read.
async fn fill_with_small_frames(call: &mut Call, exchange: &mut Exchange) {
    let large = format!("data: {}\n\n", "x".repeat(8000));
    let mut waiting = 0;
    while exchange.chunk_if_room(large.as_bytes(), Duration::from_millis(100)).await {
        waiting += 1;
    }
    let mut small = 0;
    for number in 0..waiting {
        assert_eq!(call.piece().await.data.len(), large.len());
        if number % 4 == 3 {
            while exchange.chunk_if_room(b"data: 12345\n\n", Duration::from_millis(5)).await {
                small += 1;
            }
        }
    }
    while exchange.chunk_if_room(b"data: 12345\n\n", Duration::from_millis(100)).await {
        small += 1;
    }
    assert!(small > 3000, "only {small} small frames took the place of {waiting} large ones");
}
