//! In any split, the intent scanner says of a JSON object exactly what a JSON parser says, and of anything the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::proxy::intent::Scanner;
use tidegate_fuzz::{cuts, pieces};

fn scan(pieces: &[&[u8]]) -> Option<bool> {
    let mut scanner = Scanner::new();
    pieces.iter().for_each(|piece| scanner.push(piece));
    scanner.verdict()
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let verdict = scan(&[body]);
    assert_eq!(scan(&pieces(&places, body)), verdict);
    assert_eq!(scan(&body.chunks(1).collect::<Vec<_>>()), verdict);
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert_eq!(verdict, value.get("stream").and_then(Value::as_bool));
    }
});
