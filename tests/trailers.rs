//! Trailers go both ways: up wherever the connection has a place for them, down to clients that say that they take
//! any. What no trailer may say is dropped, and so are the trailers of a body that is written anew.

use crate::support::client::{Call, Http2, Request, Version};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn trailers_of_a_response_reach_a_client_that_takes_them() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        for version in [Version::Http1, Version::Http2] {
            for te in [Some("trailers"), None] {
                let mut request = Request::get("/file");
                if let Some(te) = te {
                    request = request.field("te", te);
                }
                let mut call = Call::start_as(version, &proxy.http(), &request).await;
                let mut exchange = upstream.request().await;
                assert_eq!(exchange.head.one("te"), te);
                // hyper writes to HTTP/1.1 clients only what the head announced.
                exchange.respond(200, &[("content-type", "a/b"), ("trailer", "x-sum, content-length")]).await;
                exchange.chunk(b"body").await;
                exchange.end_with(&[("x-sum", "1"), ("content-length", "7"), ("set-cookie", "a=b")]).await;
                assert_eq!(call.body().await, b"body");
                let expected = if te.is_some() { vec![field("x-sum", "1")] } else { Vec::new() };
                assert_eq!(call.trailers().await, expected, "{version:?} te: {te:?}");
            }
        }
    }
}

/// What gRPC does: no announcement, and all that matters in the trailers.
#[tokio::test]
async fn unannounced_trailers_reach_http2_clients() {
    let mut upstream = Upstream::h2c().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let connection = Http2::connect(&proxy.http()).await;
    let request = Request::post("/pkg.Service/Call", "x").field("te", "trailers");
    let mut call = connection.call(&request.field("content-type", "application/grpc")).await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.body().await, b"x");
    exchange.respond(200, &[("content-type", "application/grpc")]).await;
    exchange.chunk(b"message").await;
    exchange.end_with(&[("grpc-status", "5"), ("grpc-message", "not found")]).await;
    assert_eq!(call.body().await, b"message");
    assert_eq!(call.trailers().await, [field("grpc-status", "5"), field("grpc-message", "not found")]);
}

#[tokio::test]
async fn secret_does_not_come_back_in_a_trailer() {
    let mut upstream = Upstream::start().await;
    let text = config(&upstream, "inject = [{ bearer = \"env:KEY\" }]");
    let proxy = Launch::config(text).env("KEY", "sk-canary").start().await;
    let mut call = Call::start(&proxy.http(), &Request::get("/").field("te", "trailers")).await;
    let mut exchange = upstream.request().await;
    exchange.respond(200, &[("trailer", "x-echo")]).await;
    exchange.chunk(b"body").await;
    exchange.end_with(&[("x-echo", "Bearer sk-canary")]).await;
    assert_eq!(call.body().await, b"body");
    assert_eq!(call.trailers().await, [field("x-echo", "Bearer *********")]);
}

/// They may be digests of bytes that the client does not get.
#[tokio::test]
async fn trailers_of_a_stream_that_is_written_anew_are_dropped() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for version in [Version::Http1, Version::Http2] {
        let request = Request::stream("/v1/chat/completions").field("te", "trailers");
        let mut call = Call::start_as(version, &proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.respond(200, &[("content-type", "text/event-stream"), ("trailer", "x-sum")]).await;
        assert_eq!(call.head().await.one("trailer"), None);
        exchange.chunk(b"data: [DONE]\n\n").await;
        exchange.end_with(&[("x-sum", "1")]).await;
        assert_eq!(call.body().await, b"data: [DONE]\n\n");
        assert_eq!(call.trailers().await, []);
    }
}

#[tokio::test]
async fn trailers_of_a_request_go_up() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        let mut wire = Wire::connect(&proxy.http()).await;
        wire.write(b"POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
            .await;
        wire.write(b"3\r\nabc\r\n").await;
        let mut exchange = upstream.request().await;
        assert_eq!(exchange.head.one("trailer"), Some("x-sum"));
        assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"abc"[..]));
        wire.write(b"0\r\nx-sum: 1\r\nauthorization: Bearer smuggled\r\nhost: evil\r\n\r\n").await;
        assert_eq!(exchange.body_piece().await, None);
        assert_eq!(exchange.trailers().await, [field("x-sum", "1")]);
        exchange.answer(200, &[], b"ok").await;
        let mut call = Call::written(wire, "POST");
        assert_eq!(call.body().await, b"ok");

        let connection = Http2::connect(&proxy.http()).await;
        let mut call = connection.open(&Request::new("POST", "/up")).await;
        call.send(b"abc", false);
        let mut exchange = upstream.request().await;
        assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"abc"[..]));
        call.send_trailers("x-sum", "2");
        assert_eq!(exchange.body_piece().await, None);
        assert_eq!(exchange.trailers().await, [field("x-sum", "2")]);
        exchange.answer(200, &[], b"ok").await;
        assert_eq!(call.body().await, b"ok");
    }
}

/// The body and its trailers are with the proxy before the upstream's connection is: all of it is one write, in order.
#[tokio::test]
async fn trailers_of_a_small_request_follow_its_body() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for body in ["0\r\nx-sum: 1\r\n\r\n", "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"] {
        let mut wire = Wire::connect(&proxy.http()).await;
        wire.write(
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}").as_bytes(),
        )
        .await;
        let mut exchange = upstream.request().await;
        assert_eq!(exchange.body().await.as_slice(), if body.len() > 20 { &b"abc"[..] } else { b"" });
        assert_eq!(exchange.trailers().await, [field("x-sum", "1")]);
        exchange.answer(200, &[], b"").await;
        assert_eq!(Call::written(wire, "POST").status().await, 200);
    }
}
