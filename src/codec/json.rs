//! Where a JSON object or array ends, found across any split.
//!
//! Follows the grammar of RFC 8259 as far as it takes to tell a value that is whole from one that was cut off, and
//! JSON from text that only has brackets: strings, keys, commas, colons and nesting. Numbers and literals are taken
//! by their letters (Python writes `NaN`), duplicate keys and bad escapes are not looked for: what they mean is the
//! reader's business. Pure, constant memory, O(bytes).

/// Follows one JSON object or array.
#[derive(Debug, Default, Clone, Copy)]
pub struct Value {
    /// One bit for each open bracket, the innermost lowest: set for an object.
    open: u128,
    depth: u8,
    state: State,
}

/// What a piece of text did to a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is not whole yet.
    More,
    /// It is whole: its last byte is the one before this place.
    End(usize),
    /// The byte at this place cannot stand there: this is not JSON, or it was cut off before.
    Broken(usize),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Before,
    /// After `:`, or after `,` in an array.
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `,` in an object.
    Key,
    /// After `{`.
    KeyOrEnd,
    /// After a key.
    Colon,
    /// After a value.
    Next,
    /// In a number or a literal.
    Scalar,
    InString {
        key: bool,
    },
    /// In a string, after a backslash.
    Escaped {
        key: bool,
    },
    /// The value is whole.
    After,
    Broken,
}

impl Value {
    /// Takes the next bytes, up to the end of the value; white space before it is skipped.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while at < bytes.len() {
            if let State::InString { key } = self.state {
                let Some(stop) = memchr::memchr3(b'"', b'\\', b'\n', &bytes[at..]) else { return Step::More };
                at += stop;
                self.state = match bytes[at] {
                    b'"' if key => State::Colon,
                    b'"' => State::Next,
                    b'\\' => State::Escaped { key },
                    // RFC 8259 7: line ends in strings are escaped; a bare one shows that the string was cut off.
                    _ => State::Broken,
                };
            } else {
                self.state = self.after(bytes[at]);
            }
            match self.state {
                State::Broken => return Step::Broken(at),
                State::After => return Step::End(at + 1),
                _ => at += 1,
            }
        }
        Step::More
    }

    fn after(&mut self, byte: u8) -> State {
        let in_object = self.open & 1 == 1;
        match (self.state, byte) {
            (State::Escaped { .. }, b'\n') => State::Broken,
            (State::Escaped { key }, _) => State::InString { key },
            (State::Scalar, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'+' | b'-') => State::Scalar,
            (State::Scalar, b' ' | b'\t' | b'\n' | b'\r') => State::Next,
            (state, b' ' | b'\t' | b'\n' | b'\r') => state,
            (State::Before | State::Value | State::ValueOrEnd, b'{') => self.opened(1, State::KeyOrEnd),
            (State::Before | State::Value | State::ValueOrEnd, b'[') => self.opened(0, State::ValueOrEnd),
            (State::Value | State::ValueOrEnd, b'"') => State::InString { key: false },
            // Numbers, true, false, null; NaN and Infinity, which are not JSON, but common.
            (State::Value | State::ValueOrEnd, b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I') => {
                State::Scalar
            }
            (State::Key | State::KeyOrEnd, b'"') => State::InString { key: true },
            (State::Colon, b':') => State::Value,
            (State::Next | State::Scalar, b',') if in_object => State::Key,
            (State::Next | State::Scalar, b',') => State::Value,
            (State::Next | State::Scalar | State::KeyOrEnd, b'}') if in_object => self.closed(),
            (State::Next | State::Scalar | State::ValueOrEnd, b']') if !in_object => self.closed(),
            _ => State::Broken,
        }
    }

    fn opened(&mut self, kind: u128, state: State) -> State {
        if self.depth == MAX_DEPTH {
            return State::Broken;
        }
        self.depth += 1;
        self.open = self.open << 1 | kind;
        state
    }

    fn closed(&mut self) -> State {
        self.depth -= 1;
        self.open >>= 1;
        if self.depth == 0 { State::After } else { State::Next }
    }
}

/// Whether this is exactly one JSON object or array, with white space around it.
pub fn is_whole(text: &[u8]) -> bool {
    match Value::default().step(text) {
        Step::End(end) => text[end..].trim_ascii().is_empty(),
        Step::More | Step::Broken(_) => false,
    }
}

/// Writes JSON without the white space between its tokens, so that it fits on one line. Tokens stay as they are,
/// but for a bare CR in a string, which is no JSON either and would end the line: it is escaped.
pub fn compact(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.extend(rest[..quote].iter().filter(|byte| !byte.is_ascii_whitespace()));
        let string = &rest[quote..];
        let end = string_end(string).unwrap_or(string.len());
        for (index, piece) in string[..end].split(|byte| *byte == b'\r').enumerate() {
            if index > 0 {
                out.extend_from_slice(b"\\r");
            }
            out.extend_from_slice(piece);
        }
        rest = &string[end..];
    }
    out.extend(rest.iter().filter(|byte| !byte.is_ascii_whitespace()));
}

/// Where a string ends that begins with its quote; `None` if it is cut off.
pub fn string_end(string: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', string.get(at..)?)? + 1;
        if string[at - 1] == b'"' {
            return Some(at);
        }
        at += 1;
    }
}

/// Half of a surrogate pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The first.
    High,
    /// The second.
    Low,
}

/// Which half of a pair is escaped at the beginning of this text, if one is (RFC 8259 7). It is six bytes long.
pub fn half(text: &[u8]) -> Option<Half> {
    let [b'\\', b'u', b'd' | b'D', half, a, b, ..] = text else { return None };
    if !a.is_ascii_hexdigit() || !b.is_ascii_hexdigit() {
        return None;
    }
    match half {
        b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Half::High),
        b'c'..=b'f' | b'C'..=b'F' => Some(Half::Low),
        _ => None,
    }
}

/// The text of a string without the high half that it ends with, and that half; mostly there is none.
pub fn cut_high(text: &[u8]) -> (&[u8], &[u8]) {
    let at = text.len().saturating_sub(6);
    let (before, last) = text.split_at(at);
    // An escaped backslash is none that escapes.
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    match half(last) {
        Some(Half::High) if backslashes % 2 == 0 => (before, last),
        _ => (text, &[]),
    }
}

/// Deepest nesting that is followed; serde_json's limit too.
const MAX_DEPTH: u8 = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> bool {
        let in_one = is_whole(text.as_bytes());
        let mut bytewise = Value::default();
        let end = text.bytes().position(|byte| bytewise.step(&[byte]) != Step::More);
        let is_end = end.is_some_and(|end| {
            bytewise.state == State::After && text.as_bytes()[end + 1..].trim_ascii().is_empty()
        });
        assert_eq!(is_end, in_one, "{text:?} byte by byte");
        in_one
    }

    #[test]
    fn a_value_is_whole_at_its_last_bracket_and_not_before() {
        let text = r#" {"a":[1,"}\"]",{},[], true ,-1.5e+3],"b":"\\","c":NaN} "#;
        assert!(whole(text));
        for end in 0..text.len() - 2 {
            assert!(!whole(&text[..end]), "{:?}", &text[..end]);
        }
    }

    #[test]
    fn anything_but_one_object_or_array_is_not_a_value() {
        for text in [
            "",
            "1",
            "\"x\"",
            "[DONE]",
            "{}{}",
            "{} x",
            "}",
            "x{}",
            "{\"a\":\"x\ny\"}",
            "[a\nlink](u)",
            "{ let x = 1; }",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "[1 2]",
            "[1}",
            "{]",
            "{text: hello}",
            "[,1]",
        ] {
            assert!(!whole(text), "{text:?}");
        }
    }

    #[test]
    fn a_value_that_was_cut_off_breaks_where_the_next_one_begins() {
        let broken = |text: &str| Value::default().step(text.as_bytes());
        assert_eq!(broken("{\"a\":1,\n{"), Step::Broken(8));
        assert_eq!(broken("{\"a\":{\"b\":1}\n{"), Step::Broken(13));
        assert_eq!(broken("{\"a\":\"x\n{"), Step::Broken(7));
        assert_eq!(broken("{\"a\":[]}{"), Step::End(8));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(whole(&nested(128)) && !whole(&nested(129)));
    }

    #[test]
    fn compact_takes_white_space_from_between_tokens_alone() {
        let mut out = Vec::new();
        compact(b"{\r\n\t\"a b\" : [ 1.0 ,\n \"\\\" \\\\\" , \"x\ry\" ]\n}", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"a b":[1.0,"\" \\","x\ry"]}"#);
        let mut cut = Vec::new();
        compact(b"{ \"a\\", &mut cut);
        assert_eq!(cut, b"{\"a\\", "what is not whole does not panic");
    }

    #[test]
    fn high_half_is_cut_from_the_end_of_a_text_and_nothing_else() {
        for (text, half) in [
            ("a\\ud83d", "\\ud83d"),
            ("\\uDBFF", "\\uDBFF"),
            ("\\\\\\ud83d", "\\ud83d"),
            ("\\\\ud83d", ""),
            ("\\ud83d\\ude00", ""),
            ("\\ud83dx", ""),
            ("\\u4f60", ""),
            ("ud83d", ""),
            ("", ""),
        ] {
            let cut = cut_high(text.as_bytes());
            assert_eq!(cut.1, half.as_bytes(), "{text}");
            assert_eq!([cut.0, cut.1].concat(), text.as_bytes());
        }
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let text = any::<String>().prop_map(serde_json::Value::from);
        let leaf = prop_oneof![text, any::<i64>().prop_map(Into::into), Just(serde_json::Value::Null)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_real_parser_takes_is_whole_and_its_beginnings_are_not(value in document()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(is_whole(pretty.as_bytes()), value.is_object() || value.is_array());
            let cut = (0..pretty.len()).step_by(1 + pretty.len() / 40);
            for end in cut {
                prop_assert!(!is_whole(&pretty.as_bytes()[..end]));
            }
            let mut out = Vec::new();
            compact(pretty.as_bytes(), &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn what_a_real_parser_refuses_is_not_whole(text in "[\\[\\]{},:\"a1 ]{0,12}") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            // Letters are not looked at closely.
            if !text.contains(['a', '1']) {
                prop_assert_eq!(is_whole(text.as_bytes()), parsed.is_ok_and(|value| !value.is_string()));
            }
            whole(&text);
        }
    }
}
