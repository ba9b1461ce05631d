//! Mistakes in a configuration: where, what, what to do.
//!
//! One run finds all of them. A mistake has a place in the text that a person typed; what was put in for
//! that person (see [`Source::NOWHERE`]) has none, and mistakes there are consequences, not causes: they are
//! dropped.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

/// Every mistake in a configuration, in the order of the text. Displayed one per line.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

/// One mistake. Displayed as `config.toml:12: upstream.openai.connect_timeout: "5 sec" is not a duration (try "5s")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    line: usize,
    place: String,
    what: String,
}

/// The text of a configuration and what its places are called. `Debug` does not show the text: it may hold an
/// `inline:` secret.
#[derive(Clone)]
pub struct Source {
    name: String,
    text: String,
    flags: Vec<&'static str>,
}

/// Collects mistakes while a configuration is read.
#[derive(Debug)]
pub(super) struct Collector<'s> {
    source: &'s Source,
    mistakes: Vec<Mistake>,
    consequences: usize,
}

impl Source {
    /// The place of values that nobody typed, put in for missing or wrong ones so that reading can go on.
    pub(super) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is larger than 1 MiB.
    pub fn open(path: &Path) -> Result<Source, Mistakes> {
        let name = path.display().to_string();
        let failed = |error: io::Error| Mistakes::one(&name, format!("cannot read the file: {error}"));
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Mistakes::one(name, "is larger than 1 MiB, which no configuration is"));
        }
        Ok(Source::file(name, text))
    }

    /// A file's text; `name` is what mistakes call it.
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source { name: name.into(), text: text.into(), flags: Vec::new() }
    }

    /// The file that command-line flags stand for: one line of TOML for each, with the flag's name.
    pub fn flags(lines: &[(&'static str, String)]) -> Source {
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        Source { name: String::new(), text, flags: lines.iter().map(|(flag, _)| *flag).collect() }
    }

    /// Whether this was typed as flags.
    pub fn is_flags(&self) -> bool {
        !self.flags.is_empty()
    }

    /// The TOML.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `config.toml:12`, or the flag.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let line = self.line(span);
        match self.flags.get(line - 1) {
            Some(flag) => (*flag).to_owned(),
            None => format!("{}:{line}", self.name),
        }
    }

    /// The line of a place, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }
}

impl<'s> Collector<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Collector { source, mistakes: Vec::new(), consequences: 0 }
    }

    /// Notes that `key` (empty for none) is wrong at `span`.
    pub(super) fn add(&mut self, span: Range<usize>, key: &str, what: impl fmt::Display) {
        if span == Source::NOWHERE {
            self.consequences += 1;
            return;
        }
        let what = if key.is_empty() { what.to_string() } else { format!("{key}: {what}") };
        self.mistakes.push(Mistake { line: self.source.line(&span), place: self.source.place(&span), what });
    }

    /// Takes the value, or notes the error at `span`.
    pub(super) fn ok<T>(
        &mut self,
        span: Range<usize>,
        key: &str,
        result: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        result.map_err(|what| self.add(span, key, what)).ok()
    }

    pub(super) fn source(&self) -> &'s Source {
        self.source
    }

    /// What was found so far, if anything.
    ///
    /// # Errors
    /// The mistakes.
    pub(super) fn finish(mut self) -> Result<(), Mistakes> {
        if self.mistakes.is_empty() && self.consequences > 0 {
            let what = "a built-in default is not valid here; please report this".to_owned();
            self.mistakes.push(Mistake { line: 0, place: self.source.name.clone(), what });
        }
        self.mistakes.sort_by_key(|mistake| mistake.line);
        if self.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(self.mistakes)) }
    }
}

impl Mistakes {
    /// A single mistake about the whole of `place`.
    pub fn one(place: impl Into<String>, what: impl Into<String>) -> Mistakes {
        Mistakes(vec![Mistake { line: 0, place: place.into(), what: what.into() }])
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for Mistakes {}

/// The candidate that `word` was probably meant to be; `None` if none is near, or two are as near.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    let mut near: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word, &candidate.to_lowercase().replace('-', "_")), candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4).max(1))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    match near[..] {
        [(best, _), (next, _), ..] if best == next => None,
        _ => near.first().map(|(_, candidate)| *candidate),
    }
}

/// ` (did you mean "…"?)`, or all that is allowed if there is not much.
pub(super) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!(" (did you mean {candidate:?}?)"),
        None if candidates.is_empty() => String::new(),
        None => format!(" (one of {})", quoted(candidates)),
    }
}

/// `"a", "b"`.
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// Largest file.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_in_the_order_of_the_text_with_line_and_key() {
        let source = Source::file("config.toml", "a = 1\nb = 2\n");
        let mut found = Collector::new(&source);
        found.add(10..11, "b", "wrong");
        found.add(4..5, "a", "wrong too");
        assert_eq!(
            found.finish().unwrap_err().to_string(),
            "config.toml:1: a: wrong too\nconfig.toml:2: b: wrong"
        );
    }

    #[test]
    fn mistake_in_a_flag_names_the_flag() {
        let source = Source::flags(&[("--listen", "a = 1".to_owned()), ("--upstream", "b = 2".to_owned())]);
        let mut found = Collector::new(&source);
        found.add(10..11, "", "wrong");
        assert_eq!(found.finish().unwrap_err().to_string(), "--upstream: wrong");
    }

    #[test]
    fn consequence_of_a_mistake_is_not_reported_beside_its_cause() {
        let source = Source::file("config.toml", "a = 1\n");
        let mut found = Collector::new(&source);
        found.add(Source::NOWHERE, "b", "consequence");
        found.add(0..1, "a", "cause");
        assert_eq!(found.finish().unwrap_err().count(), 1);
    }

    #[test]
    fn near_miss_is_found_and_a_far_one_is_not() {
        let keys = ["connect_timeout", "ca", "url"];
        assert_eq!(nearest("conect-timeout", keys), Some("connect_timeout"));
        assert_eq!(nearest("CA", keys), Some("ca"));
        assert_eq!(nearest("timeout", keys), None);
        assert_eq!(nearest("xyz", keys), None);
        assert_eq!(nearest("of", ["on", "off"]), None, "it may be either");
    }
}
