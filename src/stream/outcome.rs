//! How a request ended: who ended it, in which phase, and what happened.

use std::fmt;

/// Exactly one per request. Shown as `who:what` (`upstream:truncated`), or `done` where nobody cut it short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Who ended it.
    pub who: Who,
    /// What happened, in one lower-case word: `done`, `truncated`, `gone`, `timeout_event_gap`…
    pub what: &'static str,
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
    pub const DONE: Outcome = Outcome { who: Who::Nobody, what: "done", phase: Phase::End };
    /// The client left.
    pub const fn client(what: &'static str, phase: Phase) -> Self {
        Outcome { who: Who::Client, what, phase }
    }
    /// The upstream failed.
    pub const fn upstream(what: &'static str, phase: Phase) -> Self {
        Outcome { who: Who::Upstream, what, phase }
    }
    /// tidegate ended it.
    pub const fn tidegate(what: &'static str, phase: Phase) -> Self {
        Outcome { who: Who::Tidegate, what, phase }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Nobody => f.write_str(self.what),
            Who::Client => write!(f, "client:{}", self.what),
            Who::Upstream => write!(f, "upstream:{}", self.what),
            Who::Tidegate => write!(f, "tidegate:{}", self.what),
        }
    }
}

impl Phase {
    /// The word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Request => "request",
            Phase::Connect => "connect",
            Phase::Head => "head",
            Phase::FirstEvent => "first_event",
            Phase::Body => "body",
            Phase::End => "end",
        }
    }
}
