//! In any split, raw text is the same text, and events in another character set are those of the text in UTF-8; no panic.
#![no_main]

use encoding_rs::{Encoding, WINDOWS_1252};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::codec::charset::{Charset, Transcode};
use tidegate::codec::repair::Repairs;
use tidegate::codec::sse::Sse;
use tidegate::codec::text::Text;
use tidegate::codec::{Decode, Error, Options};
use tidegate_fuzz::{Owned, cuts, events, lines, pieces};

const LABELS: &[&str] =
    &["gbk", "gb18030", "big5", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "utf-16le", "iso-8859-1"];

fn decode(mut decoder: impl Decode, pieces: &[&[u8]]) -> Vec<Owned> {
    let mut items = Vec::new();
    for piece in pieces {
        decoder.decode(piece, &mut |item| items.push(Owned::from(item))).expect("no limit is near");
    }
    let end = decoder.finish(&mut |item| items.push(Owned::from(item)));
    assert!(matches!(end, Ok(()) | Err(Error::Truncated)), "any end will do, but half a character shows");
    items
}

/// Plain text as a client reads it: each event has its line ends for itself, and all of them are one LF.
fn plain(pieces: &[&[u8]]) -> Vec<u8> {
    let text = |item: Owned| {
        let (mut all, rest) = lines(&item.data.expect("text"));
        all.push(rest);
        all.join(&b'\n')
    };
    decode(Text::plain(), pieces).into_iter().flat_map(text).collect()
}

/// The text in the JSON.
fn quoted(pieces: &[&[u8]]) -> String {
    let text = |item: Owned| {
        let json: Value = serde_json::from_slice(&item.data.expect("JSON")).expect("JSON");
        json["text"].as_str().expect("text").to_owned()
    };
    decode(Text::json(), pieces).into_iter().map(text).collect()
}

fn transcoded(label: &str, pieces: &[&[u8]]) -> Vec<Owned> {
    let charset = Charset::declared(&format!("text/event-stream; charset={label}")).expect("known");
    let sse = Sse::new(Options { limit: 1 << 24, repairs: Repairs::NONE, literal: false });
    decode(Transcode::new(charset, Box::new(sse)), pieces)
}

fuzz_target!(|input: &[u8]| {
    let (places, body) = cuts(input);
    let Some((label, body)) = body.split_first() else { return };
    let places: Vec<usize> = places.into_iter().map(|place| place.min(body.len())).collect();
    let (cut, bytes) = (pieces(&places, body), body.chunks(1).collect::<Vec<_>>());

    assert_eq!(plain(&cut), plain(&[body]));
    assert_eq!(plain(&bytes), plain(&[body]));
    let whole = match std::str::from_utf8(body) {
        Ok(text) => Some(text.to_owned()),
        // Part of a character is shown.
        Err(error) if error.error_len().is_none() => {
            let text = std::str::from_utf8(&body[..error.valid_up_to()]).ok();
            text.map(|text| text.to_owned() + "\u{fffd}")
        }
        Err(_) => None,
    };
    if let Some(text) = whole {
        assert_eq!(quoted(&[body]), text);
        assert_eq!(quoted(&cut), text);
        assert_eq!(quoted(&bytes), text);
    }

    let label = LABELS[usize::from(*label) % LABELS.len()];
    let seen = transcoded(label, &[body]);
    assert_eq!(transcoded(label, &cut), seen, "{label}");
    assert_eq!(transcoded(label, &bytes), seen, "{label}");
    let encoding = Encoding::for_label(label.as_bytes()).expect("known");
    if encoding != WINDOWS_1252 {
        let (text, _, _) = encoding.decode(body);
        assert_eq!(seen, events(text.as_bytes()), "{label}");
    }
});
