//! Shapes, through the real program and in every split: what they change, and what they never do.

mod dialects;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;
use serde_json::Value as Json;
use tidegate::format::SSE;
use tidegate::shape::{SHAPES, Settings};
use tidegate::stream::Plan;

use crate::support::access::outcome;
use crate::support::alone;
use crate::support::client::{Call, Left, Request};
use crate::support::pages;
use crate::support::session::{Said, cut, plan, said};
use crate::support::sse::{self, Event};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/choices/*/delta/content";

/// A token event with this text, which needs no escapes.
fn token(text: &str) -> String {
    format!("data: {}\n\n", chunk(&Json::from(text).to_string(), "null"))
}

/// The data of one; text and finish reason as they stand in JSON.
fn chunk(text: &str, finish: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":{text}}},"finish_reason":{finish}}}]}}"#)
}

fn finish() -> String {
    format!("data: {}\n\n", chunk("\"\"", "\"stop\""))
}

/// A proxy with these keys of `[route.stream]`, and a stream through it that has begun.
async fn begun(keys: &str) -> (Tidegate, Upstream, Call, Exchange) {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, &format!("stream = {{ {keys} }}")).await;
    let call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.respond_sse().await;
    (proxy, upstream, call, exchange)
}

/// What a client gets of this stream, which ends cleanly.
async fn through(keys: &str, body: &str) -> (Vec<Event>, Tidegate) {
    let (proxy, _upstream, mut call, mut exchange) = begun(keys).await;
    exchange.chunk(body.as_bytes()).await;
    exchange.end().await;
    let rest = call.rest().await;
    assert_eq!(rest.cut, None, "{keys}");
    assert_eq!(sse::faults(rest.pieces.iter().map(|piece| piece.data.as_slice())), [""; 0], "{keys}");
    (rest.events(), proxy)
}

#[tokio::test]
async fn marker_is_mapped_and_the_stream_closed_behind_it() {
    let _alone = alone().await;
    let (proxy, _upstream, mut call, mut exchange) = begun("done_to = \"AIQA_EOF\"").await;
    exchange.chunk([token("hi"), finish()].concat().as_bytes()).await;
    assert_eq!(
        [call.piece().await.data, call.piece().await.data],
        [token("hi").into_bytes(), finish().into_bytes()]
    );
    // The upstream says that it is over, and leaves the connection open.
    exchange.chunk(b"data: [DONE]\n\n").await;
    assert_eq!(call.piece().await.data, b"data: AIQA_EOF\n\n");
    let marked = Left::now();
    assert_eq!(call.body().await, b"", "a clean end, and nothing before it");
    exchange.assert_closed_within(Duration::from_millis(100), &marked).await;
    proxy.access(CHAT).await.assert_ended("done", "end");
}

#[tokio::test]
async fn marker_that_is_not_mapped_closes_nothing() {
    let (_proxy, _upstream, mut call, mut exchange) = begun("done = \"ensure\"").await;
    exchange.chunk([finish().as_str(), "data: [DONE]\n\n"].concat().as_bytes()).await;
    assert_eq!(
        [call.piece().await.data, call.piece().await.data],
        [finish().into_bytes(), b"data: [DONE]\n\n".to_vec()]
    );
    let silent = tokio::time::timeout(Duration::from_millis(200), call.try_piece()).await;
    assert!(silent.is_err(), "{silent:?}");
    exchange.chunk(b"event: flowResponses\ndata: {}\n\n").await;
    assert_eq!(
        call.piece().await.data,
        b"event: flowResponses\ndata: {}\n\n",
        "what FastGPT sends behind it"
    );
    exchange.end().await;
    assert_eq!(call.body().await, b"", "no second marker");
}

#[tokio::test]
async fn marker_is_ensured_where_the_answer_is_complete() {
    let keys = "done = \"ensure\", done_to = \"event:done\"";
    let (events, _) = through(keys, &[token("hi"), finish()].concat()).await;
    let last = Event { event: "done".into(), ..Event::message("[DONE]") };
    assert_eq!((events.len(), events.last()), (3, Some(&last)));
    let (events, proxy) = through(keys, &token("hi")).await;
    assert_eq!(events.last().map(|event| event.event.as_str()), Some("error"));
    assert!(!events.iter().any(|event| event.event == "done"), "{events:?}");
    proxy.access(CHAT).await.assert_ended(outcome::TRUNCATED, "body");
}

#[tokio::test]
async fn rewritten_text_is_told_in_the_access_line() {
    let body: String = ["a", "ab", "aX", "aXY"].map(token).concat() + &finish();
    let (events, proxy) = through(&format!("to_delta = \"{TEXT}\""), &body).await;
    let texts: Vec<String> = events.iter().map(|event| text_of(&event.data)).collect();
    assert_eq!(texts, ["a", "b", "aX", "Y", ""]);
    assert_eq!(proxy.access(CHAT).await.need("rewrites"), "1");
}

#[tokio::test]
async fn merged_text_leaves_without_another_event() {
    let (_proxy, _upstream, mut call, mut exchange) = begun("merge = \"30ms\"").await;
    exchange.chunk(token("a").as_bytes()).await;
    assert_eq!(call.piece().await.data, token("a").into_bytes(), "the first waits for nothing");
    exchange.chunk([token("b"), token("c")].concat().as_bytes()).await;
    // Only time can bring it.
    assert_eq!(call.piece().await.data, token("bc").into_bytes());
    exchange.chunk([token("d"), finish()].concat().as_bytes()).await;
    let mut rest = call.piece().await.data;
    rest.extend(call.piece().await.data);
    assert_eq!(rest, [token("d"), finish()].concat().into_bytes());
}

#[tokio::test]
async fn shapes_of_a_route_work_together() {
    let long = "你好🌍".repeat(200);
    let body = [token("数"), token(&long), finish(), "data: [DONE]\n\n".into()].concat();
    let keys = "ascii = true, split = \"512B\", done_to = \"LLM-EOF\", fields = \"data-only\"";
    let (events, _) = through(keys, &body).await;
    assert!(events.iter().all(|event| event.data.is_ascii() && event.data.len() + 8 <= 512));
    let text: String = events.iter().map(|event| text_of(&event.data)).collect();
    assert_eq!(text, format!("数{long}"));
    assert!(events.len() > 10);
    assert_eq!(events.last(), Some(&Event::message("LLM-EOF")));

    let keys = format!("pick = \"{TEXT}\", encode = \"percent\", done_to = \"AIQA_EOF\", pick_as = \"text\"");
    let (events, _) = through(&keys, &body.replace(&long, "a b")).await;
    let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["%E6%95%B0", "a%20b", "AIQA_EOF"]);
}

#[tokio::test]
async fn literal_space_is_data() {
    let (events, _) =
        through("data_space = \"literal\", dialect = \"generic\"", "data:La\n\ndata: frase\n\n").await;
    assert_eq!(events, [Event::message("La"), Event::message(" frase")]);
}

/// Every key that turns a shape on is explained on the page of shapes, which is made from the table.
#[test]
fn shapes_page_is_made_from_the_table() {
    let mut table = "| shape | keys | what it does | what to know |\n| --- | --- | --- | --- |\n".to_owned();
    for shape in SHAPES {
        let keys: Vec<String> = shape.keys.iter().map(|key| format!("`{key}`")).collect();
        for key in shape.keys {
            let path = format!("stream.{key}");
            assert!(tidegate::config::table::KEYS.iter().any(|key| key.path == path), "{path}");
        }
        table += &format!("| `{}` | {} | {} | {} |\n", shape.name, keys.join(", "), shape.doc, shape.harm);
    }
    pages::keep("docs/shapes.md", &[("shapes", table)]);
}

// --- in every split -------------------------------------------------------------------------------------------

/// The text of a token event; nothing of others.
fn text_of(data: &str) -> String {
    let json: Json = serde_json::from_str(data).unwrap_or_default();
    json["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

fn shaped(settings: &Settings) -> Plan {
    Plan { shapes: Some(Arc::new(settings.clone())), ..plan(&SSE, CHAT) }
}

fn data_of(said: &Said) -> Vec<String> {
    assert_eq!(sse::faults(said.units.iter().map(Vec::as_slice)), [""; 0]);
    assert_eq!(said.outcome, "done");
    sse::parse(&said.body()).into_iter().map(|event| event.data).collect()
}

fn whole_text(data: &[String]) -> String {
    data.iter().map(|data| text_of(data)).collect()
}

fn values(data: &[String]) -> Vec<Json> {
    data.iter().map(|data| serde_json::from_str(data).unwrap_or_else(|_| Json::from(data.as_str()))).collect()
}

/// A text as it stands in JSON between its quotes: characters of every width, escapes of every kind, what looks like the
/// end of something.
fn text() -> impl Strategy<Value = String> {
    let awkward = vec![
        "a",
        "你",
        "é",
        "🌍",
        "\\ud83c\\udf0d",
        "\\u4f60",
        "\\n",
        "\\\"",
        "\\\\",
        "\u{2028}",
        "}",
        "data: ",
        "[DONE]",
        " ",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(awkward).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| {
            let quoted = Json::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// The data of a stream: texts, and sometimes something else between them.
fn stream() -> impl Strategy<Value = Vec<String>> {
    let event = prop_oneof![
        6 => text().prop_map(|text| chunk(&format!("\"{text}\""), "null")),
        1 => Just(r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"é"}]}}]}"#.to_owned()),
        1 => Just(r#"{"id":"c","choices":[],"usage":{"total_tokens":1}}"#.to_owned()),
        1 => text().prop_map(|text| chunk(&format!("\"{text}\""), "null").replace("\"index\":0", "\"index\":1")),
    ];
    prop::collection::vec(event, 0..12).prop_map(|mut events| {
        events.push(chunk("\"end\"", "\"stop\""));
        events.push("[DONE]".to_owned());
        events
    })
}

fn wire(events: &[String]) -> Vec<u8> {
    events.iter().map(|data| format!("data: {data}\n\n")).collect::<String>().into_bytes()
}

fn without_text(mut value: Json) -> Json {
    if let Some(text) = value.pointer_mut("/choices/0/delta/content") {
        *text = Json::Null;
    }
    value
}

proptest! {
    #![proptest_config(Config { cases: 96, failure_persistence: None, ..Config::default() })]

    #[test]
    fn ascii_keeps_every_value_at_any_cuts(events in stream(), cuts in prop::collection::vec(any::<Index>(), 0..20)) {
        let settings = Settings { ascii: true, ..Settings::default() };
        let out = said(shaped(&settings), cut(&wire(&events), &cuts));
        let data = data_of(&out);
        prop_assert!(out.body().is_ascii());
        prop_assert_eq!(values(&data), values(&events));
    }

    #[test]
    fn merge_keeps_text_values_and_order_at_any_cuts(events in stream(), cuts in prop::collection::vec(any::<Index>(), 0..20)) {
        let settings = Settings { merge: Some(Duration::from_secs(60)), ..Settings::default() };
        let data = data_of(&said(shaped(&settings), cut(&wire(&events), &cuts)));
        prop_assert!(data.len() <= events.len());
        // Side by side, events that are the same but for their text are one.
        let joined = |data: &[String]| {
            let mut all: Vec<(Json, String)> = Vec::new();
            for value in values(data) {
                let text = value.pointer("/choices/0/delta/content").and_then(Json::as_str).unwrap_or_default().to_owned();
                let frame = without_text(value);
                match all.last_mut().filter(|(last, _)| *last == frame) {
                    Some((_, before)) => before.push_str(&text),
                    None => all.push((frame, text)),
                }
            }
            all
        };
        prop_assert_eq!(joined(&data), joined(&events));
    }

    #[test]
    fn split_keeps_text_and_says_the_end_once_at_any_cuts(
        events in stream(),
        limit in 256..600_usize,
        ascii: bool,
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let settings = Settings { split: Some(limit), ascii, ..Settings::default() };
        let out = said(shaped(&settings), cut(&wire(&events), &cuts));
        let data = data_of(&out);
        prop_assert!(out.units.iter().all(|unit| unit.len() <= limit), "longer than {limit}");
        prop_assert_eq!(whole_text(&data), whole_text(&events));
        let said_once = |word: &str| data.iter().filter(|data| data.contains(word)).count();
        prop_assert_eq!(said_once("\"finish_reason\":\"stop\""), 1);
        let mut frames: Vec<Json> = values(&data).into_iter().map(without_text).collect();
        let mut wanted: Vec<Json> = values(&events).into_iter().map(without_text).collect();
        frames.dedup();
        wanted.dedup();
        prop_assert_eq!(frames, wanted);
    }

    #[test]
    fn deltas_of_the_full_text_are_the_deltas_at_any_cuts(
        texts in prop::collection::vec(text(), 1..12),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let mut events: Vec<String> = texts.iter().map(|text| chunk(&format!("\"{text}\""), "null")).collect();
        events.push(chunk("\"\"", "\"stop\""));
        let pointer = || Some(TEXT.to_owned());
        let full = said(shaped(&Settings { to_full: pointer(), ..Settings::default() }), cut(&wire(&events), &cuts));
        let every = data_of(&full);
        prop_assert_eq!(text_of(every.last().expect("an event")), whole_text(&events));
        let deltas = said(shaped(&Settings { to_delta: pointer(), ..Settings::default() }), cut(&full.body(), &cuts));
        prop_assert_eq!(data_of(&deltas), events);
        let both = Settings { to_delta: pointer(), to_full: pointer(), ..Settings::default() };
        prop_assert_eq!(data_of(&said(shaped(&both), cut(&full.body(), &cuts))), every);
    }
}
