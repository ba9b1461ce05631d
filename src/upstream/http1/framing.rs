//! The framing of a response body, taken off in place (RFC 9112 6 and 7). Pure.
//!
//! Contract: [`Decoder::decode`] takes any split of the body, one byte or many chunks; body bytes move to the
//! front of the buffer, nothing is copied elsewhere, and every byte is looked at once.

use http::HeaderMap;

use super::head::parse_trailers;
use crate::upstream::error::Error;

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After this many bytes; never 0.
    Length(u64),
    /// After the last chunk and the trailer section.
    Chunked,
    /// Where the connection ends.
    Close,
}

/// Takes the framing off.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The trailer section so far; empty, and never allocated, where there is none.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come.
    Length(u64),
    Close,
    /// In the digits of a chunk size: its value, and how many there were.
    Size(u64, u8),
    /// After the digits; the size, and how many bytes of blanks and extensions were skipped.
    Extension(u64, usize),
    /// The size line lacks only its LF.
    SizeLf(u64),
    /// In the data of a chunk.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of the trailer section.
    Trailers,
    /// In its fields.
    TrailerField,
    /// An empty line that lacks only its LF.
    EndLf,
    Done,
}

/// What one read held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Body bytes, now at the front of the buffer.
    pub data: usize,
    /// Bytes of the buffer that belonged to the body and its framing; less than all only at its end.
    pub used: usize,
}

/// What one read held before its framing went wrong.
#[derive(Debug)]
pub struct Broken {
    /// Body bytes, now at the front of the buffer: they came before, and are good.
    pub data: usize,
    /// What is wrong behind them.
    pub error: Error,
}

impl Decoder {
    /// A decoder at the start of a body that is framed like this.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0, 0),
            Framing::Close => State::Close,
        };
        Decoder { state, trailers: Vec::new() }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the body, at most, may be read without reading past it.
    pub fn room(&self) -> usize {
        match self.state {
            State::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// The connection ended. Whether the body is complete by that.
    pub fn end_of_file(&mut self) -> bool {
        if self.state == State::Close {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// The trailer section, once the body is complete.
    ///
    /// # Errors
    /// It is not one.
    pub fn take_trailers(&mut self) -> Result<Option<HeaderMap>, Error> {
        let bytes = std::mem::take(&mut self.trailers);
        if bytes.is_empty() { Ok(None) } else { parse_trailers(&bytes).map(Some) }
    }

    /// Takes the framing off what has just been read.
    ///
    /// # Errors
    /// The framing is broken; see [`Broken`]. Not to be called again.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Result<Decoded, Broken> {
        let mut decoded = Decoded::default();
        while decoded.used < buffer.len() && !self.is_done() {
            let available = buffer.len() - decoded.used;
            match self.state {
                State::Close => self.data(&mut decoded, buffer, available),
                State::Length(left) | State::Data(left) => {
                    let length = usize::try_from(left).map_or(available, |left| left.min(available));
                    self.data(&mut decoded, buffer, length);
                }
                state => {
                    if let Some((next, length)) = usual(state, &buffer[decoded.used..]) {
                        self.state = next;
                        decoded.used += length;
                        continue;
                    }
                    let next = self.step(state, buffer[decoded.used]);
                    self.state =
                        next.map_err(|what| Broken { data: decoded.data, error: Error::Malformed { what } })?;
                    decoded.used += 1;
                }
            }
        }
        Ok(decoded)
    }

    /// The next `length` bytes are body: moves them to the front.
    fn data(&mut self, decoded: &mut Decoded, buffer: &mut [u8], length: usize) {
        if decoded.used != decoded.data {
            buffer.copy_within(decoded.used..decoded.used + length, decoded.data);
        }
        decoded.used += length;
        decoded.data += length;
        let length = length as u64;
        self.state = match self.state {
            State::Length(left) if left == length => State::Done,
            State::Length(left) => State::Length(left - length),
            State::Data(left) if left == length => State::DataCr,
            State::Data(left) => State::Data(left - length),
            other => other,
        };
    }

    /// One byte of chunk framing (RFC 9112 7.1). Blanks after a size and extensions are skipped; a bare LF is
    /// an error, as everywhere in the framing. An error is what is wrong: nothing larger, since this is done by the byte.
    fn step(&mut self, state: State, byte: u8) -> Result<State, &'static str> {
        Ok(match (state, byte) {
            (State::Size(_, MAX_SIZE_DIGITS..), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return Err("a chunk size of more than 32 digits");
            }
            (State::Size(size, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // RFC 9112 7.1: a recipient must expect large sizes and not let them overflow.
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                State::Size(size.ok_or("a chunk size that overflows")?, digits + 1)
            }
            (State::Size(_, 0), _) => return Err("a bad chunk size"),
            (State::Size(size, _) | State::Extension(size, _), b'\r') => State::SizeLf(size),
            (State::Size(size, _), b' ' | b'\t' | b';') => State::Extension(size, usize::from(byte == b';')),
            (State::Extension(size, 0), b' ' | b'\t') => State::Extension(size, 0),
            (State::Extension(size, 0), b';') => State::Extension(size, 1),
            (State::Extension(_, MAX_EXTENSION..), _) => {
                return Err("a chunk extension larger than 4 KiB");
            }
            (State::Extension(size, seen @ 1..), byte) if byte != b'\n' => State::Extension(size, seen + 1),
            (State::SizeLf(0), b'\n') => State::Trailers,
            (State::SizeLf(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),
            (State::Trailers, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::Trailers | State::TrailerField, _) => return self.trailer(byte),
            (State::DataCr | State::DataLf, _) => {
                return Err("a chunk that is longer than its size");
            }
            _ => return Err("a bad chunk size"),
        })
    }

    /// One byte of a trailer section that has fields; it ends with an empty line.
    fn trailer(&mut self, byte: u8) -> Result<State, &'static str> {
        if self.trailers.len() >= MAX_TRAILERS {
            return Err("trailers larger than 16 KiB");
        }
        self.trailers.push(byte);
        Ok(if self.trailers.ends_with(b"\r\n\r\n") { State::Done } else { State::TrailerField })
    }
}

/// What [`Decoder::step`] would come to at the next chunk's data, and how many bytes on, where all that stands before it
/// is here as everybody writes it. Each event is a chunk, and this is a fifth of the work.
fn usual(state: State, bytes: &[u8]) -> Option<(State, usize)> {
    let line = match state {
        State::DataCr => bytes.strip_prefix(b"\r\n")?,
        State::Size(0, 0) => bytes,
        _ => return None,
    };
    let before = bytes.len() - line.len();
    if line.is_empty() {
        return Some((State::Size(0, 0), before));
    }
    let mut size = 0;
    for (digits, byte) in line.iter().take(USUAL_SIZE_DIGITS + 1).enumerate() {
        match char::from(*byte).to_digit(16) {
            Some(digit) => size = size << 4 | u64::from(digit),
            None => {
                let is_whole = size > 0 && line[digits..].starts_with(b"\r\n");
                return is_whole.then_some((State::Data(size), before + digits + 2));
            }
        }
    }
    None
}

/// Digits of a chunk of less than 4 GiB.
const USUAL_SIZE_DIGITS: usize = 8;

/// Most digits of a chunk size. Sixteen can mean something; some servers pad theirs with zeros.
const MAX_SIZE_DIGITS: u8 = 32;

/// Largest chunk extension in bytes. Nobody uses them; one of any size would be a way to send without end.
const MAX_EXTENSION: usize = 4 << 10;

/// Largest trailer section in bytes.
const MAX_TRAILERS: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Body {
        data: Vec<u8>,
        done: bool,
        rest: Vec<u8>,
        trailers: Option<HeaderMap>,
    }

    fn decode<'a>(
        framing: Framing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Body, &'static str> {
        let mut decoder = Decoder::new(framing);
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        let named = |error| match error {
            Error::Malformed { what } => what,
            other => panic!("{other}"),
        };
        for piece in pieces {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece).map_err(|broken| named(broken.error))?;
            assert!(decoded.used == piece.len() || decoder.is_done());
            data.extend_from_slice(&piece[..decoded.data]);
            rest.extend_from_slice(&piece[decoded.used..]);
        }
        let done = decoder.is_done();
        let trailers = decoder.take_trailers().map_err(named)?;
        Ok(Body { data, done, rest, trailers })
    }

    fn chunked(bytes: &str) -> Result<Body, &'static str> {
        let whole = decode(Framing::Chunked, [bytes.as_bytes()]);
        assert_eq!(whole, decode(Framing::Chunked, bytes.as_bytes().chunks(1)));
        whole
    }

    fn data(bytes: &str) -> String {
        let body = chunked(bytes).unwrap();
        assert!(body.done && body.rest.is_empty());
        String::from_utf8(body.data).unwrap()
    }

    #[test]
    fn chunks_lose_their_framing() {
        assert_eq!(data("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "hello world");
        assert_eq!(data("000A\r\n0123456789\r\n000\r\n\r\n"), "0123456789");
        assert_eq!(data("0\r\n\r\n"), "");
    }

    #[test]
    fn chunk_size_may_be_padded_or_extended() {
        assert_eq!(data("5   \r\nhello\r\n0 \t\r\n\r\n"), "hello");
        assert_eq!(data("5;a=\"b;c\"\r\nhello\r\n0;x\r\n\r\n"), "hello");
        assert_eq!(data("5 ; a = b\r\nhello\r\n0\r\n\r\n"), "hello");
    }

    #[test]
    fn chunks_are_refused_when_malformed() {
        for bad in
            ["\r\n", "g\r\n", " 5\r\n", "-1\r\n", "0x5\r\n", "5 5\r\n", "5\n", "5\r5", "5;a\n", "+5\r\n"]
        {
            assert_eq!(chunked(bad), Err("a bad chunk size"), "{bad:?}");
        }
        assert_eq!(chunked("10000000000000000\r\n"), Err("a chunk size that overflows"));
        let padded = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(31));
        assert_eq!(data(&padded), "hello");
        assert_eq!(chunked(&format!("0{padded}")), Err("a chunk size of more than 32 digits"));
        assert_eq!(chunked("2\r\nabc"), Err("a chunk that is longer than its size"));
        assert_eq!(chunked("2\r\nab\n"), Err("a chunk that is longer than its size"));
        let long = format!("5;{}\r\n", "x".repeat(MAX_EXTENSION));
        assert_eq!(chunked(&long), Err("a chunk extension larger than 4 KiB"));
    }

    #[test]
    fn what_came_before_broken_framing_is_kept() {
        let mut bytes = b"5\r\nhello\r\n2\r\n, \r\nzz\r\n".to_vec();
        let broken = Decoder::new(Framing::Chunked).decode(&mut bytes).unwrap_err();
        assert_eq!(&bytes[..broken.data], b"hello, ");
    }

    #[test]
    fn trailers_are_parsed_and_bounded() {
        let body = chunked("1\r\na\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\nnext").unwrap();
        let trailers = body.trailers.unwrap();
        assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((body.done, body.rest.as_slice()), (true, &b"next"[..]));
        let long = format!("0\r\nX: {}\r\n\r\n", "y".repeat(MAX_TRAILERS));
        assert_eq!(chunked(&long), Err("trailers larger than 16 KiB"));
        assert_eq!(chunked("0\r\nno colon\r\n\r\n").unwrap_err(), "a bad header name");
    }

    #[test]
    fn body_of_a_length_leaves_what_follows() {
        let body = decode(Framing::Length(5), [&b"hel"[..], b"lo next"]).unwrap();
        assert_eq!(
            (body.data.as_slice(), body.done, body.rest.as_slice()),
            (&b"hello"[..], true, &b" next"[..])
        );
        assert!(!decode(Framing::Length(5), [&b"hell"[..]]).unwrap().done);
    }

    #[test]
    fn end_of_file_completes_only_a_body_that_ends_by_it() {
        assert!(Decoder::new(Framing::Close).end_of_file());
        assert!(Decoder::new(Framing::None).end_of_file());
        assert!(!Decoder::new(Framing::Length(1)).end_of_file());
        let mut decoder = Decoder::new(Framing::Chunked);
        decoder.decode(&mut b"1\r\na\r\n0\r\n".to_vec()).unwrap();
        assert!(!decoder.end_of_file());
    }

    proptest! {
        #[test]
        fn body_is_the_same_at_random_cuts(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nA: b\r\n\r\ntrailing bytes");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let body = decode(Framing::Chunked, cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]])).unwrap();
            prop_assert_eq!(body.data, chunks.concat());
            prop_assert!(body.done);
            prop_assert_eq!(body.rest, b"trailing bytes");
            prop_assert_eq!(body.trailers.unwrap().len(), 1);
        }

        #[test]
        fn decoder_never_panics(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let _ = decode(Framing::Chunked, pieces.iter().map(Vec::as_slice));
        }
    }
}
