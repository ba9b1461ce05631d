//! A session without a socket: bytes in, in any pieces, and everything that comes out.

use std::time::{Duration, Instant};

use proptest::sample::Index;
use tidegate::codec::repair::{Repairs, Tally};
use tidegate::dialect::Dialect;
use tidegate::format::Format;
use tidegate::stream::{Cause, End, Failure, Mode, Out, Plan, Session};

/// What came out, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The units that a client gets, one chunk each.
    pub units: Vec<Vec<u8>>,
    pub outcome: String,
    pub end: Option<End>,
    pub repaired: Tally,
}

impl Said {
    /// The unit that tells the client how the stream broke, if there is one: in whatever form, it names the outcome.
    pub fn told(&self) -> Option<&[u8]> {
        let (who, what) = self.outcome.split_once(':')?;
        let code = format!("{who}_{what}");
        self.units.last().map(Vec::as_slice).filter(|unit| String::from_utf8_lossy(unit).contains(&code))
    }

    /// The units of the upstream's own.
    pub fn theirs(&self) -> &[Vec<u8>] {
        &self.units[..self.units.len() - usize::from(self.told().is_some())]
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.units.concat()
    }
}

/// A plan for a stream in this format, of the upstream that a request for `path` goes to.
pub fn plan(format: &'static Format, path: &str) -> Plan {
    let dialect = Dialect::hinted(path);
    Plan {
        dialect,
        known_ai: true,
        repairs: Repairs::auto(dialect.is_some()),
        heartbeat: Some(Duration::from_secs(15)),
        max_event_bytes: 64 << 20,
        ..Plan::plain(Mode::Reframe(format))
    }
}

/// How an upstream's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Clean,
    Reset,
    /// Not at all: nothing comes any more.
    Silence,
}

/// Plays a stream that ends cleanly after these pieces.
pub fn said<'b>(plan: Plan, pieces: impl IntoIterator<Item = &'b [u8]>) -> Said {
    played(plan, pieces, Ending::Clean)
}

/// Plays a stream that ends so after these pieces.
pub fn played<'b>(plan: Plan, pieces: impl IntoIterator<Item = &'b [u8]>, ending: Ending) -> Said {
    let silence = plan.event_gap.unwrap_or_default();
    let plan = Plan { first_event: plan.first_event.or(plan.event_gap), ..plan };
    let now = Instant::now();
    let mut session = Session::new(plan, now);
    let (mut out, mut units) = (Out::default(), Vec::new());
    let mut note = |out: &mut Out| {
        let mut from = 0;
        for end in &out.ends {
            units.push(out.bytes[from..*end].to_vec());
            from = *end;
        }
        assert_eq!(from, out.bytes.len(), "every byte belongs to a unit");
        out.clear();
    };
    for piece in pieces {
        session.input(piece, now, &mut out);
        note(&mut out);
        while session.is_behind() {
            session.go_on(now, &mut out);
            note(&mut out);
        }
    }
    match ending {
        Ending::Clean => session.upstream_ended(now, &mut out),
        Ending::Reset => {
            let failure = Failure::new(Cause::UpstreamTruncated, "the connection broke");
            session.upstream_failed(failure, now, &mut out);
        }
        Ending::Silence => assert_eq!(session.tick(now + silence, &mut out), None, "the silence is too long"),
    }
    let end = out.end;
    note(&mut out);
    let outcome = session.outcome().expect("an outcome").to_string();
    Said { units, outcome, end, repaired: session.stats().repaired }
}

/// A body, cut at these places.
pub fn cut<'b>(body: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}
