//! Counts of the process, read as a monitoring system reads them.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::support::alone;
use crate::support::client::{Call, Request};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::Upstream;
use crate::support::wire::Endpoint;

const CHAT: &str = "/v1/chat/completions";
const EVENTS: &str = "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n\
                      data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE] \n\n";

async fn started(upstream: &Upstream) -> (Tidegate, Endpoint) {
    let text = format!("{}\n[metrics]\naddress = '127.0.0.1:0'\n", config(upstream, "name = 'chat'"));
    let proxy = Launch::config(text).start().await;
    let line = proxy.logged("/metrics").await;
    let (_, address) = line.split_once("http://").expect("a URL");
    let (address, _) = address.split_once("/metrics").expect("just found");
    let address = Endpoint::Tcp(address.parse().expect("an address"));
    (proxy, address)
}

/// The value of a series.
async fn value(address: &Endpoint, series: &str) -> Option<f64> {
    let mut call = Call::start(address, &Request::get("/metrics")).await;
    assert_eq!(call.status().await, 200);
    let kind = call.head().await.one("content-type").map(str::to_owned);
    assert_eq!(kind.as_deref(), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = String::from_utf8(call.rest().await.bytes()).expect("text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_outcome() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let (proxy, address) = started(&upstream).await;
    for (whole, outcome) in [(true, "done"), (false, "upstream:truncated")] {
        let path = format!("{CHAT}?{outcome}");
        let mut call = Call::start(&proxy.http(), &Request::stream(&path)).await;
        let mut exchange = upstream.request().await;
        exchange.respond(200, &[("content-type", "text/plain")]).await;
        let first = EVENTS.find("\n\n").expect("an event") + 2;
        exchange.chunk(&EVENTS.as_bytes()[..if whole { EVENTS.len() } else { first }]).await;
        let running = value(&address, "tidegate_running ").await;
        assert_eq!(running, Some(1.0), "{outcome}");
        exchange.end().await;
        call.rest().await;
        let series = format!(r#"tidegate_requests_total{{route="chat",outcome="{outcome}"}} "#);
        proxy.logged(&format!("outcome={outcome}")).await;
        assert_eq!(value(&address, &series).await, Some(1.0), "{series}");
    }
    for (series, at_least) in [
        (r#"tidegate_request_duration_seconds_count{route="chat"} "#, 2.0),
        (r#"tidegate_first_content_seconds_count{route="chat"} "#, 1.0),
        (r#"tidegate_events_total{route="chat"} "#, 3.0),
        (r#"tidegate_body_bytes_total{route="chat"} "#, 100.0),
        (r#"tidegate_repaired_events_total{route="chat"} "#, 1.0),
        (r#"tidegate_mislabelled_streams_total{route="chat"} "#, 1.0),
    ] {
        let counted = value(&address, series).await;
        assert!(counted.is_some_and(|counted| counted >= at_least), "{series}{counted:?}");
    }
    assert_eq!(value(&address, "tidegate_running ").await, Some(0.0));
    assert_eq!(value(&address, "tidegate_panics_total ").await, Some(0.0));
}

#[tokio::test]
async fn metrics_are_on_no_route() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let (proxy, address) = started(&upstream).await;
    let mut call = Call::start(&proxy.http(), &Request::get("/metrics")).await;
    upstream.request().await.answer(404, &[], b"").await;
    assert_eq!(call.status().await, 404, "the upstream's own");
    let mut other = Call::start(&address, &Request::get(CHAT)).await;
    assert_eq!(other.status().await, 404, "nothing is proxied there");
}

#[tokio::test]
async fn connection_that_says_nothing_keeps_nobody_waiting() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let (_proxy, address) = started(&upstream).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut socket = address.connect().await.expect("a connection");
        socket.write_all(b"GET /metr").await.expect("room for a few bytes");
        silent.push(socket);
    }
    let asked = Instant::now();
    assert_eq!(value(&address, "tidegate_running ").await, Some(0.0));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}
