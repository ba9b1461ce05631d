//! Every coding by an encoder that flushes per event, in any split, stacked, cut, padded and blown up.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

/// An encoder, and what it gives out when it is flushed and at its end.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Bare(DeflateEncoder<Vec<u8>>),
    Brotli(Box<::brotli::CompressorWriter<Vec<u8>>>),
    Zstd(::zstd::stream::write::Encoder<'static, Vec<u8>>),
}

const ENCODERS: [&str; 5] = ["gzip", "deflate", "bare deflate", "br", "zstd"];

impl Encoder {
    fn new(name: &str) -> Self {
        match name {
            "gzip" => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            "deflate" => Encoder::Zlib(ZlibEncoder::new(Vec::new(), Compression::default())),
            "bare deflate" => Encoder::Bare(DeflateEncoder::new(Vec::new(), Compression::default())),
            "br" => Encoder::Brotli(Box::new(::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22))),
            "zstd" => {
                let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
                encoder.include_checksum(true).unwrap();
                Encoder::Zstd(encoder)
            }
            other => panic!("{other}"),
        }
    }

    /// Everything up to and with `text`, as it is on the wire when flushed.
    fn flushed(&mut self, text: &[u8]) -> Vec<u8> {
        let writer: &mut dyn Write = match self {
            Encoder::Gzip(it) => it,
            Encoder::Zlib(it) => it,
            Encoder::Bare(it) => it,
            Encoder::Brotli(it) => it,
            Encoder::Zstd(it) => it,
        };
        writer.write_all(text).unwrap();
        writer.flush().unwrap();
        std::mem::take(match self {
            Encoder::Gzip(it) => it.get_mut(),
            Encoder::Zlib(it) => it.get_mut(),
            Encoder::Bare(it) => it.get_mut(),
            // Its writer cannot be borrowed mutably.
            Encoder::Brotli(it) => return it.get_ref().clone(),
            Encoder::Zstd(it) => it.get_mut(),
        })
    }

    fn end(self) -> Vec<u8> {
        match self {
            Encoder::Gzip(it) => it.finish().unwrap(),
            Encoder::Zlib(it) => it.finish().unwrap(),
            Encoder::Bare(it) => it.finish().unwrap(),
            Encoder::Brotli(it) => it.into_inner(),
            Encoder::Zstd(it) => it.finish().unwrap(),
        }
    }
}

/// The pieces of a body in which each of `texts` was flushed, and its end.
fn flushes(name: &str, texts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(name);
    let mut pieces: Vec<Vec<u8>> = texts.iter().map(|text| encoder.flushed(text)).collect();
    pieces.push(encoder.end());
    if name == "br" {
        // Each was all so far.
        for at in (1..pieces.len()).rev() {
            let before = pieces[at - 1].len();
            pieces[at].drain(..before);
        }
    }
    pieces
}

fn whole(name: &str, text: &[u8]) -> Vec<u8> {
    flushes(name, &[text]).concat()
}

fn codings(names: &str) -> Codings {
    Codings::from_fields([names.trim_start_matches("bare ")].into_iter()).unwrap().unwrap()
}

fn decoder(names: &str) -> Decoder {
    Decoder::new(codings(names))
}

/// Pushes one piece and pulls all that comes of it, `room` bytes at a time.
fn feed(decoder: &mut Decoder, piece: &[u8], room: usize) -> Result<Vec<u8>, Error> {
    decoder.push(piece);
    let (mut all, mut output) = (Vec::new(), vec![0; room]);
    loop {
        match decoder.pull(&mut output)? {
            0 => return Ok(all),
            length => all.extend_from_slice(&output[..length]),
        }
    }
}

/// Decodes pieces; whether the body may end behind the last.
fn decode<'p>(names: &str, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<(Vec<u8>, bool), Error> {
    let (mut decoder, mut all) = (decoder(names), Vec::new());
    for piece in pieces {
        all.extend(feed(&mut decoder, piece, 777)?);
    }
    Ok((all, decoder.is_whole()))
}

const EVENTS: [&[u8]; 4] =
    [b"data: a\n\n", b"data: \xe4\xbd\xa0\xe5\xa5\xbd\n\n", b"data: {\"x\":[1,2,3]}\n\n", b"data: a\n\n"];

#[test]
fn each_flush_of_the_upstream_comes_out_at_once() {
    for name in ENCODERS {
        let mut decoder = decoder(name);
        let pieces = flushes(name, &EVENTS);
        for (piece, event) in pieces.iter().zip(EVENTS) {
            assert_eq!(feed(&mut decoder, piece, 1000).unwrap(), event, "{name}");
            assert!(!decoder.is_whole(), "{name}");
        }
        assert_eq!(feed(&mut decoder, &pieces[EVENTS.len()], 1000).unwrap(), b"", "{name}");
        assert!(decoder.is_whole(), "{name}");
    }
}

#[test]
fn body_is_the_same_byte_by_byte_and_through_one_byte_of_room() {
    for name in ENCODERS {
        let body = flushes(name, &EVENTS).concat();
        assert_eq!(decode(name, body.chunks(1)).unwrap(), (EVENTS.concat(), true), "{name}");
        assert_eq!(feed(&mut decoder(name), &body, 1).unwrap(), EVENTS.concat(), "{name}");
    }
}

#[test]
fn large_body_comes_out_whole() {
    let text: Vec<u8> = (0..40_000_u32).flat_map(|number| format!("{number:x} ").into_bytes()).collect();
    for name in ENCODERS {
        let body = whole(name, &text);
        let (decoded, ended) = decode(name, body.chunks(1460)).unwrap();
        assert!(decoded == text && ended, "{name}");
    }
}

#[test]
fn body_that_is_cut_anywhere_is_not_whole_and_an_empty_one_is() {
    for name in ENCODERS {
        let body = flushes(name, &EVENTS).concat();
        for end in 1..body.len() {
            let (decoded, ended) = decode(name, [&body[..end]]).unwrap();
            assert!(!ended, "{name} cut at {end} of {}", body.len());
            assert!(EVENTS.concat().starts_with(&decoded), "{name} cut at {end}");
        }
        assert_eq!(decode(name, [&b""[..]]).unwrap(), (Vec::new(), true), "{name}");
    }
}

#[test]
fn members_and_frames_follow_each_other() {
    for name in ["gzip", "zstd"] {
        let mut both = [whole(name, b"one "), whole(name, b"two")].concat();
        assert_eq!(decode(name, [both.as_slice()]).unwrap(), (b"one two".to_vec(), true), "{name}");
        assert_eq!(decode(name, both.chunks(1)).unwrap(), (b"one two".to_vec(), true), "{name}");
        both.pop();
        assert!(!decode(name, [both.as_slice()]).unwrap().1, "{name}");
    }
    // RFC 8878 3.1.2: of a skippable frame nothing comes out.
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0xyz";
    let body = [&skippable[..], &whole("zstd", b"one"), skippable].concat();
    assert_eq!(decode("zstd", body.chunks(1)).unwrap(), (b"one".to_vec(), true));
}

#[test]
fn what_follows_the_end_and_is_no_member_is_left_out() {
    for name in ENCODERS {
        for garbage in ["\0\0\0\0", "\r\n<!-- 3 ms -->"] {
            let body = [whole(name, b"one").as_slice(), garbage.as_bytes()].concat();
            assert_eq!(
                decode(name, [body.as_slice()]).unwrap(),
                (b"one".to_vec(), true),
                "{name} {garbage:?}"
            );
            assert_eq!(decode(name, body.chunks(1)).unwrap(), (b"one".to_vec(), true), "{name} {garbage:?}");
        }
    }
}

#[test]
fn two_codings_come_off_in_the_order_opposite_to_their_list() {
    for first in ENCODERS {
        for second in ENCODERS {
            let names =
                format!("{}, {}", first.trim_start_matches("bare "), second.trim_start_matches("bare "));
            let inner = flushes(first, &EVENTS);
            let inner: Vec<&[u8]> = inner.iter().map(Vec::as_slice).collect();
            let outer = flushes(second, &inner);
            let mut decoder = decoder(&names);
            for (piece, event) in outer.iter().zip(EVENTS) {
                assert_eq!(feed(&mut decoder, piece, 1000).unwrap(), event, "{names}");
            }
            for piece in &outer[EVENTS.len()..] {
                assert_eq!(feed(&mut decoder, piece, 1000).unwrap(), b"", "{names}");
            }
            assert!(decoder.is_whole(), "{names}");
        }
    }
}

#[test]
fn what_is_not_in_the_coding_is_corrupt() {
    for name in ["gzip", "br", "zstd"] {
        assert_eq!(decode(name, [&b"data: plain text\n\n"[..]]), Err(Error::Corrupt), "{name}");
    }
    // As bare DEFLATE this is a block of a type that does not exist.
    assert_eq!(decode("deflate", [&b"\xff\xff\xff\xff"[..]]), Err(Error::Corrupt));
    for name in ["gzip", "deflate", "zstd"] {
        let mut body = whole(name, b"the quick brown fox");
        let checksum = body.len() - if name == "gzip" { 8 } else { 1 };
        body[checksum] ^= 1;
        assert_eq!(decode(name, [body.as_slice()]), Err(Error::Corrupt), "{name}");
    }
}

#[test]
fn bomb_ends_with_an_error_before_it_is_large() {
    for names in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "zstd, br"] {
        let mut body = vec![b'\n'; 4 << 20];
        for name in names.split(", ") {
            body = whole(name, &body);
        }
        let (mut decoder, mut total, mut output) = (decoder(names), 0_u64, [0; 4096]);
        decoder.push(&body);
        let end = loop {
            match decoder.pull(&mut output) {
                Ok(0) => break Ok(()),
                Ok(length) => total += length as u64,
                Err(error) => break Err(error),
            }
        };
        assert_eq!(end, Err(Error::Ratio), "{names}");
        assert!(total <= FREE_BYTES + u64::from(MAX_RATIO) * body.len() as u64, "{names}: {total}");
    }
}

#[test]
fn window_past_its_bound_is_refused_by_name() {
    // RFC 8878 3.1.1.1.2: exponent 14 is a window of 16 MiB.
    let frame = |exponent: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 1, 0, 0];
    assert_eq!(decode("zstd", [&frame(14)[..]]), Err(Error::Window { limit: 8 << 20 }));
    assert_eq!(decode("zstd", [&frame(13)[..]]), Ok((Vec::new(), true)));
    // The first byte of a large window, in which WBITS follows.
    let refused = decode("br", [&b"\x11\x1e\0\0"[..]]);
    assert_eq!(refused, Err(Error::Window { limit: (16 << 20) - 16 }));
    let text = Error::Window { limit: 8 << 20 }.to_string();
    assert_eq!(text, "the upstream's coded body needs a window larger than 8388608 bytes");
}

#[test]
fn memory_that_is_held_is_told() {
    let text: Vec<u8> = (0..60_000_u32).flat_map(|number| format!("{number:x} ").into_bytes()).collect();
    for (name, least, most) in
        [("gzip", 32 << 10, 64 << 10), ("br", 256 << 10, 1 << 20), ("zstd", 400 << 10, 1 << 20)]
    {
        let body = whole(name, &text);
        let (mut decoder, mut held) = (decoder(name), 0);
        for piece in body.chunks(1000) {
            feed(&mut decoder, piece, 1000).unwrap();
            held = held.max(decoder.held());
        }
        assert!((least..most).contains(&held), "{name}: {held}");
    }
}

#[test]
fn codings_are_read_from_all_fields_and_at_most_two() {
    let of = |fields: &[&'static str]| Codings::from_fields(fields.iter().copied());
    let one = |first| Ok(Some(Codings { first, second: None }));
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&["identity", ""]), Ok(None));
    assert_eq!(of(&[" X-GZip"]), one(Coding::Gzip));
    assert_eq!(of(&["identity, br,"]), one(Coding::Brotli));
    let two = Ok(Some(Codings { first: Coding::Gzip, second: Some(Coding::Zstd) }));
    assert_eq!((of(&["gzip, zstd"]), of(&["gzip", "zstd"])), (two, two));
    assert_eq!(
        (of(&["gzip, br, zstd"]), of(&["compress"]), of(&["gzip, aes128gcm"])),
        (Err(Unknown), Err(Unknown), Err(Unknown))
    );
}

proptest! {
    #[test]
    fn body_is_the_same_at_random_cuts(
        name in prop::sample::select(ENCODERS.to_vec()),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let body = flushes(name, &texts).concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]);
        prop_assert_eq!(decode(name, pieces).unwrap(), (texts.concat(), true));
    }

    #[test]
    fn decoder_never_panics_and_never_disagrees_about_where_it_was_cut(
        name in prop::sample::select(vec!["gzip", "deflate", "br", "zstd"]),
        at in any::<prop::sample::Index>(),
        change in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = flushes(name, &EVENTS).concat();
        let at = at.index(body.len());
        body[at] ^= change;
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(decode(name, [body.as_slice()]), decode(name, [head, tail]));
    }
}
