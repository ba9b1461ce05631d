//! Where a top-level JSON value ends: brackets and strings only, no numbers, names or duplicates.
//!
//! Not a validator: it tells whether a value is *whole*, which is all that the decision "was this cut off?"
//! needs. Pure, constant memory, any split.

/// Follows one JSON object or array.
#[derive(Debug, Default, Clone, Copy)]
pub struct Value {
    depth: u32,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Before,
    /// Between tokens.
    Inside,
    InString,
    /// In a string, after a backslash.
    Escaped,
    /// The value is whole; only white space has followed.
    After,
    /// Not one JSON object or array.
    Broken,
}

impl Value {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::InString {
                let rest = &bytes[at..];
                let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n' | b'\r'))
                else {
                    return;
                };
                self.state = match rest[stop] {
                    b'"' => State::Inside,
                    b'\\' => State::Escaped,
                    // RFC 8259 7: control characters in strings are escaped.
                    _ => State::Broken,
                };
                at += stop + 1;
                continue;
            }
            self.step(bytes[at]);
            if self.state == State::Broken {
                return;
            }
            at += 1;
        }
    }

    /// Whether exactly one object or array has been seen, whole.
    pub fn is_whole(&self) -> bool {
        self.state == State::After
    }

    fn step(&mut self, byte: u8) {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Escaped, _) => State::InString,
            (State::Before | State::After, _) if space => self.state,
            (State::Before, b'{' | b'[') | (State::Inside, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                State::Inside
            }
            (State::Inside, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 { State::After } else { State::Inside }
            }
            (State::Inside, b'"') => State::InString,
            (State::Inside, _) => State::Inside,
            _ => State::Broken,
        };
    }
}

/// Whether these lines, joined by line ends, are exactly one JSON object or array.
pub fn is_whole<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> bool {
    let mut value = Value::default();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            value.push(b"\n");
        }
        value.push(line);
    }
    value.is_whole()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> bool {
        let in_one = is_whole([text.as_bytes()]);
        let mut bytewise = Value::default();
        text.as_bytes().iter().for_each(|byte| bytewise.push(&[*byte]));
        assert_eq!(bytewise.is_whole(), in_one, "{text:?} byte by byte");
        in_one
    }

    #[test]
    fn a_value_is_whole_at_its_last_bracket_and_not_before() {
        let text = r#" {"a":[1,"}\"]",{}],"b":"\\"} "#;
        assert!(whole(text));
        for end in 0..text.len() - 2 {
            assert!(!whole(&text[..end]), "{:?}", &text[..end]);
        }
    }

    #[test]
    fn anything_but_one_object_or_array_is_not_a_value() {
        for text in ["", "1", "\"x\"", "[DONE] x", "{}{}", "{} x", "}", "x{}", "{\"a\":\"x\ny\"}"] {
            assert!(!whole(text), "{text:?}");
        }
        assert!(whole("[DONE]"), "brackets are all that is looked at");
    }

    #[test]
    fn lines_are_joined_by_line_ends() {
        assert!(is_whole([&b"{"[..], b" \"a\": 1", b"}"]));
        assert!(!is_whole([&b"{\"a\":\"x"[..], b"y\"}"]), "no line end inside a string");
    }
}
