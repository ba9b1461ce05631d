//! One response on its way from an upstream to a client.

use std::time::{Duration, Instant};

use crate::bridge::sse as bridge;
use crate::codec::charset::{Charset, Transcode};
use crate::codec::coding::{self, Decoder};
use crate::codec::mask::Mask;
use crate::codec::{Decode, Options};
use crate::dialect::Dialect;
use crate::format::{Format, SSE};

use super::gate::{Gate, Label, Verdict};
use super::times::{Awaited, Times};
use super::watch::Watch;
use super::writer::Writer;
use super::{Cause, Commit, End, Failure, Mode, Out, Outcome, Phase, Plan, Share, Stats, Wanted};

/// One response, from its head to exactly one [`Outcome`].
///
/// Calls may come in any order; after the outcome is there, further calls do nothing.
#[derive(Debug)]
pub struct Session {
    state: State,
    is_error: bool,
    writer: Writer,
    /// Takes the codings of the body off.
    coded: Option<Decoder>,
    /// What was pushed into it may hold more: [`Session::go_on`] before more input.
    behind: bool,
    /// The body was complete while its decoding was behind.
    ended: bool,
    mask: Option<Mask>,
    share: Share,
    options: Options,
    charset: Option<Charset>,
    times: Times,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
}

#[derive(Debug)]
enum State {
    Sniffing { gate: Gate, label: Label, wanted: Wanted },
    Passing,
    Reframing { format: &'static Format, decoder: Box<dyn Decode> },
    Refused,
}

impl Session {
    /// A session at the response head.
    pub fn new(plan: Plan, now: Instant) -> Self {
        let options = Options { limit: plan.max_event_bytes, repairs: plan.repairs, literal: plan.literal };
        let times = Times::new(&plan, now);
        let watch = Watch::new(plan.dialect, plan.known_ai);
        let state = match plan.mode {
            Mode::PassThrough => State::Passing,
            Mode::Reframe(format) => reframing(format, options, plan.charset),
            Mode::Sniff(label, wanted) => State::Sniffing { gate: Gate::new(label), label, wanted },
        };
        Session {
            state,
            is_error: plan.is_error,
            writer: Writer::new(watch, plan.repairs, plan.shapes.as_deref(), now),
            coded: plan.coding.map(Decoder::new),
            behind: false,
            ended: false,
            mask: plan.mask,
            share: plan.share,
            options,
            charset: plan.charset,
            times,
            outcome: None,
            failure: None,
        }
    }

    /// What head the client is to be given; `None` while that is open.
    pub fn commit(&self) -> Option<Commit> {
        match &self.state {
            State::Sniffing { .. } => self.promised().map(Commit::Reframe),
            State::Passing => Some(Commit::PassThrough),
            State::Reframing { format, .. } => Some(Commit::Reframe(format)),
            State::Refused => self.failure.clone().map(Commit::Refuse),
        }
    }

    /// How many bytes [`Session::input`] should be given at the most: those of a coded body are held until they are
    /// decoded.
    pub fn bite(&self) -> usize {
        if self.coded.is_some() { CODED_BITE_BYTES } else { usize::MAX }
    }

    /// The upstream sent these body bytes.
    pub fn input(&mut self, bytes: &[u8], now: Instant, out: &mut Out) {
        if self.outcome.is_some() || bytes.is_empty() {
            return;
        }
        self.note_gap(now);
        self.times.input(now);
        if let Some(coded) = &mut self.coded {
            coded.push(bytes);
            self.behind = true;
            return self.go_on(now, out);
        }
        self.take(bytes, now, out);
        self.enforce_bounds(now, out);
    }

    /// Whether [`Session::go_on`] is to be called before there is more input: once the client has taken what is there.
    pub fn is_behind(&self) -> bool {
        self.behind && self.outcome.is_none()
    }

    /// Decodes more of what a coded body has brought, 64 KiB at the most: so what it blows up to waits in its coding.
    pub fn go_on(&mut self, now: Instant, out: &mut Out) {
        let (mut piece, mut decoded) = ([0; PIECE_BYTES], 0);
        while decoded < TURN_BYTES && self.is_behind() {
            let Some(coded) = &mut self.coded else { return };
            match coded.pull(&mut piece) {
                Ok(0) => self.behind = false,
                Ok(length) => {
                    decoded += length;
                    self.take(&piece[..length], now, out);
                }
                Err(error) => {
                    let cause = match error {
                        coding::Error::Corrupt => Cause::UpstreamMalformed,
                        coding::Error::Window { .. } => Cause::UpstreamCodingWindow,
                        coding::Error::Ratio => Cause::UpstreamCodingRatio,
                    };
                    self.fail(Failure::new(cause, error.to_string()), now, out);
                }
            }
        }
        self.enforce_bounds(now, out);
        if self.ended && !self.behind {
            self.upstream_ended(now, out);
        }
    }

    /// An upstream that never pauses must not outlive a bound: ticks come only in its pauses.
    fn enforce_bounds(&mut self, now: Instant, out: &mut Out) {
        self.keep_shapes(now, out);
        if let Some((cause, after)) =
            self.times.expired(now, self.awaited()).filter(|_| self.outcome.is_none())
        {
            self.expire(cause, after, now, out);
        }
    }

    /// Hands out what shapes held back until now, and closes a stream of which all was said.
    fn keep_shapes(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_none() && self.writer.wakes_at().is_some_and(|at| now >= at) {
            self.writer.tick(now, out);
            if self.writer.closes_at().is_some_and(|at| now >= at) {
                self.judge_clean_end(now, out);
            }
        }
    }

    fn expire(&mut self, cause: Cause, after: Duration, now: Instant, out: &mut Out) {
        let name = cause.what().trim_start_matches("timeout_");
        self.fail(Failure::new(cause, format!("timeout {name} ({after:?}) ran out")), now, out);
    }

    /// The upstream's body is complete by its own framing.
    pub fn upstream_ended(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        if self.behind {
            self.ended = true;
            return;
        }
        if self.coded.as_ref().is_some_and(|coded| !coded.is_whole()) {
            let message = "the upstream's coded body ended in the middle";
            return self.fail(Failure::new(Cause::UpstreamTruncated, message), now, out);
        }
        if let State::Sniffing { gate, .. } = &self.state {
            if gate.text().is_empty() && self.promised().is_none() {
                let message = "the upstream answered a stream request with an empty body";
                return self.fail(Failure::new(Cause::UpstreamEmpty, message), now, out);
            }
            self.decide(gate.end(), now, out);
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
            let writer = &mut self.writer;
            match decoder.finish(&mut |item| writer.tail(item, now, out)) {
                Ok(()) => self.judge_clean_end(now, out),
                Err(error) => self.fail(Failure::from(error), now, out),
            }
        }
    }

    /// The upstream's body broke off, or a bound of tidegate's ended it.
    pub fn upstream_failed(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        if self.outcome.is_none() {
            self.flush(now, out);
            self.fail(failure, now, out);
        }
    }

    /// Time has come to `now`: writes a heartbeat, or ends the stream, if one is due. Returns when to call
    /// again at the latest. Any other call may move that later, never earlier, but the one that
    /// [commits](Session::commit), or leaves an event [ripe](Session::is_ripening): call again then.
    pub fn tick(&mut self, now: Instant, out: &mut Out) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        if self.times.ripe_at.is_some_and(|at| now >= at) {
            self.flush(now, out);
        }
        self.keep_shapes(now, out);
        if self.outcome.is_some() {
            return None;
        }
        if let Some((cause, after)) = self.times.expired(now, self.awaited()) {
            self.expire(cause, after, now, out);
            return None;
        }
        if self.is_reframed() && self.times.wants_heartbeat(now, self.writer.last_write) {
            let own = self.writer.watch.dialect().and_then(|dialect| dialect.heartbeat);
            out.bytes.extend_from_slice(own.map_or(bridge::HEARTBEAT, str::as_bytes));
            self.writer.wrote(now, out);
        }
        let last_write = self.is_reframed().then_some(self.writer.last_write);
        let deadline = self.times.deadline(self.awaited(), last_write);
        [deadline, self.writer.wakes_at()].into_iter().flatten().min()
    }

    /// Whether something is to happen soon: an event is held back that lacks only a sign that it is over, or that waits
    /// for more of its text; or the stream is to be closed behind its end marker.
    pub fn is_ripening(&self) -> bool {
        self.times.ripe_at.is_some() || self.writer.wakes_at().is_some()
    }

    /// Running streams must end now: the `drain` timeout ran out, or tidegate was told not to wait for it.
    pub fn drain(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_none() {
            self.flush(now, out);
            let message = "the proxy is shutting down and could not wait for the end of the stream";
            self.fail(Failure::new(Cause::TidegateDrain, message), now, out);
        }
    }

    /// The client's connection or stream is gone, or was given up.
    pub fn client_gone(&mut self, cause: Cause, now: Instant) {
        if self.outcome.is_none() {
            self.note_gap(now);
            self.outcome = Some(Outcome::new(cause, self.phase()));
        }
    }

    /// How the request ended; `None` while it runs.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The dialect as far as it is known; `None` for a body that passes.
    pub fn dialect(&self) -> Option<&'static Dialect> {
        self.is_reframed().then(|| self.writer.watch.dialect()).flatten()
    }

    /// The format that the upstream's stream is in; `None` for a body that passes.
    pub fn format(&self) -> Option<&'static Format> {
        if let State::Reframing { format, .. } = &self.state { Some(format) } else { self.promised() }
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.writer.stats;
        if let State::Reframing { decoder, .. } = &self.state {
            stats.repaired = stats.repaired.plus(decoder.repaired());
        }
        stats
    }

    fn note_gap(&mut self, now: Instant) {
        self.writer.stats.longest_gap = self.writer.stats.longest_gap.max(self.times.gap(now));
    }

    /// The format that the label promises, while the bytes have not said otherwise: whatever they are, the client gets
    /// events.
    fn promised(&self) -> Option<&'static Format> {
        match &self.state {
            State::Sniffing { label: Label::Format(format), wanted: Wanted::Events, .. } => Some(format),
            _ => None,
        }
    }

    /// Whether the client is sent events.
    fn is_reframed(&self) -> bool {
        matches!(self.state, State::Reframing { .. }) || self.promised().is_some()
    }

    /// Decoded bytes of the body.
    fn take(&mut self, bytes: &[u8], now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        match &mut self.state {
            State::Sniffing { gate, .. } => {
                let verdict = gate.push(bytes);
                self.decide(verdict, now, out);
            }
            State::Passing => {
                match &mut self.mask {
                    Some(mask) => mask.push(bytes, &mut out.bytes),
                    None => out.bytes.extend_from_slice(bytes),
                }
                self.writer.passed(now, out);
            }
            State::Reframing { decoder, .. } => {
                let writer = &mut self.writer;
                let result = decoder.decode(bytes, &mut |item| writer.item(item, now, out));
                let ripe = result.is_ok() && decoder.held() > 0 && decoder.is_ripe();
                self.times.ripe(ripe, now);
                if let Err(error) = result {
                    return self.fail(Failure::from(error), now, out);
                }
            }
            State::Refused => {}
        }
        self.account(now, out);
    }

    /// Counts what is held back for this stream: an unfinished event, and what its codings need.
    fn account(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        let carried = match &self.state {
            State::Reframing { decoder, .. } => decoder.held() + self.writer.held(),
            _ => 0,
        };
        let limit = self.options.limit;
        if self.writer.held() > limit {
            let message =
                format!("the text that to_delta or to_full keeps is larger than max_event_bytes ({limit})");
            return self.fail(Failure::new(Cause::UpstreamEventTooLarge, message), now, out);
        }
        if !self.share.hold(carried + self.coded.as_ref().map_or(0, Decoder::held)) {
            let message =
                "what is held back for all streams (unfinished events, coded bodies) exceeds max_carry_total";
            self.fail(Failure::new(Cause::TidegateCarryExhausted, message), now, out);
        }
    }

    /// Hands out the event that is ripe, if one is.
    fn flush(&mut self, now: Instant, out: &mut Out) {
        if let (Some(_), State::Reframing { decoder, .. }) = (self.times.ripe_at.take(), &mut self.state) {
            let writer = &mut self.writer;
            decoder.flush(&mut |item| writer.item(item, now, out));
        }
    }

    /// Leaves the gate, or waits on.
    fn decide(&mut self, verdict: Verdict, now: Instant, out: &mut Out) {
        let format = match verdict {
            Verdict::More => return,
            Verdict::Html => {
                let message = "the upstream answered a stream request with an HTML page";
                return self.fail(Failure::new(Cause::UpstreamHtml, message), now, out);
            }
            Verdict::Pass => self.promised(),
            Verdict::Stream(format) => Some(format),
        };
        let state = std::mem::replace(&mut self.state, State::Passing);
        let State::Sniffing { gate, label, wanted } = state else { return self.state = state };
        match format.filter(|format| **format == SSE || wanted == Wanted::Events) {
            Some(format) => {
                self.writer.stats.lying_label = Some(label).filter(|label| !label.is_true_of(format));
                self.state = reframing(format, self.options, self.charset);
                self.take(gate.text(), now, out);
            }
            None => self.take(&gate.into_held(), now, out),
        }
    }

    fn judge_clean_end(&mut self, now: Instant, out: &mut Out) {
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
            self.writer.finish(now, out);
            self.end(Outcome::DONE, End::Clean, out);
        }
    }

    /// Ends the stream honestly: refused while nothing was promised, with the dialect's error event where there
    /// is one, cut otherwise. What was already complete, or already told, is not told again.
    fn fail(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        self.note_gap(now);
        let mut outcome = failure.outcome(self.phase());
        self.writer.flush(now, out);
        let end = match &self.state {
            State::Passing => End::Abort,
            _ if !self.is_reframed() => {
                self.state = State::Refused;
                End::Abort
            }
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

    fn end(&mut self, outcome: Outcome, end: End, out: &mut Out) {
        self.outcome = Some(outcome);
        out.end = Some(end);
    }

    fn phase(&self) -> Phase {
        if self.writer.stats.first_event.is_some() { Phase::Body } else { Phase::FirstEvent }
    }

    /// What is still awaited; a body that passes has no events.
    fn awaited(&self) -> Awaited {
        let may_come = !matches!(self.state, State::Passing);
        Awaited {
            event: may_come && self.writer.stats.first_event.is_none(),
            content: may_come && self.writer.watch.awaits_content(),
        }
    }
}

fn reframing(format: &'static Format, options: Options, charset: Option<Charset>) -> State {
    let decoder = (format.decoder)(options);
    let decoder = match charset {
        Some(charset) => Box::new(Transcode::new(charset, decoder)),
        None => decoder,
    };
    State::Reframing { format, decoder }
}

/// Input of a coded body that is taken at a time.
const CODED_BITE_BYTES: usize = 16 << 10;

/// What is decoded of a coded body before the client must have taken what there is.
const TURN_BYTES: usize = 64 << 10;

/// What is decoded at a time.
const PIECE_BYTES: usize = 8 << 10;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
