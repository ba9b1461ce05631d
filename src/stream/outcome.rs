//! How a request ended: why, by whom, and in which phase.

use std::fmt;

use super::Cause;

/// Exactly one per request. Shown as `who:what` (`upstream:truncated`), or `done` where nobody cut it short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended, which tells who ended it.
    pub cause: Cause,
    /// How far it had come.
    pub phase: Phase,
}

/// Who ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Nobody: it ran to its end.
    Nobody,
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// tidegate itself.
    Tidegate,
}

/// How far a request had come, in the order in which it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The request head was not (all) there, or was refused.
    Request,
    /// Connecting to the upstream.
    Connect,
    /// Waiting for the upstream's response head.
    Head,
    /// The head is there; no event yet.
    FirstEvent,
    /// Events or body bytes are flowing.
    Body,
    /// All was said.
    End,
}

impl Outcome {
    /// All that the upstream said was relayed.
    pub const DONE: Outcome = Outcome { cause: Cause::Done, phase: Phase::End };

    /// A request that ended so in this phase.
    pub const fn new(cause: Cause, phase: Phase) -> Self {
        Outcome { cause, phase }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 6] =
        [Phase::Request, Phase::Connect, Phase::Head, Phase::FirstEvent, Phase::Body, Phase::End];

    /// The word for logs.
    pub fn name(self) -> &'static str {
        self.about().0
    }

    /// The word for logs, and what it means, for the manual.
    pub fn about(self) -> (&'static str, &'static str) {
        match self {
            Phase::Request => ("request", "The request head was not (all) there, or was refused."),
            Phase::Connect => ("connect", "Connecting to the upstream."),
            Phase::Head => ("head", "Waiting for the upstream's response head."),
            Phase::FirstEvent => ("first_event", "The response head is there; no event or body byte yet."),
            Phase::Body => ("body", "Events or body bytes are flowing."),
            Phase::End => ("end", "All was said."),
        }
    }
}
