//! Dify's applications: chat, completion, workflow.
//!
//! Form: the Dify API reference, "Streaming" (seen 2026-11). The kind of an event stands in its data; `ping` comes
//! every 10 s as an event with a name and no data.

use crate::codec::Event;
use crate::stream::Failure;

use super::{Beat, Dialect, Finishes, Manual, Place, Places, Sign, Told, object, pointer};

/// Ends with `message_end` or `workflow_finished`, after which sound may follow.
pub static DIFY: Dialect = Dialect {
    name: "dify",
    doc: "Dify: ends with message_end or workflow_finished",
    paths: &["/chat-messages", "/completion-messages", "/workflows/run"],
    headers: &[],
    confirms: |event| kind(event).is_some(),
    evident: |event| {
        kind(event).is_some() && object(event).is_some_and(|json| pointer::string(json, "task_id").is_some())
    },
    sign,
    finishes: Finishes::Always,
    kind,
    choices: None,
    places: Places {
        text: &[
            Place::of("message", "/answer"),
            Place::of("agent_message", "/answer"),
            Place::of("text_chunk", "/data/text"),
        ],
        growing: &[],
        other: &[
            Place::of("agent_thought", "/thought"),
            Place::of("agent_thought", "/tool"),
            Place::of("message_file", "/url"),
            Place::of("message_replace", "/answer"),
            Place::of("tts_message", "/audio"),
            // A workflow need not have text that grows.
            Place::of("workflow_finished", "/data/outputs"),
        ],
        finish: &[Place::of("workflow_finished", "/data/status")],
        usage: &[
            Place::of("message_end", "/metadata/usage"),
            Place::of("workflow_finished", "/data/total_tokens"),
        ],
        changing: &[Place::any("/created_at")],
        first: &[],
        once: &[],
        count: None,
    },
    error,
    told: Some(Told::UNNAMED),
    // Its own are the name alone; a block without data is none to most clients.
    heartbeat: Some(Beat {
        name: Some("ping"),
        repeated: &[],
        members: r#""event":"ping""#,
        or: &[],
        instead: None,
    }),
    manual: Manual {
        first: "`event` in the data",
        ends: "`message_end`, `workflow_finished`, `workflow_paused` or `tts_message_end`",
        errors: "`error`; `workflow_finished` with the status `failed`",
    },
};

fn kind<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    pointer::string(object(event)?, "event")
}

fn sign(event: &Event<'_>) -> Sign {
    match kind(event) {
        Some(b"workflow_finished") if has_failed(event) => Sign::Error,
        // A chat application has both, and sound after them.
        Some(b"message_end" | b"workflow_finished" | b"workflow_paused") => Sign::Finish,
        Some(b"tts_message_end") => Sign::Last,
        Some(b"error") => Sign::Error,
        _ => Sign::Plain,
    }
}

fn has_failed(event: &Event<'_>) -> bool {
    let failed = |value: &[u8]| value == b"\"failed\"";
    object(event).is_some_and(|json| pointer::find(json, "/data/status", failed).is_some())
}

fn error(failure: &Failure) -> String {
    serde_json::json!({
        "event": "error",
        "status": failure.status().as_u16(),
        "code": failure.code(),
        "message": failure.message(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn the_event_in_the_data_tells_how_it_goes_on() {
        let sign = |data| sign(&DIFY, None, data);
        assert_eq!(sign(r#"{"event":"message","answer":"message_end"}"#), Sign::Plain);
        assert_eq!(sign(r#"{"event": "message_end","metadata":{}}"#), Sign::Finish);
        assert_eq!(sign(r#"{"event":"workflow_finished","data":{"status":"succeeded"}}"#), Sign::Finish);
        assert_eq!(sign(r#"{"event":"workflow_finished","data":{"status":"failed"}}"#), Sign::Error);
        assert_eq!(sign(r#"{"task_id":"t","event":"tts_message_end"}"#), Sign::Last);
        assert_eq!(sign(r#"{"event":"error","status":400}"#), Sign::Error);
        assert_eq!(sign(r#"{"data":{"event":"error"}}"#), Sign::Plain);
    }

    #[test]
    fn the_first_event_confirms_by_its_event() {
        assert!(confirms(&DIFY, None, r#"{"event":"message"}"#) && !confirms(&DIFY, None, "{}"));
        assert!(evident(&DIFY, None, r#"{"event":"message","task_id":"t"}"#));
        assert!(!evident(&DIFY, None, r#"{"event":"message"}"#));
    }

    #[test]
    fn answers_thoughts_and_outputs_are_content() {
        let content = |data| content(&DIFY, None, data);
        assert!(content(r#"{"event":"message","answer":"x"}"#));
        assert!(content(r#"{"event":"text_chunk","data":{"text":"x"}}"#));
        assert!(content(r#"{"event":"workflow_finished","data":{"outputs":{"a":1}}}"#));
        assert!(!content(r#"{"event":"message","answer":""}"#));
        assert!(!content(r#"{"event":"node_started","data":{"inputs":{"text":"x"}}}"#));
    }
}
