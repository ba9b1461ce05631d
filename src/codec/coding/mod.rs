//! Content codings of a stream that came although `identity` was asked for (RFC 9110 8.4).
//!
//! [`Decoder::push`] takes what arrived, [`Decoder::pull`] gives what can be decoded of it, in pieces: so nothing is
//! decoded before somebody has room for it, and all that the upstream has flushed comes out at once, whatever the
//! split. What one read blows up to costs time, never memory; and past [`MAX_RATIO`] it ends with an error.
//!
//! Memory of one stream: the input that was not taken yet (what was pushed), a few KiB between two codings, and per
//! coding what [`Decoder::held`] tells: about 48 KiB for DEFLATE; for Brotli its window (at most 16 MiB, as large as
//! the body so far, RFC 7932 9.1) and code tables (at most 4 MiB); for Zstandard two windows (of at most 8 MiB each)
//! and two blocks.
//!
//! Here: which codings there are, and how they are stacked and bounded. Below: one file for each family.

mod brotli;
mod deflate;
mod zstd;

use std::fmt::Debug;

/// A content coding that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, `x-gzip` (RFC 1952): one or several members.
    Gzip,
    /// `deflate`: the zlib format (RFC 1950), and the bare DEFLATE (RFC 1951) that some servers send under that name.
    Deflate,
    /// `br` (RFC 7932): without the large windows that are no part of it.
    Brotli,
    /// `zstd` (RFC 8878), with a window of at most 8 MiB (RFC 9659): one or several frames.
    Zstd,
}

/// The codings of one body, at most two, in the order in which they were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codings {
    first: Coding,
    second: Option<Coding>,
}

/// A coding that is not known here, or more of them than are taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// Why a body cannot be decoded further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not what its `Content-Encoding` says.
    #[error("the upstream's body does not decode as its content-encoding says")]
    Corrupt,
    /// It says that it needs more memory than is given.
    #[error("the upstream's coded body needs a window larger than {limit} bytes")]
    Window {
        /// The bound, in bytes.
        limit: usize,
    },
    /// It blows up.
    #[error("the upstream's coded body decodes to more than {MAX_RATIO} times its size")]
    Ratio,
}

/// One coding, taken off.
trait Coder: Debug {
    /// Decodes from `input` into `output`, neither of which need be used up. If it takes nothing and gives nothing,
    /// it has nothing more to give before there is more input.
    ///
    /// # Errors
    /// The input is not in this coding, or asks for too much. Not to be called again.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error>;

    /// Whether the body may end here.
    fn is_whole(&self) -> bool;

    /// Bytes of memory, about.
    fn held(&self) -> usize;
}

/// What one step of a [`Coder`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Step {
    taken: usize,
    given: usize,
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    /// In the order in which they are taken off.
    stages: Vec<Stage>,
    pushed: u64,
    pulled: u64,
}

/// A coding and what it has still to take.
#[derive(Debug)]
struct Stage {
    coder: Box<dyn Coder>,
    input: Vec<u8>,
    taken: usize,
}

impl Codings {
    /// The codings that the values of all `Content-Encoding` fields name (RFC 9110 8.4): `None` for `identity` only.
    ///
    /// # Errors
    /// One is not known, or there are more than two.
    pub fn from_fields<'v>(values: impl Iterator<Item = &'v str>) -> Result<Option<Codings>, Unknown> {
        let names = values.flat_map(|value| value.split(',')).map(str::trim);
        let names = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        let mut codings: Option<Codings> = None;
        for name in names {
            let coding = Coding::named(name).ok_or(Unknown)?;
            codings = Some(match codings {
                None => Codings { first: coding, second: None },
                Some(Codings { first, second: None }) => Codings { first, second: Some(coding) },
                Some(_) => return Err(Unknown),
            });
        }
        Ok(codings)
    }
}

impl Coding {
    /// RFC 9110 8.4.1: names are case-insensitive, and `x-gzip` is `gzip`.
    fn named(name: &str) -> Option<Coding> {
        [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ]
        .into_iter()
        .find_map(|(known, coding)| known.eq_ignore_ascii_case(name).then_some(coding))
    }

    fn coder(self) -> Box<dyn Coder> {
        match self {
            Coding::Gzip => Box::new(deflate::Deflate::gzip()),
            Coding::Deflate => Box::new(deflate::Deflate::zlib_or_bare()),
            Coding::Brotli => Box::new(brotli::Brotli::new()),
            Coding::Zstd => Box::new(zstd::Zstd::new()),
        }
    }
}

impl Decoder {
    /// A decoder at the start of a body.
    pub fn new(codings: Codings) -> Self {
        // RFC 9110 8.4: listed in the order in which they were applied, so the last one comes off first.
        let order = codings.second.into_iter().chain([codings.first]);
        let stages = order.map(|coding| Stage { coder: coding.coder(), input: Vec::new(), taken: 0 });
        Decoder { stages: stages.collect(), pushed: 0, pulled: 0 }
    }

    /// Takes what arrived.
    pub fn push(&mut self, input: &[u8]) {
        self.pushed += input.len() as u64;
        if let Some(stage) = self.stages.first_mut() {
            stage.input.extend_from_slice(input);
        }
    }

    /// Decodes as much as there is room for in `output`, which must not be empty. 0: more must be pushed first.
    ///
    /// # Errors
    /// See [`Error`]. What was pulled before is good. Not to be called again.
    pub fn pull(&mut self, output: &mut [u8]) -> Result<usize, Error> {
        let given = pull(&mut self.stages, output)?;
        self.pulled += given as u64;
        if self.pulled > FREE_BYTES + u64::from(MAX_RATIO).saturating_mul(self.pushed) {
            return Err(Error::Ratio);
        }
        Ok(given)
    }

    /// Whether the body may end here: all that was pushed was pulled, and no coding is in the middle of something.
    pub fn is_whole(&self) -> bool {
        self.stages.iter().all(|stage| stage.is_empty() && stage.coder.is_whole())
    }

    /// Bytes of memory held, about.
    pub fn held(&self) -> usize {
        self.stages.iter().map(|stage| stage.input.capacity() + stage.coder.held()).sum()
    }
}

/// Pulls from the last stage, and what that one needs from those before it.
fn pull(stages: &mut [Stage], output: &mut [u8]) -> Result<usize, Error> {
    let Some((last, before)) = stages.split_last_mut() else { return Ok(0) };
    loop {
        let step = last.coder.step(&last.input[last.taken..], output)?;
        last.taken += step.taken;
        if step.given > 0 {
            return Ok(step.given);
        }
        if step.taken > 0 {
            continue;
        }
        if !last.is_empty() {
            return Err(Error::Corrupt);
        }
        super::release(&mut last.input);
        last.taken = 0;
        if before.is_empty() {
            return Ok(0);
        }
        let mut between = [0; BETWEEN_BYTES];
        match pull(before, &mut between)? {
            0 => return Ok(0),
            length => last.input.extend_from_slice(&between[..length]),
        }
    }
}

impl Stage {
    fn is_empty(&self) -> bool {
        self.taken == self.input.len()
    }
}

/// What a body may decode to for each byte of it, beyond the first MiB. DEFLATE can do a thousand, Brotli and
/// Zstandard far more. A stream of tokens has about 15, as each event is flushed; the most repetitive text of
/// some length that is no attack stays below 200.
pub const MAX_RATIO: u32 = 256;

/// What a body may decode to in any case.
const FREE_BYTES: u64 = 1 << 20;

/// The most that stands between two codings.
const BETWEEN_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
