//! `to_delta`: a text that is sent whole again and again, sent once.
//!
//! Some upstreams repeat in each event all that was said so far (SGLang's `/generate`, DashScope without
//! `incremental_output`). Of each such text only what is new is kept. It is never guessed at: the route says where the text
//! stands. A text that does not begin with the one before was rewritten; it passes whole, and is counted. One that lost
//! its end (a server takes back half a token, or blanks) says nothing new: what grows behind that place is sent, and what
//! was said already is not said twice.

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::{Data, Event};
use crate::dialect::pointer;

/// Cumulative to incremental.
pub static TO_DELTA: Shape = Shape {
    name: "to_delta",
    keys: &["to_delta"],
    doc: "a text that the upstream repeats whole in every event is sent once, piece by piece",
    harm: "a text that was rewritten is sent whole and counted (rewrites=): the client shows it behind the old one",
    make: |Settings { to_delta, .. }| {
        Some(Box::new(ToDelta { texts: Texts::at(to_delta.clone()?), data: Vec::new(), rewrites: 0 }))
    },
};

#[derive(Debug)]
struct ToDelta {
    texts: Texts,
    /// The data that is handed on.
    data: Vec<u8>,
    rewrites: u64,
}

impl ToDelta {
    /// Writes the data with what is new of each text; `false` if that is all of it.
    fn shorten(&mut self, json: &[u8]) -> bool {
        let ToDelta { texts, data, rewrites } = self;
        let mut from = 0;
        data.clear();
        texts.each(json, &mut |at, text, known| {
            let (repeated, is_rewritten) = known.take(text);
            if repeated > 0 {
                data.extend_from_slice(&json[from..at]);
                from = at + repeated;
            }
            *rewrites += u64::from(is_rewritten);
        });
        data.extend_from_slice(&json[from..]);
        from > 0
    }
}

impl Reshape for ToDelta {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        match event.data.line() {
            Some(json) if self.shorten(json) => {
                sink(&Event { data: Data::Line(&self.data), canonical: None, ..*event }, seen);
            }
            _ => sink(event, seen),
        }
    }

    fn held(&self) -> usize {
        self.texts.held()
    }

    fn rewrites(&self) -> u64 {
        self.rewrites
    }
}

/// What was said so far at a pointer, as it stands between the quotes: one text for each place, by the `index` of a choice
/// where it has one.
#[derive(Debug)]
pub(super) struct Texts {
    pointer: String,
    known: Vec<(u64, Known)>,
}

/// What was said at one place.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All that was sent.
    pub(super) said: Vec<u8>,
    /// How much of that the last text repeated.
    length: usize,
}

impl Known {
    /// Takes the whole text once more. Returns how many bytes of it were sent before, and whether it takes something of
    /// those back.
    fn take(&mut self, text: &[u8]) -> (usize, bool) {
        // What says nothing takes nothing back.
        if text.is_empty() {
            return (0, false);
        }
        if self.said.starts_with(text) {
            self.length = text.len();
            return (text.len(), false);
        }
        let is_rewritten = !text.starts_with(&self.said);
        let repeated = match is_rewritten {
            false => self.said.len(),
            // It lost its end, and goes on in another way.
            true if self.length < self.said.len() && text.starts_with(&self.said[..self.length]) => {
                self.length
            }
            true => 0,
        };
        self.said.clear();
        self.said.extend_from_slice(text);
        self.length = text.len();
        (repeated, is_rewritten)
    }
}

/// Receives where a text begins, what it says, and what was said there before.
type Found<'f> = dyn FnMut(usize, &[u8], &mut Known) + 'f;

impl Texts {
    pub(super) fn at(pointer: String) -> Self {
        Texts { pointer, known: Vec::new() }
    }

    /// Hands out each text of an event.
    pub(super) fn each(&mut self, json: &[u8], found: &mut Found<'_>) {
        let Texts { pointer, known } = self;
        pointer::each_apart(json, pointer, &mut |which, at, value| {
            let Some(text) = pointer::inside(value) else { return };
            let place = known.iter().position(|(place, _)| *place == which);
            let place = place.unwrap_or_else(|| {
                if known.len() < MAX_PLACES {
                    known.push((which, Known::default()));
                }
                known.len() - 1
            });
            if let Some((_, known)) = known.get_mut(place).filter(|(place, _)| *place == which) {
                found(at + 1, text, known);
            }
        });
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.known.iter().map(|(_, known)| known.said.len()).sum()
    }
}

/// Texts that are followed.
const MAX_PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn rig(pointer: &str) -> Rig {
        Rig::new(Settings { to_delta: Some(pointer.to_owned()), ..Settings::default() })
    }

    #[test]
    fn text_is_sent_once_and_all_else_stays() {
        let mut rig = rig("/text");
        for (data, want) in [
            (r#"{"text":"哈", "n":1}"#, r#"{"text":"哈", "n":1}"#),
            (r#"{"text":"哈哈", "n":2}"#, r#"{"text":"哈", "n":2}"#),
            (r#"{"text":"哈哈\n", "n":3}"#, r#"{"text":"\n", "n":3}"#),
            (r#"{"text":"哈哈\n", "n":4}"#, r#"{"text":"", "n":4}"#),
            (r#"{"text":"", "n":5}"#, r#"{"text":"", "n":5}"#),
            (r#"{"text":null,"usage":{"text":"哈"}}"#, r#"{"text":null,"usage":{"text":"哈"}}"#),
            (r#"{"text":"哈哈\n!", "n":6}"#, r#"{"text":"!", "n":6}"#),
            ("[DONE]", "[DONE]"),
        ] {
            assert_eq!(rig.data(data), [want]);
        }
        assert_eq!((rig.shapes.rewrites(), rig.shapes.held()), (0, 9));
    }

    #[test]
    fn rewritten_text_passes_whole_and_is_counted() {
        let mut rig = rig("/t");
        assert_eq!(rig.data(r#"{"t":"abc"}"#), [r#"{"t":"abc"}"#]);
        assert_eq!(rig.data(r#"{"t":"abX"}"#), [r#"{"t":"abX"}"#]);
        assert_eq!(rig.data(r#"{"t":"abXY"}"#), [r#"{"t":"Y"}"#]);
        assert_eq!(rig.data(r#"{"t":"b"}"#), [r#"{"t":"b"}"#]);
        assert_eq!(rig.shapes.rewrites(), 2);
    }

    /// A server that takes half a token back had the whole text sent once more.
    #[test]
    fn text_that_loses_its_end_is_not_sent_twice_when_it_grows_again() {
        let mut rig = rig("/t");
        for (text, new, rewrites) in [
            ("abc", "abc", 0),
            ("ab", "", 0),
            ("abc", "", 0),
            ("abcd", "d", 0),
            ("a", "", 0),
            ("abX", "bX", 1),
            ("ab", "", 1),
            ("abY", "Y", 2),
            ("abYZ", "Z", 2),
        ] {
            assert_eq!(rig.data(&format!(r#"{{"t":"{text}"}}"#)), [format!(r#"{{"t":"{new}"}}"#)], "{text}");
            assert_eq!(rig.shapes.rewrites(), rewrites, "{text}");
        }
    }

    #[test]
    fn texts_of_several_places_are_followed_each() {
        let mut rig = rig("/c/*/t");
        rig.data(r#"{"c":[{"t":"a"},{"t":"x"}]}"#);
        assert_eq!(rig.data(r#"{"c":[{"t":"ab"},{"t":"xy"}]}"#), [r#"{"c":[{"t":"b"},{"t":"y"}]}"#]);
        let of = |index: u8, text: &str| format!(r#"{{"c":[{{"index":{index},"t":"{text}"}}]}}"#);
        for (index, text, new) in [(1, "xyz", "z"), (0, "abc", "c"), (1, "xyz!", "!"), (2, "n", "n")] {
            assert_eq!(rig.data(&of(index, text)), [of(index, new)], "a choice in an event of its own");
        }
        assert_eq!(rig.shapes.rewrites(), 0);
        let many = format!("{{\"c\":[{}]}}", vec![r#"{"t":"a"}"#; 1000].join(","));
        rig.data(&many);
        assert!(rig.shapes.held() < 1000, "places are bounded");
    }
}
