//! JSON objects on the wire, in every format and every way that a format allows.

use crate::support::aws;
use tidegate::format::{AWS_EVENTSTREAM, Format, JSON_ARRAY, NDJSON, SSE};

type Encode = fn(&[Vec<u8>]) -> Vec<u8>;

/// A name for failures, the format, and how objects are written in it.
pub static WIRES: &[(&str, &Format, Encode)] = &[
    ("sse", &SSE, |items| around(items, b"data: ", b"\n\n")),
    ("sse with CRLF and no space", &SSE, |items| around(items, b"data:", b"\r\n\r\n")),
    ("sse with CR", &SSE, |items| around(items, b": ping\rid: 1\rdata: ", b"\r\r")),
    ("sse with one line end", &SSE, |items| [around(items, b"data: ", b"\n"), b"\n".to_vec()].concat()),
    ("sse without data:", &SSE, |items| around(items, b"", b"\n\n")),
    ("ndjson", &NDJSON, |items| around(items, b"", b"\n")),
    ("ndjson with CRLF and blanks", &NDJSON, |items| around(items, b" ", b" \r\n\r\n")),
    ("concatenated JSON", &NDJSON, |items| items.concat()),
    ("JSON text sequence", &NDJSON, |items| around(items, b"\x1e", b"\n")),
    ("json-array", &JSON_ARRAY, |items| [b"[".as_slice(), &items.join(&b","[..]), b"]"].concat()),
    ("json-array as Gemini writes it", &JSON_ARRAY, |items| {
        [b"[".as_slice(), &items.join(&b"\n,\r\n"[..]), b"\n]\n"].concat()
    }),
    ("aws-eventstream", &AWS_EVENTSTREAM, |items| items.iter().flat_map(|item| message(item)).collect()),
];

fn around(items: &[Vec<u8>], before: &[u8], after: &[u8]) -> Vec<u8> {
    items.iter().flat_map(|item| [before, item.as_slice(), after].concat()).collect()
}

fn message(payload: &[u8]) -> Vec<u8> {
    aws::message(&[(":event-type", "delta"), (":message-type", "event")], payload)
}
