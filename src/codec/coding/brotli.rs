//! Brotli (RFC 7932).

use std::fmt;

use brotli_decompressor::{
    BrotliDecoderErrorCode, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc,
};

use super::{Coder, Error, Step};

/// A body in Brotli.
pub(super) struct Brotli {
    state: State,
    begun: bool,
    over: bool,
}

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        // Strict: windows of at most 16 MiB. The larger ones are no part of the RFC.
        let state = BrotliState::new_strict(alloc(), alloc(), alloc());
        Brotli { state, begun: false, over: false }
    }
}

impl Coder for Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error> {
        if self.over {
            // As behind DEFLATE: what follows the end means nothing.
            return Ok(Step { taken: input.len(), given: 0 });
        }
        let (mut unread, mut taken) = (input.len(), 0);
        let (mut room, mut given, mut total) = (output.len(), 0, 0);
        let state = &mut self.state;
        let result = BrotliDecompressStream(
            &mut unread,
            &mut taken,
            input,
            &mut room,
            &mut given,
            output,
            &mut total,
            state,
        );
        self.begun |= taken > 0;
        match result {
            BrotliResult::ResultFailure => Err(match state.error_code {
                BrotliDecoderErrorCode::BROTLI_DECODER_ERROR_FORMAT_WINDOW_BITS => {
                    Error::Window { limit: MAX_WINDOW }
                }
                _ => Error::Corrupt,
            }),
            BrotliResult::ResultSuccess => {
                self.over = true;
                Ok(Step { taken, given })
            }
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(Step { taken, given }),
        }
    }

    fn is_whole(&self) -> bool {
        self.over || !self.begun
    }

    fn held(&self) -> usize {
        let state = &self.state;
        let groups = [&state.literal_hgroup, &state.insert_copy_hgroup, &state.distance_hgroup];
        let codes: usize = groups.iter().map(|group| size_of_val(group.codes.slice())).sum();
        size_of::<State>() + state.ringbuffer.slice().len() + codes
    }
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli").field("over", &self.over).finish_non_exhaustive()
    }
}

/// RFC 7932 9.1: the largest window, WBITS 24.
const MAX_WINDOW: usize = (1 << 24) - 16;
