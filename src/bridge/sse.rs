//! Items to canonical Server-Sent Events.
//!
//! LF only; fields in the order event, id, retry, data, one space after the colon; lines that the standard does
//! not define stand before the data; one blank line ends a block; a comment is one line with no blank line
//! after it, since a block without data breaks real clients. Data of several lines keeps its lines.

use crate::codec::lines::pieces;
use crate::codec::sse::{data_lines, unknown_lines};
use crate::codec::{Data, Event};

use super::Bridge;

/// `text/event-stream`.
pub static SSE: Bridge = Bridge {
    name: "sse",
    doc: "canonical Server-Sent Events: one event per chunk, LF, one space, data last",
};

/// What is written when nothing else was for a while.
pub const HEARTBEAT: &[u8] = b":\n";

/// Writes one event.
pub fn event(event: &Event<'_>, out: &mut Vec<u8>) {
    if let Some(wire) = event.canonical {
        out.extend_from_slice(wire);
        return;
    }
    for (name, value) in [("event", event.name), ("id", event.id), ("retry", event.retry)] {
        if let Some(value) = value {
            field(name, value, out);
        }
    }
    for line in event.unknown.into_iter().flat_map(unknown_lines) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    match event.data {
        Data::None => {}
        Data::Line(line) => field("data", line, out),
        Data::Block(block) => data_lines(block).for_each(|line| field("data", line, out)),
        Data::Text(text) => pieces(text).for_each(|line| field("data", line, out)),
    }
    out.push(b'\n');
}

/// Writes one comment line.
pub fn comment(text: &[u8], out: &mut Vec<u8>) {
    out.push(b':');
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Writes a comment in a block of its own. Most libraries do not bear it: to some it is an empty message.
pub fn comment_block(text: &[u8], out: &mut Vec<u8>) {
    comment(text, out);
    out.push(b'\n');
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::repair::Repairs;
    use crate::codec::{Decode, Item, Options, sse::Sse};

    fn rewritten(input: &str) -> String {
        let mut out = Vec::new();
        Sse::new(Options { limit: 1 << 20, repairs: Repairs::NONE, literal: false })
            .decode(input.as_bytes(), &mut |item| match item {
                Item::Event(item) => event(&item, &mut out),
                Item::Comment(text) => comment(text, &mut out),
            })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_come_out_canonical() {
        for (input, want) in [
            ("data:x\r\n\r\n", "data: x\n\n"),
            ("data\n\n", "data: \n\n"),
            ("data: x\nretry:1\nid:2\nevent:e\n\n", "event: e\nid: 2\nretry: 1\ndata: x\n\n"),
            ("data:a\ndata: b\n\n", "data: a\ndata: b\n\n"),
            ("data: x\nmeta:{\"a\":1}\n\n", "meta:{\"a\":1}\ndata: x\n\n"),
            ("event:ping\n\n\n\n", "event: ping\n\n"),
            (": hi\n\ndata: x\n\n", ": hi\ndata: x\n\n"),
        ] {
            assert_eq!(rewritten(input), want, "{input:?}");
        }
    }

    #[test]
    fn text_keeps_its_lines() {
        for (text, want) in
            [("a", "data: a\n\n"), ("a\r\n", "data: a\ndata: \n\n"), ("\n b", "data: \ndata:  b\n\n")]
        {
            let mut out = Vec::new();
            event(&Event { data: Data::Text(text.as_bytes()), ..Event::default() }, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want, "{text:?}");
        }
    }

    #[test]
    fn canonical_output_is_a_fixed_point() {
        let once = rewritten("id:1\rdata:x\rdata:y\r\r:c\r\ndata:{\"a\":\r\ndata:1}\r\n\r\n");
        assert_eq!(rewritten(&once), once);
    }
}
