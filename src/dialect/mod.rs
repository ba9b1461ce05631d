//! What the events of a stream mean: one file and one line in [`DIALECTS`] per dialect.
//!
//! A dialect is looked at for an honest ending, and for the first content. It tells which event ends an answer,
//! which one is an error, how an error is said to its clients, and where the text stands. It is hinted by the
//! request's path or by a header, and counts only once an event has confirmed it, one of the first; where nothing
//! hinted, a first event that can be nothing else is enough. What the route sets needs no event to confirm it.
//!
//! Nothing here parses JSON. Signs are found by a byte search: in valid JSON the bytes `"name"` with both quotes
//! unescaped can only be a string token, so a search finds keys without being fooled by text. Where the place of a
//! key matters, [`mod@pointer`] walks there.

mod ag_ui;
mod anthropic;
mod bedrock_converse;
mod coze;
mod dashscope;
mod dify;
mod gemini;
mod generic;
mod mcp;
mod ollama;
mod openai_chat;
mod openai_responses;
mod places;
pub mod pointer;
mod vercel_ui;

use http::HeaderMap;
use memchr::memmem;

use crate::codec::{Data, Event};
use crate::stream::Failure;

pub use ag_ui::AG_UI;
pub use anthropic::ANTHROPIC;
pub use bedrock_converse::BEDROCK_CONVERSE;
pub use coze::COZE;
pub use dashscope::DASHSCOPE;
pub use dify::DIFY;
pub use gemini::GEMINI;
pub use generic::GENERIC;
pub use mcp::MCP;
pub use ollama::OLLAMA;
pub use openai_chat::OPENAI_CHAT;
pub use openai_responses::OPENAI_RESPONSES;
pub use places::{Count, Place, Places};
pub use vercel_ui::VERCEL_UI;

/// One dialect.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// Ends of request paths that hint at it.
    pub paths: &'static [&'static str],
    /// Names of header fields, of the request or of the response, that hint at it.
    pub headers: &'static [&'static str],
    /// Whether an event at the beginning is one of this dialect, if something hinted at it.
    pub confirms: fn(&Event<'_>) -> bool,
    /// Whether an event at the beginning can be nothing but this dialect, hinted or not.
    pub evident: fn(&Event<'_>) -> bool,
    /// What an event says about how the stream goes on.
    pub sign: fn(&Event<'_>) -> Sign,
    /// Whether a complete answer always shows [`Sign::Finish`] or [`Sign::Last`], so that a clean end without it is a
    /// truncation.
    pub finishes: Finishes,
    /// What kind of event this is, where a [`Place`] tells them apart.
    pub kind: for<'a> fn(&Event<'a>) -> Option<&'a [u8]>,
    /// Where the answers stand of which one stream may carry several, each with an `index` and a `finish_reason` of its
    /// own; `None`: a stream carries one.
    pub choices: Option<&'static str>,
    /// Where things stand in the data.
    pub places: Places,
    /// What tells a client of this dialect of a failure: one line of JSON.
    pub error: fn(&Failure) -> String,
    /// How that line is written into a stream that breaks; `None`: it is cut instead.
    pub told: Option<Told>,
    /// An event that says nothing to its clients, if it has one: a heartbeat in its words.
    pub heartbeat: Option<Beat>,
    /// What the manual says of it.
    pub manual: Manual,
}

/// What an event says about how the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It goes on.
    Plain,
    /// The answer is complete; more of it may follow (usage, `[DONE]`).
    Finish,
    /// The answer is complete and nothing of it follows (other events may).
    Last,
    /// The upstream reports an error.
    Error,
}

/// Whether a complete answer shows that it is complete.
#[derive(Debug, Clone, Copy)]
pub enum Finishes {
    /// Always.
    Always,
    /// Not always, or never.
    Never,
    /// Where the event that the dialect is known by is such a one, and where the route sets the dialect.
    Where(fn(&Event<'_>) -> bool),
}

/// What stands around the line of JSON in an event that tells a client of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Before it.
    pub before: &'static str,
    /// After it.
    pub after: &'static str,
}

/// An event that says nothing: data of one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its name, if it has one.
    pub name: Option<&'static str>,
    /// Members that are repeated from an event of the stream: some clients take the last ones that they got for those of the
    /// answer (openai-node assigns them to what it gathers).
    pub repeated: &'static [&'static str],
    /// The other members, as JSON without braces.
    pub members: &'static str,
    /// Where something stands at this pointer in that event: these members in their place.
    pub or: &'static [(&'static str, &'static str)],
    /// The whole event, where clients of the dialect cannot bear a comment line: it is written in the place of one.
    pub instead: Option<&'static str>,
}

impl Beat {
    /// The data, after this event of the stream.
    pub fn line(&self, event: &Event<'_>) -> Vec<u8> {
        let mut line = b"{".to_vec();
        let mut add = |parts: &[&[u8]]| {
            if line.len() > 1 {
                line.push(b',');
            }
            parts.iter().for_each(|part| line.extend_from_slice(part));
        };
        for key in self.repeated {
            if let Some(value) = object(event).and_then(|json| pointer::member(json, key)) {
                add(&[b"\"", key.as_bytes(), b"\":", value]);
            }
        }
        let stands = |at: &str| object(event).is_some_and(|json| pointer::find(json, at, |_| true).is_some());
        let other = self.or.iter().find(|(at, _)| stands(at));
        let members = other.map_or(self.members, |(_, members)| members);
        if !members.is_empty() {
            add(&[members.as_bytes()]);
        }
        line.push(b'}');
        line
    }
}

/// What the manual says of a dialect, besides what its other fields say.
#[derive(Debug)]
pub struct Manual {
    /// What its first event is like.
    pub first: &'static str,
    /// What ends it.
    pub ends: &'static str,
    /// What an error of an upstream looks like.
    pub errors: &'static str,
}

/// Every dialect, in the order of `tidegate formats`.
pub static DIALECTS: &[&Dialect] = &[
    &OPENAI_CHAT,
    &OPENAI_RESPONSES,
    &ANTHROPIC,
    &GEMINI,
    &BEDROCK_CONVERSE,
    &OLLAMA,
    &DASHSCOPE,
    &DIFY,
    &COZE,
    &MCP,
    &AG_UI,
    &VERCEL_UI,
    &GENERIC,
];

impl Dialect {
    /// The dialect with this name.
    pub fn named(name: &str) -> Option<&'static Dialect> {
        DIALECTS.iter().copied().find(|dialect| dialect.name == name)
    }

    /// The dialect that a request path hints at.
    pub fn hinted(path: &str) -> Option<&'static Dialect> {
        DIALECTS.iter().copied().find(|dialect| dialect.paths.iter().any(|end| path.ends_with(end)))
    }

    /// The dialect that the fields of a request or a response hint at.
    pub fn announced(headers: &HeaderMap) -> Option<&'static Dialect> {
        // To compare with the few names that there are costs less than to look each of them up.
        let has = |name: &&str| headers.keys().any(|key| key == name);
        DIALECTS.iter().copied().find(|dialect| dialect.headers.iter().any(has))
    }

    /// Whether servers of this dialect stream events and nothing else, whoever asks.
    pub fn streams_events(&self) -> bool {
        ![&OLLAMA, &GEMINI, &BEDROCK_CONVERSE, &GENERIC].contains(&self)
    }

    /// The failure as it is written into a stream that breaks, for who reads events; `None`: the stream is cut instead.
    pub fn told(&self, failure: &Failure) -> Option<String> {
        let told = self.told?;
        let line = (self.error)(failure);
        let Told { before, after } = told.as_event();
        Some([before, &line, after].concat())
    }

    /// Whether its streams end with `[DONE]`, by its own reference.
    pub fn ends_with_done(&self) -> bool {
        [&OPENAI_CHAT, &VERCEL_UI].contains(&self)
    }

    /// Whether a text may stand in each event whole, with all that was said before, and no event shows whether it does:
    /// DashScope's, unless the request sets `incremental_output` (its API reference, seen 2026-11).
    pub fn may_repeat_its_text(&self) -> bool {
        *self == DASHSCOPE
    }

    /// What is written where its clients cannot bear a comment line.
    pub fn in_place_of_a_comment(&self) -> Option<&'static str> {
        self.heartbeat?.instead
    }

    /// Whether its clients see an error only where no space stands before its name.
    pub fn tells_without_a_space(&self) -> bool {
        self.told.is_some_and(|told| told.before.starts_with("event:error"))
    }

    /// Whether an event has content in it: text, or what else makes up an answer. An event of a role, of an empty
    /// delta, of usage alone has none. Where nothing is known of the events, any data is content.
    pub fn has_content(&self, event: &Event<'_>) -> bool {
        let Places { text, growing, other, .. } = self.places;
        if text.is_empty() && other.is_empty() {
            return !is_blank(event);
        }
        let Some(json) = object(event) else { return false };
        let kind = (self.kind)(event);
        let holds_text = |places| holds(json, kind, places, pointer::is_text);
        holds_text(text) || holds_text(growing) || holds(json, kind, other, pointer::is_something)
    }
}

impl Finishes {
    /// Whether an answer that begins with this event does. `is_set`: the route sets the dialect.
    pub fn shown_by(self, event: &Event<'_>, is_set: bool) -> bool {
        match self {
            Finishes::Always => true,
            Finishes::Never => false,
            Finishes::Where(begins) => is_set || begins(event),
        }
    }
}

impl Told {
    /// An event named `error`.
    pub const NAMED: Told = Told { before: "event: error\ndata: ", after: "\n\n" };
    /// An event without a name: its data tells what it is.
    pub const UNNAMED: Told = Told { before: "data: ", after: "\n\n" };

    /// What is no event becomes one: only clients that look for a bare line find it.
    pub fn as_event(self) -> Told {
        if self.is_event() { self } else { Told::UNNAMED }
    }

    /// Whether it makes an event of the line.
    pub fn is_event(self) -> bool {
        self.before.contains("data:")
    }
}

/// Whether an event has no data, or only an empty line: a ping, an id to resume at.
pub fn is_blank(event: &Event<'_>) -> bool {
    matches!(event.data, Data::None | Data::Line(b""))
}

fn no_kind<'a>(_: &Event<'a>) -> Option<&'a [u8]> {
    None
}

/// Its name, or the `type` of the data where servers, or an envelope that was taken off, left the name out.
fn by_name_or_type<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    event.name.or_else(|| by_type(event))
}

fn by_name<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    event.name
}

/// The `type` of the data.
fn by_type<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    pointer::string(object(event)?, "type")
}

impl PartialEq for Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The data of an event, if it is one line of JSON object.
fn object<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    event.data.line().map(<[u8]>::trim_ascii).filter(|line| line.first() == Some(&b'{'))
}

/// What stands behind `"key":`, white space skipped, wherever the key is first found. `key` has its quotes.
fn value_of<'a>(json: &'a [u8], key: &memmem::Finder<'_>) -> Option<&'a [u8]> {
    let mut rest = json;
    while let Some(at) = key.find(rest) {
        rest = &rest[at + key.needle().len()..];
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
    }
    None
}

/// Whether the key stands anywhere before a value that begins so. It may be in the arguments of a tool call, where
/// those are real JSON: there, the [place](holds) is to be looked at as well.
fn has(json: &[u8], key: &memmem::Finder<'_>, begins: impl Fn(&[u8]) -> bool) -> bool {
    let mut rest = json;
    while let Some(value) = value_of(rest, key) {
        if begins(value) {
            return true;
        }
        rest = value;
    }
    false
}

/// Whether a value that is accepted stands in one of these places, in an event of this kind.
fn holds(json: &[u8], kind: Option<&[u8]>, places: &[Place], accepts: fn(&[u8]) -> bool) -> bool {
    let mut places = places.iter().filter(|place| place.of.is_none_or(|of| kind == Some(of.as_bytes())));
    places.any(|place| pointer::find(json, place.at, accepts).is_some())
}

/// Whether the object begins with this key: `{"error":…` and not a later or nested one.
fn begins_with_key(json: &[u8], key: &[u8]) -> bool {
    let Some(rest) = json.strip_prefix(b"{") else { return false };
    rest.trim_ascii_start().strip_prefix(key).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
}

/// The error form that OpenAI's and Anthropic's SDKs, Vercel's and plain readers all understand: the named event
/// stops the ones, `type` and `error` the others.
fn common_error(failure: &Failure) -> String {
    let mut error =
        serde_json::json!({ "message": failure.message(), "type": failure.kind(), "code": failure.code() });
    add_status(&mut error, failure);
    serde_json::json!({ "type": "error", "error": error }).to_string()
}

/// Names the status in an object about a failure, if the client was not given it.
fn add_status(object: &mut serde_json::Value, failure: &Failure) {
    if let Some(status) = failure.told_status() {
        object["status"] = status.as_u16().into();
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    pub(super) fn sign(dialect: &Dialect, name: Option<&str>, data: &str) -> Sign {
        (dialect.sign)(&event(name, data))
    }

    pub(super) fn confirms(dialect: &Dialect, name: Option<&str>, data: &str) -> bool {
        (dialect.confirms)(&event(name, data))
    }

    pub(super) fn evident(dialect: &Dialect, name: Option<&str>, data: &str) -> bool {
        (dialect.evident)(&event(name, data))
    }

    pub(super) fn finishes(dialect: &Dialect, name: Option<&str>, data: &str) -> bool {
        dialect.finishes.shown_by(&event(name, data), false)
    }

    pub(super) fn content(dialect: &Dialect, name: Option<&str>, data: &str) -> bool {
        dialect.has_content(&event(name, data))
    }

    fn event<'a>(name: Option<&'a str>, data: &'a str) -> Event<'a> {
        Event { name: name.map(str::as_bytes), data: Data::Line(data.as_bytes()), ..Event::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Cause;

    #[test]
    fn dialects_have_distinct_names_and_paths_and_say_errors_in_one_line_of_json() {
        let mut seen = std::collections::HashSet::new();
        let failure = Failure::new(Cause::UpstreamTruncated, "line\nbreak \"quoted\"");
        for dialect in DIALECTS {
            assert!(seen.insert(dialect.name) && !dialect.doc.is_empty());
            for path in dialect.paths {
                assert!(seen.insert(path), "{path} hints at two dialects");
                assert_eq!(Dialect::hinted(&format!("/proxy{path}")), Some(*dialect));
            }
            let error = (dialect.error)(&failure);
            assert!(!error.contains('\n') && error.contains("upstream_truncated"), "{error}");
            assert!(serde_json::from_str::<serde_json::Value>(&error).unwrap().is_object(), "{error}");
            if let Some(told) = dialect.told {
                assert!(told.before.is_empty() || told.after == "\n\n", "{told:?}");
            }
            assert!(dialect.headers.iter().all(|name| seen.insert(name) && *name == name.to_lowercase()));
        }
        assert_eq!(Dialect::hinted("/v1/embeddings"), None);
    }

    #[test]
    fn keys_are_not_found_inside_text() {
        let finder = memmem::Finder::new("\"done\"");
        assert_eq!(value_of(br#"{"t":"\"done\": true","x":"done"}"#, &finder), None);
        assert_eq!(value_of(br#"{"x":"done","done" : true}"#, &finder), Some(&b"true}"[..]));
    }
}
