//! DEFLATE in its three wrappers: gzip (RFC 1952), zlib (RFC 1950), none (RFC 1951).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Coder, Error, Step};

/// A body in DEFLATE.
#[derive(Debug)]
pub(super) struct Deflate {
    state: State,
    /// Whether another member may follow the first.
    members: bool,
}

#[derive(Debug)]
enum State {
    /// What is there of the two bytes that tell zlib from bare DEFLATE.
    Telling(Option<u8>),
    /// In a stream or member; whether a byte of it was taken.
    Running(Box<Decompress>, bool),
    /// Behind a whole member.
    Between,
    /// What still comes means nothing.
    Over,
}

impl Deflate {
    pub(super) fn gzip() -> Self {
        Deflate { state: State::member(), members: true }
    }

    /// RFC 9110 8.4.1.2: `deflate` is zlib, but some send it bare.
    pub(super) fn zlib_or_bare() -> Self {
        Deflate { state: State::Telling(None), members: false }
    }

    /// Decides by the two bytes of a zlib header.
    fn tell(&mut self, first: u8, second: u8, output: &mut [u8]) -> Result<Step, Error> {
        // RFC 1950 2.2: method 8, a window of at most 32 KiB, and a multiple of 31. As bare DEFLATE the first byte
        // would be a stored block with padding that is not 0, which no encoder makes.
        let zlib =
            first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31);
        self.state = State::Running(Box::new(Decompress::new(zlib)), true);
        let step = self.run(&[first, second], output)?;
        // The first of them was taken before.
        if step.taken == 2 { Ok(Step { taken: 1, ..step }) } else { Err(Error::Corrupt) }
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error> {
        let State::Running(inflate, begun) = &mut self.state else { return Ok(Step::default()) };
        let (taken, given) = (inflate.total_in(), inflate.total_out());
        // Sync: all that the input holds comes out now.
        let status = inflate.decompress(input, output, FlushDecompress::Sync).map_err(|_| Error::Corrupt)?;
        let length = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| Error::Corrupt);
        let step =
            Step { taken: length(inflate.total_in(), taken)?, given: length(inflate.total_out(), given)? };
        *begun |= step.taken > 0;
        if status == Status::StreamEnd {
            self.state = if self.members { State::Between } else { State::Over };
        }
        Ok(step)
    }
}

impl Coder for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error> {
        match (&self.state, input) {
            (State::Running(..), _) => self.run(input, output),
            (_, []) => Ok(Step::default()),
            (State::Telling(None), [first, ..]) => {
                self.state = State::Telling(Some(*first));
                Ok(Step { taken: 1, given: 0 })
            }
            (State::Telling(Some(first)), [second, ..]) => self.tell(*first, *second, output),
            // RFC 1952 2.2: members may follow each other.
            (State::Between, [MAGIC, ..]) => {
                self.state = State::member();
                self.run(input, output)
            }
            // Padding, or what a script wrote behind its end: browsers and curl leave it out, too.
            (State::Between | State::Over, _) => {
                self.state = State::Over;
                Ok(Step { taken: input.len(), given: 0 })
            }
        }
    }

    fn is_whole(&self) -> bool {
        match &self.state {
            State::Telling(first) => first.is_none(),
            State::Running(_, begun) => !begun,
            State::Between | State::Over => true,
        }
    }

    fn held(&self) -> usize {
        if matches!(self.state, State::Running(..)) { INFLATE_BYTES } else { 0 }
    }
}

impl State {
    /// At the start of a gzip member, with the largest window, 32 KiB: what every encoder may use.
    fn member() -> Self {
        State::Running(Box::new(Decompress::new_gzip(15)), false)
    }
}

/// The first byte of a gzip member.
const MAGIC: u8 = 0x1f;

/// The window and the tables.
const INFLATE_BYTES: usize = 48 << 10;
