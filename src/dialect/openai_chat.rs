//! OpenAI chat completions, and the many servers that speak the same.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::codec::{Event, is_done};

use super::{
    Beat, Dialect, Finishes, Manual, Place, Places, Sign, Told, begins_with_key, common_error, has, no_kind,
    object, pointer, value_of,
};

/// Ends with a `finish_reason`, then `[DONE]`; servers exist that forget the latter.
pub static OPENAI_CHAT: Dialect = Dialect {
    name: "openai-chat",
    doc: "OpenAI chat completions: ends with a finish_reason or [DONE]",
    paths: &["/chat/completions", "/v1/completions"],
    headers: &[],
    confirms,
    evident: |event| {
        object(event).and_then(|json| pointer::string(json, "object")) == Some(b"chat.completion.chunk")
    },
    sign,
    finishes: Finishes::Always,
    kind: no_kind,
    choices: Some("/choices/*"),
    places: Places {
        text: &[Place::any("/choices/*/delta/content"), Place::any("/choices/*/text")],
        growing: &[
            Place::any("/choices/*/delta/reasoning_content"),
            Place::any("/choices/*/delta/reasoning"),
            Place::any("/choices/*/delta/refusal"),
            Place::any("/choices/*/delta/tool_calls/*/function/arguments"),
            Place::any("/choices/*/delta/tool_calls/*/custom/input"),
            Place::any("/choices/*/delta/function_call/arguments"),
        ],
        other: &[
            Place::any("/choices/*/delta/tool_calls/*/id"),
            Place::any("/choices/*/delta/tool_calls/*/function/name"),
            Place::any("/choices/*/delta/function_call/name"),
            Place::any("/choices/*/delta/audio"),
            // Some models send parts in place of text, some servers a message in place of a delta.
            Place::any("/choices/*/delta/content/*"),
            Place::any("/choices/*/message/content"),
        ],
        finish: &[Place::any("/choices/*/finish_reason")],
        usage: &[Place::any("/usage")],
        changing: &[Place::any("/obfuscation"), Place::any("/created"), Place::any("/timings")],
        // openai-python adds text to text, whatever the key is.
        first: &[
            Place::any("/choices/*/delta/role"),
            Place::any("/choices/*/delta/tool_calls/*/id"),
            Place::any("/choices/*/delta/tool_calls/*/function/name"),
            Place::any("/choices/*/delta/tool_calls/*/custom/name"),
            Place::any("/choices/*/delta/function_call/name"),
        ],
        once: &[
            Place::any("/choices/*/logprobs"),
            Place::any("/choices/*/delta/annotations"),
            // OpenRouter says reasoning once more there; Google, in its form of this, signatures.
            Place::any("/choices/*/delta/reasoning_details"),
            Place::any("/choices/*/delta/extra_content"),
            Place::any("/choices/*/delta/tool_calls/*/extra_content"),
            // OpenRouter's pictures, and what Zhipu found: clients append such lists.
            Place::any("/choices/*/delta/images"),
            Place::any("/web_search"),
            Place::any("/citations"),
            Place::any("/search_results"),
        ],
        count: None,
    },
    error: common_error,
    told: Some(Told::NAMED),
    heartbeat: Some(Beat {
        name: None,
        repeated: &["id", "object", "created", "model"],
        members: r#""choices":[{"index":0,"delta":{},"finish_reason":null}]"#,
        // The older completions have a text in place of a delta.
        or: &[(
            "/choices/*/text",
            r#""choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null}]"#,
        )],
        instead: None,
    }),
    manual: Manual {
        first: "`choices` in the data",
        ends: "a `finish_reason`, or `[DONE]`",
        errors: "an event `error`; an `error` in the data, with no `choices` or with the last of them; a `finish_reason` or an `object` of `error`",
    },
};

static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"choices\""));
static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));

fn confirms(event: &Event<'_>) -> bool {
    object(event).is_some_and(|json| value_of(json, &CHOICES).is_some_and(|value| value.starts_with(b"[")))
}

fn sign(event: &Event<'_>) -> Sign {
    if event.name == Some(b"error") {
        return Sign::Error;
    }
    let Some(json) = object(event) else {
        let done = event.data.line().is_some_and(is_done);
        return if done { Sign::Last } else { Sign::Plain };
    };
    // Several choices finish one by one; any reason shows that the upstream got to the end of an answer. But
    // some (OpenRouter) tell an error beside their last choice, with a reason of its own.
    let is_reason = |value: &[u8]| value.starts_with(b"\"") && !value.starts_with(b"\"\"");
    let reason = value_of(json, &FINISH_REASON);
    let finishes = reason.is_some_and(|value| is_reason(value) || has(value, &FINISH_REASON, is_reason));
    // Usual chunks have a finish_reason of null, and are searched once.
    let has_no_choices = || reason.is_none() && value_of(json, &CHOICES).is_none();
    let may_fail = finishes || begins_with_key(json, b"\"error\"") || has_no_choices();
    match may_fail && is_error(json) {
        true => Sign::Error,
        false if finishes => Sign::Finish,
        false => Sign::Plain,
    }
}

/// An `error` that says something, whatever it is; vLLM's form has an `object` in its place, and a reason may say it alone.
fn is_error(json: &[u8]) -> bool {
    let is_failure = |value: &[u8]| value.starts_with(b"{") || pointer::is_text(value);
    pointer::member(json, "error").is_some_and(is_failure)
        || pointer::string(json, "object") == Some(b"error")
        || pointer::find(json, "/choices/*/finish_reason", |value| value == b"\"error\"").is_some()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn finish_is_a_reason_or_done_and_nothing_in_the_text() {
        let sign = |data| sign(&OPENAI_CHAT, None, data);
        assert_eq!(sign(r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#), Sign::Plain);
        assert_eq!(sign(r#"{"choices":[{"delta":{},"finish_reason": "stop"}]}"#), Sign::Finish);
        assert_eq!(sign(r#"{"choices":[{"finish_reason":null},{"finish_reason":"length"}]}"#), Sign::Finish);
        assert_eq!(sign(r#"{"choices":[{"delta":{},"finish_reason":""}]}"#), Sign::Plain);
        assert_eq!(sign(r#"{"choices":[{"delta":{"content":"\"finish_reason\":\"stop\""}}]}"#), Sign::Plain);
        assert_eq!(sign(" [DONE] "), Sign::Last);
        assert_eq!(sign("[DONE"), Sign::Plain);
    }

    #[test]
    fn errors_are_told_from_text_about_errors() {
        assert_eq!(sign(&OPENAI_CHAT, None, r#"{"error":{"message":"x"}}"#), Sign::Error);
        assert_eq!(sign(&OPENAI_CHAT, None, r#"{"type":"error","error":{"message":"x"}}"#), Sign::Error);
        for data in [r#"{"message":"x"}"#, "overloaded", ""] {
            assert_eq!(sign(&OPENAI_CHAT, Some("error"), data), Sign::Error, "{data}");
        }
        for data in [
            r#"{"id":"1","error":"overloaded"}"#,
            r#"{"code":500,"detail":{"choices":1},"error":{"message":"x"},"choices":[{"finish_reason":"stop"}]}"#,
            r#"{"object":"error","message":"x","code":400}"#,
            r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
            r#"{"error":{"message":"x"},"choices":[]}"#,
        ] {
            assert_eq!(sign(&OPENAI_CHAT, None, data), Sign::Error, "{data}");
        }
        for data in [
            r#"{"error":null,"choices":[{"delta":{"content":"x"}}]}"#,
            r#"{"id":"1","error":null,"usage":{}}"#,
            r#"{"id":"1","error":""}"#,
            r#"{"id":"1","data":{"error":"x"}}"#,
        ] {
            assert_eq!(sign(&OPENAI_CHAT, None, data), Sign::Plain, "{data}");
        }
        let nothing_wrong = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"error":null}"#;
        assert_eq!(sign(&OPENAI_CHAT, None, nothing_wrong), Sign::Finish);
        let talk = r#"{"choices":[{"delta":{"content":"{\"error\":{}}"}}]}"#;
        assert_eq!(sign(&OPENAI_CHAT, None, talk), Sign::Plain);
    }

    #[test]
    fn text_reasoning_and_calls_are_content_and_roles_are_not() {
        let content = |data| content(&OPENAI_CHAT, None, data);
        assert!(content(r#"{"choices":[{"delta":{"content":"x"}}]}"#));
        assert!(content(r#"{"choices":[{"text":"x"}]}"#));
        assert!(content(r#"{"choices":[{"delta":{"content":null}},{"delta":{"reasoning_content":"x"}}]}"#));
        assert!(content(r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c"}]}}]}"#));
        assert!(content(r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#));
        assert!(content(r#"{"choices":[{"delta":{"content":[{"type":"thinking"}]}}]}"#));
        for empty in [r#"{"role":"assistant","content":""}"#, r#"{"role":"assistant","content":null}"#, "{}"]
        {
            let data = format!(r#"{{"choices":[{{"delta":{empty},"finish_reason":null}}]}}"#);
            assert!(!super::super::testing::content(&OPENAI_CHAT, None, &data), "{empty}");
        }
        assert!(!content(r#"{"choices":[],"usage":{"content":"x"}}"#));
        assert!(!content("[DONE]"));
    }

    #[test]
    fn heartbeat_has_a_text_where_the_events_have_one() {
        let line = |data: &str| {
            let event = Event { data: crate::codec::Data::Line(data.as_bytes()), ..Event::default() };
            let line = OPENAI_CHAT.heartbeat.unwrap().line(&event);
            serde_json::from_slice::<serde_json::Value>(&line).unwrap()
        };
        let older = line(r#"{"id":"1","object":"text_completion","choices":[{"index":0,"text":"a"}]}"#);
        assert_eq!((&older["object"], &older["choices"][0]["text"]), (&"text_completion".into(), &"".into()));
        assert!(older["choices"][0].get("delta").is_none());
        let chat = line(r#"{"id":"1","choices":[{"index":0,"delta":{"content":"a"}}]}"#);
        assert_eq!(chat["choices"][0]["delta"], serde_json::json!({}));
        assert!(chat["choices"][0].get("text").is_none());
    }

    #[test]
    fn the_first_event_confirms_by_its_choices() {
        assert!(confirms(&OPENAI_CHAT, None, r#"{"id":"1","choices":[],"prompt_filter_results":[]}"#));
        assert!(!confirms(&OPENAI_CHAT, None, r#"{"t":"a"}"#));
        assert!(!confirms(&OPENAI_CHAT, None, "hello"));
        assert!(evident(&OPENAI_CHAT, None, r#"{"id":"1","object":"chat.completion.chunk"}"#));
        assert!(!evident(&OPENAI_CHAT, None, r#"{"choices":[]}"#));
    }
}
