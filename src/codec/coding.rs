//! Content codings of a stream that came although `identity` was asked for (RFC 9110 8.4.1).
//!
//! Every input is decoded as far as it goes and handed out at once, so an event leaves when the upstream flushed
//! it. What one input can blow up to is bounded: it is taken in small pieces, and each piece's output is handed
//! out before the next is looked at.

use std::fmt;
use std::io::Write;

use flate2::write::{MultiGzDecoder, ZlibDecoder};

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
pub struct Inflate(Inner);

enum Inner {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
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
}

impl Inflate {
    /// A decoder at the start of a body.
    pub fn new(coding: Coding) -> Self {
        Inflate(match coding {
            Coding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Inner::Deflate(Box::new(ZlibDecoder::new(Vec::new()))),
        })
    }

    /// Decodes `input` and hands everything that it yields to `sink`, piece by piece.
    ///
    /// # Errors
    /// The input is not in this coding.
    pub fn decode(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Corrupt> {
        for piece in input.chunks(PIECE_BYTES) {
            match &mut self.0 {
                Inner::Gzip(decoder) => {
                    decoder.write_all(piece).and_then(|()| decoder.flush()).map_err(|_| Corrupt)?;
                    hand_out(decoder.get_mut(), sink);
                }
                Inner::Deflate(decoder) => {
                    decoder.write_all(piece).and_then(|()| decoder.flush()).map_err(|_| Corrupt)?;
                    hand_out(decoder.get_mut(), sink);
                }
            }
        }
        Ok(())
    }
}

fn hand_out(decoded: &mut Vec<u8>, sink: &mut dyn FnMut(&[u8])) {
    if !decoded.is_empty() {
        sink(decoded);
        super::release(decoded);
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Gzip(_) => "Inflate(gzip)",
            Inner::Deflate(_) => "Inflate(deflate)",
        })
    }
}

/// Deflate grows by at most 1032 to 1, so one piece yields about 1 MiB at the most.
const PIECE_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
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
        encoder.write_all(&vec![0; 64 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (mut largest, mut total) = (0, 0);
        Inflate::new(Coding::Gzip)
            .decode(&bomb, &mut |bytes| {
                largest = largest.max(bytes.len());
                total += bytes.len();
            })
            .unwrap();
        assert_eq!(total, 64 << 20);
        assert!(largest <= 2 << 20, "{largest}");
    }

    #[test]
    fn what_is_not_in_the_coding_is_corrupt() {
        assert_eq!(decode(Coding::Gzip, &[b"data: plain text\n\n"]), Err(Corrupt));
        assert_eq!(Coding::from_header(" GZIP"), Some(Coding::Gzip));
        assert_eq!(Coding::from_header("gzip, br"), None);
    }
}
