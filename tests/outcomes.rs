//! What happens when something goes wrong: what the client sees, and what the access line says.

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::support::access::{Line, outcome};
use crate::support::alone;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request, Rest, Version};
use crate::support::sse::{self, Event};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Deaf, Exchange, Speaks, Upstream, refusing};
use crate::support::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
const DELTA: &str = r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}

"#;
const FINISH: &str = r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

"#;

/// A stream request to the upstream's URL, answered by tidegate itself: its status, its error body, its line.
async fn failed_before_the_head(url: &str, more: &str) -> (u16, Json, Line) {
    let upstream = Upstream::start().await;
    let text = config(&upstream, more).replace(&upstream.url, url);
    let proxy = Launch::config(text).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let status = call.status().await;
    let body = error_body(&mut call).await;
    (status, body, proxy.access(CHAT).await)
}

/// The JSON error that stands before any promise.
async fn error_body(call: &mut Call) -> Json {
    assert_eq!(call.head().await.one("content-type"), Some("application/json"));
    let body = call.json().await;
    for key in ["message", "type", "code"] {
        assert!(body["error"][key].is_string(), "no error.{key} in {body}");
    }
    body
}

/// An event stream that has begun: the head and, where given, one event have reached the client.
async fn begun(proxy: &Tidegate, upstream: &mut Upstream, path: &str, event: &str) -> (Call, Exchange) {
    let mut call = Call::start(&proxy.http(), &Request::stream(path)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    if !event.is_empty() {
        exchange.chunk(event.as_bytes()).await;
        assert_eq!(call.piece().await.data, event.as_bytes());
    }
    (call, exchange)
}

/// The end of a stream that broke: one error event in the generic form, then a clean end, and no `[DONE]`.
fn assert_error_end(rest: &Rest) -> Json {
    assert_eq!(rest.cut, None, "the body ends cleanly");
    assert_eq!(sse::faults(rest.pieces.iter().map(|piece| piece.data.as_slice())), [""; 0]);
    let events = rest.events();
    let [Event { event, data, .. }] = events.as_slice() else { panic!("one event, not {events:?}") };
    assert_eq!(event, "error");
    let error: Json = serde_json::from_str(data).expect("its data is JSON");
    assert_eq!(error["type"], "error");
    for key in ["message", "type", "code"] {
        assert!(error["error"][key].is_string(), "no error.{key} in {error}");
    }
    error
}

#[tokio::test]
async fn refused_connection_is_a_502() {
    let (status, body, line) = failed_before_the_head(&refusing(), "").await;
    assert_eq!(status, 502);
    assert_eq!(body["error"]["code"], "upstream_connect_failed");
    line.assert_ended(outcome::CONNECT_FAILED, "connect");
    assert_eq!(line.number("status"), 502.0);
}

#[tokio::test]
async fn name_that_does_not_resolve_is_a_502() {
    let (status, _, line) = failed_before_the_head("http://no-such-host.invalid:9", "").await;
    assert_eq!(status, 502);
    line.assert_ended(outcome::RESOLVE_FAILED, "connect");
}

#[tokio::test]
async fn connect_that_hangs_is_a_504() {
    let deaf = Deaf::start().await;
    let upstream = Upstream::start().await;
    let table = format!("url = \"{}\"\nconnect_timeout = \"300ms\"", deaf.url);
    let text = config(&upstream, "").replace(&format!("url = \"{}\"", upstream.url), &table);
    let proxy = Launch::config(text).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    assert_eq!(call.status().await, 504);
    error_body(&mut call).await;
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_CONNECT, "connect");
}

#[tokio::test]
async fn request_that_ends_before_there_is_a_connection_says_so() {
    let deaf = Deaf::start().await;
    let upstream = Upstream::start().await;
    let before = |more: &str| config(&upstream, more).replace(&upstream.url, &deaf.url);
    let proxy = Launch::config(before("timeouts = { total = \"300ms\" }")).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    assert_eq!(call.status().await, 504);
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_TOTAL, "connect");

    let proxy = Launch::config(before("")).start().await;
    Call::start(&proxy.http(), &Request::stream(CHAT)).await.close();
    proxy.access(CHAT).await.assert_ended(outcome::CLIENT_GONE, "connect");
}

#[tokio::test]
async fn certificate_of_a_stranger_is_a_502() {
    let (certs, others) = (Certs::new(), Certs::new());
    let upstream = Upstream::tls(Speaks::Http1, &certs).await;
    let text =
        config(&upstream, "").replace(&certs.ca.display().to_string(), &others.ca.display().to_string());
    let proxy = Launch::config(text).start().await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    assert_eq!(call.status().await, 502);
    error_body(&mut call).await;
    proxy.access(CHAT).await.assert_ended(outcome::TLS_FAILED, "connect");
}

#[tokio::test]
async fn silence_before_the_head_is_a_504() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { response_head = \"300ms\" }").await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    assert_eq!(call.status().await, 504);
    assert_eq!(error_body(&mut call).await["error"]["code"], "upstream_timeout_response_head");
    crate::support::within("the upstream connection to be closed", exchange.closed()).await;
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_RESPONSE_HEAD, "head");
}

#[tokio::test]
async fn upstream_that_hangs_up_before_its_head_is_a_502() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for half_a_head in ["", "HTTP/1.1 200 OK\r\ncontent-t"] {
        let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        exchange.wire().write(half_a_head.as_bytes()).await;
        drop(exchange);
        assert_eq!(call.status().await, 502);
        error_body(&mut call).await;
    }
    proxy.access(CHAT).await.assert_ended(outcome::CLOSED_BEFORE_HEAD, "head");
    assert!(upstream.is_quiet(), "a POST was sent twice");
}

#[tokio::test]
async fn head_that_is_no_http_is_a_502() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.wire().write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    assert_eq!(call.status().await, 502);
    error_body(&mut call).await;
    proxy.access(CHAT).await.assert_ended(outcome::MALFORMED, "head");
}

#[tokio::test]
async fn error_status_passes_untouched() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for status in [400, 404, 429, 500, 529] {
        let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        let fields = [("content-type", "application/json"), ("retry-after", "7")];
        upstream.request().await.answer(status, &fields, b"{ \"error\": \"odd\" }\n").await;
        assert_eq!(call.status().await, status);
        assert_eq!(call.head().await.one("retry-after"), Some("7"));
        assert_eq!(call.head().await.one("content-type"), Some("application/json"));
        assert_eq!(call.body().await, b"{ \"error\": \"odd\" }\n");
    }
    proxy.access(CHAT).await.assert_ended(outcome::STATUS, "end");
}

/// The bytes decide: HTML and nothing at all are no streams, whatever their label.
#[tokio::test]
async fn answer_that_is_no_stream_is_a_502_while_nothing_was_promised() {
    for (kind, body, ended) in [
        ("text/html", "<!DOCTYPE html><html></html>", outcome::HTML),
        ("text/plain", "  <html><body>Sign in</body></html>", outcome::HTML),
        ("text/plain", "", outcome::EMPTY),
    ] {
        for route in ["", "stream = { format = \"sse\" }", "stream = { format = \"ndjson\" }"] {
            let mut upstream = Upstream::start().await;
            let proxy = Tidegate::before(&upstream, route).await;
            let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
            upstream.request().await.answer(200, &[("content-type", kind)], body.as_bytes()).await;
            assert_eq!(call.status().await, 502, "{kind} {body:?} {route}");
            error_body(&mut call).await;
            let line = proxy.access(CHAT).await;
            line.assert_ended(ended, "first_event");
            assert_eq!(line.get("dialect"), Some("openai-chat"), "{route}");
        }
    }
}

/// A proxy in between said it in its own words, with status 200.
#[tokio::test]
async fn error_in_words_is_a_true_status_while_nothing_was_promised() {
    for (kind, body, status) in [
        ("text/plain", "upstream connect error or disconnect/reset before headers. reset reason: x", 503),
        ("text/html; charset=utf-8", "Internal Server Error", 500),
        ("application/json", "{\"code\":4000,\"msg\":\"no bot\"}", 502),
    ] {
        let mut upstream = Upstream::start().await;
        let proxy = Tidegate::before(&upstream, "").await;
        let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
        upstream.request().await.answer(200, &[("content-type", kind)], body.as_bytes()).await;
        assert_eq!(call.status().await, status, "{body:?}");
        error_body(&mut call).await;
        proxy.access(CHAT).await.assert_ended("upstream:error", "first_event");
    }
}

/// Ollama's package for Node takes `error` of an answer for a string, and showed its users `[object Object]`.
#[tokio::test]
async fn error_of_tidegates_own_is_a_string_for_ollamas_clients() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "client_key = \"env:PATH\"").await;
    let refused = Call::start(&proxy.http(), &Request::stream("/api/chat")).await;
    let proxy = Tidegate::before(&upstream, "").await;
    let no_stream = Call::start(&proxy.http(), &Request::stream("/api/chat")).await;
    upstream.request().await.answer(200, &[("content-type", "text/html")], b"<html></html>").await;
    for (mut call, status, code) in [(refused, 401, "missing_api_key"), (no_stream, 502, "upstream_html")] {
        assert_eq!(call.status().await, status);
        let body = call.json().await;
        assert!(body["error"].is_string(), "{body}");
        assert_eq!(body["code"], code);
    }
}

#[tokio::test]
async fn empty_stream_with_the_right_label_is_an_error() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.end().await;
    if call.status().await == 200 {
        assert_error_end(&call.rest().await);
    } else {
        assert_eq!(call.status().await, 502);
        error_body(&mut call).await;
    }
    proxy.access(CHAT).await.assert_ended(outcome::EMPTY, "first_event");
    // Where the head says that nothing follows, nothing is promised.
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    upstream.request().await.answer(200, &[("content-type", "text/event-stream")], b"").await;
    assert_eq!(call.status().await, 502);
    assert_eq!(error_body(&mut call).await["error"]["code"], "upstream_empty");
}

#[tokio::test]
async fn complete_stream_is_done() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, CHAT, DELTA).await;
    exchange.chunk(FINISH.as_bytes()).await;
    exchange.chunk(b"data: [DONE]\n\n").await;
    exchange.end().await;
    let rest = call.rest().await;
    assert_eq!((rest.cut.as_deref(), rest.events().len()), (None, 2));
    let line = proxy.access(CHAT).await;
    line.assert_ended(outcome::DONE, "end");
    assert_eq!((line.number("status"), line.number("events")), (200.0, 3.0));
    assert_eq!((line.need("method"), line.need("upstream")), ("POST", "up"));
    assert_eq!((line.need("format"), line.need("dialect")), ("sse", "openai-chat"));
    assert_eq!(line.number("bytes") as usize, DELTA.len() + rest.bytes().len());
    for key in ["id", "route", "ttfb_ms", "first_event_ms", "longest_gap_ms", "duration_ms"] {
        line.need(key);
    }
}

#[tokio::test]
async fn stream_that_breaks_off_ends_with_an_error_event_and_no_done() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (number, reset) in [true, false].into_iter().enumerate() {
        let path = format!("{CHAT}?{number}");
        let (mut call, mut exchange) = begun(&proxy, &mut upstream, &path, DELTA).await;
        exchange.chunk(b"data: {\"id\":\"c\",\"obj").await;
        if reset {
            exchange.reset()
        } else {
            drop(exchange)
        }
        let error = assert_error_end(&call.rest().await);
        assert_eq!(error["error"]["code"], "upstream_truncated");
        // The connection of the client is as good as before.
        let mut next = call.again(&Request::get("/next")).await;
        upstream.request().await.answer(200, &[], b"ok").await;
        assert_eq!(next.body().await, b"ok");
    }
    proxy.access(CHAT).await.assert_ended(outcome::TRUNCATED, "body");
}

#[tokio::test]
async fn http2_stream_that_is_reset_ends_with_an_error_event() {
    let mut upstream = Upstream::h2c().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &Request::stream(CHAT)).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        exchange.chunk(DELTA.as_bytes()).await;
        assert_eq!(call.piece().await.data, DELTA.as_bytes());
        exchange.reset();
        assert_error_end(&call.rest().await);
    }
    let line = proxy.access(CHAT).await;
    assert!(line.need("outcome").starts_with("upstream:"), "{line:?}");
}

#[tokio::test]
async fn clean_end_without_a_finish_sign_is_not_believed() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n";
    for (path, event) in [(CHAT, DELTA), ("/v1/messages", anthropic)] {
        let (mut call, exchange) = begun(&proxy, &mut upstream, path, event).await;
        exchange.end().await;
        assert_error_end(&call.rest().await);
        proxy.access(path).await.assert_ended(outcome::TRUNCATED, "body");
    }
}

#[tokio::test]
async fn clean_end_is_believed_where_no_finish_sign_is_known() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for path in ["/custom", "/v1/chat/completions/unlike"] {
        let (mut call, exchange) = begun(&proxy, &mut upstream, path, "data: token\n\n").await;
        exchange.end().await;
        let rest = call.rest().await;
        assert!(rest.cut.is_none() && rest.pieces.is_empty(), "{rest:?}");
        proxy.access(path).await.assert_ended(outcome::DONE, "end");
    }
}

/// A path is a hint only: what never looked like the dialect is not judged by it.
#[tokio::test]
async fn clean_end_is_believed_where_the_dialect_was_not_confirmed() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (mut call, exchange) = begun(&proxy, &mut upstream, CHAT, "data: hello\n\n").await;
    exchange.end().await;
    let rest = call.rest().await;
    assert!(rest.cut.is_none() && rest.pieces.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn body_that_is_no_stream_breaks_off_where_the_upstream_did() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &Request::get("/file")).await;
        let mut exchange = upstream.request().await;
        exchange.wire().write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        assert_eq!(call.piece().await.data, b"hello");
        exchange.reset();
        assert!(call.rest().await.cut.is_some(), "a cut body looked complete over {version:?}");
    }
    proxy.access("/file").await.assert_ended(outcome::TRUNCATED, "body");
}

#[tokio::test]
async fn stream_that_falls_silent_ends_with_an_error_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { event_gap = \"300ms\" }").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, CHAT, DELTA).await;
    assert_error_end(&call.rest().await);
    crate::support::within("the upstream connection to be closed", exchange.closed()).await;
    let line = proxy.access(CHAT).await;
    line.assert_ended(outcome::TIMEOUT_EVENT_GAP, "body");
    assert!(line.number("longest_gap_ms") >= 250.0, "{line:?}");
}

/// Pings and an empty delta with a role came in time, the answer did not.
#[tokio::test]
async fn stream_without_content_ends_with_an_error_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { first_content = \"300ms\" }").await;
    let role = DELTA.replace("\"content\":\"Hi\"", "\"role\":\"assistant\",\"content\":\"\"");
    let (mut call, _exchange) = begun(&proxy, &mut upstream, CHAT, &role).await;
    assert_error_end(&call.rest().await);
    let line = proxy.access(CHAT).await;
    line.assert_ended(outcome::TIMEOUT_FIRST_CONTENT, "body");
    assert_eq!((line.get("first_event_ms").is_some(), line.get("first_content_ms")), (true, None));
}

#[tokio::test]
async fn stream_without_a_first_event_ends_with_an_error_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { first_event = \"300ms\" }").await;
    let (mut call, _exchange) = begun(&proxy, &mut upstream, CHAT, "").await;
    assert_error_end(&call.rest().await);
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_FIRST_EVENT, "first_event");
}

#[tokio::test]
async fn stream_past_its_total_time_ends_with_an_error_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { total = \"500ms\" }").await;
    let (mut call, _exchange) = begun(&proxy, &mut upstream, CHAT, DELTA).await;
    assert_error_end(&call.rest().await);
    proxy.access(CHAT).await.assert_ended(outcome::TIMEOUT_TOTAL, "body");
}

#[tokio::test]
async fn event_past_the_bound_ends_the_stream_and_names_the_bound() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "stream = { max_event_bytes = \"1KiB\" }").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, CHAT, DELTA).await;
    exchange.chunk(format!("data: {}", "x".repeat(4096)).as_bytes()).await;
    let error = assert_error_end(&call.rest().await);
    assert_eq!(error["error"]["code"], "upstream_event_too_large");
    assert!(
        error["error"]["message"].as_str().is_some_and(|text| text.contains("max_event_bytes")),
        "{error}"
    );
    proxy.access(CHAT).await.assert_ended(outcome::EVENT_TOO_LARGE, "body");
}

#[tokio::test]
async fn client_that_takes_nothing_is_closed() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[timeouts]\nclient_write_stall = \"500ms\"").await;
    let (call, mut exchange) = begun(&proxy, &mut upstream, CHAT, DELTA).await;
    let event = format!("data: {}\n\n", "x".repeat(16 << 10));
    let flood = async { while exchange.try_chunk(event.as_bytes()).await.is_ok() {} };
    crate::support::within("the proxy to give up", flood).await;
    proxy.access(CHAT).await.assert_ended(outcome::CLIENT_STALLED, "body");
    drop(call);
}

#[tokio::test]
async fn upload_that_stops_is_a_408() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { request_body_idle = \"300ms\" }").await;
    let mut wire = crate::support::wire::Wire::connect(&proxy.http()).await;
    wire.write(b"POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await;
    let mut exchange = upstream.request().await;
    let mut call = Call::written(wire, "POST");
    assert_eq!(call.status().await, 408);
    crate::support::within("the upstream connection to be closed", exchange.closed()).await;
    proxy.access("/up").await.assert_ended(outcome::UPLOAD_IDLE, "request");
}

#[tokio::test]
async fn upload_past_the_bound_is_a_413() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "max_request_body = \"1KiB\"").await;
    let mut call = Call::start(&proxy.http(), &Request::new("PUT", "/up").body(&[b'x'; 4096])).await;
    assert_eq!(call.status().await, 413);
    proxy.access("/up").await.assert_ended(outcome::UPLOAD_TOO_LARGE, "request");
}

#[tokio::test]
async fn heartbeats_fill_silence_even_inside_an_event() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "stream = { heartbeat = \"100ms\" }").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, CHAT, "").await;
    assert!(sse::is_heartbeat(&call.piece().await.data));
    exchange.chunk(&DELTA.as_bytes()[..20]).await;
    for _ in 0..3 {
        assert!(sse::is_heartbeat(&call.piece().await.data));
    }
    exchange.chunk(&DELTA.as_bytes()[20..]).await;
    let event = loop {
        let piece = call.piece().await;
        if !sse::is_heartbeat(&piece.data) {
            break piece;
        }
    };
    assert_eq!(event.data, DELTA.as_bytes());
}

/// A log collector that hangs holds up what is logged, not what is answered: lines leave behind the answer.
#[tokio::test]
async fn answer_is_complete_before_its_line_is_logged() {
    for (path, fields, body) in [
        ("/json", ("content-type", "application/json"), "{}"),
        ("/stream", ("content-type", "text/event-stream"), "data: 1\n\n"),
    ] {
        let mut upstream = Upstream::start().await;
        let mut proxy = Tidegate::before(&upstream, "").await;
        let mut call = Call::start(&proxy.http(), &Request::get(path)).await;
        let exchange = upstream.request().await;
        let stalled = proxy.stall_log().await;
        exchange.answer(200, &[fields], body.as_bytes()).await;
        assert_eq!(call.status().await, 200);
        assert_eq!(call.body().await, body.as_bytes());
        assert!(proxy.access_lines().is_empty(), "it cannot be written");
        proxy.read_log(stalled);
        assert_eq!(proxy.access(path).await.get("outcome"), Some(outcome::DONE));
    }
}

/// Their lines are more than one write to a pipe.
#[tokio::test]
async fn answers_of_one_moment_are_complete_before_their_lines_are_logged() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "[server]\nworkers = 1").await;
    let (mut calls, mut exchanges) = (Vec::new(), Vec::new());
    for number in 0..20 {
        calls.push(Call::start(&proxy.http(), &Request::get(&format!("/{number}"))).await);
        exchanges.push(upstream.request().await);
    }
    let stalled = proxy.stall_log().await;
    proxy.signal(Signal::STOP);
    for exchange in exchanges {
        exchange.answer(200, &[], b"whole").await;
    }
    proxy.signal(Signal::CONT);
    for call in &mut calls {
        assert_eq!(call.body().await, b"whole");
    }
    assert!(proxy.access_lines().is_empty(), "they cannot be written");
    proxy.read_log(stalled);
    for number in 0..20 {
        assert_eq!(proxy.access(&format!("/{number}")).await.get("outcome"), Some(outcome::DONE));
    }
}

/// HTTP/1.0 has no end of a stream but that of its connection: what breaks off must not look like one.
#[tokio::test]
async fn http_1_0_client_sees_a_reset_where_its_stream_broke_off() {
    let certs = Certs::new();
    let mut upstream = Upstream::start().await;
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let proxy = Tidegate::before(&upstream, &format!("\n{listener}")).await;
    for endpoint in [proxy.http(), proxy.https(&certs, &["http/1.1"])] {
        for is_whole in [true, false] {
            let mut wire = Wire::connect(&endpoint).await;
            let request = "GET /old HTTP/1.0\r\naccept: text/event-stream\r\nconnection: keep-alive\r\n\r\n";
            wire.write(request.as_bytes()).await;
            let mut exchange = upstream.request().await;
            exchange.respond_sse().await;
            exchange.chunk(b"data: 1\n\n").await;
            let head = wire.head().await.expect("a head").expect("a head");
            assert_eq!(head.one("connection"), None, "it is not kept");
            assert_eq!(wire.exact(9).await, b"data: 1\n\n");
            match is_whole {
                true => exchange.end().await,
                false => exchange.reset(),
            }
            let end = wire.end().await;
            assert_eq!(end.as_deref().ok(), is_whole.then_some(&b""[..]), "{end:?}");
        }
    }
}
