//! Raw text without any framing, as home-grown servers print it.
//!
//! Chosen by the route alone, never by bytes or media type: text can be anything, also a page or half an error
//! message, and as events it would look like an answer.

use crate::codec::text::Text;

use super::Format;

/// The text is the data.
pub static TEXT: Format = Format {
    name: "text",
    doc: "raw text: what arrives is an event, characters whole, line ends kept as data lines",
    media_types: &[],
    decoder: |_| Box::new(Text::plain()),
};

/// The text is in JSON: safe from clients that trim data or split it into lines.
pub static TEXT_JSON: Format = Format {
    name: "text-json",
    doc: "raw text: what arrives is an event with the data {\"text\":\"…\"}",
    media_types: &[],
    decoder: |_| Box::new(Text::json()),
};
