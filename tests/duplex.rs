//! Both directions of one exchange at the same time: a response that begins, or ends, while the request body is still
//! on its way.

use std::time::Duration;

use crate::support::access::outcome;
use crate::support::client::{Call, Http2, Request, Version};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::Wire;
use crate::support::{alone, within, within_time};

const CHUNKED: &[u8] =
    b"POST /duplex HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n";

/// A client in the middle of its upload, in either version.
struct Uploading {
    call: Call,
    version: Version,
}

impl Uploading {
    async fn start(version: Version, proxy: &Tidegate) -> Self {
        let call = match version {
            Version::Http1 => {
                let mut wire = Wire::connect(&proxy.http()).await;
                wire.write(CHUNKED).await;
                Call::written(wire, "POST")
            }
            Version::Http2 => {
                let request = Request::new("POST", "/duplex").field("content-type", "a/b");
                Http2::connect(&proxy.http()).await.open(&request).await
            }
        };
        Uploading { call, version }
    }

    async fn send(&mut self, data: &[u8]) {
        match self.version {
            Version::Http1 => self.call.wire().write(&crate::support::upstream::chunk(data)).await,
            Version::Http2 => self.call.send(data, false),
        }
    }

    async fn end(&mut self) {
        match self.version {
            Version::Http1 => self.call.wire().write(b"0\r\n\r\n").await,
            Version::Http2 => self.call.send(b"", true),
        }
    }
}

/// Every pair of versions, in the middle of an exchange: some of the request is up, some of the response is down.
async fn each_pair(then: impl AsyncFn(Uploading, Exchange, &Tidegate, &mut Upstream)) {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        for version in [Version::Http1, Version::Http2] {
            let mut client = Uploading::start(version, &proxy).await;
            let mut exchange = upstream.request().await;
            exchange.respond(200, &[("content-type", "application/octet-stream")]).await;
            assert_eq!(client.call.status().await, 200);
            // Each byte exists only once its predecessor has gone all the way: up, and down.
            for number in 0..5u8 {
                client.send(&[b'u', number]).await;
                assert_eq!(exchange.body_piece().await.as_deref(), Some(&[b'u', number][..]));
                exchange.chunk(&[b'd', number]).await;
                assert_eq!(client.call.piece().await.data, [b'd', number]);
            }
            then(client, exchange, &proxy, &mut upstream).await;
        }
    }
}

#[tokio::test]
async fn response_goes_on_after_the_upload_is_over() {
    each_pair(async |mut client, mut exchange, _, _| {
        client.end().await;
        assert_eq!(exchange.body().await, b"");
        for number in 0..3u8 {
            exchange.chunk(&[b'e', number]).await;
            assert_eq!(client.call.piece().await.data, [b'e', number]);
        }
        exchange.end().await;
        assert_eq!(client.call.rest().await.cut, None);
    })
    .await;
}

#[tokio::test]
async fn response_that_ends_before_the_upload_is_whole_and_ends_the_upload() {
    each_pair(async |mut client, mut exchange, proxy, upstream| {
        exchange.chunk(b"last").await;
        let given_up = tokio::spawn(async move { exchange.end_and_wait().await });
        let rest = client.call.rest().await;
        assert_eq!((rest.bytes().as_slice(), rest.cut), (&b"last"[..], None));
        within("the upload to be given up", given_up).await.expect("no panic");
        proxy.access("/duplex").await.assert_ended(outcome::DONE, "end");
        // Nothing is left of it that could harm the next request.
        let mut call = Call::start(&proxy.http(), &Request::get("/next")).await;
        upstream.request().await.answer(200, &[], b"next").await;
        assert_eq!(call.body().await, b"next");
    })
    .await;
}

/// A client that sends all of a large body before it reads a byte, as simple ones do, must find the answer all the same.
#[tokio::test]
async fn early_answer_is_read_by_a_client_that_sends_everything_first() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let size = 48 << 20;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(format!("POST /big HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").as_bytes()).await;
    upstream.request().await.answer(413, &[("connection", "close")], b"too much").await;
    let block = vec![0; 256 << 10];
    for sent in 0..size / block.len() {
        let written = within("a write", wire.try_write(&block)).await;
        assert!(written.is_ok(), "reset after {sent} blocks: {written:?}");
    }
    let mut call = Call::written(wire, "POST");
    assert_eq!(call.status().await, 413);
    assert_eq!(call.body().await, b"too much");
    proxy.access("/big").await.assert_ended(outcome::STATUS, "end");
}

/// The same where it takes longer than the two seconds after which a client that is silent is left: as long as bytes come, they
/// are read. The pace is what this is about, and not a wait for something else.
#[tokio::test]
async fn early_answer_is_read_by_a_client_that_sends_everything_first_and_slowly() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n").await;
    upstream.request().await.answer(413, &[("connection", "close")], b"too much").await;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for sent in 0..40 {
        pace.tick().await;
        let written = within("a write", wire.try_write(&[0; 100_000])).await;
        assert!(written.is_ok(), "reset after {sent} blocks: {written:?}");
    }
    let mut call = Call::written(wire, "POST");
    assert_eq!((call.status().await, call.body().await.as_slice()), (413, &b"too much"[..]));
}

#[tokio::test]
async fn early_answer_reaches_http2_clients_whole_and_stops_the_upload() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        let connection = Http2::connect(&proxy.http()).await;
        let mut call = connection.open(&Request::new("POST", "/big")).await;
        call.send(&[0; 1 << 20], false);
        let exchange = upstream.request().await;
        exchange.answer(413, &[], b"too much").await;
        assert_eq!((call.status().await, call.body().await.as_slice()), (413, &b"too much"[..]));
        assert_is_stopped_later(&mut call).await;
        // The connection goes on.
        let mut call = connection.call(&Request::get("/next")).await;
        upstream.request().await.answer(200, &[], b"next").await;
        assert_eq!(call.body().await, b"next");
    }
}

/// RFC 9113 8.1: RST_STREAM with NO_ERROR, after the whole response. Some clients lose a response that they read
/// together with the reset, so there is time between them: a silence, which can only be waited out.
async fn assert_is_stopped_later(call: &mut Call) {
    let at_once = tokio::time::timeout(Duration::from_millis(500), call.stopped()).await;
    assert!(at_once.is_err(), "the reset came right behind the response");
    let reason = within("the upload to be stopped", call.stopped()).await;
    assert_eq!(reason, h2::Reason::NO_ERROR);
}

#[tokio::test]
async fn refusal_of_an_upload_reaches_http2_clients_before_the_upload_is_stopped() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "max_request_body = \"1MiB\"").await;
    let connection = Http2::connect(&proxy.http()).await;
    for declared in [Some("8388608"), None] {
        let mut request = Request::new("POST", "/big");
        if let Some(length) = declared {
            request = request.field("content-length", length);
        }
        let mut call = connection.open(&request).await;
        call.send(&[0; 2 << 20], false);
        assert_eq!(call.status().await, 413, "{declared:?}");
        assert_eq!(call.json().await["error"]["code"], "request_body_too_large");
        assert_is_stopped_later(&mut call).await;
    }
}

/// A body that is too large is the proxy's own early answer, by its length or by its bytes.
#[tokio::test]
async fn refusal_of_a_large_body_is_read_by_a_client_that_goes_on_sending() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "max_request_body = \"1MiB\"").await;
    for head in ["content-length: 8388608\r\n", "transfer-encoding: chunked\r\n"] {
        let mut wire = Wire::connect(&proxy.http()).await;
        wire.write(format!("POST /big HTTP/1.1\r\nhost: a\r\n{head}\r\n").as_bytes()).await;
        let block = crate::support::upstream::chunk(&[0; 64 << 10]);
        for sent in 0..128 {
            let written = within_time(Duration::from_secs(5), "a write", wire.try_write(&block)).await;
            assert!(written.is_ok(), "{head}: reset after {sent} blocks: {written:?}");
        }
        let mut call = Call::written(wire, "POST");
        assert_eq!(call.status().await, 413, "{head}");
        assert_eq!(call.json().await["error"]["code"], "request_body_too_large");
    }
}
