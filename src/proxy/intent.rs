//! Does this JSON body ask for a stream?
//!
//! A scanner for the top-level `"stream"` key of a JSON object (RFC 8259) that watches a request body as it goes
//! up. It is not a JSON parser: it checks only what it needs to know where it is. The key often follows a
//! megabyte of messages, so nothing is held back, memory is constant, and strings are skipped with `memchr`.
//! Inside a string, a nested object or an array the key does not count. Of several, the last one counts, as
//! almost every parser has it.
//!
//! Invariant: the verdict depends on the bytes, never on how they were cut. [`super::handle`] shows it every data
//! frame of a request body and reads the verdict when the response head is there.

use memchr::memchr2;

/// Watches one body. See the module.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// Objects and arrays that are open inside the top-level object.
    depth: u64,
    /// How much of [`KEY`] the current key has matched; `None` once it differs.
    matched: Option<usize>,
    /// The first bytes of a top-level literal, and how long it is (one more than fits: too long).
    literal: [u8; LITERAL_MAX],
    literal_len: usize,
    verdict: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the top-level object.
    Start,
    /// After `{` or `,` of the top-level object.
    BeforeKey,
    /// Inside a top-level key.
    Key,
    /// After a backslash in a top-level key.
    KeyEscape,
    /// Inside `\uXXXX` in a top-level key: digits still to come, value so far.
    KeyUnicode(u8, u16),
    /// After a top-level key.
    Colon,
    /// Before a top-level value.
    BeforeValue,
    /// Inside a top-level number, `true`, `false` or `null`.
    Literal,
    /// After a top-level value.
    AfterValue,
    /// Inside a nested object or array, outside strings.
    Nested,
    /// Inside a string that is not a top-level key.
    Text,
    /// After a backslash in such a string.
    TextEscape,
    /// The object is complete, or this is not a JSON object.
    Over,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new() -> Self {
        Scanner {
            state: State::Start,
            depth: 0,
            matched: None,
            literal: [0; LITERAL_MAX],
            literal_len: 0,
            verdict: None,
        }
    }

    /// What the body says so far; `None` if it says nothing, or nothing that is a boolean, or is not a JSON object.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Reads the next bytes, cut anywhere.
    pub fn push(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            let skipped = match self.state {
                State::Over => return,
                State::Text => memchr2(b'"', b'\\', input),
                State::Key => self.skip_key(input),
                State::Nested => {
                    input.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))
                }
                _ => Some(0),
            };
            let Some(at) = skipped else { return };
            self.step(input[at]);
            input = &input[at + 1..];
        }
    }

    /// Compares what has no meaning of its own in a top-level key, and finds what has.
    fn skip_key(&mut self, input: &[u8]) -> Option<usize> {
        let end = memchr2(b'"', b'\\', input);
        let letters = &input[..end.unwrap_or(input.len())];
        let is_same = |matched: &usize| KEY[*matched..].starts_with(letters);
        self.matched = self.matched.filter(is_same).map(|matched| matched + letters.len());
        end
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Text, b'"') if self.depth > 0 => State::Nested,
            (State::Text, b'"') => State::AfterValue,
            (State::Text, b'\\') => State::TextEscape,
            (State::Text | State::TextEscape, _) => State::Text,
            (State::Nested, _) => self.nested(byte),
            (State::Key | State::KeyEscape | State::KeyUnicode(..), _) => self.key(byte),
            (State::Literal, b' ' | b'\t' | b'\n' | b'\r' | b',' | b'}') => {
                self.end_literal();
                self.after_value(byte)
            }
            (State::Literal, _) => self.literal(byte),
            (state, b' ' | b'\t' | b'\n' | b'\r') => state,
            (State::Start, b'{') => State::BeforeKey,
            (State::BeforeKey, b'"') => {
                self.matched = Some(0);
                State::Key
            }
            (State::BeforeKey, b'}') => State::Over,
            (State::Colon, b':') => State::BeforeValue,
            (State::BeforeValue, _) => self.value(byte),
            (State::AfterValue, _) => self.after_value(byte),
            _ => self.not_json(),
        };
    }

    /// A byte of a top-level key, compared as it is decoded.
    fn key(&mut self, byte: u8) -> State {
        let decoded = match (self.state, byte) {
            (State::Key, b'"') => {
                self.matched = self.matched.filter(|matched| *matched == KEY.len());
                return State::Colon;
            }
            (State::Key, b'\\') => return State::KeyEscape,
            (State::KeyEscape, b'u') => return State::KeyUnicode(4, 0),
            // No single-letter escape stands for a letter of the key.
            (State::KeyEscape, _) => u16::from(b'\\'),
            (State::KeyUnicode(left, value), _) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return self.not_json() };
                let value = value << 4 | digit as u16;
                if left > 1 {
                    return State::KeyUnicode(left - 1, value);
                }
                value
            }
            _ => u16::from(byte),
        };
        self.matched = self
            .matched
            .filter(|matched| KEY.get(*matched).is_some_and(|expected| u16::from(*expected) == decoded))
            .map(|matched| matched + 1);
        State::Key
    }

    /// The first byte of a top-level value.
    fn value(&mut self, byte: u8) -> State {
        if self.matched.is_some() {
            self.verdict = None;
        }
        match byte {
            b'"' => State::Text,
            b'{' | b'[' => self.nested(byte),
            b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
                self.literal_len = 0;
                self.literal(byte)
            }
            _ => self.not_json(),
        }
    }

    fn literal(&mut self, byte: u8) -> State {
        if let Some(slot) = self.literal.get_mut(self.literal_len) {
            *slot = byte;
        }
        self.literal_len = (self.literal_len + 1).min(LITERAL_MAX + 1);
        State::Literal
    }

    fn end_literal(&mut self) {
        if self.matched.is_some() {
            self.verdict = match self.literal.get(..self.literal_len) {
                Some(b"true") => Some(true),
                Some(b"false") => Some(false),
                _ => None,
            };
        }
    }

    fn after_value(&mut self, byte: u8) -> State {
        match byte {
            b',' => State::BeforeKey,
            b'}' => State::Over,
            b' ' | b'\t' | b'\n' | b'\r' => State::AfterValue,
            _ => self.not_json(),
        }
    }

    /// A byte outside strings, inside a nested object or array. Which bracket closes which is not checked.
    fn nested(&mut self, byte: u8) -> State {
        match byte {
            b'"' => return State::Text,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth == 0 { State::AfterValue } else { State::Nested }
    }

    fn not_json(&mut self) -> State {
        self.verdict = None;
        State::Over
    }
}

/// The key that counts.
const KEY: &[u8] = b"stream";

/// As long as the longest literal that counts, `false`.
const LITERAL_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(body: &str) -> Option<bool> {
        let mut scanner = Scanner::new();
        scanner.push(body.as_bytes());
        scanner.verdict()
    }

    fn by_byte(body: &str) -> Option<bool> {
        let mut scanner = Scanner::new();
        for byte in body.as_bytes() {
            scanner.push(&[]);
            scanner.push(std::slice::from_ref(byte));
        }
        scanner.verdict()
    }

    #[test]
    fn verdict_is_that_of_the_top_level_key_at_any_split() {
        let cases = [
            (r#"{"stream":true}"#, Some(true)),
            (r#" { "stream" : false } "#, Some(false)),
            (r#"{"model":"m","messages":[{"content":"\"stream\":true"}],"stream":true}"#, Some(true)),
            (r#"{"model":"m","n":-1.5e3,"x":null,"stream":true,"y":[]}"#, Some(true)),
            ("{\"stream\"\r\n:\ttrue\n}", Some(true)),
            // A key may be written in escapes.
            (r#"{"\u0073tre\u0061m":true}"#, Some(true)),
            (r#"{"\u0073\u0074\u0072\u0065\u0061\u006D":true}"#, Some(true)),
            (r#"{"\u0173tream":true}"#, None),
            (r#"{"s\tream":true}"#, None),
            (r#"{"\\stream":true}"#, None),
            (r#"{"stream\"":true}"#, None),
            // Other keys.
            (r#"{"streams":true,"strea":true,"Stream":true,"":true}"#, None),
            (r#"{"stream_options":{"stream":true}}"#, None),
            // Nested, or in a string.
            (r#"{"a":{"stream":true}}"#, None),
            (r#"{"a":[{"stream":true},[[]],{}],"b":{}}"#, None),
            (r#"{"a":"\\","stream":true}"#, Some(true)),
            (r#"{"a":"\\\"","stream":true}"#, Some(true)),
            (r#"{"a":["}","]"],"stream":true}"#, Some(true)),
            // The last one counts, whatever it is.
            (r#"{"stream":true,"stream":false}"#, Some(false)),
            (r#"{"stream":false,"\u0073tream":true}"#, Some(true)),
            (r#"{"stream":true,"stream":null}"#, None),
            (r#"{"stream":true,"stream":{"stream":true}}"#, None),
            // Not a boolean.
            (r#"{"stream":"true"}"#, None),
            (r#"{"stream":1}"#, None),
            (r#"{"stream":[true]}"#, None),
            (r#"{"stream":truefalse}"#, None),
            (r#"{"stream":"#, None),
            // Not a JSON object.
            (r#"[{"stream":true}]"#, None),
            (r#""stream":true"#, None),
            ("", None),
            ("stream=true", None),
            (r#"{"stream":true ?}"#, None),
            (r#"{"stream" true}"#, None),
            (r#"{stream:true}"#, None),
            (r#"{"\uzzzz":true,"stream":true}"#, None),
            // What follows the object is not looked at.
            (r#"{"stream":true} {"stream":false}"#, Some(true)),
        ];
        for (body, verdict) in cases {
            assert_eq!(whole(body), verdict, "{body}");
            assert_eq!(by_byte(body), verdict, "{body} by byte");
        }
    }

    #[test]
    fn verdict_is_there_before_the_body_ends() {
        assert_eq!(whole(r#"{"stream":true,"messages":["#), Some(true));
        assert_eq!(whole(r#"{"stream":true"#), None);
    }

    #[test]
    fn scanner_stops_at_the_first_byte_of_another_format() {
        let mut scanner = Scanner::new();
        scanner.push(b"\x1f");
        assert_eq!(scanner.state, State::Over);
        scanner.push(br#"{"stream":true}"#);
        assert_eq!(scanner.verdict(), None);
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => Just(r#""stream""#.to_owned()),
            2 => Just(r#""\u0073tream""#.to_owned()),
            1 => Just(r#""stre\u0061m""#.to_owned()),
            1 => Just(r#""stream\n""#.to_owned()),
            3 => any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        ]
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("null".to_owned()),
            any::<i32>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
            Just(r#""\\\",\"stream\":true""#.to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(" ,"))),
                object(inner),
            ]
        })
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let member = (key(), " ?[\n\t]?", value)
            .prop_map(|(key, space, value)| format!("{space}{key}{space}:{space}{value}{space}"));
        prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #[test]
        fn verdict_is_that_of_a_real_parser(body in object(value()), cuts in prop::collection::vec(1usize..9, 1..40)) {
            let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
            let expected = parsed.get("stream").and_then(serde_json::Value::as_bool);
            let mut scanner = Scanner::new();
            let mut rest = body.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                scanner.push(now);
                rest = later;
            }
            prop_assert_eq!(scanner.verdict(), expected);
            prop_assert_eq!(whole(&body), expected);
        }

        #[test]
        fn verdict_does_not_depend_on_cuts_of_anything(body in "[{}\\[\\]\",:\\\\ a\u{e9}stream0truefalse]{0,60}") {
            prop_assert_eq!(whole(&body), by_byte(&body));
        }
    }
}
