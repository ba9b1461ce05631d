//! Ollama's answers of `/api/chat` and `/api/generate`, and the objects that they are streamed as.
//!
//! <https://github.com/ollama/ollama/blob/main/docs/api.md> (seen 2026-11): each object has a piece of the `message` or of
//! the `response`; the last one has `"done": true`, the reason and the counters.

use serde_json::{Map, Value, json};

use super::grow::{append, object, take, update};
use super::{Answers, Gather, Lack, Part};
use crate::dialect::OLLAMA;

pub(super) static ANSWERS: Answers =
    Answers { dialect: &OLLAMA, gather: || Box::new(Objects::default()), events };

/// An answer as it grows.
#[derive(Debug, Default)]
struct Objects {
    fields: Map<String, Value>,
    held: usize,
}

impl Gather for Objects {
    fn event(&mut self, data: Map<String, Value>) {
        let Objects { fields, held } = self;
        if !PARTS.into_iter().any(|part| data.contains_key(part)) {
            return;
        }
        for (key, value) in data {
            match (key.as_str(), value) {
                ("message", Value::Object(piece)) => {
                    let message = fields.entry("message").or_insert_with(|| json!({}));
                    let Some(message) = message.as_object_mut() else { continue };
                    for (key, value) in piece {
                        if key == "role" {
                            update(message, &key, value, held)
                        } else {
                            append(message, &key, value, held)
                        }
                    }
                }
                ("response" | "thinking" | "logprobs", value) => append(fields, &key, value, held),
                (key, value) => update(fields, key, value, held),
            }
        }
    }

    fn held(&self) -> usize {
        self.held
    }

    fn finish(&mut self, is_over: bool) -> Result<Value, Lack> {
        let mut answer = std::mem::take(&mut self.fields);
        match answer.get("done") {
            None if answer.is_empty() => return Err(Lack::Answer),
            Some(Value::Bool(true)) => {}
            _ if !is_over => return Err(Lack::End),
            _ => {}
        }
        answer.retain(|_, value| !value.is_null());
        Ok(Value::Object(answer))
    }
}

/// What one of its objects has in it.
const PARTS: [&str; 3] = ["message", "response", "done"];

/// What is thought first, then what is said, then the end with the counters.
fn events(answer: &Map<String, Value>) -> Option<Vec<Part>> {
    let is_chat = answer.get("message").is_some_and(Value::is_object);
    let is_whole = answer.get("done") == Some(&Value::Bool(true)) && answer.get("error").is_none();
    if !is_whole || !is_chat && !answer.get("response").is_some_and(Value::is_string) {
        return None;
    }
    let mut last = answer.clone();
    let shared = ["model", "created_at", "remote_model", "remote_host"];
    let base: Map<_, _> = answer
        .iter()
        .filter(|(key, _)| shared.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut parts = Vec::new();
    let mut say = |fields: Value| {
        let mut data = base.clone();
        data.extend(object(fields));
        data.insert("done".into(), false.into());
        parts.push(Part::new(None, data));
    };
    if is_chat {
        let mut message = object(take(&mut last, "message").unwrap_or_default());
        let role = message.remove("role").unwrap_or_else(|| "assistant".into());
        let content = message.remove("content").unwrap_or_else(|| "".into());
        // Clients read the content of every message.
        let piece = |key: &str, value: Value| {
            let mut message = json!({ "role": role, "content": "" });
            message[key] = value;
            json!({ "message": message })
        };
        take(&mut message, "thinking").into_iter().for_each(|thinking| say(piece("thinking", thinking)));
        say(piece("content", content));
        message.into_iter().for_each(|(key, value)| say(piece(&key, value)));
        last.insert("message".into(), json!({ "role": role, "content": "" }));
    } else {
        take(&mut last, "thinking")
            .into_iter()
            .for_each(|thinking| say(json!({ "thinking": thinking, "response": "" })));
        take(&mut last, "response").into_iter().for_each(|response| say(json!({ "response": response })));
        last.insert("response".into(), "".into());
    }
    parts.push(Part::new(None, last));
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::gathered;
    use super::*;

    #[test]
    fn pieces_of_a_message_grow_and_the_last_object_has_the_counters() {
        let answer = gathered(
            &OLLAMA,
            &[
                json!({ "model": "m", "created_at": "1", "message": { "role": "assistant", "content": "", "thinking": "hm" }, "done": false }),
                json!({ "model": "m", "created_at": "2", "message": { "role": "assistant", "content": "你" }, "done": false }),
                json!({ "model": "m", "created_at": "3", "message": { "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "f" } }] }, "done": false }),
                json!({ "model": "m", "created_at": "4", "message": { "role": "assistant", "content": "好", "tool_calls": [{ "function": { "name": "g" } }] }, "done": false }),
                json!({ "model": "m", "created_at": "5", "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "stop", "eval_count": 2 }),
            ],
        );
        let want = json!({ "model": "m", "created_at": "5", "done": true, "done_reason": "stop", "eval_count": 2,
            "message": { "role": "assistant", "content": "你好", "thinking": "hm", "tool_calls": [{ "function": { "name": "f" } }, { "function": { "name": "g" } }] } });
        assert_eq!(answer, Ok(want));
    }

    #[test]
    fn answer_lacks_its_end_until_it_is_done() {
        let piece = json!({ "response": "a", "done": false });
        assert_eq!(gathered(&OLLAMA, std::slice::from_ref(&piece)), Err(Lack::End));
        let last = json!({ "response": "", "done": true, "context": [1, 2] });
        let want = json!({ "response": "a", "done": true, "context": [1, 2] });
        assert_eq!(gathered(&OLLAMA, &[json!({ "status": "loading" }), piece, last]), Ok(want));
        assert_eq!(gathered(&OLLAMA, &[json!({ "status": "loading" })]), Err(Lack::Answer));
    }

    #[test]
    fn only_whole_answers_are_taken_apart() {
        for other in [
            json!({ "models": [] }),
            json!({ "done": true }),
            json!({ "response": "x", "done": false }),
            json!({ "error": "x", "response": "", "done": true }),
        ] {
            assert!(events(&object(other.clone())).is_none(), "{other}");
        }
    }
}
