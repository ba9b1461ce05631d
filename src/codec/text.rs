//! Raw text: whatever has arrived is an event, as far as its characters are whole.
//!
//! There is nothing in such a stream that says where a token ends, so the only order is that of arrival; what is the same
//! for every split is the text as a whole. A character that is cut is held back until the rest of it is in. Bytes that
//! are no UTF-8 stay as they are, or become U+FFFD where the data is JSON. A text that ends inside a character ends with
//! U+FFFD; if all before was UTF-8, and not only ASCII, that shows that it was cut.

use super::{Data, Decode, Error, Event, Item, KEEP_BYTES, Sink, release};

/// The decoder.
#[derive(Debug)]
pub struct Text {
    form: Form,
    /// The beginning of a character, and the input behind it.
    joined: Vec<u8>,
    /// The text as JSON.
    quoted: Vec<u8>,
    /// The text so far ended in a CR: an LF at the start of the next input belongs to it.
    after_cr: bool,
    spoken: Spoken,
}

/// What the text so far shows of its character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// It may be any.
    Ascii,
    Utf8,
    /// Some byte was none of UTF-8.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Json,
}

impl Text {
    /// The data is the text, line by line. An event stream has one line end, LF: CR and CRLF become that.
    pub fn plain() -> Self {
        Text::new(Form::Plain)
    }

    /// The data is `{"text":"…"}`, which keeps every character, leading blanks too, for every client.
    pub fn json() -> Self {
        Text::new(Form::Json)
    }

    fn new(form: Form) -> Self {
        Text { form, joined: Vec::new(), quoted: Vec::new(), after_cr: false, spoken: Spoken::Ascii }
    }

    /// Notes what the text shows of its character set.
    fn note(&mut self, text: &[u8]) {
        if !text.is_ascii() && self.spoken != Spoken::Other {
            self.spoken = if std::str::from_utf8(text).is_ok() { Spoken::Utf8 } else { Spoken::Other };
        }
    }

    fn emit(&mut self, text: &[u8], sink: &mut Sink<'_>) {
        self.note(text);
        let data = match self.form {
            Form::Json => {
                quote(text, &mut self.quoted);
                Data::Line(&self.quoted)
            }
            Form::Plain => {
                let text = if self.after_cr { text.strip_prefix(b"\n").unwrap_or(text) } else { text };
                self.after_cr = text.last() == Some(&b'\r');
                Data::Text(text)
            }
        };
        if data != Data::Text(b"") {
            sink(Item::Event(Event { data, closed: true, ..Event::default() }));
        }
        release(&mut self.quoted);
    }
}

impl Decode for Text {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.joined.is_empty() {
            let whole = input.len() - cut_character(input);
            if whole > 0 {
                self.emit(&input[..whole], sink);
            }
            self.joined.extend_from_slice(&input[whole..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.extend_from_slice(input);
        let whole = joined.len() - cut_character(&joined);
        if whole > 0 {
            self.emit(&joined[..whole], sink);
        }
        joined.drain(..whole);
        if joined.capacity() > KEEP_BYTES {
            joined.shrink_to_fit();
        }
        self.joined = joined;
        Ok(())
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.joined.is_empty() {
            return Ok(());
        }
        let half = std::mem::take(&mut self.joined);
        let spoken = self.spoken;
        self.emit(if spoken == Spoken::Other { &half } else { "\u{fffd}".as_bytes() }, sink);
        if spoken == Spoken::Utf8 { Err(Error::Truncated) } else { Ok(()) }
    }

    fn held(&self) -> usize {
        self.joined.len()
    }
}

/// How many bytes at the end are the beginning of a character.
fn cut_character(text: &[u8]) -> usize {
    for (index, byte) in text.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > index + 1 { index + 1 } else { 0 };
    }
    0
}

/// Writes `{"text":"…"}`.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"text\":\"");
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                // RFC 8259 7: control characters are escaped.
                0..0x20 => {
                    let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Owned, cut, feed};
    use super::*;

    fn data(items: Vec<Owned>) -> Vec<String> {
        items.into_iter().map(|item| String::from_utf8(item.data.unwrap()).unwrap()).collect()
    }

    #[test]
    fn each_input_is_an_event_of_whole_characters() {
        let mut text = Text::plain();
        let mut fed = |input: &[u8]| data(feed(&mut text, input));
        assert_eq!(fed(b"Hel"), ["Hel"]);
        assert_eq!(fed(b""), [""; 0]);
        assert_eq!(fed(b"lo \xe4\xb8"), ["lo "]);
        assert_eq!(fed(b"\x96\xf0\x9f"), ["世"]);
        assert_eq!(fed(b"\x8c"), [""; 0]);
        assert_eq!(fed(b"\x8d\nline"), ["🌍\nline"]);
        assert_eq!(fed(b"\xe4"), [""; 0]);
        assert_eq!(text.held(), 1);
    }

    /// Half a character at the end was dropped without a word.
    #[test]
    fn an_end_inside_a_character_is_shown_and_is_a_truncation_of_text_that_is_utf_8() {
        for (input, cut) in [
            (&b"\xe4\xb8\x96 \xe4\xb8"[..], true),
            (b"plain \xe4", false),
            (b"caf\xe9, d\xe9j\xe0", false),
            (b"\xe4\xb8\x96 \xff \xe4", false),
        ] {
            for mut text in [Text::plain(), Text::json()] {
                let (mut all, mut items) = (String::new(), feed(&mut text, input));
                let end = text.finish(&mut |item| items.push(Owned::from(item)));
                items.iter().for_each(|item| all += &String::from_utf8_lossy(item.data.as_deref().unwrap()));
                assert!(all.trim_end_matches("\"}").ends_with('\u{fffd}'), "{all}");
                assert_eq!(
                    (end, text.held()),
                    (if cut { Err(Error::Truncated) } else { Ok(()) }, 0),
                    "{all}"
                );
            }
        }
        let mut whole = Text::plain();
        feed(&mut whole, "世".as_bytes());
        assert_eq!(whole.finish(&mut |_| panic!()), Ok(()));
    }

    #[test]
    fn a_crlf_in_two_inputs_is_one_line_end() {
        let mut text = Text::plain();
        assert_eq!(data(feed(&mut text, b"a\r")), ["a\r"]);
        assert_eq!(feed(&mut text, b"\n"), []);
        assert_eq!(data(feed(&mut text, b"\nb")), ["\nb"]);
    }

    #[test]
    fn bytes_that_are_no_text_stay_or_are_replaced_and_hold_nothing_up() {
        let mut text = Text::plain();
        assert_eq!(feed(&mut text, b"\x80\xff")[0].data.as_deref(), Some(&b"\x80\xff"[..]));
        assert_eq!(feed(&mut text, b"\xc3(")[0].data.as_deref(), Some(&b"\xc3("[..]));
        assert_eq!(data(feed(&mut Text::json(), b"\x80a\xff")), ["{\"text\":\"\u{fffd}a\u{fffd}\"}"]);
    }

    proptest! {
        #[test]
        fn text_is_whole_as_json_at_any_cuts(
            text in any::<String>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let items = data(cut(Box::new(Text::json()), text.as_bytes(), &cuts));
            let texts = items.iter().map(|item| serde_json::from_str::<serde_json::Value>(item).unwrap());
            let joined: String = texts.map(|item| item["text"].as_str().unwrap().to_owned()).collect();
            prop_assert_eq!(joined, text.as_str());
            let plain = data(cut(Box::new(Text::plain()), text.as_bytes(), &cuts)).concat();
            prop_assert_eq!(plain.replace("\r\n", "\r"), text.replace("\r\n", "\r"));
        }
    }
}
