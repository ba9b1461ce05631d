//! `to_full`: all that was said so far, in every event.
//!
//! For clients that show the last event and nothing else. What is sent grows with the square of the answer: `merge`
//! beside it keeps that within bounds.

use super::to_delta::Texts;
use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::{Data, Event};

/// Incremental to cumulative.
pub static TO_FULL: Shape = Shape {
    name: "to_full",
    keys: &["to_full"],
    doc: "a text that grows piece by piece is sent whole in every event, for clients that show the last one",
    harm: "what is sent grows with the square of the answer: set merge beside it",
    make: |Settings { to_full, .. }| {
        Some(Box::new(ToFull { texts: Texts::at(to_full.clone()?), data: Vec::new() }))
    },
};

#[derive(Debug)]
struct ToFull {
    texts: Texts,
    /// The data that is handed on.
    data: Vec<u8>,
}

impl ToFull {
    /// Writes the data with all of each text; `false` if it says that already.
    fn complete(&mut self, json: &[u8]) -> bool {
        let ToFull { texts, data } = self;
        let mut from = 0;
        data.clear();
        texts.each(json, &mut |at, text, known| {
            data.extend_from_slice(&json[from..at]);
            data.extend_from_slice(&known.said);
            known.said.extend_from_slice(text);
            from = at;
        });
        data.extend_from_slice(&json[from..]);
        data.len() > json.len()
    }
}

impl Reshape for ToFull {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        match event.data.line() {
            Some(json) if self.complete(json) => {
                sink(&Event { data: Data::Line(&self.data), canonical: None, ..*event }, seen);
            }
            _ => sink(event, seen),
        }
    }

    fn held(&self) -> usize {
        self.texts.held()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    #[test]
    fn text_is_sent_whole_in_every_event_that_has_it() {
        let mut rig = Rig::new(Settings { to_full: Some("/t".to_owned()), ..Settings::default() });
        for (data, want) in [
            (r#"{"t":"a\"", "n":1}"#, r#"{"t":"a\"", "n":1}"#),
            (r#"{"t":"你", "n":2}"#, r#"{"t":"a\"你", "n":2}"#),
            (r#"{"t":"", "n":3}"#, r#"{"t":"a\"你", "n":3}"#),
            (r#"{"t":null}"#, r#"{"t":null}"#),
            ("[DONE]", "[DONE]"),
        ] {
            assert_eq!(rig.data(data), [want]);
        }
        assert_eq!(rig.shapes.held(), 6);
    }
}
