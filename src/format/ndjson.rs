//! JSON values one after another, as Ollama sends them: each is an event.

use crate::codec::values::Values;

use super::Format;

/// `application/x-ndjson`, its other names, and `application/json-seq` (RFC 7464).
pub static NDJSON: Format = Format {
    name: "ndjson",
    doc: "JSON values one after another, a line each, concatenated or pretty-printed: each is an event",
    media_types: &[
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
        "application/json-seq",
        "application/stream+json",
        "application/x-json-stream",
    ],
    decoder: |options| Box::new(Values::sequence(options.limit)),
};
