//! The binary event stream of AWS (`application/vnd.amazon.eventstream`), as Bedrock sends it.
//!
//! A message is a prelude (its length, the length of its headers, a CRC32 of both), typed headers, a payload, and a
//! CRC32 of everything before (AWS SDKs, "Amazon Event Stream specification", message format; checked against
//! botocore's test vectors). Nothing is believed before its checksum: the prelude as soon as its 12 bytes are in, the
//! message before its headers are looked at.
//!
//! What becomes of a message: its name is `:event-type`, its data the payload. An exception has the name of its
//! `:exception-type`, an error the name `error`; both are marked as errors of the upstream. Bedrock's
//! `InvokeModelWithResponseStream` wraps what the model says once more (`chunk` with `{"bytes":"<base64>"}`): that
//! envelope is taken off, with its name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::json;
use super::{Data, Decode, Error, Event, Item, Sink, release};

/// The decoder.
#[derive(Debug)]
pub struct AwsEventStream {
    /// The beginning of the message that is being read.
    held: Vec<u8>,
    /// Data that is not in the message as it is sent on.
    data: Vec<u8>,
    limit: usize,
}

/// The headers that say what a message is.
#[derive(Debug, Default)]
struct Headers<'m> {
    message_type: &'m [u8],
    event_type: &'m [u8],
    exception_type: &'m [u8],
    error_code: &'m [u8],
    error_message: &'m [u8],
}

/// What a model says, in the envelope of `InvokeModelWithResponseStream`.
#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow)]
    bytes: Cow<'m, str>,
}

impl AwsEventStream {
    /// A decoder for messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        AwsEventStream { held: Vec::new(), data: Vec::new(), limit }
    }

    /// Takes what the held message lacks from the front of `input`. Returns the rest; `None` if all of it was taken.
    fn fill<'i>(&mut self, input: &'i [u8], sink: &mut Sink<'_>) -> Result<Option<&'i [u8]>, Error> {
        let (prelude, rest) = input.split_at(input.len().min(PRELUDE.saturating_sub(self.held.len())));
        self.held.extend_from_slice(prelude);
        let Some(length) = message_length(&self.held, self.limit)? else { return Ok(None) };
        let (message, rest) = rest.split_at(rest.len().min(length - self.held.len()));
        self.held.extend_from_slice(message);
        if self.held.len() < length {
            return Ok(None);
        }
        let mut held = std::mem::take(&mut self.held);
        self.message(&held, sink)?;
        release(&mut held);
        self.held = held;
        Ok(Some(rest))
    }

    /// Checks a whole message and hands it out.
    fn message(&mut self, message: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let (content, checksum) = message.split_at(message.len() - CRC);
        if crc32fast::hash(content) != number(checksum) {
            return Err(malformed("a message with a wrong checksum"));
        }
        let headers_end = PRELUDE + number(&message[4..]) as usize;
        let headers = Headers::parse(&content[PRELUDE..headers_end])?;
        let payload = &content[headers_end..];
        let (name, error) = match headers.message_type {
            b"exception" => (headers.exception_type, true),
            b"error" => {
                unmodeled(&headers, sink);
                return Ok(());
            }
            _ => (headers.event_type, false),
        };
        let unwrapped = name == b"chunk" && self.open_envelope(payload);
        let data = if unwrapped { self.one_line() } else { self.payload(payload) };
        let name = Some(name).filter(|name| !unwrapped && is_name(name));
        sink(Item::Event(Event { name, data, closed: true, error, ..Event::default() }));
        release(&mut self.data);
        Ok(())
    }

    /// Takes the envelope off into `data`; `false` if there is none with text in it.
    fn open_envelope(&mut self, payload: &[u8]) -> bool {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(payload) else { return false };
        let decoded = STANDARD.decode_vec(envelope.bytes.as_bytes(), &mut self.data);
        let is_text = decoded.is_ok() && std::str::from_utf8(&self.data).is_ok();
        if !is_text {
            self.data.clear();
        }
        is_text
    }

    /// A payload as data: text as it is; bytes that are none as JSON writes them in AWS's APIs, in base64.
    fn payload<'m>(&'m mut self, payload: &'m [u8]) -> Data<'m> {
        if std::str::from_utf8(payload).is_err() {
            self.data = format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(payload)).into_bytes();
            return Data::Line(&self.data);
        }
        if memchr::memchr2(b'\n', b'\r', payload).is_none() {
            return Data::Line(payload);
        }
        self.data.extend_from_slice(payload);
        self.one_line()
    }

    /// `data` on one line if it is JSON; text keeps its lines.
    fn one_line(&mut self) -> Data<'_> {
        if memchr::memchr2(b'\n', b'\r', &self.data).is_none() {
            return Data::Line(&self.data);
        }
        if !json::is_whole(&self.data) {
            return Data::Text(&self.data);
        }
        let pretty = std::mem::take(&mut self.data);
        json::compact(&pretty, &mut self.data);
        Data::Line(&self.data)
    }
}

impl Decode for AwsEventStream {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut rest = input;
        if !self.held.is_empty() {
            match self.fill(rest, sink)? {
                Some(left) => rest = left,
                None => return Ok(()),
            }
        }
        while let Some(length) = message_length(rest, self.limit)?.filter(|length| rest.len() >= *length) {
            let (message, left) = rest.split_at(length);
            self.message(message, sink)?;
            rest = left;
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    fn finish(&mut self, _sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.held.is_empty() { Ok(()) } else { Err(Error::Truncated) }
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}

/// Whether these bytes begin with the prelude of a message; `None`: too few to tell.
pub fn is_prelude(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        // No message has 16 MiB.
        [first, ..] if *first != 0 => Some(false),
        _ if bytes.len() < PRELUDE => None,
        _ => Some(matches!(message_length(bytes, usize::MAX), Ok(Some(_)))),
    }
}

/// The length of the message that begins here; `None` until its prelude is in.
fn message_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Error> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    if crc32fast::hash(&prelude[..8]) != number(&prelude[8..]) {
        return Err(malformed("a prelude with a wrong checksum"));
    }
    let (total, headers) = (number(prelude) as usize, number(&prelude[4..]) as usize);
    if total < PRELUDE + CRC || headers > total - PRELUDE - CRC {
        return Err(malformed("a message shorter than its headers"));
    }
    if total > limit { Err(Error::TooLarge { limit }) } else { Ok(Some(total)) }
}

impl<'m> Headers<'m> {
    fn parse(mut bytes: &'m [u8]) -> Result<Self, Error> {
        let mut headers = Headers::default();
        while !bytes.is_empty() {
            let (name, value) = header(&mut bytes).ok_or(malformed("a header longer than its message"))?;
            let place = match name {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                b":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *place = value;
        }
        Ok(headers)
    }
}

/// Takes one header: a name with its length before it, a type, a value. Only the values of strings are of use here.
fn header<'m>(bytes: &mut &'m [u8]) -> Option<(&'m [u8], &'m [u8])> {
    let name_length = take(bytes, 1)?[0];
    let name = take(bytes, usize::from(name_length))?;
    let length = match take(bytes, 1)?[0] {
        // true, false
        0 | 1 => 0,
        // byte, short, integer
        2 => 1,
        3 => 2,
        4 => 4,
        // long, timestamp
        5 | 8 => 8,
        // bytes, string: two bytes of length
        6 | 7 => take(bytes, 2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        // UUID
        9 => 16,
        _ => return None,
    };
    take(bytes, length).map(|value| (name, value))
}

fn take<'m>(bytes: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// An error that the service's model does not know: headers alone tell of it.
fn unmodeled(headers: &Headers<'_>, sink: &mut Sink<'_>) {
    let text = String::from_utf8_lossy;
    let data =
        serde_json::json!({ "message": text(headers.error_message), "code": text(headers.error_code) });
    let data = data.to_string();
    let data = Data::Line(data.as_bytes());
    sink(Item::Event(Event { name: Some(b"error"), data, closed: true, error: true, ..Event::default() }));
}

/// Whether this can be the name of an event: it is to fit into one line.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// The number in the first four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn malformed(what: &'static str) -> Error {
    Error::Malformed { what }
}

const PRELUDE: usize = 12;
const CRC: usize = 4;

#[cfg(test)]
#[path = "../../tests/support/aws.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets' crate takes this file in, too")]
mod frames;

#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::frames::{framed, message};

    /// A message that carries an event.
    pub(crate) fn event(name: &str, payload: &[u8]) -> Vec<u8> {
        message(
            &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
            payload,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Owned, cut, feed, whole};
    use super::testing::{event, framed, message};
    use super::*;

    fn decoder() -> Box<dyn Decode> {
        Box::new(AwsEventStream::new(1 << 20))
    }

    fn named(name: &str, data: &str) -> Owned {
        Owned { name: Some(name.into()), ..Owned::data(data) }
    }

    fn any_split(input: &[u8]) -> Vec<Owned> {
        let want = whole(decoder(), input);
        for piece in [1, 3, 11, 13] {
            let mut decoder = decoder();
            let got: Vec<Owned> = input.chunks(piece).flat_map(|part| feed(&mut *decoder, part)).collect();
            assert_eq!((got, decoder.held()), (want.clone(), 0), "pieces of {piece}");
        }
        let cuts = |runner: &mut proptest::test_runner::TestRunner| {
            let random = proptest::collection::vec(proptest::prelude::any::<proptest::sample::Index>(), 0..8);
            runner.run(&random, |cuts| {
                assert_eq!(cut(decoder(), input, &cuts), want);
                Ok(())
            })
        };
        cuts(&mut proptest::test_runner::TestRunner::default()).unwrap();
        want
    }

    #[test]
    fn events_have_the_name_and_the_payload_of_their_messages() {
        let input = [
            event("messageStart", br#"{"role":"assistant"}"#),
            event("contentBlockDelta", "{\"delta\":{\"text\":\"你好\"}}".as_bytes()),
            event("pretty", b"{\n \"a\" : 1\r\n}"),
            event("text", b"a\r\nb"),
            event("bin", b"\xff\x00"),
            event("bad\nname", b""),
        ]
        .concat();
        let got = any_split(&input);
        let want = [
            named("messageStart", r#"{"role":"assistant"}"#),
            named("contentBlockDelta", "{\"delta\":{\"text\":\"你好\"}}"),
            named("pretty", "{\"a\":1}"),
            named("text", "a\r\nb"),
            named("bin", r#"{"bytes":"/wA="}"#),
            Owned::data(""),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn exceptions_and_errors_are_errors_by_their_type() {
        let exception = [(":exception-type", "throttlingException"), (":message-type", "exception")];
        let error = [(":error-code", "500"), (":error-message", "a \"b\""), (":message-type", "error")];
        let input = [message(&exception, br#"{"message":"slow"}"#), message(&error, b"")].concat();
        let got = any_split(&input);
        assert_eq!(
            got,
            [
                Owned { error: true, ..named("throttlingException", r#"{"message":"slow"}"#) },
                Owned { error: true, ..named("error", r#"{"code":"500","message":"a \"b\""}"#) },
            ]
        );
    }

    #[test]
    fn the_envelope_of_a_models_own_stream_is_taken_off() {
        let inner = "{\"type\":\"content_block_delta\",\n\"delta\":{\"text\":\"你\"}}";
        let wrapped = format!("{{\"bytes\":\"{}\",\"p\":\"abc\"}}", STANDARD.encode(inner));
        let got = any_split(&event("chunk", wrapped.as_bytes()));
        assert_eq!(got, [Owned::data("{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"你\"}}")]);
        for payload in [r#"{"bytes":"?"}"#, r#"{"bytes":"/wA="}"#, r#"{"other":1}"#] {
            assert_eq!(any_split(&event("chunk", payload.as_bytes())), [named("chunk", payload)]);
        }
    }

    #[test]
    fn headers_of_every_type_are_read_past() {
        let mut fields = Vec::new();
        for (kind, value) in [
            (0, &b""[..]),
            (1, b""),
            (2, b"1"),
            (3, b"12"),
            (4, b"1234"),
            (5, b"12345678"),
            (6, b"\0\x03abc"),
            (8, b"12345678"),
            (9, b"1234567890123456"),
        ] {
            fields.extend_from_slice(&[1, b'x', kind]);
            fields.extend_from_slice(value);
        }
        fields.extend_from_slice(b"\x0b:event-type\x07\0\x01e");
        assert_eq!(any_split(&framed(&fields, b"{}")), [named("e", "{}")]);
    }

    #[test]
    fn what_is_not_as_its_checksum_says_ends_the_stream_after_what_was() {
        let good = event("e", b"{}");
        let check = |at: usize, what| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            for piece in [1, 1000] {
                let (mut decoder, mut seen) = (decoder(), 0);
                let input = [good.clone(), bad.clone(), vec![0; 8]].concat();
                let result =
                    input.chunks(piece).try_for_each(|part| decoder.decode(part, &mut |_| seen += 1));
                assert_eq!((result, seen), (Err(malformed(what)), 1), "byte {at} in pieces of {piece}");
            }
        };
        (0..12).for_each(|at| check(at, "a prelude with a wrong checksum"));
        (12..good.len()).for_each(|at| check(at, "a message with a wrong checksum"));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let prelude = |total: u32, headers: u32| {
            let mut prelude = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
            AwsEventStream::new(1000).decode(&prelude, &mut |_| ())
        };
        assert_eq!(prelude(15, 0), Err(malformed("a message shorter than its headers")));
        assert_eq!(prelude(40, 25), Err(malformed("a message shorter than its headers")));
        assert_eq!(prelude(u32::MAX, u32::MAX), Err(malformed("a message shorter than its headers")));
        assert_eq!(prelude(1001, 0), Err(Error::TooLarge { limit: 1000 }));
        assert_eq!(prelude(1000, 984), Ok(()));
        for fields in [&b"\x05ab"[..], b"\x01x", b"\x01x\x0a", b"\x01x\x07\0\x02a"] {
            let result = decoder().decode(&framed(fields, b""), &mut |_| ());
            assert_eq!(result, Err(malformed("a header longer than its message")), "{fields:?}");
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_message_is_truncated() {
        let message = event("e", b"{}");
        let mut decoder = decoder();
        feed(&mut *decoder, &message);
        assert_eq!(decoder.finish(&mut |_| ()), Ok(()));
        feed(&mut *decoder, &message[..5]);
        assert_eq!(decoder.finish(&mut |_| ()), Err(Error::Truncated));
    }

    #[test]
    fn a_prelude_is_known_by_its_checksum() {
        let message = event("e", b"{}");
        for end in 0..12 {
            assert_eq!(is_prelude(&message[..end]), None, "{end} bytes");
        }
        assert_eq!(is_prelude(&message), Some(true));
        assert_eq!(is_prelude(b"data: x"), Some(false));
        assert_eq!(is_prelude(&[0; 12]), Some(false));
    }
}
