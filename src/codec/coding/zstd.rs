//! Zstandard (RFC 8878).

use mzstd::{
    DecodeError, DecodeLimits, DecodeOperation, DecoderConfig, DecoderSessionOwned, DecoderStatus,
    Decompressor, FrameMode,
};

use super::{Coder, Error, Step};

/// A body in Zstandard.
#[derive(Debug)]
pub(super) struct Zstd {
    /// In a frame, or at the start of one.
    frame: DecoderSessionOwned,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing was taken.
    Start,
    Inside,
    /// Behind a whole frame.
    Between,
    /// What still comes means nothing.
    Over,
}

impl Zstd {
    pub(super) fn new() -> Self {
        // One frame at a time, so that what follows the last one can be told from another.
        let config = DecoderConfig::default().with_limits(LIMITS).with_frame_mode(FrameMode::Single);
        Zstd { frame: Decompressor::new(config).into_session(), place: Place::Start }
    }
}

impl Coder for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error> {
        match (self.place, input) {
            (Place::Start | Place::Between, []) => return Ok(Step::default()),
            // RFC 8878 3: frames, and skippable frames, may follow each other.
            (Place::Between, [FRAME | 0x50..=0x5f, ..]) => self.frame.reinit(),
            // As behind DEFLATE: what follows the last frame means nothing.
            (Place::Between | Place::Over, _) => {
                self.place = Place::Over;
                return Ok(Step { taken: input.len(), given: 0 });
            }
            (Place::Start | Place::Inside, _) => {}
        }
        let progress = self.frame.process(input, output, DecodeOperation::Process).map_err(|failure| {
            match failure.into_error() {
                DecodeError::WindowLimitExceeded { .. } => Error::Window { limit: 1 << MAX_WINDOW_LOG },
                _ => Error::Corrupt,
            }
        })?;
        self.place = if progress.status == DecoderStatus::Finished { Place::Between } else { Place::Inside };
        Ok(Step { taken: progress.consumed, given: progress.produced })
    }

    fn is_whole(&self) -> bool {
        self.place != Place::Inside
    }

    fn held(&self) -> usize {
        let window = self.frame.window_size().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let decoded = usize::try_from(self.frame.total_out()).unwrap_or(usize::MAX);
        // As much as was decoded, up to twice the window; the block that is read; tables.
        decoded.min(2 * window) + 2 * BLOCK_BYTES
    }
}

/// The first byte of a frame's magic number.
const FRAME: u8 = 0x28;

/// 8 MiB: what RFC 8878 3.1.1.1.2 recommends to support, and RFC 9659 3 allows a sender of `zstd` at most.
const MAX_WINDOW_LOG: u8 = 23;

const LIMITS: DecodeLimits = match DecodeLimits::DEFAULT.with_max_window_log(MAX_WINDOW_LOG) {
    Ok(limits) => limits,
    Err(_) => DecodeLimits::DEFAULT,
};

/// RFC 8878 3.1.1.2: the largest block.
const BLOCK_BYTES: usize = 128 << 10;
