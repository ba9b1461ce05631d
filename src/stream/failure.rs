//! Why a stream broke, in the words that a client and a log are told.

use std::borrow::Cow;

use http::StatusCode;

use super::{Cause, Outcome, Phase, Who};
use crate::codec;

/// A broken stream, or a request that never became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    cause: Cause,
    message: Cow<'static, str>,
}

impl Failure {
    /// `message` is for people, without secrets.
    pub fn new(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        Failure { cause, message: message.into() }
    }

    /// For people: what happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For programs: who is at fault.
    pub fn kind(&self) -> &'static str {
        kind(self.cause.who())
    }

    /// For programs: what happened ([`Cause::code`]).
    pub fn code(&self) -> String {
        self.cause.code()
    }

    /// The outcome of a request that failed so in this phase.
    pub fn outcome(&self, phase: Phase) -> Outcome {
        Outcome::new(self.cause, phase)
    }

    /// The status, where no head was promised to the client yet.
    pub fn status(&self) -> StatusCode {
        self.cause.status()
    }
}

/// The `type` of error bodies and error events: who is at fault, in the words that clients know.
pub fn kind(who: Who) -> &'static str {
    match who {
        Who::Upstream => "upstream_error",
        Who::Client => "invalid_request_error",
        Who::Tidegate | Who::Nobody => "tidegate_error",
    }
}

impl From<codec::Error> for Failure {
    fn from(error: codec::Error) -> Self {
        match error {
            codec::Error::TooLarge { limit } => {
                let message = format!("an event of the upstream is larger than max_event_bytes ({limit})");
                Failure::new(Cause::UpstreamEventTooLarge, message)
            }
            codec::Error::Malformed { what } => {
                let message = format!("the upstream sent what cannot be decoded: {what}");
                Failure::new(Cause::UpstreamMalformed, message)
            }
            codec::Error::Truncated => {
                Failure::new(Cause::UpstreamTruncated, "the upstream's stream ended in the middle")
            }
        }
    }
}
