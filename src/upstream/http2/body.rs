//! The body of an HTTP/2 response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use hyper::body::Incoming;

use super::connection::Lease;
use super::feed::Shared;
use super::translate_error;
use crate::upstream::Read;
use crate::upstream::error::Error;

/// A stream that is being read. Dropping it resets the stream with CANCEL if it is not over.
pub(in crate::upstream) struct Body {
    incoming: Incoming,
    /// What is left of the frame that was read last.
    rest: Bytes,
    ended: bool,
    shared: Rc<Shared>,
    _lease: Lease,
}

impl Body {
    pub(super) fn new(incoming: Incoming, shared: Rc<Shared>, lease: Lease) -> Self {
        let ended = incoming.is_end_stream();
        Body { incoming, rest: Bytes::new(), ended, shared, _lease: lease }
    }

    /// Whether nothing but [`Read::End`] will come.
    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.ended && self.rest.is_empty()
    }

    /// See [`crate::upstream::Body::poll_read`].
    pub(in crate::upstream) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<Read, Error>> {
        loop {
            if !self.rest.is_empty() {
                let length = self.rest.len().min(buffer.len());
                self.rest.copy_to_slice(&mut buffer[..length]);
                return Poll::Ready(Ok(Read::Data(length)));
            }
            if self.ended {
                return Poll::Ready(Ok(Read::End));
            }
            if !self.shared.is_done() {
                self.shared.watch(cx);
            }
            if let Some(fault) = self.shared.take_fault() {
                return Poll::Ready(Err(fault));
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.rest = data;
                        self.ended = self.incoming.is_end_stream();
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(Ok(Read::Trailers(trailers)));
                        }
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(self.failed(&error))),
                None => {
                    self.ended = true;
                    self.check_end()?;
                }
            }
        }
    }

    fn failed(&self, error: &hyper::Error) -> Error {
        let fault = self.shared.take_fault();
        fault.unwrap_or_else(|| translate_error(error, |source| Error::Truncated { source }))
    }

    /// RFC 9113 8.1: RST_STREAM with NO_ERROR, which hyper takes for an end, is one only after a complete
    /// response; it asks to send no more of the request. If all of that was sent, or bytes are missing, the
    /// response was cut short.
    fn check_end(&self) -> Result<(), Error> {
        let missing = self.shared.is_done() || self.incoming.size_hint().lower() > 0;
        if missing && !self.incoming.is_end_stream() {
            return Err(Error::Truncated { source: None });
        }
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
