//! Bytes on their way to a socket that may not take all of them at once.
//!
//! Invariant: nothing is held while nothing waits, and bytes leave in the order in which they came.
//!
//! Called by [`super::flow`], [`super::raw`] and [`crate::server`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// What a socket has not taken.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// From `sent` on. Freed as soon as all is taken.
    waiting: Vec<u8>,
    sent: usize,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// Bytes that were taken.
    pub(crate) taken: u64,
}

impl Unsent {
    /// `waiting`, of which nothing was sent.
    pub(crate) fn new(waiting: Vec<u8>) -> Self {
        Unsent { waiting, ..Unsent::default() }
    }

    /// Gives up on what was not taken.
    pub(crate) fn give_up(&mut self) {
        *self = Unsent { taken: self.taken, ..Unsent::default() };
    }

    /// Puts `bytes` behind what waits, and does not try to write.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Writes `bytes`, or keeps what is not taken.
    ///
    /// # Errors
    /// The socket takes nothing any more.
    pub(crate) fn send(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        while self.waiting.is_empty() && !bytes.is_empty() {
            match self.poll_write(to, bytes, cx) {
                Poll::Ready(length) => bytes = &bytes[length?..],
                Poll::Pending => break,
            }
        }
        self.put(bytes);
        Ok(())
    }

    /// Ready when nothing waits; it may be unflushed.
    ///
    /// # Errors
    /// The socket takes nothing any more.
    pub(crate) fn poll_taken(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let waiting = std::mem::take(&mut self.waiting);
        while self.sent < waiting.len() {
            match self.poll_write(to, &waiting[self.sent..], cx) {
                Poll::Ready(length) => self.sent += length?,
                Poll::Pending => {
                    self.waiting = waiting;
                    return Poll::Pending;
                }
            }
        }
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Ready when what was written has been flushed.
    ///
    /// # Errors
    /// The socket takes nothing any more.
    pub(crate) fn poll_flushed(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(to).poll_write(cx, bytes))?;
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.taken += length as u64;
        self.unflushed = true;
        Poll::Ready(Ok(length))
    }
}
