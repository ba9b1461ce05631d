//! The client's side of a session: shows items to the watch, lets shapes change them, writes and counts them.

use std::time::Instant;

use crate::bridge::{Bridge, Encoder, ndjson, sse};
use crate::codec::repair::{Repair, Repairs, Tally};
use crate::codec::{DONE, Data, Event, Item, json};
use crate::dialect::{Dialect, GENERIC, Sign, Told, is_blank, pointer};
use crate::shape::Shapes;

use super::hold::First;
use super::watch::Watch;
use super::{Failure, HeartbeatForm, InBand, Out, Plan, Stats, quote, told};

/// What is written, and what was.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) watch: Watch,
    pub(super) stats: Stats,
    repairs: Repairs,
    /// The last event was `[DONE]`.
    done: bool,
    pub(super) last_write: Instant,
    /// What came first, while the head is held back for it.
    pub(super) first: Option<Box<First>>,
    /// What the route wants changed, if anything.
    shapes: Option<Box<Shapes>>,
    /// In what form it is written.
    encoder: Encoder,
    form: HeartbeatForm,
    finds_bare: bool,
    /// The data of the last event, where an end marker may follow and nobody but [`quote`] can tell whether it is an error.
    suspect: Vec<u8>,
    tail: Tail,
}

/// What stood unclosed at the end.
#[derive(Debug, Default)]
struct Tail {
    /// Events that were handed out closed, and events that were closed here.
    closed: u64,
    mended: u64,
    /// Something was left out.
    dropped: bool,
    /// It was the beginning of JSON.
    dropped_json: bool,
}

impl Writer {
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        let form = plan.heartbeat_form;
        let mut watch = Watch::new(plan.dialect, plan.is_set, plan.known_ai);
        if form == HeartbeatForm::Delta {
            watch.keep_heartbeat();
        }
        Writer {
            watch,
            stats: Stats::default(),
            repairs: plan.repairs,
            done: false,
            last_write: now,
            first: None,
            shapes: plan.shapes.as_deref().and_then(Shapes::new),
            form,
            finds_bare: plan.finds_bare,
            encoder: (plan.bridge.encoder)(plan.dialect).unwrap_or(Encoder::Sse),
            suspect: Vec::new(),
            tail: Tail::default(),
        }
    }

    /// How the client is written to.
    pub(super) fn bridge(&self) -> &'static Bridge {
        self.encoder.bridge()
    }

    /// Whether all of it is put together to one answer.
    pub(super) fn gathers(&self) -> bool {
        matches!(self.encoder, Encoder::Json(_))
    }

    /// Whether silence is filled: lines have nothing that says nothing, but in the words of a dialect.
    pub(super) fn beats(&self) -> bool {
        match self.encoder {
            Encoder::Sse => true,
            Encoder::Ndjson => self.watch.heartbeat().is_some(),
            Encoder::Json(_) => false,
        }
    }

    pub(super) fn item(&mut self, item: Item<'_>, now: Instant, out: &mut Out) {
        match item {
            Item::Comment(text) => self.comment(text, now, out),
            Item::Event(event) => self.event(event, now, out),
        }
    }

    fn event(&mut self, mut event: Event<'_>, now: Instant, out: &mut Out) {
        let again = std::mem::take(&mut self.done);
        if let Data::Line(line) = event.data
            && line.len() <= DONE_MAX_BYTES
        {
            self.done = self.is_done(line, &event);
            if self.done && self.repairs.has(Repair::Done) {
                // Exact and once: clients compare the whole string, and stop at the first. Where events come between
                // two, they are the ends of two answers.
                if again || line != DONE.as_bytes() {
                    self.stats.repaired.add(Repairs::NONE.with(Repair::Done));
                    event.data = Data::Line(DONE.as_bytes());
                    event.canonical = None;
                }
                if again {
                    return;
                }
            }
            if line.is_empty() && self.repairs.has(Repair::EmptyData) && says_nothing(&event) {
                self.stats.repaired.add(Repairs::NONE.with(Repair::EmptyData));
                return self.comment(b"", now, out);
            }
        }
        self.watch.event(&event);
        if let Some(first) = &mut self.first {
            first.event(&event, &self.watch);
        }
        if self.shapes.is_some() {
            self.suspect(&event);
            let dialect = self.watch.dialect();
            self.reshape(now, out, |shapes, write| shapes.event(&event, dialect, now, write));
        } else {
            self.write(&event, now, out);
        }
    }

    /// Keeps the data of an event that may be an error, if an end marker must not follow one.
    fn suspect(&mut self, event: &Event<'_>) {
        let ensures = self.shapes.as_ref().is_some_and(|shapes| shapes.ensures());
        if !ensures || self.watch.judges_errors() || is_blank(event) {
            return;
        }
        self.suspect.clear();
        let may_be = |line: &&[u8]| quote::is_suspect(line);
        self.suspect.extend_from_slice(event.data.line().filter(may_be).unwrap_or_default());
    }

    /// Whether the last event was an error that its dialect, if any, has no word for.
    pub(super) fn ends_with_error(&self) -> bool {
        !self.watch.judges_errors() && quote::is_error(&self.suspect, self.watch.dialect())
    }

    /// A comment of the upstream's; only Server-Sent Events have them.
    fn comment(&mut self, text: &[u8], now: Instant, out: &mut Out) {
        match (&self.encoder, self.form) {
            (Encoder::Ndjson | Encoder::Json(_), _) => return,
            (_, HeartbeatForm::Comment) => sse::comment(text, &mut out.bytes),
            (_, HeartbeatForm::Block) => sse::comment_block(text, &mut out.bytes),
            (_, HeartbeatForm::Delta | HeartbeatForm::Off) => return,
        }
        self.wrote(now, out);
    }

    /// Something that says nothing, since nothing was written for a while.
    pub(super) fn beat(&mut self, now: Instant, out: &mut Out) {
        let (from, events) = (out.bytes.len(), self.stats.events);
        if let Some((name, line)) = self.watch.heartbeat() {
            let line = line.to_vec();
            let name = name.map(str::as_bytes);
            let event = Event { name, data: Data::Line(&line), closed: true, ..Event::default() };
            let dialect = self.watch.dialect();
            if self.shapes.is_some() {
                self.reshape(now, out, |shapes, write| shapes.event(&event, dialect, now, write));
            } else {
                self.write(&event, now, out);
            }
            self.stats.events = events;
        }
        // Shapes may have left it out; then it is due again later.
        self.last_write = now;
        if out.bytes.len() == from && matches!(self.encoder, Encoder::Sse) {
            match self.watch.dialect().and_then(Dialect::in_place_of_a_comment) {
                Some(event) => out.bytes.extend_from_slice(event.as_bytes()),
                None if self.form == HeartbeatForm::Comment => out.bytes.extend_from_slice(sse::HEARTBEAT),
                // Readers that know `data:` lines alone split at blank lines: a line of ours would be the beginning of the
                // next event, which they would not see then.
                None => sse::comment_block(b"", &mut out.bytes),
            }
            self.wrote(now, out);
        }
    }

    /// Tells the client of a failure, as its dialect does, or as who reads no status is told of one; `false` where the dialect
    /// tells none in a stream.
    pub(super) fn tell(
        &mut self,
        failure: &Failure,
        in_band: Option<InBand>,
        now: Instant,
        out: &mut Out,
    ) -> bool {
        let Some((dialect, told)) = self.told(in_band) else { return false };
        let own = self.shapes.as_ref().map(|shapes| shapes.own()).unwrap_or_default();
        let retry = in_band.and_then(|in_band| in_band.retry).filter(|_| told.is_event());
        out.bytes.extend_from_slice(&told::event(dialect, told, failure, &own, retry));
        self.wrote(now, out);
        true
    }

    /// In which dialect and form the client is told of a failure, if it is in a stream.
    fn told(&self, in_band: Option<InBand>) -> Option<(&'static Dialect, Told)> {
        // Who reads no status is told whatever the API is, as by a refusal.
        let dialect = self.watch.dialect().or(in_band.is_some().then_some(&GENERIC))?;
        let told = dialect.told?;
        let own = self.shapes.as_ref().map(|shapes| shapes.own()).unwrap_or_default();
        let told = match self.encoder {
            Encoder::Sse if in_band.is_some() || own.names_errors => told::alone(told),
            Encoder::Sse if self.finds_bare && !own.data_only => told,
            Encoder::Sse => told.as_event(),
            Encoder::Ndjson => ndjson::TOLD,
            Encoder::Json(_) => return None,
        };
        Some((dialect, told))
    }

    /// Writes the end marker behind a failure that is all of the stream, where shapes ensure one, as behind a
    /// [refusal](told::refusal). What is no event is the last that is said: who looks for it looks there.
    pub(super) fn told_alone(&mut self, in_band: Option<InBand>, now: Instant, out: &mut Out) {
        if !self.told(in_band).is_some_and(|(_, told)| told.is_event()) {
            return;
        }
        let (dialect, Stats { events, first_event, .. }) = (self.watch.dialect(), self.stats);
        self.reshape(now, out, |shapes, write| shapes.finish(dialect, now, write));
        (self.stats.events, self.stats.first_event) = (events, first_event);
    }

    fn write(&mut self, event: &Event<'_>, now: Instant, out: &mut Out) {
        let from = out.bytes.len();
        let says_something = match &mut self.encoder {
            Encoder::Sse => {
                sse::event(event, &mut out.bytes);
                if event.name == Some(b"error")
                    && self.watch.dialect().is_some_and(Dialect::tells_without_a_space)
                {
                    out.bytes.remove(from + b"event:".len());
                }
                true
            }
            Encoder::Ndjson => ndjson::event(event, &mut out.bytes),
            Encoder::Json(gathered) => gathered.event(event),
        };
        if !says_something {
            return;
        }
        self.stats.events += 1;
        self.stats.first_event.get_or_insert(now);
        if self.stats.first_content.is_none() && self.watch.has_content() {
            self.stats.first_content = Some(now);
        }
        if out.bytes.len() > from {
            self.wrote(now, out);
        }
    }

    /// Lets the shapes do something, and writes what comes of it.
    fn reshape(
        &mut self,
        now: Instant,
        out: &mut Out,
        act: impl FnOnce(&mut Shapes, &mut dyn FnMut(&Event<'_>, bool)),
    ) {
        let Some(mut shapes) = self.shapes.take() else { return };
        act(&mut shapes, &mut |event, is_marker| {
            // Only events end with a marker; one with an object in it is a line, or a part of the answer, as others are.
            let is_object = || event.data.text().starts_with(b"{");
            if !is_marker || matches!(self.encoder, Encoder::Sse) || is_object() {
                self.write(event, now, out);
            }
        });
        if shapes.is_over() {
            self.watch.end();
        }
        self.stats.rewrites = shapes.rewrites();
        self.shapes = Some(shapes);
    }

    /// The time has come to hand out what shapes held back until now.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Out) {
        self.reshape(now, out, |shapes, write| shapes.tick(now, write));
    }

    /// The stream ends, or breaks: nothing is held back any more.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Out) {
        self.reshape(now, out, |shapes, write| shapes.flush(now, write));
    }

    /// The stream ends, and its answer is complete. No end marker is added where something of it was left out.
    ///
    /// # Errors
    /// The answer cannot be put together.
    pub(super) fn finish(&mut self, now: Instant, out: &mut Out) -> Result<(), Failure> {
        if self.tail.dropped {
            self.flush(now, out);
        } else {
            let dialect = self.watch.dialect();
            self.reshape(now, out, |shapes, write| shapes.finish(dialect, now, write));
        }
        if let Encoder::Json(gathered) = &mut self.encoder {
            gathered.finish(self.watch.is_over(), &mut out.bytes)?;
            self.wrote(now, out);
        }
        Ok(())
    }

    /// When shapes have something to hand out, or the stream is to be closed.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let shapes = self.shapes.as_ref()?;
        [shapes.due(), shapes.closes_at()].into_iter().flatten().min()
    }

    /// When the stream is to be closed, since its end marker came.
    pub(super) fn closes_at(&self) -> Option<Instant> {
        self.shapes.as_ref()?.closes_at()
    }

    /// Bytes that shapes and the bridge keep.
    pub(super) fn held(&self) -> usize {
        self.shapes.as_ref().map_or(0, |shapes| shapes.held()) + self.encoder.held()
    }

    /// Whether this is the end marker: in quotes, only where nothing else can be meant.
    fn is_done(&self, line: &[u8], event: &Event<'_>) -> bool {
        let line = line.trim_ascii();
        let ends_with_it = |dialect: &Dialect| {
            let marker = Event { data: Data::Line(DONE.as_bytes()), ..Event::default() };
            (dialect.sign)(&marker) == Sign::Last
        };
        let in_quotes = || pointer::inside(line) == Some(DONE.as_bytes());
        line == DONE.as_bytes()
            || in_quotes() && event.name.is_none() && self.watch.dialect().is_some_and(ends_with_it)
    }

    /// What stood unclosed at a clean end: closed here if it is provably whole, dropped otherwise, since half an
    /// event must never be sent (HTML standard 9.2.6 drops it always).
    pub(super) fn tail(&mut self, item: Item<'_>, now: Instant, out: &mut Out) {
        let Item::Event(event) = item else { return };
        if event.closed {
            self.tail.closed += 1;
            return self.event(event, now, out);
        }
        let whole = event.data.line().is_some_and(|line| self.is_done(line, &event) || json::is_whole(line));
        if whole && self.repairs.has(Repair::UnclosedTail) {
            self.tail.mended += 1;
            self.event(event, now, out);
        } else {
            self.tail.dropped = true;
            let data = event.data.text();
            let text = data.trim_ascii_start();
            // Half an end marker is none of an answer.
            let may_be_json = matches!(text.first(), Some(b'{' | b'[')) && !DONE.as_bytes().starts_with(text);
            self.tail.dropped_json |= !whole && may_be_json;
        }
    }

    /// All that stood unclosed was handed to [`Writer::tail`]: the decoder has counted so many repairs in it itself.
    pub(super) fn tail_ended(&mut self, counted: u64, is_cut: bool) {
        let Tail { closed, mended, .. } = self.tail;
        self.tail.dropped |= is_cut;
        if mended > 0 {
            let kinds = Repairs::NONE.with(Repair::UnclosedTail);
            let count = mended.saturating_sub(counted.saturating_sub(closed));
            self.stats.repaired = self.stats.repaired.plus(Tally { count, kinds });
        }
    }

    /// The beginning of an event in JSON was left out at a clean end.
    pub(super) fn has_dropped_json(&self) -> bool {
        self.tail.dropped_json
    }

    pub(super) fn passed(&mut self, now: Instant, out: &mut Out) {
        if out.bytes.len() > out.ends.last().copied().unwrap_or(0) {
            self.stats.first_event.get_or_insert(now);
            self.wrote(now, out);
        }
    }

    pub(super) fn wrote(&mut self, now: Instant, out: &mut Out) {
        let from = out.ends.last().copied().unwrap_or(0);
        self.stats.bytes += (out.bytes.len() - from) as u64;
        self.last_write = now;
        out.ends.push(out.bytes.len());
    }
}

/// Whether an event without data would be none at all.
fn says_nothing(event: &Event<'_>) -> bool {
    event.name.is_none() && event.id.is_none() && event.retry.is_none() && event.unknown.is_none()
}

/// Longer data is not looked at for `[DONE]` between white space.
const DONE_MAX_BYTES: usize = 64;
