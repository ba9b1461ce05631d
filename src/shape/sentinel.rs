//! `sentinel`: the event that says in so many words that the answer is over, as the client waits for it.
//!
//! `[DONE]` in OpenAI's streams; `AIQA_EOF`, `LLM-EOF` and their like in home-grown ones; an event of a certain name
//! elsewhere. A marker is the whole data of an event, letter by letter, or the name of one: text that holds those
//! letters is text. It is put in the place of the upstream's, added where an answer is complete without one, or taken
//! out. It is never added to a stream that broke.

use std::time::{Duration, Instant};

use super::{Reshape, Seen, Shape, Sink};
use crate::codec::{DONE, Data, Event};
use crate::dialect::Dialect;

/// Map, ensure or strip the end marker.
pub static SENTINEL: Shape = Shape {
    name: "sentinel",
    keys: &["done", "done_from", "done_to", "done_close"],
    doc: "the end marker, such as [DONE], is sent as the client waits for it: mapped, added, or taken out",
    harm: "a marker is believed: with done_close what follows it is cut off",
    make: |settings| {
        let markers = settings.markers.clone();
        // What is encoded would hide it.
        let is_wanted = markers != Markers::default() || settings.encode.is_some();
        is_wanted.then(|| Box::new(Sentinel { markers, said: false, again: false, closes_at: None }) as _)
    },
};

/// What becomes of end markers. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    /// Whether there is one at all.
    pub ending: Ending,
    /// What the upstream may send. Default: `[DONE]`.
    pub from: Vec<Marker>,
    /// What the client is sent. Default: `[DONE]`.
    pub to: Marker,
    /// How long after a marker the stream is closed; `None`, the default: when the upstream ends it.
    pub close: Option<Duration>,
}

/// Whether a client gets an end marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// If the upstream sends one.
    Keep,
    /// Wherever an answer is complete whose dialect ends its streams with one.
    Auto,
    /// Wherever an answer is complete.
    Ensure,
    /// Never.
    Strip,
}

/// What an end marker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// An event with this data and no more.
    Data(String),
    /// An event with this name.
    Name(String),
}

impl Default for Markers {
    fn default() -> Self {
        let done = Marker::Data(DONE.to_owned());
        Markers { ending: Ending::Keep, from: vec![done.clone()], to: done, close: None }
    }
}

impl Marker {
    /// The data, or `event:NAME`.
    pub fn read(text: &str) -> Self {
        match text.strip_prefix("event:") {
            Some(name) => Marker::Name(name.trim().to_owned()),
            None => Marker::Data(text.to_owned()),
        }
    }

    fn is(&self, event: &Event<'_>) -> bool {
        match self {
            Marker::Data(text) => event.data.line() == Some(text.as_bytes()),
            Marker::Name(name) => event.name == Some(name.as_bytes()),
        }
    }
}

#[derive(Debug)]
struct Sentinel {
    markers: Markers,
    /// The upstream has sent a marker.
    said: bool,
    /// The last event was one.
    again: bool,
    closes_at: Option<Instant>,
}

impl Sentinel {
    fn write(&self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let seen = Seen { is_marker: true, ..seen };
        if self.markers.to.is(event) && event.data != Data::None {
            return sink(event, seen);
        }
        let marker = Event { canonical: None, ..*event };
        match &self.markers.to {
            Marker::Data(text) => {
                // A name that made it a marker is replaced; another, such as FastGPT's `answer`, stays.
                let made_it = |from: &Marker| matches!(from, Marker::Name(_)) && from.is(event);
                let name = event.name.filter(|_| !self.markers.from.iter().any(made_it));
                sink(&Event { name, data: Data::Line(text.as_bytes()), ..marker }, seen);
            }
            // A block without data is none to most clients.
            Marker::Name(name) => {
                let data = if event.data == Data::None { Data::Line(DONE.as_bytes()) } else { event.data };
                sink(&Event { name: Some(name.as_bytes()), data, ..marker }, seen);
            }
        }
    }
}

impl Reshape for Sentinel {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        // All was said, and the stream is about to be closed.
        if self.closes_at.is_some() {
            return;
        }
        let again = std::mem::take(&mut self.again);
        let Markers { from, to, close, ending } = &self.markers;
        if !to.is(event) && !from.iter().any(|marker| marker.is(event)) {
            return sink(event, seen);
        }
        self.closes_at = close.map(|close| seen.now + close);
        (self.said, self.again) = (true, true);
        // Once in a row; where events come between two, they are the ends of two answers.
        if *ending != Ending::Strip && !again {
            self.write(event, seen, sink);
        }
    }

    fn finish(&mut self, seen: Seen, sink: &mut Sink<'_>) {
        let ensures = match self.markers.ending {
            Ending::Ensure => true,
            Ending::Auto => seen.dialect.is_some_and(Dialect::ends_with_done),
            Ending::Keep | Ending::Strip => false,
        };
        if ensures && !self.said {
            self.write(&Event { closed: true, ..Event::default() }, seen, sink);
        }
    }

    fn is_over(&self) -> bool {
        self.said
    }

    fn closes_at(&self) -> Option<Instant> {
        self.closes_at
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::testing::{Rig, chat};
    use super::*;

    fn rig(ending: Ending, from: &[&str], to: &str) -> Rig {
        let from = from.iter().map(|text| Marker::read(text)).collect();
        let markers = Markers { ending, from, to: Marker::read(to), close: None };
        Rig::new(Settings { markers, ..Settings::default() })
    }

    #[test]
    fn marker_is_mapped_where_it_is_the_whole_data() {
        let mut rig = rig(Ending::Keep, &["AIQA_EOF", "LLM-EOF"], "[DONE]");
        for text in ["AIQA_EOF is the marker", " AIQA_EOF", "\"AIQA_EOF\"", "aiqa_eof"] {
            assert_eq!(rig.data(text), [text]);
        }
        assert_eq!(rig.data("AIQA_EOF"), ["[DONE]"]);
        assert_eq!(rig.data("LLM-EOF"), [""; 0], "once in a row");
        assert_eq!(rig.data("more"), ["more"]);
        assert_eq!(rig.data("LLM-EOF"), ["[DONE]"]);
        assert_eq!(rig.finish(), "");
    }

    #[test]
    fn marker_that_is_already_right_stays_byte_for_byte() {
        let mut rig = rig(Ending::Keep, &["[DONE]"], "AIQA_EOF");
        assert_eq!(rig.wire("id: 7\ndata: AIQA_EOF\n\n"), "id: 7\ndata: AIQA_EOF\n\n");
        assert_eq!(rig.data("x"), ["x"]);
        assert_eq!(rig.wire("event: answer\ndata: [DONE]\n\n"), "event: answer\ndata: AIQA_EOF\n\n");
    }

    #[test]
    fn marker_can_be_the_name_of_an_event() {
        let mut to_name = rig(Ending::Ensure, &["[DONE]"], "event:done");
        assert_eq!(to_name.wire("data: [DONE]\n\n"), "event: done\ndata: [DONE]\n\n");
        let mut added = rig(Ending::Ensure, &["[DONE]"], "event:done");
        added.data("x");
        assert_eq!(added.finish(), "event: done\ndata: [DONE]\n\n");
        let mut from_name = rig(Ending::Keep, &["event: end"], "AIQA_EOF");
        assert_eq!(from_name.wire("event: end\n\n"), "data: AIQA_EOF\n\n");
    }

    #[test]
    fn marker_is_added_to_a_complete_answer_that_lacks_it_and_only_there() {
        let mut lacks = rig(Ending::Ensure, &["[DONE]"], "[DONE]");
        assert_eq!(lacks.data("x"), ["x"]);
        assert_eq!(lacks.flush(), "", "the end alone adds nothing");
        assert_eq!(lacks.finish(), "data: [DONE]\n\n");
        let mut has = rig(Ending::Ensure, &["[DONE]"], "LLM-EOF");
        assert_eq!(has.data("[DONE]"), ["LLM-EOF"]);
        assert_eq!(has.data("an event behind it"), ["an event behind it"]);
        assert_eq!(has.finish(), "");
    }

    #[test]
    fn nothing_follows_a_marker_that_closes_the_stream() {
        let markers = Markers { close: Some(Duration::from_millis(50)), ..Markers::default() };
        let mut rig =
            Rig::new(Settings { markers, merge: Some(Duration::from_secs(1)), ..Settings::default() });
        assert_eq!((rig.data(&chat("a")), rig.data(&chat("b"))), (vec![chat("a")], Vec::new()));
        assert_eq!(rig.data("[DONE]"), [chat("b"), "[DONE]".to_owned()]);
        let closes_at = rig.shapes.closes_at();
        rig.pass(2);
        for data in [&chat("c"), "[DONE]"] {
            assert_eq!(rig.data(data), [""; 0]);
        }
        assert_eq!(
            (rig.flush(), rig.finish(), rig.shapes.closes_at()),
            (String::new(), String::new(), closes_at)
        );
    }

    #[test]
    fn marker_is_taken_out() {
        let mut rig = rig(Ending::Strip, &["[DONE]"], "[DONE]");
        assert_eq!(rig.data("x"), ["x"]);
        assert_eq!(rig.data("[DONE]"), [""; 0]);
        assert_eq!(rig.finish(), "");
        assert!(rig.shapes.is_over());
    }
}
