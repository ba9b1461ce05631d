//! The lines of one block, and the fields that they are (HTML standard 9.2.6).

use super::mend;
use crate::codec::lines::split;

/// What is known about the block so far. Positions count from the block's first byte.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Block {
    /// Where the line begins that is being read.
    pub(super) line: usize,
    pub(super) name: Option<Span>,
    pub(super) id: Option<Span>,
    pub(super) retry: Option<Span>,
    /// The first `data` value.
    pub(super) data: Option<Span>,
    pub(super) data_lines: usize,
    pub(super) unknown: bool,
    /// Some line is not as the canonical form wants it.
    pub(super) irregular: bool,
    /// The highest field so far, in canonical order.
    rank: Rank,
    /// Whether the one data line so far is a whole event by itself; `None`: not looked at yet.
    ripe: Option<bool>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    #[default]
    Start,
    Event,
    Id,
    Retry,
    Data,
}

impl Block {
    /// Whether the one data line of `block` is a whole event by itself.
    pub(super) fn is_ripe(&mut self, block: &[u8]) -> bool {
        let data = self.data.map(|span| &block[span.from..span.to]).unwrap_or_default();
        !self.unknown && *self.ripe.get_or_insert_with(|| mend::is_complete(data))
    }

    /// Takes a field line (HTML standard 9.2.6: field name up to the first colon, one space after it removed). Where data
    /// is `literal`, its space stays.
    pub(super) fn field(&mut self, line: &[u8], literal: bool) {
        let (name, mut value, mut spaced) = parse_field(line);
        if literal && spaced && name == b"data" {
            (value, spaced) = (&line[b"data:".len()..], false);
        }
        let to = self.line + line.len();
        let span = Span { from: to - value.len(), to };
        self.irregular |= !spaced;
        let rank = match name {
            b"data" => {
                self.data_lines += 1;
                self.data.get_or_insert(span);
                Rank::Data
            }
            b"event" => {
                self.name = Some(span);
                self.irregular |= value.is_empty();
                Rank::Event
            }
            b"id" => {
                // An id with NUL is ignored.
                if memchr::memchr(0, value).is_none() {
                    self.id = Some(span);
                } else {
                    self.irregular = true;
                }
                Rank::Id
            }
            b"retry" => {
                // Anything but digits is ignored.
                if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
                    self.retry = Some(span);
                } else {
                    self.irregular = true;
                }
                Rank::Retry
            }
            _ => {
                self.unknown = true;
                self.irregular = true;
                return;
            }
        };
        self.irregular |= rank <= self.rank;
        self.rank = rank;
    }
}

/// Name, value, and whether exactly the canonical `name: value` separates them.
pub(super) fn parse_field(line: &[u8]) -> (&[u8], &[u8], bool) {
    if let Some(value) = line.strip_prefix(b"data: ") {
        return (b"data", value, true);
    }
    match memchr::memchr(b':', line) {
        None => (line, &[], false),
        Some(colon) => match &line[colon + 1..] {
            [b' ', value @ ..] => (&line[..colon], value, true),
            value => (&line[..colon], value, false),
        },
    }
}

/// The `data` values of a block, in order.
pub fn data_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(block).filter_map(|line| {
        let (name, value, _) = parse_field(line);
        (name == b"data").then_some(value)
    })
}

/// The data of a block of which everything after the colon is data.
pub(super) fn literal_text(block: &[u8]) -> Vec<u8> {
    let lines = split(block).filter(|line| parse_field(line).0 == b"data");
    let values: Vec<&[u8]> = lines.map(|line| line.strip_prefix(b"data:").unwrap_or_default()).collect();
    values.join(&b'\n')
}

/// The lines of a block that are neither comments nor fields of the standard, as they came.
pub fn unknown_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(block).filter(|line| {
        let known = matches!(parse_field(line).0, b"data" | b"event" | b"id" | b"retry");
        !line.is_empty() && line[0] != b':' && !known
    })
}
