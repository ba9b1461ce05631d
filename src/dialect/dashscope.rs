//! Alibaba's DashScope, in its own form (its OpenAI-compatible paths speak `openai-chat`).
//!
//! Form: the Model Studio API reference; streams only come where the request has `X-DashScope-SSE: enable` (seen
//! 2026-11). dashscope-sdk-python compares the bytes after `event:` with `error` as they are, so that a space there
//! hides the error from it (`dashscope/common/utils.py`, `_handle_stream`): hence the form here.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::codec::Event;
use crate::stream::Failure;

use super::{
    Dialect, Finishes, Manual, Place, Places, Sign, Told, add_status, has, no_kind, object, pointer, value_of,
};

/// Ends with a `finish_reason`; a running answer has the string `"null"` there.
pub static DASHSCOPE: Dialect = Dialect {
    name: "dashscope",
    doc: "Alibaba DashScope's own API: ends with a finish_reason",
    paths: &["/text-generation/generation", "/multimodal-generation/generation"],
    headers: &["x-dashscope-sse"],
    confirms: |event| object(event).is_some_and(|json| pointer::member(json, "output").is_some()),
    evident: |_| false,
    sign,
    finishes: Finishes::Always,
    kind: no_kind,
    choices: None,
    places: Places {
        text: &[
            Place::any("/output/choices/*/message/content"),
            Place::any("/output/choices/*/message/content/*/text"),
            Place::any("/output/text"),
        ],
        growing: &[
            Place::any("/output/choices/*/message/reasoning_content"),
            Place::any("/output/choices/*/message/tool_calls/*/function/arguments"),
        ],
        other: &[
            Place::any("/output/choices/*/message/tool_calls/*/id"),
            Place::any("/output/choices/*/message/tool_calls/*/function/name"),
            Place::any("/output/thoughts"),
        ],
        finish: &[Place::any("/output/choices/*/finish_reason"), Place::any("/output/finish_reason")],
        usage: &[Place::any("/usage")],
        changing: &[],
        first: &[
            Place::any("/output/choices/*/message/tool_calls/*/id"),
            Place::any("/output/choices/*/message/tool_calls/*/function/name"),
        ],
        once: &[],
        count: None,
    },
    error,
    told: Some(Told { before: "event:error\ndata:", after: "\n\n" }),
    heartbeat: None,
    manual: Manual {
        first: "`output` in the data",
        ends: "a `finish_reason` that is not `\"null\"`",
        errors: "an event `error`; data with a `code` and no `output`",
    },
};

static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static OUTPUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"output\""));

fn sign(event: &Event<'_>) -> Sign {
    if event.name == Some(b"error") {
        return Sign::Error;
    }
    let Some(json) = object(event) else { return Sign::Plain };
    let is_reason = |value: &[u8]| {
        value.starts_with(b"\"") && !value.starts_with(b"\"\"") && !value.starts_with(b"\"null\"")
    };
    if has(json, &FINISH_REASON, is_reason) {
        return Sign::Finish;
    }
    let fails = || pointer::string(json, "code").is_some_and(|code| !code.is_empty());
    if value_of(json, &OUTPUT).is_none() && fails() { Sign::Error } else { Sign::Plain }
}

fn error(failure: &Failure) -> String {
    let mut error =
        serde_json::json!({ "code": failure.code(), "message": failure.message(), "request_id": "" });
    add_status(&mut error, failure);
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, sign};
    use super::*;

    #[test]
    fn a_reason_other_than_null_ends_it() {
        let sign = |name, data| sign(&DASHSCOPE, name, data);
        assert_eq!(sign(Some("result"), r#"{"output":{"text":"a","finish_reason":"null"}}"#), Sign::Plain);
        assert_eq!(sign(None, r#"{"output":{"choices":[{"finish_reason": null}]}}"#), Sign::Plain);
        assert_eq!(sign(None, r#"{"output":{"choices":[{"finish_reason": "stop"}]}}"#), Sign::Finish);
        assert_eq!(sign(None, r#"{"output":{"text":"\"finish_reason\":\"stop\""}}"#), Sign::Plain);
    }

    #[test]
    fn errors_have_their_name_or_a_code_and_no_output() {
        let failed = r#"{"code":"InvalidApiKey","message":"m","request_id":"r"}"#;
        assert_eq!(sign(&DASHSCOPE, Some("error"), failed), Sign::Error);
        assert_eq!(sign(&DASHSCOPE, None, failed), Sign::Error);
        assert_eq!(sign(&DASHSCOPE, None, r#"{"output":{"text":"a"},"code":"x"}"#), Sign::Plain);
        assert_eq!(sign(&DASHSCOPE, None, r#"{"code":"","message":""}"#), Sign::Plain);
        assert!(confirms(&DASHSCOPE, None, r#"{"output":{}}"#) && !confirms(&DASHSCOPE, None, failed));
    }

    #[test]
    fn text_in_any_of_its_forms_is_content() {
        let content = |data| content(&DASHSCOPE, None, data);
        assert!(content(r#"{"output":{"text":"a"}}"#));
        assert!(content(r#"{"output":{"choices":[{"message":{"content":"a"}}]}}"#));
        assert!(content(r#"{"output":{"choices":[{"message":{"content":[{"text":"a"}]}}]}}"#));
        assert!(content(r#"{"output":{"choices":[{"message":{"content":"","reasoning_content":"a"}}]}}"#));
        assert!(!content(
            r#"{"output":{"choices":[{"message":{"content":[{"text":""}],"role":"assistant"}}]}}"#
        ));
    }
}
