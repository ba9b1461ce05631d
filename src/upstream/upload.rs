//! A request body on its way up.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;

/// The request body: the client's, streamed as it arrives, never held whole.
///
/// Watched on the way: every data frame is shown to the tap before it leaves; more than `max_bytes` is
/// [`super::Error::RequestBodyTooLarge`]; silence of the client longer than `idle` is
/// [`super::Timeout::RequestBodyIdle`].
pub struct Upload {
    incoming: Option<Incoming>,
    tap: Option<Box<dyn FnMut(&[u8])>>,
    max_bytes: u64,
    idle: Option<Duration>,
}

impl Upload {
    /// A body that comes from the client.
    pub fn new(incoming: Incoming, max_bytes: u64, idle: Option<Duration>) -> Self {
        Upload { incoming: Some(incoming), tap: None, max_bytes, idle }
    }

    /// Shows every data frame to `tap` on its way up.
    #[must_use]
    pub fn tapped(mut self, tap: Box<dyn FnMut(&[u8])>) -> Self {
        self.tap = Some(tap);
        self
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}
