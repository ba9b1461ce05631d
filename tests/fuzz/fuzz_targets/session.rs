//! In any split and at any time, a session gives whole units, loses and adds nothing, holds little, and has one outcome.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use tidegate::codec::coding::Codings;
use tidegate::codec::repair::Repairs;
use tidegate::dialect::Dialect;
use tidegate::format::{NDJSON, SSE};
use tidegate::shape::{Ending, Marker, Markers, Settings};
use tidegate::stream::{
    Budget, Cause, Commit, End, Failure, HeartbeatForm, Hold, Label, Mode, Out, Outcome, Plan, Session, Until,
    Wanted,
};
use tidegate_fuzz::{Owned, cuts, events};

const EVENT_BYTES: usize = 2048;
const BUDGET_BYTES: usize = 128 << 10;
/// What may wait for the head, and then leaves with it.
const HELD_BYTES: usize = 256 << 10;

/// A session, what it has said, and what must hold of that.
struct Rig {
    session: Session,
    now: Instant,
    out: Out,
    units: Vec<Vec<u8>>,
    end: Option<End>,
    outcome: Option<Outcome>,
    budget: Arc<Budget>,
}

/// The first two bytes of an input say what is planned.
fn plan(first: u8, second: u8, budget: &Arc<Budget>, now: Instant) -> Plan {
    let label = if first & 1 == 0 { Label::Json } else { Label::Other };
    let wanted = if first & 2 == 0 { Wanted::Events } else { Wanted::AsSent };
    let mode = match (first >> 2) % 4 {
        0 => Mode::Reframe(&SSE),
        1 => Mode::Reframe(&NDJSON),
        2 => Mode::Sniff(label, wanted),
        _ => Mode::PassThrough,
    };
    let paths = ["/", "/v1/chat/completions", "/v1/messages", "/api/chat"];
    let names = ["", "", "", "gzip", "deflate", "br", "zstd", "gzip, br"];
    let until = if first & 1 == 0 { Until::Event } else { Until::Content };
    let coding = names[usize::from(second >> 2) % names.len()];
    Plan {
        mode,
        is_error: false,
        dialect: Dialect::hinted(paths[usize::from(second) % paths.len()]),
        is_set: first & 64 != 0,
        known_ai: first & 16 != 0,
        coding: Codings::from_fields([coding].into_iter()).unwrap_or_default(),
        charset: None,
        // What is put right, or changed, depends on time: then only the units and the outcome are looked at.
        repairs: if mends(second) { Repairs::all() } else { Repairs::NONE },
        literal: false,
        shapes: (mends(second) && first & 1 != 0).then(|| Arc::new(shapes())),
        mask: None,
        injects: false,
        hold: (second & 64 != 0).then_some(Hold { until, within: Duration::from_secs(5) }),
        heartbeat: Some(Duration::from_secs(15)),
        heartbeat_form: HeartbeatForm::Comment,
        first_event: Some(Duration::from_secs(600)),
        first_content: Some(Duration::from_secs(900)),
        event_gap: Some(Duration::from_secs(300)),
        total: (first & 32 != 0).then(|| (now + Duration::from_secs(900), Duration::from_secs(900))),
        max_event_bytes: EVENT_BYTES,
        share: budget.share(),
    }
}

/// What depends on time, on the end, and on the events before.
fn shapes() -> Settings {
    let close = Some(Duration::from_secs(2));
    Settings {
        markers: Markers {
            ending: Ending::Ensure,
            to: Marker::read("event:done"),
            close,
            ..Markers::default()
        },
        to_delta: Some("/a".to_owned()),
        merge: Some(Duration::from_secs(2)),
        data_only: true,
        ..Settings::default()
    }
}

fn mends(second: u8) -> bool {
    second & 32 != 0
}

impl Rig {
    fn new(first: u8, second: u8) -> Self {
        let (budget, now) = (Arc::new(Budget::new(BUDGET_BYTES)), Instant::now());
        let session = Session::new(plan(first, second, &budget, now), now);
        Rig { session, now, out: Out::default(), units: Vec::new(), end: None, outcome: None, budget }
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
        // Past its limit the session ends; one piece may have grown what is held before that is seen.
        assert!(self.budget.held() <= BUDGET_BYTES);
    }

    fn input(&mut self, bytes: &[u8]) {
        for bite in bytes.chunks(self.session.bite()) {
            self.call(|session, now, out| session.input(bite, now, out));
            while self.session.is_behind() {
                self.call(|session, now, out| session.go_on(now, out));
                assert!(
                    self.out.bytes.len() <= HELD_BYTES + 4 * (64 << 10) + 4 * EVENT_BYTES,
                    "one turn gives a bounded amount"
                );
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

    fn check_units(&self) {
        if !matches!(self.session.commit(), Some(Commit::Reframe(_))) {
            return;
        }
        for unit in &self.units {
            assert!(!unit.contains(&b'\r'), "LF only");
            let lines = unit.strip_suffix(b"\n").expect("a unit ends with a line");
            if unit[0] == b':' {
                assert!(!lines.contains(&b'\n'), "a comment is one line");
            } else {
                let block = lines.strip_suffix(b"\n").unwrap_or_else(|| panic!("half an event: {lines:?}"));
                assert!(!block.windows(2).any(|pair| pair == b"\n\n"), "one event in a unit");
            }
        }
    }
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

fuzz_target!(|input: &[u8]| {
    let [first, second, input @ ..] = input else { return };
    let (places, body) = cuts(input);

    // The same bytes, cut, with time passing between the pieces: one second, or a heartbeat, or a timeout.
    let mut rig = Rig::new(*first, *second);
    let mut from = 0;
    for (number, to) in places.iter().copied().chain([body.len()]).enumerate() {
        rig.input(&body[from..to]);
        from = to;
        rig.tick([1, 16, 0, 3][(number + to) % 4]);
    }
    match first >> 6 {
        0 => rig.call(|session, now, out| session.upstream_ended(now, out)),
        1 => rig.call(|session, now, out| {
            session.upstream_failed(Failure::new(Cause::UpstreamTruncated, "it broke"), now, out);
        }),
        2 => rig.tick(10_000),
        _ => rig.call(|session, now, out| session.drain(now, out)),
    }
    assert!(rig.outcome.is_some(), "every end has an outcome");
    rig.check_units();
    rig.call(|session, now, out| session.input(b"data: late\n\n", now, out));
    rig.call(|session, now, out| session.upstream_ended(now, out));
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.session.outcome(), rig.outcome, "exactly one");

    // The same in one piece and no time: what a client reads does not depend on either.
    let mut whole = Rig::new(*first, *second);
    whole.input(body);
    whole.call(|session, now, out| session.upstream_ended(now, out));
    whole.check_units();
    // What breaks after its answer was whole is done, too; how much of it came before that depends on the cuts.
    let done = |rig: &Rig| {
        rig.outcome.is_some_and(|outcome| outcome.cause.what() == "done") && rig.session.failure().is_none()
    };
    let both_done = first >> 6 == 0 && !mends(*second) && done(&rig) && done(&whole);
    if both_done {
        match whole.session.commit() {
            Some(Commit::Reframe(_)) => assert_eq!(read(&rig.sent()), read(&whole.sent())),
            _ => assert_eq!(rig.sent(), whole.sent()),
        }
    }
    // Nothing is lost or added against a naive reader of what the upstream sent.
    let uncoded = (second >> 2) % 8 < 3;
    if uncoded && !mends(*second) && done(&whole) {
        match whole.session.commit() {
            Some(Commit::PassThrough) => assert_eq!(whole.sent(), body),
            Some(Commit::Reframe(format)) if *format == SSE => {
                // A head that is held back drops what says nothing in front of the stream.
                let sniffed = (first >> 2) % 4 == 2;
                let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
                let (mut got, want) = (read(&whole.sent()), read(if sniffed { text } else { body }));
                // An unclosed end that is provably whole is closed.
                got.truncate(want.len().max(got.len().saturating_sub(1)));
                assert_eq!(got, want);
            }
            _ => {}
        }
    }
});
