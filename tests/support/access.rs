//! Access lines, and the words in them that tests look for.

use std::collections::HashMap;

/// The words of the outcome: who ended it and what happened. One list, so that tests and the log agree.
pub mod outcome {
    pub const DONE: &str = "done";
    pub const CLIENT_GONE: &str = "client:gone";
    pub const CLIENT_FLOODED: &str = "client:flooded";
    pub const CLIENT_STALLED: &str = "client:stalled";
    pub const UPLOAD_IDLE: &str = "client:timeout_request_body_idle";
    pub const UPLOAD_TOO_LARGE: &str = "client:request_body_too_large";
    pub const CONNECT_FAILED: &str = "upstream:connect_failed";
    pub const RESOLVE_FAILED: &str = "upstream:resolve_failed";
    pub const TLS_FAILED: &str = "upstream:tls_failed";
    pub const TIMEOUT_CONNECT: &str = "upstream:timeout_connect";
    pub const TIMEOUT_RESPONSE_HEAD: &str = "upstream:timeout_response_head";
    pub const TIMEOUT_FIRST_EVENT: &str = "upstream:timeout_first_event";
    pub const TIMEOUT_FIRST_CONTENT: &str = "upstream:timeout_first_content";
    pub const TIMEOUT_EVENT_GAP: &str = "upstream:timeout_event_gap";
    pub const TIMEOUT_TOTAL: &str = "tidegate:timeout_total";
    pub const STATUS: &str = "upstream:status";
    pub const AUTH: &str = "upstream:auth";
    pub const HTML: &str = "upstream:html";
    pub const EMPTY: &str = "upstream:empty";
    pub const TRUNCATED: &str = "upstream:truncated";
    pub const CLOSED_BEFORE_HEAD: &str = "upstream:closed_before_head";
    pub const HTTP2_ERROR: &str = "upstream:http2_error";
    pub const MALFORMED: &str = "upstream:malformed";
    pub const CODING_RATIO: &str = "upstream:coding_ratio";
    pub const EVENT_TOO_LARGE: &str = "upstream:event_too_large";
    pub const DRAIN: &str = "tidegate:drain";
    pub const RESET: &str = "upstream:reset";
    pub const TUNNEL_IDLE: &str = "tidegate:timeout_tunnel_idle";
    pub const TUNNEL_TOTAL: &str = "tidegate:timeout_tunnel_total";
}

/// One `key=value` line of the log.
#[derive(Debug, Clone)]
pub struct Line(HashMap<String, String>);

impl Line {
    /// Takes a logfmt line apart; `None` if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = HashMap::new();
        let mut rest = line.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=')?;
            let (value, after) = if after.starts_with('"') { quoted(after)? } else { bare(after) };
            fields.insert(key.to_owned(), value);
            rest = after.trim_start();
        }
        Some(Line(fields))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The names of its keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &str) -> &str {
        self.get(key).unwrap_or_else(|| panic!("no {key} in the access line {:?}", self.0))
    }

    /// A number that must be there.
    pub fn number(&self, key: &str) -> f64 {
        let value = self.need(key);
        value.parse().unwrap_or_else(|_| panic!("{key} is not a number: {value:?}"))
    }

    /// Whether this is the one line that each request gets.
    pub fn is_access(&self) -> bool {
        ["msg", "message"].iter().any(|key| self.get(key) == Some("request"))
    }

    /// Fails unless the request ended like this, in this phase.
    pub fn assert_ended(&self, outcome: &str, phase: &str) {
        assert_eq!((self.need("outcome"), self.need("phase")), (outcome, phase), "in {:?}", self.0);
    }
}

fn bare(text: &str) -> (String, &str) {
    let end = text.find(' ').unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
