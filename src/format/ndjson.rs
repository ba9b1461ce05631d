//! Newline-delimited JSON, as Ollama sends it: each line is an event.

use crate::codec::lines::Lines;

use super::Format;

/// `application/x-ndjson` and its other names.
pub static NDJSON: Format = Format {
    name: "ndjson",
    doc: "newline-delimited JSON: each line is one event, its bytes unchanged",
    media_types: &[
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    ],
    decoder: |limit| Box::new(Lines::new(limit)),
};
