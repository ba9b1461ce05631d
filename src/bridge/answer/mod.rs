//! Whole answers: put together from the events of a stream, and taken apart into them. One file and one line in
//! [`ANSWERS`] per dialect.
//!
//! What a dialect says in one piece to requests without a stream, and in many to those with one. [`super::json`] puts
//! together, [`super::fake_stream`] takes apart; taken apart and put together again, an answer means the same. Fields that
//! are not known here go along wherever they stand. Unlike elsewhere JSON is read and written anew: the order of keys is
//! lost, and so are digits of numbers beyond what a double or 64 bits hold.

mod anthropic;
mod grow;
mod ollama;
mod openai_chat;
mod read;

use serde_json::{Map, Value};

use crate::dialect::Dialect;

pub(crate) use read::read;
pub(super) use read::{join, read_piece};

/// The whole answers of one dialect.
#[derive(Debug)]
pub struct Answers {
    /// The dialect.
    pub dialect: &'static Dialect,
    /// Puts one together.
    pub(super) gather: fn() -> Box<dyn Gather>,
    /// The events of a stream that says the same; `None`: this is no whole answer of the dialect.
    pub(super) events: fn(&Map<String, Value>) -> Option<Vec<Part>>,
}

/// One event of an answer that was taken apart.
#[derive(Debug)]
pub struct Part {
    /// The name of the event.
    pub name: Option<&'static str>,
    /// Its data, on one line.
    pub data: String,
}

/// Puts an answer together.
pub(super) trait Gather: std::fmt::Debug {
    /// Takes the data of an event; what is no part of an answer is left out.
    fn event(&mut self, data: Map<String, Value>);

    /// Bytes that are kept, roughly.
    fn held(&self) -> usize;

    /// The answer. `is_over`: the stream has said that nothing follows.
    fn finish(&mut self, is_over: bool) -> Result<Value, Lack>;
}

/// What an answer lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Everything.
    Answer,
    /// Its end.
    End,
}

/// Every dialect that has them.
pub static ANSWERS: &[&Answers] = &[&openai_chat::ANSWERS, &anthropic::ANSWERS, &ollama::ANSWERS];

/// The whole answers of a dialect, if it has any that are known here.
pub fn of(dialect: &Dialect) -> Option<&'static Answers> {
    ANSWERS.iter().copied().find(|answers| answers.dialect == dialect)
}

/// How many pieces a value becomes: each element of a list is one.
fn many(value: &Value) -> usize {
    value.as_array().map_or(1, Vec::len)
}

/// What has more pieces than this is no answer of a model: a small piece makes a large event.
const MAX_PIECES: usize = 1 << 14;

impl Part {
    fn new(name: Option<&'static str>, data: Map<String, Value>) -> Self {
        Part { name, data: Value::Object(data).to_string() }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
