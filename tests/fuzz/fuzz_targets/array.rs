//! In any split, the JSON array decoder gives the same items, each element once where it is one array, within its limit, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::codec::repair::Repairs;
use tidegate::codec::values::Values;
use tidegate::codec::{Decode, Error, Options};
use tidegate_fuzz::{Owned, cuts, pieces};

const SMALL: usize = 24;

/// The items that came out, and how it ended.
fn decode(limit: usize, repairs: Repairs, pieces: &[&[u8]]) -> (Vec<Owned>, Result<(), Error>) {
    let (mut decoder, mut items) = (Values::array(Options { limit, repairs, literal: false }), Vec::new());
    for piece in pieces {
        let result = decoder.decode(piece, &mut |item| items.push(Owned::from(item)));
        if result.is_err() {
            return (items, result);
        }
        assert!(decoder.held() <= limit, "{} bytes held", decoder.held());
    }
    let result = decoder.finish(&mut |item| items.push(Owned::from(item)));
    (items, result)
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let (cut, bytes) = (pieces(&places, body), body.chunks(1).collect::<Vec<_>>());
    let whole = decode(body.len(), Repairs::all(), &[body]);
    for repairs in [Repairs::all(), Repairs::NONE] {
        let whole = decode(body.len(), repairs, &[body]);
        assert_eq!(decode(body.len(), repairs, &cut), whole);
        assert_eq!(decode(body.len(), repairs, &bytes), whole);
        assert_eq!(decode(SMALL, repairs, &cut), decode(SMALL, repairs, &bytes));
    }
    let Ok(elements) = serde_json::from_slice::<Vec<Value>>(body) else { return };
    if elements.iter().all(|element| element.is_object() || element.is_array()) {
        assert_eq!(whole.1, Ok(()));
        let data = whole.0.iter().map(|item| item.data.as_deref().expect("data"));
        let seen: Vec<Value> = data.map(|data| serde_json::from_slice(data).expect("JSON")).collect();
        assert_eq!(seen, elements);
    }
});
