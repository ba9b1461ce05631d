//! What the targets share: how an input says where it is cut, and decoders so simple that they need no test.

#[path = "../../support/aws.rs"]
pub mod aws;

use tidegate::codec::sse::{data_lines, unknown_lines};
use tidegate::codec::{Data, Item};

/// An input is a count, so many places to cut at, and a body. An input that begins with 0 is a body and no cuts.
pub fn cuts(input: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (Vec::new(), &[]) };
    let count = usize::from(count % 16).min(rest.len() / 2);
    let (places, body) = rest.split_at(2 * count);
    let place = |pair: &[u8]| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (body.len() + 1);
    let mut places: Vec<usize> = places.chunks(2).map(place).collect();
    places.sort_unstable();
    (places, body)
}

/// A message of AWS's event stream that carries an event of this name, or an exception.
pub fn aws_message(name: &str, payload: &[u8]) -> Vec<u8> {
    let kind = if name.ends_with("Exception") { "exception" } else { "event" };
    aws::message(&[(&format!(":{kind}-type"), name), (":message-type", kind)], payload)
}

/// `body`, cut at these places.
pub fn pieces<'b>(places: &[usize], body: &'b [u8]) -> Vec<&'b [u8]> {
    let mut all = vec![0];
    all.extend_from_slice(places);
    all.push(body.len());
    all.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}

/// An item with everything copied out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owned {
    pub comment: Option<Vec<u8>>,
    pub name: Option<Vec<u8>>,
    pub id: Option<Vec<u8>>,
    pub retry: Option<Vec<u8>>,
    /// The lines of data, joined by LF.
    pub data: Option<Vec<u8>>,
    pub unknown: Vec<Vec<u8>>,
    pub closed: bool,
}

impl Owned {
    /// Copies an item of the decoder.
    pub fn from(item: Item<'_>) -> Self {
        match item {
            Item::Comment(text) => Owned { comment: Some(text.to_vec()), ..Owned::default() },
            Item::Event(event) => Owned {
                comment: None,
                name: event.name.map(<[u8]>::to_vec),
                id: event.id.map(<[u8]>::to_vec),
                retry: event.retry.map(<[u8]>::to_vec),
                data: match event.data {
                    Data::None => None,
                    Data::Line(text) | Data::Text(text) => Some(text.to_vec()),
                    Data::Block(block) => Some(data_lines(block).collect::<Vec<_>>().join(&b'\n')),
                },
                unknown: event.unknown.into_iter().flat_map(unknown_lines).map(<[u8]>::to_vec).collect(),
                closed: event.closed,
            },
        }
    }
}

/// The lines of a text, however they end, without their ends; and what stands behind the last end.
pub fn lines(text: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut lines, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    while at < text.len() {
        match text[at] {
            b'\n' => lines.push(std::mem::take(&mut line)),
            b'\r' => {
                lines.push(std::mem::take(&mut line));
                if text.get(at + 1) == Some(&b'\n') {
                    at += 1;
                }
            }
            byte => line.push(byte),
        }
        at += 1;
    }
    (lines, line)
}

/// Server-Sent Events by the letter of the HTML standard 9.2.6, and what a proxy must keep beyond it: comments, lines
/// that it does not define, blocks that have a name but no data, and an unclosed end with data.
pub fn events(text: &[u8]) -> Vec<Owned> {
    let (lines, rest) = lines(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    let mut reader = Reader::default();
    for line in &lines {
        reader.line(line);
    }
    if field(&rest).0 == b"data" {
        reader.line(&rest);
    }
    reader.block.closed = false;
    reader.dispatch();
    reader.items
}

#[derive(Default)]
struct Reader {
    items: Vec<Owned>,
    block: Owned,
    /// `id` and `retry` of blocks that had nothing else.
    carried: (Option<Vec<u8>>, Option<Vec<u8>>),
}

impl Reader {
    fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.block.closed = true;
            return self.dispatch();
        }
        if line[0] == b':' {
            self.items.push(Owned { comment: Some(line[1..].to_vec()), ..Owned::default() });
            return;
        }
        let (name, value) = field(line);
        match name {
            b"data" => match &mut self.block.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.block.data = Some(value.to_vec()),
            },
            b"event" => self.block.name = Some(value.to_vec()).filter(|name| !name.is_empty()),
            b"id" if !value.contains(&0) => self.block.id = Some(value.to_vec()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.block.retry = Some(value.to_vec());
            }
            b"id" | b"retry" => {}
            _ => self.block.unknown.push(line.to_vec()),
        }
    }

    fn dispatch(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        if block.data.is_none() && block.name.is_none() && block.unknown.is_empty() {
            self.carried.0 = block.id.or(self.carried.0.take());
            self.carried.1 = block.retry.or(self.carried.1.take());
            return;
        }
        if block.data.is_some() {
            block.id = block.id.or(self.carried.0.take());
            block.retry = block.retry.or(self.carried.1.take());
            self.carried = (None, None);
        }
        self.items.push(block);
    }
}

/// Name and value of a field line.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b':') {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}
