//! The event that is sent: an OpenAI-compatible token of a chosen size that numbers itself and says when it was sent.
//!
//! What comes out of a proxy is compared with what was sent, byte for byte: [`Checker`] accepts any cut.

use anyhow::{Result, bail};

/// Where the number and the time stand in an event.
const NUMBER_AT: usize = HEAD.len();
const TIME_AT: usize = NUMBER_AT + DIGITS + MIDDLE.len();
/// Digits of each of the two.
const DIGITS: usize = 16;
const HEAD: &[u8] = b"data: {\"n\":\"";
const MIDDLE: &[u8] = b"\",\"t\":\"";
const TAIL: &[u8] = "\",\"choices\":[{\"delta\":{\"content\":\"世界".as_bytes();
const END: &[u8] = b"\"}}]}\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The smallest event that there is, in bytes.
pub const MIN_BYTES: usize = TIME_AT + DIGITS + TAIL.len() + END.len();

/// An event of this many bytes (but at least [`MIN_BYTES`]), with zeros where number and time will stand.
pub fn template(bytes: usize) -> Vec<u8> {
    let mut event = Vec::with_capacity(bytes);
    event.extend_from_slice(HEAD);
    event.extend_from_slice(&[b'0'; DIGITS]);
    event.extend_from_slice(MIDDLE);
    event.extend_from_slice(&[b'0'; DIGITS]);
    event.extend_from_slice(TAIL);
    event.resize(bytes.max(MIN_BYTES) - END.len(), b'x');
    event.extend_from_slice(END);
    event
}

/// Writes the number into an event.
pub fn number(event: &mut [u8], number: u64) {
    digits(&mut event[NUMBER_AT..NUMBER_AT + DIGITS], number);
}

/// Writes the time, in nanoseconds of the monotonic clock, into an event or the rest of one that begins `skipped`
/// bytes after its start (before the time).
pub fn time(rest: &mut [u8], skipped: usize, nanoseconds: u64) {
    let at = TIME_AT - skipped;
    digits(&mut rest[at..at + DIGITS], nanoseconds);
}

/// Where events are cut in two: between number and time, inside the JSON.
pub const CUT_AT: usize = TIME_AT - 2;

/// The last event of a stream.
pub fn done() -> &'static [u8] {
    DONE
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn value(place: &[u8]) -> Result<u64> {
    place.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(digit - b'0')),
        _ => bail!("a digit is wrong"),
    })
}

/// Compares a stream with what was sent.
#[derive(Debug)]
pub struct Checker {
    template: Vec<u8>,
    held: Vec<u8>,
    next: u64,
    done: bool,
}

/// An event that came whole.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// When it was sent, in nanoseconds of the monotonic clock; 0 if the backend did not say.
    pub sent: u64,
}

impl Checker {
    /// For events of this size.
    pub fn new(bytes: usize) -> Self {
        Checker { template: template(bytes), held: Vec::new(), next: 0, done: false }
    }

    /// Ready for another stream.
    pub fn reset(&mut self) {
        self.held.clear();
        self.next = 0;
        self.done = false;
    }

    /// Whether the stream stands between two events.
    pub fn aligned(&self) -> bool {
        self.held.is_empty()
    }

    /// Events seen and whether `[DONE]` was.
    pub fn seen(&self) -> (u64, bool) {
        (self.next, self.done)
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8], seen: &mut impl FnMut(Seen)) -> Result<()> {
        while !bytes.is_empty() {
            if self.held.is_empty() && bytes.starts_with(b":\n") {
                // tidegate's heartbeat, where it may stand.
                bytes = &bytes[2..];
                continue;
            }
            let length = self.length(bytes);
            if self.held.is_empty() && bytes.len() >= length {
                let (event, rest) = bytes.split_at(length);
                Self::event(&self.template, &mut self.next, &mut self.done, event, seen)?;
                bytes = rest;
                continue;
            }
            let missing = length - self.held.len();
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(part);
            bytes = rest;
            if self.held.len() == length {
                Self::event(&self.template, &mut self.next, &mut self.done, &self.held, seen)?;
                self.held.clear();
            }
        }
        Ok(())
    }

    /// How long the event is that begins here: `data: {` or `data: [`.
    fn length(&self, bytes: &[u8]) -> usize {
        let at = |index: usize| match self.held.get(index) {
            Some(byte) => Some(*byte),
            None => bytes.get(index - self.held.len()).copied(),
        };
        match at(6) {
            Some(b'[') => DONE.len(),
            Some(_) => self.template.len(),
            // Not known yet: no shorter than this.
            None => DONE.len(),
        }
    }

    fn event(
        template: &[u8],
        next: &mut u64,
        done: &mut bool,
        event: &[u8],
        seen: &mut impl FnMut(Seen),
    ) -> Result<()> {
        if *done {
            bail!("something follows [DONE]");
        }
        if event == DONE {
            *done = true;
            return Ok(());
        }
        let same = event.len() == template.len()
            && event[..NUMBER_AT] == template[..NUMBER_AT]
            && event[NUMBER_AT + DIGITS..TIME_AT] == template[NUMBER_AT + DIGITS..TIME_AT]
            && event[TIME_AT + DIGITS..] == template[TIME_AT + DIGITS..];
        if !same {
            bail!("event {next} differs from what was sent: {}", String::from_utf8_lossy(event));
        }
        let number = value(&event[NUMBER_AT..NUMBER_AT + DIGITS])?;
        if number != *next {
            bail!("event {next} is number {number}");
        }
        *next += 1;
        seen(Seen { sent: value(&event[TIME_AT..TIME_AT + DIGITS])? });
        Ok(())
    }
}
