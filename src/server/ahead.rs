//! What a client sends while hyper does not read: the stash of a [`Wire`].
//!
//! hyper stops reading while it holds bytes that it cannot use yet (a pipelined request, a stray line end, a request body that
//! nobody takes), and is then blind to a client that goes away. [`Wire::poll_ahead`] goes on reading in its place, into a
//! bounded stash that hyper is served from later; once that is full, [`Wire::poll_hangup`] asks the kernel instead.
//!
//! An HTTP/1.1 client may send [`AHEAD_LIMIT`] bytes ahead of the answer that it waits for. hyper may hold some of them, and gives
//! them back to the stash if it lets go of the connection; so they are counted where they are read from the socket, and who holds
//! them makes no difference. What came in one read with the end of a request is not counted: only hyper knows how much that is.
//!
//! Called by [`super::driver`], and by [`super::http1`] at the end of a connection.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

use super::answer::Stage;
use super::io::Wire;

/// What was read while hyper did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// The client closed the connection, or it broke.
    Gone,
    /// There is more than the client may send ahead.
    Full,
}

impl Wire {
    /// To be called after each poll of hyper that was pending: reads in its place if it did not read itself.
    pub(super) fn poll_ahead(&self, cx: &mut Context<'_>) -> Poll<Ahead> {
        if self.parked.get() {
            return Poll::Pending;
        }
        while self.sent_ahead() <= AHEAD_LIMIT as u64 {
            if !matches!(ready!(self.poll_read_ahead(cx)), Ok(1..)) {
                return Poll::Ready(Ahead::Gone);
            }
        }
        Poll::Ready(Ahead::Full)
    }

    /// To be called when hyper has the head of a request over HTTP/1.1: what it has read by now is not sent ahead.
    pub(super) fn answer_begins(&self) {
        self.stage.set(Stage::Running);
        self.behind.set(self.read_by_hyper());
    }

    /// To be called after each read of hyper's: until the handler has the whole request, it was for that.
    pub(super) fn read_for_request(&self) {
        let is_answering = self.stage.get() == Stage::Running && !self.client.uploading.get();
        if !is_answering && self.behind.get().is_some() {
            self.behind.set(self.read_by_hyper());
        }
    }

    /// Bytes of the socket that hyper was given; `None` if that is nothing.
    fn read_by_hyper(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.socket.borrow().inner().read() - self.ahead.borrow().len() as u64)
    }

    /// Bytes that the client has sent ahead. In HTTP/2, and while a request body comes, what hyper holds is at its right place.
    fn sent_ahead(&self) -> u64 {
        match self.behind.get() {
            Some(behind) if !self.client.uploading.get() => {
                self.socket.borrow().inner().read() - behind.get()
            }
            _ => self.ahead.borrow().len() as u64,
        }
    }

    /// Whether anything but line ends (RFC 9112 2.2) was read that hyper did not take.
    pub(super) fn holds_bytes(&self) -> bool {
        !is_blank(&self.ahead.borrow())
    }

    /// Whether the client has sent something that nobody read.
    pub(super) async fn has_unread(&self) -> bool {
        poll_fn(|cx| match self.holds_bytes() {
            true => Poll::Ready(true),
            false => Poll::Ready(matches!(self.poll_read_ahead(cx), Poll::Ready(Ok(1..)))),
        })
        .await
    }

    /// Drops what the client sent, or sends next. Whether it may send more.
    pub(super) async fn discard(&self) -> bool {
        self.ahead.take();
        let read = poll_fn(|cx| self.poll_read_ahead(cx)).await;
        self.ahead.take();
        matches!(read, Ok(1..))
    }

    /// One read of the socket into the stash.
    pub(super) fn poll_read_ahead(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); AHEAD_STEP];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(self.socket.borrow_mut().inner_mut()).poll_read(cx, &mut buffer))?;
        self.ahead.borrow_mut().extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Serves `buffer` from the stash. `false` if there is none.
    pub(super) fn take_ahead(&self, buffer: &mut ReadBufCursor<'_>) -> bool {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.is_empty() {
            return false;
        }
        let length = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead[..length]);
        ahead.advance(length);
        if ahead.is_empty() {
            *ahead = BytesMut::new();
            self.hangup.borrow_mut().rest();
        }
        true
    }
}

/// Whether there is nothing in `bytes` but the line ends that may come before a request (RFC 9112 2.2).
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// How far a client may send ahead of what hyper can use; the last read may go [`AHEAD_STEP`] beyond before that is seen.
const AHEAD_LIMIT: usize = 64 << 10;

/// Bytes of one read into the stash; on the stack.
const AHEAD_STEP: usize = 4 << 10;
