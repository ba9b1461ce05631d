//! A stream through shapes alone, for their tests.

use std::time::{Duration, Instant};

use super::{Settings, Shapes};
use crate::bridge::sse as bridge;
use crate::codec::repair::Repairs;
use crate::codec::sse::Sse;
use crate::codec::{Decode, Item, Options};
use crate::dialect::{Dialect, OPENAI_CHAT};

/// Shapes, and the time.
pub(crate) struct Rig {
    pub(crate) shapes: Box<Shapes>,
    pub(crate) now: Instant,
    /// As which events are read.
    pub(crate) dialect: &'static Dialect,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        Rig { shapes: Shapes::new(&settings).expect("a shape"), now: Instant::now(), dialect: &OPENAI_CHAT }
    }

    /// What comes out for this piece of an event stream.
    pub(crate) fn wire(&mut self, wire: &str) -> String {
        let mut out = Vec::new();
        let options = Options { limit: 1 << 20, repairs: Repairs::NONE, literal: false };
        let shapes = &mut self.shapes;
        Sse::new(options)
            .decode(wire.as_bytes(), &mut |item| {
                if let Item::Event(event) = item {
                    shapes.event(&event, Some(self.dialect), self.now, &mut |event, _| {
                        bridge::event(event, &mut out);
                    });
                }
            })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The data of each event that comes out for one with this data.
    pub(crate) fn data(&mut self, data: &str) -> Vec<String> {
        let out = self.wire(&format!("data: {data}\n\n"));
        out.split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap_or(event).to_owned())
            .collect()
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    pub(crate) fn tick(&mut self) -> String {
        self.out(|shapes, now, write| shapes.tick(now, write))
    }

    pub(crate) fn flush(&mut self) -> String {
        self.out(|shapes, now, write| shapes.flush(now, write))
    }

    pub(crate) fn finish(&mut self) -> String {
        let dialect = self.dialect;
        self.out(|shapes, now, write| shapes.finish(Some(dialect), now, write))
    }

    fn out(
        &mut self,
        call: impl FnOnce(&mut Shapes, Instant, &mut dyn FnMut(&crate::codec::Event<'_>, bool)),
    ) -> String {
        let mut out = Vec::new();
        call(&mut self.shapes, self.now, &mut |event, _| bridge::event(event, &mut out));
        String::from_utf8(out).unwrap()
    }
}

/// A token event, with its text as it stands in JSON.
pub(crate) fn chat(text: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
}

pub(crate) fn chat_finish() -> String {
    r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned()
}

/// The text that a token event says.
pub(crate) fn content(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}
