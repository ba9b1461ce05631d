//! The one text of an event, for the shapes that join or divide it.

use std::ops::Range;

use super::Seen;
use crate::codec::Event;
use crate::dialect::{Dialect, Place, Places, Sign, pointer};

/// Where the text stands, if the route says so; otherwise the dialect knows.
#[derive(Debug, Clone)]
pub(super) struct Texts(pub(super) Option<String>);

impl Texts {
    /// Where the text of this event begins and ends in its line of data, between the quotes. `None` if it has none, or
    /// several, or content besides: such an event is not to be touched.
    pub(super) fn only(&self, event: &Event<'_>, seen: Seen) -> Option<Range<usize>> {
        let json = event.data.line()?;
        if seen.sign == Sign::Error || event.error {
            return None;
        }
        let mut found = Found { text: None, others: 0 };
        if let Some(at) = &self.0 {
            pointer::each(json, at, &mut |at, value| found.text(at, value));
        } else {
            let dialect = seen.dialect?;
            let kind = (dialect.kind)(event);
            for place in of_kind(dialect.places.text, kind) {
                pointer::each(json, place.at, &mut |at, value| found.text(at, value));
            }
            for place in of_kind(dialect.places.other, kind) {
                let grows = GROWING.iter().any(|key| place.at.ends_with(key));
                pointer::each(json, place.at, &mut |at, value| match grows {
                    true => found.text(at, value),
                    false => found.others += usize::from(pointer::is_something(value)),
                });
            }
        }
        found.text.filter(|_| found.others == 0)
    }

    /// Where in the line it says once, of all of this text, why the answer ended, what it cost, and the like; in order.
    pub(super) fn once(event: &Event<'_>, dialect: &Dialect, text: &Range<usize>) -> Vec<Range<usize>> {
        let Places { finish, usage, once, .. } = &dialect.places;
        beside(text, event, dialect, &[finish, usage, once])
    }

    /// Where in the line it says what may differ from one piece of the text to the next; in order.
    pub(super) fn changing(event: &Event<'_>, dialect: &Dialect, text: &Range<usize>) -> Vec<Range<usize>> {
        let Places { usage, changing, .. } = &dialect.places;
        beside(text, event, dialect, &[usage, changing])
    }
}

/// The values at these places that the text is no part of; in order.
fn beside(
    text: &Range<usize>,
    event: &Event<'_>,
    dialect: &Dialect,
    places: &[&[Place]],
) -> Vec<Range<usize>> {
    let Some(json) = event.data.line() else { return Vec::new() };
    let kind = (dialect.kind)(event);
    let mut ranges = Vec::new();
    for place in places.iter().flat_map(|places| of_kind(places, kind)) {
        pointer::each(json, place.at, &mut |at, value| ranges.push(at..at + value.len()));
    }
    ranges.retain(|range| range.end < text.start || text.end < range.start);
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

struct Found {
    text: Option<Range<usize>>,
    /// Content that is no text, or a second text.
    others: usize,
}

impl Found {
    fn text(&mut self, at: usize, value: &[u8]) {
        match pointer::inside(value) {
            Some(text) if !text.is_empty() => {
                let from = at + 1;
                self.others += usize::from(self.text.is_some());
                self.text = Some(from..from + text.len());
            }
            Some(_) => {}
            // Parts in the place of text.
            None => self.others += usize::from(pointer::is_something(value)),
        }
    }
}

fn of_kind<'p>(places: &'p [Place], kind: Option<&[u8]>) -> impl Iterator<Item = &'p Place> {
    places.iter().filter(move |place| place.of.is_none_or(|of| kind == Some(of.as_bytes())))
}

/// Content that is not the answer's text, and grows like it.
const GROWING: [&str; 5] = ["/reasoning_content", "/reasoning", "/thinking", "/partial_json", "/refusal"];

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::codec::Data;
    use crate::dialect::{ANTHROPIC, OPENAI_CHAT};

    fn only(dialect: &'static Dialect, name: Option<&str>, json: &str) -> Option<String> {
        let data = Data::Line(json.as_bytes());
        let event = Event { name: name.map(str::as_bytes), data, ..Event::default() };
        let seen = Seen { dialect: Some(dialect), sign: (dialect.sign)(&event), ..Seen::at(Instant::now()) };
        Texts(None).only(&event, seen).map(|range| json[range].to_owned())
    }

    #[test]
    fn text_is_found_where_it_is_the_only_content() {
        let chat = |json: &str| only(&OPENAI_CHAT, None, json);
        for (json, text) in [
            (r#"{"choices":[{"delta":{"content":"a\"b"}}]}"#, Some("a\\\"b")),
            (r#"{"choices":[{"delta":{"content":"","reasoning_content":"r"}}]}"#, Some("r")),
            (r#"{"choices":[{"delta":{"content":"x","tool_calls":[]},"finish_reason":"stop"}]}"#, Some("x")),
            (r#"{"choices":[{"delta":{"content":"x","reasoning_content":"r"}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"y"}}]}"#, None),
            (r#"{"choices":[{"delta":{"content":"x","tool_calls":[{"index":0}]}}]}"#, None),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, None),
            (r#"{"error":{"message":"x"},"choices":[{"delta":{"content":"x"}}]}"#, None),
            ("[DONE]", None),
        ] {
            assert_eq!(chat(json).as_deref(), text, "{json}");
        }
        let delta = r#"{"delta":{"type":"text_delta","text":"x"}}"#;
        assert_eq!(only(&ANTHROPIC, Some("content_block_delta"), delta).as_deref(), Some("x"));
        assert_eq!(only(&ANTHROPIC, Some("content_block_start"), delta), None);
    }

    #[test]
    fn what_is_said_once_is_found_in_order() {
        let json = r#"{"usage":{"n":1},"choices":[{"finish_reason":"stop","delta":{"content":"x"}}]}"#;
        let event = Event { data: Data::Line(json.as_bytes()), ..Event::default() };
        let found: Vec<&str> =
            Texts::once(&event, &OPENAI_CHAT, &(72..73)).into_iter().map(|range| &json[range]).collect();
        assert_eq!(found, [r#"{"n":1}"#, "\"stop\""]);
    }
}
