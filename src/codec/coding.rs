//! Content codings of a stream that came although `identity` was asked for (RFC 9110 8.4.1).
//!
//! Every input is decoded as far as it goes and handed out at once, so an event leaves when the upstream flushed
//! it. A bomb costs no memory: what an input blows up to is handed out in bounded pieces.

use flate2::{Decompress, FlushDecompress, Status};

/// A content coding that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, `x-gzip` (RFC 1952).
    Gzip,
    /// `deflate`: the zlib format (RFC 1950).
    Deflate,
}

/// The body is not what its `Content-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not decode as its content-encoding says")]
pub struct Corrupt;

/// Decodes one body.
#[derive(Debug)]
pub struct Inflate {
    coding: Coding,
    state: Decompress,
    /// At least one byte of the current member was taken.
    begun: bool,
}

impl Coding {
    /// The coding that a `Content-Encoding` value names; `None` for one that is not known, or several.
    pub fn from_header(value: &str) -> Option<Coding> {
        match value.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Coding::Gzip)
            }
            name if name.eq_ignore_ascii_case("deflate") => Some(Coding::Deflate),
            _ => None,
        }
    }

    fn start(self) -> Decompress {
        match self {
            // The largest window, 32 KiB: what every encoder may use.
            Coding::Gzip => Decompress::new_gzip(15),
            Coding::Deflate => Decompress::new(true),
        }
    }
}

impl Inflate {
    /// A decoder at the start of a body.
    pub fn new(coding: Coding) -> Self {
        Inflate { coding, state: coding.start(), begun: false }
    }

    /// Decodes `input` and hands everything that it yields to `sink`, at most 64 KiB at a time.
    ///
    /// # Errors
    /// The input is not in this coding.
    pub fn decode(&mut self, mut input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Corrupt> {
        let mut decoded = Vec::with_capacity(PIECE_BYTES.min(input.len().saturating_mul(8)).max(256));
        loop {
            let before = self.state.total_in();
            let status =
                self.state.decompress_vec(input, &mut decoded, FlushDecompress::Sync).map_err(|_| Corrupt)?;
            let taken = usize::try_from(self.state.total_in() - before).map_err(|_| Corrupt)?;
            input = input.get(taken..).ok_or(Corrupt)?;
            self.begun |= taken > 0;
            let filled = decoded.len() == decoded.capacity();
            if !decoded.is_empty() {
                sink(&decoded);
                decoded.clear();
            }
            match status {
                // RFC 1952 2.2: members may follow each other.
                Status::StreamEnd => (self.state, self.begun) = (self.coding.start(), false),
                Status::Ok | Status::BufError if filled => {}
                Status::Ok | Status::BufError if taken == 0 && !input.is_empty() => return Err(Corrupt),
                Status::Ok | Status::BufError => {}
            }
            if input.is_empty() && !filled {
                return Ok(());
            }
        }
    }

    /// Whether the body may end here: nothing, or whole members, were taken.
    pub fn is_whole(&self) -> bool {
        !self.begun
    }
}

/// The most that is handed out at once.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn decode(coding: Coding, inputs: &[&[u8]]) -> Result<Vec<Vec<u8>>, Corrupt> {
        let mut inflate = Inflate::new(coding);
        let mut outputs = Vec::new();
        for input in inputs {
            let mut output = Vec::new();
            inflate.decode(input, &mut |bytes| output.extend_from_slice(bytes))?;
            outputs.push(output);
        }
        Ok(outputs)
    }

    #[test]
    fn each_flush_of_the_upstream_is_handed_out_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut inputs = Vec::new();
        for text in ["data: a\n\n", "data: b\n\n"] {
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.flush().unwrap();
            inputs.push(std::mem::take(encoder.get_mut()));
        }
        let refs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        assert_eq!(decode(Coding::Gzip, &refs).unwrap(), [b"data: a\n\n", b"data: b\n\n"]);
        let bytes: Vec<u8> = inputs.concat();
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(Coding::Gzip, &bytewise).unwrap().concat(), b"data: a\n\ndata: b\n\n");
    }

    #[test]
    fn deflate_is_zlib() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"hello").unwrap();
        let bytes = encoder.finish().unwrap();
        assert_eq!(decode(Coding::Deflate, &[&bytes]).unwrap().concat(), b"hello");
    }

    #[test]
    fn a_bomb_is_handed_out_in_bounded_pieces() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 2 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (mut largest, mut total) = (0, 0);
        Inflate::new(Coding::Gzip)
            .decode(&bomb, &mut |bytes| {
                largest = largest.max(bytes.len());
                total += bytes.len();
            })
            .unwrap();
        assert_eq!(total, 2 << 20);
        assert!(largest <= PIECE_BYTES, "{largest}");
    }

    #[test]
    fn members_follow_each_other_and_a_cut_one_is_not_whole() {
        let member = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let both = [member("data: a\n"), member("\n")].concat();
        for piece in [1, 5, both.len()] {
            let inputs: Vec<&[u8]> = both.chunks(piece).collect();
            assert_eq!(decode(Coding::Gzip, &inputs).unwrap().concat(), b"data: a\n\n", "pieces of {piece}");
        }
        let mut inflate = Inflate::new(Coding::Gzip);
        assert!(inflate.is_whole());
        inflate.decode(&both[..both.len() - 1], &mut |_| ()).unwrap();
        assert!(!inflate.is_whole());
        inflate.decode(&both[both.len() - 1..], &mut |_| ()).unwrap();
        assert!(inflate.is_whole());
    }

    #[test]
    fn what_is_not_in_the_coding_is_corrupt() {
        assert_eq!(decode(Coding::Gzip, &[b"data: plain text\n\n"]), Err(Corrupt));
        assert_eq!(Coding::from_header(" GZIP"), Some(Coding::Gzip));
        assert_eq!(Coding::from_header("gzip, br"), None);
    }
}
