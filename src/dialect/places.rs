//! Where things stand in the events of a dialect. Only data: [`super::pointer`] walks there, dialects fill it in, and the
//! [watch](crate::stream) and the [shapes](crate::shape) read it.

/// Where things stand in the data of events that are JSON objects.
#[derive(Debug)]
pub struct Places {
    /// The text of the answer, as it grows.
    pub text: &'static [Place],
    /// Other texts that grow like it: reasoning, refusals, the arguments of a tool call as they are written.
    pub growing: &'static [Place],
    /// What else is content: tool calls, images, sound.
    pub other: &'static [Place],
    /// Why the answer ended.
    pub finish: &'static [Place],
    /// What it cost, in tokens.
    pub usage: &'static [Place],
    /// What else may differ from one piece of a text to the next and says nothing of it: times, numbers, padding. Of pieces
    /// that are joined, the last one's stays.
    pub changing: &'static [Place],
    /// What an event says at the beginning of its text: where that is divided, it stands in the first part alone, since
    /// official clients put together what they are told twice.
    pub first: &'static [Place],
    /// What else an event says once of its whole text: where that is divided, it stands in the last part alone.
    pub once: &'static [Place],
    /// What counts the events.
    pub count: Option<Count>,
}

/// A number that counts the events of a stream.
#[derive(Debug)]
pub struct Count {
    /// Where the number of an event stands.
    pub number: Place,
    /// The [kind](super::Dialect::kind) of event that such a stream begins with.
    pub begins: &'static str,
    /// Where that first event says that a client may resume by these numbers: then they are the upstream's, and nobody's to
    /// change.
    pub resumes: &'static str,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The [kind](super::Dialect::kind) of event; `None` = any.
    pub of: Option<&'static str>,
    /// A pointer: see [`super::pointer`].
    pub at: &'static str,
}

impl Place {
    pub(super) const fn any(at: &'static str) -> Self {
        Place { of: None, at }
    }

    pub(super) const fn of(kind: &'static str, at: &'static str) -> Self {
        Place { of: Some(kind), at }
    }
}
