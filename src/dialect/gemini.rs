//! Google's Gemini API and Vertex AI: `streamGenerateContent`.
//!
//! Form: the API reference, `GenerateContentResponse` and `google.rpc.Status` (seen 2026-11). Google tells an error
//! inside a stream as its bare JSON, not as an event, and its clients look for exactly that: js-genai raises on a
//! read that is such an object and nothing else, go-genai on any line that is not `data:`. Both take the same JSON behind
//! `data:` for an answer without candidates; where both forms come in one read, js-genai 1 finds neither. So the clients
//! that [name themselves Google's](crate::stream::Plan::finds_bare) are told with the bare JSON alone, and all others, which
//! would not see that, with an event without a name alone.

use std::sync::LazyLock;

use http::StatusCode;
use memchr::memmem::Finder;

use crate::codec::Event;
use crate::stream::Failure;

use super::{
    Beat, Dialect, Finishes, Manual, Place, Places, Sign, Told, begins_with_key, has, holds, no_kind, object,
    pointer, value_of,
};

/// Ends with a `finishReason`; nothing else marks the end.
pub static GEMINI: Dialect = Dialect {
    name: "gemini",
    doc: "Google Gemini: ends with a finishReason",
    paths: &[":streamGenerateContent"],
    headers: &[],
    confirms: |event| {
        let starts = |json| [&CANDIDATES, &FEEDBACK, &USAGE].iter().any(|key| value_of(json, key).is_some());
        object(event).is_some_and(starts)
    },
    evident: |_| false,
    sign,
    // Google counts tokens in every chunk, and ends with a reason; of servers that imitate it neither is known.
    finishes: Finishes::Where(|event| object(event).is_some_and(|json| value_of(json, &USAGE).is_some())),
    kind: no_kind,
    choices: None,
    places: Places {
        text: &[
            Place::any("/candidates/*/content/parts/*/text"),
            // Cloud Code wraps each answer.
            Place::any("/response/candidates/*/content/parts/*/text"),
        ],
        growing: &[],
        other: &[
            Place::any("/candidates/*/content/parts/*/functionCall"),
            Place::any("/candidates/*/content/parts/*/inlineData"),
            Place::any("/candidates/*/content/parts/*/executableCode"),
            Place::any("/response/candidates/*/content/parts/*/functionCall"),
        ],
        finish: &[
            Place::any("/candidates/*/finishReason"),
            Place::any("/promptFeedback/blockReason"),
            Place::any("/response/candidates/*/finishReason"),
            Place::any("/response/promptFeedback/blockReason"),
        ],
        usage: &[Place::any("/usageMetadata")],
        changing: &[Place::any("/response/usageMetadata")],
        first: &[],
        once: &[
            Place::any("/candidates/*/citationMetadata"),
            Place::any("/candidates/*/groundingMetadata"),
            Place::any("/candidates/*/logprobsResult"),
            Place::any("/candidates/*/content/parts/*/thoughtSignature"),
            Place::any("/response/candidates/*/citationMetadata"),
            Place::any("/response/candidates/*/groundingMetadata"),
            Place::any("/response/candidates/*/logprobsResult"),
            Place::any("/response/candidates/*/content/parts/*/thoughtSignature"),
            Place::any("/response/usageMetadata"),
        ],
        count: None,
    },
    error,
    told: Some(Told { before: "", after: "\n" }),
    heartbeat: Some(Beat { name: None, repeated: &[], members: "", or: &[], instead: Some("data: {}\n\n") }),
    manual: Manual {
        first: "`candidates`, `promptFeedback` or `usageMetadata` in the data",
        ends: "a `finishReason`, or a `blockReason` of the prompt; the end itself, if the first event has no `usageMetadata` and the route does not set the dialect",
        errors: "an event `error`; data that begins with `error`",
    },
};

static CANDIDATES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"candidates\""));
static FEEDBACK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"promptFeedback\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usageMetadata\""));
static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finishReason\""));
static BLOCK_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"blockReason\""));

fn sign(event: &Event<'_>) -> Sign {
    if event.name == Some(b"error") {
        return Sign::Error;
    }
    let Some(json) = object(event) else { return Sign::Plain };
    if begins_with_key(json, b"\"error\"") {
        return Sign::Error;
    }
    // A blocked prompt has no candidates, so no finishReason either. The arguments of a call are real JSON, and may
    // hold keys of the same names: the search alone decides nothing.
    let has_reason = |key| has(json, key, |value| value.starts_with(b"\"") && !value.starts_with(UNSET));
    let ends = has_reason(&FINISH_REASON) || has_reason(&BLOCK_REASON);
    if ends && holds(json, None, GEMINI.places.finish, is_reason) { Sign::Finish } else { Sign::Plain }
}

fn is_reason(value: &[u8]) -> bool {
    pointer::is_text(value) && value != UNSET
}

/// `google.rpc.Status`; its code is that of HTTP. js-genai raises on those from 400 to 599 only.
fn error(failure: &Failure) -> String {
    let status = failure.status();
    let name = match status {
        StatusCode::BAD_REQUEST => "INVALID_ARGUMENT",
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
        StatusCode::PAYLOAD_TOO_LARGE => "OUT_OF_RANGE",
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => "UNIMPLEMENTED",
        _ => "UNAVAILABLE",
    };
    let reason = serde_json::json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": failure.code(), "domain": "tidegate",
    });
    serde_json::json!({
        "error": { "code": status.as_u16(), "message": failure.message(), "status": name, "details": [reason] },
    })
    .to_string()
}

/// What stands there where nothing is to be said.
const UNSET: &[u8] = b"\"FINISH_REASON_UNSPECIFIED\"";

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, finishes, sign};
    use super::*;

    #[test]
    fn a_finish_or_block_reason_ends_it_and_nothing_in_the_text() {
        let sign = |data: &str| sign(&GEMINI, None, data);
        let text = r#"{"candidates":[{"content":{"parts":[{"text":"\"finishReason\":\"STOP\""}]}}]}"#;
        assert_eq!(sign(text), Sign::Plain);
        assert_eq!(sign(r#"{"candidates":[{"finishReason": "STOP"}]}"#), Sign::Finish);
        assert_eq!(sign(r#"{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#), Sign::Plain);
        assert_eq!(sign(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#), Sign::Finish);
        assert_eq!(sign(r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#), Sign::Error);
        assert_eq!(sign("hello"), Sign::Plain);
        let call = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"finishReason":"x"}}}]}"#;
        assert_eq!(sign(&format!("{call}}}]}}")), Sign::Plain);
        assert_eq!(sign(&format!("{call},\"finishReason\":\"STOP\"}}]}}")), Sign::Finish);
        assert_eq!(sign(r#"{"response":{"candidates":[{"finishReason":"STOP"}]}}"#), Sign::Finish);
        assert_eq!(super::super::testing::sign(&GEMINI, Some("error"), "overloaded"), Sign::Error);
    }

    #[test]
    fn the_first_event_confirms_by_its_keys() {
        for data in [r#"{"candidates":[]}"#, r#"{"response":{"candidates":[]}}"#, r#"{"usageMetadata":{}}"#] {
            assert!(confirms(&GEMINI, None, data), "{data}");
        }
        assert!(!confirms(&GEMINI, None, r#"{"choices":[]}"#));
        assert!(finishes(&GEMINI, None, r#"{"candidates":[],"usageMetadata":{}}"#));
        assert!(!finishes(&GEMINI, None, r#"{"candidates":[]}"#));
        assert!(GEMINI.finishes.shown_by(&Event::default(), true), "where the route sets it");
    }

    #[test]
    fn text_and_calls_are_content_and_usage_is_not() {
        let content = |data| content(&GEMINI, None, data);
        assert!(content(r#"{"candidates":[{"content":{"parts":[{"text":""},{"text":"x"}]}}]}"#));
        assert!(content(r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#));
        assert!(!content(r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}]}"#));
        assert!(!content(r#"{"usageMetadata":{"promptTokenCount":3}}"#));
    }
}
