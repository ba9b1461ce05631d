//! Anthropic's `message`, and its events from `message_start` to `message_stop`.
//!
//! <https://platform.claude.com/docs/en/build-with-claude/streaming> (seen 2026-11): blocks of content are told apart by an
//! `index`; the input of a tool comes as pieces of JSON text; the usage of a `message_delta` is that of the whole message.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::grow::{append, object, put, take, text, update, weight};
use super::{Answers, Gather, Lack, MAX_PIECES, Part, many, read};
use crate::dialect::ANTHROPIC;

pub(super) static ANSWERS: Answers =
    Answers { dialect: &ANTHROPIC, gather: || Box::new(Message::default()), events };

/// A message as it grows.
#[derive(Debug, Default)]
struct Message {
    fields: Option<Map<String, Value>>,
    blocks: BTreeMap<u64, Block>,
    stopped: bool,
    /// A block began in the place of another: which of them is meant, nobody knows.
    clashed: bool,
    held: usize,
}

#[derive(Debug, Default)]
struct Block {
    fields: Map<String, Value>,
    /// The input of a tool, as text.
    input: String,
}

impl Gather for Message {
    fn event(&mut self, mut data: Map<String, Value>) {
        let kind = take(&mut data, "type");
        let index = data.get("index").and_then(Value::as_u64).unwrap_or(0);
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "message_start" => {
                let message = take(&mut data, "message").unwrap_or_default();
                self.held += weight(&message);
                self.fields = Some(object(message));
            }
            "content_block_start" => {
                let block = take(&mut data, "content_block").unwrap_or_default();
                self.held += size_of::<Block>() + weight(&block);
                let block = Block { fields: object(block), input: String::new() };
                self.clashed |= self.blocks.insert(index, block).is_some();
            }
            "content_block_delta" => {
                let delta = object(take(&mut data, "delta").unwrap_or_default());
                self.held += size_of::<Block>() * usize::from(!self.blocks.contains_key(&index));
                self.blocks.entry(index).or_default().grow(delta, &mut self.held);
            }
            "message_delta" => self.change(data),
            "message_stop" => self.stopped = true,
            _ => {}
        }
    }

    fn held(&self) -> usize {
        self.held
    }

    fn finish(&mut self, is_over: bool) -> Result<Value, Lack> {
        let mut message = self.fields.take().filter(|_| !self.clashed).ok_or(Lack::Answer)?;
        if !is_over && !self.stopped && text(&message, "stop_reason").is_none() {
            return Err(Lack::End);
        }
        let blocks = std::mem::take(&mut self.blocks).into_values().map(Block::whole).collect();
        message.insert("content".into(), Value::Array(blocks));
        Ok(Value::Object(message))
    }
}

impl Message {
    /// Takes what a `message_delta` changes.
    fn change(&mut self, mut data: Map<String, Value>) {
        let Some(message) = &mut self.fields else { return };
        let usage = object(take(&mut data, "usage").unwrap_or_default());
        let delta = object(take(&mut data, "delta").unwrap_or_default());
        for (key, value) in delta.into_iter().chain(data) {
            update(message, &key, value, &mut self.held);
        }
        let whole = message.entry("usage").or_insert_with(|| json!({}));
        for (key, value) in usage {
            whole
                .as_object_mut()
                .into_iter()
                .for_each(|whole| update(whole, &key, value.clone(), &mut self.held));
        }
    }
}

impl Block {
    fn grow(&mut self, mut delta: Map<String, Value>, held: &mut usize) {
        let kind = take(&mut delta, "type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        // A block that was not announced is one of what is added to it.
        let own = kind.strip_suffix("_delta").filter(|own| matches!(*own, "text" | "thinking"));
        if let (Some(own), false) = (own, self.fields.contains_key("type")) {
            put(&mut self.fields, "type", own.into(), held);
        }
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("partial_json", Value::String(piece)) => {
                    *held += piece.len();
                    self.input.push_str(&piece);
                }
                ("citation", citation) => append(&mut self.fields, "citations", json!([citation]), held),
                ("signature", value) => update(&mut self.fields, "signature", value, held),
                (key, value) => append(&mut self.fields, key, value, held),
            }
        }
    }

    fn whole(self) -> Value {
        let Block { mut fields, input } = self;
        if !input.trim().is_empty() {
            // Input that was cut off by max_tokens stays a text: a tool must not run with what is left of it.
            let input = read(input.as_bytes()).unwrap_or(Value::String(input));
            fields.insert("input".into(), input);
        }
        Value::Object(fields)
    }
}

/// Every block is begun empty, filled, and stopped.
fn events(answer: &Map<String, Value>) -> Option<Vec<Part>> {
    let content = answer.get("content")?.as_array()?;
    let is_message = text(answer, "type") == Some("message") && content.iter().all(Value::is_object);
    let pieces: usize = content.iter().map(|block| 3 + many(&block["citations"])).sum();
    if !is_message || pieces > MAX_PIECES {
        return None;
    }
    let mut parts = Vec::new();
    let mut tell = |name: &'static str, mut data: Map<String, Value>| {
        data.insert("type".into(), name.into());
        parts.push(Part::new(Some(name), data));
    };
    let mut message = answer.clone();
    let ended = |key: &str| answer.get(key).cloned().unwrap_or_default();
    let delta = json!({ "stop_reason": ended("stop_reason"), "stop_sequence": ended("stop_sequence") });
    message.insert("content".into(), json!([]));
    message.insert("stop_reason".into(), Value::Null);
    message.insert("stop_sequence".into(), Value::Null);
    if let Some(output) = message.get_mut("usage").and_then(|usage| usage.get_mut("output_tokens")) {
        *output = 0.into();
    }
    tell("message_start", Map::from_iter([("message".into(), Value::Object(message))]));
    for (index, block) in content.iter().enumerate() {
        let (block, deltas) = taken_apart(object(block.clone()));
        let at =
            |key: &str, value: Value| Map::from_iter([("index".into(), index.into()), (key.into(), value)]);
        tell("content_block_start", at("content_block", Value::Object(block)));
        deltas.into_iter().for_each(|delta| tell("content_block_delta", at("delta", delta)));
        tell("content_block_stop", Map::from_iter([("index".into(), index.into())]));
    }
    let mut end = Map::from_iter([("delta".into(), delta)]);
    if let Some(usage) = answer.get("usage").filter(|usage| usage.is_object()) {
        end.insert("usage".into(), usage.clone());
    }
    tell("message_delta", end);
    tell("message_stop", Map::new());
    Some(parts)
}

/// A block as it is begun, and what is added to it then. One of an unknown kind is begun whole.
fn taken_apart(mut block: Map<String, Value>) -> (Map<String, Value>, Vec<Value>) {
    let mut deltas = Vec::new();
    let mut empty = |block: &mut Map<String, Value>, key: &str, kind: &str| {
        if let Some(Value::String(piece)) = block.get_mut(key)
            && !piece.is_empty()
        {
            deltas.push(json!({ "type": kind, key: std::mem::take(piece) }));
        }
    };
    match text(&block, "type").unwrap_or_default() {
        "text" => {
            empty(&mut block, "text", "text_delta");
            if let Some(Value::Array(citations)) = block.get_mut("citations") {
                let citations = std::mem::take(citations).into_iter();
                deltas.extend(
                    citations.map(|citation| json!({ "type": "citations_delta", "citation": citation })),
                );
            }
        }
        "thinking" => {
            empty(&mut block, "thinking", "thinking_delta");
            empty(&mut block, "signature", "signature_delta");
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            if let Some(input) = block.get_mut("input")
                && input.as_object().is_some_and(|input| !input.is_empty())
            {
                deltas.push(json!({ "type": "input_json_delta", "partial_json": input.to_string() }));
                *input = json!({});
            }
        }
        _ => {}
    }
    (block, deltas)
}

#[cfg(test)]
mod tests {
    use super::super::tests::gathered;
    use super::*;

    fn start() -> Value {
        json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant", "content": [],
            "stop_reason": null, "usage": { "input_tokens": 3, "output_tokens": 1 } } })
    }

    fn delta(index: u64, delta: Value) -> Value {
        json!({ "type": "content_block_delta", "index": index, "delta": delta })
    }

    #[test]
    fn blocks_grow_by_their_index_and_input_is_json_again() {
        let answer = gathered(
            &ANTHROPIC,
            &[
                start(),
                json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "", "signature": "" } }),
                json!({ "type": "ping" }),
                delta(0, json!({ "type": "thinking_delta", "thinking": "h" })),
                delta(0, json!({ "type": "thinking_delta", "thinking": "m" })),
                delta(0, json!({ "type": "signature_delta", "signature": "s==" })),
                json!({ "type": "content_block_stop", "index": 0 }),
                json!({ "type": "content_block_start", "index": 2, "content_block": { "type": "tool_use", "id": "t", "name": "f", "input": {} } }),
                delta(2, json!({ "type": "input_json_delta", "partial_json": "" })),
                delta(2, json!({ "type": "input_json_delta", "partial_json": "{\"city\": \"上" })),
                delta(2, json!({ "type": "input_json_delta", "partial_json": "海\"}" })),
                delta(1, json!({ "type": "text_delta", "text": "hi" })),
                delta(1, json!({ "type": "citations_delta", "citation": { "n": 1 } })),
                json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null }, "usage": { "output_tokens": 9 } }),
                json!({ "type": "message_stop" }),
            ],
        );
        let want = json!({ "id": "m", "type": "message", "role": "assistant", "stop_reason": "tool_use", "stop_sequence": null,
            "usage": { "input_tokens": 3, "output_tokens": 9 }, "content": [
            { "type": "thinking", "thinking": "hm", "signature": "s==" },
            { "type": "text", "text": "hi", "citations": [{ "n": 1 }] },
            { "type": "tool_use", "id": "t", "name": "f", "input": { "city": "上海" } }] });
        assert_eq!(answer, Ok(want));
    }

    #[test]
    fn input_that_was_cut_off_is_no_object() {
        let answer = gathered(
            &ANTHROPIC,
            &[
                start(),
                json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "tool_use", "name": "rm", "input": {} } }),
                delta(0, json!({ "type": "input_json_delta", "partial_json": "{\"path\": \"/" })),
                json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" } }),
            ],
        );
        assert_eq!(answer.unwrap()["content"][0]["input"], "{\"path\": \"/");
    }

    #[test]
    fn block_in_the_place_of_another_leaves_no_answer() {
        let begin = |index: u64| json!({ "type": "content_block_start", "index": index, "content_block": { "type": "text", "text": "" } });
        let said = |index: u64| delta(index, json!({ "type": "text_delta", "text": "a" }));
        let stop = json!({ "type": "message_stop" });
        let events = |second: u64| [start(), begin(0), said(0), begin(second), said(second), stop.clone()];
        assert_eq!(gathered(&ANTHROPIC, &events(1)).unwrap()["content"][1]["text"], "a");
        assert_eq!(gathered(&ANTHROPIC, &events(0)), Err(Lack::Answer));
    }

    #[test]
    fn answer_lacks_its_end_without_a_reason_or_a_stop() {
        assert_eq!(gathered(&ANTHROPIC, &[start()]), Err(Lack::End));
        assert!(gathered(&ANTHROPIC, &[start(), json!({ "type": "message_stop" })]).is_ok());
        assert_eq!(gathered(&ANTHROPIC, &[json!({ "type": "message_stop" })]), Err(Lack::Answer));
    }

    #[test]
    fn only_messages_are_taken_apart() {
        for other in [
            json!({ "type": "error", "error": {} }),
            json!({ "type": "message" }),
            json!({ "type": "message", "content": [7] }),
            json!({ "content": [] }),
        ] {
            assert!(events(&object(other.clone())).is_none(), "{other}");
        }
    }
}
