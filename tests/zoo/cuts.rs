//! The bodies of the cases through a session alone, in every way that a network can cut them.

use proptest::prelude::any;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tidegate::codec::charset::Charset;
use tidegate::codec::coding::Codings;
use tidegate::format::{FORMATS, Format, TEXT, TEXT_JSON};
use tidegate::stream::Plan;

use super::case::{self, Case};
use crate::support::session::{self, cut, said};

fn plan(case: &Case, format: &'static Format) -> Plan {
    let field = |name: &str| {
        let mut fields = case.upstream.headers.iter();
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    };
    Plan {
        coding: Codings::from_fields([field("content-encoding")].into_iter()).expect("a known coding"),
        charset: Charset::declared(field("content-type")),
        ..session::plan(format, &case.request.path)
    }
}

#[test]
fn every_body_says_the_same_whole_by_byte_with_trailing_bytes_and_at_random_cuts() {
    let mut seen = 0;
    for case in case::load() {
        let body = case.upstream.body();
        // A case of megabytes is cut small enough.
        let smallest = if body.len() > 100_000 { 997 } else { 1 };
        // Raw text has no items: what arrives together stays together.
        for format in FORMATS.iter().filter(|format| ![&TEXT, &TEXT_JSON].contains(format)) {
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
    assert_eq!(seen, 56 * 4, "each case in each format");
}
