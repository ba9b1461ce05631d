//! `chat.completion` and its chunks, and the older `text_completion` with a `text` in place of a message.
//!
//! <https://platform.openai.com/docs/api-reference/chat-streaming> (seen 2026-11): a chunk's `delta` holds what is added
//! to the `message` of the choice with the same `index`; tool calls are told apart by an `index` of their own.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::grow::{append, object, put, take, text, update, weight};
use super::{Answers, Gather, Lack, MAX_PIECES, Part, many};
use crate::codec::DONE;
use crate::dialect::OPENAI_CHAT;

pub(super) static ANSWERS: Answers =
    Answers { dialect: &OPENAI_CHAT, gather: || Box::new(Completion::default()), events };

/// A completion as it grows.
#[derive(Debug, Default)]
struct Completion {
    fields: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    held: usize,
}

#[derive(Debug, Default)]
struct Choice {
    fields: Map<String, Value>,
    /// `None`: it has a `text` and no message.
    message: Option<Map<String, Value>>,
    /// Some delta has said something.
    has_deltas: bool,
    calls: Calls,
}

/// The tool calls of a choice, in the order in which they began.
#[derive(Debug, Default)]
struct Calls {
    calls: Vec<Map<String, Value>>,
    /// Where the last one with an index stands.
    by_index: HashMap<u64, usize>,
    /// Where those without an index stand, by their ids.
    by_id: HashMap<String, usize>,
    /// The last one without an index.
    unnumbered: Option<usize>,
}

impl Gather for Completion {
    fn event(&mut self, mut data: Map<String, Value>) {
        let choices = match take(&mut data, "choices") {
            Some(Value::Array(choices)) => choices,
            _ if data.get("usage").is_some_and(Value::is_object) => Vec::new(),
            _ => return,
        };
        for (place, choice) in choices.into_iter().enumerate() {
            let mut choice = object(choice);
            let index = choice.remove("index").and_then(|index| index.as_u64()).unwrap_or(place as u64);
            self.held += size_of::<Choice>() * usize::from(!self.choices.contains_key(&index));
            self.choices.entry(index).or_default().grow(choice, &mut self.held);
        }
        for (key, value) in data {
            // What it is now is known without it, and padding against those who listen is none of the answer.
            if key != "object" && key != "obfuscation" {
                update(&mut self.fields, &key, value, &mut self.held);
            }
        }
    }

    fn held(&self) -> usize {
        self.held
    }

    fn finish(&mut self, is_over: bool) -> Result<Value, Lack> {
        let choices = std::mem::take(&mut self.choices);
        if choices.is_empty() {
            return Err(Lack::Answer);
        }
        let has_ended = |choice: &Choice| text(&choice.fields, "finish_reason").is_some();
        let ended = choices.values().filter(|choice| has_ended(choice)).count();
        // Some servers give no reason at all, and end with the marker. Who gives one choice a reason, gives all one.
        if ended < choices.len() && (!is_over || ended > 0) {
            return Err(Lack::End);
        }
        let is_chat = choices.values().any(|choice| choice.message.is_some());
        let mut answer = std::mem::take(&mut self.fields);
        answer.retain(|key, value| key != "usage" || !value.is_null());
        answer.insert("object".into(), if is_chat { "chat.completion" } else { "text_completion" }.into());
        let choices = choices.into_iter().map(|(index, choice)| choice.whole(index)).collect();
        answer.insert("choices".into(), Value::Array(choices));
        Ok(Value::Object(answer))
    }
}

impl Choice {
    fn grow(&mut self, choice: Map<String, Value>, held: &mut usize) {
        // Some servers send a message in place of a delta, others the whole of it at last, behind its deltas.
        let has_delta = choice.get("delta").is_some_and(Value::is_object);
        for (key, value) in choice {
            match key.as_str() {
                "delta" => {
                    let delta = object(value);
                    self.has_deltas |=
                        delta.iter().any(|(key, value)| key != "role" && says_something(value));
                    self.say(delta, held);
                }
                "message" if !has_delta && !self.has_deltas => self.say(object(value), held),
                "message" => {}
                "text" => append(&mut self.fields, "text", value, held),
                "logprobs" => {
                    for (key, value) in object(value) {
                        let logprobs = self.fields.entry("logprobs").or_insert_with(|| json!({}));
                        logprobs
                            .as_object_mut()
                            .into_iter()
                            .for_each(|all| append(all, &key, value.clone(), held));
                    }
                }
                _ => update(&mut self.fields, &key, value, held),
            }
        }
    }

    fn say(&mut self, delta: Map<String, Value>, held: &mut usize) {
        let message = self.message.get_or_insert_default();
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("tool_calls", Value::Array(pieces)) => {
                    pieces.into_iter().for_each(|piece| self.calls.grow(object(piece), held));
                }
                ("function_call" | "audio", Value::Object(piece)) => {
                    let whole = message.entry(key).or_insert_with(|| json!({}));
                    whole.as_object_mut().into_iter().for_each(|whole| grow_parts(whole, &piece, held));
                }
                (_, value @ Value::Array(_)) => append(message, &key, value, held),
                (key, value) if TEXTS.contains(&key) => append(message, key, value, held),
                (key, value) => update(message, key, value, held),
            }
        }
    }

    fn whole(self, index: u64) -> Value {
        let Choice { mut fields, message, calls, .. } = self;
        fields.insert("index".into(), index.into());
        fields.entry("finish_reason").or_insert(Value::Null);
        if let Some(mut message) = message {
            message.retain(|key, value| key == "content" || key == "refusal" || !value.is_null());
            message.entry("role").or_insert_with(|| "assistant".into());
            message.entry("content").or_insert(Value::Null);
            if !calls.calls.is_empty() {
                let calls = calls.calls.into_iter().map(Value::Object).collect();
                message.insert("tool_calls".into(), Value::Array(calls));
            }
            fields.insert("message".into(), Value::Object(message));
        }
        Value::Object(fields)
    }
}

impl Calls {
    /// Adds a piece of a tool call to the call that it belongs to. Some servers send no `index`, or 0 for all of them:
    /// there a new `id` begins a new call.
    fn grow(&mut self, mut piece: Map<String, Value>, held: &mut usize) {
        let index = piece.remove("index").and_then(|index| index.as_u64());
        let id = text(&piece, "id").filter(|id| !id.is_empty()).map(str::to_owned);
        let at = self.place(index, id, held);
        let Some(fields) = self.calls.get_mut(at) else { return };
        for (key, value) in piece {
            match (key.as_str(), value) {
                ("function" | "custom", Value::Object(part)) => {
                    let whole = fields.entry(key).or_insert_with(|| json!({}));
                    whole.as_object_mut().into_iter().for_each(|whole| grow_parts(whole, &part, held));
                }
                (key, value) => update(fields, key, value, held),
            }
        }
    }

    /// Where the call stands that is meant, a new one if need be. One look, however many there are.
    fn place(&mut self, index: Option<u64>, id: Option<String>, held: &mut usize) -> usize {
        let known = match (index, &id) {
            (Some(index), _) => self.by_index.get(&index),
            (None, Some(id)) => self.by_id.get(id),
            (None, None) => self.unnumbered.as_ref(),
        };
        let own =
            |at: usize| self.calls.get(at).and_then(|call| text(call, "id")).filter(|id| !id.is_empty());
        let is_other = |at: usize| id.is_some() && own(at).is_some_and(|own| Some(own) != id.as_deref());
        let at = match known.copied().filter(|at| !is_other(*at)) {
            Some(at) => at,
            None => {
                *held += size_of::<Map<String, Value>>();
                self.calls.push(Map::new());
                self.calls.len() - 1
            }
        };
        match (index, id) {
            (Some(index), _) => {
                self.by_index.insert(index, at);
            }
            (None, id) => {
                self.unnumbered = Some(at.max(self.unnumbered.unwrap_or(0)));
                if let Some(id) = id {
                    *held += id.len() * usize::from(self.by_id.insert(id.clone(), at).is_none());
                }
            }
        }
        at
    }
}

/// Whether a value is more than `null` or emptiness.
fn says_something(value: &Value) -> bool {
    weight(value) > size_of::<Value>() || value.is_boolean() || value.is_number()
}

/// Adds to an object in which some texts grow and all else is told once.
fn grow_parts(whole: &mut Map<String, Value>, piece: &Map<String, Value>, held: &mut usize) {
    for (key, value) in piece {
        match (key.as_str(), value) {
            // Arguments are a text of JSON; some servers send the JSON itself.
            ("arguments", Value::Object(_)) => put(whole, key, value.to_string().into(), held),
            (key, value) if GROWING.contains(&key) => append(whole, key, value.clone(), held),
            (key, value) => update(whole, key, value.clone(), held),
        }
    }
}

/// Texts of a delta that are pieces.
const TEXTS: [&str; 6] =
    ["content", "reasoning_content", "reasoning", "reasoning_text", "thinking", "refusal"];

/// Texts of a function call, a custom tool, a sound that are pieces.
const GROWING: [&str; 4] = ["arguments", "input", "data", "transcript"];

/// What every chunk says.
const IN_EACH: [&str; 6] = ["id", "object", "created", "model", "system_fingerprint", "service_tier"];

/// How many bytes of that are repeated at the most.
const MAX_REPEATED_BYTES: usize = 16 << 20;

/// The role first, then what is said in the order in which it is thought, then the end; usage and the like beside the last
/// end, where clients find it that expect a choice in every chunk.
fn events(answer: &Map<String, Value>) -> Option<Vec<Part>> {
    let choices = answer.get("choices")?.as_array().filter(|choices| !choices.is_empty())?;
    let is_whole = |choice: &Value| choice["message"].is_object() || choice["text"].is_string();
    if !choices.iter().all(is_whole) || answer.get("error").is_some_and(|error| !error.is_null()) {
        return None;
    }
    let is_chat = choices.iter().any(|choice| choice["message"].is_object());
    let named = |keys: &[&str], is: bool| {
        let fields = answer.iter().filter(move |(key, _)| keys.contains(&key.as_str()) == is);
        fields.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>()
    };
    let mut base = named(&IN_EACH, true);
    base.insert("object".into(), if is_chat { "chat.completion.chunk" } else { "text_completion" }.into());
    let mut rest = named(&[&IN_EACH[..], &["choices"]].concat(), false);
    rest.retain(|key, value| key != "usage" || !value.is_null());
    let of = |choice: &Value| {
        2 + choice["message"].as_object().map_or(0, |message| message.values().map(many).sum())
    };
    let pieces: usize = choices.iter().map(of).sum();
    if pieces > MAX_PIECES || pieces * base.values().map(weight).sum::<usize>() > MAX_REPEATED_BYTES {
        return None;
    }
    let mut chunks: Vec<Map<String, Value>> = Vec::new();
    for (place, choice) in choices.iter().enumerate() {
        let mut choice = object(choice.clone());
        let index = choice.remove("index").unwrap_or_else(|| place.into());
        let (message, said) = (take(&mut choice, "message"), take(&mut choice, "text"));
        let ended = choice.remove("finish_reason").unwrap_or_default();
        let mut say = |key: &str, value: Value, ended: Value, rest: Map<String, Value>| {
            let mut choice = rest;
            choice.insert("index".into(), index.clone());
            choice.insert(key.into(), value);
            choice.insert("finish_reason".into(), ended);
            let mut chunk = base.clone();
            chunk.insert("choices".into(), json!([choice]));
            chunks.push(chunk);
        };
        if let Some(message) = message {
            deltas(object(message))
                .into_iter()
                .for_each(|delta| say("delta", delta, Value::Null, Map::new()));
            say("delta", json!({}), ended, choice);
        } else {
            said.into_iter().for_each(|said| say("text", said, Value::Null, Map::new()));
            say("text", "".into(), ended, choice);
        }
    }
    if let Some(last) = chunks.last_mut() {
        last.extend(rest);
    }
    let parts = chunks.into_iter().map(|chunk| Part::new(None, chunk));
    Some(parts.chain([Part { name: None, data: DONE.to_owned() }]).collect())
}

/// A message, piece by piece.
fn deltas(mut message: Map<String, Value>) -> Vec<Value> {
    let role = message.remove("role").unwrap_or_else(|| "assistant".into());
    let content = message.remove("content").unwrap_or_default();
    let calls = take(&mut message, "tool_calls");
    let empty = if content.is_string() { "".into() } else { Value::Null };
    let mut deltas = vec![json!({ "role": role, "content": empty })];
    let (before, after): (Vec<_>, Vec<_>) =
        message.into_iter().partition(|(key, _)| TEXTS.contains(&key.as_str()) && key != "refusal");
    let fields = |fields: Vec<(String, Value)>| fields.into_iter().map(|(key, value)| json!({ key: value }));
    deltas.extend(fields(before));
    if weight(&content) > size_of::<Value>() {
        deltas.push(json!({ "content": content }));
    }
    for (index, call) in calls.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
        let mut call = object(call.clone());
        call.insert("index".into(), index.into());
        deltas.push(json!({ "tool_calls": [call] }));
    }
    deltas.extend(fields(after));
    deltas
}

#[cfg(test)]
mod tests {
    use super::super::tests::gathered;
    use super::*;

    #[test]
    fn choices_and_tool_calls_are_told_apart_by_their_index() {
        let answer = gathered(
            &OPENAI_CHAT,
            &[
                json!({ "id": "", "model": "", "choices": [], "prompt_filter_results": [1] }),
                json!({ "id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "f", "obfuscation": "xx",
                "choices": [{ "index": 1, "delta": { "role": "assistant", "content": null,
                    "tool_calls": [{ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } }] } }] }),
                json!({ "id": "c", "choices": [
                { "index": 0, "delta": { "role": "assistant", "reasoning_content": "h" }, "logprobs": { "content": [{ "token": "x" }] } },
                { "index": 1, "delta": { "tool_calls": [{ "index": 1, "id": "b", "function": { "name": "g", "arguments": "{\"x\"" } }] } }] }),
                json!({ "id": "c", "choices": [
                { "index": 1, "delta": { "tool_calls": [{ "index": 0, "function": { "arguments": "{}" } }, { "index": 1, "function": { "arguments": ":1}" } }] } },
                { "index": 0, "delta": { "reasoning_content": "m", "content": "你" }, "logprobs": { "content": [{ "token": "y" }] } }] }),
                json!({ "choices": [{ "index": 0, "delta": { "content": "\u{1f30d}" }, "finish_reason": null }] }),
                json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": null }),
                json!({ "choices": [{ "index": 1, "delta": {}, "finish_reason": "tool_calls" }] }),
                json!({ "choices": [], "usage": { "total_tokens": 3 } }),
            ],
        );
        let want = json!({ "id": "c", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": "f",
            "prompt_filter_results": [1], "usage": { "total_tokens": 3 }, "choices": [
            { "index": 0, "finish_reason": "stop", "logprobs": { "content": [{ "token": "x" }, { "token": "y" }] },
              "message": { "role": "assistant", "reasoning_content": "hm", "content": "你\u{1f30d}" } },
            { "index": 1, "finish_reason": "tool_calls", "message": { "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                { "id": "b", "function": { "name": "g", "arguments": "{\"x\":1}" } }] } }] });
        assert_eq!(answer, Ok(want));
    }

    #[test]
    fn calls_without_an_index_of_their_own_are_told_apart_by_their_id() {
        for index in [json!(0), Value::Null] {
            let piece = |id: &str, arguments: &str| {
                json!({ "choices": [{ "index": 0, "delta": { "tool_calls":
                    [{ "index": index, "id": id, "function": { "name": "f", "arguments": arguments } }] } }] })
            };
            let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] });
            let answer = gathered(
                &OPENAI_CHAT,
                &[piece("a", "{"), piece("", "}"), piece("b", "{"), piece("b", "}"), end],
            )
            .unwrap();
            let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
            let arguments: Vec<_> = calls.iter().map(|call| &call["function"]["arguments"]).collect();
            assert_eq!(arguments, ["{}", "{}"], "{index}");
        }
    }

    #[test]
    fn calls_in_any_number_take_one_look_for_each_piece() {
        let mut calls = Calls::default();
        let mut held = 0;
        let began = std::time::Instant::now();
        for piece in 0..4 {
            for index in 0..50_000 {
                let piece = json!({ "index": index, "id": format!("c{index}"), "function": { "arguments": piece.to_string() } });
                calls.grow(object(piece), &mut held);
            }
        }
        for index in 0..50_000 {
            calls.grow(
                object(json!({ "id": format!("n{}", index % 25_000), "function": { "arguments": "x" } })),
                &mut held,
            );
        }
        assert_eq!(calls.calls.len(), 75_000);
        assert_eq!(calls.calls[49_999]["function"]["arguments"], "0123");
        assert_eq!(calls.calls[74_999]["function"]["arguments"], "xx");
        // All over again for each, it is minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    }

    #[test]
    fn message_behind_its_deltas_is_not_said_again() {
        let end = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "hi" } }] });
        let delta = |delta: Value| json!({ "choices": [{ "index": 0, "delta": delta }] });
        for before in [
            vec![],
            vec![delta(json!({ "role": "assistant", "content": "" }))],
            vec![delta(json!({ "content": "h" })), delta(json!({ "content": "i" }))],
        ] {
            let answer = gathered(&OPENAI_CHAT, &[before.clone(), vec![end.clone()]].concat()).unwrap();
            assert_eq!(answer["choices"][0]["message"]["content"], "hi", "{before:?}");
        }
    }

    #[test]
    fn marker_ends_an_answer_that_gives_no_reason_but_not_one_choice_of_several() {
        let chunk = |index: u64, reason: Option<&str>| json!({ "choices": [{ "index": index, "delta": { "content": "x" }, "finish_reason": reason }] });
        let over = |events: &[Value]| {
            let mut gather = (ANSWERS.gather)();
            events.iter().for_each(|event| gather.event(object(event.clone())));
            gather.finish(true)
        };
        let whole = over(&[chunk(0, None), chunk(1, None)]).unwrap();
        assert_eq!(whole["choices"][1]["finish_reason"], Value::Null);
        assert_eq!(over(&[chunk(0, Some("stop")), chunk(1, None)]), Err(Lack::End));
    }

    #[test]
    fn answer_lacks_its_end_until_every_choice_has_one_or_the_stream_says_so() {
        let chunk = |index: u64, reason: Option<&str>| json!({ "choices": [{ "index": index, "text": "x", "finish_reason": reason }] });
        let open = [chunk(0, None), chunk(1, None), chunk(0, Some("stop"))];
        assert_eq!(gathered(&OPENAI_CHAT, &open), Err(Lack::End));
        let mut whole = open.to_vec();
        whole.push(chunk(1, Some("length")));
        let answer = gathered(&OPENAI_CHAT, &whole).unwrap();
        assert_eq!(
            (&answer["object"], &answer["choices"][0]["text"]),
            (&json!("text_completion"), &json!("xx"))
        );
        assert_eq!(gathered(&OPENAI_CHAT, &[json!({ "t": 1 })]), Err(Lack::Answer));
    }

    #[test]
    fn only_whole_answers_are_taken_apart() {
        for other in [
            json!({ "object": "list", "data": [] }),
            json!({ "choices": [] }),
            json!({ "choices": [{ "delta": {} }] }),
            json!({ "choices": [{ "message": {} }, 7] }),
            json!({ "choices": [{ "message": {} }], "error": { "message": "x" } }),
        ] {
            assert!(events(&object(other.clone())).is_none(), "{other}");
        }
        let answer = json!({ "id": "c", "choices": [{ "message": { "role": "assistant", "content": "hi" }, "finish_reason": "stop" }], "usage": { "n": 1 } });
        let parts: Vec<String> = events(&object(answer)).unwrap().into_iter().map(|part| part.data).collect();
        assert_eq!(parts.len(), 4, "{parts:?}");
        assert!(
            parts[0].contains(r#"{"content":"","role":"assistant"}"#)
                && parts[1].contains(r#"{"content":"hi"}"#)
        );
        assert!(parts[2].contains(r#""finish_reason":"stop""#) && parts[2].contains(r#""usage":{"n":1}"#));
        assert_eq!(parts[3], "[DONE]");
    }
}
