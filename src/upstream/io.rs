//! The socket towards an upstream, plain or TLS.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: its buffers would make every plain connection as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Has the connection end with a reset when it is dropped (a TCP connection; a Unix socket knows no such end).
    pub(crate) fn reset_on_drop(&self) {
        let tcp = match self {
            Io::Tcp(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
            Io::Unix(_) => return,
        };
        // It is closed either way.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// Whether an unused connection can still be used: nothing has arrived on it, also no end of file.
    ///
    /// Asks the kernel, because the runtime's cached readiness is only as new as its last turn.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Io::Tcp(stream) => nothing_to_read(stream.as_fd()),
            Io::Unix(stream) => nothing_to_read(stream.as_fd()),
            // What is there may be a session ticket, which is no data: TLS has to look at it first.
            Io::Tls(stream) => {
                let mut byte = [0; 1];
                let mut cx = Context::from_waker(Waker::noop());
                let read = Pin::new(&mut *stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
                read.is_pending() && nothing_to_read(stream.get_ref().0.as_fd())
            }
        }
    }
}

fn nothing_to_read(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0; 1];
    let peeked = rustix::net::recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(rustix::io::Errno::WOULDBLOCK))
}

/// Hands a call on to the stream inside.
macro_rules! inside {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io.get_mut() {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
            Io::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inside!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        inside!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn socket_is_not_quiet_once_data_or_the_end_has_arrived() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut io = Io::Unix(near);
        assert!(io.is_quiet());
        far.write_all(b"x").await.unwrap();
        assert!(!io.is_quiet());
        io.read_u8().await.unwrap();
        assert!(io.is_quiet());
        drop(far);
        assert!(!io.is_quiet());
    }
}
