//! What a response to a stream request really is, told by its first bytes where the label does not say.
//!
//! Labels lie: Server-Sent Events come as `text/plain`, as JSON, without any type; login pages come with 200.
//! The head is held back until the first bytes that are not blank, [`SNIFF_BYTES`] of them at the most. Blank runs
//! in front mean nothing to a stream (servers pad with them, or send them while they think), but they are part
//! of a body that passes: so they are held too, up to [`HOLD_BYTES`].

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

/// The beginning of a body, held back until it is known what it is.
#[derive(Debug)]
pub(super) struct Gate {
    label: Label,
    held: Vec<u8>,
    /// How many of the held bytes say nothing: a byte order mark, white space. They are not looked at again.
    blank: usize,
}

impl Gate {
    pub(super) fn new(label: Label) -> Self {
        Gate { label, held: Vec::new(), blank: 0 }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Verdict {
        self.held.extend_from_slice(bytes);
        if self.blank == 0 && self.held.starts_with(BOM) {
            self.blank = BOM.len();
        }
        let text = &self.held[self.blank..];
        self.blank += text.len() - text.trim_ascii_start().len();
        self.verdict(self.text().len() >= SNIFF_BYTES || self.held.len() >= HOLD_BYTES)
    }

    /// The body is over.
    pub(super) fn end(&self) -> Verdict {
        self.verdict(true)
    }

    /// All that was held back.
    pub(super) fn into_held(self) -> Vec<u8> {
        self.held
    }

    /// What was held back, without what says nothing in front of it.
    pub(super) fn text(&self) -> &[u8] {
        &self.held[self.blank..]
    }

    /// `last` = no more will come, or enough was seen.
    fn verdict(&self, last: bool) -> Verdict {
        let undecided = if last { Verdict::Pass } else { Verdict::More };
        if self.held.len() < BOM.len() && BOM.starts_with(&self.held) {
            return undecided;
        }
        let text = self.text();
        match text.first() {
            None => undecided,
            Some(b'<') => html(text).unwrap_or(undecided),
            Some(b'{') if self.label == Label::Json => Verdict::Pass,
            Some(b'{') => match memchr::memchr(b'\n', text) {
                Some(end) if json::is_whole([&text[..end]]) => Verdict::Stream(&NDJSON),
                Some(_) => Verdict::Pass,
                None => undecided,
            },
            Some(_) => sse(text).unwrap_or(undecided),
        }
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

/// How many bytes are looked at, blank runs in front not counted.
const SNIFF_BYTES: usize = 512;

/// How many bytes are held back, blank runs included.
const HOLD_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn sniff(bytes: &[u8], label: Label, last: bool) -> Verdict {
        let mut gate = Gate::new(label);
        let verdict = gate.push(bytes);
        if last { gate.end() } else { verdict }
    }

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

    #[test]
    fn blank_runs_in_front_are_waited_for_whatever_their_length_and_split() {
        for piece in [1, 100, 8 << 10] {
            let mut gate = Gate::new(Label::Other);
            let blank = vec![b' '; 8 << 10];
            for part in blank.chunks(piece) {
                assert_eq!(gate.push(part), Verdict::More, "pieces of {piece}");
            }
            assert_eq!(gate.push(b"data: x"), Verdict::Stream(&SSE), "pieces of {piece}");
            assert_eq!(gate.text(), b"data: x");
            assert_eq!(gate.into_held().len(), blank.len() + 7);
        }
        let mut endless = Gate::new(Label::Other);
        assert_eq!(endless.push(&[b'\n'; HOLD_BYTES - 1]), Verdict::More);
        assert_eq!(endless.push(b"\n"), Verdict::Pass);
        assert_eq!(
            sniff(b"\n\xef\xbb\xbfdata: x", Label::Other, false),
            Verdict::Pass,
            "no mark but in front"
        );
    }
}
