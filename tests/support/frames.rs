//! HTTP/2 by hand: frames as bytes, and header blocks that no library would write. For clients that misbehave; a
//! client that behaves is [`super::client::Http2`].

use std::collections::HashMap;
use std::io;

use super::wire::{Endpoint, Wire};
use super::within;

/// Types of frames (RFC 9113 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;

/// The client's side of the beginning (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The reason of RST_STREAM or GOAWAY.
    pub fn reason(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A frame to be written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).expect("a short frame").to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block: each field literally, without index and without Huffman's code (RFC 7541 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 5.1, with a prefix of 7 bits.
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return block.push(value as u8);
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The pseudo-header fields of a GET.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
}

/// A whole request without a body, in one frame.
pub fn request(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// A connection on which frames are written and read by hand. It acknowledges nothing by itself.
#[derive(Debug)]
pub struct RawHttp2 {
    wire: Wire,
    buffer: Vec<u8>,
}

impl RawHttp2 {
    /// Connects and sends the preface with these settings.
    pub async fn connect(endpoint: &Endpoint, settings: &[u8]) -> Self {
        let mut wire = Wire::connect(endpoint).await;
        wire.write(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        RawHttp2 { wire, buffer: Vec::new() }
    }

    /// Writes bytes; `Err` if the peer is gone.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.try_write(bytes).await
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.wire.write(bytes).await;
    }

    /// The next frame; `None` at the end of the connection, however it came.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            match self.wire.fill().await {
                Ok(1..) => self.buffer.extend(self.wire.take_all()),
                _ => return None,
            }
        }
    }

    /// Reads until the connection ends.
    pub async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let read = async {
            while let Some(frame) = self.next().await {
                frames.push(frame);
            }
        };
        within("the end of an HTTP/2 connection", read).await;
        frames
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}

/// The statuses of responses by stream, in HEADERS that begin with the status, as every server writes them.
pub fn statuses(frames: &[Frame]) -> HashMap<u32, u16> {
    let heads = frames.iter().filter(|frame| frame.kind == HEADERS);
    heads.filter_map(|head| Some((head.stream, status(&head.payload)?))).collect()
}

/// Statuses are in the static table (RFC 7541 A), or literal behind its name, in Huffman's code or not.
fn status(block: &[u8]) -> Option<u16> {
    // A change of the dynamic table's size may come first.
    let block = &block[block.iter().position(|byte| byte & 0xe0 != 0x20)?..];
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [first @ 0x88..=0x8e, ..] => Some(indexed[usize::from(first - 0x88)]),
        [_, length, text @ ..] if length & 0x80 == 0 => {
            std::str::from_utf8(text.get(..usize::from(*length))?).ok()?.parse().ok()
        }
        [_, length, text @ ..] => digits(text.get(..usize::from(length & 0x7f))?),
        _ => None,
    }
}

/// Three digits in Huffman's code (RFC 7541 B): 0, 1 and 2 have five bits, the others six.
fn digits(code: &[u8]) -> Option<u16> {
    let mut bits = code.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize| (0..count).try_fold(0, |value, _| Some(value << 1 | bits.next()?));
    let mut number = 0;
    for _ in 0..3 {
        let five = take(5)?;
        let digit = if five < 3 { five } else { (five << 1 | take(1)?) - 0b01_1001 + 3 };
        number = number * 10 + digit;
    }
    Some(number)
}
