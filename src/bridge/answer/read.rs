//! JSON of an upstream's as a value.
//!
//! Half a surrogate pair (`"\ud83d"` alone) is in the grammar and no character (RFC 8259 8.2); servers send it that cut a
//! text between the two. It is read as U+FFFD, as browsers write it: no answer is lost for half a character.

use serde_json::Value;

/// The value; `None`: this is no JSON.
pub(crate) fn read(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&whole(json))).ok()
}

/// With the escape of U+FFFD in the place of each half.
fn whole(json: &[u8]) -> Vec<u8> {
    let mut json = json.to_vec();
    let mut at = 0;
    while let Some(next) = json.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += next;
        at += match (surrogate(&json[at..]), json.get(at + 6..).and_then(surrogate)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(_), _) => {
                json[at..at + 6].copy_from_slice(b"\\ufffd");
                6
            }
            (None, _) => 2,
        };
    }
    json
}

/// Half of a pair.
enum Half {
    High,
    Low,
}

/// Which half is escaped here, if one is.
fn surrogate(text: &[u8]) -> Option<Half> {
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
}
