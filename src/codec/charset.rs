//! Streams in a declared character set other than UTF-8, turned into UTF-8 before they are decoded.
//!
//! The HTML standard has event streams in UTF-8 alone (9.2.5), and clients read them so: what an upstream sends in GBK
//! must be converted, or it is lost. A byte order mark beats the declaration (Encoding standard, "decode"). A name that
//! the standard does not know is no declaration. Text that is UTF-8, or says nothing, is not touched: bytes that are
//! wrong in it stay wrong, for the client to judge.
//!
//! One declaration is doubted: ISO-8859-1 and ASCII (windows-1252 by the standard) are what servers write where nobody
//! chose anything. There the first character beyond ASCII decides: if its bytes are one of UTF-8, the stream is.

use std::time::Duration;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, WINDOWS_1252};

use super::repair::Tally;
use super::{Decode, Error, Sink};

/// A character set that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// What a `Content-Type` declares; `None` for UTF-8, for nothing, and for names that are not known.
    pub fn declared(content_type: &str) -> Option<Self> {
        let mut parameters =
            content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, label) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        let encoding = Encoding::for_label_no_replacement(label.trim().trim_matches('"').as_bytes())?;
        (encoding != UTF_8).then_some(Charset(encoding))
    }

    /// Whether the bytes of ASCII mean the same in it.
    pub fn begins_with_ascii(self) -> bool {
        self.0.is_ascii_compatible()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

/// Converts, and decodes what comes out.
#[derive(Debug)]
pub struct Transcode {
    inner: Box<dyn Decode>,
    state: State,
    /// Room for what is converted at a time.
    text: Box<[u8]>,
}

#[derive(Debug)]
enum State {
    Converting(Decoder),
    /// Nothing but ASCII so far, then these bytes.
    Doubted(Vec<u8>),
    /// It is UTF-8 after all.
    Passing,
}

impl Transcode {
    /// A decoder for the same format in another character set.
    pub fn new(charset: Charset, inner: Box<dyn Decode>) -> Self {
        let state = match charset.0 {
            encoding if encoding == WINDOWS_1252 => State::Doubted(Vec::new()),
            encoding => State::Converting(encoding.new_decoder()),
        };
        Transcode { inner, state, text: vec![0; TEXT_BYTES].into_boxed_slice() }
    }

    fn convert(&mut self, mut input: &[u8], last: bool, sink: &mut Sink<'_>) -> Result<(), Error> {
        let State::Converting(decoder) = &mut self.state else { return self.inner.decode(input, sink) };
        loop {
            let (result, read, written, _) = decoder.decode_to_utf8(input, &mut self.text, last);
            self.inner.decode(&self.text[..written], sink)?;
            input = &input[read..];
            if result == CoderResult::InputEmpty {
                return Ok(());
            }
        }
    }

    /// Looks at the first bytes beyond ASCII.
    fn judge(&mut self, input: &[u8], last: bool, sink: &mut Sink<'_>) -> Result<(), Error> {
        let State::Doubted(seen) = &mut self.state else { return self.convert(input, last, sink) };
        let ascii = if seen.is_empty() { Encoding::ascii_valid_up_to(input) } else { 0 };
        self.inner.decode(&input[..ascii], sink)?;
        seen.extend_from_slice(&input[ascii..]);
        let is_utf8 = match std::str::from_utf8(&seen[..seen.len().min(4)]) {
            Ok(_) => true,
            Err(error) if error.valid_up_to() > 0 => true,
            Err(error) if error.error_len().is_none() && !last => return Ok(()),
            Err(_) => false,
        };
        if seen.is_empty() {
            return Ok(());
        }
        let seen = std::mem::take(seen);
        self.state = match is_utf8 {
            true => State::Passing,
            false => State::Converting(WINDOWS_1252.new_decoder_without_bom_handling()),
        };
        self.convert(&seen, last, sink)
    }
}

impl Decode for Transcode {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        self.judge(input, false, sink)
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.judge(&[], true, sink)?;
        self.inner.finish(sink)
    }

    fn held(&self) -> usize {
        let seen = if let State::Doubted(seen) = &self.state { seen.len() } else { 0 };
        self.inner.held() + seen
    }

    fn ripens_in(&mut self) -> Option<Duration> {
        self.inner.ripens_in()
    }

    fn flush(&mut self, sink: &mut Sink<'_>) {
        self.inner.flush(sink);
    }

    fn is_cut(&self) -> bool {
        self.inner.is_cut()
    }

    fn repaired(&self) -> Tally {
        self.inner.repaired()
    }
}

const TEXT_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::repair::Repairs;
    use super::super::testing::{Owned, cut, feed, whole};
    use super::super::{Options, sse::Sse};
    use super::*;

    fn decoder(label: &str) -> Box<dyn Decode> {
        let inner = Sse::new(Options { limit: 1 << 20, repairs: Repairs::NONE, literal: false });
        let charset = Charset::declared(&format!("text/event-stream; charset={label}")).unwrap();
        Box::new(Transcode::new(charset, Box::new(inner)))
    }

    fn encoded(label: &str, text: &str) -> Vec<u8> {
        Encoding::for_label(label.as_bytes()).unwrap().encode(text).0.into_owned()
    }

    #[test]
    fn a_declaration_is_read_as_the_standards_say() {
        let declared = |text| Charset::declared(text).map(Charset::name);
        assert_eq!(declared("text/event-stream; charset=GBK"), Some("GBK"));
        assert_eq!(declared("text/event-stream;a=b; Charset=\"gb2312\""), Some("GBK"));
        assert_eq!(declared("text/plain; charset=shift_jis; x"), Some("Shift_JIS"));
        assert_eq!(declared("text/plain; charset=us-ascii"), Some("windows-1252"));
        for text in [
            "text/event-stream",
            "a/b; charset=UTF-8",
            "a/b; charset=utf8",
            "a/b; charset=x-mine",
            "a/b; charset=",
        ] {
            assert_eq!(declared(text), None, "{text}");
        }
    }

    #[test]
    fn events_are_converted_and_leave_with_their_last_byte() {
        let mut gbk = decoder("gbk");
        assert_eq!(feed(&mut *gbk, b"data: \xc4\xe3"), []);
        assert_eq!(feed(&mut *gbk, b"\xba\xc3\n\n").len(), 1);
        for (label, text) in [
            ("gbk", "你好"),
            ("gb18030", "你好🌍"),
            ("big5", "繁體中文"),
            ("shift_jis", "こんにちは"),
            ("euc-kr", "안녕"),
            ("latin1", "déjà vu – “œuvre”"),
            ("windows-1251", "привет"),
        ] {
            let bytes = encoded(label, &format!("data: {text}\n\ndata: {text}\n\n"));
            let got: Vec<_> = whole(decoder(label), &bytes).into_iter().map(Owned::without_form).collect();
            assert_eq!(got, [Owned::data(text), Owned::data(text)], "{label}");
        }
    }

    #[test]
    fn a_byte_order_mark_beats_the_declaration() {
        let got = whole(decoder("gbk"), "\u{feff}data: 你\n\n".as_bytes());
        assert_eq!(got[0].data.as_deref(), Some("你".as_bytes()));
        let utf16: Vec<u8> = "\u{feff}data: 你\n\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(whole(decoder("gbk"), &utf16)[0].data.as_deref(), Some("你".as_bytes()));
    }

    #[test]
    fn a_declaration_that_nobody_chose_is_doubted() {
        for label in ["iso-8859-1", "us-ascii"] {
            for piece in [1, 2, 100] {
                let mut decoder = decoder(label);
                let input = "data: plain\n\ndata: 你好\n\ndata: é\n\n".as_bytes();
                let got: Vec<Owned> =
                    input.chunks(piece).flat_map(|part| feed(&mut *decoder, part)).collect();
                let data: Vec<_> = got.iter().map(|item| item.data.as_deref().unwrap()).collect();
                assert_eq!(data, [&b"plain"[..], "你好".as_bytes(), "é".as_bytes()], "pieces of {piece}");
            }
        }
        let cut = whole(decoder("latin1"), b"data: a\n\ndata: b\xc3");
        assert_eq!(cut[1].data.as_deref(), Some("bÃ".as_bytes()), "an end decides as well");
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced() {
        let got = whole(decoder("gbk"), b"data: a\xc4");
        assert_eq!(got[0], Owned { closed: false, ..Owned::data("a\u{fffd}") });
    }

    proptest! {
        #[test]
        fn text_is_the_same_at_any_cuts(
            text in "[a-z你好世界é \u{4e00}-\u{9fa5}]{0,200}",
            times in 1usize..30,
            label in prop::sample::select(vec!["gb18030", "utf-16le", "gbk", "big5", "latin1"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let text = text.repeat(times);
            let bytes = match label {
                "utf-16le" => format!("data: {text}\n\n").encode_utf16().flat_map(u16::to_le_bytes).collect(),
                _ => encoded(label, &format!("data: {text}\n\n")),
            };
            let (want, got) = (whole(decoder(label), &bytes), cut(decoder(label), &bytes, &cuts));
            prop_assert_eq!(got.into_iter().map(Owned::without_form).collect::<Vec<_>>(),
                want.iter().cloned().map(Owned::without_form).collect::<Vec<_>>());
            if label.starts_with("gb18030") || label.starts_with("utf") {
                prop_assert_eq!(want[0].data.as_deref(), Some(text.as_bytes()));
            }
        }
    }
}
