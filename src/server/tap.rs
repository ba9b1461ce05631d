//! The client's byte stream, above TLS, with an eye on what passes.
//!
//! It changes nothing and copies nothing. The one thing that it does of its own is to fail a read once
//! [`Frames`] says that the client floods: hyper then gives the connection up in the middle of its work.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::io::Socket;

/// A socket, and what passes on it if it speaks HTTP/2.
pub(super) struct Tap {
    socket: Box<dyn Socket>,
    /// Bytes that were read, ever.
    read: u64,
    frames: Option<Box<Frames>>,
}

impl Tap {
    /// A socket on which anything may pass.
    pub(super) fn new(socket: Box<dyn Socket>) -> Self {
        Tap { socket, read: 0, frames: None }
    }

    /// From now on, HTTP/2 passes; `begun` was read already.
    pub(super) fn follow(&mut self, begun: &[u8]) {
        let mut frames = Frames::new();
        frames.read(begun);
        self.frames = Some(Box::new(frames));
    }

    /// How many bytes were read, ever.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// What passed; `None` where that is not HTTP/2.
    pub(super) fn frames(&self) -> Option<&Frames> {
        self.frames.as_deref()
    }

    /// [`Tap::frames`], to be told what happens to them.
    pub(super) fn frames_mut(&mut self) -> Option<&mut Frames> {
        self.frames.as_deref_mut()
    }

    /// The kernel's socket below.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.fd()
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.read += read.len() as u64;
        let within = self.frames.as_mut().is_none_or(|frames| frames.read(read));
        Poll::Ready(if within { Ok(()) } else { Err(io::Error::other("flooded")) })
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        if let Some(frames) = &mut self.frames {
            frames.wrote(bytes.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        if let Some(frames) = &mut self.frames {
            let mut left = written;
            for slice in slices {
                let piece = slice.get(..left.min(slice.len())).unwrap_or_default();
                frames.wrote(piece);
                left -= piece.len();
            }
        }
        Poll::Ready(Ok(written))
    }
}
