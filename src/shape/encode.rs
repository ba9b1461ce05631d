//! `encode`: data in percent or base64 encoding, for legacy front ends that decode it so.
//!
//! Percent is what `decodeURIComponent` reads (RFC 3986 2.1: all but unreserved characters), base64 is RFC 4648 4. Data of
//! several lines is encoded as one text with LF between them. JSON with `ascii` serves the same end without an agreement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::lines::pieces;
use crate::codec::sse::data_lines;
use crate::codec::{Data, Event};

/// Encode data.
pub static ENCODE: Shape = Shape {
    name: "encode",
    keys: &["encode"],
    doc: "data in percent or base64 encoding, for legacy front ends that decode it so",
    harm: "clients that do not decode it see nothing they know; errors of tidegate's own are not encoded",
    make: |Settings { encode, .. }| {
        Some(Box::new(Encoder { encoding: (*encode)?, text: Vec::new(), data: Vec::new() }))
    },
};

/// How data is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Every byte but letters, digits and `-._~` as `%XX`.
    Percent,
    /// The standard alphabet, padded.
    Base64,
}

#[derive(Debug)]
struct Encoder {
    encoding: Encoding,
    /// Data of several lines.
    text: Vec<u8>,
    /// The data that is handed on.
    data: Vec<u8>,
}

impl Reshape for Encoder {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        self.data.clear();
        let text = match event.data {
            Data::None => return sink(event, seen),
            Data::Line(line) => line,
            Data::Block(block) => joined(data_lines(block), &mut self.text),
            Data::Text(text) => joined(pieces(text), &mut self.text),
        };
        match self.encoding {
            Encoding::Percent => self.data.extend(percent_encode(text, RESERVED).flat_map(str::bytes)),
            Encoding::Base64 => self.data.extend_from_slice(STANDARD.encode(text).as_bytes()),
        }
        sink(&Event { data: Data::Line(&self.data), canonical: None, ..*event }, seen);
    }
}

fn joined<'a, 'b>(lines: impl Iterator<Item = &'b [u8]>, text: &'a mut Vec<u8>) -> &'a [u8] {
    text.clear();
    for (index, line) in lines.enumerate() {
        if index > 0 {
            text.push(b'\n');
        }
        text.extend_from_slice(line);
    }
    text
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn rig(encoding: Encoding) -> Rig {
        Rig::new(Settings { encode: Some(encoding), ..Settings::default() })
    }

    #[test]
    fn data_is_encoded_and_fields_are_not() {
        let mut percent = rig(Encoding::Percent);
        assert_eq!(
            percent.wire("event: e\ndata: 你 a-z\ndata: %\n\n"),
            "event: e\ndata: %E4%BD%A0%20a-z%0A%25\n\n"
        );
        assert_eq!(percent.wire("event: e\n\n"), "event: e\n\n");
        let mut base64 = rig(Encoding::Base64);
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("你好", "5L2g5aW9")]
        {
            assert_eq!(base64.data(text), [encoded]);
        }
    }
}
