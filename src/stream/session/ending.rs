//! How a session comes to its outcome: what a clean end means, and how a broken one is told.

use std::time::Instant;

use super::super::times::Awaited;
use super::super::{Cause, End, Failure, Out, Outcome, Phase, Stats};
use super::{Session, State};

impl Session {
    pub(super) fn judge_clean_end(&mut self, now: Instant, out: &mut Out) {
        if let Some(failure) = self.told_first(out) {
            return self.fail(failure, now, out);
        }
        let watch = &self.writer.watch;
        if watch.told_error() {
            self.writer.flush(now, out);
            self.end(Outcome::new(Cause::UpstreamError, Phase::End), End::Clean, out);
        } else if watch.lacks_finish() {
            let message = "the upstream's stream ended before its answer was finished";
            self.fail(Failure::new(Cause::UpstreamTruncated, message), now, out);
        } else if watch.lacks_everything() {
            let message = "the upstream answered a stream request with no event";
            self.fail(Failure::new(Cause::UpstreamEmpty, message), now, out);
        } else {
            match self.writer.finish(now, out) {
                Ok(()) => self.end(Outcome::DONE, End::Clean, out),
                Err(failure) => self.refuse(failure, out),
            }
        }
    }

    /// Ends the stream honestly: refused while nothing was promised, with the dialect's error event where there
    /// is one, cut otherwise. What was already complete, or already told, is not told again.
    pub(super) fn fail(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        self.note_gap(now);
        // What the upstream said of it comes before what became of the stream.
        let failure = self.answered_badly().or_else(|| self.told_first(out)).unwrap_or(failure);
        self.writer.flush(now, out);
        // A whole answer is one, however the stream ends behind it; with an error in it, it is none.
        let is_told = matches!(failure.cause(), Cause::UpstreamError | Cause::UpstreamAuth);
        let watch = &self.writer.watch;
        let has_gathered = self.writer.gathers() && watch.is_over() && !watch.told_error() && !is_told;
        if self.lacks_answer() && !has_gathered
            || !self.is_reframed() && !matches!(self.state, State::Passing)
        {
            return self.refuse(failure, out);
        }
        let failure = if self.early && self.writer.stats.events == 0 {
            let status = failure.status();
            failure.in_place_of(status)
        } else {
            failure
        };
        let mut outcome = failure.outcome(self.phase());
        let end = match &self.state {
            State::Passing if !self.early => End::Abort,
            _ if self.writer.watch.told_error_last() => {
                outcome = Outcome::new(Cause::UpstreamError, Phase::End);
                End::Clean
            }
            // The answer was whole before it broke; the failure stays as a note.
            _ if self.writer.watch.is_over() => {
                if let Err(failure) = self.writer.finish(now, out) {
                    return self.refuse(failure, out);
                }
                outcome = Outcome::DONE;
                End::Clean
            }
            _ if self.writer.tell(&failure, now, out) => End::Clean,
            _ => End::Abort,
        };
        self.failure = Some(failure);
        self.end(outcome, end, out);
    }

    /// Ends it before anything was promised: nothing of what was held back leaves.
    pub(super) fn refuse(&mut self, failure: Failure, out: &mut Out) {
        let format = self.format();
        let Stats { longest_gap, repaired, lying_label, .. } = self.stats();
        (self.held, self.writer.first, self.state) = (None, None, State::Refused { format });
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

    /// What is still awaited; a body that passes has no events.
    pub(super) fn awaited(&self) -> Awaited {
        let may_come = !matches!(self.state, State::Passing | State::Waiting(_));
        Awaited {
            event: may_come && self.writer.stats.first_event.is_none(),
            content: may_come && self.writer.watch.awaits_content(),
        }
    }
}
