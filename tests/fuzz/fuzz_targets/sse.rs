//! In any split, the SSE decoder gives exactly the items of a naive one, holds no more than its limit, and does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::bridge::sse as bridge;
use tidegate::codec::sse::Sse;
use tidegate::codec::{Decode, Event, Item, TooLarge};
use tidegate_fuzz::{Owned, cuts, events, pieces};

const SMALL: usize = 48;

fn decode(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Owned>, TooLarge> {
    let (mut decoder, mut items) = (Sse::new(limit), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut |item| {
            check_canonical(item);
            items.push(Owned::from(item));
        })?;
        // `id` and `retry` that travel on are bounded by a block each.
        assert!(decoder.held() <= 3 * limit, "{} bytes held", decoder.held());
    }
    decoder.finish(&mut |item| items.push(Owned::from(item)));
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
    assert_eq!(decode(body.len() + 8, &cut), Ok(events(body)));
    let small = decode(SMALL, &cut);
    assert_eq!(small, decode(SMALL, &[body]));
    assert_eq!(small, decode(SMALL, &body.chunks(1).collect::<Vec<_>>()));
});
