//! The script of an answer: what the messy upstream writes, cut where, after which pause.
//!
//! Pure: a [`Play`] becomes a list of [`Step`]s, and [`super::upstream`] only has to follow it. First the events
//! are written out as a well-behaved server would ([`Wire`]), then [`torn`] cuts and glues them; the bytes stay
//! the same, so that a client that reads streams correctly gets the whole answer.

use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use serde_json::json;

use super::text::text;

/// What happens to the answer. Clients choose by the `model` of their request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Cut and glued, but complete.
    Chat,
    /// Four seconds until the first token.
    Slow,
    /// Ends inside an event, without a finish.
    Truncated,
    /// The upstream reports an error in the stream.
    Error,
}

/// The language of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// English.
    English,
    /// Simplified Chinese.
    Chinese,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// OpenAI chat completion chunks as Server-Sent Events, with CRLF and now and then without the space that is
    /// allowed to be missing (HTML 9.2.6).
    OpenAi,
    /// Ollama's lines of JSON.
    Ollama,
}

/// What to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Play {
    /// How its events are written.
    pub(super) wire: Wire,
    /// What happens to it.
    pub(super) scenario: Scenario,
    /// Its language.
    pub(super) language: Language,
}

/// One write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What to wait before it.
    pub(super) pause: Duration,
    /// What to write.
    pub(super) bytes: Bytes,
}

/// What is done to the next events.
#[derive(Debug, Clone, Copy)]
enum Tear {
    /// One event in one write.
    Whole,
    /// One event in two writes.
    Cut,
    /// One event in many writes.
    Dribble,
    /// Two events in one write.
    Glue,
    /// The second write begins in the middle of the second event.
    GlueAndCut,
}

impl Scenario {
    /// Every scenario.
    pub(super) const ALL: [Scenario; 4] =
        [Scenario::Chat, Scenario::Slow, Scenario::Truncated, Scenario::Error];

    /// The `model` that asks for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scenario::Chat => "chat",
            Scenario::Slow => "slow",
            Scenario::Truncated => "truncated",
            Scenario::Error => "error",
        }
    }

    /// The scenario of a `model`; any other model than those named here chats.
    pub(super) fn of_model(model: &str) -> Self {
        Scenario::ALL.into_iter().find(|scenario| scenario.name() == model).unwrap_or(Scenario::Chat)
    }
}

impl Language {
    /// Chinese if there is a Chinese character in the question.
    pub(super) fn of_question(question: &str) -> Self {
        match question.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)) {
            true => Language::Chinese,
            false => Language::English,
        }
    }
}

impl Play {
    /// The writes, in order.
    pub(super) fn script(self) -> Vec<Step> {
        let first = match self.scenario {
            Scenario::Slow => THINKING,
            _ => FIRST_PAUSE,
        };
        let mut steps = torn(&self.events());
        if let Some(step) = steps.last_mut() {
            step.pause = LAST_PAUSE;
        }
        if let Some(step) = steps.first_mut() {
            step.pause = first;
        }
        steps
    }

    /// The whole answer as one JSON object, for who did not ask for a stream.
    pub(super) fn whole(self) -> Vec<u8> {
        let content = text(self.scenario, self.language).tokens.concat();
        let message = json!({ "role": "assistant", "content": content });
        let model = self.scenario.name();
        let answer = match self.wire {
            Wire::OpenAi => json!({
                "id": ID, "object": "chat.completion", "created": CREATED, "model": model,
                "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
            }),
            Wire::Ollama => json!({
                "model": model, "created_at": CREATED_AT, "message": message,
                "done": true, "done_reason": "stop",
            }),
        };
        answer.to_string().into_bytes()
    }

    /// The events, each as its bytes; a truncated answer ends with a part of one.
    fn events(self) -> Vec<Vec<u8>> {
        let text = text(self.scenario, self.language);
        let mut events: Vec<Vec<u8>> = Vec::new();
        if self.wire == Wire::OpenAi {
            events.push(self.delta(&json!({ "role": "assistant", "content": "" }).to_string(), "null", 0));
        }
        for token in text.tokens {
            let event = match self.wire {
                Wire::OpenAi => self.delta(&json!({ "content": token }).to_string(), "null", events.len()),
                Wire::Ollama => self.line(token, r#""done":false"#),
            };
            events.push(event);
        }
        match self.scenario {
            Scenario::Truncated => {
                if let Some(last) = events.last_mut() {
                    last.truncate(middle(last));
                }
            }
            Scenario::Error => events.push(self.error(text.error)),
            Scenario::Chat | Scenario::Slow => self.finish(&mut events),
        }
        events
    }

    /// A chunk of an OpenAI chat completion. Written by hand, because servers write their keys in this order.
    fn delta(self, delta: &str, finish_reason: &str, index: usize) -> Vec<u8> {
        let model = self.scenario.name();
        let data = format!(
            r#"{{"id":"{ID}","object":"chat.completion.chunk","created":{CREATED},"model":"{model}","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish_reason}}}]}}"#
        );
        sse(&data, index)
    }

    /// A line of an Ollama chat.
    fn line(self, token: &str, end: &str) -> Vec<u8> {
        let (model, content) = (self.scenario.name(), json!(token));
        format!(
            r#"{{"model":"{model}","created_at":"{CREATED_AT}","message":{{"role":"assistant","content":{content}}},{end}}}"#
        )
        .into_bytes()
        .into_iter()
        .chain(*b"\n")
        .collect()
    }

    fn finish(self, events: &mut Vec<Vec<u8>>) {
        match self.wire {
            Wire::OpenAi => {
                events.push(self.delta("{}", r#""stop""#, events.len()));
                events.push(sse("[DONE]", 0));
            }
            Wire::Ollama => events.push(self.line("", r#""done":true,"done_reason":"stop""#)),
        }
    }

    fn error(self, message: &str) -> Vec<u8> {
        match self.wire {
            Wire::OpenAi => {
                let error = json!({ "message": message, "type": "server_error", "code": "out_of_memory" });
                sse(&json!({ "error": error }).to_string(), 0)
            }
            Wire::Ollama => format!("{}\n", json!({ "error": message })).into_bytes(),
        }
    }
}

/// A Server-Sent Event with CRLF; every third one without the space after the colon.
fn sse(data: &str, index: usize) -> Vec<u8> {
    let space = if index % 3 == 2 { "" } else { " " };
    format!("data:{space}{data}\r\n\r\n").into_bytes()
}

/// Cuts and glues. The last event is always cut, so that careless clients lose the end as well; and so are the
/// events with a character of several bytes, where there are few.
fn torn(events: &[Vec<u8>]) -> Vec<Step> {
    let rare = events.iter().filter(|event| !event.is_ascii()).count() * 3 < events.len();
    let mut steps = Vec::new();
    let mut tears = TEARS.iter().cycle();
    let mut rest = events;
    while let [event, later @ ..] = rest {
        rest = later;
        let tear = match later.is_empty() || (rare && !event.is_ascii()) {
            true => Tear::Cut,
            false => *tears.next().unwrap_or(&Tear::Whole),
        };
        match (tear, later) {
            (Tear::Glue, [second, later @ ..]) if !later.is_empty() => {
                rest = later;
                write(&mut steps, PAUSE, &[event, second]);
            }
            (Tear::GlueAndCut, [second, later @ ..]) if !later.is_empty() => {
                rest = later;
                let (head, tail) = second.split_at(middle(second));
                write(&mut steps, PAUSE, &[event, head]);
                write(&mut steps, PAUSE, &[tail]);
            }
            (Tear::Dribble, _) => {
                let size = event.len().div_ceil(DRIBBLES);
                for (index, part) in event.chunks(size).enumerate() {
                    write(&mut steps, if index == 0 { PAUSE } else { SHORT_PAUSE }, &[part]);
                }
            }
            (Tear::Cut, _) => {
                let (head, tail) = event.split_at(middle(event));
                write(&mut steps, PAUSE, &[head]);
                write(&mut steps, PAUSE, &[tail]);
            }
            (Tear::Whole | Tear::Glue | Tear::GlueAndCut, _) => write(&mut steps, PAUSE, &[event]),
        }
    }
    steps
}

fn write(steps: &mut Vec<Step>, pause: Duration, parts: &[&[u8]]) {
    let bytes: Bytes = parts.concat().into();
    if !bytes.is_empty() {
        steps.push(Step { pause, bytes });
    }
}

/// Where to cut an event: inside its first character of several bytes, else inside its content, else in its last
/// third.
fn middle(event: &[u8]) -> usize {
    if let Some(at) = event.iter().position(|byte| !byte.is_ascii()) {
        // After two bytes where there are four or three of them.
        return if event[at] >= 0xE0 { at + 2 } else { at + 1 };
    }
    match memmem::find(event, CONTENT) {
        Some(at) => at + CONTENT.len() + 2,
        None => event.len() * 3 / 4,
    }
}

/// The pattern, again and again. Most events survive it, so that it can be seen which do not.
const TEARS: [Tear; 7] =
    [Tear::Whole, Tear::Glue, Tear::Cut, Tear::GlueAndCut, Tear::Whole, Tear::Dribble, Tear::Glue];

/// What stands before a token.
const CONTENT: &[u8] = br#""content":""#;

/// Writes of a dribbled event.
const DRIBBLES: usize = 4;

/// Long enough for both sides to be connected.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What a slow model thinks.
const THINKING: Duration = Duration::from_millis(4050);

/// Before the second half of the last event, which tells how the answer ended: no reader may see it whole.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Between writes: long enough for the reader of a browser to see each by itself.
const PAUSE: Duration = Duration::from_millis(55);

/// Between the pieces of an event that is dribbled.
const SHORT_PAUSE: Duration = Duration::from_millis(35);

/// Every answer of the demo is the same one.
const ID: &str = "chatcmpl-demo";

/// When it was made, in seconds since 1970.
const CREATED: u64 = 1_767_225_600;

/// The same time, as Ollama writes it.
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    fn plays() -> Vec<Play> {
        let mut plays = Vec::new();
        for wire in [Wire::OpenAi, Wire::Ollama] {
            for scenario in Scenario::ALL {
                for language in [Language::English, Language::Chinese] {
                    plays.push(Play { wire, scenario, language });
                }
            }
        }
        plays
    }

    fn joined(steps: &[Step]) -> String {
        String::from_utf8_lossy(&steps.iter().map(|step| step.bytes.as_ref()).collect::<Vec<_>>().concat())
            .into_owned()
    }

    /// The data of each whole event.
    fn data(play: Play, stream: &str) -> Vec<String> {
        let (end, strip) = if play.wire == Wire::OpenAi { ("\r\n\r\n", "data:") } else { ("\n", "") };
        let whole = stream.rsplit_once(end).map_or("", |(whole, _)| whole);
        whole.split(end).map(|event| event.strip_prefix(strip).expect("data").trim().to_owned()).collect()
    }

    fn content(play: Play, stream: &str) -> String {
        let path = if play.wire == Wire::OpenAi { "/choices/0/delta/content" } else { "/message/content" };
        let events = data(play, stream).into_iter().filter(|data| data != "[DONE]");
        let values = events.map(|data| serde_json::from_str::<serde_json::Value>(&data).expect("JSON"));
        values.filter_map(|value| value.pointer(path)?.as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn joined_writes_are_the_whole_answer() {
        for play in plays() {
            let stream = joined(&play.script());
            let tokens = text(play.scenario, play.language).tokens;
            let expected = match play.scenario {
                // The last token is lost on the way.
                Scenario::Truncated => tokens[..tokens.len() - 1].concat(),
                _ => tokens.concat(),
            };
            assert_eq!(content(play, &stream), expected, "{play:?}");
            let last = data(play, &stream).pop().expect("events");
            let (finished, failed) = match play.wire {
                Wire::OpenAi => (last == "[DONE]", last.starts_with(r#"{"error":{"#)),
                Wire::Ollama => (last.contains(r#""done":true"#), last.starts_with(r#"{"error":""#)),
            };
            assert_eq!(finished, matches!(play.scenario, Scenario::Chat | Scenario::Slow), "{play:?}");
            assert_eq!(failed, play.scenario == Scenario::Error, "{play:?}");
            assert_eq!(!stream.ends_with('\n'), play.scenario == Scenario::Truncated, "{play:?}");
        }
    }

    #[test]
    fn writes_cut_events_and_characters_and_glue_events() {
        for play in plays() {
            let steps = play.script();
            let end: &[u8] = if play.wire == Wire::OpenAi { b"\r\n\r\n" } else { b"\n" };
            let cut_events = steps.iter().filter(|step| !step.bytes.ends_with(end)).count();
            let cut_characters = steps
                .iter()
                .filter(|step| step.bytes.first().is_some_and(|byte| byte & 0xC0 == 0x80))
                .count();
            let glued = steps.iter().filter(|step| memmem::find_iter(&step.bytes, end).count() > 1).count();
            assert!(cut_events >= 4 && cut_characters >= 1 && glued >= 1, "{play:?}: {steps:?}");
            if play.scenario == Scenario::Chat {
                assert!(
                    cut_events >= 15 && cut_characters >= 3 && glued >= 3,
                    "{play:?}: {cut_events} {cut_characters} {glued}"
                );
                let whole = steps
                    .iter()
                    .filter(|step| step.bytes.starts_with(b"data: {") && step.bytes.ends_with(end));
                assert!(play.wire == Wire::Ollama || whole.count() >= 5, "some survive");
            }
        }
    }

    #[test]
    fn optional_space_is_missing_now_and_then() {
        let play = Play { wire: Wire::OpenAi, scenario: Scenario::Chat, language: Language::English };
        let stream = joined(&play.script());
        assert!(stream.matches("data:{").count() >= 3 && stream.matches("data: {").count() >= 3);
    }

    #[test]
    fn every_scenario_is_over_within_six_seconds_and_a_slow_one_takes_four_to_begin() {
        for play in plays() {
            let steps = play.script();
            let all: Duration = steps.iter().map(|step| step.pause).sum();
            assert!(all <= Duration::from_secs(6), "{play:?}: {all:?}");
            assert_eq!(steps[0].pause >= Duration::from_secs(4), play.scenario == Scenario::Slow);
            let edges = steps.iter().all(|step| step.pause >= SHORT_PAUSE && !step.bytes.is_empty());
            assert!(edges, "{play:?}: a reader could not tell the writes apart");
        }
    }

    #[test]
    fn whole_answer_is_one_json_object() {
        for play in plays() {
            let value: serde_json::Value = serde_json::from_slice(&play.whole()).expect("JSON");
            let path =
                if play.wire == Wire::OpenAi { "/choices/0/message/content" } else { "/message/content" };
            let content = value.pointer(path).and_then(serde_json::Value::as_str);
            assert_eq!(content, Some(text(play.scenario, play.language).tokens.concat().as_str()));
        }
    }

    #[test]
    fn model_and_question_choose() {
        assert_eq!(Scenario::of_model("slow"), Scenario::Slow);
        assert_eq!(Scenario::of_model("gpt-4o"), Scenario::Chat);
        assert_eq!(Language::of_question("hi, 你好"), Language::Chinese);
        assert_eq!(Language::of_question("héllo 👋"), Language::English);
    }
}
