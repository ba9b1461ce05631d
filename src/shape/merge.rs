//! `merge`: text that comes faster than a client can show it, in fewer events.
//!
//! Between two writes of text there is a least time; what comes meanwhile is joined to one event. The first text, and text
//! after a pause, leave at once. Anything else leaves at once too, after the text before it. Only events that are the
//! same but for their text are joined, so nothing of them is lost.

use std::time::{Duration, Instant};

use super::delta::Texts;
use super::{Reshape, Seen, Shape, Sink};
use crate::codec::{Data, Event};
use crate::dialect::Sign;

/// Join texts within a least time.
pub static MERGE: Shape = Shape {
    name: "merge",
    keys: &["merge"],
    doc: "texts that come within a least time are joined to one event; the first leaves at once",
    harm: "text is late by that time at the most; events that differ in more than their text are not joined",
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

/// An event that waits for more text.
#[derive(Debug, Default)]
struct Held {
    seen: Option<Seen>,
    name: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    before: Vec<u8>,
    text: Vec<u8>,
    after: Vec<u8>,
}

impl Held {
    /// Takes an event; the text lies at `range` in its line.
    fn begin(&mut self, event: &Event<'_>, line: &[u8], range: std::ops::Range<usize>, seen: Seen) {
        let fill = |buffer: &mut Vec<u8>, bytes: &[u8]| {
            buffer.clear();
            buffer.extend_from_slice(bytes);
        };
        self.seen = Some(seen);
        self.name = event.name.map(<[u8]>::to_vec);
        self.id = event.id.map(<[u8]>::to_vec);
        fill(&mut self.before, &line[..range.start]);
        fill(&mut self.text, &line[range.clone()]);
        fill(&mut self.after, &line[range.end..]);
    }

    /// Adds the text of an event that is the same in all else; `false` if it is not.
    fn join(&mut self, event: &Event<'_>, line: &[u8], range: std::ops::Range<usize>) -> bool {
        let same = self.name.as_deref() == event.name
            && self.before == line[..range.start]
            && self.after == line[range.end..]
            && self.text.len() + range.len() <= MAX_TEXT_BYTES;
        if same {
            self.text.extend_from_slice(&line[range]);
            self.id = event.id.map(<[u8]>::to_vec).or(self.id.take());
        }
        same
    }
}

impl Reshape for Merge {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let plain = seen.sign == Sign::Plain && event.retry.is_none() && event.unknown.is_none();
        let text = if plain { self.texts.only(event, seen) } else { None };
        let (Some(line), Some(range)) = (event.data.line(), text) else {
            self.flush(seen, sink);
            return sink(event, seen);
        };
        if self.held.seen.is_some() {
            if self.held.join(event, line, range.clone()) {
                return;
            }
            self.flush(seen, sink);
        } else if self.last.is_none_or(|last| seen.now >= last + self.gap) {
            self.last = Some(seen.now);
            return sink(event, seen);
        }
        self.held.begin(event, line, range, seen);
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
    use super::super::Settings;
    use super::super::testing::{Rig, chat, chat_finish};
    use super::*;

    fn rig() -> Rig {
        Rig::new(Settings { merge: Some(Duration::from_millis(40)), ..Settings::default() })
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
        assert_eq!(rig.data(&of(1, "x")), [of(0, "b")]);
        assert_eq!(rig.data(&of(1, "y")), [""; 0]);
        assert_eq!(rig.data(&of(0, "c")), [of(1, "xy")]);
        assert_eq!(rig.flush(), format!("data: {}\n\n", of(0, "c")));
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
}
