//! JSON of an upstream's as a value.
//!
//! Half a surrogate pair (`"\ud83d"` alone) is in the grammar and no character (RFC 8259 8.2); servers send it that cut a
//! text between the two. In the pieces of a text the halves are put together again. One without the other is read as
//! U+FFFD, as browsers write it: no answer is lost for half a character.

use std::mem::take;

use serde_json::Value;

use crate::codec::json::{Half, half};

/// The value; `None`: this is no JSON.
pub(crate) fn read(json: &[u8]) -> Option<Value> {
    let replaced = |_: &[u8], out: &mut Vec<u8>| out.extend_from_slice(b"\\ufffd");
    serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&with_halves(json, replaced))).ok()
}

/// The same of an event whose texts are pieces of longer ones, and whether there are halves in it. They stay, [marked](MARK),
/// for [`join`].
pub(in crate::bridge) fn read_piece(json: &[u8]) -> Option<(Value, bool)> {
    if let Ok(value) = serde_json::from_slice(json) {
        return Some((value, false));
    }
    let marked = |digits: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(b"\\uffff");
        out.extend_from_slice(digits);
    };
    serde_json::from_slice(&with_halves(json, marked)).ok().map(|value| (value, true))
}

/// Puts halves together in all texts that were put together of pieces.
pub(in crate::bridge) fn join(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(MARK) => *text = joined(text),
        Value::Array(elements) => elements.iter_mut().for_each(join),
        Value::Object(members) => {
            if members.keys().any(|name| name.contains(MARK)) {
                *members = take(members).into_iter().map(|(name, value)| (joined(&name), value)).collect();
            }
            members.values_mut().for_each(join);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn joined(text: &str) -> String {
    let mut parts = text.split(MARK);
    let mut units: Vec<u16> = parts.next().unwrap_or_default().encode_utf16().collect();
    for part in parts {
        let half = part.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let (unit, rest) = match half.filter(|half| (0xd800..=0xdfff).contains(half)) {
            Some(half) => (half, &part[4..]),
            None => (MARK as u16, part),
        };
        units.push(unit);
        units.extend(rest.encode_utf16());
    }
    String::from_utf16_lossy(&units)
}

/// `put` writes what is to stand in the place of each half, and is given its four digits.
fn with_halves(json: &[u8], put: impl Fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let length = match (half(escape), escape.get(6..).and_then(half)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(_), _) => 6,
            (None, _) => escape.len().min(2),
        };
        let (escape, behind) = escape.split_at(length);
        match escape {
            [_, _, digits @ ..] if length == 6 => put(digits, &mut out),
            _ => out.extend_from_slice(escape),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out
}

/// Stands before the four digits of a half. It is no character, and not for interchange (Unicode 23.7).
const MARK: char = '\u{ffff}';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_and_nothing_else() {
        for (json, want) in [
            (r#""\ud83d""#, Some("\u{fffd}")),
            (r#""a\uDE00b""#, Some("a\u{fffd}b")),
            (r#""\ud83d\ud83c\udf0d""#, Some("\u{fffd}\u{1f30d}")),
            (r#""\udf0d\ud83c""#, Some("\u{fffd}\u{fffd}")),
            (r#""\ud83d\n\udf0d""#, Some("\u{fffd}\n\u{fffd}")),
            (r#""\\ud83d \ud83d""#, Some("\\ud83d \u{fffd}")),
            (r#""\ud83d\""#, None),
            (r#""\ud83"#, None),
            (r#""\ud8""#, None),
            ("\\", None),
        ] {
            assert_eq!(read(json.as_bytes()), want.map(Value::from), "{json}");
        }
    }

    #[test]
    fn halves_of_pieces_are_joined_and_nothing_else_changes() {
        for (pieces, want, has_halves) in [
            (&[r#""a\ud83d""#, r#""\ude00b""#][..], "a😀b", true),
            (&[r#""\ud83d""#, r#""x\ude00\uD83D""#], "\u{fffd}x\u{fffd}\u{fffd}", true),
            (&[r#""\ud83d\ude00""#, r#""\\ud83d""#], "😀\\ud83d", false),
            (&[r#""\uffff你\ud83d""#], "\u{ffff}你\u{fffd}", true),
            (&[r#""\uffff""#, r#""\uffffdd""#], "\u{ffff}\u{ffff}dd", false),
        ] {
            let (mut whole, mut halves) = (String::new(), false);
            for piece in pieces {
                let (piece, had) = read_piece(piece.as_bytes()).expect("JSON");
                whole += piece.as_str().expect("a text");
                halves |= had;
            }
            let mut value = serde_json::json!({ "texts": [whole], "names": { whole: 1 } });
            join(&mut value);
            assert_eq!((&value["texts"][0], halves), (&Value::from(want), has_halves), "{pieces:?}");
            assert_eq!(value["names"], serde_json::json!({ want: 1 }), "{pieces:?}");
        }
        assert_eq!(read_piece(br#""\ud83d"#), None);
    }
}
