//! The head of a stream, held back until it is known what came.
//!
//! While it is held, everything that is written waits with it, heartbeats too: there is no place for them before a
//! head. What is seen meanwhile ([`First`]) decides: an answer lets everything go at once, an error becomes a true
//! status. Bounded in time by the plan, and by [`MAX_BYTES`] of output. Kept by the [session](super::Session).

use std::time::Instant;

use crate::codec::Event;
use crate::dialect::is_blank;

use super::plan::{Hold, Out, Until};
use super::quote;
use super::watch::Watch;

/// A head that is held back.
#[derive(Debug)]
pub(super) struct Held {
    /// When it goes in any case, if it does.
    pub(super) deadline: Option<Instant>,
    /// What waits with it; between two calls of the session.
    pub(super) out: Out,
}

/// What came first.
#[derive(Debug)]
pub(super) struct First {
    until: Until,
    /// Something that counts as an answer.
    pub(super) answer: bool,
    /// An error, before that: the name and the data of its event.
    error: Option<(Vec<u8>, Vec<u8>)>,
}

impl Held {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        Held { deadline, out: Out::default() }
    }
}

impl First {
    pub(super) fn new(hold: Hold) -> Self {
        First { until: hold.until, answer: false, error: None }
    }

    /// An event that the watch has seen goes to the client.
    pub(super) fn event(&mut self, event: &Event<'_>, watch: &Watch) {
        if self.answer || self.error.is_some() {
            return;
        }
        let dialect = watch.dialect();
        // Where nothing is told inside a stream (MCP), an error is an answer like any other.
        let may_tell = dialect.is_none_or(|dialect| dialect.told.is_some());
        let says_so =
            || dialect.is_some() && event.data.line().is_some_and(|line| quote::is_error(line, dialect));
        if may_tell && (watch.told_error() || says_so()) {
            self.error = Some((event.name.unwrap_or_default().to_vec(), event.data.text().into_owned()));
        } else if !is_blank(event) {
            self.answer = match self.until {
                Until::Event => true,
                Until::Content => !watch.awaits_content(),
                Until::End => false,
            };
        }
    }

    /// The name and the data of an error event, if that came first; only once.
    pub(super) fn take_error(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.error.take()
    }
}

/// Output that is held back at the most.
pub(super) const MAX_BYTES: usize = 256 << 10;
