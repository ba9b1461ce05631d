//! One JSON array, as Gemini sends it where `alt=sse` was not asked for: each element is an event.

use crate::codec::values::Values;

use super::Format;

/// `application/json`, which says nothing about streams: only the bytes, or the route, choose it.
pub static JSON_ARRAY: Format = Format {
    name: "json-array",
    doc: "one JSON array: each element is an event as soon as its closing bracket is in",
    media_types: &[],
    decoder: |options| Box::new(Values::array(options)),
};
