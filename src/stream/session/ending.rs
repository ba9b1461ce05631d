//! How a session comes to its outcome: what a clean end means, and how a broken one is told.

use std::time::Instant;

use http::StatusCode;

use super::super::quote::{self, Quote};
use super::super::times::Awaited;
use super::super::{Cause, End, Failure, Out, Outcome, Phase, Stats};
use super::{Session, State};
use crate::format::{Format, NDJSON};

impl Session {
    pub(super) fn judge_clean_end(&mut self, now: Instant, out: &mut Out) {
        if let Some(failure) = self.told_first(out) {
            return self.fail(failure, now, out);
        }
        let watch = &self.writer.watch;
        if watch.told_error() {
            self.end(Outcome::new(Cause::UpstreamError, Phase::End), End::Clean, out);
        } else if watch.lacks_finish() {
            let message = "the upstream's stream ended before its answer was finished";
            self.fail(Failure::new(Cause::UpstreamTruncated, message), now, out);
        } else if watch.lacks_everything() {
            let message = "the upstream answered a stream request with no event";
            self.fail(Failure::new(Cause::UpstreamEmpty, message), now, out);
        } else {
            self.end(Outcome::DONE, End::Clean, out);
        }
    }

    /// What to do with bytes that are no known stream: reads them in the format that was promised, if one was, lets them
    /// pass, or refuses them.
    pub(super) fn judge_unknown(&self) -> Result<Option<&'static Format>, Failure> {
        let State::Sniffing { gate, .. } = &self.state else { return Ok(None) };
        if let Some(format) = self.promised() {
            return Ok(Some(format));
        }
        if quote::is_error(gate.text()) {
            return Err(self.quoting(b"", gate.text(), None));
        }
        match gate.text().first() {
            _ if !self.early => Ok(None),
            // One complete answer in place of a stream of it: one event.
            Some(b'{' | b'[') => Ok(Some(&NDJSON)),
            _ => {
                let message = "the upstream answered a stream request with what is no stream";
                Err(Failure::new(Cause::UpstreamMalformed, message))
            }
        }
    }

    /// The failure that the stream tells in place of an answer, while the client can still be given its status.
    pub(super) fn told_first(&mut self, out: &Out) -> Option<Failure> {
        let (name, data) = self.writer.first.as_mut()?.take_error()?;
        Some(self.quoting(&name, &data, quote::status_line(&out.bytes)))
    }

    /// An error of the upstream's in its own words. Its refusal of the route's credential is not the client's to read.
    fn quoting(&self, name: &[u8], text: &[u8], status: Option<StatusCode>) -> Failure {
        let quote = Quote::of(name, text, self.writer.watch.dialect()).or_status(status);
        if self.injects && matches!(quote.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) {
            return Failure::new(Cause::UpstreamAuth, "the upstream refused the proxy's credential");
        }
        Failure::quoting(Cause::UpstreamError, "the upstream told an error in place of an answer", quote)
    }

    /// Ends the stream honestly: refused while nothing was promised, with the dialect's error event where there
    /// is one, cut otherwise. What was already complete, or already told, is not told again.
    pub(super) fn fail(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        self.note_gap(now);
        let failure = self.answered_badly().unwrap_or(failure);
        if self.lacks_answer() || !self.is_reframed() && !matches!(self.state, State::Passing) {
            return self.refuse(failure, out);
        }
        let mut outcome = failure.outcome(self.phase());
        let end = match &self.state {
            State::Passing if !self.early => End::Abort,
            _ if self.writer.watch.told_error_last() => {
                outcome = Outcome::new(Cause::UpstreamError, Phase::End);
                End::Clean
            }
            // The answer was whole before it broke; the failure stays as a note.
            _ if self.writer.watch.is_over() => {
                outcome = Outcome::DONE;
                End::Clean
            }
            _ => match self.writer.watch.dialect().and_then(|dialect| dialect.told(&failure)) {
                Some(event) => {
                    out.bytes.extend_from_slice(event.as_bytes());
                    self.writer.wrote(now, out);
                    End::Clean
                }
                None => End::Abort,
            },
        };
        self.failure = Some(failure);
        self.end(outcome, end, out);
    }

    /// Ends it before anything was promised: nothing of what was held back leaves.
    fn refuse(&mut self, failure: Failure, out: &mut Out) {
        let Stats { longest_gap, repaired, lying_label, .. } = self.stats();
        (self.held, self.writer.first, self.state) = (None, None, State::Refused);
        out.clear();
        self.writer.stats = Stats { longest_gap, repaired, lying_label, ..Stats::default() };
        let outcome = failure.outcome(self.phase());
        self.failure = Some(failure);
        self.end(outcome, End::Abort, out);
    }

    pub(super) fn end(&mut self, outcome: Outcome, end: End, out: &mut Out) {
        self.outcome = Some(outcome);
        out.end = Some(end);
    }

    pub(super) fn phase(&self) -> Phase {
        match &self.state {
            State::Waiting(waiting) => waiting.phase,
            _ if self.writer.stats.first_event.is_some() => Phase::Body,
            _ => Phase::FirstEvent,
        }
    }

    /// Whether the head is held back, and nothing was seen that could be an answer.
    pub(super) fn lacks_answer(&self) -> bool {
        self.writer.first.as_ref().is_some_and(|first| !first.answer)
    }

    /// What is still awaited; a body that passes has no events.
    pub(super) fn awaited(&self) -> Awaited {
        let may_come = !matches!(self.state, State::Passing | State::Waiting(_));
        Awaited {
            event: may_come && self.writer.stats.first_event.is_none(),
            content: may_come && self.writer.watch.awaits_content(),
        }
    }
}
