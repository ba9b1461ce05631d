//! What a session makes of the beginning of a response: its format, or an error in place of a stream; and how long the
//! head is held back for that.

use std::time::Instant;

use http::StatusCode;

use super::super::gate::{Label, Verdict};
use super::super::hold::MAX_BYTES;
use super::super::quote::{self, Quote};
use super::super::{Cause, Failure, Out, Wanted};
use super::{Session, State, reframing};
use crate::bridge::fake_stream;
use crate::codec::{Data, Event, Item};
use crate::format::{Format, NDJSON, SSE};

impl Session {
    /// Does something whose output waits while the head is held back, and lets all of it go once nothing holds it.
    pub(super) fn holding(&mut self, now: Instant, out: &mut Out, act: impl FnOnce(&mut Self, &mut Out)) {
        let Some(held) = &mut self.held else { return act(self, out) };
        std::mem::swap(out, &mut held.out);
        act(self, out);
        let Some(held) = &self.held else { return };
        let is_due = held.deadline.is_some_and(|deadline| now >= deadline);
        let undecided = matches!(self.state, State::Sniffing { .. }) && self.promised().is_none();
        // A client of events can be promised them whatever comes; one that wants what is sent cannot.
        let sent_as_is = matches!(self.state, State::Sniffing { wanted: Wanted::AsSent, .. });
        if undecided && is_due && !sent_as_is && self.outcome.is_none() {
            self.early = true;
        }
        let is_told = self.outcome.is_some() || self.early || matches!(self.state, State::Passing);
        let free = is_told || !undecided && (is_due || !self.lacks_answer());
        let Some(held) = &mut self.held else { return };
        if free || out.bytes.len() > MAX_BYTES {
            (self.held, self.writer.first, self.writer.last_write) = (None, None, now);
        } else {
            std::mem::swap(out, &mut held.out);
        }
    }

    /// The format that the label promises, while the bytes have not said otherwise: whatever they are, the client gets
    /// events.
    pub(super) fn promised(&self) -> Option<&'static Format> {
        match &self.state {
            State::Sniffing { label: Label::Format(_), wanted: Wanted::In(format), .. } => Some(format),
            State::Sniffing { label: Label::Format(format), wanted: Wanted::Events, .. } => Some(format),
            _ => None,
        }
    }

    /// Leaves the gate, or waits on.
    pub(super) fn decide(&mut self, verdict: Verdict, now: Instant, out: &mut Out) {
        let asked = !matches!(self.state, State::Sniffing { wanted: Wanted::Answer, .. });
        let format = match verdict {
            Verdict::More => return,
            Verdict::Html | Verdict::Pass if !asked => None,
            Verdict::Html => {
                let message = "the upstream answered a stream request with an HTML page";
                return self.fail(Failure::new(Cause::UpstreamHtml, message), now, out);
            }
            Verdict::Pass => match self.judge_unknown() {
                Ok(format) => format,
                Err(failure) => return self.fail(failure, now, out),
            },
            Verdict::Stream(format) => Some(format),
        };
        let state = std::mem::replace(&mut self.state, State::Passing);
        let State::Sniffing { gate, label, wanted, fake } = state else { return self.state = state };
        if let (Verdict::Pass, Some(answers), Some(b'{')) = (verdict, fake, gate.text().first()) {
            self.state = State::Collecting { answers, body: Vec::new() };
            return self.take(&gate.into_held(), now, out);
        }
        match format.filter(|format| **format == SSE || wanted != Wanted::AsSent) {
            Some(format) => {
                let is_doubted = !matches!(wanted, Wanted::In(_)) && !label.is_true_of(format);
                self.writer.stats.lying_label = is_doubted.then_some(label);
                self.state = reframing(format, self.options, self.charset);
                self.take(gate.text(), now, out);
            }
            None => self.take(&gate.into_held(), now, out),
        }
    }

    /// Collects what may be a whole answer; one past its bound passes.
    pub(super) fn collect(&mut self, bytes: &[u8], now: Instant, out: &mut Out) {
        let State::Collecting { body, .. } = &mut self.state else { return };
        body.extend_from_slice(bytes);
        if body.len() > self.options.limit {
            self.let_go(now, out);
        }
    }

    /// Writes the events of the whole answer; what is none goes as it came.
    pub(super) fn take_apart(&mut self, now: Instant, out: &mut Out) {
        let State::Collecting { answers, body } = &self.state else { return };
        let Some(parts) = fake_stream::events(answers, body) else { return self.let_go(now, out) };
        self.state = reframing(&fake_stream::WHOLE, self.options, None);
        for part in parts {
            let (name, data) = (part.name.map(str::as_bytes), Data::Line(part.data.as_bytes()));
            self.writer.item(Item::Event(Event { name, data, closed: true, ..Event::default() }), now, out);
        }
    }

    /// Gives out what was collected as what it is.
    fn let_go(&mut self, now: Instant, out: &mut Out) {
        // Where the client was promised a stream, it is an event.
        let state = if self.early { reframing(&NDJSON, self.options, None) } else { State::Passing };
        if let State::Collecting { body, .. } = std::mem::replace(&mut self.state, state) {
            self.take(&body, now, out);
        }
    }

    /// What to do with bytes that are no known stream: reads them in the format that was promised, if one was, lets them
    /// pass, or refuses them.
    pub(super) fn judge_unknown(&self) -> Result<Option<&'static Format>, Failure> {
        let State::Sniffing { gate, .. } = &self.state else { return Ok(None) };
        let plain = gate.plain_error();
        if plain.is_none()
            && let Some(format) = self.promised()
        {
            return Ok(Some(format));
        }
        if plain.is_some() || gate.is_error() {
            return Err(self.quoting(b"", gate.text(), plain));
        }
        match gate.text().first() {
            _ if !self.early => Ok(None),
            // An event source may end without a word.
            None => Ok(Some(&SSE)),
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
    pub(super) fn quoting(&self, name: &[u8], text: &[u8], status: Option<StatusCode>) -> Failure {
        let text = self.secrets.hidden(text);
        let quote = Quote::of(name, &text, self.writer.watch.dialect()).or_status(status);
        if self.injects && matches!(quote.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) {
            return Failure::new(Cause::UpstreamAuth, "the upstream refused the proxy's credential");
        }
        Failure::quoting(Cause::UpstreamError, "the upstream told an error in place of an answer", quote)
    }

    /// Whether the head is held back, and nothing was seen that could be an answer.
    pub(super) fn lacks_answer(&self) -> bool {
        self.writer.first.as_ref().is_some_and(|first| !first.answer)
    }
}
