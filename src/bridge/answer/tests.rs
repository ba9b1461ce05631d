use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::{Data, Event};
use crate::dialect::{ANTHROPIC, OLLAMA, OPENAI_CHAT};
use crate::shape::{Settings, Shapes};

/// What these events come to.
pub(super) fn gathered(dialect: &'static Dialect, events: &[Value]) -> Result<Value, Lack> {
    let mut gather = (of(dialect).expect("it has whole answers").gather)();
    let objects = events.iter().filter_map(Value::as_object).cloned();
    objects.for_each(|event| gather.event(event));
    gather.finish(false)
}

/// An answer taken apart, and put together again.
fn again(dialect: &'static Dialect, answer: &Value) -> Result<Value, Lack> {
    let parts = (of(dialect).expect("it has whole answers").events)(answer.as_object().expect("an object"));
    let parts = parts.unwrap_or_else(|| panic!("no whole answer: {answer}"));
    let events: Vec<Value> = parts.iter().filter_map(|part| serde_json::from_str(&part.data).ok()).collect();
    assert!(events.len() + 1 >= parts.len(), "[DONE] alone is no JSON");
    gathered(dialect, &events)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z\\\\\"\n ]{0,6}",
        4 => "[你好\u{1f30d}\u{2028}\u{0}é]{0,4}",
        // To be divided.
        1 => "[a-z\\\\\"你\u{1f30d}]{150,400}",
    ]
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(value)
}

fn strings(text: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    text.prop_map(Value::from)
}

/// An object of these members, without those that are none.
fn made<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

fn arguments() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(
        text(),
        prop_oneof![strings(text()), any::<i32>().prop_map(Value::from)],
        0..3,
    )
    .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn calls() -> impl Strategy<Value = Value> {
    let call = (any::<u16>(), text(), arguments());
    prop::collection::vec(call, 1..3).prop_map(|calls| {
        let call = |(index, (id, name, arguments)): (usize, (u16, String, Value))| {
            json!({ "id": format!("{index}-{id}"), "type": "function",
                "function": { "name": format!("f{name}"), "arguments": arguments.to_string() } })
        };
        calls.into_iter().enumerate().map(call).collect()
    })
}

fn completion() -> impl Strategy<Value = Value> {
    let choice = (
        maybe(strings(text())),
        maybe(strings(text())),
        maybe(calls()),
        maybe(Just(json!({ "content": [{ "token": "a" }] }))),
    );
    let usage = maybe(any::<u32>().prop_map(|n| json!({ "total_tokens": n, "details": { "cached": 0 } })));
    (prop::collection::vec(choice, 1..4), usage, maybe(Just(json!("fp")))).prop_map(
        |(choices, usage, fingerprint)| {
            let choices =
                choices.into_iter().enumerate().map(|(index, (content, reasoning, calls, logprobs))| {
                    let message = made([
                        ("role", Some("assistant".into())),
                        ("content", Some(content.unwrap_or_default())),
                        ("reasoning_content", reasoning),
                        ("tool_calls", calls),
                    ]);
                    let reason = Some(["stop", "length", "tool_calls"][index % 3].into());
                    made([
                        ("index", Some(index.into())),
                        ("message", Some(message)),
                        ("logprobs", logprobs),
                        ("finish_reason", reason),
                    ])
                });
            made([
                ("id", Some("c".into())),
                ("object", Some("chat.completion".into())),
                ("created", Some(1.into())),
                ("model", Some("m".into())),
                ("system_fingerprint", fingerprint),
                ("choices", Some(choices.collect())),
                ("usage", usage),
            ])
        },
    )
}

fn message() -> impl Strategy<Value = Value> {
    let block = prop_oneof![
        text().prop_map(|text| json!({ "type": "text", "text": text })),
        text()
            .prop_map(|text| json!({ "type": "text", "text": text, "citations": [{ "n": 1 }, { "n": 2 }] })),
        (text(), text()).prop_map(
            |(text, signature)| json!({ "type": "thinking", "thinking": text, "signature": signature })
        ),
        text().prop_map(|data| json!({ "type": "redacted_thinking", "data": data })),
        arguments().prop_map(|input| json!({ "type": "tool_use", "id": "t", "name": "f", "input": input })),
    ];
    (prop::collection::vec(block, 0..4), any::<u32>(), maybe(strings("[a-z]{1,3}"))).prop_map(|(content, tokens, stop)| {
        json!({ "id": "m", "type": "message", "role": "assistant", "model": "c", "content": content, "stop_reason": "end_turn",
            "stop_sequence": stop, "usage": { "input_tokens": 2, "output_tokens": tokens, "service_tier": "standard" } })
    })
}

fn object_of_ollama() -> impl Strategy<Value = Value> {
    let call =
        arguments().prop_map(|arguments| json!([{ "function": { "name": "f", "arguments": arguments } }]));
    (any::<bool>(), text(), maybe(strings("[a-z你]{1,4}")), maybe(call), any::<u32>()).prop_map(
        |(is_chat, text, thinking, calls, count)| {
            let message = is_chat.then(|| {
                made([
                    ("role", Some("assistant".into())),
                    ("content", Some(text.clone().into())),
                    ("thinking", thinking.clone()),
                    ("tool_calls", calls),
                ])
            });
            made([
                ("model", Some("m".into())),
                ("created_at", Some("2026-11-21T00:00:00Z".into())),
                ("message", message),
                ("response", (!is_chat).then(|| text.into())),
                ("thinking", thinking.filter(|_| !is_chat)),
                ("done", Some(true.into())),
                ("done_reason", Some("stop".into())),
                ("eval_count", Some(count.into())),
            ])
        },
    )
}

proptest! {
    #[test]
    fn an_answer_taken_apart_and_put_together_is_the_same(chat in completion(), message in message(), object in object_of_ollama()) {
        prop_assert_eq!(again(&crate::dialect::OPENAI_CHAT, &chat), Ok(chat));
        prop_assert_eq!(again(&crate::dialect::ANTHROPIC, &message), Ok(message));
        prop_assert_eq!(again(&crate::dialect::OLLAMA, &object), Ok(object));
    }
}

/// What a shape makes of the events of an answer, put together again.
fn again_through(settings: &Settings, dialect: &'static Dialect, answer: &Value) -> Result<Value, Lack> {
    let parts = (of(dialect).expect("it has whole answers").events)(answer.as_object().expect("an object"));
    let mut shapes = Shapes::new(settings).expect("a shape");
    let mut events: Vec<Value> = Vec::new();
    let mut write =
        |event: &Event<'_>, _| events.extend(serde_json::from_slice::<Value>(&event.data.text()).ok());
    let now = Instant::now();
    let parts = parts.unwrap_or_else(|| panic!("no whole answer: {answer}"));
    for part in &parts {
        let (name, data) = (part.name.map(str::as_bytes), Data::Line(part.data.as_bytes()));
        let event = Event { name, data, closed: true, ..Event::default() };
        shapes.event(&event, Some(dialect), now, &mut write);
    }
    shapes.flush(now, &mut write);
    gathered(dialect, &events)
}

proptest! {
    #[test]
    fn an_answer_that_shapes_divide_join_or_escape_on_its_way_is_the_same(
        chat in completion(),
        message in message(),
        object in object_of_ollama(),
        ascii: bool,
    ) {
        let (split, merge) = (Some(400), Some(Duration::from_secs(60)));
        for settings in [
            Settings { split, ascii, ..Settings::default() },
            Settings { merge, ascii, ..Settings::default() },
            Settings { split, merge, ascii, ..Settings::default() },
        ] {
            for (dialect, answer) in [(&OPENAI_CHAT, &chat), (&ANTHROPIC, &message), (&OLLAMA, &object)] {
                prop_assert_eq!(again_through(&settings, dialect, answer), Ok(answer.clone()));
            }
        }
    }
}

#[test]
fn answer_of_more_pieces_than_any_model_makes_is_left_alone() {
    let apart = |answer: Value| {
        let answers = if answer.get("type").is_some() { of(&ANTHROPIC) } else { of(&OPENAI_CHAT) };
        (answers.expect("it has whole answers").events)(answer.as_object().expect("an object"))
            .map(|parts| parts.len())
    };
    let choice = json!({ "index": 0, "text": "" });
    assert_eq!(apart(json!({ "id": "c", "choices": vec![choice.clone(); 100] })), Some(201));
    assert_eq!(apart(json!({ "id": "c", "choices": vec![choice.clone(); MAX_PIECES] })), None);
    assert_eq!(apart(json!({ "id": "c".repeat(1 << 20), "choices": vec![choice.clone(); 100] })), None);
    assert_eq!(apart(json!({ "more": "c".repeat(1 << 20), "choices": vec![choice; 100] })), Some(201));
    let calls = json!({ "choices": [{ "message": { "tool_calls": vec![json!({}); MAX_PIECES] } }] });
    assert_eq!(apart(calls), None);
    assert_eq!(apart(json!({ "type": "message", "content": vec![json!({}); MAX_PIECES] })), None);
}

#[test]
fn older_completions_and_messages_with_more_in_them_are_the_same_again() {
    for answer in [
        json!({ "id": "c", "object": "text_completion", "choices": [{ "index": 0, "text": "hi", "logprobs": { "tokens": ["hi"] }, "finish_reason": "stop" }] }),
        json!({ "id": "c", "object": "chat.completion", "citations": ["u"], "choices": [{ "index": 0, "finish_reason": "stop", "content_filter_results": {},
            "message": { "role": "assistant", "content": [{ "type": "text", "text": "a" }], "refusal": null, "annotations": [{ "n": 1 }],
                "audio": { "id": "a", "data": "x", "transcript": "y" }, "function_call": { "name": "f", "arguments": "{}" } } }] }),
    ] {
        assert_eq!(again(&crate::dialect::OPENAI_CHAT, &answer), Ok(answer));
    }
}

#[test]
fn nothing_that_is_odd_stops_it() {
    let odd = [
        json!(null),
        json!(7),
        json!("x"),
        json!([7]),
        json!({ "x": [] }),
        json!([[], {}, { "index": -1, "function": 7 }]),
    ];
    let keys = [
        "choices",
        "delta",
        "message",
        "tool_calls",
        "logprobs",
        "usage",
        "type",
        "index",
        "content_block",
        "content",
        "done",
        "response",
    ];
    for answers in ANSWERS {
        let mut gather = (answers.gather)();
        for (outer, inner) in keys.into_iter().flat_map(|outer| keys.map(|inner| (outer, inner))) {
            for value in &odd {
                for event in [
                    json!({ outer: value }),
                    json!({ outer: { inner: value } }),
                    json!({ outer: [{ inner: value, "delta": { inner: value } }] }),
                ] {
                    (answers.events)(event.as_object().expect("an object"));
                    for kind in
                        ["message_start", "content_block_start", "content_block_delta", "message_delta"]
                    {
                        let mut event = event.as_object().expect("an object").clone();
                        event.entry("type").or_insert_with(|| kind.into());
                        gather.event(event);
                    }
                }
            }
        }
        let _ = gather.finish(true);
    }
}
