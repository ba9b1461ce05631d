//! Anthropic Messages: named events from `message_start` to `message_stop`.
//!
//! Bedrock's `InvokeModelWithResponseStream` has the same data in an envelope without the name: there the `type` in the
//! data, which is always the same word, stands for it.

use crate::codec::Event;

use super::{
    Beat, Dialect, Finishes, Manual, Place, Places, Sign, Told, by_name_or_type, common_error, object,
    pointer,
};

/// Ends with a `stop_reason`, then `message_stop`; an `error` event ends it too.
pub static ANTHROPIC: Dialect = Dialect {
    name: "anthropic",
    doc: "Anthropic Messages: named events, ends with a stop_reason or message_stop",
    paths: &["/v1/messages", "/invoke-with-response-stream"],
    headers: &["anthropic-version"],
    confirms: |event| match by_name_or_type(event) {
        Some(b"message_start") => true,
        Some(b"ping") => object(event).is_some(),
        _ => false,
    },
    evident: |event| {
        let has_message = |json| pointer::member(json, "message").is_some();
        by_name_or_type(event) == Some(b"message_start") && object(event).is_some_and(has_message)
    },
    sign,
    finishes: Finishes::Always,
    kind: by_name_or_type,
    choices: None,
    places: Places {
        text: &[Place::of("content_block_delta", "/delta/text")],
        growing: &[
            Place::of("content_block_delta", "/delta/thinking"),
            Place::of("content_block_delta", "/delta/partial_json"),
        ],
        other: &[Place::of("content_block_start", "/content_block/name")],
        finish: &[Place::of("message_delta", "/delta/stop_reason")],
        usage: &[Place::of("message_delta", "/usage"), Place::of("message_start", "/message/usage")],
        changing: &[],
        first: &[],
        once: &[],
        count: None,
    },
    error: common_error,
    told: Some(Told::NAMED),
    // The reference has any number of them in a stream ("Ping events", seen 2026-11).
    heartbeat: Some(Beat {
        name: Some("ping"),
        repeated: &[],
        members: r#""type":"ping""#,
        or: &[],
        instead: None,
    }),
    manual: Manual {
        first: "`message_start`, or `ping`; as the name or as the `type` of the data",
        ends: "a `stop_reason`, or `message_stop`",
        errors: "`error`",
    },
};

fn sign(event: &Event<'_>) -> Sign {
    match by_name_or_type(event) {
        Some(b"message_stop") => Sign::Last,
        // Of these there is one, or few.
        Some(b"message_delta") if stops(event) => Sign::Finish,
        Some(b"error") => Sign::Error,
        _ => Sign::Plain,
    }
}

fn stops(event: &Event<'_>) -> bool {
    let has_reason = |json| pointer::find(json, "/delta/stop_reason", pointer::is_text).is_some();
    object(event).is_some_and(has_reason)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn names_and_a_stop_reason_tell_how_it_goes_on() {
        let data = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
        assert_eq!(sign(&ANTHROPIC, Some("message_delta"), data), Sign::Finish);
        let open = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"stop_reason":"x"}}"#;
        assert_eq!(sign(&ANTHROPIC, Some("message_delta"), open), Sign::Plain);
        assert_eq!(sign(&ANTHROPIC, Some("message_stop"), "{}"), Sign::Last);
        assert_eq!(sign(&ANTHROPIC, Some("error"), "{}"), Sign::Error);
        assert_eq!(sign(&ANTHROPIC, None, r#"{"type":"message_stop"}"#), Sign::Last);
        assert_eq!(sign(&ANTHROPIC, None, data), Sign::Finish);
        assert_eq!(sign(&ANTHROPIC, None, r#"{"type":"error","error":{}}"#), Sign::Error);
        assert_eq!(sign(&ANTHROPIC, None, r#"{"delta":{"type":"message_stop"}}"#), Sign::Plain);
        assert!(confirms(&ANTHROPIC, Some("message_start"), "{}"));
        assert!(!confirms(&ANTHROPIC, None, "{}"));
        assert!(evident(&ANTHROPIC, Some("message_start"), r#"{"message":{}}"#));
        assert!(evident(&ANTHROPIC, None, r#"{"type":"message_start","message":{}}"#));
        assert!(!evident(&ANTHROPIC, None, r#"{"type":"message_start"}"#));
    }

    #[test]
    fn text_thoughts_and_tools_are_content_and_frames_are_not() {
        let content = |name, data| content(&ANTHROPIC, Some(name), data);
        assert!(content("content_block_delta", r#"{"delta":{"type":"text_delta","text":"x"}}"#));
        assert!(content("content_block_delta", r#"{"delta":{"type":"thinking_delta","thinking":"x"}}"#));
        assert!(content("content_block_start", r#"{"content_block":{"type":"tool_use","name":"f"}}"#));
        assert!(!content("content_block_start", r#"{"content_block":{"type":"text","text":""}}"#));
        assert!(!content("content_block_delta", r#"{"delta":{"type":"text_delta","text":""}}"#));
        assert!(!content("ping", r#"{"type":"ping"}"#));
        let unnamed = r#"{"type":"content_block_delta","delta":{"text":"x"}}"#;
        assert!(super::super::testing::content(&ANTHROPIC, None, unnamed));
    }
}
