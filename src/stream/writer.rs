//! The client's side of a session: writes items as events, counts them, and shows them to the watch.

use std::time::Instant;

use crate::bridge::sse as bridge;
use crate::codec::repair::{Repair, Repairs};
use crate::codec::{Data, Event, Item, json};
use crate::dialect::{Dialect, Sign};

use super::hold::First;
use super::watch::Watch;
use super::{Out, Stats};

/// What is written, and what was.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) watch: Watch,
    pub(super) stats: Stats,
    repairs: Repairs,
    /// The last event was `[DONE]`.
    done: bool,
    pub(super) last_write: Instant,
    /// What came first, while the head is held back for it.
    pub(super) first: Option<First>,
}

impl Writer {
    pub(super) fn new(watch: Watch, repairs: Repairs, now: Instant) -> Self {
        Writer { watch, stats: Stats::default(), repairs, done: false, last_write: now, first: None }
    }

    pub(super) fn item(&mut self, item: Item<'_>, now: Instant, out: &mut Out) {
        match item {
            Item::Comment(text) => {
                bridge::comment(text, &mut out.bytes);
                self.wrote(now, out);
            }
            Item::Event(event) => self.event(event, now, out),
        }
    }

    fn event(&mut self, mut event: Event<'_>, now: Instant, out: &mut Out) {
        let again = std::mem::take(&mut self.done);
        if let Data::Line(line) = event.data
            && line.len() <= DONE_MAX_BYTES
        {
            self.done = self.is_done(line, &event);
            if self.done && self.repairs.has(Repair::Done) {
                // Exact and once: clients compare the whole string, and stop at the first. Where events come between
                // two, they are the ends of two answers.
                if again || line != DONE {
                    self.stats.repaired.add(Repairs::NONE.with(Repair::Done));
                    event.data = Data::Line(DONE);
                    event.canonical = None;
                }
                if again {
                    return;
                }
            }
            if line.is_empty() && self.repairs.has(Repair::EmptyData) && says_nothing(&event) {
                self.stats.repaired.add(Repairs::NONE.with(Repair::EmptyData));
                bridge::comment(b"", &mut out.bytes);
                return self.wrote(now, out);
            }
        }
        self.watch.event(&event);
        if let Some(first) = &mut self.first {
            first.event(&event, &self.watch);
        }
        let from = out.bytes.len();
        bridge::event(&event, &mut out.bytes);
        if event.name == Some(b"error") && self.watch.dialect().is_some_and(Dialect::tells_without_a_space) {
            out.bytes.remove(from + b"event:".len());
        }
        self.stats.events += 1;
        self.stats.first_event.get_or_insert(now);
        if self.stats.first_content.is_none() && self.watch.has_content() {
            self.stats.first_content = Some(now);
        }
        self.wrote(now, out);
    }

    /// Whether this is the end marker: in quotes, only where nothing else can be meant.
    fn is_done(&self, line: &[u8], event: &Event<'_>) -> bool {
        let line = line.trim_ascii();
        let ends_with_it = |dialect: &Dialect| {
            let marker = Event { data: Data::Line(DONE), ..Event::default() };
            (dialect.sign)(&marker) == Sign::Last
        };
        line == DONE
            || line == QUOTED_DONE && event.name.is_none() && self.watch.dialect().is_some_and(ends_with_it)
    }

    /// What stood unclosed at a clean end: closed here if it is provably whole, dropped otherwise, since half an
    /// event must never be sent (HTML standard 9.2.6 drops it always).
    pub(super) fn tail(&mut self, item: Item<'_>, now: Instant, out: &mut Out) {
        let Item::Event(event) = item else { return };
        let whole = event.data.line().is_some_and(|line| self.is_done(line, &event) || json::is_whole(line));
        if whole && self.repairs.has(Repair::UnclosedTail) {
            self.stats.repaired.add(Repairs::NONE.with(Repair::UnclosedTail));
            self.event(event, now, out);
        }
    }

    pub(super) fn passed(&mut self, now: Instant, out: &mut Out) {
        if out.bytes.len() > out.ends.last().copied().unwrap_or(0) {
            self.stats.first_event.get_or_insert(now);
            self.wrote(now, out);
        }
    }

    pub(super) fn wrote(&mut self, now: Instant, out: &mut Out) {
        let from = out.ends.last().copied().unwrap_or(0);
        self.stats.bytes += (out.bytes.len() - from) as u64;
        self.last_write = now;
        out.ends.push(out.bytes.len());
    }
}

/// Whether an event without data would be none at all.
fn says_nothing(event: &Event<'_>) -> bool {
    event.name.is_none() && event.id.is_none() && event.retry.is_none() && event.unknown.is_none()
}

const DONE: &[u8] = b"[DONE]";
const QUOTED_DONE: &[u8] = b"\"[DONE]\"";

/// Longer data is not looked at for `[DONE]` between white space.
const DONE_MAX_BYTES: usize = 64;
