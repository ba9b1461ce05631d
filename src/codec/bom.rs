//! One byte order mark at the start of a stream, removed in any split (HTML standard 9.2.5).

/// How much of a mark has been seen.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Bom {
    seen: usize,
    done: bool,
}

impl Bom {
    /// Whether the start of the stream is past.
    pub(super) fn is_done(self) -> bool {
        self.done
    }

    /// The bytes that looked like a mark in earlier inputs and are none, and what of `input` is no mark.
    pub(super) fn strip<'i>(&mut self, input: &'i [u8]) -> (&'static [u8], &'i [u8]) {
        let mut rest = input;
        while let (false, Some(byte)) = (self.done, rest.first()) {
            if *byte != MARK[self.seen] {
                self.done = true;
                return (&MARK[..self.seen], rest);
            }
            rest = &rest[1..];
            self.seen += 1;
            self.done = self.seen == MARK.len();
        }
        (&[], rest)
    }
}

const MARK: &[u8; 3] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(inputs: &[&[u8]]) -> Vec<u8> {
        let mut bom = Bom::default();
        let strip = |input: &&[u8]| {
            let (lost, rest) = bom.strip(input);
            [lost, rest].concat()
        };
        inputs.iter().flat_map(strip).collect()
    }

    #[test]
    fn one_mark_goes_and_what_is_none_stays() {
        for (inputs, want) in [
            (&[&b"\xef\xbb\xbfa"[..]] as &[&[u8]], &b"a"[..]),
            (&[b"\xef", b"", b"\xbb", b"\xbf", b"\xef\xbb\xbfa"], b"\xef\xbb\xbfa"),
            (&[b"\xef", b"\xbb", b"a"], b"\xef\xbba"),
            (&[b"a", b"\xef\xbb\xbf"], b"a\xef\xbb\xbf"),
        ] {
            assert_eq!(stripped(inputs), want, "{inputs:?}");
        }
    }
}
