//! Items to lines of JSON.
//!
//! One value a line, one line a chunk, LF. Data that is an object, an array or a string goes with its tokens as they are;
//! what lies on several lines loses the white space between them. All else is text and becomes a string, numbers too: a
//! stream of words does not change its type where a word is `7`. What says nothing is no line: comments, empty data,
//! `[DONE]`. Names, ids and retry times have no place; only `error` is kept, as a key, since nothing else would tell such
//! an event from content.
//!
//! No heartbeats, but those in the words of a dialect (`heartbeat_form = "delta"`). A blank line stops the clients of
//! Ollama (its Python package parses every line that there is, its Node package warns of each that it cannot parse; seen
//! 2026-11), and white space without a line end stops those that parse chunk by chunk.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Bridge, Encoder, Manual};
use crate::codec::{DONE, Event, json};
use crate::dialect::{Told, is_blank, pointer};
use crate::format::LINES;

/// `application/x-ndjson`, under the names that clients know.
pub static NDJSON: Bridge = Bridge {
    name: "ndjson",
    doc: "newline-delimited JSON: one value a line, one line per chunk, JSON tokens as they are, text as a string",
    media_types: LINES,
    encoder: |_| Some(Encoder::Ndjson),
    manual: Manual {
        event: "a line: its data if that is an object, an array or a string, else its data as a string. No line for comments, empty data and `[DONE]`. Names, ids and retry times are dropped; an event `error` is an object with the key `error`",
        breaks: "a last line with the error as the dialect says it: `{\"error\":\"…\"}` for Ollama, `{\"error\":{…}}` for most",
    },
};

/// How a failure is told: the error of the dialect, in a line.
pub const TOLD: Told = Told { before: "", after: "\n" };

/// Writes one event. `false`: it is no line.
pub fn event(event: &Event<'_>, out: &mut Vec<u8>) -> bool {
    let is_error = event.name == Some(b"error");
    if is_blank(event) && !is_error {
        return false;
    }
    let data = event.data.text();
    if data.as_ref() == DONE.as_bytes() {
        return false;
    }
    let says_so = || is_json(&data) && pointer::find(&data, "/error", |_| true).is_some();
    let names_error = is_error && !says_so();
    if names_error {
        out.extend_from_slice(b"{\"error\":");
    }
    value(&data, out);
    out.extend_from_slice(if names_error { b"}\n" } else { b"\n" });
    true
}

fn value(data: &[u8], out: &mut Vec<u8>) {
    let text = data.trim_ascii();
    let on_one_line = || memchr::memchr2(b'\n', b'\r', text).is_none();
    if is_json(text) {
        if on_one_line() { out.extend_from_slice(text) } else { json::compact(text, out) }
    } else if text.first() == Some(&b'"') && on_one_line() && serde_json::from_slice::<Value>(text).is_ok() {
        out.extend_from_slice(text);
    } else {
        out.extend_from_slice(Value::from(String::from_utf8_lossy(data)).to_string().as_bytes());
    }
}

/// Whether this is an object or an array. Lone surrogates are in the grammar (RFC 8259 8.2), and stay as they are.
fn is_json(text: &[u8]) -> bool {
    json::is_whole(text) && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::repair::Repairs;
    use crate::codec::{Data, Decode, Item, Options, sse::Sse};

    fn lines(input: &str) -> String {
        let mut out = Vec::new();
        Sse::new(Options { limit: 1 << 20, repairs: Repairs::NONE, literal: false })
            .decode(input.as_bytes(), &mut |item| {
                if let Item::Event(item) = item {
                    let from = out.len();
                    assert_eq!(event(&item, &mut out), out.len() > from);
                }
            })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_keeps_its_tokens_and_text_is_a_string() {
        for (input, want) in [
            ("data: { \"a\" : 1.0, \"b\":\"\\u4f60\" }\n\n", "{ \"a\" : 1.0, \"b\":\"\\u4f60\" }\n"),
            ("data: [1, {}]\n\n", "[1, {}]\n"),
            ("data: \"a\\n\"\n\n", "\"a\\n\"\n"),
            ("data:  a 你\n\n", "\" a 你\"\n"),
            ("data: 7\n\n", "\"7\"\n"),
            ("data: true\n\n", "\"true\"\n"),
            ("data: \"half\n\n", "\"\\\"half\"\n"),
            ("data: {\"a\":\n\n", "\"{\\\"a\\\":\"\n"),
            ("data: {\"x\":nope}\n\n", "\"{\\\"x\\\":nope}\"\n"),
            ("data: {\"x\":01}\n\n", "\"{\\\"x\\\":01}\"\n"),
            ("data: {\"x\":NaN}\n\n", "\"{\\\"x\\\":NaN}\"\n"),
            ("data: {\"x\":\"\\ud83d\"}\n\n", "{\"x\":\"\\ud83d\"}\n"),
            ("data: \"\\ud83d\"\n\n", "\"\\\"\\\\ud83d\\\"\"\n"),
            ("data: {\"a\":\ndata: nope }\n\n", "\"{\\\"a\\\":\\nnope }\"\n"),
            ("data: a\ndata: b\n\n", "\"a\\nb\"\n"),
            ("data: {\"a\":\ndata: [ 1 ]}\n\n", "{\"a\":[1]}\n"),
            ("id: 1\nevent: e\nretry: 2\ndata: {}\n\n", "{}\n"),
        ] {
            assert_eq!(lines(input), want, "{input:?}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_line() {
        for input in [": hi\n\n", "event: ping\n\n", "data:\n\n", "id: 1\n\n", "data: [DONE]\n\n"] {
            assert_eq!(lines(input), "", "{input:?}");
        }
    }

    #[test]
    fn error_is_told_by_its_key_where_it_was_told_by_its_name() {
        for (data, want) in [
            ("{\"error\":{\"message\":\"x\"}}", "{\"error\":{\"message\":\"x\"}}\n"),
            ("{\"message\":\"x\"}", "{\"error\":{\"message\":\"x\"}}\n"),
            ("overloaded", "{\"error\":\"overloaded\"}\n"),
            ("", "{\"error\":\"\"}\n"),
            ("{\"error\":nope}", "{\"error\":\"{\\\"error\\\":nope}\"}\n"),
        ] {
            assert_eq!(lines(&format!("event: error\ndata: {data}\n\n")), want);
        }
        assert_eq!(lines("event: error\n\n"), "{\"error\":\"\"}\n");
    }

    #[test]
    fn every_line_is_one_json_value_whatever_the_data() {
        for data in [
            &b"\xff\xfe"[..],
            b"\x00",
            b"a\rb",
            b"\r\n{}\r\n",
            b"{\"a\":\"x\ry\"}",
            b"\"a\x01\"",
            b"\"a\" \"b\"",
        ] {
            let mut out = Vec::new();
            assert!(event(&Event { data: Data::Text(data), ..Event::default() }, &mut out));
            let (line, rest) = out.split_at(out.len() - 1);
            assert!(rest == b"\n" && memchr::memchr2(b'\n', b'\r', line).is_none(), "{data:?}");
            assert!(
                serde_json::from_slice::<Value>(line).is_ok(),
                "{data:?}: {}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
