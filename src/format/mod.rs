//! What upstreams send: one file and one line in [`FORMATS`] per format. A format chooses a [decoder](crate::codec).

mod aws_eventstream;
mod json_array;
mod ndjson;
mod sse;
mod text;

use crate::codec::{Decode, Options};

pub use aws_eventstream::AWS_EVENTSTREAM;
pub use json_array::JSON_ARRAY;
pub use ndjson::{LINES, NDJSON};
pub use sse::SSE;
pub use text::{TEXT, TEXT_JSON};

/// One upstream format.
#[derive(Debug)]
pub struct Format {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// Media types that announce it, lower case, without parameters. None: the bytes or the route choose it.
    pub media_types: &'static [&'static str],
    /// A decoder for one response.
    pub decoder: fn(Options) -> Box<dyn Decode>,
}

/// Every format, in the order of `tidegate formats`.
pub static FORMATS: &[&Format] = &[&SSE, &NDJSON, &JSON_ARRAY, &AWS_EVENTSTREAM, &TEXT, &TEXT_JSON];

impl Format {
    /// The format with this name.
    pub fn named(name: &str) -> Option<&'static Format> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// The format that a media type announces; parameters and case do not matter (RFC 9110 8.3.1).
    pub fn announced(content_type: &str) -> Option<&'static Format> {
        let essence = essence(content_type);
        FORMATS
            .iter()
            .copied()
            .find(|format| format.media_types.iter().any(|known| essence.eq_ignore_ascii_case(known)))
    }
}

/// A media type without its parameters.
pub fn essence(content_type: &str) -> &str {
    let end = memchr::memchr(b';', content_type.as_bytes()).unwrap_or(content_type.len());
    content_type[..end].trim()
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_distinct_names_media_types_and_docs() {
        let mut seen = std::collections::HashSet::new();
        for format in FORMATS {
            assert!(seen.insert(format.name) && !format.doc.is_empty());
            for media_type in format.media_types {
                assert!(seen.insert(media_type), "{media_type} announces two formats");
                assert_eq!(
                    Format::announced(&format!("{}; charset=utf-8", media_type.to_uppercase())),
                    Some(*format)
                );
            }
            assert_eq!(Format::named(format.name), Some(*format));
        }
        assert_eq!(Format::announced("application/json"), None);
    }
}
