//! Coze's chats and workflows: named events.
//!
//! Form: the Coze API reference, "Chat v3" and "Run workflow (streaming)" (seen 2026-11). coze-py raises on an event
//! `error`, whatever its data; workflows have names of their own, in capitals.

use crate::codec::Event;
use crate::stream::Failure;

use super::{Dialect, Finishes, Manual, Place, Places, Sign, Told, by_name, object, pointer};

/// Ends with `done`, after `conversation.chat.completed`.
pub static COZE: Dialect = Dialect {
    name: "coze",
    doc: "Coze: named events, ends with conversation.chat.completed or done",
    paths: &[
        "/v3/chat",
        "/v3/chat/submit_tool_outputs",
        "/workflow/stream_run",
        "/workflow/stream_resume",
        "/workflows/chat",
    ],
    headers: &[],
    confirms: |event| {
        event.name.is_some_and(|name| {
            name.starts_with(b"conversation.") || matches!(name, b"Message" | b"Interrupt" | b"PING")
        })
    },
    evident: |event| event.name == Some(b"conversation.chat.created") && object(event).is_some(),
    sign,
    finishes: Finishes::Always,
    kind: by_name,
    choices: None,
    places: Places {
        text: &[Place::of("conversation.message.delta", "/content"), Place::of("Message", "/content")],
        growing: &[Place::of("conversation.message.delta", "/reasoning_content")],
        other: &[
            Place::of("conversation.audio.delta", "/content"),
            Place::of("conversation.chat.requires_action", "/required_action"),
            Place::of("Interrupt", "/interrupt_data"),
        ],
        finish: &[Place::of("conversation.chat.completed", "/status")],
        usage: &[Place::of("conversation.chat.completed", "/usage"), Place::of("Message", "/usage")],
        changing: &[Place::any("/seq_id")],
        first: &[],
        once: &[Place::of("Message", "/node_is_finish")],
        count: None,
    },
    error,
    told: Some(Told::NAMED),
    heartbeat: None,
    manual: Manual {
        first: "an event whose name begins with `conversation.`, or one of a workflow",
        ends: "`conversation.chat.completed`, `conversation.chat.requires_action` or `done`; `Done` or `Interrupt` of a workflow",
        errors: "`error`, `Error`, `conversation.chat.failed`; data with a `code` other than 0 and no name",
    },
};

fn sign(event: &Event<'_>) -> Sign {
    match event.name {
        Some(b"done" | b"Done") => Sign::Last,
        Some(
            b"conversation.chat.completed"
            | b"conversation.chat.requires_action"
            | b"conversation.chat.canceled"
            | b"Interrupt",
        ) => Sign::Finish,
        Some(b"error" | b"Error" | b"conversation.chat.failed") => Sign::Error,
        None if has_code(event) => Sign::Error,
        _ => Sign::Plain,
    }
}

/// What is wrong with a request is told so, also where a stream was asked for.
fn has_code(event: &Event<'_>) -> bool {
    let code = object(event).and_then(|json| pointer::member(json, "code"));
    code.is_some_and(|code| code != b"0" && code.first().is_some_and(u8::is_ascii_digit))
}

/// With the keys of chats and those of workflows.
fn error(failure: &Failure) -> String {
    let (code, message) = (failure.status().as_u16(), format!("{} ({})", failure.message(), failure.code()));
    serde_json::json!({ "code": code, "msg": message, "error_code": code, "error_message": message })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn names_tell_how_it_goes_on() {
        let sign = |name, data| sign(&COZE, name, data);
        assert_eq!(sign(Some("conversation.message.delta"), r#"{"content":"done"}"#), Sign::Plain);
        assert_eq!(sign(Some("conversation.chat.completed"), "{}"), Sign::Finish);
        assert_eq!(sign(Some("done"), "\"[DONE]\""), Sign::Last);
        assert_eq!(sign(Some("Done"), "{}"), Sign::Last);
        assert_eq!(sign(Some("conversation.chat.failed"), "{}"), Sign::Error);
        assert_eq!(sign(Some("Error"), r#"{"error_code":1}"#), Sign::Error);
        assert_eq!(sign(None, r#"{"code":4000,"msg":"m"}"#), Sign::Error);
        assert_eq!(sign(None, r#"{"code":0,"msg":""}"#), Sign::Plain);
    }

    #[test]
    fn the_first_event_confirms_by_its_name() {
        assert!(confirms(&COZE, Some("conversation.chat.created"), "{}"));
        assert!(evident(&COZE, Some("conversation.chat.created"), "{}"));
        assert!(confirms(&COZE, Some("Message"), "{}") && !confirms(&COZE, Some("message"), "{}"));
    }

    #[test]
    fn deltas_are_content_and_the_state_of_the_chat_is_not() {
        assert!(content(&COZE, Some("conversation.message.delta"), r#"{"content":"x"}"#));
        assert!(content(
            &COZE,
            Some("conversation.message.delta"),
            r#"{"content":"","reasoning_content":"x"}"#
        ));
        assert!(!content(&COZE, Some("conversation.message.delta"), r#"{"role":"assistant","content":""}"#));
        assert!(!content(&COZE, Some("conversation.chat.created"), r#"{"id":"1","status":"created"}"#));
    }
}
