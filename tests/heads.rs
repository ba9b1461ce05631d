//! When a client gets the head of its stream: with the first event, so that an error in its place is a true status; or
//! before the upstream has answered, so that nothing in between gives up.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::support::access::outcome;
use crate::support::client::{Call, Request, Rest, Version};
use crate::support::sse;
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Deaf, Exchange, Upstream, chunk, refusing};
use crate::support::{alone, within};

const CHAT: &str = "/v1/chat/completions";
const DELTA: &[u8] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";
const ERROR: &[u8] =
    b"data: {\"error\":{\"message\":\"slow down\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}\n\n";
const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];
const FIRST_EVENT: &str = "stream = { commit = \"first-event\" }";
const EARLY: &str = "stream = { early_head = \"200ms\", heartbeat = \"100ms\" }";

/// The head of an event stream and this much of its body, in one write.
async fn at_once(exchange: &mut Exchange, body: &[u8]) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    exchange.body().await;
    exchange.wire().write(&[&head[..], &chunk(body)].concat()).await;
}

async fn assert_slow_down(call: &mut Call) {
    assert_eq!(call.status().await, 429);
    assert_eq!(call.head().await.one("content-type"), Some("application/json"));
    let body = call.json().await;
    assert_eq!(
        (&body["error"]["message"], &body["error"]["code"]),
        (&"slow down".into(), &"rate_limit_exceeded".into())
    );
}

#[tokio::test]
async fn error_that_comes_with_the_head_is_a_true_status_if_the_head_is_held() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, FIRST_EVENT).await;
    for version in VERSIONS {
        let mut call = Call::start_as(version, &proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        at_once(&mut exchange, ERROR).await;
        assert_slow_down(&mut call).await;
        within("the upstream to be left", exchange.closed()).await;
    }
    let line = proxy.access(CHAT).await;
    line.assert_ended("upstream:error", "first_event");
    assert_eq!((line.number("status"), line.number("events")), (429.0, 0.0));
    assert_eq!((line.get("format"), line.get("dialect")), (Some("sse"), Some("openai-chat")));
    assert!(!proxy.log().contains("slow down"), "the upstream's words are the client's alone");
}

#[tokio::test]
async fn head_that_is_held_becomes_the_status_of_a_late_error() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, FIRST_EVENT).await;
    for version in VERSIONS {
        let mut call = Call::start_as(version, &proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        exchange.chunk(b": thinking\n\n").await;
        exchange.chunk(&ERROR[..30]).await;
        exchange.chunk(&ERROR[30..]).await;
        assert_slow_down(&mut call).await;
    }
    for (body, code) in [("", "upstream_empty"), ("<!doctype html><p>Sign in", "upstream_html")] {
        let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        if !body.is_empty() {
            exchange.chunk(body.as_bytes()).await;
        }
        exchange.end().await;
        assert_eq!(call.status().await, 502);
        assert_eq!(call.json().await["error"]["code"], code);
    }
}

#[tokio::test]
async fn head_that_is_held_leaves_with_the_first_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, FIRST_EVENT).await;
    for version in VERSIONS {
        let mut call = Call::start_as(version, &proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        exchange.chunk(b": thinking\n\n").await;
        exchange.chunk(DELTA).await;
        assert_eq!(call.status().await, 200);
        // What leaves together shares a DATA frame.
        let held: &[&[u8]] = match version {
            Version::Http1 => &[b": thinking\n", DELTA],
            Version::Http2 => &[&[b": thinking\n", DELTA].concat()],
        };
        for piece in held {
            assert_eq!(call.piece().await.data, *piece, "{version:?}");
        }
        exchange.chunk(DONE).await;
        exchange.end().await;
        assert_eq!(call.rest().await.bytes(), DONE);
    }
    proxy.access(CHAT).await.assert_ended(outcome::DONE, "end");
}

#[tokio::test]
async fn head_is_held_no_longer_than_the_route_says() {
    let mut upstream = Upstream::start().await;
    let route = "stream = { commit = \"first-event\", commit_within = \"200ms\", heartbeat = \"100ms\" }";
    let proxy = Tidegate::before(&upstream, route).await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    assert!(sse::is_heartbeat(&call.piece().await.data));
    exchange.chunk(ERROR).await;
    let event = loop {
        let piece = call.piece().await;
        if !sse::is_heartbeat(&piece.data) {
            break piece;
        }
    };
    assert_eq!(event.data, ERROR, "too late for a status");
}

/// A server that sent its head, under a label that says nothing, and then thought, kept the client waiting.
#[tokio::test]
async fn head_is_held_no_longer_also_if_nobody_knows_what_comes() {
    let mut upstream = Upstream::start().await;
    let route = "stream = { commit = \"first-event\", commit_within = \"200ms\", heartbeat = \"100ms\" }";
    let proxy = Tidegate::before(&upstream, route).await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.respond(200, &[("content-type", "text/plain")]).await;
    assert_eq!(call.status().await, 200);
    assert_eq!(call.head().await.one("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(sse::is_heartbeat(&call.piece().await.data));
    exchange.chunk(DELTA).await;
    exchange.chunk(DONE).await;
    exchange.end().await;
    let events = call.rest().await.events();
    assert_eq!(events.len(), 2, "{events:?}");
    let line = proxy.access(CHAT).await;
    line.assert_ended(outcome::DONE, "end");
    assert_eq!((line.get("format"), line.get("label")), (Some("sse"), Some("other")));
}

/// A key that a server's error repeats is nobody's to read, nor is the refusal of it.
#[tokio::test]
async fn true_status_tells_nothing_of_the_routes_credential() {
    let mut upstream = Upstream::start().await;
    let route = format!("inject = [{{ bearer = \"env:KEY\" }}]\nclient_key = \"env:CLIENT\"\n{FIRST_EVENT}");
    let launch = Launch::config(config(&upstream, &route)).env("KEY", "sk-canary").env("CLIENT", "mine");
    let proxy = launch.start().await;
    for (code, status, told) in [("429", 429, "no sk-canary"), ("401", 502, "sk-")] {
        let request = Request::stream(CHAT).field("authorization", "Bearer mine");
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        let error = format!("data: {{\"error\":{{\"message\":\"no sk-canary\",\"code\":{code}}}}}\n\n");
        at_once(&mut exchange, error.as_bytes()).await;
        assert_eq!(call.status().await, status);
        let body = String::from_utf8(call.body().await).expect("text");
        assert!(!body.contains(told), "{body}");
        assert!(body.contains(if status == 429 { "no *********" } else { "upstream_auth" }), "{body}");
    }
}

/// A stream that the upstream has not answered, opened all the same: the client holds its head and a heartbeat.
async fn opened(version: Version, proxy: &Tidegate, upstream: &mut Upstream) -> (Call, Exchange) {
    let mut call = Call::start_as(version, &proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    assert_open(&mut call).await;
    (call, exchange)
}

async fn assert_open(call: &mut Call) {
    assert_eq!(call.status().await, 200);
    let head = call.head().await;
    assert_eq!(head.one("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(
        (head.one("cache-control"), head.one("x-accel-buffering")),
        (Some("no-cache, no-transform"), Some("no"))
    );
    assert!(head.one("x-request-id").is_some());
    assert!(sse::is_heartbeat(&call.piece().await.data));
}

/// The last event, which is an error after nothing but heartbeats.
fn error_of(rest: &Rest) -> Json {
    assert_eq!(rest.cut, None, "the body ends cleanly");
    let events = rest.events();
    let [event] = events.as_slice() else { panic!("one event, not {events:?}") };
    assert_eq!(event.event, "error");
    serde_json::from_str::<Json>(&event.data).expect("JSON")["error"].take()
}

#[tokio::test]
async fn stream_that_was_opened_early_goes_on_when_the_upstream_answers() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, EARLY).await;
        for version in VERSIONS {
            let (mut call, mut exchange) = opened(version, &proxy, &mut upstream).await;
            assert!(sse::is_heartbeat(&call.piece().await.data));
            exchange.respond_sse().await;
            exchange.chunk(DELTA).await;
            exchange.chunk(DONE).await;
            exchange.end().await;
            let rest = call.rest().await;
            let events: Vec<String> = rest.events().into_iter().map(|event| event.data).collect();
            assert_eq!((rest.cut, events.len(), events[1].as_str()), (None, 2, "[DONE]"));
        }
        let line = proxy.access(CHAT).await;
        line.assert_ended(outcome::DONE, "end");
        assert!(line.number("ttfb_ms") >= 200.0, "{line:?}");
        assert_eq!((line.number("status"), line.number("events")), (200.0, 2.0));
    }
}

#[tokio::test]
async fn answer_that_is_no_stream_is_told_in_the_one_that_was_opened() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, EARLY).await;
    let json = ("content-type", "application/json");
    for (status, body, message, ended) in [
        (429, r#"{"error":{"message":"slow down"}}"#, "slow down", (outcome::STATUS, "first_event")),
        (503, "<html>", "the upstream answered 503 Service Unavailable", (outcome::STATUS, "first_event")),
        (200, r#"{"error":{"message":"slow down"}}"#, "slow down", ("upstream:error", "first_event")),
    ] {
        let path = format!("/{status}/{}{CHAT}", body.len());
        let mut call = Call::start(&proxy.http(), &Request::stream(&path)).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        assert_open(&mut call).await;
        exchange.answer(status, &[json], body.as_bytes()).await;
        assert_eq!(error_of(&call.rest().await)["message"], message);
        let line = proxy.access(&path).await;
        line.assert_ended(ended.0, ended.1);
        assert_eq!(line.number("status"), 200.0, "the one that was promised");
    }
    let (mut call, exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
    let answer =
        r#"{"object":"chat.completion","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    exchange.answer(200, &[json], answer.as_bytes()).await;
    let events = call.rest().await.events();
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), [answer]);
}

#[tokio::test]
async fn upstream_that_never_answers_is_told_in_the_open_stream() {
    let mut upstream = Upstream::start().await;
    let route = format!("{EARLY}\ntimeouts = {{ response_head = \"500ms\" }}");
    let proxy = Tidegate::before(&upstream, &route).await;
    let (mut call, mut exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
    assert_eq!(error_of(&call.rest().await)["code"], "upstream_timeout_response_head");
    within("the upstream to be left", exchange.closed()).await;
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_RESPONSE_HEAD, "head");

    let proxy = Tidegate::before(&upstream, EARLY).await;
    let (mut call, exchange) = opened(Version::Http2, &proxy, &mut upstream).await;
    drop(exchange);
    assert_eq!(error_of(&call.rest().await)["code"], "upstream_closed_before_head");
    proxy.access(CHAT).await.assert_ended(outcome::CLOSED_BEFORE_HEAD, "head");

    let route = format!("{EARLY}\ntimeouts = {{ total = \"500ms\" }}");
    let proxy = Tidegate::before(&upstream, &route).await;
    let (mut call, _exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
    assert_eq!(error_of(&call.rest().await)["code"], "tidegate_timeout_total");
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_TOTAL, "head");
}

#[tokio::test]
async fn connection_that_fails_late_is_told_in_the_open_stream_and_at_once_before_it() {
    let deaf = Deaf::start().await;
    let upstream = Upstream::start().await;
    let table = format!("url = \"{}\"\nconnect_timeout = \"500ms\"", deaf.url);
    let text = config(&upstream, EARLY).replace(&format!("url = \"{}\"", upstream.url), &table);
    let proxy = Launch::config(text).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    assert_open(&mut call).await;
    let error = error_of(&call.rest().await);
    assert_eq!(error["code"], "upstream_timeout_connect");
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_CONNECT, "connect");

    let proxy = Launch::config(config(&upstream, EARLY).replace(&upstream.url, &refusing())).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    assert_eq!(call.status().await, 502, "nothing was promised yet");
    proxy.access(CHAT).await.assert_ended(outcome::CONNECT_FAILED, "connect");
}

#[tokio::test]
async fn upstream_is_left_when_the_client_goes_before_the_answer() {
    let _alone = alone().await;
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, EARLY).await;
        for version in VERSIONS {
            for reset in [false, true] {
                let (call, mut exchange) = opened(version, &proxy, &mut upstream).await;
                let left = if reset { call.reset() } else { call.close() };
                exchange.assert_closed_within(Duration::from_millis(100), &left).await;
            }
        }
        proxy.access(CHAT).await.assert_ended(outcome::CLIENT_GONE, "head");
    }
}

#[tokio::test]
async fn drain_is_told_in_a_stream_without_an_answer() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, &format!("{EARLY}\n[timeouts]\ndrain = \"300ms\"")).await;
    let (mut call, _exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
    proxy.signal(Signal::TERM);
    assert_eq!(error_of(&call.rest().await)["code"], "tidegate_drain");
    proxy.access(CHAT).await.assert_ended(outcome::DRAIN, "head");
}

#[tokio::test]
async fn request_that_was_refused_unseen_is_sent_again_while_the_stream_is_open() {
    let mut upstream = Upstream::h2c().await;
    let proxy = Tidegate::before(&upstream, EARLY).await;
    let (mut call, exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
    exchange.refuse();
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(DONE).await;
    exchange.end().await;
    assert_eq!(call.rest().await.events().len(), 1);
    proxy.access(CHAT).await.assert_ended(outcome::DONE, "end");
}

#[tokio::test]
async fn credential_that_is_refused_late_is_not_the_clients() {
    let mut upstream = Upstream::start().await;
    let route = format!("inject = [{{ bearer = \"env:KEY\" }}]\n{EARLY}");
    let proxy = Launch::config(config(&upstream, &route)).env("KEY", "sk-canary").start().await;
    for (status, code, words) in [
        (401, "upstream_auth", "the upstream refused the proxy's credential (401)"),
        (400, "upstream_status", "no *********"),
    ] {
        let (mut call, exchange) = opened(Version::Http1, &proxy, &mut upstream).await;
        exchange.answer(status, &[], b"no sk-canary").await;
        let error = error_of(&call.rest().await);
        assert_eq!((&error["code"], &error["message"]), (&code.into(), &words.into()));
    }
}

/// Who asked for no stream, or may want another format, gets the status that the upstream gives, however late.
#[tokio::test]
async fn nothing_is_opened_for_requests_that_are_not_known_to_get_events() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "stream = { early_head = \"1ms\" }\n[server]\nworkers = 1").await;
    let json = Request::post;
    for request in [
        Request::get("/v1/models"),
        json(CHAT, r#"{"stream":false}"#),
        json(CHAT, "{}"),
        json("/api/chat", r#"{"stream":true}"#),
        json("/own", r#"{"stream":true}"#),
        json(CHAT, r#"{"stream":true}"#).field("accept", "application/x-ndjson"),
    ] {
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        // Another that came later to the same worker is open: there was time to open this one.
        let mut other = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        let _unanswered = upstream.request().await;
        assert_eq!(other.status().await, 200);
        exchange.answer(503, &[], b"later").await;
        assert_eq!((call.status().await, call.body().await), (503, b"later".to_vec()), "{request:?}");
    }
    let mut call = Call::start(&proxy.http(), &json(CHAT, r#"{"stream":true}"#)).await;
    assert_eq!(call.status().await, 200, "an API that streams nothing but events");
}

/// Waits until a head and several heartbeats have gone to a stream of the same worker that is to have them.
async fn several_heartbeats(proxy: &Tidegate, upstream: &mut Upstream) {
    let mut call = Call::start(&proxy.http(), &Request::stream(&format!("/open{CHAT}"))).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    assert_open(&mut call).await;
    for _ in 0..3 {
        assert!(sse::is_heartbeat(&call.piece().await.data));
    }
}

/// `format = "off"` is for those who want nothing touched: no label, no byte, no end.
#[tokio::test]
async fn format_off_passes_everything_through_untouched() {
    let mut upstream = Upstream::start().await;
    let stream = "stream = { format = \"off\", commit = \"first-content\", early_head = \"1ms\", heartbeat = \"50ms\" }";
    let other = "[[route]]\npath = \"/open\"\nupstream = \"up\"\nstream = { early_head = \"1ms\", heartbeat = \"50ms\" }";
    let proxy = Tidegate::before(&upstream, &format!("{stream}\n{other}\n[server]\nworkers = 1")).await;
    let odd = b"data:{\"error\":{}}\r\n\r\n\r\ndata: data: x\rid:1\n\n: c\n\n<html>\xff\x00 data: [DONE] ";
    for version in VERSIONS {
        let request = Request::stream(CHAT).field("accept-encoding", "gzip");
        let mut call = Call::start_as(version, &proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        assert_eq!(exchange.head.one("accept-encoding"), Some("gzip"), "the client's own affair");
        several_heartbeats(&proxy, &mut upstream).await;
        let fields = [
            ("content-type", "text/event-stream; charset=gbk"),
            ("etag", "\"a\""),
            ("cache-control", "max-age=1"),
        ];
        exchange.respond(200, &fields).await;
        assert_eq!(call.status().await, 200);
        for (name, value) in fields {
            assert_eq!(call.head().await.one(name), Some(value));
        }
        assert_eq!(call.head().await.one("x-accel-buffering"), None);
        for piece in odd.chunks(7) {
            exchange.chunk(piece).await;
            assert_eq!(call.piece().await.data, piece, "as it comes");
        }
        several_heartbeats(&proxy, &mut upstream).await;
        exchange.end().await;
        assert!(call.rest().await.bytes().is_empty(), "no heartbeat, no error");
    }
    proxy.access(CHAT).await.assert_ended(outcome::DONE, "end");
    let (mut call, mut exchange) = {
        let call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        (call, upstream.request().await)
    };
    exchange.respond_sse().await;
    exchange.chunk(DELTA).await;
    assert_eq!(call.piece().await.data, DELTA);
    exchange.reset();
    assert!(call.rest().await.cut.is_some(), "and a break is a break");
}
