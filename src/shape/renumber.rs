//! The numbers of a stream whose events are counted, where one event becomes several.
//!
//! A client that checks their order stumbles over a number that comes twice, and one that drops what it has seen drops the
//! second part of a text. So what follows counts on. Not of a response that may be resumed by its numbers: there they are
//! the upstream's, and what a client asks for with one that was made here it would never get.

use std::ops::Range;

use crate::codec::Event;
use crate::dialect::{Count, Dialect, pointer};

/// The numbers of one stream.
#[derive(Debug, Default)]
pub(super) struct Renumber {
    /// The beginning of the stream was seen, and nobody resumes by its numbers.
    is_free: bool,
    /// Its first event was seen.
    begun: bool,
    /// How many events there are more than the upstream sent.
    more: u64,
}

impl Renumber {
    /// Takes each event, in order: its data with another number, if it is to have one.
    pub(super) fn event(&mut self, event: &Event<'_>, dialect: Option<&'static Dialect>) -> Option<Vec<u8>> {
        let (dialect, json) = (dialect?, event.data.line()?);
        let count = dialect.places.count.as_ref()?;
        let (range, number) = number(json, count)?;
        if !std::mem::replace(&mut self.begun, true) {
            let begins = (dialect.kind)(event) == Some(count.begins.as_bytes());
            self.is_free = begins && pointer::find(json, count.resumes, pointer::is_something).is_none();
        }
        if !self.is_free || self.more == 0 {
            return None;
        }
        let number = number.saturating_add(self.more).to_string();
        Some([&json[..range.start], number.as_bytes(), &json[range.end..]].concat())
    }

    /// Where in the data its number stands, and what that is, if it may be changed.
    pub(super) fn of(&self, json: &[u8], dialect: &Dialect) -> Option<(Range<usize>, u64)> {
        number(json, dialect.places.count.as_ref().filter(|_| self.is_free)?)
    }

    /// An event became so many more.
    pub(super) fn add(&mut self, more: u64) {
        self.more += more;
    }
}

fn number(json: &[u8], count: &Count) -> Option<(Range<usize>, u64)> {
    let mut found = None;
    pointer::each(json, count.number.at, &mut |at, value| {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        found = number.map(|number| (at..at + value.len(), number));
    });
    found
}
