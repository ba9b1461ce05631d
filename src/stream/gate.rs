//! What a response to a stream request really is, told by its first bytes.
//!
//! Labels lie: Server-Sent Events come as `text/plain`, as JSON, without any type; JSON lines and login pages come as
//! event streams. Only what cannot be anything else is believed against a label that promises a stream. Without such a
//! label the head is held back until the first bytes that are not blank, [`SNIFF_BYTES`] of them at the most. Blank runs
//! in front mean nothing to a stream (servers pad with them, or send them while they think), but they are part
//! of a body that passes: so they are held too, up to [`HOLD_BYTES`].
//!
//! Where the route says what the format is, two things are looked for in its place: a page, and, unless the label promises a
//! stream too, one error, which is all that came. A line of JSON is an error by itself only where the label says that the
//! body is one value: else it is a line, and the dialect tells what it means.

use http::StatusCode;

use crate::codec::aws_eventstream::is_prelude;
use crate::codec::json;
use crate::dialect::Dialect;
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
    /// What the answer is expected to be in.
    dialect: Option<&'static Dialect>,
    /// Which errors in plain text are waited for.
    plain: Plain,
    held: Vec<u8>,
    /// The JSON object that the body begins with, as far as it was followed, and its length once it is whole.
    object: json::Value,
    followed: usize,
    whole: Option<usize>,
    /// How many of the held bytes say nothing: a byte order mark, white space. They are not looked at again.
    blank: usize,
}

impl Gate {
    pub(super) fn new(label: Label, wanted: Wanted, dialect: Option<&'static Dialect>) -> Self {
        let fixed = if let Wanted::In(format) = wanted { Some(format) } else { None };
        let object = json::Value::default();
        let plain = Plain::of(dialect);
        Gate { label, fixed, dialect, plain, held: Vec::new(), object, followed: 0, whole: None, blank: 0 }
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
        let verdict = self.verdict(full || self.text().len() >= SNIFF_BYTES);
        match verdict {
            Verdict::Stream(format) if self.is_doubted() && !full => self.unless_one_error(format),
            verdict => self.unless_error(verdict, full),
        }
    }

    /// The body is over.
    pub(super) fn end(&self) -> Verdict {
        if self.is_doubted() && (self.plain_error().is_some() || self.is_error()) {
            return Verdict::Pass;
        }
        self.verdict(true)
    }

    /// Whether the whole of it is an error in JSON.
    pub(super) fn is_error(&self) -> bool {
        self.tells_error(self.text())
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

    /// Whether it begins as Server-Sent Events do, as far as its first byte tells.
    pub(super) fn may_be_sse(&self) -> bool {
        matches!(self.text().first(), Some(b'd' | b'e' | b'i' | b'r' | b':'))
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

    /// The route says what it is, and the label does not say that it is a stream.
    fn is_doubted(&self) -> bool {
        self.fixed.is_some() && !matches!(self.label, Label::Format(_))
    }

    /// In place of messages in binary, a JSON object with words in it can be nothing else.
    fn tells_error(&self, object: &[u8]) -> bool {
        quote::is_error(object, self.dialect)
            || self.fixed == Some(&AWS_EVENTSTREAM) && quote::has_words(object)
    }

    /// What begins as the stream that the route says, if it is not one error as a whole. Nothing waits for long: of a
    /// stream, no event is whole before this is decided.
    fn unless_one_error(&mut self, format: &'static Format) -> Verdict {
        let (stream, text) = (Verdict::Stream(format), &self.held[self.blank..]);
        if text.first() != Some(&b'{') {
            let may_be = self.plain.may_be_error(text) && sse(text) != Some(Verdict::Stream(&SSE));
            return if may_be { Verdict::More } else { stream };
        }
        if text.len() >= SNIFF_BYTES && !quote::may_be_error(text) {
            return stream;
        }
        if self.whole.is_none() {
            match self.object.step(&text[self.followed..]) {
                json::Step::More => {}
                json::Step::End(end) => self.whole = Some(self.followed + end),
                json::Step::Broken(_) => return stream,
            }
            self.followed = text.len();
        }
        let Some(end) = self.whole else { return Verdict::More };
        let (object, rest) = text.split_at(end);
        let is_line = self.label == Label::Other && *format == NDJSON;
        match rest {
            _ if !rest.trim_ascii().is_empty() || !self.tells_error(object) => stream,
            rest if is_line && rest.contains(&b'\n') => stream,
            _ if is_line => Verdict::More,
            _ => Verdict::Pass,
        }
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
        let mut gate = Gate::new(label, Wanted::Events, None);
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

    /// The verdict on the pieces where the route sets the format, and that at the end.
    fn fixed(format: &'static Format, label: Label, pieces: &[&str]) -> (Verdict, Verdict) {
        let mut gate = Gate::new(label, Wanted::In(format), Some(&crate::dialect::OPENAI_CHAT));
        let mut verdict = Verdict::More;
        for piece in pieces {
            assert_eq!(verdict, Verdict::More, "before {piece:?}");
            verdict = gate.push(piece.as_bytes());
        }
        (verdict, gate.end())
    }

    #[test]
    fn of_a_format_that_the_route_sets_only_a_page_is_doubted_where_the_label_is_a_stream() {
        for label in [Label::Format(&SSE), Label::Format(&NDJSON)] {
            for text in ["{\"error\":{}}", "data: x", "Internal", "\0", "<svg>", " \n["] {
                assert_eq!(fixed(&NDJSON, label, &[text]).0, Verdict::Stream(&NDJSON), "{text}");
            }
        }
        for label in [Label::Format(&SSE), Label::Json, Label::Other] {
            for text in ["", "\n", "<", "\n<!doc"] {
                assert_eq!(fixed(&NDJSON, label, &[text]), (Verdict::More, Verdict::Stream(&NDJSON)));
            }
            assert_eq!(fixed(&NDJSON, label, &["\r\n<!DOCTYPE html>"]).0, Verdict::Html);
        }
    }

    /// The status and the words of an error were lost where the route set the format.
    #[test]
    fn of_a_format_that_the_route_sets_one_error_is_doubted_where_the_label_is_no_stream() {
        let error = "{\"error\":{\"message\":\"over\",\"code\":429}}";
        let halves = [&error[..9], &error[9..]];
        for format in [&SSE, &NDJSON, &JSON_ARRAY, &AWS_EVENTSTREAM] {
            for label in [Label::Json, Label::Other] {
                for pieces in [&halves[..], &[error]] {
                    let at_once = label == Label::Json || *format != NDJSON;
                    let verdict = if at_once { Verdict::Pass } else { Verdict::More };
                    assert_eq!(
                        fixed(format, label, pieces),
                        (verdict, Verdict::Pass),
                        "{label:?} {pieces:?}"
                    );
                }
                let plain = fixed(format, label, &["Internal", " Server Error\n"]);
                assert_eq!(plain, (Verdict::More, Verdict::Pass));
            }
        }
        let words = "{\"message\":\"no\"}";
        assert_eq!(fixed(&AWS_EVENTSTREAM, Label::Other, &[words]).0, Verdict::Pass);
        assert_eq!(fixed(&NDJSON, Label::Other, &[words]).0, Verdict::Stream(&NDJSON));
        assert_eq!(fixed(&NDJSON, Label::Other, &[error, "\n"]).0, Verdict::Stream(&NDJSON), "it is a line");
        for label in [Label::Json, Label::Other] {
            for (format, pieces) in [
                (&NDJSON, &["{\"message\":{\"content", "\":\"a\"},\"done\":false}\n"][..]),
                (&NDJSON, &["{\"a\":1}"]),
                (&NDJSON, &["{\"error\"]"]),
                (&SSE, &["{\"choices\":[{\"message\":{}}]}"]),
                (&SSE, &["da", "ta: x"]),
                (&JSON_ARRAY, &["[{\"error\":1}"]),
                (&AWS_EVENTSTREAM, &["\0"]),
            ] {
                assert_eq!(fixed(format, label, pieces).0, Verdict::Stream(format), "{label:?} {pieces:?}");
            }
            let two = format!("{error}\n{{");
            assert_eq!(fixed(&NDJSON, label, &[&two]).0, Verdict::Stream(&NDJSON), "more follows");
            let long = format!("{{\"text\":\"{}", "x".repeat(SNIFF_BYTES));
            assert_eq!(fixed(&NDJSON, label, &[&long]).0, Verdict::Stream(&NDJSON), "too long to be one");
        }
    }

    #[test]
    fn blank_runs_in_front_are_waited_for_whatever_their_length_and_split() {
        for piece in [1, 100, 8 << 10] {
            let mut gate = Gate::new(Label::Other, Wanted::Events, None);
            let blank = vec![b' '; 8 << 10];
            for part in blank.chunks(piece) {
                assert_eq!(gate.push(part), Verdict::More, "pieces of {piece}");
            }
            assert_eq!(gate.push(b"data: x"), Verdict::Stream(&SSE), "pieces of {piece}");
            assert_eq!(gate.text(), b"data: x");
            assert_eq!(gate.into_held().len(), blank.len() + 7);
        }
        let mut endless = Gate::new(Label::Other, Wanted::Events, None);
        assert_eq!(endless.push(&[b'\n'; HOLD_BYTES - 1]), Verdict::More);
        assert_eq!(endless.push(b"\n"), Verdict::Pass);
        assert_eq!(
            sniff(b"\n\xef\xbb\xbfdata: x", Label::Other, false),
            Verdict::Pass,
            "no mark but in front"
        );
    }
}
