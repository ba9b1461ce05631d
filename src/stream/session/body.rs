//! The bytes of a body on their way through a session: out of their coding, into events, and what waits meanwhile.

use std::time::Instant;

use super::super::gate::{Label, Verdict};
use super::super::{Cause, Failure, Out, Wanted};
use super::{Session, State};
use crate::codec::coding;

impl Session {
    /// Decodes a turn's worth of a coded body.
    pub(super) fn decode_more(&mut self, now: Instant, out: &mut Out) {
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
            self.finish(now, out);
        }
    }

    /// Decoded bytes of the body.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        match &mut self.state {
            State::Sniffing { gate, label, wanted, .. } => {
                let verdict = gate.push(bytes);
                // An answer that was asked for in one piece is not held back: its blank runs keep clients waiting.
                let is_answer = *wanted == Wanted::Answer && !matches!(label, Label::Format(_));
                let passes = is_answer && verdict == Verdict::More && !gate.may_be_sse();
                self.decide(if passes { Verdict::Pass } else { verdict }, now, out);
            }
            State::Waiting(_) => {}
            State::Collecting { .. } => self.collect(bytes, now, out),
            State::Telling(telling) => {
                if telling.take(bytes) {
                    return self.tell(now, out);
                }
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
                let is_held = result.is_ok() && decoder.held() > 0;
                self.times.ripe(if is_held { decoder.ripens_in() } else { None }, now);
                if let Err(error) = result {
                    return self.fail(Failure::from(error), now, out);
                }
                if let Some(failure) = self.told_first(out) {
                    return self.fail(failure, now, out);
                }
            }
            State::Refused { .. } => {}
        }
        self.account(now, out);
    }

    /// Counts what is held back for this stream: an unfinished event, and what its codings need.
    pub(super) fn account(&mut self, now: Instant, out: &mut Out) {
        if self.outcome.is_some() {
            return;
        }
        let carried = match &self.state {
            State::Reframing { decoder, .. } => decoder.held() + self.writer.held(),
            State::Collecting { body, .. } => body.len(),
            _ => 0,
        };
        // What is written while the head is held back.
        let waiting = if self.held.is_some() { out.bytes.len() } else { 0 };
        let limit = self.options.limit;
        if self.writer.held() > limit {
            let what = if self.writer.gathers() { "answer" } else { "text that to_delta or to_full keeps" };
            let message = format!("the {what} is larger than max_event_bytes ({limit} bytes)");
            return self.fail(Failure::new(Cause::UpstreamEventTooLarge, message), now, out);
        }
        if !self.share.hold(carried + waiting + self.coded.as_ref().map_or(0, |coded| coded.held())) {
            let message = "what is held back for all streams (unfinished events, coded bodies, held heads) exceeds max_carry_total";
            self.fail(Failure::new(Cause::TidegateCarryExhausted, message), now, out);
        }
    }

    /// Hands out the event that is ripe, if one is.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Out) {
        if let (Some(_), State::Reframing { decoder, .. }) = (self.times.ripe_at.take(), &mut self.state) {
            let writer = &mut self.writer;
            decoder.flush(&mut |item| writer.item(item, now, out));
        }
    }
}

/// What is decoded of a coded body before the client must have taken what there is.
pub(super) const TURN_BYTES: usize = 64 << 10;

/// What is decoded at a time.
pub(super) const PIECE_BYTES: usize = 8 << 10;
