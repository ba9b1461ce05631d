//! `split`: an event that is too large for what stands between here and the client, as several.
//!
//! nginx hands on pages of 4 KiB, mini-programs cut where they like: small events come through in one piece more often.
//! Only text is divided, never inside a character or an escape; each part is a whole event of its dialect. Why the answer
//! ended, what it cost, what is said of all of the text (log probabilities, citations), and the `id`, stand in the last
//! part alone; a number that counts events stands in each. An event that has nothing to divide passes as it is.

use super::delta::Texts;
use super::{Reshape, Seen, Shape, Sink, ascii};
use crate::codec::{Data, Event};
use crate::dialect::{Sign, pointer};

/// Divide text that is too large.
pub static SPLIT: Shape = Shape {
    name: "split",
    keys: &["split"],
    doc: "an event with text in it that is larger than this is sent as several",
    harm: "what stands beside the text is repeated, a sequence_number too; log probabilities and citations come with the last part",
    make: |settings| {
        let texts = Texts(settings.to_delta.clone().or_else(|| settings.to_full.clone()));
        let (limit, ascii) = (settings.split?, settings.ascii);
        Some(Box::new(Split { limit, ascii, texts, before: Vec::new(), after: Vec::new(), data: Vec::new() }))
    },
};

#[derive(Debug)]
struct Split {
    /// Largest event, in bytes as it is written.
    limit: usize,
    /// What is not ASCII is going to be escaped.
    ascii: bool,
    texts: Texts,
    /// What stands around the text in all parts but the last.
    before: Vec<u8>,
    after: Vec<u8>,
    /// The data that is handed on.
    data: Vec<u8>,
}

impl Split {
    fn cost(&self, bytes: &[u8]) -> usize {
        if !self.ascii || bytes.is_ascii() {
            return bytes.len();
        }
        let chunks = bytes.utf8_chunks();
        chunks
            .map(|chunk| chunk.valid().chars().map(ascii::cost).sum::<usize>() + chunk.invalid().len())
            .sum()
    }

    /// How large it is written.
    fn size(&self, event: &Event<'_>, line: &[u8]) -> usize {
        let fields = [("event", event.name), ("id", event.id), ("retry", event.retry)];
        let fields: usize =
            fields.iter().filter_map(|(name, value)| Some(name.len() + value.as_ref()?.len() + 3)).sum();
        fields + event.unknown.map_or(0, <[u8]>::len) + self.cost(line) + "data: \n\n".len()
    }

    /// Fills what stands around the text of all parts but the last: without what is to be said once.
    fn frame(&mut self, event: &Event<'_>, line: &[u8], text: &std::ops::Range<usize>, seen: Seen) {
        let once = seen.dialect.map(|dialect| Texts::once(event, dialect, text)).unwrap_or_default();
        let (mut from, mut is_after) = (0, false);
        self.before.clear();
        self.after.clear();
        for range in once {
            if !is_after && range.start >= text.end {
                self.before.extend_from_slice(&line[from..text.start]);
                (from, is_after) = (text.end, true);
            }
            let side = if is_after { &mut self.after } else { &mut self.before };
            side.extend_from_slice(&line[from..range.start]);
            side.extend_from_slice(empty(&line[range.clone()]));
            from = range.end;
        }
        if !is_after {
            self.before.extend_from_slice(&line[from..text.start]);
            from = text.end;
        }
        self.after.extend_from_slice(&line[from..]);
    }

    /// How much of the text takes at most `room` bytes as it is written, and at least one character.
    fn take(&self, text: &[u8], room: usize) -> usize {
        let (mut end, mut cost) = (0, 0);
        while end < text.len() {
            let length = unit(&text[end..]);
            cost += self.cost(&text[end..end + length]);
            if cost > room && end > 0 {
                break;
            }
            end += length;
        }
        end
    }
}

impl Reshape for Split {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let Some(line) = event.data.line() else { return sink(event, seen) };
        let size = self.size(event, line);
        let text = if size > self.limit { self.texts.only(event, seen) } else { None };
        let Some(range) = text else { return sink(event, seen) };
        let mut text = &line[range.clone()];
        self.frame(event, line, &range, seen);
        // `false` takes more than `true`.
        let grown = (self.before.len() + self.after.len() + text.len()).saturating_sub(line.len());
        let room = (self.limit + self.cost(text)).saturating_sub(size + grown);
        // A frame that leaves no room for text would be repeated for every character.
        if room < self.limit / 4 {
            return sink(event, seen);
        }
        let early = Event { id: None, retry: None, unknown: None, canonical: None, ..*event };
        loop {
            let (part, rest) = text.split_at(self.take(text, room));
            self.data.clear();
            if rest.is_empty() {
                for bytes in [&line[..range.start], part, &line[range.end..]] {
                    self.data.extend_from_slice(bytes);
                }
                return sink(&Event { data: Data::Line(&self.data), canonical: None, ..*event }, seen);
            }
            for bytes in [&self.before, part, &self.after] {
                self.data.extend_from_slice(bytes);
            }
            sink(&Event { data: Data::Line(&self.data), ..early }, Seen { sign: Sign::Plain, ..seen });
            text = rest;
        }
    }
}

/// What says nothing in the place of this value, for clients that expect its kind.
fn empty(value: &[u8]) -> &[u8] {
    match value {
        value if !pointer::is_something(value) => value,
        [b'[', ..] => b"[]",
        b"true" => b"false",
        _ => b"null",
    }
}

/// How long the character or escape is that the text of a string begins with; the two escapes of a surrogate pair are one.
fn unit(text: &[u8]) -> usize {
    let escape = |text: &[u8]| match text {
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        _ => 0,
    };
    let length = match text {
        [b'\\', b'u', b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B', _, _, rest @ ..] => {
            let is_low = matches!(rest, [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..]);
            if is_low { 12 } else { 6 }
        }
        [b'\\', ..] => escape(text),
        [first, ..] if *first < 0xc0 => 1,
        [first, rest @ ..] => {
            let most = (first.leading_ones() as usize).min(4) - 1;
            1 + rest.iter().take(most).take_while(|byte| **byte & 0xc0 == 0x80).count()
        }
        [] => 0,
    };
    length.clamp(1, text.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::testing::{Rig, chat, content};
    use super::*;

    fn rig(limit: usize, ascii: bool) -> Rig {
        Rig::new(Settings { split: Some(limit), ascii, ..Settings::default() })
    }

    #[test]
    fn units_are_whole_characters_and_escapes() {
        for (text, length) in [
            ("ab", 1),
            ("你a", 3),
            ("🌍a", 4),
            ("\\n你", 2),
            ("\\u4f60a", 6),
            ("\\ud83c\\udf0dx", 12),
            ("\\ud83cx\\udf0d", 6),
            ("\\udf0d\\ud83c", 6),
            ("\\uD83C\\uDF0D", 12),
            ("\\u", 2),
        ] {
            assert_eq!(unit(text.as_bytes()), length, "{text}");
        }
        assert_eq!((unit(b"\xe4\xbd"), unit(b"\x80\x80"), unit(b"\xe4x"), unit(b"\xff")), (2, 1, 1, 1));
    }

    #[test]
    fn large_text_becomes_events_within_the_limit_and_the_same_text() {
        let text = "你好\\n🌍\\ud83c\\udf0d\\\"x".repeat(300);
        for ascii in [false, true] {
            let mut rig = rig(400, ascii);
            let parts = rig.data(&chat(&text));
            assert!(parts.len() > 10);
            for part in &parts {
                assert!(part.len() + "data: \n\n".len() <= 400, "{}", part.len());
                assert!(serde_json::from_str::<serde_json::Value>(part).is_ok(), "{part}");
            }
            let whole: String = parts.iter().map(|part| content(part)).collect();
            assert_eq!(whole, content(&chat(&text)));
            assert_eq!(rig.data(&chat("small")), [chat("small")]);
        }
    }

    #[test]
    fn finish_usage_and_id_stand_in_the_last_part_alone() {
        let json = format!(
            r#"{{"usage":{{"n":1}},"choices":[{{"delta":{{"content":"{}"}},"finish_reason":"stop"}}]}}"#,
            "x".repeat(500)
        );
        let out = rig(300, false).wire(&format!("id: 7\ndata: {json}\n\n"));
        let (early, last) = out.split_at(out.rfind("id: 7\n").unwrap());
        assert!(early.matches("\"usage\":null,").count() == 2 && !early.contains("stop"), "{early}");
        assert!(early.matches("\"finish_reason\":null").count() == 2 && !early.contains("id: "), "{early}");
        assert!(last.contains("\"usage\":{\"n\":1}") && last.contains("\"stop\""), "{last}");
        assert_eq!(out.matches('x').count(), 500);
    }

    #[test]
    fn what_is_said_of_the_whole_text_stands_in_the_last_part_alone() {
        let text = "x".repeat(500);
        let lines = [
            format!(
                r#"{{"citations":["u"],"choices":[{{"delta":{{"content":"{text}"}},"logprobs":{{"content":[1]}}}}]}}"#
            ),
            format!(r#"{{"citations":[],"choices":[{{"delta":{{"content":"{text}"}},"logprobs":null}}]}}"#),
        ];
        for line in lines {
            let parts = rig(300, false).data(&line);
            let (last, early) = parts.split_last().unwrap();
            assert!(early.len() > 1);
            for part in early {
                assert!(part.contains(r#""citations":[],"#) && part.contains(r#""logprobs":null"#), "{part}");
            }
            assert_eq!(last.replace('x', ""), line.replace('x', ""));
            assert_eq!(parts.iter().map(|part| content(part)).collect::<String>(), text);
        }
    }

    #[test]
    fn object_that_ends_an_answer_is_divided_and_ends_it_once() {
        let line = format!(
            r#"{{"model":"l","message":{{"content":"{}"}},"done":true,"done_reason":"stop","context":[1],"eval_count":5}}"#,
            "x".repeat(500)
        );
        let mut shapes =
            super::super::Shapes::new(&Settings { split: Some(300), ..Settings::default() }).unwrap();
        let mut parts = Vec::new();
        let event = Event { data: Data::Line(line.as_bytes()), ..Event::default() };
        shapes.event(&event, Some(&crate::dialect::OLLAMA), std::time::Instant::now(), &mut |event, _| {
            parts.push(String::from_utf8(event.data.line().unwrap().to_vec()).unwrap());
        });
        let (last, early) = parts.split_last().unwrap();
        assert!(early.len() > 1);
        for part in early {
            let rest = r#""done":false,"done_reason":null,"context":[],"eval_count":null}"#;
            assert!(part.ends_with(rest) && part.len() + "data: \n\n".len() <= 300, "{part}");
        }
        assert_eq!(last.replace('x', ""), line.replace('x', ""));
        assert_eq!(parts.concat().matches('x').count(), 500 + parts.len(), "one in `context`");
    }

    #[test]
    fn what_has_no_text_to_divide_passes() {
        let long = "x".repeat(500);
        for data in [
            format!("plain {long}"),
            format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"id":"{long}"}}]}}}}]}}"#),
            format!(r#"{{"system":"{long}","choices":[{{"delta":{{"content":"a"}}}}]}}"#),
            format!(r#"{{"error":{{"message":"{long}"}}}}"#),
        ] {
            assert_eq!(rig(300, false).data(&data), [data]);
        }
    }
}
