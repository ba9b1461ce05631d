//! Which connection a request goes out on, and when it may go out again.

use crate::support::access::outcome;
use crate::support::client::{Call, Request};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Upstream, settled};
use crate::support::{DEADLINE, within};

async fn one_worker(upstream: &Upstream) -> Tidegate {
    Launch::config(config(upstream, "\n[server]\nworkers = 1")).start().await
}

/// One whole exchange; tells on which upstream connection it went.
async fn once(
    proxy: &Tidegate,
    upstream: &mut Upstream,
    request: &Request,
    fields: &[(&str, &str)],
) -> usize {
    let mut call = Call::start(&proxy.http(), request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    let connection = exchange.connection;
    exchange.answer(200, fields, b"ok").await;
    assert_eq!(call.body().await, b"ok");
    connection
}

#[tokio::test]
async fn connection_is_used_again() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = one_worker(&upstream).await;
        for _ in 0..5 {
            assert_eq!(once(&proxy, &mut upstream, &Request::stream("/v1/x"), &[]).await, 0);
        }
        assert_eq!(upstream.accepted(), 1);
    }
}

#[tokio::test]
async fn connection_is_used_again_after_a_stream_that_ended_cleanly() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream).await;
    let mut call = Call::start(&proxy.http(), &Request::stream("/v1/x")).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: a\n\n").await;
    exchange.end().await;
    assert_eq!(call.body().await, b"data: a\n\n");
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[]).await, 0);
}

#[tokio::test]
async fn connection_that_cannot_be_trusted_is_not_used_again() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream).await;
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[("connection", "close")]).await, 0);
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[]).await, 1);

    // More than the response said: whatever it is, it is not the next response.
    let mut call = Call::start(&proxy.http(), &Request::get("/")).await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.connection, 1);
    exchange.wire().write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n").await;
    exchange.keep();
    assert_eq!(call.body().await, b"ok");
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[]).await, 2);
}

#[tokio::test]
async fn idle_connection_that_the_upstream_closed_is_replaced() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream).await;
    for number in 0..3 {
        let mut call = Call::start(&proxy.http(), &Request::stream("/v1/x")).await;
        let mut exchange = upstream.request().await;
        assert_eq!(exchange.connection, number);
        exchange.body().await;
        exchange.wire().write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(call.body().await, b"ok");
        // Kept alive by its word, then closed: the next request must not fail on it.
        drop(exchange);
        settled(DEADLINE, "the connection to close", || upstream.open() == 0).await;
    }
}

/// The upstream may have begun to work on it, so a POST is sent once, and so is everything else.
#[tokio::test]
async fn request_that_was_sent_is_not_sent_again() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream).await;
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[]).await, 0);
    let mut call = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.connection, 0, "the pooled connection is used");
    exchange.body().await;
    drop(exchange);
    assert_eq!(call.status().await, 502);
    proxy.access("/v1/chat/completions").await.assert_ended(outcome::CLOSED_BEFORE_HEAD, "head");
    assert!(upstream.is_quiet(), "it came again");
    assert_eq!(once(&proxy, &mut upstream, &Request::get("/"), &[]).await, 1);
}

/// REFUSED_STREAM says that nothing was processed (RFC 9113 8.7), so it is safe to ask again.
#[tokio::test]
async fn http2_request_that_was_refused_is_sent_again() {
    let mut upstream = Upstream::h2c().await;
    let proxy = one_worker(&upstream).await;
    let mut call = Call::start(&proxy.http(), &Request::get("/")).await;
    upstream.request().await.refuse();
    let exchange = upstream.request().await;
    exchange.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` may be ::1 first, where nobody listens.
    let mut upstream = Upstream::start().await;
    let text = config(&upstream, "").replace("http://127.0.0.1", "http://localhost");
    let proxy = Launch::config(text).start().await;
    once(&proxy, &mut upstream, &Request::get("/"), &[]).await;
}

#[tokio::test]
async fn unused_connection_is_closed_after_its_idle_time() {
    let mut upstream = Upstream::start().await;
    let table = upstream.table("up");
    let text = config(&upstream, "").replace(&table, &format!("{table}idle_timeout = \"200ms\"\n"));
    let proxy = Launch::config(text).start().await;
    once(&proxy, &mut upstream, &Request::get("/"), &[]).await;
    within("the idle connection to be closed", settled(DEADLINE, "the close", || upstream.open() == 0)).await;
}
