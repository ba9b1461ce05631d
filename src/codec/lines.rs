//! Where lines end: LF, CRLF or a lone CR (HTML standard 9.2.5), found across any split; and a decoder that
//! makes each line an event, for newline-delimited JSON.
//!
//! A CR ends its line at once. If an LF follows, now or in the next input, it is swallowed: nobody waits for it.

use super::{Data, Decode, Event, Item, Sink, TooLarge, release};

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

/// Each non-blank line is an event with that line, trimmed of white space, as its data.
#[derive(Debug)]
pub struct Lines {
    ends: LineEnds,
    held: Vec<u8>,
    limit: usize,
}

impl Lines {
    /// A decoder for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Lines { ends: LineEnds::default(), held: Vec::new(), limit }
    }

    fn fits(&self, line: usize) -> Result<(), TooLarge> {
        if line > self.limit { Err(TooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

impl Decode for Lines {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), TooLarge> {
        let mut at = 0;
        loop {
            at = self.ends.start(input, at);
            let Some(end) = self.ends.find(input, at) else { break };
            let tail = &input[at..end.at];
            self.fits(self.held.len() + tail.len())?;
            if self.held.is_empty() {
                emit(tail, true, sink);
            } else {
                self.held.extend_from_slice(tail);
                emit(&self.held, true, sink);
                release(&mut self.held);
            }
            at = end.next;
        }
        self.fits(self.held.len() + input.len() - at)?;
        self.held.extend_from_slice(&input[at..]);
        Ok(())
    }

    fn finish(&mut self, sink: &mut Sink<'_>) {
        emit(&self.held, false, sink);
        release(&mut self.held);
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}

fn emit(line: &[u8], closed: bool, sink: &mut Sink<'_>) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        sink(Item::Event(Event { data: Data::Line(line), closed, ..Event::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Owned, assert_any_split, whole};
    use super::*;

    fn decoder() -> Box<dyn Decode> {
        Box::new(Lines::new(1 << 20))
    }

    #[test]
    fn lines_are_events_for_every_line_end_and_split() {
        let input = b"{\"a\":1}\n{\"b\":\"\xe4\xbd\xa0\"}\r\n\r\n\n  {\"c\":3}  \r{\"d\":4}\n";
        let want = ["{\"a\":1}", "{\"b\":\"你\"}", "{\"c\":3}", "{\"d\":4}"];
        let got = assert_any_split(decoder, input);
        assert_eq!(got, want.map(Owned::data));
    }

    #[test]
    fn lines_hand_out_an_unclosed_last_line_as_such() {
        let got = whole(decoder(), b"{\"a\":1}\n{\"b\":");
        assert_eq!(got[0], Owned::data("{\"a\":1}"));
        assert_eq!(got[1], Owned { closed: false, ..Owned::data("{\"b\":") });
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn lines_refuse_a_line_past_the_limit_however_it_comes() {
        for piece in [1, 3, 20] {
            let mut lines = Lines::new(8);
            let result = b"123456789\n".chunks(piece).try_for_each(|part| lines.decode(part, &mut |_| ()));
            assert_eq!(result, Err(TooLarge { limit: 8 }), "pieces of {piece}");
        }
        assert!(Lines::new(8).decode(b"12345678\n12345678\n", &mut |_| ()).is_ok());
    }

    #[test]
    fn split_gives_each_line_once_for_mixed_ends() {
        let lines: Vec<_> = split(b"a\r\nb\rc\n\nd").collect();
        assert_eq!(lines, [&b"a"[..], b"b", b"c", b"", b"d"]);
    }
}
