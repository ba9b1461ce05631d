//! In any split, AWS messages give the same items, each payload once; one wrong byte is an error, never an item; no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::codec::aws_eventstream::AwsEventStream;
use tidegate::codec::{Decode, Error};
use tidegate_fuzz::aws::framed;
use tidegate_fuzz::{Owned, aws_message, cuts, pieces};

const LIMIT: usize = 1 << 20;

fn decode(pieces: &[&[u8]]) -> (Vec<Owned>, Result<(), Error>) {
    let (mut decoder, mut items) = (AwsEventStream::new(LIMIT), Vec::new());
    for piece in pieces {
        let result = decoder.decode(piece, &mut |item| items.push(Owned::from(item)));
        if result.is_err() {
            return (items, result);
        }
        assert!(decoder.held() <= LIMIT, "{} bytes held", decoder.held());
    }
    let result = decoder.finish(&mut |item| items.push(Owned::from(item)));
    (items, result)
}

fn same_in_any_split(places: &[usize], body: &[u8]) -> (Vec<Owned>, Result<(), Error>) {
    let places: Vec<usize> = places.iter().map(|place| *place.min(&body.len())).collect();
    let whole = decode(&[body]);
    assert_eq!(decode(&pieces(&places, body)), whole);
    assert_eq!(decode(&body.chunks(1).collect::<Vec<_>>()), whole);
    whole
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let Some((kind, body)) = body.split_first() else { return };
    match kind % 3 {
        // Whatever it is.
        0 => drop(same_in_any_split(&places, body)),
        // Headers of any kind behind checksums that hold.
        1 => {
            let (fields, payload) = body.split_at(body.len() / 2);
            drop(same_in_any_split(&places, &framed(fields, payload)));
        }
        // Events, and then one of their bytes wrong.
        _ => {
            let payloads: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
            let mut wire: Vec<u8> =
                payloads.iter().flat_map(|payload| aws_message("delta", payload)).collect();
            let (items, result) = same_in_any_split(&places, &wire);
            assert_eq!((items.len(), result), (payloads.len(), Ok(())));
            for (item, payload) in items.iter().zip(&payloads) {
                if std::str::from_utf8(payload).is_ok() && !payload.contains(&b'\r') {
                    assert_eq!(item.data.as_deref(), Some(*payload));
                }
            }
            let at = places.first().copied().unwrap_or_default() % wire.len();
            wire[at] ^= kind | 1;
            let (left, result) = same_in_any_split(&places, &wire);
            assert!(result.is_err(), "byte {at} is wrong");
            assert_eq!(left[..], items[..left.len()]);
        }
    }
});
