//! Where a value stands in JSON text, found without parsing what stands beside it.
//!
//! A pointer is a list of keys and places as in RFC 6901, with `*` for every element of an array: `/choices/*/delta/content`.
//! Values are slices of the text, as they stand there: a string has its quotes and escapes. What is walked over is
//! skipped by its brackets and strings alone, so text that is no JSON finds nothing or something wrong, but never
//! fails. Keys with escapes in them match nothing. Not a parser: [`serde_json`] is for those who need the value.
//! Dialects and the watch of a session call it, for the few events that they must look into; [shapes](crate::shape), for
//! the bytes that they put others in the place of.

use crate::codec::json;

/// The first value at the pointer that is accepted.
pub fn find<'a>(json: &'a [u8], pointer: &str, accepts: fn(&[u8]) -> bool) -> Option<&'a [u8]> {
    let json = json.trim_ascii_start();
    let Some(path) = pointer.strip_prefix('/') else {
        return Some(&json[..length(json)?]).filter(|value| accepts(value));
    };
    let (step, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
    Members::of(json).filter(|member| member.is_at(step)).find_map(|member| find(member.text, rest, accepts))
}

/// Hands every value at the pointer to `found`, in order, and where in the text it begins.
pub fn each<'a>(json: &'a [u8], pointer: &str, found: &mut dyn FnMut(usize, &'a [u8])) {
    let is_apart = false;
    Walk { whole: json.len(), is_apart, found: &mut |_, at, value| found(at, value) }.on(json, pointer, 0);
}

/// As [`each`], and first which of several it is: by the `index` of each element on the way that has one, else by its place.
pub fn each_apart<'a>(json: &'a [u8], pointer: &str, found: &mut dyn FnMut(u64, usize, &'a [u8])) {
    Walk { whole: json.len(), is_apart: true, found }.on(json, pointer, 0);
}

struct Walk<'a, 'f> {
    /// The length of the text that is walked on.
    whole: usize,
    /// Elements are told apart.
    is_apart: bool,
    found: &'f mut dyn FnMut(u64, usize, &'a [u8]),
}

impl<'a> Walk<'a, '_> {
    /// `json` is an end of the text; `which`: the elements that led here.
    fn on(&mut self, json: &'a [u8], pointer: &str, which: u64) {
        let json = json.trim_ascii_start();
        let Some(path) = pointer.strip_prefix('/') else {
            if let Some(length) = length(json) {
                (self.found)(which, self.whole - json.len(), &json[..length]);
            }
            return;
        };
        let (step, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
        for member in Members::of(json).filter(|member| member.is_at(step)) {
            let which = if self.is_apart && step == "*" { which << 16 | member.number() } else { which };
            self.on(member.text, rest, which);
        }
    }
}

/// What stands between the quotes of a string, with its escapes.
pub fn inside(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The value of a key of the object.
pub(super) fn member<'a>(json: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let member = Members::of(json).find(|member| member.key == Some(key.as_bytes()))?;
    Some(&member.text[..length(member.text)?])
}

/// The value of a key of the object, if it is a string: without its quotes, with its escapes.
pub(super) fn string<'a>(json: &'a [u8], key: &str) -> Option<&'a [u8]> {
    inside(member(json, key)?)
}

/// Whether a value says anything: not `null`, `false`, and nothing empty.
pub fn is_something(value: &[u8]) -> bool {
    let inside = match value {
        [b'"', inside @ .., b'"'] => return !inside.is_empty(),
        [b'{', inside @ .., b'}'] | [b'[', inside @ .., b']'] => inside.trim_ascii(),
        _ => return !matches!(value, b"null" | b"false" | b""),
    };
    !inside.is_empty()
}

/// Whether a value is a string that is not empty.
pub fn is_text(value: &[u8]) -> bool {
    value.first() == Some(&b'"') && is_something(value)
}

/// The members of an object, or the elements of an array, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
    in_object: bool,
    /// `rest` begins with a value that was handed out.
    at_value: bool,
    /// How many were handed out.
    count: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// Between its quotes; `None` for an element of an array.
    pub(super) key: Option<&'a [u8]>,
    /// How many stand before it.
    place: usize,
    /// The text from the value on.
    pub(super) text: &'a [u8],
}

impl Member<'_> {
    /// Whether this step of a pointer leads to it.
    fn is_at(&self, step: &str) -> bool {
        match self.key {
            Some(key) => key == step.as_bytes(),
            None => step == "*" || step.parse() == Ok(self.place),
        }
    }

    /// The `index` that the element says it has, else its place.
    fn number(&self) -> u64 {
        let index = member(self.text, "index").and_then(|value| std::str::from_utf8(value).ok());
        let index = index.and_then(|text| text.parse::<u16>().ok());
        index.map_or(self.place as u64, u64::from)
    }
}

impl<'a> Members<'a> {
    pub(super) fn of(json: &'a [u8]) -> Self {
        match json.trim_ascii_start() {
            [b'{', rest @ ..] => Members { rest, in_object: true, at_value: false, count: 0 },
            [b'[', rest @ ..] => Members { rest, in_object: false, at_value: false, count: 0 },
            _ => Members { rest: &[], in_object: false, at_value: false, count: 0 },
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let rest = self.rest.get(length(self.rest)?..)?;
        self.rest = rest.trim_ascii_start().strip_prefix(b",")?;
        Some(())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if std::mem::replace(&mut self.at_value, true) {
            self.skip_value()?;
        }
        let mut text = self.rest.trim_ascii_start();
        let mut key = None;
        if self.in_object {
            let end = json::string_end(text.strip_prefix(b"\"").map(|_| text)?)?;
            key = Some(&text[1..end - 1]);
            text = text[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        } else if text.first().is_none_or(|first| *first == b']') {
            return None;
        }
        self.rest = text;
        self.count += 1;
        Some(Member { key, place: self.count - 1, text })
    }
}

/// How long the value is that the text begins with; `None` if it is cut off.
pub fn length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => json::string_end(text),
        b'{' | b'[' => match json::Value::default().step(text) {
            json::Step::End(end) => Some(end),
            json::Step::More | json::Step::Broken(_) => None,
        },
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())
            .or(Some(text.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#" {"a":"}\"]","b" : [ {"c":""}, {"c":"x","d":[1, 2]} ,7],"e":{}, "n":-1.5e3 ,"t":true} "#;

    fn at<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
        find(json.as_bytes(), pointer, |_| true).map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn values_are_found_by_keys_and_places_and_not_by_what_looks_like_them() {
        for (pointer, value) in [
            ("/a", Some(r#""}\"]""#)),
            ("/b/*/c", Some("\"\"")),
            ("/b/*/d/*", Some("1")),
            ("/b/*", Some(r#"{"c":""}"#)),
            ("/b/0", Some(r#"{"c":""}"#)),
            ("/b/1/d/1", Some("2")),
            ("/b/3", None),
            ("/e", Some("{}")),
            ("/n", Some("-1.5e3")),
            ("/t", Some("true")),
            ("/c", None),
            ("/a/b", None),
            ("/*", None),
            ("/b/c", None),
        ] {
            assert_eq!(at(JSON, pointer), value, "{pointer}");
        }
        assert_eq!(find(JSON.as_bytes(), "/b/*/c", is_something), Some(&br#""x""#[..]));
        assert_eq!(string(JSON.as_bytes(), "a"), Some(&br#"}\"]"#[..]));
        assert_eq!(string(JSON.as_bytes(), "n"), None);
    }

    #[test]
    fn every_value_is_found_with_its_place() {
        let mut found = Vec::new();
        each(JSON.as_bytes(), "/b/*/c", &mut |at, value| {
            assert_eq!(&JSON.as_bytes()[at..at + value.len()], value);
            found.push(inside(value).unwrap());
        });
        assert_eq!(found, [&b""[..], b"x"]);
        each(b"[", "/*", &mut |_, _| panic!("nothing is there"));
    }

    #[test]
    fn values_are_told_apart_by_their_index_or_their_place() {
        let which = |json: &str, pointer: &str| {
            let mut found = Vec::new();
            each_apart(json.as_bytes(), pointer, &mut |which, at, value| {
                assert_eq!(&json.as_bytes()[at..at + value.len()], value);
                found.push(which);
            });
            found
        };
        assert_eq!(which(r#"{"c":[{"t":1},{"t":2}]}"#, "/c/*/t"), [0, 1]);
        assert_eq!(
            which(r#"{"c":[{"t":1,"index":1},{"index":0,"t":2},{"index":"x","t":3}]}"#, "/c/*/t"),
            [1, 0, 2]
        );
        assert_eq!(
            which(r#"{"c":[{"index":3,"d":[{"t":1},{"t":1}]}]}"#, "/c/*/d/*/t"),
            [3 << 16, 3 << 16 | 1]
        );
        assert_eq!(which(r#"{"t":1,"index":9}"#, "/t"), [0]);
    }

    #[test]
    fn text_that_is_cut_off_or_no_json_fails_nothing() {
        for end in 0..JSON.len() {
            for pointer in ["/a", "/b/*/d/*", "/t", "/e/x", ""] {
                let whole = at(JSON, pointer);
                let cut = at(&JSON[..end], pointer);
                // A number or a literal may be cut and not show it.
                assert!(
                    cut.is_none() || cut == whole || pointer.ends_with(['*', 't']),
                    "{end} {pointer} {cut:?}"
                );
            }
        }
        for text in
            ["", "[", "{", "]", "[]", "{\"a\"", "{\"a\":", "{\"a\" 1}", "hello", "{]", "[}", "[1 2]", "{{}}"]
        {
            for pointer in ["/a", "/*", "/*/a", ""] {
                at(text, pointer);
            }
        }
    }

    #[test]
    fn something_is_what_is_not_empty() {
        for nothing in ["null", "false", "\"\"", "[]", "[ ]", "{}", ""] {
            assert!(!is_something(nothing.as_bytes()), "{nothing}");
        }
        for something in ["\" \"", "\"null\"", "0", "true", "[0]", "{\"a\":1}"] {
            assert!(is_something(something.as_bytes()), "{something}");
        }
    }
}
