//! What a block that shows a fault was meant to say.
//!
//! Only looked at where [`is_suspect`] says so. The payload of a block is its `data` lines and its bare lines (those that
//! are no field of the standard), in order. If all of that is whole JSON values and `[DONE]`, one behind the other, and
//! the faults that this shows are among the repairs that are wanted, each is an event; otherwise the block stays as
//! it is. Nothing here changes a token.

use super::block::{parse_field, unknown_lines};
use crate::codec::json::{self, Step, Value};
use crate::codec::lines::split;
use crate::codec::repair::{Repair, Repairs};
use crate::codec::{DONE, Data, Event, Item, Sink, is_done};

/// Whether a block with this data, and no unknown lines, is worth a look. Of one line: a glance at its first byte.
#[inline]
pub(super) fn is_suspect(data: Data<'_>, repairs: Repairs) -> bool {
    let Data::Line(line) = data else { return true };
    match line.first() {
        Some(b'{' | b'[') => repairs.has(Repair::Glued) && has_prefix(line),
        Some(b'd' | b':') => repairs.has(Repair::DoublePrefix),
        _ => false,
    }
}

/// A search in every event: only for streams that want it.
#[cold]
fn has_prefix(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"data:").is_some()
}

/// Whether this is data that needs nothing after it: a JSON object or array, or the end marker.
pub(super) fn is_complete(data: &[u8]) -> bool {
    is_done(data) || json::is_whole(data)
}

/// Whether the payload of the block is whole, with these repairs.
pub(super) fn is_whole(block: &[u8], wanted: Repairs) -> bool {
    walk(block, &mut |_| ()).is_some_and(|needed| wanted.cover(needed))
}

/// Hands out what the block was meant to say. Returns what had to be repaired for it.
pub(super) fn mend(event: Event<'_>, block: &[u8], wanted: Repairs, sink: &mut Sink<'_>) -> Repairs {
    if let (Data::Line(line), None) = (event.data, event.unknown)
        && wanted.has(Repair::DoublePrefix)
        && line.starts_with(b":")
    {
        sink(Item::Comment(&line[1..]));
        return Repairs::NONE.with(Repair::DoublePrefix);
    }
    if let Some(error) = error_field(&event, wanted) {
        sink(Item::Event(Event { data: Data::Line(&error), canonical: None, ..event }));
        return Repairs::NONE.with(Repair::ErrorField);
    }
    let keeps_lines = !wanted.has(Repair::PrettyJson) && matches!(event.data, Data::Block(_));
    if keeps_lines || !is_whole(block, wanted) {
        sink(Item::Event(event));
        return Repairs::NONE;
    }
    let mut event = Event { unknown: None, canonical: None, ..event };
    let needed = walk(block, &mut |payload| {
        sink(Item::Event(Event { data: Data::Line(payload), ..event }));
        // They belong to the first.
        (event.id, event.retry) = (None, None);
    });
    needed.unwrap_or_default()
}

/// The data that a block without data, but with a line `error: {…}`, was to have.
fn error_field(event: &Event<'_>, wanted: Repairs) -> Option<Vec<u8>> {
    let block = event.unknown.filter(|_| wanted.has(Repair::ErrorField) && event.data == Data::None)?;
    let mut values = unknown_lines(block).filter_map(|line| match parse_field(line) {
        (b"error", value, _) => Some(value.trim_ascii()),
        _ => None,
    });
    let error = values.next().filter(|error| error.starts_with(b"{") && json::is_whole(error))?;
    Some([b"{\"error\":", error, b"}"].concat())
}

/// A line of the payload.
struct Line<'b> {
    text: &'b [u8],
    /// Without `data:`.
    bare: bool,
}

fn payload(block: &[u8]) -> impl Iterator<Item = Line<'_>> {
    split(block).filter_map(|line| match parse_field(line) {
        (b"data", text, _) => Some(Line { text, bare: false }),
        (b"event" | b"id" | b"retry", ..) => None,
        _ if line.is_empty() || line[0] == b':' => None,
        _ => Some(Line { text: line, bare: true }),
    })
}

/// Walks through the payload of a block and hands out each value, on one line. Returns the repairs that made it a sequence
/// of whole values; `None` if it is none.
fn walk(block: &[u8], take: &mut dyn FnMut(&[u8])) -> Option<Repairs> {
    let mut walk = Walk::default();
    for line in payload(block) {
        walk.line(line, take)?;
    }
    let is_glued = walk.needed.has(Repair::Glued);
    let needed =
        if walk.count > 1 && !is_glued { walk.needed.with(Repair::SingleNewline) } else { walk.needed };
    (!walk.open && walk.count > 0).then_some(needed)
}

#[derive(Default)]
struct Walk {
    needed: Repairs,
    /// Values so far.
    count: usize,
    value: Value,
    /// The value is not whole yet.
    open: bool,
    /// Its lines so far.
    lines: Vec<u8>,
}

impl Walk {
    /// Takes a line; `None` if it is not what can stand there.
    fn line(&mut self, line: Line<'_>, take: &mut dyn FnMut(&[u8])) -> Option<()> {
        let mut rest = line.text;
        if line.bare {
            self.needed =
                self.needed.with(if self.open { Repair::PrettyJson } else { Repair::MissingPrefix });
        }
        loop {
            if !self.open {
                rest = self.without_prefix(rest);
                if rest == DONE.as_bytes() {
                    self.count += 1;
                    take(DONE.as_bytes());
                    return Some(());
                }
            }
            match self.value.step(rest) {
                Step::Broken(_) => return None,
                Step::More => return self.keep(rest),
                Step::End(end) => {
                    self.whole(&rest[..end], take);
                    rest = rest[end..].trim_ascii_start();
                }
            }
            if rest.is_empty() {
                return Some(());
            }
            self.needed = self.needed.with(Repair::Glued);
            rest = rest.strip_prefix(b"data:")?;
        }
    }

    fn without_prefix<'l>(&mut self, line: &'l [u8]) -> &'l [u8] {
        let mut rest = line.trim_ascii();
        while let Some(inner) = rest.strip_prefix(b"data:") {
            self.needed = self.needed.with(Repair::DoublePrefix);
            rest = inner.trim_ascii_start();
        }
        rest
    }

    /// The value goes on in the next line.
    fn keep(&mut self, line: &[u8]) -> Option<()> {
        self.open = true;
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        (self.value.step(b"\n") == Step::More).then_some(())
    }

    /// The value ends with this.
    fn whole(&mut self, end: &[u8], take: &mut dyn FnMut(&[u8])) {
        if self.open {
            self.lines.extend_from_slice(end);
            let mut compact = Vec::with_capacity(self.lines.len());
            json::compact(&self.lines, &mut compact);
            take(&compact);
            self.lines.clear();
        } else {
            take(end);
        }
        (self.value, self.open) = (Value::default(), false);
        self.count += 1;
    }
}
