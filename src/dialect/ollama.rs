//! Ollama's own API: JSON objects until one says `"done":true`.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::codec::Event;
use crate::stream::Failure;

use super::{
    Beat, Dialect, Finishes, Manual, Place, Places, Sign, Told, add_status, begins_with_key, has, no_kind,
    object, pointer, value_of,
};

/// Ends with `"done":true`; an object with `error` ends it too.
pub static OLLAMA: Dialect = Dialect {
    name: "ollama",
    doc: "Ollama's own API: JSON objects, ends with \"done\":true",
    paths: &["/api/chat", "/api/generate"],
    headers: &[],
    confirms: |event| object(event).is_some_and(|json| value_of(json, &DONE).is_some()),
    evident: |_| false,
    sign,
    finishes: Finishes::Always,
    kind: no_kind,
    choices: None,
    places: Places {
        text: &[Place::any("/message/content"), Place::any("/response")],
        growing: &[Place::any("/message/thinking"), Place::any("/thinking")],
        other: &[Place::any("/message/tool_calls"), Place::any("/message/images")],
        finish: &[Place::any("/done_reason")],
        usage: &[Place::any("/eval_count"), Place::any("/prompt_eval_count")],
        changing: &[Place::any("/created_at")],
        first: &[],
        once: &[
            Place::any("/done"),
            Place::any("/context"),
            Place::any("/logprobs"),
            Place::any("/total_duration"),
            Place::any("/load_duration"),
            Place::any("/prompt_eval_duration"),
            Place::any("/eval_duration"),
        ],
        count: None,
    },
    error,
    told: Some(Told::NAMED),
    // Chats have a message, completions a response.
    heartbeat: Some(Beat {
        name: None,
        repeated: &["model", "created_at"],
        members: r#""message":{"role":"assistant","content":""},"response":"","done":false"#,
        or: &[],
        instead: None,
    }),
    manual: Manual {
        first: "`done` in the data",
        ends: "`\"done\": true`",
        errors: "data that begins with `error`",
    },
};

static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"done\""));

fn sign(event: &Event<'_>) -> Sign {
    let Some(json) = object(event) else { return Sign::Plain };
    if begins_with_key(json, b"\"error\"") {
        return Sign::Error;
    }
    // Tool arguments are real JSON here, and may hold a key of the same name: the search alone decides nothing.
    let is_done = |json| pointer::member(json, "done") == Some(b"true");
    if has(json, &DONE, |value| value.starts_with(b"true")) && is_done(json) {
        Sign::Last
    } else {
        Sign::Plain
    }
}

/// Ollama's clients expect `error` to be a string.
fn error(failure: &Failure) -> String {
    let mut error = serde_json::json!({ "error": failure.message(), "code": failure.code() });
    add_status(&mut error, failure);
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, sign};
    use super::*;

    #[test]
    fn done_true_finishes_and_an_error_line_is_an_error() {
        assert_eq!(sign(&OLLAMA, None, r#"{"response":"\"done\":true","done":false}"#), Sign::Plain);
        assert_eq!(sign(&OLLAMA, None, r#"{"response":"","done": true,"done_reason":"stop"}"#), Sign::Last);
        assert_eq!(sign(&OLLAMA, None, r#"{"args":{"done":false},"done":true}"#), Sign::Last);
        assert_eq!(sign(&OLLAMA, None, r#"{"error":"boom"}"#), Sign::Error);
        let call =
            r#"{"message":{"tool_calls":[{"function":{"name":"todo","arguments":{"done":true}}}]},"done":"#;
        assert_eq!(sign(&OLLAMA, None, &format!("{call}false}}")), Sign::Plain);
        assert_eq!(sign(&OLLAMA, None, &format!("{call}true}}")), Sign::Last);
        assert!(confirms(&OLLAMA, None, r#"{"model":"m","done":false}"#));
        assert!(!confirms(&OLLAMA, None, r#"{"type":"start"}"#));
        assert!(content(&OLLAMA, None, r#"{"message":{"role":"assistant","content":"x"},"done":false}"#));
        assert!(content(&OLLAMA, None, r#"{"response":"","thinking":"x","done":false}"#));
        assert!(!content(&OLLAMA, None, r#"{"message":{"role":"assistant","content":""},"done":false}"#));
    }
}
