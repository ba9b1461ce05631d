//! Which of the answers that one stream carries side by side have come to their end.
//!
//! A stream of chat completions carries as many answers as the request asks for (`n`; OpenAI API reference, "The chat
//! completion chunk object", seen 2026-11), told apart by the `index` of a choice. It is complete when each of them has a
//! `finish_reason`. Where one is missing, the others do not make up for it.
//!
//! Not a parser, and not for every event: the first events are looked at until several in a row have brought nothing new,
//! then only those that finish an answer and some behind each. So a stream of one answer costs a few looks. In doubt
//! nothing is missing: an index counts once it was seen twice, one alone is no stream of several, and with an index past
//! 63 nothing is judged. Called by the [watch](super::watch).

use crate::dialect::pointer;

/// What has been seen of the answers, by their index: sets of bits.
#[derive(Debug)]
pub(super) struct Choices {
    once: u64,
    again: u64,
    finished: u64,
    /// How many more events are looked at, if they bring nothing new.
    looks: u8,
}

impl Choices {
    pub(super) fn new() -> Self {
        Choices { once: 0, again: 0, finished: 0, looks: MAX_LOOKS }
    }

    /// Whether the next event is to be looked at; one that finishes an answer always is.
    pub(super) fn wants(&self) -> bool {
        self.looks > 0
    }

    /// Looks at the choices of an event, which stand at this place.
    pub(super) fn event(&mut self, json: &[u8], at: &str) {
        let before = (self.once, self.again, self.finished);
        let mut is_known = true;
        pointer::each(json, at, &mut |_, choice| is_known &= self.choice(choice));
        let brings = before != (self.once, self.again, self.finished);
        self.looks = if brings { MAX_LOOKS } else { self.looks.saturating_sub(1) };
        if !is_known {
            *self = Choices { once: u64::MAX, again: u64::MAX, finished: u64::MAX, looks: 0 };
        }
    }

    /// Notes a choice; `false`: there is no bit for it.
    fn choice(&mut self, choice: &[u8]) -> bool {
        let index = pointer::find(choice, "/index", |_| true).unwrap_or(b"0");
        let index = std::str::from_utf8(index).ok().and_then(|index| index.parse().ok());
        let Some(bit) = index.and_then(|index| 1_u64.checked_shl(index)) else { return false };
        self.again |= self.once & bit;
        self.once |= bit;
        if pointer::find(choice, "/finish_reason", pointer::is_text).is_some() {
            self.finished |= bit;
        }
        true
    }

    /// Of several answers, one has begun and not come to its end.
    pub(super) fn are_open(&self) -> bool {
        self.again.count_ones() > 1 && self.again & !self.finished != 0
    }
}

/// Events in a row that are looked at for nothing.
const MAX_LOOKS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(events: &[(&str, Option<&str>)]) -> Choices {
        let mut choices = Choices::new();
        for (index, reason) in events {
            let reason = reason.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
            let choice =
                format!("{{\"index\":{index},\"delta\":{{\"index\":9}},\"finish_reason\":{reason}}}");
            choices.event(format!("{{\"id\":\"1\",\"choices\":[{choice}]}}").as_bytes(), "/choices/*");
        }
        choices
    }

    #[test]
    fn answers_are_open_until_each_has_its_reason() {
        let two = [("0", None), ("1", None), ("0", None), ("1", None), ("0", Some("stop"))];
        assert!(looked(&two).are_open());
        assert!(!looked(&[&two[..], &[("1", Some("length"))]].concat()).are_open());
        assert!(looked(&[("0", None), ("0", Some("stop")), ("1", None), ("1", None)]).are_open(), "in turn");
        let mut both = Choices::new();
        for reason in ["null", "null", "\"\""] {
            let event = format!(
                r#"{{"choices":[{{"finish_reason":"stop"}},{{"index":1,"finish_reason":{reason}}}]}}"#
            );
            both.event(event.as_bytes(), "/choices/*");
        }
        assert!(both.are_open(), "in one event");
    }

    #[test]
    fn in_doubt_nothing_is_missing() {
        assert!(!looked(&[("0", None), ("0", None)]).are_open(), "one answer");
        assert!(!looked(&[("0", None), ("0", None), ("1", Some("stop"))]).are_open(), "an index that is off");
        let counter: Vec<String> = (0..60).map(|index| index.to_string()).collect();
        let counted: Vec<_> = counter.iter().map(|index| (index.as_str(), None)).collect();
        assert!(!looked(&counted).are_open(), "an index that counts the events");
        for strange in ["64", "-1", "\"a\"", "1.5", "99999999999"] {
            let choices = looked(&[("0", None), ("1", None), ("0", None), ("1", None), (strange, None)]);
            assert!(!choices.are_open() && !choices.wants(), "{strange}");
        }
        let mut none = Choices::new();
        for json in ["{\"choices\":[]}", "{\"choices\":[1,", "{}", "[", ""] {
            none.event(json.as_bytes(), "/choices/*");
        }
        assert!(!none.are_open());
    }

    #[test]
    fn one_answer_is_looked_at_for_a_few_events() {
        let events = vec![("0", None); 2 + usize::from(MAX_LOOKS)];
        assert!(looked(&events[1..]).wants() && !looked(&events).wants());
        let mut choices = looked(&events);
        choices.event(br#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#, "/choices/*");
        assert!(choices.wants(), "others may follow");
    }
}
