//! The Vercel AI SDK's UI message stream, version 1.
//!
//! Form: the AI SDK's documentation, "Stream protocols" (seen 2026-11). The response says so by
//! `x-vercel-ai-ui-message-stream: v1`. The SDK checks each part strictly: one key too many in an `error` part, and
//! the part itself is the error (`ui-message-chunks.ts`), so the code goes into the text. Its older data stream has
//! lines such as `0:"x"`, which are no events, and passes.

use crate::codec::{Event, is_done};
use crate::stream::Failure;

use super::{Dialect, Finishes, Manual, Place, Places, Sign, Told, by_type};

/// Ends with `finish`, then `[DONE]`.
pub static VERCEL_UI: Dialect = Dialect {
    name: "vercel-ui",
    doc: "Vercel AI SDK UI message stream: ends with finish or [DONE]",
    paths: &[],
    headers: &["x-vercel-ai-ui-message-stream"],
    confirms: |event| by_type(event).is_some(),
    evident: |_| false,
    sign,
    finishes: Finishes::Always,
    kind: by_type,
    choices: None,
    places: Places {
        text: &[Place::of("text-delta", "/delta")],
        growing: &[Place::of("reasoning-delta", "/delta"), Place::of("tool-input-delta", "/inputTextDelta")],
        other: &[
            Place::of("tool-input-start", "/toolName"),
            Place::of("tool-input-available", "/toolName"),
            Place::of("file", "/url"),
        ],
        finish: &[Place::of("finish", "/finishReason")],
        usage: &[],
        changing: &[],
        first: &[],
        once: &[],
        count: None,
    },
    error,
    told: Some(Told::UNNAMED),
    heartbeat: None,
    manual: Manual {
        first: "a `type` in the data",
        ends: "`finish`, `abort` or `[DONE]`",
        errors: "`error`",
    },
};

fn sign(event: &Event<'_>) -> Sign {
    match by_type(event) {
        Some(b"finish" | b"abort") => Sign::Finish,
        Some(b"error") => Sign::Error,
        None if event.data.line().is_some_and(is_done) => Sign::Last,
        _ => Sign::Plain,
    }
}

fn error(failure: &Failure) -> String {
    let status = failure.told_status().map(|status| format!("{} ", status.as_u16())).unwrap_or_default();
    let text = format!("{} ({status}{})", failure.message(), failure.code());
    serde_json::json!({ "type": "error", "errorText": text }).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, sign};
    use super::*;

    #[test]
    fn types_tell_how_it_goes_on() {
        let sign = |data| sign(&VERCEL_UI, None, data);
        assert_eq!(sign(r#"{"type":"text-delta","id":"0","delta":"finish"}"#), Sign::Plain);
        assert_eq!(sign(r#"{"type":"finish-step"}"#), Sign::Plain);
        assert_eq!(sign(r#"{"type":"finish","finishReason":"stop"}"#), Sign::Finish);
        assert_eq!(sign(r#"{"type":"error","errorText":"m"}"#), Sign::Error);
        assert_eq!(sign(r#"{"type":"tool-output-error","errorText":"m"}"#), Sign::Plain);
        assert_eq!(sign("[DONE]"), Sign::Last);
        assert!(confirms(&VERCEL_UI, None, r#"{"type":"start"}"#) && !confirms(&VERCEL_UI, None, "0:\"x\""));
    }

    #[test]
    fn text_and_tools_are_content_and_starts_are_not() {
        assert!(content(&VERCEL_UI, None, r#"{"type":"text-delta","id":"0","delta":"x"}"#));
        assert!(content(&VERCEL_UI, None, r#"{"type":"tool-input-start","toolName":"f"}"#));
        assert!(!content(&VERCEL_UI, None, r#"{"type":"text-start","id":"0"}"#));
        assert!(!content(&VERCEL_UI, None, r#"{"type":"text-delta","id":"0","delta":""}"#));
    }
}
