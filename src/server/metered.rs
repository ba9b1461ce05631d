//! The raw socket of a client, under TLS: keeps [`Client::write_blocked`] true to what the kernel takes.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::client::Client;
use super::io::Socket;

/// A raw socket that notes in [`Client`] whether the kernel takes what is written.
#[derive(Debug)]
pub(super) struct Metered<S> {
    socket: S,
    client: Rc<Client>,
}

impl<S> Metered<S> {
    /// `socket`, whose writes are noted in `client`.
    pub(super) fn new(socket: S, client: Rc<Client>) -> Self {
        Metered { socket, client }
    }

    fn note(&self, wanted: usize, poll: &Poll<io::Result<usize>>) {
        let client = &self.client;
        match poll {
            Poll::Ready(Ok(written)) if *written == wanted => client.write_blocked.set(false),
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Ready(Ok(_)) => {
                client.wrote_at.set(Instant::now());
                client.write_blocked.set(true);
            }
            Poll::Pending => {
                if !client.write_blocked.replace(true) {
                    client.wrote_at.set(Instant::now());
                }
            }
        }
    }
}

impl<S: Socket> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: Socket> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(bytes.len(), &poll);
        poll
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
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(slices.iter().map(|slice| slice.len()).sum(), &poll);
        poll
    }
}

impl<S: Socket> Socket for Metered<S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn write_that_is_not_taken_whole_blocks_until_one_is() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let client = Rc::new(Client::new(None, None, false));
        let (mut end, socket) = tokio::io::duplex(4);
        let mut metered = Metered::new(socket, Rc::clone(&client));
        assert_eq!(metered.write(b"abc").await.expect("written"), 3);
        assert!(!client.write_blocked.get());
        assert_eq!(metered.write(b"de").await.expect("written"), 1);
        assert!(client.write_blocked.get(), "a short write");
        let pending = tokio::time::timeout(std::time::Duration::ZERO, metered.write(b"e")).await;
        assert!(pending.is_err() && client.write_blocked.get());
        end.read_exact(&mut [0; 4]).await.expect("read");
        assert_eq!(metered.write(b"e").await.expect("written"), 1);
        assert!(!client.write_blocked.get());
    }
}
