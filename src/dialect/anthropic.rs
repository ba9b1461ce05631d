//! Anthropic Messages: named events from `message_start` to `message_stop`.

use crate::codec::Event;

use super::{Dialect, Sign, common_error, object};

/// Ends with `message_stop`; an `error` event ends it too.
pub static ANTHROPIC: Dialect = Dialect {
    name: "anthropic",
    doc: "Anthropic Messages: named events, ends with message_stop",
    paths: &["/v1/messages"],
    confirms: |event| {
        event.name == Some(b"message_start") || (event.name == Some(b"ping") && object(event).is_some())
    },
    sign,
    has_finish: true,
    error: common_error,
};

fn sign(event: &Event<'_>) -> Sign {
    match event.name {
        Some(b"message_stop") => Sign::Last,
        Some(b"error") => Sign::Error,
        _ => Sign::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, sign};
    use super::*;

    #[test]
    fn names_alone_tell_how_it_goes_on() {
        let data = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
        assert_eq!(sign(&ANTHROPIC, Some("message_delta"), data), Sign::Plain);
        assert_eq!(sign(&ANTHROPIC, Some("message_stop"), "{}"), Sign::Last);
        assert_eq!(sign(&ANTHROPIC, Some("error"), "{}"), Sign::Error);
        assert_eq!(sign(&ANTHROPIC, None, r#"{"type":"message_stop"}"#), Sign::Plain);
        assert!(confirms(&ANTHROPIC, Some("message_start"), "{}"));
        assert!(!confirms(&ANTHROPIC, None, "{}"));
    }
}
