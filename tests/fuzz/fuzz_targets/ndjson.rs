//! In any split, the JSON sequence decoder gives the same items, each line where that is one value, within its limit, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::codec::values::Values;
use tidegate::codec::{Decode, Error};
use tidegate_fuzz::{Owned, cuts, lines, pieces};

const SMALL: usize = 24;
const BOM: &[u8] = b"\xef\xbb\xbf";

fn decode(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Owned>, Error> {
    let (mut decoder, mut items) = (Values::sequence(limit), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut |item| items.push(Owned::from(item)))?;
        assert!(decoder.held() <= limit, "{} bytes held", decoder.held());
    }
    decoder.finish(&mut |item| items.push(Owned::from(item)))?;
    Ok(items)
}

/// The lines that are not blank, where each is one object or array, or text that cannot be taken for the start of one.
fn naive(body: &[u8]) -> Option<Vec<Owned>> {
    if BOM.starts_with(body) {
        // Half of one, and nothing else, is nothing.
        return Some(Vec::new());
    }
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let (closed, rest) = lines(body);
    let all = closed.into_iter().map(|line| (line, true)).chain([(rest, false)]);
    let mut items = Vec::new();
    for (line, closed) in all {
        let data = line.trim_ascii().to_vec();
        let Some(first) = data.first() else { continue };
        let is_value = b"{[".contains(first);
        // A record separator (RFC 7464) is white space here, and a form feed is not.
        let is_plain = !line.iter().any(|byte| matches!(byte, 0x1e | 0x0c));
        if !is_plain || is_value && serde_json::from_slice::<Value>(&data).is_err() {
            return None;
        }
        items.push(Owned { data: Some(data), closed: closed || is_value, ..Owned::default() });
    }
    Some(items)
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let cut = pieces(&places, body);
    let whole = decode(body.len(), &[body]);
    assert_eq!(decode(body.len(), &cut), whole);
    assert_eq!(decode(body.len(), &body.chunks(1).collect::<Vec<_>>()), whole);
    if let Some(want) = naive(body) {
        assert_eq!(whole, Ok(want));
    }
    let small = decode(SMALL, &cut);
    assert_eq!(small, decode(SMALL, &body.chunks(1).collect::<Vec<_>>()));
});
