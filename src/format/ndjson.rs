//! JSON values one after another, as Ollama sends them: each is an event.

use crate::codec::values::Values;

use super::Format;

/// `application/x-ndjson`, its other names, and `application/json-seq` (RFC 7464).
pub static NDJSON: Format = Format {
    name: "ndjson",
    doc: "JSON values one after another, a line each, concatenated or pretty-printed: each is an event",
    media_types: &MEDIA_TYPES,
    decoder: |options| Box::new(Values::sequence(options.limit)),
};

/// The names of lines of JSON: what clients ask for by them is what upstreams announce by them.
pub static LINES: &[&str] = MEDIA_TYPES.split_at(5).0;

/// Those of lines first, then those of values that lines need not part.
const MEDIA_TYPES: [&str; 8] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/jsonlines",
    "application/json-seq",
    "application/stream+json",
    "application/x-json-stream",
];
