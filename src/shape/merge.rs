//! `merge`: text that comes faster than a client can show it, in fewer events.
//!
//! Between two writes of text there is a least time; what comes meanwhile is joined to one event. The first text, and text
//! after a pause, leave at once. Anything else leaves at once too, after the text before it. Only events are joined that
//! are the same but for their text and for what their dialect knows to [change](crate::dialect::Places::changing) all the
//! time; of that, the last one's stays. Text that is not like the text before it could not be joined to it, and does not
//! wait.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::delta::Texts;
use super::{Reshape, Seen, Shape, Sink};
use crate::codec::{Data, Event};
use crate::dialect::{Dialect, Sign};

/// Join texts within a least time.
pub static MERGE: Shape = Shape {
    name: "merge",
    keys: &["merge"],
    doc: "texts that come within a least time are joined to one event; the first leaves at once",
    harm: "text is late by that time at the most, and 10 ms; of times, numbers, padding and usage the last is sent; events that differ in more than these and their text are not joined",
    make: |settings| {
        let gap = settings.merge?;
        // Where a text is cumulative, it is a delta by the time it comes here.
        let texts = Texts(settings.to_delta.clone().or_else(|| settings.to_full.clone()));
        Some(Box::new(Merge { gap, texts, last: None, held: Held::default(), data: Vec::new() }))
    },
};

#[derive(Debug)]
struct Merge {
    gap: Duration,
    texts: Texts,
    /// When text was last handed on.
    last: Option<Instant>,
    held: Held,
    /// The data that is handed on.
    data: Vec<u8>,
}

/// The last event with text, which may wait for more.
#[derive(Debug, Default)]
struct Held {
    /// It waits.
    seen: Option<Seen>,
    name: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    before: Vec<u8>,
    text: Vec<u8>,
    after: Vec<u8>,
}

/// An event with text.
struct Piece<'e> {
    event: Event<'e>,
    line: &'e [u8],
    /// Where the text lies in it.
    text: Range<usize>,
    dialect: Option<&'static Dialect>,
}

impl Piece<'_> {
    /// What stands around the text.
    fn frame(&self) -> (&[u8], &[u8]) {
        (&self.line[..self.text.start], &self.line[self.text.end..])
    }

    /// Where the values are that may differ.
    fn changing(&self) -> Vec<Range<usize>> {
        self.dialect.map(|dialect| Texts::changing(&self.event, dialect, &self.text)).unwrap_or_default()
    }

    /// Whether the two are the same but for their text and for what may differ, of which nothing may go.
    fn is_like(&self, earlier: &Piece<'_>) -> bool {
        if self.frame() == earlier.frame() {
            return true;
        }
        let (mut cuts, mut earlier_cuts) = (self.changing(), earlier.changing());
        let says = |line: &[u8], cut: &Range<usize>| line[cut.clone()] != *b"null";
        let stays = |(cut, earlier_cut)| says(self.line, cut) || !says(earlier.line, earlier_cut);
        if cuts.len() != earlier_cuts.len() || !cuts.iter().zip(&earlier_cuts).all(stays) {
            return false;
        }
        cuts.push(self.text.clone());
        earlier_cuts.push(earlier.text.clone());
        without(self.line, cuts).eq(without(earlier.line, earlier_cuts))
    }
}

/// What is left of the line, in order.
fn without(line: &[u8], mut cuts: Vec<Range<usize>>) -> impl Iterator<Item = &[u8]> {
    cuts.sort_unstable_by_key(|cut| cut.start);
    cuts.push(line.len()..line.len());
    let mut from = 0;
    cuts.into_iter().map(move |cut| &line[std::mem::replace(&mut from, cut.end)..cut.start])
}

impl Held {
    /// Takes an event; one that is sent at once is remembered without its text.
    fn begin(&mut self, piece: &Piece<'_>, seen: Option<Seen>) {
        self.seen = seen;
        self.name = piece.event.name.map(<[u8]>::to_vec);
        self.id = piece.event.id.map(<[u8]>::to_vec);
        self.text.clear();
        if seen.is_some() {
            self.text.extend_from_slice(&piece.line[piece.text.clone()]);
        }
        self.surround(piece);
    }

    fn surround(&mut self, piece: &Piece<'_>) {
        let (before, after) = piece.frame();
        for (buffer, bytes) in [(&mut self.before, before), (&mut self.after, after)] {
            buffer.clear();
            buffer.extend_from_slice(bytes);
        }
    }

    /// Whether the event could be joined to this one.
    fn is_like(&self, piece: &Piece<'_>) -> bool {
        if self.before.is_empty() || self.name.as_deref() != piece.event.name {
            return false;
        }
        let line = [&self.before[..], &self.after].concat();
        let event = Event { name: piece.event.name, data: Data::Line(&line), ..Event::default() };
        let text = self.before.len()..self.before.len();
        piece.is_like(&Piece { event, line: &line, text, dialect: piece.dialect })
    }

    /// Adds the text of an event that is like this one.
    fn join(&mut self, piece: &Piece<'_>) {
        self.text.extend_from_slice(&piece.line[piece.text.clone()]);
        self.id = piece.event.id.map(<[u8]>::to_vec).or(self.id.take());
        self.surround(piece);
    }
}

impl Reshape for Merge {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let plain = seen.sign == Sign::Plain && event.retry.is_none() && event.unknown.is_none();
        let text = if plain { self.texts.only(event, seen) } else { None };
        let (Some(line), Some(text)) = (event.data.line(), text) else {
            self.flush(seen, sink);
            return sink(event, seen);
        };
        let piece = Piece { event: *event, line, text, dialect: seen.dialect };
        let is_like = self.held.is_like(&piece);
        if is_like && self.held.seen.is_some() {
            if self.held.text.len() + piece.text.len() <= MAX_TEXT_BYTES {
                return self.held.join(&piece);
            }
            self.flush(seen, sink);
        }
        if is_like && self.last.is_some_and(|last| seen.now < last + self.gap) {
            return self.held.begin(&piece, Some(seen));
        }
        self.flush(seen, sink);
        self.last = Some(seen.now);
        self.held.begin(&piece, None);
        sink(event, seen);
    }

    fn due(&self) -> Option<Instant> {
        let last = self.last.filter(|_| self.held.seen.is_some())?;
        Some(last + self.gap)
    }

    fn flush(&mut self, seen: Seen, sink: &mut Sink<'_>) {
        let Some(of) = self.held.seen.take() else { return };
        let Held { name, id, before, text, after, .. } = &self.held;
        self.data.clear();
        for part in [before, text, after] {
            self.data.extend_from_slice(part);
        }
        let (name, id, data) = (name.as_deref(), id.as_deref(), Data::Line(&self.data));
        sink(&Event { name, id, data, closed: true, ..Event::default() }, Seen { now: seen.now, ..of });
        self.last = Some(seen.now);
    }

    fn held(&self) -> usize {
        let Held { before, text, after, .. } = &self.held;
        if self.held.seen.is_some() { before.len() + text.len() + after.len() } else { 0 }
    }
}

/// Text that is joined at the most.
const MAX_TEXT_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Settings;
    use super::super::testing::{Rig, chat, chat_finish, content};
    use super::*;

    fn rig() -> Rig {
        Rig::new(Settings { merge: Some(Duration::from_millis(40)), ..Settings::default() })
    }

    #[test]
    fn text_that_may_be_repeated_whole_passes_merge_and_split() {
        let event =
            |text: &str| format!(r#"{{"output":{{"choices":[{{"message":{{"content":"{text}"}}}}]}}}}"#);
        let both =
            || Settings { merge: Some(Duration::from_millis(40)), split: Some(256), ..Settings::default() };
        let mut rig = Rig::new(both());
        rig.dialect = &crate::dialect::DASHSCOPE;
        for text in ["你", "你好", "你好，", "你好，我", &"你好，我".repeat(100)] {
            assert_eq!(rig.data(&event(text)), [event(text)]);
        }
        let at = "/output/choices/*/message/content";
        let mut rig = Rig::new(Settings { to_delta: Some(at.to_owned()), ..both() });
        rig.dialect = &crate::dialect::DASHSCOPE;
        assert_eq!(rig.data(&event("a")), [event("a")]);
        assert_eq!(rig.data(&event("ab")), [""; 0], "it waits");
        let place = Some(at.to_owned());
        let mut rig = Rig::new(Settings { to_delta: place.clone(), to_full: place, ..both() });
        rig.dialect = &crate::dialect::DASHSCOPE;
        assert_eq!(rig.data(&event("a")), [event("a")]);
        assert_eq!([rig.data(&event("ab")), rig.data(&event("abc"))].concat(), [""; 0]);
        assert_eq!(rig.flush(), format!("data: {}\n\n", event("abc")), "whole, and once");
    }

    #[test]
    fn first_text_leaves_at_once_and_what_follows_in_one_event() {
        let mut rig = rig();
        assert_eq!(rig.data(&chat("a")), [chat("a")]);
        assert_eq!(rig.shapes.due(), None);
        rig.pass(10);
        assert_eq!(rig.data(&chat("b")), [""; 0]);
        assert_eq!(rig.shapes.due(), Some(rig.now + Duration::from_millis(30)));
        rig.pass(10);
        assert_eq!(rig.data(&chat("\\\"你")), [""; 0]);
        rig.pass(19);
        assert_eq!(rig.tick(), "", "one millisecond too early");
        rig.pass(1);
        assert_eq!(rig.tick(), format!("data: {}\n\n", chat("b\\\"你")));
        assert_eq!((rig.shapes.due(), rig.shapes.held()), (None, 0));
        rig.pass(40);
        assert_eq!(rig.data(&chat("c")), [chat("c")], "after a pause at once");
    }

    #[test]
    fn what_is_no_text_is_never_late_and_never_before_the_text() {
        let mut rig = rig();
        rig.data(&chat("a"));
        rig.data(&chat("b"));
        assert_eq!(rig.data(&chat_finish()), [chat("b"), chat_finish()]);
        rig.data(&chat("c"));
        assert_eq!(rig.data("[DONE]"), [chat("c"), "[DONE]".to_owned()]);
        rig.data(&chat("d"));
        assert_eq!(rig.flush(), format!("data: {}\n\n", chat("d")), "at the end");
    }

    #[test]
    fn events_that_differ_in_more_than_their_text_are_not_joined() {
        let mut rig = rig();
        let of = |index: u8, text: &str| chat(text).replace("\"index\":0", &format!("\"index\":{index}"));
        rig.data(&of(0, "a"));
        assert_eq!(rig.data(&of(0, "b")), [""; 0]);
        assert_eq!(rig.data(&of(1, "x")), [of(0, "b"), of(1, "x")], "which could join nothing");
        assert_eq!(rig.data(&of(1, "y")), [""; 0]);
        assert_eq!(rig.data(&of(0, "c")), [of(1, "y"), of(0, "c")]);
        assert_eq!(rig.flush(), "");
        let said = |n: u8| chat("x").replace("\"finish", &format!("\"logprobs\":[{n}],\"finish"));
        for n in 0..3 {
            assert_eq!(rig.data(&said(n)), [said(n)]);
        }
    }

    #[test]
    fn what_changes_all_the_time_is_the_last_ones() {
        let mut rig = rig();
        let of = |n: usize, text: &str| {
            chat(text).replace(
                "{\"id\"",
                &format!("{{\"obfuscation\":\"{}\",\"created\":{n},\"id\"", "o".repeat(n)),
            )
        };
        let counted = |json: String, usage: &str| json.replace("]}", &format!("],\"usage\":{usage}}}"));
        assert_eq!(rig.data(&of(1, "a")), [of(1, "a")]);
        for (n, text) in [(12, "b"), (0, "c"), (3, "d")] {
            assert_eq!(rig.data(&of(n, text)), [""; 0]);
        }
        assert_eq!(rig.data(&counted(of(4, "e"), "null")), [of(3, "bcd"), counted(of(4, "e"), "null")]);
        assert_eq!(rig.data(&counted(of(5, "f"), "{\"n\":5}")), [""; 0]);
        assert_eq!(rig.data(&counted(of(66, "g"), "{\"n\":66}")), [""; 0]);
        let out = rig.data(&counted(of(7, "h"), "null"));
        let joined = counted(of(66, "fg"), "{\"n\":66}");
        assert_eq!(out, [joined, counted(of(7, "h"), "null")], "nothing said is lost");
    }

    #[test]
    fn the_last_id_stays_and_what_is_held_is_bounded() {
        let mut rig = rig();
        rig.data(&chat("a"));
        rig.wire(&format!("id: 1\ndata: {}\n\n", chat("b")));
        rig.wire(&format!("id: 2\ndata: {}\n\n", chat("c")));
        rig.data(&chat("d"));
        assert_eq!(rig.flush(), format!("id: 2\ndata: {}\n\n", chat("bcd")));
        let long = "x".repeat(MAX_TEXT_BYTES);
        rig.data(&chat(&long));
        assert_eq!(rig.data(&chat("y")), [chat(&long)]);
    }

    proptest! {
        #[test]
        fn text_of_each_choice_stays_whole_whatever_changes_beside_it(
            pieces in prop::collection::vec((0..2_usize, 0..9_usize, "[a-z]{1,3}", 0..60_u64), 1..40)
        ) {
            let (mut rig, mut texts, mut out) = (rig(), [String::new(), String::new()], String::new());
            let mut first_is_late = false;
            for (index, padding, text, pause) in &pieces {
                let line = chat(text)
                    .replace("\"index\":0", &format!("\"index\":{index}"))
                    .replace("{\"id\"", &format!("{{\"obfuscation\":\"{}\",\"id\"", "-".repeat(*padding)));
                rig.pass(*pause);
                out += &rig.tick();
                out += &rig.wire(&format!("data: {line}\n\n"));
                first_is_late |= out.is_empty();
                texts[*index] += text;
            }
            out += &rig.flush();
            let mut got = [String::new(), String::new()];
            for data in out.split_terminator("\n\n") {
                let line = data.strip_prefix("data: ").unwrap();
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let index = value["choices"][0]["index"].as_u64().unwrap();
                got[usize::try_from(index).unwrap()] += &content(line);
            }
            prop_assert!(!first_is_late);
            prop_assert_eq!(got, texts);
        }
    }
}
