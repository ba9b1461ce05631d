//! Towards the upstream: connect, pool, send, read what comes back.
//!
//! One [`Upstreams`] per worker, not shared between threads. [`Upstreams::send`] takes a finished request and
//! returns the response head and a [`Body`] to read from. Everything of one HTTP/1.1 exchange (request body up,
//! response body down) is driven by whoever polls it, in the client's own task: there is no task or channel
//! between the two sides. HTTP/2 connections, and request bodies on them, are driven by tasks of the same
//! worker. Dropping the future or the [`Body`] aborts the exchange at once: an HTTP/1.1 connection is closed, an
//! HTTP/2 stream reset with CANCEL.
//!
//! Below it: `pool` (which connection), `connect` (a new one), `http1` (our own codec), `http2` (hyper's
//! client). This module decides only what may be sent again.

mod connect;
mod deadline;
mod error;
pub mod http1;
mod http2;
mod io;
mod pool;
mod upload;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, request};

use self::pool::{Acquired, Pool, Want};
use crate::config::Config;
use crate::stream::Phase;

pub(crate) use deadline::Deadline;
pub use error::{Error, Timeout};
pub(crate) use io::Io;
pub use upload::{RequestBody, Tap, Unread, Upload};

/// The upstreams of one worker: their pools and connections.
///
/// To be used on the worker's own thread, in a `LocalRuntime` (or a `LocalSet`): connections are kept alive and
/// closed in time by local tasks. Dropping it closes the unused connections.
#[derive(Debug)]
pub struct Upstreams {
    config: Arc<Config>,
    /// One for each of [`Config::upstreams`].
    pools: Vec<Rc<Pool>>,
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
pub struct Body(Kind);

enum Kind {
    Http1(http1::Body),
    Http2(http2::Body),
    Switched(Switched),
}

/// A connection after 101: no more HTTP.
#[derive(Debug)]
pub(crate) struct Switched {
    /// The connection.
    pub(crate) io: Io,
    /// What came in the same read as the head.
    pub(crate) early: Vec<u8>,
}

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

/// An attempt that failed, and the request body, to be sent again, if nothing of the request can have been
/// processed.
struct Failure {
    error: Error,
    unsent: Option<Box<Upload>>,
}

impl Failure {
    /// `unsent` is dropped if it cannot be sent again from its beginning.
    fn new(error: Error, unsent: Option<Box<Upload>>) -> Self {
        let rewound = unsent.and_then(|mut upload| upload.rewind().then_some(upload));
        Failure { error, unsent: rewound }
    }
}

impl Upstreams {
    /// Makes empty pools for every upstream of `config`.
    pub fn new(config: Arc<Config>) -> Self {
        let pools = config.upstreams.iter().map(Pool::new).collect();
        Upstreams { config, pools }
    }

    /// Sends a request and waits for the head of its final response (1xx are read and dropped).
    ///
    /// `upstream` is an index into [`Config::upstreams`]. `head` is what is to be sent: origin-form URI, `Host`
    /// set, no hop-by-hop fields; framing fields are added here from `upload`'s size.
    /// `head_timeout` bounds the wait for the response head, from when the request head was written; while the
    /// request body is still on its way, from when the upstream last took some of it.
    ///
    /// `progress` is told of [`Phase::Connect`] and [`Phase::Head`] when they begin; again for another attempt.
    ///
    /// A head with `Upgrade` goes over HTTP/1.1, and 101 is an answer to it: then `Body::into_switched` has the
    /// connection.
    ///
    /// Tried again on another connection only if nothing of it can have been processed, at most twice.
    ///
    /// # Errors
    /// See [`Error`]; nothing has been promised to the client yet.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the exchange.
    pub async fn send(
        &self,
        upstream: usize,
        head: request::Parts,
        mut upload: Box<Upload>,
        head_timeout: Option<Duration>,
        progress: &dyn Fn(Phase),
    ) -> Result<Response, Error> {
        upload.check_size()?;
        let (upstream, pool) = (&self.config.upstreams[upstream], &self.pools[upstream]);
        let mut attempt = 1;
        loop {
            progress(Phase::Connect);
            let want = Want { fresh: attempt > 1, http1: http1::asks_for_upgrade(&head) };
            let connection = pool.acquire(upstream, want).await?;
            progress(Phase::Head);
            let sent = match connection {
                Acquired::Http1 { io, reused } => {
                    http1::send(io, Rc::clone(pool), reused, &head, upload, head_timeout).await
                }
                // In a box, so that nobody has room for the larger of two exchanges.
                Acquired::Http2(lease) => {
                    Box::pin(http2::send(lease, upstream, &head, upload, head_timeout)).await
                }
            };
            upload = match sent {
                Ok(response) => return Ok(response),
                Err(Failure { unsent: Some(upload), .. }) if attempt < MAX_ATTEMPTS => upload,
                Err(failure) => return Err(failure.error),
            };
            attempt += 1;
            tracing::debug!(upstream = upstream.name, attempt, "sending again: nothing of it was processed");
        }
    }
}

impl Body {
    /// Reads what has arrived into `buffer` (one read of the socket, unless it held nothing but framing) and
    /// drives the request body up. `buffer` must not be empty.
    ///
    /// # Errors
    /// The body is not complete and never will be. After an error or [`Read::End`] it must not be called again.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Read, Error>> {
        debug_assert!(!buffer.is_empty(), "an empty buffer would look like the end of the connection");
        match &mut self.0 {
            Kind::Http1(body) => body.poll_read(cx, buffer),
            Kind::Http2(body) => body.poll_read(cx, buffer),
            Kind::Switched(_) => Poll::Ready(Ok(Read::End)),
        }
    }

    /// Whether it is known already that nothing but [`Read::End`] will come. `false` promises nothing.
    pub fn is_end(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end(),
            Kind::Http2(body) => body.is_end(),
            Kind::Switched(_) => true,
        }
    }

    /// The connection, if the upstream switched protocols on it.
    pub(crate) fn into_switched(self) -> Option<Switched> {
        match self.0 {
            Kind::Switched(switched) => Some(switched),
            Kind::Http1(_) | Kind::Http2(_) => None,
        }
    }

    fn switched(io: Io, early: Vec<u8>) -> Self {
        Body(Kind::Switched(Switched { io, early }))
    }

    fn http1(body: http1::Body) -> Self {
        Body(Kind::Http1(body))
    }

    fn http2(body: http2::Body) -> Self {
        Body(Kind::Http2(body))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.0 {
            Kind::Http1(_) => "HTTP/1.1",
            Kind::Http2(_) => "HTTP/2",
            Kind::Switched(_) => "switched",
        };
        f.debug_tuple("Body").field(&protocol).finish()
    }
}

/// How often a request is sent at most, the first time included.
const MAX_ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests;
