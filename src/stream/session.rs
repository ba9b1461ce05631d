//! One response on its way from an upstream to a client.

mod body;
mod early;
mod ending;
mod judging;

use std::time::{Duration, Instant};

use crate::bridge::Bridge;
use crate::bridge::answer::{self, Answers};
use crate::codec::charset::{Charset, Transcode};
use crate::codec::coding::Decoder;
use crate::codec::mask::{Mask, Secrets};
use crate::codec::{Decode, Options};
use crate::dialect::Dialect;
use crate::format::{Format, SSE};

use super::gate::{Gate, Label};
use super::hold::{First, Held};
use super::times::Times;
use super::writer::Writer;
use super::{Cause, Commit, Failure, Hold, InBand, Mode, Out, Outcome, Plan, Share, Stats, Until, Wanted};

/// One response, from its head to exactly one [`Outcome`].
///
/// Calls may come in any order; after the outcome is there, further calls do nothing. What most streams never have, or have
/// at their beginning only, is in a box: there may be many thousands of them, and most are idle.
#[derive(Debug)]
pub struct Session {
    state: State,
    is_error: bool,
    /// The route injects a credential.
    injects: bool,
    /// The client was given the head of a stream before the upstream answered, or before it was known what it answered.
    early: bool,
    /// The client is told in streams what others read in a status.
    in_band: Option<InBand>,
    /// The head, and what waits with it, while it is held back.
    held: Option<Box<Held>>,
    writer: Writer,
    /// Takes the codings of the body off.
    coded: Option<Box<Decoder>>,
    /// What was pushed into it may hold more: [`Session::go_on`] before more input.
    behind: bool,
    /// The body was complete while its decoding was behind.
    ended: bool,
    /// Of an error that passes.
    mask: Option<Box<Mask>>,
    /// Not to be quoted.
    secrets: Secrets,
    share: Share,
    options: Options,
    charset: Option<Charset>,
    times: Times,
    outcome: Option<Outcome>,
    failure: Option<Box<Failure>>,
}

#[derive(Debug)]
enum State {
    Waiting(early::Waiting),
    /// A response that can only be told of, in a stream.
    Telling(Box<early::Telling>),
    Sniffing {
        gate: Box<Gate>,
        label: Label,
        wanted: Wanted,
        /// What a whole answer in place of the stream is read as, if it is to become one.
        fake: Option<&'static Answers>,
    },
    /// What may be a whole answer in place of a stream, until it is whole.
    Collecting {
        answers: &'static Answers,
        body: Vec<u8>,
    },
    Passing,
    Reframing {
        format: &'static Format,
        decoder: Box<dyn Decode>,
    },
    Refused {
        format: Option<&'static Format>,
    },
}

impl Session {
    /// A session at the response head.
    pub fn new(plan: Plan, now: Instant) -> Self {
        let options = Options { limit: plan.max_event_bytes, repairs: plan.repairs, literal: plan.literal };
        let times = Times::new(&plan, now);
        let mut writer = Writer::new(&plan, now);
        let until_the_end = writer.gathers().then_some(Hold { until: Until::End, within: Duration::ZERO });
        let hold = until_the_end.or(plan.hold);
        let hold = hold.filter(|_| matches!(plan.mode, Mode::Reframe(_) | Mode::Sniff(..)));
        writer.first = hold.map(First::new).map(Box::new);
        let state = match plan.mode {
            Mode::Await => State::Waiting(early::Waiting::default()),
            Mode::PassThrough => State::Passing,
            Mode::Tell(status) => State::Telling(Box::new(early::Telling::new(status, now))),
            Mode::Reframe(format) => reframing(format, options, plan.charset),
            Mode::Sniff(label, wanted) => {
                let gate = Box::new(Gate::new(label, wanted, writer.watch.dialect()));
                let may_fake = plan.fake_stream && label == Label::Json && wanted != Wanted::Answer;
                let fake = plan.dialect.filter(|_| may_fake).and_then(answer::of);
                State::Sniffing { gate, label, wanted, fake }
            }
        };
        // Where the route says what comes, the head waits for the first bytes no longer than a client for a heartbeat.
        let is_known = matches!(plan.mode, Mode::Sniff(Label::Json | Label::Other, Wanted::In(_)));
        let within = hold.map(|hold| hold.within).or(plan.heartbeat.filter(|_| is_known));
        Session {
            state,
            is_error: plan.is_error,
            injects: plan.injects,
            early: plan.mode == Mode::Await,
            held: within.map(|within| Box::new(Held::new((!writer.gathers()).then(|| now + within)))),
            in_band: plan.in_band,
            writer,
            coded: plan.coding.map(Decoder::new).map(Box::new),
            behind: false,
            ended: false,
            mask: plan.is_error.then(|| plan.secrets.mask()).flatten().map(Box::new),
            secrets: plan.secrets,
            share: plan.share,
            options,
            charset: plan.charset,
            times,
            outcome: None,
            failure: None,
        }
    }

    /// What head the client is to be given; `None` while that is open, and of a request that was answered early.
    pub fn commit(&self) -> Option<Commit> {
        match &self.state {
            State::Waiting(_) | State::Telling(_) => None,
            State::Collecting { .. } => None,
            _ if self.held.is_some() => None,
            State::Sniffing { .. } => self.promised().or(self.early.then_some(&SSE)).map(Commit::Reframe),
            State::Passing => Some(Commit::PassThrough),
            State::Reframing { .. } if self.writer.gathers() => Some(Commit::Answer(self.writer.stats.bytes)),
            State::Reframing { format, .. } => Some(Commit::Reframe(format)),
            State::Refused { .. } => self.failure.as_deref().cloned().map(Commit::Refuse),
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
        self.holding(now, out, |session, out| {
            if let Some(coded) = &mut session.coded {
                coded.push(bytes);
                session.behind = true;
                return session.decode_more(now, out);
            }
            session.take(bytes, now, out);
            session.enforce_bounds(now, out);
        });
    }

    /// Whether [`Session::go_on`] is to be called before there is more input: once the client has taken what is there.
    pub fn is_behind(&self) -> bool {
        self.behind && self.outcome.is_none()
    }

    /// Decodes more of what a coded body has brought, 64 KiB at the most: so what it blows up to waits in its coding.
    pub fn go_on(&mut self, now: Instant, out: &mut Out) {
        self.holding(now, out, |session, out| session.decode_more(now, out));
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
        self.holding(now, out, |session, out| session.finish(now, out));
    }

    /// The upstream's body is known to be empty, and the client was given no head yet: so it is given none of a stream
    /// that should have an answer in it. Otherwise as [`Session::upstream_ended`].
    pub fn upstream_empty(&mut self, now: Instant, out: &mut Out) {
        let lacks_all = !self.early && self.is_reframed() && self.writer.watch.lacks_everything();
        if self.outcome.is_some() || self.behind || !lacks_all {
            return self.upstream_ended(now, out);
        }
        let message = "the upstream answered a stream request with an empty body";
        self.refuse(Failure::new(Cause::UpstreamEmpty, message), out);
    }

    /// The upstream's body broke off, or a bound of tidegate's ended it.
    pub fn upstream_failed(&mut self, failure: Failure, now: Instant, out: &mut Out) {
        if self.outcome.is_none() {
            self.holding(now, out, |session, out| {
                session.flush(now, out);
                session.fail(failure, now, out);
            });
        }
    }

    /// Time has come to `now`: writes a heartbeat, or ends the stream, if one is due. Returns when to call
    /// again at the latest. Any other call may move that later, never earlier, but the one that
    /// [commits](Session::commit), brings the [answer](Session::answered), or says so
    /// ([`Session::wants_tick`]): call again then.
    pub fn tick(&mut self, now: Instant, out: &mut Out) -> Option<Instant> {
        // What was held back for long enough goes first; a heartbeat may follow it at once.
        self.holding(now, out, |_, _| ());
        let mut next = None;
        self.holding(now, out, |session, out| next = session.elapse(now, out));
        next
    }

    fn elapse(&mut self, now: Instant, out: &mut Out) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        if self.times.ripe_at.is_some_and(|at| now >= at) {
            self.flush(now, out);
            if let Some(failure) = self.told_first(out) {
                self.fail(failure, now, out);
            }
        }
        self.keep_shapes(now, out);
        if self.tells_at().is_some_and(|at| now >= at)
            && let Some(failure) = self.answered_badly()
        {
            self.fail(failure, now, out);
        }
        if self.outcome.is_some() {
            return None;
        }
        if let Some((cause, after)) = self.times.expired(now, self.awaited()) {
            self.expire(cause, after, now, out);
            return None;
        }
        if self.beats() && (self.opens() || self.times.wants_heartbeat(now, self.writer.last_write)) {
            self.writer.beat(now, out);
        }
        let last_write = self.beats().then_some(self.writer.last_write);
        let held_until = self.held.as_ref().and_then(|held| held.deadline).filter(|deadline| *deadline > now);
        let own = [held_until, self.writer.wakes_at(), self.tells_at()].into_iter().flatten().min();
        self.times.next(self.awaited(), last_write, own)
    }

    /// Whether the last call has moved what is due to earlier than the last tick said: an event is ripe, which lacks only
    /// a sign that it is over, or waits for more of its text; the stream is to be closed behind its end marker; or the
    /// first byte has come, from which on `event_gap` counts.
    pub fn wants_tick(&self) -> bool {
        self.times.is_hurried() || self.writer.wakes_at().is_some()
    }

    /// Running streams must end now: the `drain` timeout ran out, or tidegate was told not to wait for it.
    pub fn drain(&mut self, now: Instant, out: &mut Out) {
        let message = "the proxy is shutting down and could not wait for the end of the stream";
        self.upstream_failed(Failure::new(Cause::TidegateDrain, message), now, out);
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
        self.failure.as_deref()
    }

    /// The dialect as far as it is known; `None` for a body that passes.
    pub fn dialect(&self) -> Option<&'static Dialect> {
        let is_read = self.is_reframed() || matches!(self.state, State::Refused { .. });
        is_read.then(|| self.writer.watch.dialect()).flatten()
    }

    /// The format that the upstream's stream is in; `None` for a body that passes.
    pub fn format(&self) -> Option<&'static Format> {
        match &self.state {
            State::Reframing { format, .. } => Some(format),
            State::Refused { format } => *format,
            _ => self.promised(),
        }
    }

    /// How the client is written to; `None` for a body that passes.
    pub fn bridge(&self) -> Option<&'static Bridge> {
        self.is_reframed().then(|| self.writer.bridge())
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
        if let State::Waiting(_) = self.state {
            return;
        }
        self.writer.stats.longest_gap = self.writer.stats.longest_gap.max(self.times.gap(now));
    }

    /// Whether the client is sent events.
    fn is_reframed(&self) -> bool {
        self.early || matches!(self.state, State::Reframing { .. }) || self.promised().is_some()
    }

    /// Whether heartbeats may be written: there is no place for them before a head.
    fn beats(&self) -> bool {
        self.held.is_none() && self.is_reframed() && self.writer.beats()
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
