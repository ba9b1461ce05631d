//! How a session comes to its outcome: what a clean end means, and how a broken one is told.

use std::time::Instant;

use super::super::gate::Label;
use super::super::times::Awaited;
use super::super::{Cause, End, Failure, Out, Outcome, Phase, Stats, Wanted};
use super::{Session, State};

impl Session {
    /// The body is complete, and all of it was taken off its codings, if that can be done.
    pub(super) fn finish(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        if self.coded.as_ref().is_some_and(|coded| !coded.is_whole()) {
            let message = "the upstream's coded body ended in the middle";
            return self.fail(Failure::new(Cause::UpstreamTruncated, message), now, out);
        }
        if let State::Telling(_) = &self.state {
            return self.tell(now, out);
        }
        if let State::Sniffing { gate, label, wanted, .. } = &self.state {
            let is_empty = gate.text().is_empty() && self.promised().is_none();
            let was_stream = *wanted != Wanted::Answer || matches!(label, Label::Format(_));
            if is_empty && was_stream && self.writer.watch.lacks_everything() {
                let message = "the upstream answered a stream request with an empty body";
                return self.fail(Failure::new(Cause::UpstreamEmpty, message), now, out);
            }
            let verdict = gate.end();
            self.decide(verdict, now, out);
            if self.outcome.is_some() {
                return;
            }
        }
        if let State::Collecting { .. } = &self.state {
            self.take_apart(now, out);
        }
        if let State::Passing = &self.state {
            if let Some(mask) = &mut self.mask {
                mask.finish(&mut out.bytes);
                self.writer.passed(now, out);
            }
            let error = Outcome::new(Cause::UpstreamStatus, Phase::End);
            return self.end(if self.is_error { error } else { Outcome::DONE }, End::Clean, out);
        }
        if let State::Reframing { decoder, .. } = &mut self.state {
            let (writer, before) = (&mut self.writer, decoder.repaired().count);
            let result = decoder.finish(&mut |item| writer.tail(item, now, out));
            writer.tail_ended(decoder.repaired().count - before, decoder.is_cut());
            match result {
                Ok(()) => self.judge_clean_end(now, out),
                Err(error) => self.fail(Failure::from(error), now, out),
            }
        }
    }

    pub(super) fn judge_clean_end(&mut self, now: Instant, out: &mut Out) {
        if let Some(failure) = self.told_first(out) {
            return self.fail(failure, now, out);
        }
        let watch = &self.writer.watch;
        // An error with more of the answer behind it was not the end: then the answer must have one.
        let told = watch.told_error_last() || watch.told_error() && !watch.lacks_finish();
        if told || self.writer.ends_with_error() {
            self.writer.flush(now, out);
            self.end(Outcome::new(Cause::UpstreamError, Phase::End), End::Clean, out);
        } else if watch.lacks_finish() || self.writer.has_dropped_json() && !watch.is_over() {
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
        let mut failure = failure;
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
            _ => self.tell_of(&mut failure, now, out),
        };
        self.failure = Some(Box::new(failure));
        self.end(outcome, end, out);
    }

    /// Ends a stream with the event that tells of a failure, or cuts it where there is none. A stream that consists of that event
    /// is what the client gets in place of a status; one whose answer has begun is not, whatever of it was left out.
    fn tell_of(&mut self, failure: &mut Failure, now: Instant, out: &mut Out) -> End {
        let has_begun = self.writer.stats.events > 0 || self.writer.watch.has_begun();
        let is_alone = !has_begun && (self.early || self.in_band.is_some());
        if !is_alone {
            return if self.writer.tell(failure, None, now, out) { End::Clean } else { End::Abort };
        }
        let told = failure.clone().in_place_of(failure.status());
        if !self.writer.tell(&told, self.in_band, now, out) {
            return End::Abort;
        }
        *failure = told;
        self.writer.told_alone(self.in_band, now, out);
        End::Clean
    }

    /// Ends it before anything was promised: nothing of what was held back leaves.
    pub(super) fn refuse(&mut self, failure: Failure, out: &mut Out) {
        let format = self.format();
        let Stats { longest_gap, repaired, lying_label, .. } = self.stats();
        (self.held, self.writer.first, self.state) = (None, None, State::Refused { format });
        out.clear();
        self.writer.stats = Stats { longest_gap, repaired, lying_label, ..Stats::default() };
        let outcome = failure.outcome(self.phase());
        self.failure = Some(Box::new(failure));
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
