//! Watches the events of a stream for its first content and for signs of how it ends.

use super::choices::Choices;
use crate::codec::{Data, Event};
use crate::dialect::{DIALECTS, Dialect, GENERIC, Sign, is_blank};

/// What has been seen of the dialect.
#[derive(Debug)]
pub(super) struct Watch {
    /// What the events are read as: what was set, or hinted at until the events say otherwise.
    dialect: Option<&'static Dialect>,
    /// The route sets it.
    is_set: bool,
    /// Events can neither confirm nor refute it any more.
    settled: bool,
    /// How many more of them may say nothing of what was hinted at.
    patience: u8,
    /// The route is known to carry an AI stream, whatever its dialect.
    known_ai: bool,
    /// Something was hinted at.
    hinted: bool,
    /// Some event had data.
    begun: bool,
    content: bool,
    /// A whole answer shows its end.
    finishes: bool,
    finish: bool,
    last: bool,
    /// The answers that come side by side, where the dialect has such.
    choices: Choices,
    /// Some event was an error.
    error: bool,
    /// The last event that said anything was an error.
    error_last: bool,
    /// The data of a heartbeat in the words of the dialect, where such are wanted; empty until an event of it was seen.
    heartbeat: Option<Vec<u8>>,
}

impl Watch {
    /// `is_set`: the route sets the dialect, so that no event need confirm it.
    pub(super) fn new(dialect: Option<&'static Dialect>, is_set: bool, known_ai: bool) -> Self {
        Watch {
            dialect: dialect.or(known_ai.then_some(&GENERIC)),
            is_set,
            settled: false,
            patience: if dialect.is_some() { MAX_FOREIGN } else { 1 },
            known_ai,
            hinted: dialect.is_some() || known_ai,
            begun: false,
            content: false,
            finishes: false,
            finish: false,
            last: false,
            choices: Choices::new(),
            error: false,
            error_last: false,
            heartbeat: None,
        }
    }

    /// Heartbeats are to be in the words of the dialect.
    pub(super) fn keep_heartbeat(&mut self) {
        self.heartbeat = Some(Vec::new());
    }

    /// Looks at an event that goes to the client. Once the last sign was seen, no further event is searched; once
    /// content was seen, none is searched for that.
    pub(super) fn event(&mut self, event: &Event<'_>) {
        if self.last {
            return;
        }
        if event.error {
            (self.error, self.error_last) = (true, true);
            return;
        }
        let is_known = self.settled || self.settle(event);
        let Some(dialect) = self.dialect else { return };
        let sign = (dialect.sign)(event);
        match sign {
            Sign::Plain => {
                self.error_last = self.error_last && (says_nothing(event) || is_ping(event, dialect));
            }
            Sign::Error => (self.error, self.error_last) = (true, true),
            Sign::Finish => self.finish = true,
            Sign::Last => (self.finish, self.last) = (true, true),
        }
        if (self.choices.wants() || sign == Sign::Finish)
            && let (Some(at), Some(json)) = (dialect.choices, event.data.line())
        {
            self.choices.event(json, at);
        }
        if !self.content && sign != Sign::Error {
            // Of an event in another dialect nothing is known.
            self.content = if is_known { dialect.has_content(event) } else { !says_nothing(event) };
            if let (Some(line), Some(own)) = (&mut self.heartbeat, dialect.heartbeat.filter(|_| is_known)) {
                *line = own.line(event);
            }
        }
    }

    /// Holds what was hinted at against an event, and tells whether the dialect is known now. Gateways put events of
    /// their own before an answer, so what was hinted at is given up only after some.
    fn settle(&mut self, event: &Event<'_>) -> bool {
        self.begun |= !is_blank(event);
        if says_nothing(event) {
            return false;
        }
        // An error or an end is no refutation: either may come first.
        let is_one = |dialect: &Dialect| (dialect.confirms)(event) || (dialect.sign)(event) != Sign::Plain;
        let hinted = self.dialect.filter(|dialect| self.is_set || **dialect != GENERIC && is_one(dialect));
        let evident = || DIALECTS.iter().copied().find(|dialect| (dialect.evident)(event));
        let found = hinted.or_else(evident);
        self.patience = self.patience.saturating_sub(1);
        self.settled = found.is_some() || self.patience == 0;
        if self.settled {
            self.finishes = found.is_some_and(|dialect| dialect.finishes.shown_by(event, self.is_set));
            self.dialect = found.or(self.known_ai.then_some(&GENERIC));
        }
        self.settled
    }

    /// The upstream has said, in the words that the route knows it by, that nothing follows.
    pub(super) fn end(&mut self) {
        (self.finish, self.last) = (true, true);
    }

    /// Name and data of an event that says nothing, where such is wanted, the dialect is known and the answer goes on: behind
    /// its end, clients have put away what they gathered.
    pub(super) fn heartbeat(&self) -> Option<(Option<&'static str>, &[u8])> {
        let line =
            self.heartbeat.as_deref().filter(|line| !line.is_empty() && !self.finish && !self.error)?;
        Some((self.dialect?.heartbeat?.name, line))
    }

    /// The dialect as far as it is known: set, confirmed, or hinted at and not given up.
    pub(super) fn dialect(&self) -> Option<&'static Dialect> {
        self.dialect
    }

    /// Whether the dialect itself tells which events are errors: it is known, and not the generic one.
    pub(super) fn judges_errors(&self) -> bool {
        self.settled && self.dialect.is_some_and(|dialect| *dialect != GENERIC)
    }

    /// Content has been seen.
    pub(super) fn has_content(&self) -> bool {
        self.content
    }

    /// There was no content yet, and it would be known if it came. Once `false`, so for ever.
    pub(super) fn awaits_content(&self) -> bool {
        self.hinted && self.dialect.is_some() && !self.content && !self.finish && !self.error
    }

    /// Nothing of the answer can follow.
    pub(super) fn is_over(&self) -> bool {
        self.last
    }

    /// The upstream has told the client of an error itself.
    pub(super) fn told_error(&self) -> bool {
        self.error
    }

    /// It has told that as its last word; an error with more of the answer behind it was not the end.
    pub(super) fn told_error_last(&self) -> bool {
        self.error_last
    }

    /// A clean end now would cut the answer short.
    pub(super) fn lacks_finish(&self) -> bool {
        self.finishes && (!self.finish || !self.last && self.choices.are_open())
    }

    /// Some event said something, whether or not a client has got it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun || self.error
    }

    /// A clean end now would be an answer without a single event that says anything.
    pub(super) fn lacks_everything(&self) -> bool {
        self.known_ai && !self.begun
    }
}

/// Pings, ids, and empty objects, which some proxies fill silence with: neither a word of an answer nor of a dialect.
fn says_nothing(event: &Event<'_>) -> bool {
    is_blank(event) || event.name.is_none() && matches!(event.data, Data::Line(b"{}"))
}

/// Whether an event only shows that the connection lives, whatever its data.
fn is_ping(event: &Event<'_>, dialect: &Dialect) -> bool {
    event.name.or_else(|| (dialect.kind)(event)).is_some_and(|kind| kind.eq_ignore_ascii_case(b"ping"))
}

/// Events with data that may come before the first one of the dialect that was hinted at.
const MAX_FOREIGN: u8 = 16;
