//! What a response to a stream request really is, told by its first bytes.
//!
//! Labels lie: Server-Sent Events come as `text/plain`, as JSON, without any type; JSON lines and login pages come as
//! event streams. Only what cannot be anything else is believed against a label that promises a stream. Without such a
//! label the head is held back until the first bytes that are not blank, [`SNIFF_BYTES`] of them at the most. Blank runs
//! in front mean nothing to a stream (servers pad with them, or send them while they think), but they are part
//! of a body that passes: so they are held too, up to [`HOLD_BYTES`].
//!
//! Where the route says what the format is, only one thing is looked for: a page in its place.

use http::StatusCode;

use crate::codec::aws_eventstream::is_prelude;
use crate::codec::json;
use crate::format::{AWS_EVENTSTREAM, Format, JSON_ARRAY, NDJSON, SSE};

use super::plain::Plain;
use super::{Wanted, quote};

/// What the media type claims.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// A stream in this format.
    Format(&'static Format),
    /// `application/json` or any `+json`.
    Json,
    /// Anything else, or nothing.
    Other,
}

impl Label {
    /// The word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Label::Format(format) => format.name,
            Label::Json => "json",
            Label::Other => "other",
        }
    }

    /// Whether a stream in this format may be called so.
    pub fn is_true_of(self, format: &'static Format) -> bool {
        match self {
            Label::Format(label) => label == format,
            Label::Json => *format == JSON_ARRAY || *format == NDJSON,
            Label::Other => false,
        }
    }
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
    /// The format, if the route says it.
    fixed: Option<&'static Format>,
    /// Which errors in plain text are waited for.
    plain: Plain,
    held: Vec<u8>,
    /// How many of the held bytes say nothing: a byte order mark, white space. They are not looked at again.
    blank: usize,
}

impl Gate {
    pub(super) fn new(label: Label, wanted: Wanted, plain: Plain) -> Self {
        let fixed = if let Wanted::In(format) = wanted { Some(format) } else { None };
        Gate { label, fixed, plain, held: Vec::new(), blank: 0 }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Verdict {
        self.held.extend_from_slice(bytes);
        if self.blank == 0 && self.held.starts_with(BOM) {
            self.blank = BOM.len();
        }
        let text = &self.held[self.blank..];
        self.blank += text.len() - text.trim_ascii_start().len();
        let full = self.held.len() >= HOLD_BYTES;
        self.unless_error(self.verdict(full || self.text().len() >= SNIFF_BYTES), full)
    }

    /// The body is over.
    pub(super) fn end(&self) -> Verdict {
        self.verdict(true)
    }

    /// The status that the whole of it stands for, if it is an error in plain text.
    pub(super) fn plain_error(&self) -> Option<StatusCode> {
        self.plain.status(self.text())
    }

    /// All that was held back.
    pub(super) fn into_held(self) -> Vec<u8> {
        self.held
    }

    /// What was held back, without what says nothing in front of it.
    pub(super) fn text(&self) -> &[u8] {
        &self.held[self.blank..]
    }

    /// An error in JSON or in plain text, in place of a stream, is held until it is whole: it becomes a true status then.
    fn unless_error(&self, verdict: Verdict, full: bool) -> Verdict {
        if full || !matches!(verdict, Verdict::More | Verdict::Pass) {
            return verdict;
        }
        if self.plain.may_be_error(self.text()) {
            return Verdict::More;
        }
        if matches!(self.label, Label::Format(_)) || !quote::may_be_error(self.text()) {
            return verdict;
        }
        let text = self.text().trim_ascii_end();
        if text.ends_with(b"}") && json::is_whole(text) { Verdict::Pass } else { Verdict::More }
    }

    /// `last` = no more will come, or enough was seen.
    fn verdict(&self, last: bool) -> Verdict {
        let undecided = match (last, self.fixed) {
            (false, _) => Verdict::More,
            (true, Some(format)) => Verdict::Stream(format),
            (true, None) => Verdict::Pass,
        };
        if self.held.len() < BOM.len() && BOM.starts_with(&self.held) {
            return undecided;
        }
        let text = self.text();
        if let (Some(format), Some(first)) = (self.fixed, text.first()) {
            let page = if *first == b'<' { html(text) } else { Some(Verdict::Pass) };
            return match page {
                Some(Verdict::Html) => Verdict::Html,
                Some(_) => Verdict::Stream(format),
                None => undecided,
            };
        }
        match text.first() {
            None => undecided,
            Some(0) => match is_prelude(text) {
                Some(true) => Verdict::Stream(&AWS_EVENTSTREAM),
                Some(false) => Verdict::Pass,
                None => undecided,
            },
            Some(b'<') => html(text).unwrap_or(undecided),
            Some(b'{') => self.object(text).unwrap_or(undecided),
            Some(b'[') => self.array(text).unwrap_or(undecided),
            Some(_) => sse(text).unwrap_or(undecided),
        }
    }

    /// JSON lines, or one JSON object. `None`: it may be either.
    fn object(&self, text: &[u8]) -> Option<Verdict> {
        if let Label::Format(_) = self.label {
            // A stream was promised: this one has JSON in it.
            let next = text[1..].trim_ascii_start().first()?;
            return Some(if matches!(next, b'"' | b'}') { Verdict::Stream(&NDJSON) } else { Verdict::Pass });
        }
        let end = memchr::memchr(b'\n', text)?;
        let is_line = json::is_whole(&text[..end]);
        match (self.label, text[end..].trim_ascii_start().first()) {
            _ if !is_line => Some(Verdict::Pass),
            // One object and a line end is what such a label means.
            (Label::Json, None) => None,
            (Label::Json, Some(next)) if *next != b'{' => Some(Verdict::Pass),
            _ => Some(Verdict::Stream(&NDJSON)),
        }
    }

    /// An array of objects. `None`: it may still become one.
    fn array(&self, text: &[u8]) -> Option<Verdict> {
        let is_array = *text[1..].trim_ascii_start().first()? == b'{' && self.label != Label::Format(&NDJSON);
        Some(if is_array { Verdict::Stream(&JSON_ARRAY) } else { Verdict::Pass })
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
        let mut gate = Gate::new(label, Wanted::Events, Plain::Nothing);
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
    }

    #[test]
    fn json_lines_are_told_from_one_object_as_far_as_the_label_allows() {
        let promised = Label::Format(&SSE);
        for (text, other, json, labelled) in [
            ("{", None, None, None),
            ("{\"a", None, None, Some(&NDJSON)),
            ("{\"a\":1}", None, None, Some(&NDJSON)),
            ("{\"a\":1}\n", Some(&NDJSON), None, Some(&NDJSON)),
            ("{\"a\":1}\n {", Some(&NDJSON), Some(&NDJSON), Some(&NDJSON)),
        ] {
            for (label, want) in [(Label::Other, other), (Label::Json, json), (promised, labelled)] {
                let want = want.map_or(Verdict::More, Verdict::Stream);
                assert_eq!(sniff(text.as_bytes(), label, false), want, "{text} as {label:?}");
            }
        }
        assert_eq!(sniff(b"{\"a\":1}\n", Label::Json, true), Verdict::Pass);
        assert_eq!(sniff(b"{\"a\":1}\n[", Label::Json, false), Verdict::Pass);
        assert_eq!(sniff(b"{text: hello}\n", promised, false), Verdict::Pass);
    }

    #[test]
    fn an_array_of_objects_is_a_stream_and_other_arrays_are_not() {
        for label in [Label::Json, Label::Other, Label::Format(&SSE)] {
            assert_eq!(sniff(b"[\n ", label, false), Verdict::More);
            assert_eq!(sniff(b"[\n {", label, false), Verdict::Stream(&JSON_ARRAY));
            assert_eq!(sniff(b"[1", label, false), Verdict::Pass);
            assert_eq!(sniff(b"[]", label, false), Verdict::Pass);
        }
        assert_eq!(sniff(b"[{", Label::Format(&NDJSON), false), Verdict::Pass, "a line may be an array");
    }

    #[test]
    fn a_binary_event_stream_is_known_by_its_checksum() {
        let message = crate::codec::aws_eventstream::testing::event("e", b"{}");
        for end in 1..message.len() {
            let want = if end < 12 { Verdict::More } else { Verdict::Stream(&AWS_EVENTSTREAM) };
            assert_eq!(sniff(&message[..end], Label::Other, false), want, "{end} bytes");
        }
        assert_eq!(sniff(&[0; 20], Label::Other, false), Verdict::Pass);
    }

    #[test]
    fn a_label_is_true_of_what_it_can_mean() {
        assert!(Label::Format(&SSE).is_true_of(&SSE) && !Label::Format(&SSE).is_true_of(&NDJSON));
        assert!(Label::Json.is_true_of(&JSON_ARRAY) && !Label::Json.is_true_of(&SSE));
        assert!(!Label::Other.is_true_of(&SSE));
    }

    #[test]
    fn what_is_not_a_stream_passes_and_pages_are_told() {
        for text in ["hello", "database: x", "{\"a\":\n1}", "<svg>", "0:\"x\"", "ide"] {
            assert_eq!(sniff(text.as_bytes(), Label::Other, false), Verdict::Pass, "{text}");
        }
        assert_eq!(sniff(b"<!DOCTYPE html><html>", Label::Other, false), Verdict::Html);
        assert_eq!(sniff(b"\n<HTML>", Label::Json, false), Verdict::Html);
        assert_eq!(sniff(b"<!DOC", Label::Other, false), Verdict::More);
        assert_eq!(sniff(b"dat", Label::Other, true), Verdict::Pass);
    }

    #[test]
    fn of_a_format_that_the_route_sets_only_a_page_is_doubted() {
        for label in [Label::Format(&SSE), Label::Json, Label::Other] {
            let judged = |text: &str, last| {
                let mut gate = Gate::new(label, Wanted::In(&NDJSON), Plain::Phrases);
                let verdict = gate.push(text.as_bytes());
                if last { gate.end() } else { verdict }
            };
            for text in ["{\"error\":{}}", "data: x", "Internal", "\0", "<svg>", " \n["] {
                assert_eq!(judged(text, false), Verdict::Stream(&NDJSON), "{text}");
            }
            for text in ["", "\n", "<", "\n<!doc"] {
                assert_eq!(
                    (judged(text, false), judged(text, true)),
                    (Verdict::More, Verdict::Stream(&NDJSON))
                );
            }
            assert_eq!(judged("\r\n<!DOCTYPE html>", false), Verdict::Html);
        }
    }

    #[test]
    fn blank_runs_in_front_are_waited_for_whatever_their_length_and_split() {
        for piece in [1, 100, 8 << 10] {
            let mut gate = Gate::new(Label::Other, Wanted::Events, Plain::Nothing);
            let blank = vec![b' '; 8 << 10];
            for part in blank.chunks(piece) {
                assert_eq!(gate.push(part), Verdict::More, "pieces of {piece}");
            }
            assert_eq!(gate.push(b"data: x"), Verdict::Stream(&SSE), "pieces of {piece}");
            assert_eq!(gate.text(), b"data: x");
            assert_eq!(gate.into_held().len(), blank.len() + 7);
        }
        let mut endless = Gate::new(Label::Other, Wanted::Events, Plain::Nothing);
        assert_eq!(endless.push(&[b'\n'; HOLD_BYTES - 1]), Verdict::More);
        assert_eq!(endless.push(b"\n"), Verdict::Pass);
        assert_eq!(
            sniff(b"\n\xef\xbb\xbfdata: x", Label::Other, false),
            Verdict::Pass,
            "no mark but in front"
        );
    }
}
