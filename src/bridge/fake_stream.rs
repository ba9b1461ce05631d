//! A whole answer as a stream: the events that say the same, for clients that asked for a stream of an upstream that has
//! none.
//!
//! Short: role, each text in one piece, tool calls, the reason, usage, the end marker, as the [dialect](super::answer) has
//! them. What is not certainly a whole answer is left alone.

use serde_json::Value;

use super::answer::{self, Answers, Part};
use crate::codec::values::Values;
use crate::format::Format;

/// The format of such an upstream's body, for the log. Nothing chooses it, so it is not in the table of formats.
pub static WHOLE: Format = Format {
    name: "json",
    doc: "one whole answer in JSON",
    media_types: &[],
    decoder: |options| Box::new(Values::sequence(options.limit)),
};

/// The events of this body; `None`: it is no whole answer.
pub fn events(answers: &Answers, body: &[u8]) -> Option<Vec<Part>> {
    match answer::read(body) {
        Some(Value::Object(answer)) => (answers.events)(&answer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::OLLAMA;

    #[test]
    fn only_one_json_object_can_be_an_answer() {
        let answers = answer::of(&OLLAMA).unwrap();
        let whole = r#"{"response":"hi","done":true}"#;
        assert_eq!(events(answers, format!(" {whole}\n").as_bytes()).unwrap().len(), 2);
        for other in [format!("{whole}{whole}"), format!("[{whole}]"), whole[1..].to_owned(), String::new()] {
            assert!(events(answers, other.as_bytes()).is_none(), "{other}");
        }
    }
}
