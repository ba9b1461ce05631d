//! Wire bytes to items, in any split.
//!
//! A decoder is fed with [`Decode::decode`] and calls back with each [`Item`] the moment its last byte is in.
//! What it promises:
//!
//! * any split is fine: one byte, empty, inside a UTF-8 character, inside CRLF; the items are the same;
//! * work is O(bytes) for every split: nothing is searched twice;
//! * items borrow from the input where they lie in it whole; only what straddles two inputs is copied, once;
//! * what is held back is bounded by the `limit` it was made with: [`Error::TooLarge`] otherwise;
//! * no policy: what to do with an item is the [session](crate::stream)'s business.
//!
//! [`text`] alone has no items of its own: it makes one of each input.
//!
//! Not here: IO, clocks, logs, panics. Formats ([`crate::format`]) choose a decoder, bridges
//! ([`crate::bridge`]) write items for a client.

pub mod aws_eventstream;
mod bom;
pub mod charset;
pub mod coding;
pub mod json;
pub mod lines;
pub mod mask;
pub mod repair;
pub mod sse;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod values;

use std::borrow::Cow;
use std::time::Duration;

use repair::{Repairs, Tally};

/// What a decoder is made for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Longest item, in bytes.
    pub limit: usize,
    /// What is put right.
    pub repairs: Repairs,
    /// Of Server-Sent Events: a space after `data:` is data, against the standard.
    pub literal: bool,
}

/// What a decoder yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Something to dispatch.
    Event(Event<'a>),
    /// The text of an SSE comment line, after its colon.
    Comment(&'a [u8]),
}

/// An event, whatever its wire form was. Field values are as in the HTML standard, 9.2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// The `event` field; `None` means `message`.
    pub name: Option<&'a [u8]>,
    /// The `id` field of this block.
    pub id: Option<&'a [u8]>,
    /// The `retry` field: ASCII digits.
    pub retry: Option<&'a [u8]>,
    /// The data.
    pub data: Data<'a>,
    /// Set if the block has lines that the standard does not define: the block, to find them in.
    pub unknown: Option<&'a [u8]>,
    /// Set if the upstream's own bytes are already the canonical SSE form of this event, blank line included.
    pub canonical: Option<&'a [u8]>,
    /// `false` for what stood at the end of the stream without its closing line end or blank line.
    pub closed: bool,
    /// The format itself says that this is an error, whatever the dialect.
    pub error: bool,
}

/// The data of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Data<'a> {
    /// No `data` field at all.
    #[default]
    None,
    /// One line; may be empty.
    Line(&'a [u8]),
    /// Several `data` lines: the block that they stand in (see [`sse::data_lines`]).
    Block(&'a [u8]),
    /// Text as it is, with all its line ends (see [`lines::pieces`]).
    Text(&'a [u8]),
}

/// Receives items.
pub type Sink<'s> = dyn FnMut(Item<'_>) + 's;

/// A decoder of one stream.
pub trait Decode: std::fmt::Debug {
    /// Takes the next bytes and hands every item that is complete now to `sink`.
    ///
    /// # Errors
    /// An item is larger than the limit, or the bytes are not in this format. What was complete before was handed out;
    /// the decoder must not be used after that.
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error>;

    /// The stream ended cleanly: what stands there unclosed is handed out with `closed` unset.
    ///
    /// # Errors
    /// The format says where it ends, and this is not the place.
    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error>;

    /// Bytes held back now.
    fn held(&self) -> usize;

    /// How long an event that is held back waits for the sign that it is over, if it lacks nothing else: if nothing
    /// follows for so long, [`Decode::flush`] hands it out. `None`: there is no such event.
    fn ripens_in(&mut self) -> Option<Duration> {
        None
    }

    /// Hands out the event that is ripe.
    fn flush(&mut self, _sink: &mut Sink<'_>) {}

    /// Whether [`Decode::finish`] found a line that was cut before it could be told what it is, and left it out.
    fn is_cut(&self) -> bool {
        false
    }

    /// What was put right so far.
    fn repaired(&self) -> Tally {
        Tally::default()
    }
}

/// Why a stream cannot be decoded on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An unfinished item has outgrown its bound.
    #[error("an event is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The bytes are not in this format.
    #[error("{what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The stream ended where its format does not end.
    #[error("the stream ended in the middle")]
    Truncated,
}

impl<'a> Data<'a> {
    /// The data where it is one line; `None` for several lines, text or none.
    pub fn line(&self) -> Option<&'a [u8]> {
        match self {
            Data::Line(line) => Some(line),
            Data::None | Data::Block(_) | Data::Text(_) => None,
        }
    }

    /// All of the data, with LF between its lines.
    pub fn text(&self) -> Cow<'a, [u8]> {
        match *self {
            Data::None => Cow::Borrowed(b""),
            Data::Line(text) | Data::Text(text) => Cow::Borrowed(text),
            Data::Block(block) => Cow::Owned(sse::data_lines(block).collect::<Vec<_>>().join(&b'\n')),
        }
    }
}

/// The data that says that an answer is over, in OpenAI's streams and in those that imitate them.
pub const DONE: &str = "[DONE]";

/// Whether data says that, white space around it aside.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == DONE.as_bytes()
}

/// Empties a buffer of held-back bytes. Small buffers are kept for the next item; large ones are given back, so
/// that one large event does not cost memory for the rest of the stream.
pub(crate) fn release(held: &mut Vec<u8>) {
    if held.capacity() > KEEP_BYTES {
        *held = Vec::new();
    } else {
        held.clear();
    }
}

/// Capacity that an idle decoder may keep.
const KEEP_BYTES: usize = 1024;
