//! What each kind of client gets: profiles by name, by header, by what a request shows; heartbeats in every form; errors
//! inside a stream.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value as Json;
use tidegate::config::PathMatch;
use tidegate::config::table::switches;
use tidegate::profile::PROFILES;

use crate::support::access::outcome;
use crate::support::client::{Call, Request, Rest, Version};
use crate::support::pages;
use crate::support::sse::{self, Event};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Exchange, Upstream, refusing};
use crate::support::wire::Piece;
use crate::support::{alone, eventually};

const CHAT: &str = "/v1/chat/completions";
const PAGE_FRAME: &str = "https://servicewechat.com/wx0123456789abcdef/17/page-frame.html";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36";
const LIMITED: &str = r#"{"error":{"message":"慢一点","type":"tokens","code":"rate_limit_exceeded"}}"#;
const IN_BAND: &str = "stream = { errors = \"in-band\" }";

/// What a mini-program sends: no word about events but in the body.
fn chat() -> Request {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    Request::post(CHAT, body).field("accept", "*/*")
}

/// A native `EventSource`.
fn event_source(path: &str) -> Request {
    Request::get(path).field("accept", "text/event-stream").field("user-agent", BROWSER)
}

fn token(text: &str) -> String {
    format!("data: {}\n\n", chunk(text, "null"))
}

fn finish() -> String {
    format!("data: {}\n\n", chunk("", "\"stop\""))
}

fn chunk(text: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}"#
    )
}

/// A proxy whose only route has these keys of `[route.stream]`.
async fn route(upstream: &Upstream, keys: &str) -> Tidegate {
    Tidegate::before(upstream, &format!("stream = {{ {keys} }}")).await
}

/// A stream through it that has begun.
async fn begun(proxy: &Tidegate, upstream: &mut Upstream, request: &Request) -> (Call, Exchange) {
    let call = Call::start(&proxy.http(), request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.respond_sse().await;
    (call, exchange)
}

/// A whole stream through it.
async fn through(proxy: &Tidegate, upstream: &mut Upstream, request: &Request, body: &str) -> Rest {
    let (mut call, mut exchange) = begun(proxy, upstream, request).await;
    exchange.chunk(body.as_bytes()).await;
    exchange.end().await;
    let rest = call.rest().await;
    assert_eq!(rest.cut, None);
    rest
}

fn text_of(events: &[Event]) -> String {
    let text = |event: &Event| {
        let json: Json = serde_json::from_str(&event.data).unwrap_or_default();
        json["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    events.iter().map(text).collect()
}

/// The one error of a stream that consists of it, and what follows it.
async fn told(call: &mut Call) -> (Event, Json, Vec<Event>) {
    assert_eq!(call.status().await, 200);
    let head = call.head().await;
    assert_eq!(head.one("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(head.one("content-length"), None, "some clients wait for chunks");
    let rest = call.rest().await;
    assert_eq!(rest.cut, None, "a proper end");
    let is_beat = |piece: &Piece| piece.data.starts_with(b":");
    assert!(rest.pieces.iter().all(|piece| is_beat(piece) || sse::parse(&piece.data).len() == 1), "{rest:?}");
    let mut events = rest.events();
    assert!(!events.is_empty(), "{rest:?}");
    let event = events.remove(0);
    let data = serde_json::from_str(&event.data).expect("an error is JSON");
    (event, data, events)
}

// --- which profile --------------------------------------------------------------------------------------------

#[tokio::test]
async fn miniprogram_gets_ascii_small_events_few_and_an_end() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"miniprogram\"").await;
    let long = "你好🌍".repeat(1000);
    let body: String = ["数", "据", "流", &long].map(token).concat() + &finish();
    let rest = through(&proxy, &mut upstream, &chat(), &body).await;
    assert!(rest.bytes().is_ascii());
    assert!(rest.pieces.iter().all(|piece| piece.data.len() <= 3900), "no event is too large");
    let events = rest.events();
    assert_eq!(text_of(&events), format!("数据流{long}"));
    assert_eq!(text_of(&events[1..2]).chars().next(), Some('据'), "the first leaves at once");
    assert_eq!(events.last(), Some(&Event::message("[DONE]")), "the upstream forgot it");
    assert_eq!(proxy.access(CHAT).await.need("profile"), "miniprogram");
}

#[tokio::test]
async fn client_is_taken_for_what_it_shows_to_be_unless_the_route_says_otherwise() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let body = token("数") + &finish() + "data: [DONE]\n\n";
    for (field, value, profile) in [
        ("referer", PAGE_FRAME, "miniprogram"),
        ("referer", "https://servicewechat.com.example/", "auto"),
        ("user-agent", "OpenAI/Python 2.8.1", "sdk"),
        ("sec-fetch-mode", "cors", "browser"),
        ("user-agent", "curl/8.17.0", "auto"),
    ] {
        let rest = through(&proxy, &mut upstream, &chat().field(field, value), &body).await;
        assert_eq!(rest.bytes().is_ascii(), profile == "miniprogram", "{field}: {value}");
        if profile != "miniprogram" {
            assert_eq!(String::from_utf8_lossy(&rest.bytes()), body, "{profile}: nothing is changed");
        }
    }
    eventually(Duration::from_secs(5), "the access lines", || {
        let lines = proxy.access_lines();
        let profiles: Vec<&str> = lines.iter().map(|line| line.need("profile")).collect();
        let all = ["miniprogram", "auto", "sdk", "browser", "auto"];
        if profiles == all { Ok(()) } else { Err(format!("{profiles:?}")) }
    })
    .await;

    let fixed = route(&upstream, "profile = \"sdk\"").await;
    let rest = through(&fixed, &mut upstream, &chat().field("referer", PAGE_FRAME), &body).await;
    assert_eq!(rest.bytes(), body.as_bytes(), "the route's word counts");
}

/// The operator's word about paths and User-Agents comes before what is built in, and the path is the client's.
#[tokio::test]
async fn client_is_taken_for_what_the_operator_knows_it_by() {
    let mut upstream = Upstream::start().await;
    let more = "rewrite = { from = \"/api\", to = \"/\" }\n\
                [profile.kiosk]\nuser_agents = [\"Kiosk/\"]\ndone_to = \"AIQA_EOF\"\n\
                [profile.miniprogram]\npaths = [\"/api/mp\"]\n\
                [profile.auto]\npaths = [\"/api/raw\"]\n";
    let text = config(&upstream, more);
    let proxy = Launch::config(text).start().await;
    let body = token("数") + &finish() + "data: [DONE]\n\n";
    let ask = |path: &str, agent: &str| {
        let asks = r#"{"model":"m","messages":[],"stream":true}"#;
        Request::post(path, asks).field("accept", "*/*").field("user-agent", agent)
    };
    let rows = [
        ("/api/mp/v1/chat/completions", "curl/8.17.0", "miniprogram"),
        ("/api/%6Dp/v1/chat/completions", "OpenAI/Python 2.8.1", "miniprogram"),
        ("/api/mpx/v1/chat/completions", "curl/8.17.0", "auto"),
        ("/api/v1/chat/completions", "my kiosk/7", "kiosk"),
        ("/api/mp/v1/chat/completions", "kiosk/7", "kiosk"),
        ("/api/raw/v1/chat/completions", "OpenAI/Python 2.8.1", "auto"),
        ("/api/v1/chat/completions", "OpenAI/Python 2.8.1", "sdk"),
    ];
    for (path, agent, profile) in rows {
        let rest = through(&proxy, &mut upstream, &ask(path, agent), &body).await;
        assert_eq!(rest.bytes().is_ascii(), profile == "miniprogram", "{path} {agent}");
        let last = if profile == "kiosk" { "AIQA_EOF" } else { "[DONE]" };
        assert_eq!(rest.events().last(), Some(&Event::message(last)), "{path} {agent}");
    }
    eventually(Duration::from_secs(5), "the access lines", || {
        let lines = proxy.access_lines();
        let profiles: Vec<&str> = lines.iter().map(|line| line.need("profile")).collect();
        let all = rows.map(|(_, _, profile)| profile);
        if profiles == all { Ok(()) } else { Err(format!("{profiles:?}")) }
    })
    .await;

    let text =
        config(&upstream, "stream = { profile = \"sdk\" }") + "[profile.miniprogram]\npaths = [\"/v1\"]\n";
    let fixed = Launch::config(text).start().await;
    let rest = through(&fixed, &mut upstream, &chat(), &body).await;
    assert_eq!(rest.bytes(), body.as_bytes(), "the route's word counts");
}

#[tokio::test]
async fn request_may_name_its_profile_where_the_route_allows_it() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(
        &upstream,
        "stream = { profile_header = true }\n[profile.mine]\ndone_to = \"AIQA_EOF\"",
    )
    .await;
    let body = format!("event: answer\n{}{}data: [DONE]\n\n", token("x"), finish());
    let named = |name: &str| chat().field("tidegate-profile", name);
    let rest = through(&proxy, &mut upstream, &named("mine"), &body).await;
    assert_eq!(rest.events().last(), Some(&Event::message("AIQA_EOF")));
    let rest = through(&proxy, &mut upstream, &named("naive"), &body).await;
    assert!(rest.bytes().starts_with(b"data: "), "{rest:?}");

    let mut call = Call::start(&proxy.http(), &named("nobody")).await;
    assert_eq!(call.status().await, 400);
    let error = &call.json().await["error"];
    assert_eq!(error["code"], "unknown_profile");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("auto, browser, sdk, miniprogram, uniappx, naive, mine"), "{message}");
    assert!(!message.contains("nobody"), "what was sent is not said again");
    assert!(upstream.is_quiet());

    let closed = route(&upstream, "profile = \"sdk\"").await;
    let call = Call::start(&closed.http(), &named("naive")).await;
    let exchange = upstream.request().await;
    assert_eq!(exchange.head.one("tidegate-profile"), None, "it is for tidegate alone");
    exchange.answer(200, &[("content-type", "text/event-stream")], body.as_bytes()).await;
    drop(call);
    assert_eq!(closed.access(CHAT).await.need("profile"), "sdk");
}

#[tokio::test]
async fn what_the_configuration_says_wins_over_the_profile() {
    let mut upstream = Upstream::start().await;
    let body = token("数") + &finish();
    let own = route(&upstream, "profile = \"miniprogram\", ascii = false, done = \"keep\"").await;
    assert_eq!(through(&own, &mut upstream, &chat(), &body).await.bytes(), body.as_bytes());
    let text = config(&upstream, "") + "[stream]\nprofile = \"miniprogram\"\nascii = false\n";
    let everywhere = Launch::config(text).start().await;
    let rest = through(&everywhere, &mut upstream, &chat(), &body).await;
    assert_eq!(String::from_utf8(rest.bytes()).unwrap(), body.clone() + "data: [DONE]\n\n");
    let text = config(&upstream, "stream = { profile = \"miniprogram\" }")
        + "[profile.miniprogram]\nascii = false\n";
    let changed = Launch::config(text).start().await;
    let rest = through(&changed, &mut upstream, &chat(), &body).await;
    assert_eq!(String::from_utf8(rest.bytes()).unwrap(), body + "data: [DONE]\n\n");
}

#[tokio::test]
async fn naive_reader_gets_data_lines_and_nothing_else() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"naive\", heartbeat = \"50ms\"").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, &chat()).await;
    exchange.chunk(b": thinking\n\n").await;
    // Several heartbeats would have come by now.
    let silent = tokio::time::timeout(Duration::from_millis(200), call.try_piece()).await;
    assert!(silent.is_err(), "{silent:?}");
    exchange.chunk(format!("event: answer\nid: 1\n{}", token("数")).as_bytes()).await;
    assert_eq!(call.piece().await.data, format!("data: {}\n\n", chunk("\\u6570", "null")).into_bytes());
    exchange.reset();
    let rest = call.rest().await;
    assert!(rest.bytes().starts_with(b"data: {"), "{rest:?}");
    assert_eq!(rest.events().len(), 1, "an error, and no end marker");
}

// --- heartbeats -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn heartbeat_is_a_delta_while_the_answer_of_a_known_dialect_goes_on() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "heartbeat_form = \"delta\", heartbeat = \"50ms\"").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, &chat()).await;
    exchange.chunk(b": thinking\n\n").await;
    assert_eq!(call.piece().await.data, b":\n\n", "no dialect is known yet");
    exchange.chunk(token("x").as_bytes()).await;
    while call.piece().await.data == b":\n\n" {}
    let beat = r#"{"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":null}]}"#;
    assert_eq!(call.piece().await.data, format!("data: {beat}\n\n").into_bytes());
    exchange.chunk(finish().as_bytes()).await;
    while call.piece().await.data != finish().into_bytes() {}
    assert_eq!(call.piece().await.data, b":\n\n", "nothing may look like more of the answer");
    exchange.chunk(b"data: [DONE]\n\n").await;
    exchange.end().await;
    assert_eq!(call.rest().await.cut, None);
    assert_eq!(proxy.access(CHAT).await.need("events"), "3", "heartbeats are none");
}

#[tokio::test]
async fn heartbeat_is_a_ping_to_clients_of_anthropic() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "heartbeat_form = \"delta\", heartbeat = \"50ms\"").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, &Request::stream("/v1/messages")).await;
    exchange.chunk(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n").await;
    while !call.piece().await.data.starts_with(b"event: message_start") {}
    assert_eq!(call.piece().await.data, b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

#[tokio::test]
async fn heartbeats_and_comments_are_blocks_of_their_own_for_clients_that_drop_these() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"uniappx\", heartbeat = \"80ms\"").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, &event_source("/sse")).await;
    assert_eq!(call.piece().await.data, b":\n\n");
    exchange.chunk(b": keep-alive\n\ndata: x\n\n").await;
    let mut pieces = Vec::new();
    while pieces.last().map(Vec::as_slice) != Some(b"data: x\n\n") {
        pieces.push(call.piece().await.data);
    }
    assert!(pieces.contains(&b": keep-alive\n\n".to_vec()), "{pieces:?}");
}

#[tokio::test]
async fn stream_for_uniappx_is_closed_behind_its_end_marker() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"uniappx\", done_close = \"50ms\"").await;
    let (mut call, mut exchange) = begun(&proxy, &mut upstream, &chat()).await;
    exchange.chunk((token("x") + &finish() + "data: [DONE]\n\n").as_bytes()).await;
    assert_eq!(call.rest().await.cut, None, "the upstream has not ended it");
    drop(exchange);
}

/// uni-app x on Android sees neither the end of a stream nor a broken one: its code closes the connection at an event `error`,
/// as at `[DONE]`. An upstream's error has no name by itself, and no marker follows it: such code waited for ever.
#[tokio::test]
async fn error_of_the_upstream_reaches_uniappx_as_an_event_named_error() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"uniappx\"").await;
    for (path, before, error) in [
        (CHAT, "", r#"{"error":{"message":"overloaded","type":"server_error"}}"#),
        (
            CHAT,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n",
            r#"{"error":{"message":"late"}}"#,
        ),
        (CHAT, "", r#"{"code":401,"msg":"no such key"}"#),
        ("/sse", "data: hello\n\n", r#"{"error":"no more"}"#),
        ("/v1/chat-messages", "", r#"{"event":"error","status":400,"code":"x","message":"no"}"#),
    ] {
        let request = Request::post(path, r#"{"stream":true}"#).field("accept", "text/event-stream");
        let rest = through(&proxy, &mut upstream, &request, &format!("{before}data: {error}\n\n")).await;
        let (last, others) =
            rest.events().split_last().map(|(last, others)| (last.clone(), others.to_vec())).unwrap();
        assert_eq!((last.event.as_str(), last.data.as_str()), ("error", error), "{path}");
        assert!(others.iter().all(|event| event.event == "message"), "{others:?}");
    }
    let named = "event: error\ndata: {\"error\":{}}\n\n";
    let rest = through(&proxy, &mut upstream, &chat(), named).await;
    assert_eq!(rest.bytes(), named.as_bytes(), "one that has it stays");
    let (mut call, mut exchange) =
        begun(&proxy, &mut upstream, &Request::post("/v1/chat-messages", r#"{"stream":true}"#)).await;
    exchange.chunk(b"data: {\"event\":\"message\",\"answer\":\"x\"}\n\n").await;
    call.piece().await;
    exchange.reset();
    let events = call.rest().await.events();
    assert_eq!(
        events.last().map(|event| event.event.as_str()),
        Some("error"),
        "tidegate's own, in every dialect"
    );
    let usual = Tidegate::before(&upstream, "").await;
    let rest = through(&usual, &mut upstream, &chat(), "data: {\"error\":{}}\n\n").await;
    assert_eq!(rest.bytes(), b"data: {\"error\":{}}\n\n", "nobody else");
}

#[tokio::test]
async fn ids_are_dropped_where_the_profile_says_so() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "ids = \"drop\"").await;
    let body = format!("id: 1\n\nid: 2\n{}{}", token("x"), finish());
    let rest = through(&proxy, &mut upstream, &chat(), &body).await;
    assert_eq!(rest.bytes(), (token("x") + &finish()).as_bytes());
}

// --- errors inside a stream -----------------------------------------------------------------------------------

#[tokio::test]
async fn status_of_the_upstream_is_told_in_a_stream_with_its_words() {
    let mut upstream = Upstream::start().await;
    let proxy = route(&upstream, "profile = \"miniprogram\"").await;
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &chat()).await;
        let exchange = upstream.request().await;
        let fields = [("content-type", "application/json"), ("x-ratelimit-reset", "3")];
        exchange.answer(429, &fields, LIMITED.as_bytes()).await;
        let (event, data, rest) = told(&mut call).await;
        assert!(event.data.is_ascii() && event.event == "error" && event.retry.is_none(), "{event:?}");
        assert_eq!(
            data["error"],
            serde_json::json!({ "message": "慢一点", "type": "upstream_error", "code": "upstream_status", "status": 429 })
        );
        assert_eq!(rest, [Event::message("[DONE]")], "the profile ensures it");
        assert_eq!(call.head().await.one("x-ratelimit-reset"), Some("3"));
    }
    let line = proxy.access(CHAT).await;
    assert_eq!(
        (line.need("status"), line.need("told"), line.need("outcome")),
        ("200", "429", outcome::STATUS)
    );
    assert!(!proxy.log().contains("慢"), "the upstream's words are the client's alone");
}

#[tokio::test]
async fn only_what_wants_a_stream_is_told_in_one() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, IN_BAND).await;
    let plain = r#"{"model":"m","messages":[],"stream":false}"#;
    for request in [
        Request::post(CHAT, plain),
        Request::get("/v1/models"),
        Request::new("OPTIONS", CHAT).field("origin", "https://a.test").field("accept", "text/event-stream"),
        // Its clients read lines of JSON.
        Request::post("/api/chat", r#"{"stream":true}"#),
        chat().field("accept", "application/x-ndjson"),
        // A client of MCP asks whether there is a stream.
        Request::get("/mcp").field("accept", "text/event-stream"),
    ] {
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        exchange.answer(405, &[("content-type", "application/json")], LIMITED.as_bytes()).await;
        assert_eq!(call.status().await, 405, "{request:?}");
        assert_eq!(call.rest().await.bytes(), LIMITED.as_bytes(), "{request:?}");
    }
}

#[tokio::test]
async fn request_body_tells_also_where_nobody_has_read_it() {
    let refused = |more: &str| format!("[[route]]\nupstream = 'up'\n{IN_BAND}\n{more}");
    let proxy = dead(&refused("")).await;
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &chat()).await;
        let (_, data, rest) = told(&mut call).await;
        assert_eq!(
            (&data["error"]["code"], &data["error"]["status"]),
            (&"upstream_connect_failed".into(), &502.into())
        );
        assert_eq!(rest, []);
        let mut plain = Call::start_as(version, &proxy.http(), &Request::post(CHAT, "{}")).await;
        assert_eq!(plain.status().await, 502);
        assert_eq!(plain.json().await["error"]["code"], "upstream_connect_failed");
    }
    assert_eq!(proxy.access_lines()[0].need("outcome"), outcome::CONNECT_FAILED);

    let keyed = dead(&refused("client_key = 'env:KEY'")).await;
    let mut call = Call::start(&keyed.http(), &chat()).await;
    let (_, data, _) = told(&mut call).await;
    assert_eq!((&data["error"]["code"], &data["error"]["status"]), (&"missing_api_key".into(), &401.into()));
    let mut plain = Call::start(&keyed.http(), &Request::get("/v1/models")).await;
    assert_eq!(plain.status().await, 401);
}

/// A proxy with these routes to an upstream that refuses connections.
async fn dead(routes: &str) -> Tidegate {
    let url = refusing();
    let head = format!("listener = [{{ address = '127.0.0.1:0' }}]\nupstream.up.url = '{url}'\n");
    Launch::config(head + routes).env("KEY", "secret-1").start().await
}

/// On a route from `/tool` to `/mcp` clients of MCP were told in a stream that there was no answer, which they never are
/// on `/mcp`, and on one from `/ai` to `/api/chat` Ollama's clients got an object where they read a string.
#[tokio::test]
async fn refusal_is_in_the_words_of_the_path_that_goes_up() {
    let proxy = dead(&format!(
        "[[route]]\npath = '/ai'\nupstream = 'up'\nrewrite = {{ from = '/ai', to = '/api/chat' }}\n\
         [[route]]\npath = '/tool'\nupstream = 'up'\nrewrite = {{ from = '/tool', to = '/mcp' }}\n{IN_BAND}\n\
         [[route]]\npath = '/mine'\nupstream = 'up'\nclient_key = 'env:KEY'\nrewrite = {{ from = '/mine', to = '/api/chat' }}\n"
    ))
    .await;
    for (path, status, code) in [("/ai", 502, "upstream_connect_failed"), ("/mine", 401, "missing_api_key")] {
        let mut call = Call::start(&proxy.http(), &Request::post(path, "{}")).await;
        assert_eq!(call.status().await, status);
        let told = call.json().await;
        assert_eq!((told["error"].is_string(), &told["code"]), (true, &code.into()), "{path}: {told}");
    }
    let tool =
        Request::post("/tool", r#"{"jsonrpc":"2.0"}"#).field("accept", "application/json, text/event-stream");
    let mut call = Call::start(&proxy.http(), &tool).await;
    assert_eq!(call.status().await, 502, "never in a stream");
    assert_eq!(call.json().await["jsonrpc"], "2.0");
    proxy.access("/tool").await.assert_ended(outcome::CONNECT_FAILED, "connect");
}

/// The query was looked at too late: who asked for lines or for one answer was told in events.
#[tokio::test]
async fn refusal_is_told_in_events_only_to_who_is_written_to_in_events() {
    let proxy = dead(
        "[[route]]\nupstream = 'up'\nstream = { errors = 'in-band', bridge_query = 'as' }\n\
         [[route]]\npath = '/keyed'\nupstream = 'up'\nclient_key = 'env:KEY'\nrewrite = { from = '/keyed', to = '/' }\nstream = { errors = 'in-band', bridge_query = 'as' }\n",
    )
    .await;
    let ask = |path: &str| {
        let body = r#"{"model":"m","messages":[],"stream":true}"#;
        Request::post(path, body).field("accept", "text/event-stream")
    };
    for (prefix, status) in [("", 502), ("/keyed", 401)] {
        for bridge in ["ndjson", "json"] {
            let mut call = Call::start(&proxy.http(), &ask(&format!("{prefix}{CHAT}?as={bridge}"))).await;
            assert_eq!(call.status().await, status, "{prefix} {bridge}");
            assert!(call.json().await["error"].is_object(), "{prefix} {bridge}");
        }
        for query in ["", "?as=sse"] {
            let mut call = Call::start(&proxy.http(), &ask(&format!("{prefix}{CHAT}{query}"))).await;
            let (_, data, _) = told(&mut call).await;
            assert_eq!(data["error"]["status"], status, "{prefix} {query}");
        }
    }
    let mut call = Call::start(&proxy.http(), &ask(&format!("/keyed{CHAT}?as=xml"))).await;
    let (_, data, _) = told(&mut call).await;
    assert_eq!(data["error"]["code"], "missing_api_key", "the key comes first");
}

#[tokio::test]
async fn refused_credential_is_not_the_clients_fault_and_is_never_told() {
    let mut upstream = Upstream::start().await;
    let more = format!("inject = [{{ bearer = 'env:KEY' }}]\n{IN_BAND}");
    let proxy = Launch::config(config(&upstream, &more)).env("KEY", "canary-1").start().await;
    let json = [("content-type", "application/json")];
    let mut call = Call::start(&proxy.http(), &chat()).await;
    upstream.request().await.answer(401, &json, br#"{"error":{"message":"bad key canary-1"}}"#).await;
    let (event, data, _) = told(&mut call).await;
    assert_eq!((&data["error"]["code"], &data["error"]["status"]), (&"upstream_auth".into(), &502.into()));
    assert!(!event.data.contains("canary"));
    let mut call = Call::start(&proxy.http(), &chat()).await;
    upstream.request().await.answer(400, &json, br#"{"error":{"message":"echo: canary-1"}}"#).await;
    let (event, data, _) = told(&mut call).await;
    assert_eq!(data["error"]["status"], 400);
    assert!(event.data.contains("echo: ****") && !event.data.contains("canary"), "{event:?}");
}

#[tokio::test]
async fn long_or_broken_error_is_told_by_its_status() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, IN_BAND).await;
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(100_000));
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for (fields, body) in [(&gzip[..1], long.as_bytes()), (&gzip[..1], b""), (&gzip[..], b"not gzip")] {
        let mut call = Call::start(&proxy.http(), &chat()).await;
        upstream.request().await.answer(503, fields, body).await;
        let (event, data, _) = told(&mut call).await;
        assert_eq!(data["error"]["status"], 503);
        assert!(event.data.len() < 300, "{} bytes", event.data.len());
    }
}

#[tokio::test]
async fn event_source_of_a_page_is_told_when_to_ask_again() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (fields, retry) in
        [(&[("retry-after", "7")][..], 7_000), (&[("retry-after", "0")], 1_000), (&[], 86_400_000)]
    {
        let mut call = Call::start(&proxy.http(), &event_source("/ask?q=hi")).await;
        upstream.request().await.answer(429, fields, LIMITED.as_bytes()).await;
        let (event, data, rest) = told(&mut call).await;
        assert_eq!((event.event.as_str(), event.retry), ("error", Some(retry)));
        assert_eq!((&data["error"]["status"], rest.len()), (&429.into(), 0));
    }
    let post = chat().field("user-agent", BROWSER).field("sec-fetch-mode", "cors");
    let mut call = Call::start(&proxy.http(), &post.field("accept", "text/event-stream")).await;
    upstream.request().await.answer(429, &[], LIMITED.as_bytes()).await;
    assert_eq!(call.status().await, 429, "fetch reads statuses");
}

#[tokio::test]
async fn everything_before_the_first_event_is_told_in_a_stream() {
    let mut upstream = Upstream::start().await;
    let keys = "stream = { errors = \"in-band\", commit = \"first-event\" }\ntimeouts = { response_head = \"100ms\" }";
    let proxy = Tidegate::before(&upstream, keys).await;
    for (body, status, code) in [
        ("data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n", 429, "upstream_error"),
        ("<!doctype html><p>Sign in", 502, "upstream_html"),
        ("", 502, "upstream_empty"),
    ] {
        let mut call = Call::start(&proxy.http(), &chat()).await;
        upstream.request().await.answer(200, &[("content-type", "text/event-stream")], body.as_bytes()).await;
        let (_, data, _) = told(&mut call).await;
        assert_eq!(
            (&data["error"]["status"], &data["error"]["code"]),
            (&status.into(), &code.into()),
            "{body}"
        );
    }
    let mut call = Call::start(&proxy.http(), &chat()).await;
    let exchange = upstream.request().await;
    let (_, data, _) = told(&mut call).await;
    assert_eq!(
        (&data["error"]["status"], &data["error"]["code"]),
        (&504.into(), &"upstream_timeout_response_head".into())
    );
    drop(exchange);
}

/// A stream that was opened early, and one that turned out to be empty, told their error without a status, without an end
/// marker, and let an `EventSource` ask again after three seconds.
#[tokio::test]
async fn error_that_is_all_of_an_open_stream_is_told_as_in_one_that_was_opened_for_it() {
    let mut upstream = Upstream::start().await;
    let early = route(&upstream, "profile = \"miniprogram\", early_head = \"50ms\"").await;
    let mut call = Call::start(&early.http(), &chat()).await;
    let exchange = upstream.request().await;
    assert_eq!(call.status().await, 200, "before the upstream has answered");
    exchange.answer(429, &[("content-type", "application/json")], LIMITED.as_bytes()).await;
    let (event, data, rest) = told(&mut call).await;
    assert_eq!((event.event.as_str(), &data["error"]["status"]), ("error", &429.into()));
    assert_eq!(rest, [Event::message("[DONE]")]);

    let keys = "intent = \"stream\", early_head = \"50ms\"";
    for (keys, answers) in [(keys, true), ("intent = \"stream\"", false)] {
        let proxy = route(&upstream, keys).await;
        let mut call = Call::start(&proxy.http(), &event_source("/ask")).await;
        let mut exchange = upstream.request().await;
        let (status, retry) = if answers {
            assert_eq!(call.status().await, 200);
            exchange.answer(503, &[("retry-after", "7")], b"").await;
            (503, 7_000)
        } else {
            exchange.respond_sse().await;
            assert_eq!(call.status().await, 200);
            exchange.end().await;
            (502, 86_400_000)
        };
        let (event, data, rest) = told(&mut call).await;
        assert_eq!((event.retry, &data["error"]["status"]), (Some(retry), &status.into()), "{keys}");
        assert_eq!(rest, []);
        assert_eq!(proxy.access("/ask").await.need("told"), status.to_string());
    }

    let mini = route(&upstream, "profile = \"miniprogram\"").await;
    let (mut call, exchange) = begun(&mini, &mut upstream, &chat()).await;
    assert_eq!(call.status().await, 200);
    exchange.end().await;
    let (_, data, rest) = told(&mut call).await;
    assert_eq!((&data["error"]["code"], &data["error"]["status"]), (&"upstream_empty".into(), &502.into()));
    assert_eq!(rest, [Event::message("[DONE]")]);
    let line = mini.access(CHAT).await;
    assert_eq!((line.need("told"), line.need("events")), ("502", "0"));
}

#[tokio::test]
async fn stream_without_an_event_is_told_of_also_where_nothing_is_known_of_the_api() {
    let mut upstream = Upstream::start().await;
    let named = route(&upstream, "profile = \"uniappx\"").await;
    let by_itself = Tidegate::before(&upstream, "").await;
    for (proxy, breaks, retry) in
        [(&named, true, Some(86_400_000)), (&named, false, Some(86_400_000)), (&by_itself, true, None)]
    {
        let mut call = Call::start(&proxy.http(), &event_source("/notices")).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        assert_eq!(call.status().await, 200);
        let code = if breaks {
            exchange.reset();
            "upstream_truncated"
        } else {
            exchange.end().await;
            "upstream_empty"
        };
        let (event, data, _) = told(&mut call).await;
        assert_eq!((event.event.as_str(), event.retry), ("error", retry));
        assert_eq!((&data["error"]["code"], &data["error"]["status"]), (&code.into(), &502.into()));
        assert_eq!(proxy.access("/notices").await.need("told"), "502");
    }
    // Of a page's own notices none may be due before the stream ends; it asks again.
    let mut call = Call::start(&by_itself.http(), &event_source("/quiet")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.end().await;
    assert_eq!(call.rest().await.events(), []);
    assert_eq!(by_itself.access("/quiet").await.need("outcome"), "done");
}

#[tokio::test]
async fn error_whose_words_broke_off_is_told_by_its_status() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, IN_BAND).await;
    let mut call = Call::start(&proxy.http(), &chat()).await;
    let mut exchange = upstream.request().await;
    exchange.respond(429, &[("content-type", "application/json")]).await;
    exchange.chunk(&LIMITED.as_bytes()[..30]).await;
    exchange.reset();
    let (event, data, _) = told(&mut call).await;
    assert_eq!(
        data["error"]["message"],
        "the upstream answered 429 Too Many Requests, and its words broke off"
    );
    assert_eq!((&data["error"]["status"], event.event.as_str()), (&429.into(), "error"));
}

#[tokio::test]
async fn stream_that_breaks_never_looks_complete_in_any_profile() {
    let mut upstream = Upstream::start().await;
    for profile in PROFILES {
        let proxy = route(&upstream, &format!("profile = \"{}\"", profile.name)).await;
        let (mut call, mut exchange) = begun(&proxy, &mut upstream, &chat()).await;
        exchange.chunk(token("x").as_bytes()).await;
        let first = call.piece().await;
        assert!(!first.data.is_empty());
        exchange.reset();
        let events = call.rest().await.events();
        assert_eq!(events.len(), 1, "{}: {events:?}", profile.name);
        assert!(events[0].data.contains("upstream_"), "{events:?}");
    }
}

// --- the page -------------------------------------------------------------------------------------------------

#[test]
fn profiles_page_is_made_from_the_table() {
    let mut table =
        "| `profile` | for | keys of `[stream]` | found by |\n| --- | --- | --- | --- |\n".to_owned();
    for profile in PROFILES {
        let keys: Vec<String> =
            profile.keys.iter().map(|(name, value)| format!("`{name} = {value}`")).collect();
        let keys = if keys.is_empty() { "the defaults".to_owned() } else { keys.join(", ") };
        let signs = if profile.signs.is_empty() { "its name, or signs of your own" } else { profile.signs };
        let signs = if profile.name == "auto" { "nothing else fits" } else { signs };
        let _ = writeln!(table, "| `{}` | {} | {keys} | {signs} |", profile.name, profile.doc);
    }
    let mut beats = "| dialect | `heartbeat_form = \"delta\"` |\n| --- | --- |\n".to_owned();
    for dialect in tidegate::dialect::DIALECTS {
        let Some(beat) = dialect.heartbeat else { continue };
        let repeated: String = beat.repeated.iter().map(|name| format!("\"{name}\":…,")).collect();
        let name = beat.name.map(|name| format!("`event: {name}` ")).unwrap_or_default();
        let _ = writeln!(beats, "| `{}` | {name}`data: {{{repeated}{}}}` |", dialect.name, beat.members);
    }
    pages::keep("docs/profiles.md", &[("profiles", table), ("heartbeats", beats)]);
}

#[test]
fn profiles_page_says_of_every_key_what_it_decides() {
    let page = pages::page("docs/profiles.md");
    let (_, decides) = page.split_once("## What a profile decides").expect("the page has that table");
    let (decides, _) = decides.split_once("\n## ").expect("more follows");
    let keys: Vec<&str> = switches().map(|key| key.name()).collect();
    let missing: Vec<&&str> = keys.iter().filter(|key| !decides.contains(&format!("`{key}`"))).collect();
    assert!(keys.len() > 15 && missing.is_empty(), "{missing:?}");
}

#[test]
fn configuration_of_the_profiles_page_is_valid_and_sends_up_what_the_upstream_knows() {
    let mut count = 0;
    for block in pages::blocks("docs/profiles.md").iter().filter(|block| block.language == "toml") {
        let text = pages::completed(&block.text);
        let config = tidegate::config::parse(&text, &block.place);
        let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        for route in &config.routes {
            let PathMatch::Prefix(prefix) = &route.path else { continue };
            let asked = format!("{prefix}{CHAT}").parse().expect("a path");
            let sent = config.upstream_path(route, &asked).expect("a path");
            assert_eq!(sent, CHAT, "{}: the upstream knows no other path", block.place);
        }
        assert_eq!(tidegate::config::notes(&config), [""; 0], "{}", block.place);
        count += 1;
    }
    assert!(count >= 2, "{count}");
}
