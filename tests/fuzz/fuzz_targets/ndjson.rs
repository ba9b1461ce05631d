//! In any split, the line decoder gives exactly the lines that are not blank, holds no more than its limit, does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::codec::lines::Lines;
use tidegate::codec::{Decode, TooLarge};
use tidegate_fuzz::{Owned, cuts, lines, pieces};

const SMALL: usize = 24;

fn decode(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Owned>, TooLarge> {
    let (mut decoder, mut items) = (Lines::new(limit), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut |item| items.push(Owned::from(item)))?;
        assert!(decoder.held() <= limit, "{} bytes held", decoder.held());
    }
    decoder.finish(&mut |item| items.push(Owned::from(item)));
    Ok(items)
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let cut = pieces(&places, body);
    let (closed, rest) = lines(body);
    let all = closed.into_iter().map(|line| (line, true)).chain([(rest, false)]);
    let want: Vec<Owned> = all
        .map(|(line, closed)| (line.trim_ascii().to_vec(), closed))
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, closed)| Owned { data: Some(line), closed, ..Owned::default() })
        .collect();
    assert_eq!(decode(body.len(), &cut), Ok(want));
    let small = decode(SMALL, &cut);
    assert_eq!(small, decode(SMALL, &[body]));
    assert_eq!(small, decode(SMALL, &body.chunks(1).collect::<Vec<_>>()));
});
