//! Items to one answer in JSON.
//!
//! For clients that did not ask for a stream, in front of upstreams that stream anyway. Nothing is written until the
//! stream is over, so the response head waits, and a stream that breaks or tells an error is a true status. Not every
//! [dialect](answer) has whole answers.
//!
//! Invariant: an answer is written only if nothing of it is missing: no choice without its end, no event that could not
//! be read. Bounded by its caller, who asks what is [held](Gathered::held).

use serde_json::Value;

use super::answer::{self, Answers, Gather, Lack};
use super::{Bridge, Encoder, Manual};
use crate::codec::{DONE, Event};
use crate::dialect::{Dialect, is_blank};
use crate::stream::{Cause, Failure};

/// `application/json`.
pub static JSON: Bridge = Bridge {
    name: "json",
    doc: "one whole answer in JSON, as the dialect has it for requests without a stream (openai-chat, anthropic, ollama)",
    media_types: &["application/json"],
    encoder: |dialect| Gathered::new(dialect).map(Box::new).map(Encoder::Json),
    manual: Manual {
        event: "a part of the answer, which is written when the stream is over, with its `Content-Length`. Comments, pings and events of no dialect are dropped",
        breaks: "a true status, 502 mostly, with the error as the dialect says it: the head waits for the answer",
    },
};

/// An answer as it is put together.
#[derive(Debug)]
pub struct Gathered {
    dialect: &'static Dialect,
    gather: Box<dyn Gather>,
    /// Some event could not be read.
    lost: bool,
    /// Some text was cut inside a character.
    halves: bool,
}

impl Gathered {
    /// Nothing yet; `None` in a dialect without whole answers.
    fn new(dialect: Option<&'static Dialect>) -> Option<Self> {
        let Answers { dialect, gather, .. } = answer::of(dialect?)?;
        Some(Gathered { dialect, gather: gather(), lost: false, halves: false })
    }

    /// Takes an event. `false`: it says nothing.
    pub fn event(&mut self, event: &Event<'_>) -> bool {
        if is_blank(event) {
            return false;
        }
        let data = event.data.text();
        match answer::read_piece(&data) {
            Some((Value::Object(data), halves)) => {
                self.halves |= halves;
                self.gather.event(data);
            }
            // Half a chunk is a piece of the answer that is missing; text under a name is the business of some gateway.
            _ => {
                self.lost |=
                    data.as_ref() != DONE.as_bytes() && (event.name.is_none() || data.starts_with(b"{"))
            }
        }
        true
    }

    /// Bytes that it keeps, roughly.
    pub fn held(&self) -> usize {
        self.gather.held()
    }

    /// Writes the answer. `is_over`: the stream has said that nothing follows.
    ///
    /// # Errors
    /// There is none, or something of it is missing.
    pub fn finish(&mut self, is_over: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
        let malformed = |what: &str| {
            let dialect = self.dialect.name;
            Failure::new(
                Cause::UpstreamMalformed,
                format!("the upstream's stream {what} (dialect {dialect})"),
            )
        };
        if self.lost {
            return Err(malformed("has an event that is no JSON, so its answer cannot be put together"));
        }
        match self.gather.finish(is_over) {
            Ok(mut answer) => {
                if self.halves {
                    answer::join(&mut answer);
                }
                out.extend_from_slice(answer.to_string().as_bytes());
            }
            Err(Lack::Answer) => return Err(malformed("has no answer in it that can be put together")),
            Err(Lack::End) => {
                let message = "the upstream's stream ended before its answer was finished";
                return Err(Failure::new(Cause::UpstreamTruncated, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Data;
    use crate::dialect::{GEMINI, OPENAI_CHAT};

    fn gathered(events: &[(Option<&str>, &str)]) -> Result<Value, Cause> {
        let mut gathered = Gathered::new(Some(&OPENAI_CHAT)).unwrap();
        for (name, data) in events {
            let (name, data) = (name.map(str::as_bytes), Data::Line(data.as_bytes()));
            gathered.event(&Event { name, data, ..Event::default() });
        }
        let mut out = Vec::new();
        gathered.finish(false, &mut out).map_err(|failure| failure.cause())?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    const HI: &str = r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
    const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn answer_is_written_if_nothing_of_it_is_missing() {
        let answer =
            gathered(&[(None, HI), (Some("queue"), "third"), (None, END), (None, "[DONE]")]).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "hi");
        assert_eq!(gathered(&[(None, HI)]), Err(Cause::UpstreamTruncated));
        for broken in [(None, "{\"choices\":[{\"del"), (Some("x"), "{\"choices\":"), (None, "hello")] {
            assert_eq!(gathered(&[(None, HI), broken, (None, END)]), Err(Cause::UpstreamMalformed));
        }
        for none in [(None, "{\"t\":1}"), (None, "{\"choices\":[]}"), (None, "[DONE]")] {
            assert_eq!(gathered(&[none]), Err(Cause::UpstreamMalformed), "{none:?}");
        }
    }

    /// A server that cuts by UTF-16 had each emoji that it cut put together as two replacement characters.
    #[test]
    fn character_that_is_cut_over_two_events_is_whole_in_the_answer() {
        let of =
            |delta: &str| format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
        let calls = |arguments: &str| {
            of(&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"c","function":{{"arguments":"{arguments}"}}}}]}}"#
            ))
        };
        let events = [
            of(r#"{"content":"a\ud83d"}"#),
            calls(r"\ud83c"),
            of(r#"{"content":"\ude00\uffff\ud83d"}"#),
            calls(r"\udf0d"),
            of(r#"{"content":"b\ude00"}"#),
            END.to_owned(),
        ];
        let events: Vec<_> = events.iter().map(|data| (None, data.as_str())).collect();
        let answer = gathered(&events).unwrap();
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["content"], "a😀\u{ffff}\u{fffd}b\u{fffd}");
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "🌍");
    }

    #[test]
    fn only_some_dialects_have_whole_answers() {
        assert!(Gathered::new(Some(&GEMINI)).is_none() && Gathered::new(None).is_none());
    }

    #[test]
    fn what_is_kept_is_counted_as_it_grows() {
        let mut gathered = Gathered::new(Some(&OPENAI_CHAT)).unwrap();
        let mut last = gathered.held();
        for _ in 0..100 {
            let data = Data::Line(HI.as_bytes());
            gathered.event(&Event { data, ..Event::default() });
            assert!(gathered.held() >= last + 2);
            last = gathered.held();
        }
        assert!(last < 2000, "{last}: not what was read, but what is kept");
    }
}
