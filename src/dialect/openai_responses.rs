//! OpenAI's Responses API: named events, whose data repeats the name as its `type`.
//!
//! Form: the API reference, "Streaming events" (seen 2026-11). Clients: openai-python and openai-node raise on an
//! event named `error` or on a top-level `error` in the data; both keep the flat `code` and `message` of the
//! reference's `error` event.

use crate::codec::{Event, is_done};
use crate::stream::Failure;

use super::{
    Count, Dialect, Finishes, Manual, Place, Places, Sign, Told, add_status, by_name_or_type, object, pointer,
};

/// Ends with `response.completed` or `response.incomplete`; `response.failed` and `error` end it, too.
pub static OPENAI_RESPONSES: Dialect = Dialect {
    name: "openai-responses",
    doc: "OpenAI Responses: named events, ends with response.completed or response.incomplete",
    paths: &["/responses"],
    headers: &[],
    confirms: |event| by_name_or_type(event).is_some_and(|kind| kind.starts_with(b"response.")),
    evident: |event| {
        by_name_or_type(event) == Some(b"response.created")
            && object(event)
                .is_some_and(|json| pointer::find(json, "/response/id", pointer::is_text).is_some())
    },
    sign,
    finishes: Finishes::Always,
    kind: by_name_or_type,
    choices: None,
    places: Places {
        text: &[Place::of("response.output_text.delta", "/delta")],
        growing: &[
            Place::of("response.reasoning_text.delta", "/delta"),
            Place::of("response.reasoning_summary_text.delta", "/delta"),
            Place::of("response.refusal.delta", "/delta"),
            Place::of("response.function_call_arguments.delta", "/delta"),
            Place::of("response.mcp_call_arguments.delta", "/delta"),
            Place::of("response.custom_tool_call_input.delta", "/delta"),
            Place::of("response.code_interpreter_call_code.delta", "/delta"),
            Place::of("response.audio.transcript.delta", "/delta"),
        ],
        other: &[
            Place::of("response.audio.delta", "/delta"),
            Place::of("response.image_generation_call.partial_image", "/partial_image_b64"),
        ],
        finish: &[
            Place::of("response.completed", "/response/status"),
            Place::of("response.incomplete", "/response/incomplete_details/reason"),
        ],
        usage: &[
            Place::of("response.completed", "/response/usage"),
            Place::of("response.incomplete", "/response/usage"),
        ],
        changing: &[Place::any("/obfuscation"), Place::any("/sequence_number")],
        first: &[],
        once: &[Place::any("/logprobs")],
        count: Some(Count {
            number: Place::any("/sequence_number"),
            begins: "response.created",
            // `starting_after` of "Get a model response".
            resumes: "/response/background",
        }),
    },
    error,
    told: Some(Told::NAMED),
    heartbeat: None,
    manual: Manual {
        first: "an event or a `type` that begins with `response.`",
        ends: "`response.completed`, `response.incomplete` or `response.cancelled`; `[DONE]` from those who add it",
        errors: "`response.failed`; an event or a `type` of `error`",
    },
};

fn sign(event: &Event<'_>) -> Sign {
    match by_name_or_type(event) {
        Some(b"response.completed" | b"response.incomplete" | b"response.cancelled") => Sign::Last,
        Some(b"response.failed" | b"error") => Sign::Error,
        None if event.data.line().is_some_and(is_done) => Sign::Last,
        // Gateways tell errors of their own as chat completions do.
        None if object(event)
            .and_then(|json| pointer::member(json, "error"))
            .is_some_and(pointer::is_something) =>
        {
            Sign::Error
        }
        _ => Sign::Plain,
    }
}

/// Flat as in the reference, and nested as Azure, gateways and chat completions have it. The number is one that no
/// client compares: what the last one was is not kept.
fn error(failure: &Failure) -> String {
    let (message, code) = (failure.message(), failure.code());
    let mut nested =
        serde_json::json!({ "type": failure.kind(), "code": code, "message": message, "param": null });
    add_status(&mut nested, failure);
    serde_json::json!({
        "type": "error", "sequence_number": 0, "code": code, "message": message, "param": null, "error": nested,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn names_or_types_tell_how_it_goes_on() {
        let sign = |name, data| sign(&OPENAI_RESPONSES, name, data);
        assert_eq!(
            sign(Some("response.output_text.delta"), r#"{"delta":"response.completed"}"#),
            Sign::Plain
        );
        assert_eq!(sign(Some("response.completed"), r#"{"response":{}}"#), Sign::Last);
        assert_eq!(sign(None, r#"{"type":"response.incomplete","response":{}}"#), Sign::Last);
        assert_eq!(sign(None, r#"{"response":{"type":"error"},"type":"response.in_progress"}"#), Sign::Plain);
        assert_eq!(sign(None, "[DONE]"), Sign::Last);
        assert_eq!(sign(Some("response.failed"), "{}"), Sign::Error);
        assert_eq!(sign(Some("error"), r#"{"message":"m"}"#), Sign::Error);
        assert_eq!(sign(None, r#"{"type":"error","message":"m"}"#), Sign::Error);
        assert_eq!(sign(None, r#"{"error":{"message":"m"}}"#), Sign::Error);
        assert_eq!(sign(None, r#"{"error":null,"delta":"x"}"#), Sign::Plain);
    }

    #[test]
    fn the_first_event_confirms_by_its_name() {
        let created = r#"{"type":"response.created","response":{"id":"r"}}"#;
        assert!(confirms(&OPENAI_RESPONSES, Some("response.created"), "{}"));
        assert!(confirms(&OPENAI_RESPONSES, None, created) && evident(&OPENAI_RESPONSES, None, created));
        assert!(!evident(&OPENAI_RESPONSES, None, r#"{"type":"response.created"}"#));
        assert!(!confirms(&OPENAI_RESPONSES, None, r#"{"choices":[]}"#));
    }

    #[test]
    fn text_reasoning_and_arguments_are_content_and_items_are_not() {
        let content = |name, data| content(&OPENAI_RESPONSES, Some(name), data);
        assert!(content("response.output_text.delta", r#"{"delta":"x"}"#));
        assert!(content("response.function_call_arguments.delta", r#"{"delta":"{"}"#));
        assert!(!content("response.output_text.delta", r#"{"delta":""}"#));
        assert!(!content("response.output_item.added", r#"{"item":{"content":[]}}"#));
    }
}
