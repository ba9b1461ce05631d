//! Amazon Bedrock's `ConverseStream`: the events of its binary stream, whatever the model is.
//!
//! Form: the Amazon Bedrock API reference, `ConverseStream` (seen 2026-11). The name of an event is its `:event-type`, in
//! this order: `messageStart`, blocks, `messageStop` with a `stopReason`, `metadata` with the usage. Exceptions come as
//! messages of a type of their own, which the [format](crate::format::AWS_EVENTSTREAM) marks as errors; their names end in
//! `Exception`. AWS's own clients read the binary stream, which passes: what is written here is for clients of events.

use crate::codec::Event;

use super::{Dialect, Finishes, Manual, Place, Places, Sign, Told, by_name, common_error, object, pointer};

/// Ends with `messageStop`, then `metadata`; an exception ends it too.
pub static BEDROCK_CONVERSE: Dialect = Dialect {
    name: "bedrock-converse",
    doc: "Amazon Bedrock ConverseStream: named events, ends with messageStop",
    paths: &["/converse-stream"],
    headers: &[],
    confirms: |event| event.name.is_some_and(|name| NAMES.contains(&name)),
    evident: |event| {
        let has_role = |json| pointer::string(json, "role").is_some();
        event.name == Some(b"messageStart") && object(event).is_some_and(has_role)
    },
    sign,
    finishes: Finishes::Always,
    kind: by_name,
    choices: None,
    places: Places {
        text: &[Place::of("contentBlockDelta", "/delta/text")],
        growing: &[
            Place::of("contentBlockDelta", "/delta/reasoningContent/text"),
            Place::of("contentBlockDelta", "/delta/toolUse/input"),
        ],
        other: &[Place::of("contentBlockStart", "/start/toolUse/name")],
        finish: &[Place::of("messageStop", "/stopReason")],
        usage: &[Place::of("metadata", "/usage")],
        changing: &[Place::any("/p")],
        first: &[],
        once: &[],
        count: None,
    },
    error: common_error,
    told: Some(Told::NAMED),
    heartbeat: None,
    manual: Manual {
        first: "`messageStart`, or another of its names",
        ends: "`messageStop`, then `metadata`",
        errors: "an exception; an event whose name ends in `Exception`, or `error`",
    },
};

const NAMES: [&[u8]; 6] = [
    b"messageStart",
    b"contentBlockStart",
    b"contentBlockDelta",
    b"contentBlockStop",
    b"messageStop",
    b"metadata",
];

fn sign(event: &Event<'_>) -> Sign {
    match event.name {
        Some(b"messageStop") => Sign::Finish,
        Some(b"metadata") => Sign::Last,
        Some(b"error") => Sign::Error,
        Some(name) if name.ends_with(b"Exception") => Sign::Error,
        _ => Sign::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, evident, sign};
    use super::*;

    #[test]
    fn names_tell_how_it_goes_on() {
        let sign = |name| sign(&BEDROCK_CONVERSE, Some(name), "{}");
        assert_eq!(sign("contentBlockStop"), Sign::Plain);
        assert_eq!(sign("messageStop"), Sign::Finish);
        assert_eq!(sign("metadata"), Sign::Last);
        assert_eq!((sign("throttlingException"), sign("error")), (Sign::Error, Sign::Error));
    }

    #[test]
    fn the_first_event_confirms_by_its_name() {
        assert!(confirms(&BEDROCK_CONVERSE, Some("contentBlockDelta"), "{}"));
        assert!(
            !confirms(&BEDROCK_CONVERSE, Some("chunk"), "{}") && !confirms(&BEDROCK_CONVERSE, None, "{}")
        );
        assert!(evident(&BEDROCK_CONVERSE, Some("messageStart"), r#"{"p":"abc","role":"assistant"}"#));
        assert!(!evident(&BEDROCK_CONVERSE, Some("messageStart"), "{}"));
    }

    #[test]
    fn text_thoughts_and_tools_are_content_and_frames_are_not() {
        let content = |name, data| content(&BEDROCK_CONVERSE, Some(name), data);
        assert!(content("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"x"}}"#));
        assert!(content("contentBlockDelta", r#"{"delta":{"reasoningContent":{"text":"x"}}}"#));
        assert!(content("contentBlockStart", r#"{"start":{"toolUse":{"name":"f","toolUseId":"t"}}}"#));
        assert!(!content("contentBlockDelta", r#"{"delta":{"text":""}}"#));
        assert!(!content("messageStart", r#"{"role":"assistant"}"#));
    }
}
