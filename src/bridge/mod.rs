//! What clients are sent: one file and one line in [`BRIDGES`] per wire form.
//!
//! Events come from the [shapes](crate::shape), or from the decoder where there are none, and leave in the form that the
//! client reads: [`mod@sse`] and [`ndjson`] write each at once, [`json`] puts all of them together to one [`answer`].
//! [`fake_stream`] is the way back: the events of an answer that came whole. Which form it is stands in the
//! [plan](crate::stream::Plan); here nothing is chosen. Pure, called by the [session](crate::stream).

pub mod answer;
pub mod fake_stream;
pub mod json;
pub mod ndjson;
pub mod sse;

use crate::dialect::Dialect;
pub(crate) use answer::read;

pub use json::JSON;
pub use ndjson::NDJSON;
pub use sse::SSE;

/// One client wire form.
#[derive(Debug)]
pub struct Bridge {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// Media types by which a client asks for it, lower case; the first is what it is sent as.
    pub media_types: &'static [&'static str],
    /// Writes one stream; `None` in a dialect that has no such form.
    pub encoder: fn(Option<&'static Dialect>) -> Option<Encoder>,
    /// What the manual says of it.
    pub manual: Manual,
}

/// What the manual says of a bridge.
#[derive(Debug)]
pub struct Manual {
    /// What becomes of an event.
    pub event: &'static str,
    /// How a stream that breaks ends.
    pub breaks: &'static str,
}

/// A bridge at work on one stream.
#[derive(Debug)]
pub enum Encoder {
    /// [`mod@sse`]
    Sse,
    /// [`ndjson`]
    Ndjson,
    /// [`json`]
    Json(Box<json::Gathered>),
}

/// Every bridge, in the order of `tidegate formats`.
pub static BRIDGES: &[&Bridge] = &[&SSE, &NDJSON, &JSON];

impl Bridge {
    /// The bridge with this name.
    pub fn named(name: &str) -> Option<&'static Bridge> {
        BRIDGES.iter().copied().find(|bridge| bridge.name == name)
    }

    /// Whether it can write a stream of this dialect.
    pub fn writes(&self, dialect: Option<&'static Dialect>) -> bool {
        (self.encoder)(dialect).is_some()
    }
}

impl PartialEq for Bridge {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Encoder {
    /// The bridge that this is.
    pub fn bridge(&self) -> &'static Bridge {
        match self {
            Encoder::Sse => &SSE,
            Encoder::Ndjson => &NDJSON,
            Encoder::Json(_) => &JSON,
        }
    }

    /// Bytes that it keeps.
    pub fn held(&self) -> usize {
        match self {
            Encoder::Sse | Encoder::Ndjson => 0,
            Encoder::Json(gathered) => gathered.held(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_have_distinct_names_and_media_types_and_docs() {
        let mut seen = std::collections::HashSet::new();
        for bridge in BRIDGES {
            assert!(seen.insert(bridge.name) && !bridge.doc.is_empty());
            assert!(!bridge.media_types.is_empty());
            assert!(bridge.media_types.iter().all(|name| seen.insert(name) && *name == name.to_lowercase()));
            assert_eq!(Bridge::named(bridge.name), Some(*bridge));
            let encoder = (bridge.encoder)(Some(&crate::dialect::OPENAI_CHAT)).unwrap();
            assert_eq!(encoder.bridge(), *bridge);
        }
        assert_eq!(Bridge::named("nonesuch"), None);
    }
}
