//! What a response to a stream request really is, told by its first bytes where the label does not say.
//!
//! Labels lie: Server-Sent Events come as `text/plain`, as JSON, without any type; login pages come with 200.
//! The head is held back until the first bytes that are not blank, [`SNIFF_BYTES`] at the most.

use crate::codec::json;
use crate::format::{Format, NDJSON, SSE};

/// What the media type claims, as far as it matters to the guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// `application/json` or any `+json`.
    Json,
    /// Anything else, or nothing.
    Other,
}

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Not enough seen.
    More,
    /// A stream in this format.
    Stream(&'static Format),
    /// Not a stream that is known here: it passes untouched.
    Pass,
    /// A page for people.
    Html,
}

/// Looks at the beginning of a body. `last` = no more will come, or enough was seen.
pub(super) fn sniff(bytes: &[u8], label: Label, last: bool) -> Verdict {
    let undecided = if last { Verdict::Pass } else { Verdict::More };
    if bytes.len() < BOM.len() && BOM.starts_with(bytes) {
        return undecided;
    }
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
    match bytes.first() {
        None => undecided,
        Some(b'<') => html(bytes).unwrap_or(undecided),
        Some(b'{') if label == Label::Json => Verdict::Pass,
        Some(b'{') => match memchr::memchr(b'\n', bytes) {
            Some(end) if json::is_whole([&bytes[..end]]) => Verdict::Stream(&NDJSON),
            Some(_) => Verdict::Pass,
            None => undecided,
        },
        Some(_) => sse(bytes).unwrap_or(undecided),
    }
}

/// A field name of the standard and a colon, or a comment. `None`: it may still become one.
fn sse(bytes: &[u8]) -> Option<Verdict> {
    if bytes[0] == b':' {
        return Some(Verdict::Stream(&SSE));
    }
    for name in [&b"data:"[..], b"event:", b"id:", b"retry:"] {
        if bytes.starts_with(name) {
            return Some(Verdict::Stream(&SSE));
        }
        if name.starts_with(bytes) {
            return None;
        }
    }
    Some(Verdict::Pass)
}

fn html(bytes: &[u8]) -> Option<Verdict> {
    for start in [&b"<!doctype html"[..], b"<html"] {
        let seen = start.len().min(bytes.len());
        if bytes[..seen].eq_ignore_ascii_case(&start[..seen]) {
            return (seen == start.len()).then_some(Verdict::Html);
        }
    }
    Some(Verdict::Pass)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How many bytes are looked at.
pub(super) const SNIFF_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_known_by_their_first_line_and_not_before() {
        for (text, first_sure) in
            [("data: x", 5), ("\r\n\n:ping", 4), ("event:", 6), ("\u{feff}id:1", 6), ("retry:1", 6)]
        {
            for end in 0..=text.len() {
                let want = if end >= first_sure { Verdict::Stream(&SSE) } else { Verdict::More };
                assert_eq!(
                    sniff(&text.as_bytes()[..end], Label::Other, false),
                    want,
                    "{:?}",
                    text.get(..end)
                );
            }
        }
        assert_eq!(sniff(b"{\"a\":1}\n", Label::Other, false), Verdict::Stream(&NDJSON));
        assert_eq!(sniff(b"{\"a\":1}", Label::Other, false), Verdict::More);
    }

    #[test]
    fn what_is_not_a_stream_passes_and_pages_are_told() {
        for text in ["hello", "database: x", "{\"a\":\n1}", "[{", "<svg>", "0:\"x\"", "ide"] {
            assert_eq!(sniff(text.as_bytes(), Label::Other, false), Verdict::Pass, "{text}");
        }
        assert_eq!(sniff(b"{\"a\":1}\n", Label::Json, false), Verdict::Pass);
        assert_eq!(sniff(b"<!DOCTYPE html><html>", Label::Other, false), Verdict::Html);
        assert_eq!(sniff(b"\n<HTML>", Label::Json, false), Verdict::Html);
        assert_eq!(sniff(b"<!DOC", Label::Other, false), Verdict::More);
        assert_eq!(sniff(b"dat", Label::Other, true), Verdict::Pass);
    }
}
