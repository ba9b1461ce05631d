//! What hyper has not taken yet of what one step of the relay brought.
//!
//! Invariant: each part that it is given is whole units, in their order. Called by [`super::Relay`].

use bytes::Bytes;

/// What the sink has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Ready {
    bytes: Bytes,
    /// Lengths of the parts of `bytes`, last first; empty if all of it is one.
    lengths: Vec<usize>,
}

/// What the sink makes of a part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// An HTTP/1.1 chunk. There are clients that see where chunks end: each is one unit.
    Chunks,
    /// An HTTP/2 DATA frame. Where it ends means nothing (RFC 9113 6.1), and it costs `h2` more than an event costs everybody
    /// else; from 256 bytes on, a system call as well. So the units of one step share it.
    Data,
}

impl Ready {
    /// Everything was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes units that end at `ends`. Only called when empty.
    pub(super) fn put(&mut self, bytes: &[u8], ends: &[usize], framing: Framing) {
        self.bytes = Bytes::copy_from_slice(bytes);
        if ends.len() < 2 {
            return;
        }
        let most = match framing {
            Framing::Chunks => 0,
            Framing::Data => FRAME_BYTES,
        };
        let mut start = 0;
        let mut ends = ends.iter().copied().peekable();
        while let Some(mut end) = ends.next() {
            while let Some(next) = ends.next_if(|next| next - start <= most) {
                end = next;
            }
            self.lengths.push(end - start);
            start = end;
        }
        self.lengths.reverse();
    }

    /// The next part.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        match self.lengths.pop() {
            Some(length) => {
                if self.lengths.is_empty() && self.lengths.capacity() > KEEP_LENGTHS {
                    self.lengths = Vec::new();
                }
                Some(self.bytes.split_to(length))
            }
            None if self.bytes.is_empty() => None,
            None => Some(std::mem::take(&mut self.bytes)),
        }
    }
}

/// Bytes of a DATA frame that several units share: with its header it fills one TLS record (RFC 8446 5.1), and no client may
/// refuse it (RFC 9113 4.2).
const FRAME_BYTES: usize = (16 << 10) - 9;

/// Lengths that an idle stream may keep room for.
const KEEP_LENGTHS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes: &[u8], ends: &[usize], framing: Framing) -> Vec<Bytes> {
        let mut ready = Ready::default();
        assert_eq!(ready.pop(), None);
        ready.put(bytes, ends, framing);
        let parts = std::iter::from_fn(|| ready.pop()).collect();
        assert!(ready.is_empty());
        parts
    }

    #[test]
    fn units_of_chunks_come_out_one_by_one_in_order() {
        assert_eq!(parts(b"abcdef", &[1, 3, 6], Framing::Chunks), [&b"a"[..], b"bc", b"def"]);
        for framing in [Framing::Chunks, Framing::Data] {
            assert_eq!(parts(b"whole", &[5], framing), [&b"whole"[..]]);
        }
    }

    #[test]
    fn units_of_data_frames_are_joined_while_they_fit_and_never_cut() {
        for (units, joined) in [
            (&[1, 2, 3][..], &[6][..]),
            (&[10_000, 6_375, 1], &[16_375, 1]),
            (&[10_000, 6_376, 1], &[10_000, 6_377]),
            (&[1, 20_000, 1, 1], &[1, 20_000, 2]),
            (&[16_375, 16_375], &[16_375, 16_375]),
        ] {
            let ends: Vec<usize> = units
                .iter()
                .scan(0, |end, unit| {
                    *end += unit;
                    Some(*end)
                })
                .collect();
            let bytes: Vec<u8> = (0..ends[ends.len() - 1]).map(|at| at as u8).collect();
            let parts = parts(&bytes, &ends, Framing::Data);
            assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<usize>>(), joined, "of {units:?}");
            assert_eq!(parts.concat(), bytes);
        }
    }
}
