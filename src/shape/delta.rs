//! The texts of an event, for the shapes that join or divide them.

use std::ops::Range;

use super::Seen;
use crate::codec::Event;
use crate::dialect::{Dialect, Place, Places, Sign, pointer};

/// Where the text stands, if the route says so; otherwise the dialect knows.
#[derive(Debug, Clone)]
pub(super) struct Texts(pub(super) Option<String>);

impl Texts {
    /// Where the one text of this event lies in its line of data, between the quotes. `None` if it has none, or several, or
    /// content besides: such an event is not to be joined to another.
    pub(super) fn only(&self, event: &Event<'_>, seen: Seen) -> Option<Range<usize>> {
        let mut texts = self.found(event, seen, true)?;
        texts.retain(|text| !text.is_empty());
        texts.pop().filter(|_| texts.is_empty())
    }

    /// Where its texts lie, in order, one of them not empty. `None` if it has none, or content that can be said neither
    /// piece by piece nor in a first piece alone: such an event is not to be divided.
    pub(super) fn all(&self, event: &Event<'_>, seen: Seen) -> Option<Vec<Range<usize>>> {
        self.found(event, seen, false)
    }

    /// `alone`: what is said [first](Places::first) is not to stand beside it either.
    fn found(&self, event: &Event<'_>, seen: Seen, alone: bool) -> Option<Vec<Range<usize>>> {
        let json = event.data.line()?;
        if seen.sign == Sign::Error || event.error {
            return None;
        }
        let mut found = Found::default();
        if let Some(at) = &self.0 {
            pointer::each(json, at, &mut |at, value| found.text(at, value));
        } else {
            // Nothing is joined to, or a part of, what may be said whole once more.
            let dialect = seen.dialect.filter(|dialect| !dialect.may_repeat_its_text())?;
            let (kind, places) = ((dialect.kind)(event), &dialect.places);
            for place in of_kind(places.text, kind).chain(of_kind(places.growing, kind)) {
                pointer::each(json, place.at, &mut |at, value| found.text(at, value));
            }
            for place in of_kind(places.other, kind).filter(|place| alone || !places.first.contains(place)) {
                pointer::each(json, place.at, &mut |at, value| found.other(at, value));
            }
        }
        found.texts()
    }

    /// Where in the line it says once, at the end of all of its text, why the answer ended, what it cost, and the like.
    pub(super) fn last(event: &Event<'_>, dialect: &Dialect, texts: &[Range<usize>]) -> Vec<Range<usize>> {
        let Places { finish, usage, once, .. } = &dialect.places;
        beside(texts, event, dialect, &[finish, usage, once])
    }

    /// Where in the line it says once, at the beginning of its text, whose it is.
    pub(super) fn first(event: &Event<'_>, dialect: &Dialect, texts: &[Range<usize>]) -> Vec<Range<usize>> {
        beside(texts, event, dialect, &[dialect.places.first])
    }

    /// Where in the line it says what may differ from one piece of the text to the next; in order.
    pub(super) fn changing(event: &Event<'_>, dialect: &Dialect, text: &Range<usize>) -> Vec<Range<usize>> {
        let Places { usage, changing, .. } = &dialect.places;
        beside(std::slice::from_ref(text), event, dialect, &[usage, changing])
    }
}

/// The values at these places that no text is a part of; in order.
fn beside(
    texts: &[Range<usize>],
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
    ranges.retain(|range| texts.iter().all(|text| range.end < text.start || text.end < range.start));
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// What stands in an event.
#[derive(Default)]
struct Found {
    texts: Vec<Range<usize>>,
    /// Content that is no text.
    others: bool,
}

impl Found {
    fn text(&mut self, at: usize, value: &[u8]) {
        match pointer::inside(value) {
            Some(text) => self.texts.push(at + 1..at + 1 + text.len()),
            None => self.other(at, value),
        }
    }

    fn other(&mut self, _at: usize, value: &[u8]) {
        self.others |= pointer::is_something(value);
    }

    /// The texts, if they are all of the content.
    fn texts(mut self) -> Option<Vec<Range<usize>>> {
        self.texts.sort_unstable_by_key(|text| text.start);
        let says = self.texts.iter().any(|text| !text.is_empty());
        (says && !self.others).then_some(self.texts)
    }
}

fn of_kind<'p>(places: &'p [Place], kind: Option<&[u8]>) -> impl Iterator<Item = &'p Place> {
    places.iter().filter(move |place| place.of.is_none_or(|of| kind == Some(of.as_bytes())))
}

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
            (r#"{"choices":[{"delta":{"content":"x","tool_calls":[{"index":0,"id":"c"}]}}]}"#, None),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, None),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#,
                Some("{"),
            ),
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
        let text = 72..73;
        let found = Texts::last(&event, &OPENAI_CHAT, &[text]);
        let found: Vec<&str> = found.into_iter().map(|range| &json[range]).collect();
        assert_eq!(found, [r#"{"n":1}"#, "\"stop\""]);
    }
}
