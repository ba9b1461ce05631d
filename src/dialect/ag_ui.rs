//! AG-UI: what agents tell user interfaces.
//!
//! Form: the AG-UI documentation, "Events" (seen 2026-11). Every event has a `type`; `@ag-ui/client` lets
//! `RUN_ERROR` come at any time, and nothing after it.

use crate::codec::Event;
use crate::stream::Failure;

use super::{Dialect, Finishes, Manual, Place, Places, Sign, Told, add_status, by_type, object, pointer};

/// Ends with `RUN_FINISHED` or `RUN_ERROR`.
pub static AG_UI: Dialect = Dialect {
    name: "ag-ui",
    doc: "AG-UI: ends with RUN_FINISHED or RUN_ERROR",
    paths: &["/ag-ui", "/agui"],
    headers: &[],
    confirms: |event| by_type(event) == Some(b"RUN_STARTED"),
    evident: |event| {
        let has = |json, key| pointer::string(json, key).is_some();
        by_type(event) == Some(b"RUN_STARTED")
            && object(event).is_some_and(|json| has(json, "threadId") && has(json, "runId"))
    },
    sign,
    finishes: Finishes::Always,
    kind: by_type,
    choices: None,
    places: Places {
        text: &[Place::of("TEXT_MESSAGE_CONTENT", "/delta"), Place::of("TEXT_MESSAGE_CHUNK", "/delta")],
        growing: &[
            Place::of("TOOL_CALL_ARGS", "/delta"),
            Place::of("THINKING_TEXT_MESSAGE_CONTENT", "/delta"),
            Place::of("REASONING_MESSAGE_CONTENT", "/delta"),
            Place::of("REASONING_MESSAGE_CHUNK", "/delta"),
        ],
        other: &[
            Place::of("TOOL_CALL_START", "/toolCallName"),
            Place::of("TOOL_CALL_CHUNK", "/toolCallName"),
            Place::of("STATE_SNAPSHOT", "/snapshot"),
            Place::of("STATE_DELTA", "/delta"),
        ],
        finish: &[],
        usage: &[],
        changing: &[Place::any("/timestamp")],
        first: &[],
        once: &[],
        count: None,
    },
    error,
    told: Some(Told::UNNAMED),
    heartbeat: None,
    manual: Manual { first: "the `type` `RUN_STARTED`", ends: "`RUN_FINISHED`", errors: "`RUN_ERROR`" },
};

fn sign(event: &Event<'_>) -> Sign {
    match by_type(event) {
        // One stream may carry a run after another.
        Some(b"RUN_FINISHED") => Sign::Finish,
        Some(b"RUN_ERROR") => Sign::Error,
        _ => Sign::Plain,
    }
}

fn error(failure: &Failure) -> String {
    let mut error =
        serde_json::json!({ "type": "RUN_ERROR", "message": failure.message(), "code": failure.code() });
    add_status(&mut error, failure);
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn types_tell_how_it_goes_on() {
        let sign = |data| sign(&AG_UI, None, data);
        assert_eq!(sign(r#"{"type":"TEXT_MESSAGE_CONTENT","delta":"RUN_FINISHED"}"#), Sign::Plain);
        assert_eq!(sign(r#"{"threadId":"t","type":"RUN_FINISHED"}"#), Sign::Finish);
        assert_eq!(sign(r#"{"type":"RUN_ERROR","message":"m"}"#), Sign::Error);
        assert_eq!(sign(r#"{"type":"RAW","event":{"type":"RUN_ERROR"}}"#), Sign::Plain);
    }

    #[test]
    fn a_run_that_starts_confirms() {
        assert!(confirms(&AG_UI, None, r#"{"type":"RUN_STARTED"}"#));
        assert!(!evident(&AG_UI, None, r#"{"type":"RUN_STARTED"}"#));
        assert!(evident(&AG_UI, None, r#"{"type":"RUN_STARTED","threadId":"t","runId":"r"}"#));
    }

    #[test]
    fn text_calls_and_state_are_content_and_starts_are_not() {
        assert!(content(&AG_UI, None, r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"x"}"#));
        assert!(content(&AG_UI, None, r#"{"type":"TOOL_CALL_START","toolCallName":"f"}"#));
        assert!(!content(&AG_UI, None, r#"{"type":"TEXT_MESSAGE_START","role":"assistant"}"#));
        assert!(!content(&AG_UI, None, r#"{"type":"TEXT_MESSAGE_CONTENT","delta":""}"#));
    }
}
