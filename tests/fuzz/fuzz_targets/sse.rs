//! In any split, the SSE decoder gives exactly the items of a naive one, holds no more than its limit, and does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::bridge::sse as bridge;
use tidegate::codec::repair::Repairs;
use tidegate::codec::sse::Sse;
use tidegate::codec::{Decode, Error, Event, Item, Options};
use tidegate_fuzz::{Owned, cuts, events, pieces};

const SMALL: usize = 48;

fn decode(limit: usize, repairs: Repairs, pieces: &[&[u8]]) -> Result<Vec<Owned>, Error> {
    let (mut decoder, mut items) = (Sse::new(Options { limit, repairs }), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut |item| {
            check_canonical(item);
            items.push(Owned::from(item));
        })?;
        // `id` and `retry` that travel on are bounded by a block each.
        assert!(decoder.held() <= 3 * limit, "{} bytes held", decoder.held());
    }
    decoder.finish(&mut |item| items.push(Owned::from(item)))?;
    Ok(items)
}

/// Bytes that are said to be canonical are those that would be written.
fn check_canonical(item: Item<'_>) {
    if let Item::Event(event @ Event { canonical: Some(wire), .. }) = item {
        let mut written = Vec::new();
        bridge::event(&Event { canonical: None, ..event }, &mut written);
        assert_eq!(written, wire);
    }
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let cut = pieces(&places, body);
    let bytes: Vec<_> = body.chunks(1).collect();
    assert_eq!(decode(body.len() + 8, Repairs::NONE, &cut), Ok(events(body)));
    // What is put right does not depend on the split either.
    for (limit, repairs) in [(SMALL, Repairs::NONE), (body.len() + 8, Repairs::all())] {
        let items = decode(limit, repairs, &cut);
        assert_eq!(items, decode(limit, repairs, &[body]));
        assert_eq!(items, decode(limit, repairs, &bytes));
    }
});
