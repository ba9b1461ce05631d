//! In any split, a coded body decodes to the same, within its bounds, without panic; zstd as the C library has it.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use tidegate::codec::coding::{Codings, Decoder, Error};
use tidegate_fuzz::{cuts, pieces};

const NAMES: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate"];

/// What is decoded of it, and how it ends; no more than this many bytes.
fn decode(names: &str, pieces: &[&[u8]], room: usize) -> (Vec<u8>, Result<bool, Error>) {
    let codings = Codings::from_fields([names].into_iter()).ok().flatten().expect("they are known");
    let (mut decoder, mut all, mut output) = (Decoder::new(codings), Vec::new(), vec![0; room]);
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.pull(&mut output) {
                Ok(0) => break,
                Ok(length) => all.extend_from_slice(&output[..length]),
                Err(error) => return (all, Err(error)),
            }
            if all.len() > MOST {
                return (all, Ok(false));
            }
        }
        assert!(decoder.held() <= 48 << 20, "{} bytes held", decoder.held());
    }
    (all, Ok(decoder.is_whole()))
}

const MOST: usize = 1 << 19;

fuzz_target!(|input: &[u8]| {
    let Some((which, input)) = input.split_first() else { return };
    let names = NAMES[usize::from(*which) % NAMES.len()];
    let (places, body) = cuts(input);
    let (whole, end) = decode(names, &[body], 4096);
    let (cut, cut_end) = decode(names, &pieces(&places, body), 1000);
    if whole.len() > MOST || cut.len() > MOST {
        return;
    }
    // An error may be found before or after the bytes in front of it are given out.
    let common = whole.len().min(cut.len());
    assert_eq!(whole[..common], cut[..common]);
    assert_eq!(end, cut_end);
    if end.is_ok() {
        assert_eq!(whole, cut);
    }
    if names == "zstd" && end == Ok(true) && !body.is_empty() {
        let mut theirs = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(body);
        // What follows the last frame is an error there.
        let _ = decoder.and_then(|decoder| decoder.take(MOST as u64 + 1).read_to_end(&mut theirs));
        assert_eq!(theirs, whole);
    }
});
