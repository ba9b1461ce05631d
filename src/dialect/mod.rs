//! What the events of a stream mean: one file and one line in [`DIALECTS`] per dialect.
//!
//! A dialect is looked at for one thing: an honest ending. It tells which event ends an answer, which one is an
//! error, and how an error is said to its clients. It is hinted by the request's path and counts only once the
//! first event has confirmed it. Nothing here parses JSON: in valid JSON the bytes `"name"` with both quotes
//! unescaped can only be a string token, so a search finds keys without being fooled by text.

mod anthropic;
mod generic;
mod ollama;
mod openai_chat;

use memchr::memmem;

use crate::codec::Event;
use crate::stream::Failure;

pub use anthropic::ANTHROPIC;
pub use generic::GENERIC;
pub use ollama::OLLAMA;
pub use openai_chat::OPENAI_CHAT;

/// One dialect.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// Ends of request paths that hint at it.
    pub paths: &'static [&'static str],
    /// Whether a first event is one of this dialect.
    pub confirms: fn(&Event<'_>) -> bool,
    /// What an event says about how the stream goes on.
    pub sign: fn(&Event<'_>) -> Sign,
    /// Whether a complete answer always shows [`Sign::Finish`] or [`Sign::Last`], so that a clean end without it is a truncation.
    pub has_finish: bool,
    /// The `data` of the `error` event that tells a client of this dialect that its stream broke: one line.
    pub error: fn(&Failure) -> String,
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

/// Every dialect, in the order of `tidegate formats`.
pub static DIALECTS: &[&Dialect] = &[&OPENAI_CHAT, &ANTHROPIC, &OLLAMA, &GENERIC];

impl Dialect {
    /// The dialect with this name.
    pub fn named(name: &str) -> Option<&'static Dialect> {
        DIALECTS.iter().copied().find(|dialect| dialect.name == name)
    }

    /// The dialect that a request path hints at.
    pub fn hinted(path: &str) -> Option<&'static Dialect> {
        DIALECTS.iter().copied().find(|dialect| dialect.paths.iter().any(|end| path.ends_with(end)))
    }
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

/// Whether the object begins with this key: `{"error":…` and not a later or nested one.
fn begins_with_key(json: &[u8], key: &[u8]) -> bool {
    let Some(rest) = json.strip_prefix(b"{") else { return false };
    rest.trim_ascii_start().strip_prefix(key).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
}

/// The error form that OpenAI's and Anthropic's SDKs, Vercel's and plain readers all understand: the named event
/// stops the ones, `type` and `error` the others.
fn common_error(failure: &Failure) -> String {
    serde_json::json!({
        "type": "error",
        "error": { "message": failure.message(), "type": failure.kind(), "code": failure.code() },
    })
    .to_string()
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::codec::Data;

    pub(super) fn sign(dialect: &Dialect, name: Option<&str>, data: &str) -> Sign {
        (dialect.sign)(&event(name, data))
    }

    pub(super) fn confirms(dialect: &Dialect, name: Option<&str>, data: &str) -> bool {
        (dialect.confirms)(&event(name, data))
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
            let value: serde_json::Value = serde_json::from_str(&error).unwrap();
            assert!(value.get("error").is_some(), "{error}");
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
