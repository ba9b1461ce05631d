//! Why a stream broke, in the words that a client and a log are told.

use std::borrow::Cow;

use http::StatusCode;

use super::{Outcome, Phase, Who};
use crate::codec;

/// A broken stream, or a request that never became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    who: Who,
    what: &'static str,
    message: Cow<'static, str>,
}

impl Failure {
    /// `what` is one snake_case word (`truncated`, `timeout_event_gap`); `message` is for people, without secrets.
    pub fn new(who: Who, what: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Failure { who, what, message: message.into() }
    }

    /// For people: what happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For programs: who is at fault.
    pub fn kind(&self) -> &'static str {
        match self.who {
            Who::Upstream => "upstream_error",
            Who::Client => "invalid_request_error",
            Who::Tidegate | Who::Nobody => "tidegate_error",
        }
    }

    /// For programs: what happened, such as `upstream_truncated`; what the client did wrong has no prefix
    /// (`invalid_api_key`), as it has none in other servers' answers.
    pub fn code(&self) -> String {
        match self.who {
            Who::Upstream => format!("upstream_{}", self.what),
            Who::Client => self.what.to_owned(),
            Who::Tidegate | Who::Nobody => format!("tidegate_{}", self.what),
        }
    }

    /// The outcome of a request that failed so in this phase.
    pub fn outcome(&self, phase: Phase) -> Outcome {
        Outcome { who: self.who, what: self.what, phase }
    }

    /// The status, where no head was promised to the client yet.
    pub fn status(&self) -> StatusCode {
        match self.who {
            Who::Upstream if self.what.starts_with("timeout_") => StatusCode::GATEWAY_TIMEOUT,
            Who::Upstream => StatusCode::BAD_GATEWAY,
            Who::Client if self.what.starts_with("timeout_") => StatusCode::REQUEST_TIMEOUT,
            Who::Client if self.what == "request_body_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            Who::Client => StatusCode::BAD_REQUEST,
            Who::Tidegate | Who::Nobody if self.what.starts_with("timeout_") => StatusCode::GATEWAY_TIMEOUT,
            Who::Tidegate | Who::Nobody => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<codec::Error> for Failure {
    fn from(error: codec::Error) -> Self {
        match error {
            codec::Error::TooLarge { limit } => {
                let message = format!("an event of the upstream is larger than max_event_bytes ({limit})");
                Failure::new(Who::Upstream, "event_too_large", message)
            }
            codec::Error::Malformed { what } => Failure::new(
                Who::Upstream,
                "malformed",
                format!("the upstream sent what cannot be decoded: {what}"),
            ),
            codec::Error::Truncated => {
                Failure::new(Who::Upstream, "truncated", "the upstream's stream ended in the middle")
            }
        }
    }
}
