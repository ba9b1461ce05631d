//! OpenAI chat completions, and the many servers that speak the same.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::codec::Event;

use super::{Dialect, Sign, begins_with_key, common_error, object, value_of};

/// Ends with a `finish_reason`, then `[DONE]`; servers exist that forget the latter.
pub static OPENAI_CHAT: Dialect = Dialect {
    name: "openai-chat",
    doc: "OpenAI chat completions: ends with a finish_reason or [DONE]",
    paths: &["/chat/completions"],
    confirms,
    sign,
    has_finish: true,
    error: common_error,
};

static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"choices\""));
static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

fn confirms(event: &Event<'_>) -> bool {
    object(event).is_some_and(|json| value_of(json, &CHOICES).is_some_and(|value| value.starts_with(b"[")))
}

fn sign(event: &Event<'_>) -> Sign {
    let Some(json) = object(event) else {
        let done = event.data.line().is_some_and(|line| line.trim_ascii() == b"[DONE]");
        return if done { Sign::Last } else { Sign::Plain };
    };
    if event.name == Some(b"error") || begins_with_key(json, b"\"error\"") {
        return Sign::Error;
    }
    // Several choices finish one by one; any reason shows that the upstream got to the end of an answer.
    let (mut rest, mut is_choice) = (json, false);
    while let Some(value) = value_of(rest, &FINISH_REASON) {
        if value.starts_with(b"\"") && !value.starts_with(b"\"\"") {
            return Sign::Finish;
        }
        (rest, is_choice) = (value, true);
    }
    // Usual chunks have a finish_reason of null, and are searched once.
    if !is_choice && is_error(json) { Sign::Error } else { Sign::Plain }
}

/// An `error` object in an event that has no choices at all.
fn is_error(json: &[u8]) -> bool {
    value_of(json, &CHOICES).is_none() && value_of(json, &ERROR).is_some_and(|value| value.starts_with(b"{"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, sign};
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
        assert_eq!(sign(&OPENAI_CHAT, Some("error"), r#"{"message":"x"}"#), Sign::Error);
        let talk = r#"{"choices":[{"delta":{"content":"{\"error\":{}}"}}]}"#;
        assert_eq!(sign(&OPENAI_CHAT, None, talk), Sign::Plain);
    }

    #[test]
    fn the_first_event_confirms_by_its_choices() {
        assert!(confirms(&OPENAI_CHAT, None, r#"{"id":"1","choices":[],"prompt_filter_results":[]}"#));
        assert!(!confirms(&OPENAI_CHAT, None, r#"{"t":"a"}"#));
        assert!(!confirms(&OPENAI_CHAT, None, "hello"));
    }
}
