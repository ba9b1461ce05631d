//! A session whose client was given the head of a stream before the upstream answered.
//!
//! Until the answer is there it writes heartbeats and nothing else. Then it is a session like any other, but for what it
//! cannot do any more: give another status, or let a body pass. A response that is no stream is told as an error event,
//! in the upstream's words; one complete answer in JSON becomes one event.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::super::quote::Quote;
use super::super::{Cause, Failure, Mode, Out, Phase, Plan, Wanted};
use super::{Session, State};
use crate::bridge::SSE;
use crate::codec::{Item, Options, json};
use crate::format;

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
    /// When it is told with the words that are there by then.
    until: Instant,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting { phase: Phase::Connect }
    }
}

impl Telling {
    pub(super) fn new(status: StatusCode, now: Instant) -> Self {
        Telling { status, text: Vec::new(), is_whole: false, until: now + MAX_WAIT }
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
            self.state = State::Telling(Box::new(Telling::new(status, now)));
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

    /// Until when the rest of an error's words is waited for.
    pub(super) fn tells_at(&self) -> Option<Instant> {
        match &self.state {
            State::Telling(telling) => Some(telling.until),
            _ => None,
        }
    }

    /// The status that the client cannot be given any more, and the words that came with it, if they are whole: half an
    /// object is none.
    pub(super) fn answered_badly(&self) -> Option<Failure> {
        let State::Telling(telling) = &self.state else { return None };
        let Telling { status, text, is_whole, .. } = &**telling;
        let text = self.secrets.hidden(text);
        let told = first_data(&text, *is_whole, self.options);
        let is_cut = told.is_none() && !is_whole && !json::is_whole(text.trim_ascii());
        let (words, end) = match &told {
            Some(data) => (data.as_slice(), ""),
            None if is_cut => (&[][..], ", and its words broke off"),
            None => (&*text, ""),
        };
        let quote = Quote::of(b"", words, None).or_status(Some(*status));
        let message = format!("the upstream answered {status}{end}");
        Some(Failure::quoting(Cause::UpstreamStatus, message, quote))
    }
}

/// The data of the first event that has some, if the body of an error is a stream of such; DashScope's are.
fn first_data(text: &[u8], is_whole: bool, options: Options) -> Option<Vec<u8>> {
    let is_stream = |line: &[u8]| FIELDS.iter().any(|field| line.starts_with(field));
    if !is_stream(text.trim_ascii_start()) {
        return None;
    }
    let mut first = None;
    let mut note = |item: Item<'_>| {
        let Item::Event(event) = item else { return };
        let data = event.data.text();
        if first.is_none() && !data.is_empty() && (event.closed || is_whole) {
            first = Some(data.into_owned());
        }
    };
    let mut decoder = (format::SSE.decoder)(options);
    // What cannot be decoded any more comes behind what is asked for.
    if decoder.decode(text, &mut note).is_ok() {
        decoder.finish(&mut note).ok();
    }
    first
}

/// What a line of an event stream begins with.
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// Longest body of an error whose words are told; of a longer one, the status alone.
const MAX_TEXT: usize = 64 << 10;

/// How long the words of an error are waited for: the client has nothing in its hands meanwhile, no head and no heartbeat.
const MAX_WAIT: Duration = Duration::from_secs(1);
