//! Bridges: streams cut at every byte through each, every way of choosing one through the real program, and the page that
//! is made from the table.

mod page;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tidegate::bridge::{BRIDGES, JSON, NDJSON, SSE};
use tidegate::dialect::Dialect;
use tidegate::shape::{self, Marker, Markers, Pick, Settings};
use tidegate::stream::{End, Label, Mode, Out, Plan, Session, Wanted};

use crate::dialects::capture::{self, Capture};
use crate::support::client::{Call, Request, Rest};
use crate::support::session::{Ending, Said, played};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream};

const JSON_BRIDGE: &str = "bridge = \"json\"";
const CHAT: &str = "/v1/chat/completions";
const OLLAMA: &str = "/api/chat";
const LINES: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];
const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];
const WHOLE: &[(&str, &str)] = &[("content-type", "application/json")];

/// Every line of this body as JSON.
fn lines(body: &[u8]) -> Vec<Json> {
    let text = std::str::from_utf8(body).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?} ends inside a line");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect()
}

/// A capture through a bridge.
fn through(capture: &Capture, bridge: &'static tidegate::bridge::Bridge, cut: usize, ending: Ending) -> Said {
    played(Plan { bridge, ..capture.plan() }, [&capture.body[..cut]], ending)
}

/// The characters of the strings at a pointer.
fn texts(json: &Json, place: &str) -> Vec<char> {
    let (mut found, json) = (String::new(), json.to_string());
    tidegate::dialect::pointer::each(json.as_bytes(), place, &mut |_, value| {
        found += &serde_json::from_slice::<String>(value).unwrap_or_default();
    });
    found.chars().collect()
}

/// The data of the capture's events that are lines.
fn data(capture: &Capture) -> Vec<Json> {
    let events = capture.events.iter().filter(|event| !event.data.is_empty() && event.data != "[DONE]");
    events
        .map(|event| serde_json::from_str(&event.data).unwrap_or_else(|_| event.data.clone().into()))
        .collect()
}

#[test]
fn lines_of_a_stream_that_ends_at_any_byte_are_whole_and_told_honestly() {
    let mut cuts = 0;
    for capture in capture::load() {
        let want = data(&capture);
        for cut in 0..=capture.body.len() {
            for ending in [Ending::Clean, Ending::Reset, Ending::Silence] {
                let (said, usual) =
                    (through(&capture, &NDJSON, cut, ending), capture.play(&capture.body[..cut], ending));
                let name = format!("{} {ending:?} at {cut}", capture.name);
                assert_eq!((&said.outcome, said.end), (&usual.outcome, usual.end), "{name}");
                assert!(said.units.iter().all(|unit| lines(unit).len() == 1), "{name}: one line a chunk");
                assert_eq!(said.told().is_some(), usual.told().is_some(), "{name}");
                assert!(want.starts_with(&lines(&said.theirs().concat())), "{name}");
                cuts += 1;
            }
        }
        assert_eq!(
            lines(&through(&capture, &NDJSON, capture.body.len(), Ending::Clean).body()),
            want,
            "{}",
            capture.name
        );
    }
    assert!(cuts > 25_000, "{cuts} cuts");
}

#[test]
fn answer_of_a_stream_that_ends_at_any_byte_is_whole_or_none() {
    let mut played = HashSet::new();
    for capture in capture::load().into_iter().filter(|capture| JSON.writes(capture.hint())) {
        let gathered = |cut, ending| through(&capture, &JSON, cut, ending);
        let whole: Json =
            serde_json::from_slice(&gathered(capture.body.len(), Ending::Clean).body()).expect("JSON");
        let mut answers = 0;
        for cut in 0..=capture.body.len() {
            for ending in [Ending::Clean, Ending::Reset, Ending::Silence] {
                let said = gathered(cut, ending);
                let name = format!("{} {ending:?} at {cut}: {}", capture.name, said.outcome);
                if said.end == Some(End::Abort) {
                    assert!(said.units.is_empty() && said.outcome != "done", "{name}");
                    continue;
                }
                assert_eq!((said.outcome.as_str(), said.units.len()), ("done", 1), "{name}");
                let mut answer: Json = serde_json::from_slice(&said.body()).expect("JSON");
                // Usage may follow the end of an answer: what ends cleanly before it lacks nothing else.
                if answer.get("usage").is_none() {
                    answer["usage"] = whole.get("usage").cloned().unwrap_or_default();
                }
                let mut want = whole.clone();
                want.as_object_mut().expect("an object").entry("usage").or_insert(Json::Null);
                answer.as_object_mut().expect("an object").entry("usage").or_insert(Json::Null);
                assert_eq!(answer, want, "{name}");
                answers += 1;
            }
        }
        assert!(answers > 0, "{}", capture.name);
        // Several choices come one after the other here, and mixed in the stream.
        let places = ["/choices/*/message/content", "/choices/*/text", "/content/*/text", "/message/content"];
        let mut said: Vec<char> = places.iter().flat_map(|place| texts(&whole, place)).collect();
        let mut want: Vec<char> = capture.said.chars().collect();
        said.sort_unstable();
        want.sort_unstable();
        assert_eq!(said, want, "{}", capture.name);
        played.insert(capture.dialect.name);
    }
    assert_eq!(played.len(), 3, "{played:?}");
}

#[test]
fn error_of_the_upstream_anywhere_in_a_stream_leaves_no_answer() {
    let mut told = HashSet::new();
    for capture in capture::load().into_iter().filter(|capture| JSON.writes(capture.hint())) {
        let Some(error) = capture.error.as_deref() else { continue };
        told.insert(capture.dialect.name);
        let boundaries = capture.boundaries();
        for before in [0, boundaries[0], boundaries[capture.finish.expect("a finish") - 1]] {
            let mut body = capture.body[..before].to_vec();
            let gap = match capture.format.name {
                "sse" => "\n\n",
                "ndjson" => "\n",
                _ => "",
            };
            body.extend_from_slice(gap.as_bytes());
            body.extend_from_slice(error);
            let said = played(Plan { bridge: &JSON, ..capture.plan() }, [body.as_slice()], Ending::Clean);
            let ended = (said.units.len(), said.outcome.as_str());
            assert_eq!(ended, (0, "upstream:error"), "{} after {before}", capture.name);
        }
    }
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn error_with_an_end_behind_it_leaves_no_answer_however_it_came() {
    let [hi, finish, done] = [
        r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ];
    let error = r#"{"error":{"message":"boom"}}"#;
    let object = r#"{"object":"error","message":"boom","code":50001}"#;
    let start = r#"{"type":"message_start","message":{"id":"m","content":[]}}"#;
    let (told, stop) = (
        r#"{"type":"error","error":{"type":"overloaded_error","message":"boom"}}"#,
        r#"{"type":"message_stop"}"#,
    );
    let (chat, anthropic) = (Dialect::named("openai-chat"), Dialect::named("anthropic"));
    for (dialect, events) in [
        (chat, &[hi, error, done][..]),
        (chat, &[error, done]),
        (chat, &[hi, finish, error, done]),
        (chat, &[hi, object, done]),
        (chat, &[object, done]),
        (anthropic, &[start, told, stop]),
        (anthropic, &[told, stop]),
    ] {
        let events: Vec<String> = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        let whole = events.concat();
        let is_one = |capture: &Capture| capture.hint() == dialect && capture.format.name == "sse";
        let capture = capture::load().into_iter().find(is_one).expect("one");
        for pieces in [vec![whole.as_bytes()], events.iter().map(|event| event.as_bytes()).collect()] {
            let (now, mut out) = (Instant::now(), Out::default());
            let mut session = Session::new(Plan { bridge: &JSON, ..capture.plan() }, now);
            for piece in pieces {
                session.input(piece, now, &mut out);
                while session.is_behind() {
                    session.go_on(now, &mut out);
                }
            }
            session.upstream_ended(now, &mut out);
            let outcome = session.outcome().map(|outcome| outcome.to_string());
            // Cut before anything was promised: the head is that of an error.
            assert_eq!((outcome.as_deref(), out.end), (Some("upstream:error"), Some(End::Abort)), "{whole}");
            assert!(out.bytes.is_empty() && session.failure().is_some(), "{whole}");
        }
    }
}

#[test]
fn answer_is_bounded_as_an_event_is() {
    let capture =
        capture::load().into_iter().find(|capture| capture.dialect.name == "openai-chat").expect("one");
    let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789\"}}]}\n\n".repeat(1000);
    let plan = Plan { bridge: &JSON, max_event_bytes: 4096, ..capture.plan() };
    let said = played(plan, [token.as_bytes()], Ending::Clean);
    assert_eq!((said.outcome.as_str(), said.units.len()), ("upstream:event_too_large", 0));
}

#[test]
fn shapes_work_in_front_of_every_bridge() {
    let capture =
        capture::load().into_iter().find(|capture| capture.dialect.name == "openai-chat").expect("one");
    let pick = |plain| Settings {
        pick: Some(Pick { pointer: "/choices/*/delta/content".to_owned(), plain }),
        ..Settings::default()
    };
    for plain in [false, true] {
        let plan = Plan { bridge: &NDJSON, shapes: Some(pick(plain).into()), ..capture.plan() };
        let said = played(plan, [capture.body.as_slice()], Ending::Clean);
        let text: String = lines(&said.body()).iter().map(|line| line.as_str().expect("a string")).collect();
        assert_eq!(text, capture.said, "{plain}");
    }
    let merged = Settings { merge: Some(Duration::from_secs(1)), ascii: true, ..Settings::default() };
    let plan = Plan { bridge: &JSON, shapes: Some(merged.into()), ..capture.plan() };
    let answer: Json =
        serde_json::from_slice(&played(plan, [capture.body.as_slice()], Ending::Clean).body()).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], capture.said.as_str());
}

#[test]
fn end_marker_of_a_route_is_neither_a_line_nor_a_part_of_an_answer() {
    let capture =
        capture::load().into_iter().find(|capture| capture.dialect.name == "openai-chat").expect("one");
    let eof = || Marker::read("AIQA_EOF");
    let all = |ending| Markers {
        ending,
        from: vec![eof(), Marker::read("[DONE]")],
        to: eof(),
        ..Markers::default()
    };
    let without = String::from_utf8(capture.body.clone()).expect("UTF-8").replace("data: [DONE]\n\n", "");
    for body in [without.clone(), without.clone() + "data: AIQA_EOF\n\n", without + "data: [DONE]\n\n"] {
        let shaped = |bridge, ending| {
            let settings = Settings { markers: all(ending), ..Settings::default() };
            let said = played(
                Plan { bridge, shapes: Some(settings.into()), ..capture.plan() },
                [body.as_bytes()],
                Ending::Clean,
            );
            assert_eq!(said.outcome, "done");
            said.body()
        };
        for ending in [shape::Ending::Keep, shape::Ending::Ensure, shape::Ending::Strip] {
            assert_eq!(lines(&shaped(&NDJSON, ending)), data(&capture), "{ending:?}");
            let answer: Json = serde_json::from_slice(&shaped(&JSON, ending)).expect("JSON");
            assert_eq!(answer["choices"][0]["message"]["content"], capture.said.as_str(), "{ending:?}");
        }
        assert!(
            String::from_utf8(shaped(&SSE, shape::Ending::Ensure))
                .expect("UTF-8")
                .ends_with("data: AIQA_EOF\n\n")
        );
    }
}

/// What a body that came whole becomes.
fn faked(path: &str, body: &[u8], cuts: usize, bound: usize) -> Said {
    let mode = Mode::Sniff(Label::Json, Wanted::Events);
    let plan = crate::support::session::plan(&tidegate::format::SSE, path);
    let plan = Plan { mode, fake_stream: true, heartbeat: None, max_event_bytes: bound, ..plan };
    played(plan, body.chunks(cuts), Ending::Clean)
}

#[test]
fn only_a_whole_answer_becomes_a_stream_and_all_else_passes_as_it_is() {
    let answer = json!({ "id": "c", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "你好" }, "finish_reason": "stop" }] });
    let pretty = serde_json::to_vec_pretty(&answer).expect("JSON");
    for cuts in [1, 7, 10_000] {
        let said = faked(CHAT, &pretty, cuts, 1 << 20);
        assert_eq!((said.outcome.as_str(), said.units.len()), ("done", 4), "{cuts}");
        assert_eq!(said.units[3], b"data: [DONE]\n\n");
        assert_eq!(faked(CHAT, &pretty, cuts, 50).body(), pretty, "larger than the bound");
        for other in
            ["{\"object\":\"list\",\"data\":[]}", "{\"choices\":[{\"message\":{", "[]\n", "\"hello\"", "{}"]
        {
            let said = faked(CHAT, other.as_bytes(), cuts, 1 << 20);
            assert_eq!(
                (String::from_utf8_lossy(&said.body()), said.outcome.as_str()),
                (other.into(), "done"),
                "{cuts}"
            );
        }
        assert_eq!(faked("/v1/embeddings", &pretty, cuts, 1 << 20).body(), pretty, "an unknown dialect");
    }
}

/// A proxy with these keys of `[route.stream]`, and what the upstream answered to a request through it.
async fn begun(keys: &str, request: &Request, head: &[(&str, &str)]) -> (Tidegate, Upstream, Call, Exchange) {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, &format!("stream = {{ {keys} }}")).await;
    let call = Call::start(&proxy.http(), request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.respond(200, head).await;
    (proxy, upstream, call, exchange)
}

fn post(path: &str, body: &str) -> Request {
    Request::post(path, body).field("content-type", "application/json")
}

/// What a client gets of a body that ends cleanly.
async fn relayed(
    keys: &str,
    request: &Request,
    head: &[(&str, &str)],
    body: &str,
) -> (u16, String, Rest, Tidegate) {
    let (proxy, _upstream, mut call, mut exchange) = begun(keys, request, head).await;
    exchange.chunk(body.as_bytes()).await;
    exchange.end().await;
    let head = call.head().await.clone();
    let media_type = head.one("content-type").unwrap_or_default().to_owned();
    let rest = call.rest().await;
    if media_type == "application/json" {
        assert_eq!(head.one("content-length"), Some(rest.bytes().len().to_string().as_str()), "{head:?}");
    }
    (head.status(), media_type, rest, proxy)
}

const TOKENS: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"你\"}}]}\n\n\
                      : ping\n\n\
                      data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"好\"},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const OBJECTS: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"你\"},\"done\":false}\n\
                       {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"好\"},\"done\":false}\n";
const LAST: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n";

#[tokio::test]
async fn ollamas_own_clients_get_whole_lines_the_moment_they_are_there() {
    for field in [("user-agent", "curl"), ("accept", "application/json"), ("accept", "application/x-ndjson")]
    {
        let request = post(OLLAMA, "{}").field(field.0, field.1);
        let (proxy, _upstream, mut call, mut exchange) = begun("", &request, LINES).await;
        assert_eq!(call.head().await.one("content-type"), Some("application/x-ndjson"));
        let (first, rest) = OBJECTS.split_at(OBJECTS.find('\n').expect("two lines") + 1);
        // Cut inside a character.
        let inside = first.find('你').expect("text") + 1;
        exchange.chunk(&first.as_bytes()[..inside]).await;
        exchange.chunk(&first.as_bytes()[inside..first.len() - 1]).await;
        assert_eq!(
            call.piece().await.data,
            first.as_bytes(),
            "with its closing bracket, and before its line end"
        );
        exchange.chunk(&[b"\n", rest.as_bytes(), LAST.as_bytes()].concat()).await;
        assert_eq!([call.piece().await.data, call.piece().await.data], [rest.as_bytes(), LAST.as_bytes()]);
        exchange.end().await;
        assert_eq!(call.body().await, b"");
        let line = proxy.access(OLLAMA).await;
        let told = ["outcome", "format", "bridge", "dialect", "events"].map(|key| line.need(key).to_owned());
        assert_eq!(told, ["done", "ndjson", "ndjson", "ollama", "3"]);
    }
}

#[tokio::test]
async fn ollamas_own_clients_are_told_of_a_break_in_a_line() {
    for reset in [false, true] {
        let (proxy, _upstream, mut call, mut exchange) = begun("", &post(OLLAMA, "{}"), LINES).await;
        exchange.chunk(OBJECTS.as_bytes()).await;
        let mut body = [call.piece().await.data, call.piece().await.data].concat();
        if reset {
            exchange.reset()
        } else {
            exchange.end().await
        }
        let rest = call.rest().await;
        assert_eq!(rest.cut, None, "a clean end behind the error");
        body.extend(rest.bytes());
        let lines = lines(&body);
        assert_eq!(lines.len(), 3);
        assert!(lines[2]["error"].is_string() && lines[2]["code"] == "upstream_truncated", "{}", lines[2]);
        proxy.access(OLLAMA).await.assert_ended("upstream:truncated", "body");
    }
}

#[tokio::test]
async fn lines_are_for_who_accepts_them_whatever_the_upstream_streams() {
    let body = [TOKENS, DONE].concat();
    for (keys, path, accept, media_type) in [
        ("", CHAT, "application/x-ndjson", "application/x-ndjson"),
        ("", CHAT, "application/jsonl, */*;q=0.1", "application/x-ndjson"),
        ("", CHAT, "application/x-ndjson, text/event-stream", "text/event-stream; charset=utf-8"),
        ("bridge = \"ndjson\"", CHAT, "text/event-stream", "application/x-ndjson"),
        (
            "bridge_query = \"as\"",
            "/v1/chat/completions?as=ndjson&a=1",
            "text/event-stream",
            "application/x-ndjson",
        ),
        (
            "bridge_query = \"as\", bridge = \"ndjson\"",
            "/v1/chat/completions?as=sse",
            "*/*",
            "text/event-stream; charset=utf-8",
        ),
        ("bridge = \"sse\"", CHAT, "application/x-ndjson", "text/event-stream; charset=utf-8"),
    ] {
        let request = post(path, "{\"stream\":true}").field("accept", accept);
        let (status, got, rest, proxy) = relayed(keys, &request, EVENTS, &body).await;
        assert_eq!((status, got.as_str()), (200, media_type), "{keys} {accept}");
        let bridge = if media_type.starts_with("text/") { "sse" } else { "ndjson" };
        assert_eq!(proxy.access(CHAT).await.need("bridge"), bridge);
        if bridge == "ndjson" {
            let texts: Vec<Json> = lines(&rest.bytes())
                .iter()
                .map(|line| line["choices"][0]["delta"]["content"].clone())
                .collect();
            assert_eq!(texts, ["你", "好"]);
            assert!(
                rest.bytes().starts_with(b"{\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\""),
                "tokens as they are"
            );
        } else {
            assert_eq!(rest.events().last().map(|event| event.data.as_str()), Some("[DONE]"));
        }
    }
}

#[tokio::test]
async fn request_that_said_no_stream_gets_one_answer_of_an_upstream_that_streams() {
    let sse = [TOKENS, DONE].concat();
    let objects = [OBJECTS, LAST].concat();
    for (path, head, body, text) in [
        (CHAT, EVENTS, &sse, "/choices/0/message/content"),
        (CHAT, WHOLE, &sse, "/choices/0/message/content"),
        (CHAT, &[("content-type", "text/plain")], &sse, "/choices/0/message/content"),
        (OLLAMA, LINES, &objects, "/message/content"),
    ] {
        let (status, media_type, rest, proxy) =
            relayed(JSON_BRIDGE, &post(path, "{\"stream\":false}"), head, body).await;
        assert_eq!(
            (status, media_type.as_str(), rest.pieces.len()),
            (200, "application/json", 1),
            "{head:?}"
        );
        let answer: Json = serde_json::from_slice(&rest.bytes()).expect("JSON");
        assert_eq!(answer.pointer(text), Some(&json!("你好")), "{answer}");
        let line = proxy.access(path).await;
        assert_eq!((line.need("bridge"), line.need("outcome"), line.need("status")), ("json", "done", "200"));
    }
}

#[tokio::test]
async fn stream_that_breaks_before_its_answer_is_whole_is_a_true_status() {
    let error = "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"code\":\"rate_limit_exceeded\"}}\n\n";
    let cut = &TOKENS[..TOKENS.find(": ping").expect("a comment")];
    for (body, reset, status, outcome, message) in [
        (cut.to_owned(), false, 502, "upstream:truncated", "before its answer was finished"),
        (TOKENS.to_owned(), true, 502, "upstream:truncated", ""),
        ([cut, error].concat(), false, 429, "upstream:error", "slow down"),
        ([cut, "data: {\"choices\":[{\n\n", DONE].concat(), false, 502, "upstream:malformed", "no JSON"),
        (["data: {\"t\":1}\n\n", DONE].concat(), false, 502, "upstream:malformed", "no answer"),
        (String::new(), false, 502, "upstream:empty", ""),
    ] {
        let (proxy, _upstream, mut call, mut exchange) =
            begun(JSON_BRIDGE, &post(CHAT, "{\"stream\":false}"), EVENTS).await;
        if !body.is_empty() {
            exchange.chunk(body.as_bytes()).await;
        }
        if reset {
            exchange.reset()
        } else {
            exchange.end().await
        }
        assert_eq!(call.status().await, status, "{outcome}");
        let error = call.json().await;
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains(message)), "{error}");
        assert_eq!(proxy.access(CHAT).await.need("outcome"), outcome);
    }
}

#[tokio::test]
async fn answer_in_one_piece_to_a_request_that_said_no_stream_passes_as_it_flows() {
    let (proxy, _upstream, mut call, mut exchange) =
        begun(JSON_BRIDGE, &post(CHAT, "{\"stream\":false}"), WHOLE).await;
    // What keeps clients waiting, and an answer that takes its time.
    for piece in ["\n", " {", "\"error\"", ":null,\"choices\":[]}"] {
        exchange.chunk(piece.as_bytes()).await;
        assert_eq!(call.piece().await.data, piece.as_bytes());
    }
    exchange.end().await;
    assert_eq!(call.body().await, b"");
    assert_eq!(proxy.access(CHAT).await.get("bridge"), None);
}

#[tokio::test]
async fn parameter_of_the_query_does_not_go_up_and_must_name_a_bridge() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "stream = { bridge_query = \"as\" }").await;
    let _call = Call::start(&proxy.http(), &Request::get("/x?a=1&as=ndjson&b=as")).await;
    assert_eq!(upstream.request().await.head.target(), "/x?a=1&b=as");
    for query in ["as=xml", "as", "as=sse&as=json", "%61s=SSE"] {
        let mut call = Call::start(&proxy.http(), &Request::get(&format!("/y?{query}"))).await;
        assert_eq!(call.status().await, 400, "{query}");
        assert_eq!(call.json().await["error"]["code"], "bad_bridge", "{query}");
    }
    proxy.access("/y").await.assert_ended("client:bad_bridge", "request");
    assert!(upstream.is_quiet());
    let other = Tidegate::before(&upstream, "").await;
    let _call = Call::start(&other.http(), &Request::get("/x?as=xml")).await;
    assert_eq!(upstream.request().await.head.target(), "/x?as=xml", "off by default");
}

#[tokio::test]
async fn whole_answer_to_a_request_for_a_stream_becomes_one_where_the_route_says_so() {
    let chat =
        json!({ "id": "c", "object": "chat.completion", "choices": [{ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": "你好" } }], "usage": { "total_tokens": 3 } })
        .to_string();
    let object = json!({ "model": "m", "message": { "role": "assistant", "content": "你好" }, "done": true, "done_reason": "stop" }).to_string();
    let asked = |path: &str| post(path, "{\"stream\":true}");
    let (_, media_type, rest, proxy) = relayed("fake_stream = true", &asked(CHAT), WHOLE, &chat).await;
    assert_eq!(media_type, "text/event-stream; charset=utf-8");
    let events = rest.events();
    assert_eq!((events.len(), events.last().map(|event| event.data.as_str())), (4, Some("[DONE]")));
    let line = proxy.access(CHAT).await;
    assert_eq!((line.need("format"), line.need("bridge"), line.need("outcome")), ("json", "sse", "done"));
    let (_, media_type, rest, _) = relayed("fake_stream = true", &asked(OLLAMA), WHOLE, &object).await;
    assert_eq!(media_type, "application/x-ndjson", "what Ollama's own clients read");
    let lines = lines(&rest.bytes());
    assert_eq!((&lines[0]["message"]["content"], &lines[1]["done"]), (&json!("你好"), &json!(true)));
    for (keys, request, body) in [
        ("", asked(CHAT), chat.as_str()),
        ("fake_stream = true", post(CHAT, "{}"), &chat),
        ("fake_stream = true", asked(CHAT), "{\"id\":1}"),
        ("fake_stream = true", asked("/v1/embeddings"), &chat),
    ] {
        let (_, media_type, rest, _) = relayed_as_is(keys, &request, body).await;
        assert_eq!(
            (media_type.as_str(), rest.bytes().as_slice()),
            ("application/json", body.as_bytes()),
            "{keys}"
        );
    }
}

/// The same without a look at the length, which an upstream that sends chunks does not tell.
async fn relayed_as_is(keys: &str, request: &Request, body: &str) -> (u16, String, Rest, Tidegate) {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, &format!("stream = {{ {keys} }}")).await;
    let mut call = Call::start(&proxy.http(), request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.answer(200, WHOLE, body.as_bytes()).await;
    let head = call.head().await.clone();
    (head.status(), head.one("content-type").unwrap_or_default().to_owned(), call.rest().await, proxy)
}

#[tokio::test]
async fn heartbeats_are_for_events_alone() {
    let request = post(CHAT, "{\"stream\":true}");
    for (bridge, beats) in [("sse", true), ("ndjson", false)] {
        let keys = format!("bridge = \"{bridge}\", heartbeat = \"20ms\"");
        let (_proxy, _upstream, mut call, mut exchange) = begun(&keys, &request, EVENTS).await;
        exchange.chunk(TOKENS.as_bytes()).await;
        let mut got = Vec::new();
        while let Ok(Ok(Some(piece))) =
            tokio::time::timeout(Duration::from_millis(300), call.try_piece()).await
        {
            got.push(piece.data);
            if got.len() > 5 {
                break;
            }
        }
        assert_eq!(got.iter().any(|piece| piece == b":\n"), beats, "{bridge}: {got:?}");
    }
}

#[test]
fn every_bridge_was_tried() {
    assert_eq!(BRIDGES, [&SSE, &NDJSON, &JSON]);
}
