//! Interim responses. 100 is the proxy's own (`tests/passthrough.rs`), 101 is an upgrade (`tests/upgrade.rs`), and
//! every other one of an upstream is read and dropped: the client gets the final response and nothing before it.

use crate::support::access::outcome;
use crate::support::client::{Call, Http2, Request};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;
use crate::support::within;

#[tokio::test]
async fn interim_responses_are_dropped_and_the_final_one_comes() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        let mut client = Wire::connect(&proxy.http()).await;
        client.write(&Request::get("/page").to_bytes()).await;
        let mut exchange = upstream.request().await;
        exchange.inform(100, &[]).await;
        exchange.inform(103, &[("link", "</style.css>; rel=preload; as=style")]).await;
        exchange.inform(102, &[]).await;
        exchange.answer(200, &[("x-final", "1")], b"page").await;
        let head = within("a head", client.head()).await.expect("no reset").expect("a head");
        assert_eq!((head.status(), head.one("x-final"), head.one("link")), (200, Some("1"), None));

        let mut call = Http2::connect(&proxy.http()).await.call(&Request::get("/page")).await;
        let mut exchange = upstream.request().await;
        exchange.inform(103, &[("link", "</style.css>; rel=preload; as=style")]).await;
        exchange.answer(200, &[("x-final", "1")], b"page").await;
        assert_eq!((call.status().await, call.head().await.one("x-final")), (200, Some("1")));
        assert_eq!(call.body().await, b"page");
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_502() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::get("/loop")).await;
    let mut exchange = upstream.request().await;
    let endless = async {
        while exchange.wire().try_write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await.is_ok() {}
    };
    let (status, ()) = within("the end of the loop", async { tokio::join!(call.status(), endless) }).await;
    assert_eq!(status, 502);
    proxy.access("/loop").await.assert_ended(outcome::MALFORMED, "head");
}
