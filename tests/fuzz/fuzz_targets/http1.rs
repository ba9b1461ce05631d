//! In any split, the HTTP/1.1 codec reads the same head, body and rest as a naive one, within its bounds, without panic.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use tidegate::upstream::http1::framing::{Decoder, Framing};
use tidegate::upstream::http1::head::HeadReader;
use tidegate_fuzz::{cuts, pieces};

/// What was read of a connection.
#[derive(Debug, PartialEq)]
enum Read {
    NoHead,
    Refused(String),
    Response { head: String, framing: Framing, keep_alive: bool, body: Body },
}

/// What was read of a body: its bytes, how it stands, and what came behind it.
#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    end: End,
    rest: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Open,
    Broken,
}

fn read(pieces: &[&[u8]]) -> Read {
    let mut pieces = pieces.iter();
    let mut reader = HeadReader::default();
    let head = loop {
        let Some(mut piece) = pieces.next().copied() else { return Read::NoHead };
        let mut found = None;
        while !piece.is_empty() {
            // As from a socket: no more than there is room for.
            let (buffer, room) = reader.space();
            let length = room.min(piece.len());
            assert!(length > 0, "no room and no verdict");
            buffer.extend_from_slice(&piece[..length]);
            piece = &piece[length..];
            match reader.next(&Method::GET) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    reader.space().0.extend_from_slice(piece);
                    found = Some(head);
                    break;
                }
                Err(error) => return Read::Refused(error.to_string()),
            }
        }
        if let Some(head) = found {
            break head;
        }
    };
    let lengths: Vec<_> = head.parts.headers.get_all("content-length").iter().collect();
    assert!(lengths.len() < 2, "{lengths:?}");
    for (name, value) in &head.parts.headers {
        assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)), "{name} can split a response");
    }
    let rest = reader.into_rest();
    let body = decode(head.framing, std::iter::once(rest.as_slice()).chain(pieces.copied()));
    let shown = format!("{} {:?} {:?}", head.parts.status, head.parts.version, head.parts.headers);
    Read::Response { head: shown, framing: head.framing, keep_alive: head.keep_alive, body }
}

fn decode<'p>(framing: Framing, pieces: impl Iterator<Item = &'p [u8]>) -> Body {
    let mut decoder = Decoder::new(framing);
    let mut body = Body { data: Vec::new(), end: End::Open, rest: Vec::new() };
    for piece in pieces {
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece) {
            Ok(decoded) => {
                assert!(decoded.used == piece.len() || decoder.is_done(), "bytes were left lying");
                body.data.extend_from_slice(&piece[..decoded.data]);
                body.rest.extend_from_slice(&piece[decoded.used..]);
            }
            Err(broken) => {
                body.data.extend_from_slice(&piece[..broken.data]);
                body.end = End::Broken;
                return body;
            }
        }
    }
    if decoder.is_done() {
        body.end = if decoder.take_trailers().is_ok() { End::Whole } else { End::Broken };
    }
    body
}

/// RFC 9112 7.1, chunk by chunk, from what is all there.
fn naive(mut wire: &[u8]) -> Body {
    let mut body = Body { data: Vec::new(), end: End::Open, rest: Vec::new() };
    let line = |wire: &[u8]| wire.windows(2).position(|pair| pair == b"\r\n");
    loop {
        let Some(end) = line(wire) else { return body };
        let text = String::from_utf8_lossy(&wire[..end]);
        let size = text.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let Some(size) = usize::from_str_radix(size, 16).ok().filter(|_| !size.starts_with('+')) else {
            body.end = End::Broken;
            return body;
        };
        wire = &wire[end + 2..];
        if size == 0 {
            break;
        }
        let there = size.min(wire.len());
        body.data.extend_from_slice(&wire[..there]);
        wire = &wire[there..];
        // A chunk that is not all there has nothing behind it.
        if wire.len() < 2 {
            return body;
        }
        if !wire.starts_with(b"\r\n") {
            body.end = End::Broken;
            return body;
        }
        wire = &wire[2..];
    }
    // The trailer section ends with an empty line.
    let end = if wire.starts_with(b"\r\n") {
        Some(2)
    } else {
        wire.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
    };
    if let Some(end) = end {
        body.end = End::Whole;
        body.rest = wire[end..].to_vec();
    }
    body
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let whole = read(&[body]);
    assert_eq!(read(&pieces(&places, body)), whole);
    assert_eq!(read(&body.chunks(1).collect::<Vec<_>>()), whole);

    // What the codec takes for a whole body, the naive one does too; it is stricter about what is broken.
    let ours = decode(Framing::Chunked, pieces(&places, body).into_iter());
    let theirs = naive(body);
    match ours.end {
        End::Whole => assert_eq!(ours, theirs),
        End::Open => assert!(theirs.end != End::Whole && theirs.data == ours.data, "{ours:?}\n{theirs:?}"),
        End::Broken => assert!(theirs.data.starts_with(&ours.data), "{ours:?}\n{theirs:?}"),
    }
});
