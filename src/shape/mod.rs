//! What is changed in the events of a stream before a client gets them: one file and one line in [`SHAPES`] per shape.
//!
//! Shapes are off unless a route asks for them. They stand between the decoder's events and the [bridge](crate::bridge):
//! [repairs](crate::codec::repair) are made before, and the dialect is judged by what the upstream sent, not by what is
//! written. What a shape hands on goes to the next, in the order of the table, and from the last to the bridge. For one
//! event it may hand on none, one or several; it may hold some back until a time that it names, and hands them out at
//! the end of the stream, before whatever ends it.
//!
//! Invariants: the order of events stays; JSON is never written anew, but bytes are put into the place of others; an
//! event that a shape cannot read passes as it is; an end marker passes the shapes behind [`SENTINEL`] untouched, after
//! what they hold. Not here: IO, clocks, logs, panics. The [session](crate::stream) calls it.

mod ascii;
mod delta;
mod encode;
mod error_events;
mod fields;
mod merge;
mod pick;
mod renumber;
mod sentinel;
mod split;
#[cfg(test)]
#[path = "shape_tests.rs"]
pub(crate) mod testing;
mod to_delta;
mod to_full;

use std::time::{Duration, Instant};

use crate::codec::Event;
use crate::dialect::{Dialect, Sign};

pub use ascii::{ASCII, escaped};
pub use encode::{ENCODE, Encoding};
pub use error_events::ERROR_EVENTS;
pub use fields::FIELDS;
pub use merge::MERGE;
pub use pick::{PICK, Pick};
pub use sentinel::{Ending, Marker, Markers, SENTINEL};
pub use split::SPLIT;
pub use to_delta::TO_DELTA;
pub use to_full::TO_FULL;

/// One shape.
#[derive(Debug)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// The keys of `[stream]` that turn it on.
    pub keys: &'static [&'static str],
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// What to know before turning it on, in one line.
    pub harm: &'static str,
    /// For one stream; `None` where it is off.
    make: fn(&Settings) -> Option<Box<dyn Reshape>>,
}

/// Every shape, in the order in which events pass them.
pub static SHAPES: &[&Shape] =
    &[&SENTINEL, &ERROR_EVENTS, &TO_DELTA, &MERGE, &SPLIT, &TO_FULL, &PICK, &ASCII, &ENCODE, &FIELDS];

/// What a route wants of the shapes. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of end markers.
    pub markers: Markers,
    /// Where a text stands that is sent whole again and again, and is to be sent once.
    pub to_delta: Option<String>,
    /// Where a text stands that grows, and is to be sent whole again and again.
    pub to_full: Option<String>,
    /// The least time between two writes of text.
    pub merge: Option<Duration>,
    /// The largest event with text in it, in bytes as written.
    pub split: Option<usize>,
    /// What alone is sent of an event.
    pub pick: Option<Pick>,
    /// JSON in ASCII alone.
    pub ascii: bool,
    /// How data is encoded.
    pub encode: Option<Encoding>,
    /// An upstream's error that has no name gets one.
    pub names_errors: bool,
    /// Only data is sent: no names, ids, retry times and unknown fields.
    pub data_only: bool,
    /// No ids are sent.
    pub drops_ids: bool,
}

/// What goes with an event through the shapes.
#[derive(Debug, Clone, Copy)]
struct Seen {
    now: Instant,
    /// What the events are read as, as far as it is known.
    dialect: Option<&'static Dialect>,
    /// What the upstream's event says about how the stream goes on.
    sign: Sign,
    /// This is the end marker, as the client is to get it.
    is_marker: bool,
}

/// Receives events.
type Sink<'s> = dyn FnMut(&Event<'_>, Seen) + 's;

/// Receives the events of the client, and whether each is the end marker.
type Write<'w> = &'w mut dyn FnMut(&Event<'_>, bool);

/// A shape at work on one stream.
trait Reshape: std::fmt::Debug {
    /// Takes an event, and hands on what is to be sent for it now.
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>);

    /// When [`Reshape::flush`] is due, if something is held back.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Hands on what is held back.
    fn flush(&mut self, _seen: Seen, _sink: &mut Sink<'_>) {}

    /// The answer is complete, and nothing is held back any more.
    fn finish(&mut self, _seen: Seen, _sink: &mut Sink<'_>) {}

    /// Bytes that it keeps.
    fn held(&self) -> usize {
        0
    }

    /// Cumulative texts that did not begin with what came before.
    fn rewrites(&self) -> u64 {
        0
    }

    /// The upstream has said that nothing follows.
    fn is_over(&self) -> bool {
        false
    }

    /// When the stream is to be closed, since all was said.
    fn closes_at(&self) -> Option<Instant> {
        None
    }
}

/// The shapes of one stream; at least one.
#[derive(Debug)]
pub struct Shapes {
    shapes: Vec<Box<dyn Reshape>>,
    own: Own,
    ensures: bool,
}

/// What the shapes want of events that are none of the upstream's, and do not pass them: tidegate's error events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    /// ASCII alone.
    pub ascii: bool,
    /// Named `error`, whatever the dialect.
    pub names_errors: bool,
    /// No field but data.
    pub data_only: bool,
    /// Bytes of the largest event.
    pub largest: Option<usize>,
}

impl Own {
    /// By these settings.
    pub fn of(settings: &Settings) -> Self {
        Own {
            ascii: settings.ascii,
            names_errors: settings.names_errors,
            data_only: settings.data_only,
            largest: settings.split,
        }
    }
}

impl Shapes {
    /// For one stream; `None` where nothing is to be changed.
    pub fn new(settings: &Settings) -> Option<Box<Self>> {
        let shapes: Vec<_> = SHAPES.iter().filter_map(|shape| (shape.make)(settings)).collect();
        let ensures = matches!(settings.markers.ending, Ending::Auto | Ending::Ensure);
        (!shapes.is_empty()).then(|| Box::new(Shapes { shapes, own: Own::of(settings), ensures }))
    }

    /// Whether they may add an end marker to an answer that is complete.
    pub fn ensures(&self) -> bool {
        self.ensures
    }

    /// What they want of events that do not pass them.
    pub fn own(&self) -> Own {
        self.own
    }

    /// Takes an event as the upstream sent it. `write` is given what the client gets, and whether it is the end marker.
    pub fn event(
        &mut self,
        event: &Event<'_>,
        dialect: Option<&'static Dialect>,
        now: Instant,
        write: Write<'_>,
    ) {
        let sign = dialect.map_or(Sign::Plain, |dialect| (dialect.sign)(event));
        let seen = Seen { dialect, sign, ..Seen::at(now) };
        pass(&mut self.shapes, event, seen, &mut |event, seen| write(event, seen.is_marker));
    }

    /// When [`Shapes::tick`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.shapes.iter().filter_map(|shape| shape.due()).min()
    }

    /// Hands out what was held back until now.
    pub fn tick(&mut self, now: Instant, write: Write<'_>) {
        for index in 0..self.shapes.len() {
            let Some((shape, rest)) = self.shapes[index..].split_first_mut() else { return };
            if shape.due().is_some_and(|due| now >= due) {
                shape.flush(Seen::at(now), &mut |event, seen| {
                    pass(rest, event, seen, &mut |event, seen| write(event, seen.is_marker));
                });
            }
        }
    }

    /// The stream ends: hands out all that is held back.
    pub fn flush(&mut self, now: Instant, write: Write<'_>) {
        flush(&mut self.shapes, Seen::at(now), &mut |event, seen| write(event, seen.is_marker));
    }

    /// The answer is complete: hands out all that is held back, and what may be missing.
    pub fn finish(&mut self, dialect: Option<&'static Dialect>, now: Instant, write: Write<'_>) {
        self.flush(now, write);
        for index in 0..self.shapes.len() {
            let Some((shape, rest)) = self.shapes[index..].split_first_mut() else { return };
            shape.finish(Seen { dialect, ..Seen::at(now) }, &mut |event, seen| {
                pass(rest, event, seen, &mut |event, seen| write(event, seen.is_marker));
            });
        }
    }

    /// Bytes that the shapes keep.
    pub fn held(&self) -> usize {
        self.shapes.iter().map(|shape| shape.held()).sum()
    }

    /// Cumulative texts that did not begin with what came before, and were passed whole.
    pub fn rewrites(&self) -> u64 {
        self.shapes.iter().map(|shape| shape.rewrites()).sum()
    }

    /// The upstream has sent an end marker: nothing of the answer follows.
    pub fn is_over(&self) -> bool {
        self.shapes.iter().any(|shape| shape.is_over())
    }

    /// When the stream is to be closed, whatever the upstream does: some time after the end marker.
    pub fn closes_at(&self) -> Option<Instant> {
        self.shapes.iter().find_map(|shape| shape.closes_at())
    }
}

impl Seen {
    /// For what no event of the upstream brings.
    fn at(now: Instant) -> Self {
        Seen { now, dialect: None, sign: Sign::Plain, is_marker: false }
    }
}

/// Hands an event to the first of these shapes, and what comes of it to the others.
fn pass(shapes: &mut [Box<dyn Reshape>], event: &Event<'_>, seen: Seen, write: &mut Sink<'_>) {
    if seen.is_marker {
        flush(shapes, seen, write);
        return write(event, seen);
    }
    match shapes.split_first_mut() {
        None => write(event, seen),
        Some((first, rest)) => {
            first.event(event, seen, &mut |event, seen| pass(rest, event, seen, write));
        }
    }
}

/// Hands out what these shapes hold back, in order.
fn flush(shapes: &mut [Box<dyn Reshape>], seen: Seen, write: &mut Sink<'_>) {
    let seen = Seen { is_marker: false, ..seen };
    if let Some((first, rest)) = shapes.split_first_mut() {
        first.flush(seen, &mut |event, seen| pass(rest, event, seen, write));
        flush(rest, seen, write);
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Rig, chat};
    use super::*;

    #[test]
    fn shapes_are_explained_and_have_keys_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        for shape in SHAPES {
            assert!(seen.insert(shape.name) && !shape.doc.is_empty() && !shape.harm.is_empty());
            assert!(!shape.keys.is_empty());
            let mut keys = shape.keys.iter().filter(|key| **key != shape.name);
            assert!(keys.all(|key| seen.insert(key)), "{} shares a key", shape.name);
        }
        assert!(Shapes::new(&Settings::default()).is_none(), "nothing is on by itself");
    }

    #[test]
    fn marker_passes_the_other_shapes_after_what_they_hold() {
        let mut rig = Rig::new(Settings {
            markers: Markers { to: Marker::read("终\u{1f30d}"), ..Markers::default() },
            merge: Some(Duration::from_secs(1)),
            ascii: true,
            encode: Some(Encoding::Percent),
            data_only: true,
            ..Settings::default()
        });
        assert_eq!(rig.data(&chat("a")).len(), 1);
        assert_eq!(rig.data(&chat("你")), [""; 0]);
        let out = rig.data("[DONE]");
        assert!(out[0].contains("%22%5Cu4f60%22") && out[1] == "终\u{1f30d}", "{out:?}");
        let mut encoded = Rig::new(Settings { encode: Some(Encoding::Base64), ..Settings::default() });
        assert_eq!(encoded.data("[DONE]"), ["[DONE]"], "a marker is one without a key of its own too");
    }

    #[test]
    fn text_passes_the_shapes_in_the_order_of_the_table() {
        let mut rig = Rig::new(Settings {
            to_delta: Some("/t".to_owned()),
            merge: Some(Duration::from_secs(1)),
            to_full: Some("/t".to_owned()),
            pick: Some(Pick { pointer: "/t".to_owned(), plain: true }),
            ..Settings::default()
        });
        assert_eq!(rig.data(r#"{"t":"a"}"#), ["a"]);
        assert_eq!(rig.data(r#"{"t":"ab"}"#), [""; 0]);
        assert_eq!(rig.data(r#"{"t":"abc"}"#), [""; 0]);
        rig.pass(1000);
        assert_eq!(rig.tick(), "data: abc\n\n");
    }
}
