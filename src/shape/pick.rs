//! `pick`: nothing but the text of an event.
//!
//! For front ends that show `event.data` as it comes. Events that have no text there are left out: they have nothing to
//! show. As `json` the text keeps its quotes and escapes; as `text` it is what it says, a data line per line of it.

use serde_json::Value;

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::bridge::read;
use crate::codec::{Data, Event};
use crate::dialect::{Sign, pointer};

/// Only the text.
pub static PICK: Shape = Shape {
    name: "pick",
    keys: &["pick", "pick_as"],
    doc: "only the text at a JSON pointer is sent, in quotes or plain; events without one are left out",
    harm: "all else is lost: roles, finish reasons, usage; clients that trim data lose spaces of plain text",
    make: |Settings { pick, .. }| Some(Box::new(Picker { pick: pick.clone()?, data: Vec::new() })),
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
    /// The data that is handed on.
    data: Vec<u8>,
}

impl Reshape for Picker {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let json = event.data.line().filter(|line| line.trim_ascii_start().starts_with(b"{"));
        let Some(json) = json else { return sink(event, seen) };
        // What went wrong is not text, and is not to be lost.
        if seen.sign == Sign::Error || event.error {
            return sink(event, seen);
        }
        let Picker { pick, data } = self;
        data.clear();
        pointer::each(json, &pick.pointer, &mut |_, value| {
            if let Some(text) = pointer::inside(value) {
                data.extend_from_slice(text);
            }
        });
        if data.is_empty() {
            return;
        }
        data.insert(0, b'"');
        data.push(b'"');
        let plain = if pick.plain { read(data) } else { None };
        let data = match plain.as_ref().and_then(Value::as_str) {
            Some(text) => Data::Text(text.as_bytes()),
            None => Data::Line(data),
        };
        sink(&Event { data, canonical: None, ..*event }, seen);
    }
}

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
        assert_eq!(plain.data(&chat("\\ud83c")), ["\u{fffd}"], "half a pair is no character");
    }
}
