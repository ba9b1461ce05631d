//! Every upstream format: captures of what backends send, in `tests/data/FORMAT/`, and items of any kind encoded in
//! each. `docs/formats.md` is made from the same captures.

mod capture;
mod encode;
mod page;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tidegate::codec::repair::Repairs;
use tidegate::codec::{Data, Item, Options};
use tidegate::format::{FORMATS, Format, TEXT, TEXT_JSON};

use crate::support::access::Line;
use crate::support::client::{Call, Request};
use crate::support::session::{cut, said};
use crate::support::sse::{self, Event};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::Upstream;
use capture::Capture;
use encode::WIRES;

const CHAT: &str = "/v1/chat/completions";

#[test]
fn every_capture_comes_out_as_it_says_however_it_is_cut() {
    let captures = capture::load();
    assert!(captures.len() >= 60, "{} captures", captures.len());
    for capture in captures {
        let name = &capture.name;
        let whole = said(capture.plan(), [capture.body.as_slice()]);
        assert_eq!(sse::faults(whole.theirs().iter().map(Vec::as_slice)), [""; 0], "{name}");
        assert_eq!(capture.faults(&whole), [""; 0], "{name}: {}", String::from_utf8_lossy(&whole.body()));

        // Raw text has no items of its own: it is the same as a whole.
        let is_text = [&TEXT, &TEXT_JSON].contains(&capture.format);
        let same = |pieces: Vec<&[u8]>, how: &str| {
            let cut = said(capture.plan(), pieces);
            if is_text {
                assert_eq!(capture.text_of(&cut), capture.text_of(&whole), "{name} {how}");
            } else {
                assert_eq!(cut, whole, "{name} {how}");
            }
        };
        same(capture.body.chunks(1).collect(), "byte by byte");
        let random = proptest::collection::vec(any::<Index>(), 0..12);
        let result = TestRunner::new(Config::with_cases(32)).run(&random, |cuts| {
            same(cut(&capture.body, &cuts), "at random cuts");
            Ok(())
        });
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

/// What a client that accepts events gets of an answer with this label and these bytes, and the access line.
async fn through_the_proxy(route: &str, content_type: &str, body: &[u8]) -> (Vec<Event>, Line) {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, route).await;
    let mut call = Call::start(&proxy.http(), &Request::stream(CHAT)).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    exchange.answer(200, &[("content-type", content_type)], body).await;
    let events = call.rest().await.events();
    (events, proxy.access(CHAT).await)
}

#[tokio::test]
async fn labels_that_lie_and_repairs_are_in_the_access_line() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}"#;
    let [event, done] = [chunk, "[DONE]"].map(Event::message);
    for (label, body, format, told) in [
        ("text/event-stream", format!("data: {chunk}\n\ndata: [DONE]\n\n"), "sse", None),
        ("text/plain", format!("data: {chunk}\n\ndata: [DONE]\n\n"), "sse", Some("other")),
        ("text/event-stream", format!("{chunk}\n[DONE]\n"), "ndjson", Some("sse")),
        ("application/json", format!("{chunk}\n{chunk}\n"), "ndjson", None),
        ("application/json", format!("[{chunk}\n,\n{chunk}]\n"), "json-array", None),
        ("application/x-ndjson", format!("data: {chunk}\n\ndata: [DONE]\n\n"), "sse", Some("ndjson")),
    ] {
        let (events, line) = through_the_proxy("", label, body.as_bytes()).await;
        assert_eq!(events[0], event, "{body:?} as {label}");
        assert_eq!((line.need("format"), line.get("label")), (format, told), "{body:?} as {label}");
        assert_eq!((line.get("repaired"), line.get("repairs")), (None, None), "{body:?} as {label}");
    }
    let body = format!("data: {chunk}\ndata:  [DONE]\n\n");
    let (events, line) = through_the_proxy("", "text/event-stream", body.as_bytes()).await;
    assert_eq!(events, [event.clone(), done]);
    assert_eq!((line.need("repaired"), line.need("repairs")), ("2", "done,single-newline"));
    let route = "stream = { repair = [] }";
    let (events, line) = through_the_proxy(route, "text/event-stream", body.as_bytes()).await;
    assert_eq!(events, [Event::message(&format!("{chunk}\n [DONE]"))], "as it came");
    assert_eq!(line.get("repaired"), None);
}

#[test]
fn every_format_and_every_repair_has_a_capture() {
    let captures = capture::load();
    for format in FORMATS {
        assert!(captures.iter().any(|capture| capture.format == *format), "{}", format.name);
    }
    // Not a fault of one backend: a setting.
    let wanted = Repairs::all().names().filter(|name| *name != "empty-data");
    for repair in wanted {
        assert!(captures.iter().any(|capture| capture.repairs.iter().any(|made| made == repair)), "{repair}");
    }
}

#[test]
fn a_capture_that_says_something_else_is_found_out() {
    let mut capture: Capture =
        capture::load().into_iter().find(|capture| capture.repairs == ["done"]).expect("one");
    let whole = said(capture.plan(), [capture.body.as_slice()]);
    assert_eq!(capture.faults(&whole), [""; 0]);
    capture.repairs.clear();
    assert_eq!(capture.faults(&whole).len(), 2);
    capture.outcome = "upstream:truncated".to_owned();
    capture.events.pop();
    assert!(capture.faults(&whole).len() >= 3);
}

/// What a decoder makes of these pieces: the data of each event.
fn decoded<'b>(format: &Format, pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Vec<u8>> {
    let mut decoder =
        (format.decoder)(Options { limit: 64 << 20, repairs: Repairs::auto(true), literal: false });
    let mut items = Vec::new();
    let mut take = |item: Item<'_>| {
        if let Item::Event(event) = item {
            let Data::Line(line) = event.data else { panic!("{:?} is not on one line", event.data) };
            items.push(line.to_vec());
        }
    };
    for piece in pieces {
        decoder.decode(piece, &mut take).expect("it decodes");
    }
    decoder.finish(&mut take).expect("it ends");
    items
}

/// A JSON object with text of every awkward kind in it: the escapes of lone surrogates and of NUL, astral characters,
/// what other parsers take for line ends, what looks like framing.
fn object() -> impl Strategy<Value = String> {
    let awkward = vec![
        "\\ud800",
        "\\udfff\\ud83d",
        "\\u0000",
        "🌍",
        "你",
        "\u{2028}",
        "\u{2029}",
        "\u{85}",
        "\u{feff}",
        "\\n",
        "\\\"",
        "\\\\",
        "}",
        "{",
        "]",
        "[",
        ",",
        "data: ",
        "[DONE]",
        ":",
        " ",
        "\t",
        "\0",
        "\u{7f}",
        "e\u{301}",
    ];
    let text = prop_oneof![
        4 => prop::sample::select(awkward).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| {
            let quoted = serde_json::Value::from(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }),
    ];
    let text = prop::collection::vec(text, 0..12).prop_map(|parts| format!("\"{}\"", parts.concat()));
    let value = prop_oneof![
        text.clone(),
        Just("[1, {}]".to_owned()),
        Just("-1.5e3".to_owned()),
        Just("null".to_owned())
    ];
    prop::collection::vec((text, value), 0..4).prop_map(|members| {
        let members: Vec<String> =
            members.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(Config { cases: 128, failure_persistence: None, ..Config::default() })]
    #[test]
    fn items_are_the_same_in_every_format_at_any_cuts(
        items in prop::collection::vec(object(), 1..8),
        cuts in prop::collection::vec(any::<Index>(), 0..30),
    ) {
        let items: Vec<Vec<u8>> = items.into_iter().map(String::into_bytes).collect();
        for (name, format, encode) in WIRES {
            let wire = encode(&items);
            prop_assert_eq!(&decoded(format, [wire.as_slice()]), &items, "{}, whole", name);
            prop_assert_eq!(&decoded(format, cut(&wire, &cuts)), &items, "{}, cut", name);
            prop_assert_eq!(&decoded(format, wire.chunks(1)), &items, "{}, byte by byte", name);
        }
    }
}

#[test]
fn items_of_megabytes_are_the_same_in_every_format() {
    let text = "你\\\"}{🌍\u{2028}".repeat((4 << 20) / 14);
    let items = [format!("{{\"t\":\"{text}\"}}").into_bytes(), b"{}".to_vec()];
    assert!(items[0].len() > 4 << 20);
    for (name, format, encode) in WIRES {
        let wire = encode(&items);
        for piece in [1448, 16 << 10, wire.len()] {
            assert!(decoded(format, wire.chunks(piece)) == items, "{name} in pieces of {piece}");
        }
    }
}
