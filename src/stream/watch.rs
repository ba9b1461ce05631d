//! Watches the events of a stream for signs of how it ends.

use crate::codec::Event;
use crate::dialect::{Dialect, GENERIC, Sign};

/// What has been seen of the dialect.
#[derive(Debug)]
pub(super) struct Watch {
    dialect: Option<&'static Dialect>,
    standing: Standing,
    /// The route is known to carry an AI stream, whatever its dialect.
    known_ai: bool,
    finish: bool,
    last: bool,
    /// Some event was an error.
    error: bool,
    /// The last event that said anything was an error.
    error_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// By path or setting; no event yet.
    Hinted,
    /// The first event was one of the dialect.
    Confirmed,
    /// It was not.
    Refuted,
}

impl Watch {
    pub(super) fn new(dialect: Option<&'static Dialect>, known_ai: bool) -> Self {
        Watch {
            dialect,
            standing: Standing::Hinted,
            known_ai,
            finish: false,
            last: false,
            error: false,
            error_last: false,
        }
    }

    /// Looks at an event that goes to the client. Once the last sign was seen, no further event is searched.
    pub(super) fn event(&mut self, event: &Event<'_>) {
        if self.last {
            return;
        }
        if event.error {
            (self.error, self.error_last) = (true, true);
            return;
        }
        let hinted = self.dialect.filter(|_| self.standing != Standing::Refuted);
        let Some(dialect) = hinted.or(self.known_ai.then_some(&GENERIC)) else { return };
        let sign = (dialect.sign)(event);
        match sign {
            Sign::Plain | Sign::Error => self.error_last = sign == Sign::Error,
            Sign::Finish => self.finish = true,
            Sign::Last => (self.finish, self.last) = (true, true),
        }
        self.error |= self.error_last;
        if self.standing == Standing::Hinted {
            // An error or an end is no refutation: either may come first.
            let confirmed = (dialect.confirms)(event) || self.finish || self.error;
            self.standing = if confirmed { Standing::Confirmed } else { Standing::Refuted };
        }
    }

    /// The dialect as far as it is known: confirmed, or hinted while no event has said otherwise.
    pub(super) fn dialect(&self) -> Option<&'static Dialect> {
        self.dialect.filter(|_| self.standing != Standing::Refuted).or(self.known_ai.then_some(&GENERIC))
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
        let confirmed = self.standing == Standing::Confirmed;
        confirmed && !self.finish && self.dialect.is_some_and(|dialect| dialect.has_finish)
    }

    /// A stream without a single event would be no answer.
    pub(super) fn expects_events(&self) -> bool {
        self.known_ai
    }
}
