//! A session whose client was given the head of a stream before the upstream answered.
//!
//! Until the answer is there it writes heartbeats and nothing else. Then it is a session like any other, but for what it
//! cannot do any more: give another status, or let a body pass. A response that is no stream is told as an error event,
//! in the upstream's words; one complete answer in JSON becomes one event.

use std::time::Instant;

use http::StatusCode;

use super::super::quote::Quote;
use super::super::{Cause, Failure, Mode, Out, Phase, Plan, Wanted};
use super::{Session, State};
use crate::bridge::SSE;
use crate::codec::json;

/// No answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) phase: Phase,
}

/// An answer that is no stream, and what it says.
#[derive(Debug)]
pub(super) struct Telling {
    status: StatusCode,
    text: Vec<u8>,
    /// Nothing of it is missing, but what is too much to be quoted.
    is_whole: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting { phase: Phase::Connect }
    }
}

impl Telling {
    pub(super) fn new(status: StatusCode) -> Self {
        Telling { status, text: Vec::new(), is_whole: false }
    }

    /// Takes more of the body. `true`: it is too much, and need not be read on.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let is_over = self.text.len() + bytes.len() > MAX_TEXT;
        if is_over {
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(bytes);
        }
        is_over
    }
}

impl Session {
    /// How far the request has come that has no answer yet: the phase of the outcome if it ends now.
    pub fn reached(&mut self, phase: Phase) {
        if let State::Waiting(waiting) = &mut self.state {
            waiting.phase = phase;
        }
    }

    /// The upstream has answered, with this status, a request that was planned as [`Mode::Await`].
    ///
    /// The client gets events whatever the plan says: where it would let the body pass, that is told as an error.
    pub fn answered(&mut self, plan: Plan, status: StatusCode, now: Instant, out: &mut Out) {
        if self.outcome.is_some() || !matches!(self.state, State::Waiting(_)) {
            return;
        }
        let (stats, last_write) = (self.writer.stats, self.writer.last_write);
        let mode = match plan.mode {
            Mode::Sniff(label, Wanted::AsSent) => Mode::Sniff(label, Wanted::Events),
            mode => mode,
        };
        // The client was promised the stream of an AI upstream.
        *self = Session::new(Plan { mode, hold: None, known_ai: true, bridge: &SSE, ..plan }, now);
        (self.early, self.held) = (true, None);
        (self.writer.stats, self.writer.last_write) = (stats, last_write);
        if !status.is_success() {
            self.state = State::Telling(Telling::new(status));
        } else if mode == Mode::PassThrough {
            let message = "the upstream answered a stream request with what is no stream";
            self.fail(Failure::new(Cause::UpstreamMalformed, message), now, out);
        }
    }

    /// Whether the stream was opened just now: its first heartbeat shows that to everybody on the way.
    pub(super) fn opens(&self) -> bool {
        matches!(self.state, State::Waiting(_)) && self.times.beats() && self.writer.stats.bytes == 0
    }

    /// Ends the stream with what the upstream answered in its place.
    pub(super) fn tell(&mut self, now: Instant, out: &mut Out) {
        if let State::Telling(telling) = &mut self.state {
            telling.is_whole = true;
        }
        if let Some(failure) = self.answered_badly() {
            self.fail(failure, now, out);
        }
    }

    /// The status that the client cannot be given any more, and the words that came with it, if they are whole: half an
    /// object is none.
    pub(super) fn answered_badly(&self) -> Option<Failure> {
        let State::Telling(Telling { status, text, is_whole }) = &self.state else { return None };
        let is_cut = !is_whole && !json::is_whole(text.trim_ascii());
        let (words, end) =
            if is_cut { (&[][..], ", and its words broke off") } else { (text.as_slice(), "") };
        let quote = Quote::of(b"", &self.secrets.hidden(words), None).or_status(Some(*status));
        let message = format!("the upstream answered {status}{end}");
        Some(Failure::quoting(Cause::UpstreamStatus, message, quote))
    }
}

/// Longest body of an error whose words are told; of a longer one, the status alone.
const MAX_TEXT: usize = 64 << 10;
