//! `ascii`: JSON in ASCII alone, so that no cut of the bytes can split a character.
//!
//! For clients that decode each read by itself, as WeChat mini-programs do. A character beyond ASCII becomes `\uXXXX`, one
//! beyond the Basic Multilingual Plane two of them (RFC 8259 7): the same value to every parser. Data that is not whole
//! JSON stays as it is, since nothing can be escaped there.

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::{Data, Event, json};
use crate::dialect::pointer;

/// Escape what is not ASCII.
pub static ASCII: Shape = Shape {
    name: "ascii",
    keys: &["ascii"],
    doc: "characters beyond ASCII in JSON are written as \\uXXXX: no cut of the bytes can split one",
    harm: "nothing for clients that parse JSON; a Chinese character takes six bytes in place of three",
    make: |Settings { ascii, .. }| ascii.then(|| Box::new(Ascii { data: Vec::new() }) as _),
};

#[derive(Debug)]
struct Ascii {
    /// The data that is handed on.
    data: Vec<u8>,
}

impl Reshape for Ascii {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        match event.data.line() {
            Some(line) if !line.is_ascii() && is_json(line) => {
                self.data.clear();
                escape(line, &mut self.data);
                sink(&Event { data: Data::Line(&self.data), canonical: None, ..*event }, seen);
            }
            _ => sink(event, seen),
        }
    }
}

/// A string alone is JSON too.
fn is_json(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    pointer::inside(line).is_some_and(|_| pointer::length(line) == Some(line.len())) || json::is_whole(line)
}

/// This JSON in ASCII alone.
pub fn escaped(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    escape(json, &mut out);
    out
}

/// In JSON, what is not ASCII can only stand in strings. Bytes that are no UTF-8 cannot be escaped, and stay.
fn escape(line: &[u8], out: &mut Vec<u8>) {
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii() {
                out.push(character as u8);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(*unit >> shift & 15)]));
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

/// How many bytes this character becomes.
pub(super) fn cost(character: char) -> usize {
    if character.is_ascii() { 1 } else { character.len_utf16() * 6 }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn rig() -> Rig {
        Rig::new(Settings { ascii: true, ..Settings::default() })
    }

    #[test]
    fn json_is_escaped_and_keeps_its_value() {
        let json = r#"{"键":"你好🌍\"\\é", "n":[1.0, "\u4f60"]}"#;
        let out = rig().data(json);
        assert_eq!(out, [r#"{"\u952e":"\u4f60\u597d\ud83c\udf0d\"\\\u00e9", "n":[1.0, "\u4f60"]}"#]);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&out[0]), value(json));
        assert_eq!(rig().data("\"你\""), ["\"\\u4f60\""]);
        assert!("你é🌍a".chars().map(cost).eq([6, 6, 12, 1]));
    }

    #[test]
    fn what_is_no_json_stays() {
        for text in ["你好", "{\"a\":\"你", "\"你\" 好", "{} 你", "[DONE]"] {
            assert_eq!(rig().data(text), [text]);
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_stay() {
        let mut out = Vec::new();
        escape(b"\"\xe4\xbd\"", &mut out);
        assert_eq!(out, b"\"\xe4\xbd\"");
    }
}
