//! The bodies of the cases through a session alone, in every way that a network can cut them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::any;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tidegate::codec::coding::Codings;
use tidegate::dialect::Dialect;
use tidegate::format::{Format, NDJSON, SSE};
use tidegate::stream::{Budget, Mode, Out, Plan, Session};

use super::case::{self, Case};

/// What came out, unit by unit, and the outcome.
type Said = (Vec<Vec<u8>>, String);

fn plan(case: &Case, format: &'static Format) -> Plan {
    let field = |name: &str| {
        let mut fields = case.upstream.headers.iter();
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    };
    Plan {
        mode: Mode::Reframe(format),
        is_error: false,
        dialect: Dialect::hinted(&case.request.path),
        known_ai: true,
        coding: Codings::from_fields([field("content-encoding")].into_iter()).expect("a known coding"),
        mask: None,
        heartbeat: Some(Duration::from_secs(15)),
        first_event: None,
        event_gap: None,
        total: None,
        max_event_bytes: 64 << 20,
        share: Arc::new(Budget::new(1 << 30)).share(),
    }
}

fn said<'b>(plan: Plan, pieces: impl IntoIterator<Item = &'b [u8]>) -> Said {
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
    session.upstream_ended(now, &mut out);
    note(&mut out);
    (units, session.outcome().expect("an outcome").to_string())
}

fn cut<'b>(body: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}

#[test]
fn every_body_says_the_same_whole_by_byte_with_trailing_bytes_and_at_random_cuts() {
    let mut seen = 0;
    for case in case::load() {
        let body = case.upstream.body();
        // A case of megabytes is cut small enough.
        let smallest = if body.len() > 100_000 { 997 } else { 1 };
        for format in [&SSE, &NDJSON] {
            let plan = || plan(&case, format);
            let whole = said(plan(), [body.as_slice()]);
            let name = format!("{} as {}", case.name, format.name);
            assert_eq!(said(plan(), body.chunks(smallest)), whole, "{name} in pieces of {smallest}");
            let random = proptest::collection::vec(any::<Index>(), 0..12);
            let result = TestRunner::new(Config::with_cases(16)).run(&random, |cuts| {
                assert_eq!(said(plan(), cut(&body, &cuts)), whole, "{name} at random cuts");
                Ok(())
            });
            assert!(result.is_ok(), "{name}: {result:?}");
            if plan().coding.is_none() {
                let trailing = [&body[..], b"\n\ndata: tai"].concat();
                let in_one = said(plan(), [trailing.as_slice()]);
                let in_two = said(plan(), [&body[..], b"\n\ndata: tai"]);
                assert_eq!(in_one, in_two, "{name} with trailing bytes");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 112, "each case in each format");
}
