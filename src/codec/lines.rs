//! Where lines end: LF, CRLF or a lone CR (HTML standard 9.2.5), found across any split.
//!
//! A CR ends its line at once. If an LF follows, now or in the next input, it is swallowed: nobody waits for it.

/// The state between two inputs: did the last line end in a CR?
#[derive(Debug, Default, Clone, Copy)]
pub struct LineEnds {
    after_cr: bool,
}

/// A line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineEnd {
    /// Where the line end begins: the line's content ends here.
    pub at: usize,
    /// Where the next line begins.
    pub next: usize,
    /// Whether it is a single LF.
    pub lf: bool,
}

impl LineEnds {
    /// Where the line at `from` really starts: past the LF of a CRLF whose CR ended the line before.
    pub fn start(&mut self, input: &[u8], from: usize) -> usize {
        if !self.after_cr {
            return from;
        }
        match input.get(from) {
            None => from,
            Some(byte) => {
                self.after_cr = false;
                if *byte == b'\n' { from + 1 } else { from }
            }
        }
    }

    /// The first line end at or after `from`.
    pub fn find(&mut self, input: &[u8], from: usize) -> Option<LineEnd> {
        let at = from + memchr::memchr2(b'\n', b'\r', input.get(from..)?)?;
        let lf = input[at] == b'\n';
        self.after_cr = !lf;
        Some(LineEnd { at, next: at + 1, lf })
    }
}

/// Splits a block of complete lines, as a decoder kept it, into lines without their ends.
pub fn split(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ends = LineEnds::default();
    let mut at = 0;
    std::iter::from_fn(move || {
        at = ends.start(block, at);
        if at >= block.len() {
            return None;
        }
        let from = at;
        let Some(end) = ends.find(block, from) else {
            at = block.len();
            return Some(&block[from..]);
        };
        at = end.next;
        Some(&block[from..end.at])
    })
}

/// Splits text into lines without their ends; what follows the last line end is a line too, though it may be empty.
pub fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends_in_one = text.last().is_some_and(|last| matches!(last, b'\n' | b'\r'));
    split(text).chain((ends_in_one || text.is_empty()).then_some(&b""[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_gives_each_line_once_for_mixed_ends() {
        let lines: Vec<_> = split(b"a\r\nb\rc\n\nd").collect();
        assert_eq!(lines, [&b"a"[..], b"b", b"c", b"", b"d"]);
    }

    #[test]
    fn pieces_join_to_the_text() {
        for (text, want) in
            [("a\nb", "a|b"), ("a\n", "a|"), ("\r\n\ra", "||a"), ("", ""), ("\n", "|"), ("a\r\n\r\n", "a||")]
        {
            let pieces: Vec<_> = pieces(text.as_bytes()).map(String::from_utf8_lossy).collect();
            assert_eq!(pieces.join("|"), want, "{text:?}");
        }
    }
}
