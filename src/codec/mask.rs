//! Hides secrets in a stream of bytes.
//!
//! Every byte that belongs to an occurrence of a secret becomes `*`, wherever the stream is cut; the length never
//! changes, so framing and `Content-Length` stay true. A secret is found as it is, and as a JSON string may
//! spell it (`/` as `\/`, any ASCII character as `\u00XX`): then what is spelled is hidden, at its own length. It is not
//! found re-encoded in other ways: forms that are known beforehand (base64, percent-encoding) are secrets of their own
//! (see [`crate::auth::Injector::secrets`]).
//!
//! Invariant: the output depends on the bytes, never on how they were cut, and what is held back is only what may
//! yet turn out to be the beginning of a secret. Work is O(bytes × secrets): one automaton for each secret and
//! reading (Knuth, Morris, Pratt). Used on routes with injectors: on error bodies that
//! pass, and on what tidegate quotes of an upstream.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

/// What must not come back to a client. Cheap to clone; a mask is only made of them where there is something to look
/// through. Never shown.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<[Vec<u8>]>>);

impl Secrets {
    /// These; empty ones are ignored.
    pub fn new(mut secrets: Vec<Vec<u8>>) -> Self {
        secrets.retain(|secret| !secret.is_empty());
        Secrets((!secrets.is_empty()).then(|| secrets.into()))
    }

    /// A mask for them, if there are any.
    pub fn mask(&self) -> Option<Mask> {
        self.0.as_ref().map(|secrets| Mask::new(secrets.to_vec()))
    }

    /// A whole text without them.
    pub fn hidden<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let Some(mut mask) = self.mask() else { return Cow::Borrowed(text) };
        let mut shown = Vec::with_capacity(text.len());
        mask.push(text, &mut shown);
        mask.finish(&mut shown);
        Cow::Owned(shown)
    }
}

impl Deref for Secrets {
    type Target = [Vec<u8>];

    fn deref(&self) -> &[Vec<u8>] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secrets").field(&self.len()).finish()
    }
}

/// Masks one stream. See the module.
pub struct Mask {
    /// Over the bytes as they are.
    plain: Vec<Matcher>,
    /// Over the same bytes, read as the inside of JSON strings.
    spelled: Vec<Matcher>,
    /// The bytes that a secret can begin with; everything else is skipped while nothing has begun.
    begins: [bool; 256],
    /// A JSON escape that is not complete yet.
    escape: Vec<u8>,
    /// Where the last units of the JSON reading began, as many as the longest secret has.
    units: VecDeque<u64>,
    longest: usize,
    /// How much of the stream was read.
    position: u64,
    /// The end of what was read, not handed out yet.
    held: Vec<u8>,
}

/// Finds one pattern.
struct Matcher {
    pattern: Vec<u8>,
    /// For each length of a match, the longest shorter one that is also there.
    shorter: Vec<usize>,
    /// How much of the pattern the input ends with; less than all of it.
    matched: usize,
}

impl Mask {
    /// A mask for these secrets; empty ones are ignored.
    pub fn new(mut secrets: Vec<Vec<u8>>) -> Self {
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_unstable();
        secrets.dedup();
        let mut begins = [false; 256];
        for secret in &secrets {
            begins[usize::from(secret[0])] = true;
            begins[usize::from(b'\\')] = true;
        }
        Mask {
            begins,
            escape: Vec::with_capacity(ESCAPE_MAX),
            units: VecDeque::new(),
            longest: secrets.iter().map(Vec::len).max().unwrap_or(0),
            position: 0,
            held: Vec::new(),
            spelled: secrets.iter().cloned().map(Matcher::new).collect(),
            plain: secrets.into_iter().map(Matcher::new).collect(),
        }
    }

    /// Reads the next bytes, cut anywhere, and appends to `out` what is certain.
    ///
    /// Holds back at most one byte less than the longest spelling of a secret.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut page = Page { first: self.position - self.held.len() as u64, at: out.len(), out };
        page.out.append(&mut self.held);
        page.out.extend_from_slice(input);
        let mut rest = input;
        while !rest.is_empty() {
            let skipped = if self.is_idle() {
                self.units.clear();
                rest.iter().position(|byte| self.begins[usize::from(*byte)]).unwrap_or(rest.len())
            } else {
                0
            };
            self.position += skipped as u64;
            rest = &rest[skipped..];
            if let Some((byte, after)) = rest.split_first() {
                self.position += 1;
                self.step(*byte, &mut page);
                rest = after;
            }
        }
        let kept = page.out.len() - page.index(self.begun());
        self.held.extend(out.drain(out.len() - kept..));
    }

    /// Says that the stream is over: appends what was held back. The mask can then be used for another stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let mut page = Page { first: self.position - self.held.len() as u64, at: out.len(), out };
        page.out.append(&mut self.held);
        self.read_units(true, &mut page);
        self.plain.iter_mut().chain(&mut self.spelled).for_each(|matcher| matcher.matched = 0);
        self.units.clear();
        self.position = 0;
    }

    fn step(&mut self, byte: u8, page: &mut Page<'_>) {
        for matcher in &mut self.plain {
            if matcher.step(Some(byte)) {
                page.hide(self.position - matcher.pattern.len() as u64, self.position);
            }
        }
        self.escape.push(byte);
        self.read_units(false, page);
    }

    /// Reads as many JSON units as are complete; the rest too, if nothing follows it.
    fn read_units(&mut self, over: bool, page: &mut Page<'_>) {
        let mut read = 0;
        while let Some((unit, len)) = next_unit(&self.escape[read..], over) {
            let begin = self.position - (self.escape.len() - read) as u64;
            read += len;
            if self.units.len() == self.longest {
                self.units.pop_front();
            }
            self.units.push_back(begin);
            for matcher in &mut self.spelled {
                if matcher.step(unit) {
                    page.hide(self.units[self.units.len() - matcher.pattern.len()], begin + len as u64);
                }
            }
        }
        self.escape.drain(..read);
    }

    fn is_idle(&self) -> bool {
        self.escape.is_empty() && self.plain.iter().chain(&self.spelled).all(|matcher| matcher.matched == 0)
    }

    /// The first position that may belong to a secret that is not complete yet.
    fn begun(&self) -> u64 {
        let plain = self.plain.iter().map(|matcher| self.position - matcher.matched as u64);
        let spelled = self.spelled.iter().filter(|matcher| matcher.matched > 0);
        let spelled = spelled.map(|matcher| self.units[self.units.len() - matcher.matched]);
        let escape = self.position - self.escape.len() as u64;
        plain.chain(spelled).fold(escape, u64::min)
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("secrets", &self.plain.len()).finish_non_exhaustive()
    }
}

impl Matcher {
    fn new(pattern: Vec<u8>) -> Self {
        let mut shorter = vec![0; pattern.len()];
        let mut matched = 0;
        for at in 1..pattern.len() {
            while matched > 0 && pattern[matched] != pattern[at] {
                matched = shorter[matched - 1];
            }
            matched += usize::from(pattern[matched] == pattern[at]);
            shorter[at] = matched;
        }
        Matcher { pattern, shorter, matched: 0 }
    }

    /// Whether the pattern ends here. `None` is a unit that no pattern has.
    fn step(&mut self, unit: Option<u8>) -> bool {
        while self.matched > 0 && Some(self.pattern[self.matched]) != unit {
            self.matched = self.shorter[self.matched - 1];
        }
        self.matched += usize::from(Some(self.pattern[self.matched]) == unit);
        let complete = self.matched == self.pattern.len();
        if complete {
            self.matched = self.shorter[self.matched - 1];
        }
        complete
    }
}

/// The part of the output that can still be changed.
struct Page<'a> {
    out: &'a mut Vec<u8>,
    /// Index in `out`, and position in the stream, of the first byte of it.
    at: usize,
    first: u64,
}

impl Page<'_> {
    fn index(&self, position: u64) -> usize {
        self.at + (position - self.first) as usize
    }

    fn hide(&mut self, begin: u64, end: u64) {
        let range = self.index(begin)..self.index(end);
        self.out[range].fill(b'*');
    }
}

/// The first unit of the inside of a JSON string (RFC 8259 7) and its length. `None`: incomplete, unless it is
/// over. A backslash that begins no escape stands for itself. The unit is `None` for characters that are not ASCII.
fn next_unit(input: &[u8], over: bool) -> Option<(Option<u8>, usize)> {
    let itself = Some((Some(*input.first()?), 1));
    let incomplete = if over { itself } else { None };
    if input[0] != b'\\' {
        return itself;
    }
    let Some(letter) = input.get(1) else { return incomplete };
    let unit = match letter {
        b'"' | b'\\' | b'/' => *letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let digits = &input[2..input.len().min(ESCAPE_MAX)];
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return itself;
            }
            if digits.len() + 2 < ESCAPE_MAX {
                return incomplete;
            }
            let value = digits
                .iter()
                .fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or_default());
            return Some((u8::try_from(value).ok().filter(u8::is_ascii), ESCAPE_MAX));
        }
        _ => return itself,
    };
    Some((Some(unit), 2))
}

/// `\uXXXX`.
const ESCAPE_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str], pieces: &[&[u8]]) -> Vec<u8> {
        let mut mask = Mask::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect());
        let mut out = Vec::new();
        for piece in pieces {
            mask.push(piece, &mut out);
        }
        mask.finish(&mut out);
        out
    }

    fn text(secrets: &[&str], input: &str) -> String {
        let by_byte: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        let whole = mask(secrets, &[input.as_bytes()]);
        assert_eq!(whole, mask(secrets, &by_byte), "{input} by byte");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn secret_is_hidden_wherever_it_stands() {
        assert_eq!(text(&["sk-1"], "sk-1"), "****");
        assert_eq!(text(&["sk-1"], "a sk-1, sksk-1sk-1 sk-"), "a ****, sk******** sk-");
        assert_eq!(text(&["aab"], "aaab aaaab"), "a*** aa***");
        assert_eq!(text(&["abab"], "ababab"), "******");
        assert_eq!(text(&["sk-1", "k-12", "x"], "sk-12x"), "******");
        assert_eq!(text(&["abcd", "bc"], "abce abcd"), "a**e ****");
    }

    #[test]
    fn secret_is_hidden_as_json_spells_it() {
        assert_eq!(text(&["a/b"], r#"{"e":"a\/b","f":"a/b"}"#), r#"{"e":"****","f":"***"}"#);
        assert_eq!(text(&["s\"k"], r#"s\"k"#), "****");
        assert_eq!(text(&["s&k="], r#" s\u0026k\u003D "#), " ************** ");
        assert_eq!(text(&["a\\b"], r#"a\\b a\b"#), "**** ***");
        assert_eq!(text(&["nbc"], r#"\nbc"#), r#"\***"#);
        assert_eq!(text(&["sk"], r#"\u0073k \u00z3k \u0173k \u73"#), r#"******* \u00z3k \u0173k \u73"#);
        assert_eq!(text(&["k\\"], r#"\u006b\"#), "*******");
    }

    #[test]
    fn nothing_is_changed_without_secrets() {
        assert_eq!(text(&[], r#"a\u00"#), r#"a\u00"#);
        assert_eq!(text(&[""], "abc"), "abc");
        assert_eq!(text(&["secret"], ""), "");
    }

    #[test]
    fn only_what_may_begin_a_secret_is_held_back() {
        let mut mask = Mask::new(vec![b"secret".to_vec()]);
        let mut out = Vec::new();
        mask.push(b"a sesecre", &mut out);
        assert_eq!(out, b"a se");
        mask.push(b"x", &mut out);
        assert_eq!(out, b"a sesecrex");
        mask.push(b"\\u007", &mut out);
        assert_eq!(out, b"a sesecrex");
        mask.push(b"4s", &mut out);
        assert_eq!(out, b"a sesecrex\\u0074");
        mask.finish(&mut out);
        assert_eq!(out, b"a sesecrex\\u0074s");
    }

    #[test]
    fn mask_begins_anew_after_finish() {
        let mut mask = Mask::new(vec![b"secret".to_vec()]);
        let mut out = Vec::new();
        mask.push(b"sec", &mut out);
        mask.finish(&mut out);
        mask.push(b"ret secret", &mut out);
        mask.finish(&mut out);
        assert_eq!(out, b"secret ******");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", Mask::new(vec![b"canary".to_vec()])).contains("canary"));
    }

    /// The whole buffer at once, every position tried.
    fn naive(secrets: &[Vec<u8>], input: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        let mut units: Vec<(Option<u8>, usize, usize)> = Vec::new();
        let mut at = 0;
        while at < input.len() {
            let (unit, len) = naive_unit(&input[at..]);
            units.push((unit, at, at + len));
            at += len;
        }
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            for begin in 0..input.len() {
                if input[begin..].starts_with(secret) {
                    out[begin..begin + secret.len()].fill(b'*');
                }
            }
            for window in units.windows(secret.len()) {
                if window.iter().map(|unit| unit.0).eq(secret.iter().copied().map(Some)) {
                    out[window[0].1..window[secret.len() - 1].2].fill(b'*');
                }
            }
        }
        out
    }

    fn naive_unit(input: &[u8]) -> (Option<u8>, usize) {
        for len in [6, 2] {
            let Some(escape) = input.get(..len).filter(|escape| escape[0] == b'\\') else { continue };
            let quoted = [b"\"", escape, b"\""].concat();
            // A lone surrogate is an escape, though no character.
            let surrogate = len == 6 && escape[1] == b'u' && escape[2..].iter().all(u8::is_ascii_hexdigit);
            match serde_json::from_slice::<String>(&quoted) {
                Ok(text) if text.chars().count() == 1 => {
                    return (text.bytes().next().filter(u8::is_ascii), len);
                }
                _ if surrogate => return (None, len),
                _ => {}
            }
        }
        (Some(input[0]), 1)
    }

    proptest! {
        #[test]
        fn output_is_that_of_a_search_in_the_whole(
            secrets in prop::collection::vec("[ab/u0\"n\\\\]{0,5}", 0..4),
            input in prop::collection::vec(
                prop_oneof![
                    4 => "[ab/u0\"n\\\\]{1,3}", 1 => Just("\\u0061".to_owned()), 1 => Just("\\u002F".to_owned()),
                    1 => Just("\\ud800".to_owned()), 1 => Just("\\u00".to_owned()), 1 => Just("\u{e9}".to_owned()),
                ],
                0..20,
            ),
            cuts in prop::collection::vec(1usize..7, 1..20),
        ) {
            let input = input.concat().into_bytes();
            let secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
            let expected = naive(&secrets, &input);
            let bound = secrets.iter().map(Vec::len).max().unwrap_or(0) * ESCAPE_MAX;
            let mut mask = Mask::new(secrets);
            let mut out = Vec::new();
            let (mut rest, mut read) = (input.as_slice(), 0);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                mask.push(now, &mut out);
                read += now.len();
                prop_assert!(read - out.len() <= bound.saturating_sub(1));
                rest = later;
            }
            mask.finish(&mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
        }
    }
}
