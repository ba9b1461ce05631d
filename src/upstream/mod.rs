//! Towards the upstream: connect, pool, send, read what comes back.
//!
//! One [`Upstreams`] per worker, not shared between threads. [`Upstreams::send`] takes a finished request and
//! returns the response head and a [`Body`] to read from. Everything of one exchange (request body up,
//! response body down) is driven by whoever polls it, in the client's own task: there is no task or channel
//! between the two sides. Dropping the future or the [`Body`] aborts the exchange at once: an HTTP/1.1
//! connection is closed, an HTTP/2 stream reset with CANCEL.

mod error;
mod upload;

use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;

use crate::config::Config;

pub use error::{Error, Timeout};
pub use upload::Upload;

/// The upstreams of one worker: their pools and connections.
#[derive(Debug)]
pub struct Upstreams {
    config: Arc<Config>,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Status and headers as the upstream sent them: nothing removed.
    pub head: http::response::Parts,
    /// What follows.
    pub body: Body,
}

/// A response body as it arrives, content codings untouched, transfer codings removed.
#[derive(Debug)]
pub struct Body {}

/// What [`Body::poll_read`] found.
#[derive(Debug)]
pub enum Read {
    /// This many body bytes are at the front of the buffer; never 0.
    Data(usize),
    /// The trailer section; [`Read::End`] follows.
    Trailers(HeaderMap),
    /// The body is complete by its own framing.
    End,
}

impl Upstreams {
    /// Makes empty pools for every upstream of `config`.
    pub fn new(config: Arc<Config>) -> Self {
        Upstreams { config }
    }

    /// Sends a request and waits for the head of its final response (1xx are read and dropped).
    ///
    /// `upstream` is an index into [`Config::upstreams`]. `head` is what is to be sent: origin-form URI, `Host`
    /// set, no hop-by-hop fields; framing fields are added here from `upload`'s size.
    /// `head_timeout` bounds the wait for the response head, from when the request head was written.
    ///
    /// Tried again on another connection only if nothing of it can have been processed.
    ///
    /// # Errors
    /// See [`Error`]; nothing has been promised to the client yet.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the exchange.
    pub async fn send(
        &self,
        upstream: usize,
        head: http::request::Parts,
        upload: Upload,
        head_timeout: Option<std::time::Duration>,
    ) -> Result<Response, Error> {
        let _ = (&self.config, upstream, head, upload, head_timeout);
        unimplemented!()
    }
}

impl Body {
    /// Reads what has arrived into `buffer` (one read of the socket at most) and drives the request body up.
    ///
    /// # Errors
    /// The body is not complete and never will be. After an error or [`Read::End`] it must not be called again.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Read, Error>> {
        let _ = (cx, buffer);
        unimplemented!()
    }
}
