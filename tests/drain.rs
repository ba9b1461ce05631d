//! SIGTERM and SIGINT: no new work, running streams finish, and a deadline after which they do not.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::access::outcome;
use crate::support::client::{Call, Http2, Request, Version};
use crate::support::sse;
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream, settled};
use crate::support::{DEADLINE, within};

const PATH: &str = "/v1/chat/completions";
const DELTA: &[u8] =
    b"data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";

async fn running(version: Version, proxy: &Tidegate, upstream: &mut Upstream) -> (Call, Exchange) {
    let mut call = Call::start_as(version, &proxy.http(), &Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(DELTA).await;
    assert_eq!(call.piece().await.data, DELTA);
    (call, exchange)
}

/// Waits until nobody listens any more.
async fn refuses(proxy: &Tidegate) {
    let endpoint = proxy.http();
    within("new connections to be refused", async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while endpoint.connect().await.is_ok() {
            look.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn running_streams_finish_and_nothing_new_is_taken() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut upstream = Upstream::start().await;
        let mut proxy = Tidegate::before(&upstream, "").await;
        let mut streams = vec![
            running(Version::Http1, &proxy, &mut upstream).await,
            running(Version::Http2, &proxy, &mut upstream).await,
        ];
        proxy.signal(signal);
        refuses(&proxy).await;
        for (call, exchange) in &mut streams {
            for _ in 0..3 {
                exchange.chunk(DELTA).await;
                assert_eq!(call.piece().await.data, DELTA);
            }
        }
        assert!(proxy.is_running());
        for (mut call, mut exchange) in streams {
            exchange.chunk(b"data: [DONE]\n\n").await;
            exchange.end().await;
            let rest = call.rest().await;
            assert_eq!((rest.cut.as_deref(), rest.bytes().as_slice()), (None, &b"data: [DONE]\n\n"[..]));
        }
        assert_eq!(proxy.exit().await.code(), Some(0));
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "").await;
    let mut idle = Call::start(&proxy.http(), &Request::get("/")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(idle.body().await, b"ok");
    let _http2 = Http2::connect(&proxy.http()).await;
    let _silent = crate::support::wire::Wire::connect(&proxy.http()).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().await.code(), Some(0));
    settled(DEADLINE, "the pooled connection to close", || upstream.open() == 0).await;
}

#[tokio::test]
async fn stream_past_the_drain_time_ends_with_an_error_event() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "\n[timeouts]\ndrain = \"300ms\"").await;
    let (mut first, _one) = running(Version::Http1, &proxy, &mut upstream).await;
    let (mut second, _two) = running(Version::Http2, &proxy, &mut upstream).await;
    proxy.signal(Signal::TERM);
    for call in [&mut first, &mut second] {
        let rest = call.rest().await;
        assert_eq!(rest.cut, None);
        let events = rest.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].event, "error");
        assert_eq!(sse::faults(rest.pieces.iter().map(|piece| piece.data.as_slice())), [""; 0]);
    }
    assert_eq!(proxy.exit().await.code(), Some(0));
    proxy.access(PATH).await.assert_ended(outcome::DRAIN, "body");
}

#[tokio::test]
async fn second_signal_ends_everything_at_once() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "").await;
    let (mut call, mut exchange) = running(Version::Http1, &proxy, &mut upstream).await;
    proxy.signal(Signal::TERM);
    refuses(&proxy).await;
    exchange.chunk(DELTA).await;
    assert_eq!(call.piece().await.data, DELTA);
    proxy.signal(Signal::TERM);
    proxy.exit().await;
    let rest = call.rest().await;
    assert!(!rest.events().iter().any(|event| event.data == "[DONE]"), "{rest:?}");
    within("the upstream connection to be closed", exchange.closed()).await;
}
