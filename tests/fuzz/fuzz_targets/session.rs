//! In any format, dialect, shape and bridge, in any split and at any time: exactly one outcome, whole units, never half an event or line, one JSON value or none for an answer, no success after a cut, every failure told, `[DONE]` never invented, little held, and an output that does not depend on the cuts.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tidegate::bridge::{self, Bridge};
use tidegate::codec::coding::Codings;
use tidegate::codec::repair::Repairs;
use tidegate::codec::{Data, Event};
use tidegate::dialect::{DIALECTS, Dialect, GEMINI, Sign};
use tidegate::format::{AWS_EVENTSTREAM, FORMATS, Format, SSE, TEXT, TEXT_JSON};
use tidegate::shape::{Encoding, Ending, Marker, Markers, Pick, Settings};
use tidegate::stream::{
    Budget, Cause, Commit, End, Failure, HeartbeatForm, Hold, InBand, Label, Mode, Out, Outcome, Plan,
    Session, Until, Wanted, refusal,
};
use tidegate_fuzz::{Owned, aws_message, cuts, events};

const EVENT_BYTES: usize = 2048;
const BUDGET_BYTES: usize = 128 << 10;
/// What may wait for the head, and then leaves with it.
const HELD_BYTES: usize = 256 << 10;
/// What one event may grow to: cut into small ones, escaped, encoded, told in full.
const GROWTH: usize = 64;

/// What the first five bytes of an input choose.
#[derive(Clone, Copy)]
struct Choice {
    mode: u8,
    dialect: u8,
    policy: u8,
    shapes: u8,
    wire: u8,
}

/// A session, what it has said, and what must hold of that.
struct Rig {
    choice: Choice,
    session: Session,
    now: Instant,
    out: Out,
    units: Vec<Vec<u8>>,
    end: Option<End>,
    outcome: Option<Outcome>,
    budget: Arc<Budget>,
}

impl Choice {
    /// The format, or none where the body passes or is answered late.
    fn format(self) -> Option<&'static Format> {
        FORMATS.get(usize::from(self.mode & 7)).copied()
    }

    fn is_late(self) -> bool {
        self.mode & 7 == 7
    }

    /// How the client is written to. Who is promised a stream before there is one is promised events.
    fn bridge(self) -> &'static Bridge {
        let bridge = match self.wire & 3 {
            1 => &bridge::NDJSON,
            2 => &bridge::JSON,
            _ => &bridge::SSE,
        };
        if self.is_late() || !bridge.writes(self.dialect()) { &bridge::SSE } else { bridge }
    }

    fn form(self) -> HeartbeatForm {
        use HeartbeatForm::{Block, Comment, Delta, Off};
        [Comment, Block, Delta, Off][usize::from(self.wire >> 3 & 3)]
    }

    fn mode(self) -> Mode {
        let format = self.format().unwrap_or(&SSE);
        let label = match self.mode >> 5 & 3 {
            0 => Label::Json,
            1 => Label::Other,
            _ => Label::Format(format),
        };
        match self.mode >> 3 & 3 {
            _ if self.mode & 7 == 6 && self.wire & 32 != 0 => Mode::Tell(StatusCode::TOO_MANY_REQUESTS),
            _ if self.mode & 7 == 6 => Mode::PassThrough,
            0 => Mode::Reframe(format),
            1 | 2 if *self.bridge() == bridge::JSON => Mode::Sniff(label, Wanted::Answer),
            1 => Mode::Sniff(label, Wanted::Events),
            2 => Mode::Sniff(label, Wanted::AsSent),
            _ => Mode::Sniff(label, Wanted::In(format)),
        }
    }

    fn dialect(self) -> Option<&'static Dialect> {
        DIALECTS.get(usize::from(self.dialect & 15).wrapping_sub(1)).copied()
    }

    fn coding(self) -> &'static str {
        ["", "", "", "gzip", "deflate", "br", "zstd", "gzip, br"][usize::from(self.policy & 7)]
    }

    /// What is put right may depend on time.
    fn mends(self) -> bool {
        self.policy & 8 != 0
    }

    fn shape(self, bit: u8) -> bool {
        self.shapes & 1 << bit != 0
    }

    fn shapes(self) -> Option<Arc<Settings>> {
        let text = "/choices/0/delta/content".to_owned();
        let markers = Markers {
            ending: Ending::Ensure,
            to: Marker::read("event:done"),
            close: self.shape(2).then_some(Duration::from_secs(2)),
            ..Markers::default()
        };
        let settings = Settings {
            markers: if self.shape(0) { markers } else { Markers::default() },
            to_delta: self.shape(1).then(|| text.clone()),
            merge: self.shape(2).then_some(Duration::from_secs(2)),
            split: self.shape(3).then_some(600),
            to_full: self.shape(4).then(|| text.clone()),
            pick: self.shape(5).then(|| Pick { pointer: text, plain: self.shape(6) }),
            ascii: self.shape(6),
            encode: self.shape(7).then_some(Encoding::Percent),
            names_errors: self.shape(4),
            data_only: self.shape(7),
            drops_ids: self.shape(3),
        };
        (self.shapes != 0).then(|| Arc::new(settings))
    }

    /// What is sent: for AWS mostly messages that hold, made of the lines, since nobody guesses a checksum.
    fn body(self, bytes: &[u8]) -> Vec<u8> {
        if self.format() != Some(&AWS_EVENTSTREAM) || self.policy & 128 != 0 {
            return bytes.to_vec();
        }
        let names =
            ["messageStart", "contentBlockDelta", "messageStop", "metadata", "chunk", "throttlingException"];
        let message = |line: &[u8]| {
            let (first, payload) = line.split_first().unwrap_or((&0, b""));
            aws_message(names[usize::from(*first) % names.len()], payload)
        };
        bytes.split(|byte| *byte == b'\n').flat_map(message).collect()
    }

    fn plan(self, budget: &Arc<Budget>, now: Instant) -> Plan {
        let until = if self.policy & 32 == 0 { Until::Event } else { Until::Content };
        let beats = self.policy & 128 == 0;
        Plan {
            dialect: self.dialect(),
            is_set: self.dialect & 16 != 0,
            known_ai: self.dialect & 32 != 0,
            coding: Codings::from_fields([self.coding()].into_iter()).unwrap_or_default(),
            repairs: if self.mends() { Repairs::all() } else { Repairs::NONE },
            literal: self.policy & 64 != 0,
            shapes: self.shapes(),
            bridge: self.bridge(),
            fake_stream: self.wire & 4 != 0,
            in_band: self.in_band(),
            finds_bare: self.wire & 32 != 0,
            hold: (self.policy & 16 != 0).then_some(Hold { until, within: Duration::from_secs(5) }),
            heartbeat: (beats && self.form() != HeartbeatForm::Off).then_some(Duration::from_secs(15)),
            heartbeat_form: self.form(),
            first_event: Some(Duration::from_secs(600)),
            first_content: Some(Duration::from_secs(900)),
            event_gap: Some(Duration::from_secs(300)),
            total: (self.mode & 128 != 0).then(|| (now + Duration::from_secs(900), Duration::from_secs(900))),
            max_event_bytes: EVENT_BYTES,
            share: budget.share(),
            ..Plan::plain(self.mode())
        }
    }

    /// Whether what a client reads is the same whenever it comes, and however it is cut.
    fn is_timeless(self) -> bool {
        let says_nothing = self.dialect() != Some(&GEMINI) && self.form() != HeartbeatForm::Delta;
        let is_silent_in_events = self.policy & 128 != 0 || says_nothing;
        !self.mends() && !self.shape(2) && is_silent_in_events
    }

    /// Only who is written to in events is told of errors in them.
    fn in_band(self) -> Option<InBand> {
        let retry = (self.wire & 128 != 0).then_some(Duration::from_secs(86_400));
        (self.wire & 64 != 0 && *self.bridge() == bridge::SSE).then_some(InBand { retry })
    }

    fn is_text(self) -> bool {
        self.format().is_some_and(|format| [&TEXT, &TEXT_JSON].contains(&format))
    }
}

impl Rig {
    fn new(choice: Choice) -> Self {
        let (budget, now) = (Arc::new(Budget::new(BUDGET_BYTES)), Instant::now());
        let plan = choice.plan(&budget, now);
        let first =
            if choice.is_late() { Plan { mode: Mode::Await, ..choice.plan(&budget, now) } } else { plan };
        let session = Session::new(first, now);
        let out = Out::default();
        let mut rig = Rig { choice, session, now, out, units: Vec::new(), end: None, outcome: None, budget };
        if choice.is_late() {
            rig.tick(16);
            let plan = choice.plan(&rig.budget, now);
            let status = if choice.mode & 128 == 0 { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
            rig.call(|session, now, out| session.answered(plan, status, now, out));
        }
        rig
    }

    fn call(&mut self, call: impl FnOnce(&mut Session, Instant, &mut Out)) {
        self.out.clear();
        let had_outcome = self.session.outcome();
        call(&mut self.session, self.now, &mut self.out);
        let mut from = 0;
        for end in &self.out.ends {
            assert!(*end > from && *end <= self.out.bytes.len(), "units have an order and are not empty");
            self.units.push(self.out.bytes[from..*end].to_vec());
            from = *end;
        }
        assert_eq!(from, self.out.bytes.len(), "every byte belongs to a unit");
        assert!(
            self.end.is_none() || self.out.bytes.is_empty() && self.out.end.is_none(),
            "nothing follows the end"
        );
        self.end = self.end.or(self.out.end);
        assert!(
            had_outcome.is_none() || self.session.outcome() == had_outcome,
            "an outcome is the last word"
        );
        self.outcome = self.session.outcome();
        assert!(self.end.is_none() || self.outcome.is_some(), "an end has an outcome");
        if let Some(Commit::Refuse(_)) = self.session.commit() {
            assert!(self.units.is_empty(), "what is refused has sent nothing");
        }
        // Past its limit the session ends; one piece may have grown what is held before that is seen.
        assert!(self.budget.held() <= BUDGET_BYTES);
    }

    fn input(&mut self, bytes: &[u8]) {
        for bite in bytes.chunks(self.session.bite()) {
            self.call(|session, now, out| session.input(bite, now, out));
            // What was said so far, in every event, grows with the square.
            let bound = HELD_BYTES + GROWTH * (bite.len() + EVENT_BYTES);
            assert!(self.choice.shape(4) || self.out.bytes.len() <= bound, "an input gives a bounded amount");
            while self.session.is_behind() {
                self.call(|session, now, out| session.go_on(now, out));
                let bound = HELD_BYTES + GROWTH * ((64 << 10) + EVENT_BYTES);
                assert!(self.out.bytes.len() <= bound, "one turn gives a bounded amount");
            }
        }
    }

    fn tick(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let mut next = None;
        self.call(|session, now, out| next = session.tick(now, out));
        assert!(next.is_none_or(|next| next > self.now), "a deadline lies ahead");
    }

    fn sent(&self) -> Vec<u8> {
        self.units.concat()
    }

    /// Whether the client gets events.
    fn is_reframed(&self) -> bool {
        matches!(self.session.commit(), Some(Commit::Reframe(_)))
    }

    fn is_done(&self) -> bool {
        let is_done = self.outcome.is_some_and(|outcome| outcome.cause == Cause::Done);
        // What breaks after its answer was whole is done, too; how much of it came before that depends on the cuts.
        is_done && self.session.failure().is_none()
    }

    fn check(&self, body: &[u8]) {
        assert!(self.outcome.is_some(), "every end has an outcome");
        match self.session.commit() {
            Some(Commit::Answer(length)) => self.check_answer(length),
            Some(Commit::Reframe(_)) if *self.choice.bridge() == bridge::NDJSON => self.check_lines(),
            Some(Commit::Reframe(_)) => self.check_events(),
            Some(Commit::Refuse(failure)) => self.check_refusal(&failure),
            Some(Commit::PassThrough) | None => {}
        }
        self.check_failure();
        self.check_told();
        self.check_done(body);
    }

    /// One value, or nothing yet.
    fn check_answer(&self, length: u64) {
        let sent = self.sent();
        assert_eq!(sent.len() as u64, length, "the length that was told");
        assert!(self.is_success() && self.end == Some(End::Clean), "an answer is whole");
        let answer = serde_json::from_slice::<serde_json::Value>(&sent).expect("one value");
        assert!(answer.is_object());
    }

    fn check_lines(&self) {
        for unit in &self.units {
            let line = unit.strip_suffix(b"\n").expect("a unit is a line");
            assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "one line");
            assert!(serde_json::from_slice::<IgnoredAny>(line).is_ok(), "no JSON: {line:?}");
        }
    }

    fn check_events(&self) {
        for (index, unit) in self.units.iter().enumerate() {
            assert!(!unit.contains(&b'\r'), "LF only");
            let lines = unit.strip_suffix(b"\n").expect("a unit ends with a line");
            // Google's clients look for the bare JSON of an error.
            let is_bare = unit[0] == b'{' && index + 1 == self.units.len() && !self.is_done();
            if unit[0] == b':' || is_bare && !lines.ends_with(b"\n") {
                let is_form = matches!(self.choice.form(), HeartbeatForm::Block | HeartbeatForm::Delta);
                let is_block = is_form && unit[0] == b':';
                let line = if is_block { lines.strip_suffix(b"\n").expect("a block") } else { lines };
                assert!(!line.contains(&b'\n'), "a comment is one line");
            } else {
                let block = lines.strip_suffix(b"\n").unwrap_or_else(|| panic!("half an event: {lines:?}"));
                assert!(!block.windows(2).any(|pair| pair == b"\n\n"), "one event in a unit");
            }
        }
    }

    /// The stream that tells of what was refused, for clients that read no status.
    fn check_refusal(&self, failure: &Failure) {
        assert!(self.units.is_empty() && !self.is_success(), "nothing was sent");
        let shapes = self.choice.shapes();
        let told = refusal(failure, self.session.dialect(), shapes.as_deref(), None, self.now);
        let Some(units) = told else { return };
        let told = units.concat();
        assert!(told.ends_with(b"\n\n") && contains(&told, &failure.code()), "what is wrong is told");
        assert!(!self.choice.shape(6) || self.choice.shape(0) || told.is_ascii());
    }

    /// What broke is cut, or the last that is said names why; no success follows a cut.
    fn check_failure(&self) {
        let Some(outcome) = self.outcome.filter(|_| !self.is_success()) else { return };
        // The upstream has told those itself.
        let is_told = matches!(outcome.cause, Cause::UpstreamError | Cause::UpstreamAuth);
        if self.is_reframed() && self.end == Some(End::Clean) && !is_told {
            let is_there = self.last_says(&outcome.cause.code());
            assert!(is_there, "a failure that is not told: {:?}", self.units.last());
        }
    }

    /// The log names a status that the client reads in the stream only where it can read it.
    fn check_told(&self) {
        let Some(status) = self.session.failure().and_then(Failure::told_status) else { return };
        assert!(
            self.end == Some(End::Clean) && self.last_says(status.as_str()),
            "a status that nobody reads"
        );
    }

    /// Whether the last event says this; an end marker may follow.
    fn last_says(&self, word: &str) -> bool {
        self.units.iter().rev().take(2).any(|unit| contains(unit, word))
    }

    fn is_success(&self) -> bool {
        self.outcome.is_some_and(|outcome| outcome.cause == Cause::Done)
    }

    /// Nobody says that an answer is over but the upstream.
    fn check_done(&self, body: &[u8]) {
        let choice = self.choice;
        let may_say = choice.shape(0) || choice.shape(5) || !choice.coding().is_empty();
        // A whole answer that became a stream has an end.
        let is_fake = choice.wire & 4 != 0;
        let is_hidden = may_say || is_fake || choice.format() == Some(&AWS_EVENTSTREAM);
        if !self.is_reframed()
            || *choice.bridge() != bridge::SSE
            || is_hidden
            || body.windows(5).any(|bytes| bytes == b"DONE]")
        {
            return;
        }
        let is_marker = |item: &Owned| item.data.as_deref() == Some(b"[DONE]");
        assert!(!events(&self.sent()).iter().any(is_marker), "an end that nobody told");
    }
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|bytes| bytes == word.as_bytes())
}

/// Whether some event says in some dialect that nothing follows. Only events that need no mending are found.
fn says_last(body: &[u8]) -> bool {
    let is_last = |item: &Owned| {
        let data = item.data.as_deref().unwrap_or_default();
        let event = Event { name: item.name.as_deref(), data: Data::Line(data), ..Event::default() };
        DIALECTS.iter().any(|dialect| (dialect.sign)(&event) == Sign::Last)
    };
    contains(body, "DONE]") || events(body).iter().any(is_last)
}

/// What a client reads: names, ids, retries and data; without what tidegate adds and what it merges.
fn read(text: &[u8]) -> Vec<Owned> {
    let mut items = events(text);
    items.retain(|item| item.comment.is_none() && item.closed);
    let is_done = |item: &Owned| {
        item.data
            .as_deref()
            .is_some_and(|data| data.len() <= 64 && data.trim_ascii() == b"[DONE]" && !data.contains(&b'\n'))
    };
    for item in &mut items {
        if is_done(item) {
            item.data = Some(b"[DONE]".to_vec());
        }
        // JSON on several lines becomes one line: white space for white space.
        if let Some(data) = &mut item.data {
            data.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
    }
    items.dedup_by(|second, first| is_done(second) && is_done(first));
    items
}

/// All the text of a stream without items of its own: the data of its events, or what stands in the objects that they are.
fn text(choice: Choice, sent: &[u8]) -> Vec<u8> {
    let text = |item: Owned| {
        let data = item.data.unwrap_or_default();
        if choice.format() != Some(&TEXT_JSON) {
            return data;
        }
        match serde_json::from_slice::<serde_json::Value>(&data) {
            Ok(json) if json["text"].is_string() => {
                json["text"].as_str().unwrap_or_default().as_bytes().to_vec()
            }
            _ => data,
        }
    };
    events(sent).into_iter().flat_map(text).collect()
}

fuzz_target!(|input: &[u8]| {
    let [mode, dialect, policy, shapes, wire, input @ ..] = input else { return };
    let choice = Choice { mode: *mode, dialect: *dialect, policy: *policy, shapes: *shapes, wire: *wire };
    let (places, bytes) = cuts(input);
    let body = choice.body(bytes);
    let ending = dialect >> 6;

    // The same bytes, cut, with time passing between the pieces: one second, or a heartbeat, or a timeout.
    let mut rig = Rig::new(choice);
    let mut from = 0;
    for (number, place) in places.iter().copied().chain([body.len()]).enumerate() {
        let to = if place == bytes.len() { body.len() } else { place.min(body.len()) }.max(from);
        rig.input(&body[from..to]);
        from = to;
        rig.tick([1, 16, 0, 3][(number + to) % 4]);
    }
    rig.input(&body[from..]);
    match ending {
        0 => rig.call(|session, now, out| session.upstream_ended(now, out)),
        1 => rig.call(|session, now, out| {
            session.upstream_failed(Failure::new(Cause::UpstreamTruncated, "it broke"), now, out);
        }),
        2 => rig.tick(10_000),
        _ => rig.call(|session, now, out| session.drain(now, out)),
    }
    rig.check(&body);
    // Nothing that was cut is a success, unless the answer was over before.
    let is_plain_sse = choice.format() == Some(&SSE) && choice.coding().is_empty() && choice.shapes == 0;
    if ending != 0 && is_plain_sse && !choice.mends() && rig.is_success() {
        assert!(says_last(&body), "a success after a cut");
    }
    rig.call(|session, now, out| session.input(b"data: late\n\n", now, out));
    rig.call(|session, now, out| session.upstream_ended(now, out));
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.session.outcome(), rig.outcome, "exactly one");

    // The same in one piece and no time: what a client reads does not depend on either.
    let mut whole = Rig::new(choice);
    whole.input(&body);
    whole.call(|session, now, out| session.upstream_ended(now, out));
    whole.check(&body);
    let both_done = ending == 0 && choice.is_timeless() && rig.is_done() && whole.is_done();
    match (rig.is_reframed(), whole.is_reframed()) {
        _ if !both_done => {}
        // Lines and answers are the same, letter by letter.
        _ if *choice.bridge() != bridge::SSE && choice.policy & 16 == 0 && !choice.is_text() => {
            assert_eq!(rig.sent(), whole.sent())
        }
        _ if *choice.bridge() != bridge::SSE => {}
        (true, true) if choice.is_text() && choice.shapes == 0 => {
            assert_eq!(text(choice, &rig.sent()), text(choice, &whole.sent()))
        }
        (true, true) if choice.is_text() => {}
        (true, true) => assert_eq!(read(&rig.sent()), read(&whole.sent())),
        (false, false) => assert_eq!(rig.sent(), whole.sent()),
        // In silence the head may leave as that of a stream; what then comes becomes one.
        (true, false) | (false, true) => assert!(choice.policy & 16 != 0, "the head depends on the cuts"),
    }
    // Nothing is lost or added against a naive reader of what the upstream sent.
    let keeps = choice.form() != HeartbeatForm::Block && *choice.bridge() == bridge::SSE;
    let is_plain = keeps && choice.coding().is_empty() && choice.is_timeless() && choice.shapes == 0;
    if is_plain && whole.is_done() && choice.policy & 64 == 0 && !choice.is_late() {
        match whole.session.commit() {
            Some(Commit::PassThrough) => assert_eq!(whole.sent(), body),
            Some(Commit::Reframe(format)) if *format == SSE => {
                // A head that is held back drops what says nothing in front of the stream.
                let sniffed = matches!(choice.mode(), Mode::Sniff(..));
                let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body).trim_ascii_start();
                let (mut got, want) = (read(&whole.sent()), read(if sniffed { text } else { &body }));
                // An unclosed end that is provably whole is closed.
                got.truncate(want.len().max(got.len().saturating_sub(1)));
                assert_eq!(got, want);
            }
            _ => {}
        }
    }
});
