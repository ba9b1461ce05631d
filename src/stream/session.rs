//! One response on its way from an upstream to a client.

use std::time::{Duration, Instant};

use crate::bridge::sse as bridge;
use crate::codec::Decode;
use crate::codec::coding::{self, Decoder};
use crate::codec::mask::Mask;
use crate::dialect::Dialect;
use crate::format::{Format, SSE};

use super::gate::{Gate, Verdict};
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
    bounds: Bounds,
    started: Instant,
    last_input: Instant,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
}

#[derive(Debug)]
enum State {
    Sniffing { gate: Gate, wanted: Wanted },
    Passing,
    Reframing { format: &'static Format, decoder: Box<dyn Decode> },
    Refused,
}

#[derive(Debug)]
struct Bounds {
    heartbeat: Option<Duration>,
    first_event: Option<Duration>,
    event_gap: Option<Duration>,
    total: Option<(Instant, Duration)>,
    max_event_bytes: usize,
}

impl Session {
    /// A session at the response head.
    pub fn new(plan: Plan, now: Instant) -> Self {
        let state = match plan.mode {
            Mode::PassThrough => State::Passing,
            Mode::Reframe(format) => reframing(format, plan.max_event_bytes),
            Mode::Sniff(label, wanted) => State::Sniffing { gate: Gate::new(label), wanted },
        };
        Session {
            state,
            is_error: plan.is_error,
            writer: Writer::new(plan.dialect, plan.known_ai, now),
            coded: plan.coding.map(Decoder::new),
            behind: false,
            ended: false,
            mask: plan.mask,
            share: plan.share,
            bounds: Bounds {
                heartbeat: plan.heartbeat,
                first_event: plan.first_event,
                event_gap: plan.event_gap,
                total: plan.total,
                max_event_bytes: plan.max_event_bytes,
            },
            started: now,
            last_input: now,
            outcome: None,
            failure: None,
        }
    }

    /// What head the client is to be given; `None` while that is open.
    pub fn commit(&self) -> Option<Commit> {
        match &self.state {
            State::Sniffing { .. } => None,
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
        self.last_input = now;
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
        if let Some((cause, after)) = self.expired(now).filter(|_| self.outcome.is_none()) {
            self.expire(cause, after, now, out);
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
            if gate.text().is_empty() {
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
            decoder.finish(&mut |item| writer.tail(item, now, out));
            self.judge_clean_end(now, out);
        }
    }

    /// The upstream's body broke off, or a bound of tidegate's ended it.
    pub fn upstream_failed(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        if self.outcome.is_none() {
            self.fail(failure, now, out);
        }
    }

    /// Time has come to `now`: writes a heartbeat, or ends the stream, if one is due. Returns when to call
    /// again at the latest. Any other call may move that later, never earlier, but the one that
    /// [commits](Session::commit): call again then.
    pub fn tick(&mut self, now: Instant, out: &mut Out) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        if let Some((cause, after)) = self.expired(now) {
            self.expire(cause, after, now, out);
            return None;
        }
        if let (State::Reframing { .. }, Some(silence)) = (&self.state, self.bounds.heartbeat)
            && now >= self.writer.last_write + silence
        {
            out.bytes.extend_from_slice(bridge::HEARTBEAT);
            self.writer.wrote(now, out);
        }
        self.deadline()
    }

    /// Running streams must end now: the `drain` timeout ran out, or tidegate was told not to wait for it.
    pub fn drain(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_none() {
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
        matches!(self.state, State::Reframing { .. }).then(|| self.writer.watch.dialect()).flatten()
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.writer.stats
    }

    fn note_gap(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last_input);
        self.writer.stats.longest_gap = self.writer.stats.longest_gap.max(gap);
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
                if let Err(too_large) = decoder.decode(bytes, &mut |item| writer.item(item, now, out)) {
                    let message = format!(
                        "an event of the upstream is larger than max_event_bytes ({})",
                        too_large.limit
                    );
                    return self.fail(Failure::new(Cause::UpstreamEventTooLarge, message), now, out);
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
            State::Reframing { decoder, .. } => decoder.held(),
            _ => 0,
        };
        if !self.share.hold(carried + self.coded.as_ref().map_or(0, Decoder::held)) {
            let message =
                "what is held back for all streams (unfinished events, coded bodies) exceeds max_carry_total";
            self.fail(Failure::new(Cause::TidegateCarryExhausted, message), now, out);
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
            Verdict::Pass => None,
            Verdict::Stream(format) => Some(format),
        };
        let state = std::mem::replace(&mut self.state, State::Passing);
        let State::Sniffing { gate, wanted } = state else { return self.state = state };
        match format.filter(|format| **format == SSE || wanted == Wanted::Events) {
            Some(format) => {
                self.state = reframing(format, self.bounds.max_event_bytes);
                self.take(gate.text(), now, out);
            }
            None => self.take(&gate.into_held(), now, out),
        }
    }

    fn judge_clean_end(&mut self, now: Instant, out: &mut Out) {
        let watch = &self.writer.watch;
        if watch.told_error() {
            self.end(Outcome::new(Cause::UpstreamError, Phase::End), End::Clean, out);
        } else if watch.lacks_finish() {
            let message = "the upstream's stream ended before its answer was finished";
            self.fail(Failure::new(Cause::UpstreamTruncated, message), now, out);
        } else if self.writer.stats.events == 0 && watch.expects_events() {
            let message = "the upstream answered a stream request with no event";
            self.fail(Failure::new(Cause::UpstreamEmpty, message), now, out);
        } else {
            self.end(Outcome::DONE, End::Clean, out);
        }
    }

    /// Ends the stream honestly: refused while nothing was promised, with the dialect's error event where there
    /// is one, cut otherwise. What was already complete, or already told, is not told again.
    fn fail(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        self.note_gap(now);
        let mut outcome = failure.outcome(self.phase());
        let end = match &self.state {
            State::Sniffing { .. } | State::Refused => {
                self.state = State::Refused;
                End::Abort
            }
            State::Passing => End::Abort,
            State::Reframing { .. } if self.writer.watch.told_error_last() => {
                outcome = Outcome::new(Cause::UpstreamError, Phase::End);
                End::Clean
            }
            // The answer was whole before it broke; the failure stays as a note.
            State::Reframing { .. } if self.writer.watch.is_over() => {
                outcome = Outcome::DONE;
                End::Clean
            }
            State::Reframing { .. } => match self.writer.watch.dialect() {
                Some(dialect) => {
                    bridge::error(&(dialect.error)(&failure), &mut out.bytes);
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

    /// Whether the first event is still awaited; a body that passes has no events.
    fn awaits_event(&self) -> bool {
        !matches!(self.state, State::Passing) && self.writer.stats.first_event.is_none()
    }

    fn expired(&self, now: Instant) -> Option<(Cause, Duration)> {
        let since = |start: Instant, bound: Option<Duration>| bound.filter(|bound| now >= start + *bound);
        if let Some((deadline, after)) = self.bounds.total
            && now >= deadline
        {
            return Some((Cause::TidegateTimeoutTotal, after));
        }
        if let Some(after) = since(self.last_input, self.bounds.event_gap) {
            return Some((Cause::UpstreamTimeoutEventGap, after));
        }
        if self.awaits_event()
            && let Some(after) = since(self.started, self.bounds.first_event)
        {
            return Some((Cause::UpstreamTimeoutFirstEvent, after));
        }
        None
    }

    fn deadline(&self) -> Option<Instant> {
        let reframing = matches!(self.state, State::Reframing { .. });
        [
            self.bounds.total.map(|(deadline, _)| deadline),
            self.bounds.event_gap.map(|gap| self.last_input + gap),
            self.bounds.first_event.filter(|_| self.awaits_event()).map(|bound| self.started + bound),
            self.bounds.heartbeat.filter(|_| reframing).map(|silence| self.writer.last_write + silence),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn reframing(format: &'static Format, limit: usize) -> State {
    State::Reframing { format, decoder: (format.decoder)(limit) }
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
