//! `pick`: nothing but the text of an event.
//!
//! For front ends that show `event.data` as it comes. Events that have no text there are left out: they have nothing to
//! show. As `json` the text keeps its quotes and escapes; as `text` it is what it says, a data line per line of it.
//!
//! A client that shows each event by itself can put no character together. Some servers cut a text between the two escapes of a
//! surrogate pair, so the first of them, at the end of a text, waits for the next text of the same place.

use serde_json::Value;

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::bridge::read;
use crate::codec::json::cut_high;
use crate::codec::{Data, Event};
use crate::dialect::{Sign, pointer};

/// Only the text.
pub static PICK: Shape = Shape {
    name: "pick",
    keys: &["pick", "pick_as"],
    doc: "only the text at a JSON pointer is sent, in quotes or plain; events without one are left out",
    harm: "all else is lost: roles, finish reasons, usage; clients that trim data lose spaces of plain text",
    make: |Settings { pick, .. }| {
        Some(Box::new(Picker { pick: pick.clone()?, halves: Vec::new(), data: Vec::new() }))
    },
};

/// What is sent of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Where the text stands.
    pub pointer: String,
    /// Without quotes and escapes.
    pub plain: bool,
}

#[derive(Debug)]
struct Picker {
    pick: Pick,
    /// The escapes of the high halves that wait, and where.
    halves: Vec<(u64, [u8; 6])>,
    /// The data that is handed on.
    data: Vec<u8>,
}

impl Picker {
    /// Gathers the text of an event, and what waits for it.
    fn gather(&mut self, json: &[u8]) {
        let Picker { pick, halves, data } = self;
        data.clear();
        pointer::each_apart(json, &pick.pointer, &mut |which, _, value| {
            let Some(text) = pointer::inside(value).filter(|text| !text.is_empty()) else { return };
            if let Some(place) = halves.iter().position(|(place, _)| *place == which) {
                data.extend_from_slice(&halves.remove(place).1);
            }
            let (text, half) = cut_high(text);
            data.extend_from_slice(text);
            match half.try_into() {
                Ok(half) if halves.len() < MAX_HALVES => halves.push((which, half)),
                _ => data.extend_from_slice(half),
            }
        });
    }

    /// Hands on what was gathered, in the place of the data of `event`.
    fn send(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let data = &mut self.data;
        data.insert(0, b'"');
        data.push(b'"');
        let plain = if self.pick.plain { read(data) } else { None };
        let data = match plain.as_ref().and_then(Value::as_str) {
            Some(text) => Data::Text(text.as_bytes()),
            None => Data::Line(data),
        };
        sink(&Event { data, canonical: None, ..*event }, seen);
    }
}

impl Reshape for Picker {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let json = event.data.line().filter(|line| line.trim_ascii_start().starts_with(b"{"));
        // What went wrong is not text, and is not to be lost.
        let is_error = seen.sign == Sign::Error || event.error;
        let Some(json) = json.filter(|_| !is_error) else {
            self.flush(seen, sink);
            return sink(event, seen);
        };
        self.gather(json);
        if !self.data.is_empty() {
            self.send(event, seen, sink);
        }
    }

    fn flush(&mut self, seen: Seen, sink: &mut Sink<'_>) {
        if self.halves.is_empty() {
            return;
        }
        self.data.clear();
        self.data.extend(self.halves.drain(..).flat_map(|(_, half)| half));
        self.send(&Event { closed: true, ..Event::default() }, Seen { sign: Sign::Plain, ..seen }, sink);
    }

    fn held(&self) -> usize {
        self.halves.len() * 6
    }
}

/// Halves that wait at the most.
const MAX_HALVES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, chat, chat_finish};
    use super::*;

    fn rig(plain: bool) -> Rig {
        let pick = Some(Pick { pointer: "/choices/*/delta/content".to_owned(), plain });
        Rig::new(Settings { pick, ..Settings::default() })
    }

    #[test]
    fn text_alone_is_sent_and_what_is_no_json_stays() {
        let mut quoted = rig(false);
        assert_eq!(quoted.data(&chat(" a\\n\\\"你")), ["\" a\\n\\\"你\""]);
        assert_eq!(quoted.data(&chat_finish()), [""; 0]);
        for text in ["[DONE]", "hello"] {
            assert_eq!(quoted.data(text), [text]);
        }
        let error = r#"{"error":{"message":"boom"}}"#;
        assert_eq!(quoted.data(error), [error]);
    }

    #[test]
    fn plain_text_keeps_its_lines() {
        let mut plain = rig(true);
        let wire = plain.wire(&format!("id: 1\ndata: {}\n\n", chat("a\\n\\\"你\\u597d")));
        assert_eq!(wire, "id: 1\ndata: a\ndata: \"你好\n\n");
    }

    /// A server that cuts by UTF-16 had each emoji that it cut shown as two replacement characters.
    #[test]
    fn character_that_is_cut_over_two_events_is_sent_whole() {
        let mut plain = rig(true);
        assert_eq!(plain.data(&chat("a\\ud83d")), ["a"]);
        assert_eq!((plain.data(&chat("\\uDE00b")), plain.shapes.held()), (vec!["😀b".to_owned()], 0));
        assert_eq!(plain.data(&chat("\\ud83d")), [""; 0]);
        assert_eq!(plain.data(&chat("")), [""; 0], "which says nothing");
        assert_eq!(plain.data(&chat("\\ude00\\ud83d")), ["😀"]);
        assert_eq!(
            plain.data(&chat("\\ud83d\\ude00\\\\ud83d")),
            ["\u{fffd}😀\\ud83d"],
            "no low half follows"
        );
        let mut quoted = rig(false);
        assert_eq!(quoted.data(&chat("a\\ud83d")), ["\"a\""]);
        assert_eq!(quoted.data(&chat("\\ude00b")), ["\"\\ud83d\\ude00b\""]);
    }

    #[test]
    fn half_a_character_without_the_other_is_sent_before_what_ends_the_text() {
        let error = r#"{"error":{"message":"boom"}}"#;
        for last in ["[DONE]", error, "hello"] {
            let mut plain = rig(true);
            assert_eq!(plain.data(&chat("\\ud83d")), [""; 0]);
            assert_eq!(plain.data(last), ["\u{fffd}", last]);
            assert_eq!(plain.flush(), "");
        }
        let mut plain = rig(true);
        plain.data(&chat("a\\ud83d"));
        assert_eq!((plain.shapes.held(), plain.flush()), (6, "data: \u{fffd}\n\n".to_owned()), "at the end");
        assert_eq!((plain.flush(), plain.shapes.held()), (String::new(), 0));
    }

    #[test]
    fn halves_of_two_choices_are_not_joined() {
        let of = |index: u8, text: &str| chat(text).replace("\"index\":0", &format!("\"index\":{index}"));
        let mut plain = rig(true);
        assert_eq!(plain.data(&of(0, "a\\ud83d")), ["a"]);
        assert_eq!(plain.data(&of(1, "\\ude00")), ["\u{fffd}"]);
        assert_eq!(plain.data(&of(0, "\\ude00")), ["😀"]);
    }
}
