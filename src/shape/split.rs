//! `split`: an event that is too large for what stands between here and the client, as several.
//!
//! nginx hands on pages of 4 KiB, mini-programs cut where they like: small events come through in one piece more often.
//! Only texts that grow are divided, the arguments of a tool call as they are written among them, and never inside a
//! character or an escape; each part is a whole event of its dialect. Of several texts in an event (two choices) one comes
//! after the other. Whose it is (role, the id and the name of a call) stands in the first part alone; why the answer ended,
//! what it cost, what is said of all of the text (log probabilities, citations), and the `id`, in the last.
//!
//! What does not grow is never divided: an event that says a text whole (`*.done`, `completed`) or a call whole, and one
//! with nothing to divide, pass as they are.

use std::ops::Range;

use super::delta::Texts;
use super::renumber::Renumber;
use super::{Reshape, Seen, Shape, Sink, ascii};
use crate::codec::json::{Half, half};
use crate::codec::{Data, Event};
use crate::dialect::{Sign, pointer};

/// Divide text that is too large.
pub static SPLIT: Shape = Shape {
    name: "split",
    keys: &["split"],
    doc: "an event with texts in it that is larger than this is sent as several, each whole",
    harm: "what is not known beside the text is repeated; log probabilities and citations come with the last part; the sequence_number of what follows grows",
    make: |settings| {
        let texts = Texts(settings.to_delta.clone().or_else(|| settings.to_full.clone()));
        let (limit, ascii) = (settings.split?, settings.ascii);
        Some(Box::new(Split { limit, ascii, texts, numbers: Renumber::default(), data: Vec::new() }))
    },
};

#[derive(Debug)]
struct Split {
    /// Largest event, in bytes as it is written.
    limit: usize,
    /// What is not ASCII is going to be escaped.
    ascii: bool,
    texts: Texts,
    numbers: Renumber,
    /// The data that is handed on.
    data: Vec<u8>,
}

/// A piece of the line that is not the same in all parts, and where it lies.
struct Cut {
    range: Range<usize>,
    of: Of,
}

/// What it is.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// One of the texts; of these there are as many as the parts are made of.
    Text,
    /// It stands in the first part alone.
    First,
    /// It stands in the last part alone.
    Last,
    /// It counts the parts.
    Number(u64),
}

/// One of the parts.
struct Part<'t> {
    /// What it says of each text.
    texts: Vec<&'t [u8]>,
    number: u64,
    is_last: bool,
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

    /// How the event is to be divided, and how much text a part has room for; `None` if it is to pass.
    fn plan(&self, event: &Event<'_>, line: &[u8], seen: Seen) -> Option<(Vec<Cut>, usize)> {
        let size = self.size(event, line);
        if size <= self.limit {
            return None;
        }
        let cuts = self.cuts(event, line, seen)?;
        let texts = || cuts.iter().filter(|cut| cut.of == Of::Text);
        let cost: usize = texts().map(|cut| self.cost(&line[cut.range.clone()])).sum();
        // `false` takes more than `true`.
        let grown: usize = cuts.iter().map(|cut| cut.longest(line).saturating_sub(cut.range.len())).sum();
        let room = (self.limit + cost).saturating_sub(size + grown);
        // A frame that leaves no room for text would be repeated for every character.
        (room >= self.limit / 4).then_some((cuts, room))
    }

    /// What is not the same in all parts, in order; `None` if there is nothing to divide.
    fn cuts(&self, event: &Event<'_>, line: &[u8], seen: Seen) -> Option<Vec<Cut>> {
        let texts = self.texts.all(event, seen)?;
        let mut cuts = Vec::new();
        if let Some(dialect) = seen.dialect {
            let cut = |of: Of| move |range: Range<usize>| Cut { range, of };
            cuts.extend(Texts::first(event, dialect, &texts).into_iter().map(cut(Of::First)));
            cuts.extend(Texts::last(event, dialect, &texts).into_iter().map(cut(Of::Last)));
            let number = self.numbers.of(line, dialect).map(|(range, number)| cut(Of::Number(number))(range));
            cuts.extend(number);
        }
        cuts.extend(texts.into_iter().map(|range| Cut { range, of: Of::Text }));
        cuts.sort_by_key(|cut| cut.range.start);
        Some(cuts)
    }

    /// Takes as much of the texts, in order, as has room in a part, and at least one character.
    fn take<'t>(&self, rest: &mut [&'t [u8]], mut room: usize) -> Vec<&'t [u8]> {
        let mut has_some = false;
        let mut take = |text: &mut &'t [u8]| {
            let (mut end, mut cost) = (0, 0);
            while end < text.len() {
                let length = unit(&text[end..]);
                let more = self.cost(&text[end..end + length]);
                if cost + more > room && has_some {
                    // Nothing of what comes behind may go before the rest of this.
                    room = cost;
                    break;
                }
                (end, cost, has_some) = (end + length, cost + more, true);
            }
            room = room.saturating_sub(cost);
            let (part, rest) = text.split_at(end);
            *text = rest;
            part
        };
        rest.iter_mut().map(&mut take).collect()
    }

    /// Hands on an event in its parts, and returns how many there were before the last.
    fn divide(
        &mut self,
        event: &Event<'_>,
        cuts: &[Cut],
        room: usize,
        seen: Seen,
        sink: &mut Sink<'_>,
    ) -> u64 {
        let Some(line) = event.data.line() else { return 0 };
        let early = Event { id: None, retry: None, unknown: None, canonical: None, ..*event };
        let texts = cuts.iter().filter(|cut| cut.of == Of::Text);
        let mut rest: Vec<&[u8]> = texts.map(|cut| &line[cut.range.clone()]).collect();
        let mut number = 0;
        loop {
            let texts = self.take(&mut rest, room);
            let is_last = rest.iter().all(|text| text.is_empty());
            self.data.clear();
            write(line, cuts, &Part { texts, number, is_last }, &mut self.data);
            let data = Data::Line(&self.data);
            if is_last {
                sink(&Event { data, canonical: None, ..*event }, seen);
                return number;
            }
            sink(&Event { data, ..early }, Seen { sign: Sign::Plain, ..seen });
            number += 1;
        }
    }
}

impl Reshape for Split {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let counted = self.numbers.event(event, seen.dialect);
        let event = match &counted {
            Some(line) => &Event { data: Data::Line(line), canonical: None, ..*event },
            None => event,
        };
        let plan = event.data.line().and_then(|line| self.plan(event, line, seen));
        match plan {
            None => sink(event, seen),
            Some((cuts, room)) => {
                let more = self.divide(event, &cuts, room, seen, sink);
                self.numbers.add(more);
            }
        }
    }
}

impl Cut {
    /// How long what stands there may become.
    fn longest(&self, line: &[u8]) -> usize {
        match self.of {
            Of::Text => 0,
            Of::First | Of::Last => empty(&line[self.range.clone()]).len(),
            Of::Number(_) => MAX_DIGITS,
        }
    }
}

/// Writes the data of a part.
fn write(line: &[u8], cuts: &[Cut], part: &Part<'_>, data: &mut Vec<u8>) {
    let mut texts = part.texts.iter();
    let mut from = 0;
    for Cut { range, of } in cuts {
        // One inside another is already written.
        let Some(before) = line.get(from..range.start) else { continue };
        let value = &line[range.clone()];
        data.extend_from_slice(before);
        match of {
            Of::Text => data.extend_from_slice(texts.next().copied().unwrap_or_default()),
            Of::First if part.number > 0 => data.extend_from_slice(empty(value)),
            Of::Last if !part.is_last => data.extend_from_slice(empty(value)),
            Of::First | Of::Last => data.extend_from_slice(value),
            Of::Number(first) => {
                data.extend_from_slice(first.saturating_add(part.number).to_string().as_bytes())
            }
        }
        from = range.end;
    }
    data.extend_from_slice(&line[from..]);
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
    let length = match text {
        [b'\\', b'u', ..] => match (half(text), text.get(6..).and_then(half)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            _ => 6,
        },
        [b'\\', ..] => 2,
        [first, ..] if *first < 0xc0 => 1,
        [first, rest @ ..] => {
            let most = (first.leading_ones() as usize).min(4) - 1;
            1 + rest.iter().take(most).take_while(|byte| **byte & 0xc0 == 0x80).count()
        }
        [] => 0,
    };
    length.clamp(1, text.len().max(1))
}

/// Of the largest number.
const MAX_DIGITS: usize = 20;

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
    fn pieces_of_a_call_are_divided_and_whose_they_are_is_said_first() {
        let arguments = "{\\\"键\\\":\\\"\\\\n🌍\\\"}".repeat(60);
        let line = format!(
            r#"{{"choices":[{{"delta":{{"role":"assistant","tool_calls":[{{"index":0,"id":"c1","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}]}}}}]}}"#
        );
        let parts = rig(300, false).data(&line);
        assert!(parts.len() > 4 && parts.iter().all(|part| part.len() + 8 <= 300));
        let mut said = String::new();
        for (number, part) in parts.iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(part).unwrap();
            let delta = &value["choices"][0]["delta"];
            let call = &delta["tool_calls"][0];
            said += call["function"]["arguments"].as_str().unwrap();
            assert_eq!((&call["index"], &call["type"]), (&0.into(), &"function".into()));
            for value in [&delta["role"], &call["id"], &call["function"]["name"]] {
                assert_eq!(value.is_null(), number > 0, "{part}");
            }
        }
        assert_eq!(
            serde_json::Value::from(said),
            serde_json::from_str::<serde_json::Value>(&format!("\"{arguments}\"")).unwrap()
        );
        let rest = line
            .replacen("\"role\":\"assistant\",", "", 1)
            .replace("\"c1\"", "null")
            .replace("\"f\"", "null");
        assert!(rig(300, false).data(&rest).len() > 4, "what follows of the call");
    }

    #[test]
    fn texts_of_several_choices_are_divided_one_after_the_other() {
        let (one, two) = ("a".repeat(500), "b".repeat(300));
        let line = format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"{one}"}},"finish_reason":"stop"}},{{"index":1,"delta":{{"content":"{two}","reasoning":"r"}},"finish_reason":"length"}}]}}"#
        );
        let parts = rig(400, false).data(&line);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() + 8 <= 400));
        let values: Vec<serde_json::Value> =
            parts.iter().map(|part| serde_json::from_str(part).unwrap()).collect();
        let said = |at: &str| -> String {
            values.iter().map(|value| value.pointer(at).unwrap().as_str().unwrap()).collect()
        };
        assert_eq!(said("/choices/0/delta/content"), one);
        assert_eq!(said("/choices/1/delta/content"), two);
        assert_eq!(said("/choices/1/delta/reasoning"), "r");
        for (number, value) in values.iter().enumerate() {
            for choice in value["choices"].as_array().unwrap() {
                assert_eq!(choice["finish_reason"].is_null(), number + 1 < values.len(), "{value}");
            }
        }
    }

    #[test]
    fn parts_are_counted_and_what_follows_counts_on_unless_a_client_may_resume_by_the_number() {
        let created = |more: &str| {
            format!(r#"{{"type":"response.created","response":{{"id":"r"{more}}},"sequence_number":0}}"#)
        };
        let delta = |number: u32, text: &str| {
            format!(
                r#"{{"type":"response.function_call_arguments.delta","delta":"{text}","sequence_number":{number}}}"#
            )
        };
        let done = r#"{"type":"response.function_call_arguments.done","sequence_number":3,"arguments":"x"}"#;
        let ping = r#"{"type":"ping"}"#.to_owned();
        let long = "x".repeat(500);
        for (begins, counts) in [
            (created(""), true),
            (created(",\"background\":false"), true),
            (created(",\"background\":true"), false),
            (delta(7, "resumed"), false),
        ] {
            let mut rig = rig(300, false);
            rig.dialect = &crate::dialect::OPENAI_RESPONSES;
            let numbers: Vec<u64> =
                [ping.clone(), begins.clone(), delta(1, &long), delta(2, &long), done.to_owned()]
                    .iter()
                    .flat_map(|data| rig.data(data))
                    .filter_map(|data| {
                        serde_json::from_str::<serde_json::Value>(&data).unwrap()["sequence_number"].as_u64()
                    })
                    .skip(1)
                    .collect();
            let expected = if counts { [1, 2, 3, 4, 5, 6, 7] } else { [1, 1, 1, 2, 2, 2, 3] };
            assert_eq!(numbers, expected, "{begins}");
        }
    }

    #[test]
    fn list_of_texts_is_divided_and_a_list_with_anything_else_is_not() {
        let parts = |content: &str| {
            let mut rig = rig(300, false);
            rig.dialect = &crate::dialect::GEMINI;
            rig.data(&format!(r#"{{"candidates":[{{"content":{{"parts":[{content}]}}}}]}}"#)).len()
        };
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(500));
        assert!(parts(&long) > 1 && parts(&format!("{long},{{\"text\":\"\"}}")) > 1);
        assert_eq!(parts(&format!("{long},{{\"inlineData\":{{\"data\":\"u\"}}}}")), 1);
    }

    #[test]
    fn object_that_ends_an_answer_is_divided_and_ends_it_once() {
        let line = format!(
            r#"{{"model":"l","message":{{"content":"{}"}},"done":true,"done_reason":"stop","context":[1],"eval_count":5}}"#,
            "x".repeat(500)
        );
        let mut rig = rig(300, false);
        rig.dialect = &crate::dialect::OLLAMA;
        let parts = rig.data(&line);
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
            format!(r#"{{"choices":[{{"delta":{{"content":"{long}","audio":{{"data":"x"}}}}}}]}}"#),
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"arguments":{{"a":"{long}"}}}}}}]}}}}]}}"#
            ),
        ] {
            assert_eq!(rig(300, false).data(&data), [data]);
        }
    }
}
