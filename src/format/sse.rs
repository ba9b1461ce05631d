//! Server-Sent Events, in every form that upstreams give them.

use crate::codec::sse::Sse;

use super::Format;

/// `text/event-stream`.
pub static SSE: Format = Format {
    name: "sse",
    doc: "Server-Sent Events: any line end, any spacing, a byte order mark, comments",
    media_types: &["text/event-stream"],
    decoder: |options| Box::new(Sse::new(options)),
};
