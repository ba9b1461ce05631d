//! What shapes keep, in every dialect that says where its texts stand: texts in each of its places, of several choices
//! and of tool calls, and everything that may be said beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;
use serde_json::{Value as Json, json};
use tidegate::dialect::{DASHSCOPE, DIALECTS, Dialect, MCP, Place};
use tidegate::shape::Settings;
use tidegate::stream::Plan;

use super::{data_of, shaped, text, values};
use crate::support::session::{Said, cut, said};

/// How a whole answer ends.
const ENDS: &[(&str, &str)] = &[
    ("openai-chat", "data: [DONE]\n\n"),
    ("openai-responses", "event: response.completed\ndata: {\"response\":{}}\n\n"),
    ("anthropic", "event: message_stop\ndata: {}\n\n"),
    ("gemini", "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n"),
    ("bedrock-converse", "event: messageStop\ndata: {\"stopReason\":\"end_turn\"}\n\n"),
    ("ollama", "data: {\"done\":true}\n\n"),
    ("dashscope", "data: {\"output\":{\"finish_reason\":\"stop\"}}\n\n"),
    ("dify", "data: {\"event\":\"message_end\"}\n\n"),
    ("coze", "event: done\ndata: {}\n\n"),
    ("mcp", "data: {\"result\":{}}\n\n"),
    ("ag-ui", "data: {\"type\":\"RUN_FINISHED\"}\n\n"),
    ("vercel-ui", "data: {\"type\":\"finish\"}\n\n"),
];

/// Texts at one or two places of an event.
#[derive(Debug, Clone)]
struct Drawn {
    places: [Index; 2],
    /// By the number of the choice; raw, as it stands between the quotes.
    texts: Vec<(u8, String)>,
    /// The second place has these, too.
    is_double: bool,
    /// All that is said once is said here.
    says_once: bool,
}

/// An event, and what is known of it.
struct Made {
    wire: String,
    of: Option<&'static str>,
    /// What is said in the first part alone, and in the last alone.
    first: Vec<String>,
    last: Vec<String>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    // Long ones are to be divided, short ones to be joined.
    let texts = prop::collection::btree_map(0..3_u8, (text(), prop_oneof![Just(1_usize), Just(40)]), 1..3);
    (any::<[Index; 2]>(), texts, prop::bool::weighted(0.2), prop::bool::weighted(0.3)).prop_map(
        |(places, texts, is_double, says_once)| {
            let texts =
                texts.into_iter().map(|(choice, (text, times))| (choice, text.repeat(times))).collect();
            Drawn { places, texts, is_double, says_once }
        },
    )
}

/// Every dialect that knows texts, with events.
fn streams() -> impl Strategy<Value = (&'static Dialect, Vec<Drawn>)> {
    let dialects: Vec<&'static Dialect> =
        DIALECTS.iter().copied().filter(|dialect| !places(dialect).is_empty()).collect();
    (prop::sample::select(dialects), prop::collection::vec(drawn(), 1..8))
}

fn places(dialect: &'static Dialect) -> Vec<&'static Place> {
    dialect.places.text.iter().chain(dialect.places.growing).collect()
}

/// Puts a value at a pointer, if nothing else stands in the way: elements of a list by their place in it.
fn put(json: &mut Json, pointer: &str, mut element: usize, value: Json) -> bool {
    let mut at = json;
    for step in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = if step == "*" { json!([]) } else { json!({}) };
        }
        at = match at {
            Json::Array(elements) if step == "*" => {
                let place = std::mem::take(&mut element);
                elements.resize(elements.len().max(place + 1), Json::Null);
                &mut elements[place]
            }
            Json::Object(members) if step != "*" => members.entry(step).or_insert(Json::Null),
            _ => return false,
        };
    }
    let is_free = at.is_null();
    if is_free {
        *at = value;
    }
    is_free
}

/// The event that was drawn, with `marks` for all that is said once.
fn made(dialect: &'static Dialect, drawn: &Drawn, number: usize, is_marked: bool) -> Made {
    let all = places(dialect);
    let place = *drawn.places[0].get(&all);
    let mut json = json!({});
    let mut texts = Vec::new();
    let is_listed = place.at.contains("/*");
    let several = &drawn.texts[..if is_listed { drawn.texts.len() } else { 1 }];
    let second = all.iter().find(|other| **other == *drawn.places[1].get(&all) && other.of == place.of);
    for place in [Some(&place), second.filter(|_| drawn.is_double)].into_iter().flatten() {
        for (element, (choice, text)) in several.iter().enumerate() {
            let hole = format!("@text{}@", texts.len());
            if put(
                &mut json,
                place.at,
                if place.at.contains("/*") { element } else { 0 },
                hole.clone().into(),
            ) {
                texts.push((hole, text.clone()));
            }
            if let Some((list, _)) = place.at.split_once("/*") {
                put(&mut json, &format!("{list}/*/index"), element, (*choice).into());
            }
        }
    }
    let mut marks = |places: &[&[Place]]| -> Vec<String> {
        let mut marks = Vec::new();
        let mine =
            places.iter().copied().flatten().filter(|beside| beside.of.is_none_or(|of| place.of == Some(of)));
        for beside in mine.filter(|_| drawn.says_once) {
            let mark = format!("@once{number}-{}@", beside.at);
            if put(&mut json, beside.at, 0, mark.clone().into()) {
                marks.push(mark);
            }
        }
        marks
    };
    let first = marks(&[dialect.places.first]);
    let last = marks(&[dialect.places.finish, dialect.places.usage, dialect.places.once]);
    if let Some(of) = place.of {
        for key in ["type", "event"] {
            put(&mut json, &format!("/{key}"), 0, of.into());
        }
    }
    if is_marked {
        put(&mut json, "/number", 0, number.into());
    }
    let data = texts.iter().fold(json.to_string(), |data, (hole, text)| data.replace(hole, text));
    let name = place.of.map(|of| format!("event: {of}\n")).unwrap_or_default();
    Made { wire: format!("{name}data: {data}\n\n"), of: place.of, first, last }
}

/// A stream of these events, which ends as its dialect does.
fn wire(dialect: &'static Dialect, events: &[Made]) -> Vec<u8> {
    let (_, end) = ENDS.iter().find(|(name, _)| *name == dialect.name).expect("how it ends");
    let events: String = events.iter().map(|event| event.wire.as_str()).collect();
    (events + end).into_bytes()
}

fn play(dialect: &'static Dialect, settings: &Settings, wire: &[u8], cuts: &[Index]) -> Said {
    let plan = Plan { dialect: Some(dialect), is_set: true, ..shaped(settings) };
    said(plan, cut(wire, cuts))
}

/// Texts by their place and their choice.
type Texts = BTreeMap<String, String>;

/// Adds the texts of an event, and takes them out of it.
fn take_texts(dialect: &'static Dialect, json: &mut Json, texts: &mut Texts) {
    fn take(json: &mut Json, steps: &[&str], path: String, texts: &mut Texts) {
        match (steps.split_first(), json) {
            (None, Json::String(text)) => {
                texts.entry(path).or_default().push_str(text);
                text.clear();
            }
            (Some((&"*", rest)), Json::Array(elements)) => {
                for (place, element) in elements.iter_mut().enumerate() {
                    let index = element["index"].as_u64().unwrap_or(place as u64);
                    take(element, rest, format!("{path}/{index}"), texts);
                }
            }
            (Some((step, rest)), Json::Object(members)) => {
                if let Some(value) = members.get_mut(*step) {
                    take(value, rest, format!("{path}/{step}"), texts);
                }
            }
            _ => {}
        }
    }
    let kind = json["type"].as_str().map(str::to_owned);
    for place in
        places(dialect).into_iter().filter(|place| place.of.is_none_or(|of| kind.as_deref() == Some(of)))
    {
        let steps: Vec<&str> = place.at.split('/').skip(1).collect();
        take(json, &steps, place.of.unwrap_or_default().to_owned(), texts);
    }
}

fn texts_of(dialect: &'static Dialect, data: &[String]) -> Texts {
    let mut texts = Texts::new();
    values(data).iter_mut().for_each(|json| take_texts(dialect, json, &mut texts));
    texts.retain(|_, text| !text.is_empty());
    texts
}

/// What a stream without shapes is.
fn untouched(dialect: &'static Dialect, wire: &[u8]) -> Vec<String> {
    let plan = Plan {
        dialect: Some(dialect),
        is_set: true,
        ..crate::support::session::plan(&tidegate::format::SSE, "/")
    };
    data_of(&said(plan, [wire]))
}

#[test]
fn every_dialect_with_texts_has_an_end_here() {
    for dialect in DIALECTS {
        let ends = ENDS.iter().any(|(name, _)| *name == dialect.name);
        assert_eq!(ends, !places(dialect).is_empty(), "{}", dialect.name);
    }
}

proptest! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn ascii_keeps_every_value((dialect, drawn) in streams(), cuts in prop::collection::vec(any::<Index>(), 0..9)) {
        let events: Vec<Made> = drawn.iter().enumerate().map(|(number, drawn)| made(dialect, drawn, number, true)).collect();
        let wire = wire(dialect, &events);
        let out = play(dialect, &Settings { ascii: true, ..Settings::default() }, &wire, &cuts);
        prop_assert!(out.body().is_ascii());
        prop_assert_eq!(values(&data_of(&out)), values(&untouched(dialect, &wire)));
    }

    #[test]
    fn merge_keeps_every_text_and_what_is_said_once((dialect, drawn) in streams(), cuts in prop::collection::vec(any::<Index>(), 0..9)) {
        let events: Vec<Made> = drawn.iter().enumerate().map(|(number, drawn)| made(dialect, drawn, number, false)).collect();
        let wire = wire(dialect, &events);
        let settings = Settings { merge: Some(Duration::from_secs(60)), ..Settings::default() };
        let (out, whole) = (data_of(&play(dialect, &settings, &wire, &cuts)), untouched(dialect, &wire));
        prop_assert!(out.len() <= whole.len());
        prop_assert_eq!(texts_of(dialect, &out), texts_of(dialect, &whole));
        let usages: Vec<&str> = dialect.places.usage.iter().map(|place| place.at).collect();
        for mark in events.iter().flat_map(|event| event.first.iter().chain(&event.last)) {
            // Of usage the last one stays.
            if !usages.iter().any(|at| mark.ends_with(&format!("{at}@"))) {
                prop_assert_eq!(out.iter().filter(|data| data.contains(mark)).count(), 1, "{}", mark);
            }
        }
    }

    #[test]
    fn split_keeps_every_text_and_says_each_thing_once(
        (dialect, drawn) in streams(),
        limit in 1500..4000_usize,
        ascii: bool,
        cuts in prop::collection::vec(any::<Index>(), 0..9),
    ) {
        let events: Vec<Made> = drawn.iter().enumerate().map(|(number, drawn)| made(dialect, drawn, number, true)).collect();
        let wire = wire(dialect, &events);
        let out = play(dialect, &Settings { split: Some(limit), ascii, ..Settings::default() }, &wire, &cuts);
        let (data, whole) = (data_of(&out), untouched(dialect, &wire));
        if [&MCP, &DASHSCOPE].contains(&dialect) {
            prop_assert_eq!(values(&data), values(&whole));
            return Ok(());
        }
        prop_assert!(out.units.iter().all(|unit| unit.len() <= limit), "longer than {}", limit);
        for (number, event) in events.iter().enumerate() {
            let mine = |data: &&String| serde_json::from_str::<Json>(data).is_ok_and(|json| json["number"] == number);
            let parts: Vec<String> = data.iter().filter(mine).cloned().collect();
            let whole: Vec<String> = whole.iter().filter(mine).cloned().collect();
            prop_assert_eq!(texts_of(dialect, &parts), texts_of(dialect, &whole));
            for (marks, at) in [(&event.first, 0), (&event.last, parts.len() - 1)] {
                for mark in marks {
                    let said: Vec<usize> = (0..parts.len()).filter(|part| parts[*part].contains(mark)).collect();
                    prop_assert_eq!(said, [at], "{}", mark);
                }
            }
            if let Some(of) = event.of {
                let kind = format!("\"type\":\"{of}\"");
                prop_assert!(parts.iter().all(|part| part.contains(&kind)), "{}", of);
            }
        }
        let numbers: Vec<Json> = values(&data).iter().map(|json| json["number"].clone()).collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[1].is_null() || pair[0].as_u64() <= pair[1].as_u64()), "in order");
    }

    #[test]
    fn deltas_of_the_full_texts_are_the_deltas((dialect, drawn) in streams(), cuts in prop::collection::vec(any::<Index>(), 0..9)) {
        // Of one place: a route names one.
        let place = drawn[0].places[0];
        let drawn = drawn.iter().map(|drawn| Drawn { places: [place; 2], is_double: false, ..drawn.clone() });
        let events: Vec<Made> = drawn.enumerate().map(|(number, drawn)| made(dialect, &drawn, number, true)).collect();
        let wire = wire(dialect, &events);
        let at = place.get(&places(dialect)).at;
        let pointer = || Some(at.to_owned());
        let full = play(dialect, &Settings { to_full: pointer(), ..Settings::default() }, &wire, &cuts);
        let whole = untouched(dialect, &wire);
        let mut last = Texts::new();
        for data in data_of(&full) {
            last.extend(texts_of(dialect, &[data]));
        }
        prop_assert_eq!(last, texts_of(dialect, &whole), "the last event of each choice has all of it");
        let deltas = play(dialect, &Settings { to_delta: pointer(), ..Settings::default() }, &full.body(), &cuts);
        prop_assert_eq!(values(&data_of(&deltas)), values(&whole));
    }
}
