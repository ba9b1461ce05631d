//! JSON objects that grow piece by piece, and what they weigh.

use serde_json::{Map, Value, json};

/// Puts a value in the place of what stood there.
pub(super) fn put(object: &mut Map<String, Value>, key: &str, value: Value, held: &mut usize) {
    *held += weight(&value);
    match object.insert(key.to_owned(), value) {
        Some(old) => *held = held.saturating_sub(weight(&old)),
        None => *held += key.len(),
    }
}

/// Puts a value in the place of what stood there, if it says more: `null` and an empty string take nothing away.
pub(super) fn update(object: &mut Map<String, Value>, key: &str, value: Value, held: &mut usize) {
    let is_empty = value.is_null() || value.as_str() == Some("");
    if !is_empty || object.get(key).is_none_or(Value::is_null) {
        put(object, key, value, held);
    }
}

/// Adds to what stands there: text to text, elements to elements, text to parts as one more part; all else is put there.
pub(super) fn append(object: &mut Map<String, Value>, key: &str, piece: Value, held: &mut usize) {
    match (object.get_mut(key), piece) {
        (Some(_), Value::Null) => {}
        (Some(Value::String(text)), Value::String(piece)) => {
            *held += piece.len();
            text.push_str(&piece);
        }
        (Some(Value::Array(elements)), Value::Array(more)) => {
            *held += more.iter().map(weight).sum::<usize>();
            elements.extend(more);
        }
        (Some(Value::Array(parts)), Value::String(piece)) => {
            let part = json!({ "type": "text", "text": piece });
            *held += weight(&part);
            parts.push(part);
        }
        (_, piece) => put(object, key, piece, held),
    }
}

/// Takes a value out.
pub(super) fn take(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    object.remove(key).filter(|value| !value.is_null())
}

/// An object in the place of a value; empty if it is none.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The text of a string.
pub(super) fn text<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    object.get(key).and_then(Value::as_str)
}

/// What a value takes in memory, roughly.
pub(super) fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(elements) => elements.iter().map(weight).sum(),
            Value::Object(members) => members.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_added_and_weighed() {
        let (mut object, mut held) = (Map::new(), 0);
        append(&mut object, "text", Value::Null, &mut held);
        append(&mut object, "text", "你".into(), &mut held);
        append(&mut object, "text", "\u{1f30d}".into(), &mut held);
        append(&mut object, "list", json!([1]), &mut held);
        append(&mut object, "list", json!([2]), &mut held);
        append(&mut object, "list", "x".into(), &mut held);
        append(&mut object, "list", Value::Null, &mut held);
        update(&mut object, "id", "a".into(), &mut held);
        update(&mut object, "id", "".into(), &mut held);
        update(&mut object, "none", Value::Null, &mut held);
        let want = json!({ "text": "你\u{1f30d}", "list": [1, 2, { "type": "text", "text": "x" }], "id": "a", "none": null });
        assert_eq!(Value::Object(object.clone()), want);
        assert_eq!(held + size_of::<Value>(), weight(&want));
    }
}
