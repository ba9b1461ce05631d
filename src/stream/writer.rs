//! The client's side of a session: writes items as events, counts them, and shows them to the watch.

use std::time::Instant;

use crate::bridge::sse as bridge;
use crate::codec::{Data, Event, Item, json, sse::data_lines};
use crate::dialect::Dialect;

use super::watch::Watch;
use super::{Out, Stats};

/// What is written, and what was.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) watch: Watch,
    pub(super) stats: Stats,
    /// The last event was `[DONE]`.
    done: bool,
    pub(super) last_write: Instant,
}

impl Writer {
    pub(super) fn new(dialect: Option<&'static Dialect>, known_ai: bool, now: Instant) -> Self {
        let watch = Watch::new(dialect, known_ai);
        Writer { watch, stats: Stats::default(), done: false, last_write: now }
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
        let line = event.data.line().filter(|line| line.len() <= DONE_MAX_BYTES && line.trim_ascii() == DONE);
        let again = std::mem::replace(&mut self.done, line.is_some());
        if let Some(line) = line {
            // Exact and once: clients compare the whole string, and stop at the first. Where events come between
            // two, they are the ends of two answers.
            if again {
                return;
            }
            if line != DONE {
                event.data = Data::Line(DONE);
                event.canonical = None;
            }
        }
        self.watch.event(&event);
        bridge::event(&event, &mut out.bytes);
        self.stats.events += 1;
        self.stats.first_event.get_or_insert(now);
        self.wrote(now, out);
    }

    /// What stood unclosed at a clean end: closed here if it is provably whole, dropped otherwise, since half an
    /// event must never be sent (HTML standard 9.2.6 drops it always).
    pub(super) fn tail(&mut self, item: Item<'_>, now: Instant, out: &mut Out) {
        let Item::Event(event) = item else { return };
        let whole = match event.data {
            Data::None => false,
            Data::Line(line) => line.trim_ascii() == DONE || json::is_whole([line]),
            Data::Block(block) => json::is_whole(data_lines(block)),
        };
        if whole {
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

const DONE: &[u8] = b"[DONE]";

/// Longer data is not looked at for `[DONE]` between white space.
const DONE_MAX_BYTES: usize = 64;
