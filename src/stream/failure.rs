//! Why a stream broke, in the words that a client and a log are told.

use std::borrow::Cow;

use http::StatusCode;

use super::quote::Quote;
use super::{Cause, Outcome, Phase, Who};
use crate::codec;

/// A broken stream, or a request that never became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    cause: Cause,
    message: Cow<'static, str>,
    /// What the upstream itself said; for the client alone.
    quote: Option<Box<Quote>>,
    /// What the log is told instead of the message, if there is more to tell.
    detail: Option<String>,
    /// The status that the client was not given: it is told of it in a stream that has another.
    untold: Option<StatusCode>,
}

impl Failure {
    /// `message` is for people, without secrets.
    pub fn new(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        Failure { cause, message: message.into(), quote: None, detail: None, untold: None }
    }

    /// One that the upstream told of itself: the client gets its words, the log gets `message`.
    pub(super) fn quoting(cause: Cause, message: impl Into<Cow<'static, str>>, quote: Quote) -> Self {
        Failure { quote: Some(Box::new(quote)), ..Failure::new(cause, message) }
    }

    /// With what is for the log alone.
    pub(crate) fn with_detail(self, detail: Option<String>) -> Self {
        Failure { detail, ..self }
    }

    /// Why.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// One that is told in a stream, in the place of a response with this status.
    pub(crate) fn in_place_of(self, status: StatusCode) -> Self {
        Failure { untold: Some(status), ..self }
    }

    /// The same with fewer words for people: `bytes` of them at the most.
    pub(super) fn clipped(&self, bytes: usize) -> Self {
        let end = self.message.floor_char_boundary(bytes);
        let quote = self.quote.as_deref().map(|quote| Box::new(quote.clipped(bytes)));
        Failure { message: self.message[..end].to_owned().into(), quote, ..self.clone() }
    }

    /// For people who use a client: what happened.
    pub fn message(&self) -> &str {
        self.quote.as_deref().and_then(Quote::words).unwrap_or(&self.message)
    }

    /// For the operator: what happened, and nothing of what the upstream said.
    pub fn for_the_log(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.message)
    }

    /// The upstream's own error object, if clients of the dialect read it as it is.
    pub fn own_body(&self) -> Option<&[u8]> {
        self.quote.as_deref().and_then(Quote::body)
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

    /// The status that a client reads in the stream, since it was given another.
    pub fn told_status(&self) -> Option<StatusCode> {
        self.untold
    }

    /// The status, where no head was promised to the client yet: the one that the upstream's error names, if it names
    /// one, else that of the cause.
    pub fn status(&self) -> StatusCode {
        let named = || self.quote.as_deref().and_then(Quote::status);
        self.untold.or_else(named).unwrap_or_else(|| self.cause.status())
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
                let message =
                    format!("an event of the upstream is larger than max_event_bytes ({limit} bytes)");
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
