//! Learns that a client has left without reading from its socket.
//!
//! Whoever does not read finds no end of file. The kernel knows all the same: epoll reports EPOLLRDHUP or EPOLLHUP
//! (epoll_ctl(2)) although bytes are unread. tokio keeps that to itself for its own sockets, so a [`Hangup`] has a
//! second file descriptor for the socket, registered for nothing else; and because that costs, it has it only from
//! the first [`Hangup::poll`] to [`Hangup::rest`], in a box: few connections come to need it.
//!
//! A reset is always seen. A FIN is seen once it has arrived: TCP lets it through only behind everything that the
//! client wrote, so it waits on the client's machine while that is more than the receive window takes.
//!
//! A [`Breakage`] is the same for whoever must not take a half-close for the end: only a reset counts.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches one socket for the end of what it has to say, or nothing yet.
#[derive(Debug, Default)]
pub(super) struct Hangup(Option<Box<AsyncFd<OwnedFd>>>);

impl Hangup {
    /// Ready once the client closed its half of the connection behind `fd`, or the connection broke. Never ready
    /// where the process has no file descriptor left: then a timeout has to end the connection.
    pub(super) fn poll(&mut self, fd: BorrowedFd<'_>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_none() {
            self.0 = register(fd, Interest::READABLE);
        }
        let Some(watched) = &self.0 else { return Poll::Pending };
        loop {
            // An error means that the runtime is shutting down.
            let Ok(mut guard) = ready!(watched.poll_read_ready(cx)) else { return Poll::Pending };
            if guard.ready().is_read_closed() {
                return Poll::Ready(());
            }
            guard.clear_ready();
        }
    }

    /// Gives the second file descriptor back.
    pub(super) fn rest(&mut self) {
        self.0 = None;
    }
}

/// Watches one socket for a reset, or nothing yet.
#[derive(Debug, Default)]
pub(super) struct Breakage(Option<Box<AsyncFd<OwnedFd>>>);

impl Breakage {
    /// Ready once the connection behind `fd` was reset. Never ready where the process has no file descriptor left.
    pub(super) fn poll(&mut self, fd: BorrowedFd<'_>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_none() {
            self.0 = register(fd, Interest::WRITABLE);
        }
        let Some(watched) = &self.0 else { return Poll::Pending };
        loop {
            let Ok(mut guard) = ready!(watched.poll_write_ready(cx)) else { return Poll::Pending };
            if guard.ready().is_write_closed() {
                // Without an error both sides ended; a write tells.
                let broke = !matches!(SockRef::from(&fd).take_error(), Ok(None));
                return if broke { Poll::Ready(()) } else { Poll::Pending };
            }
            guard.clear_ready();
        }
    }
}

/// A second file descriptor, registered for `interest`; `None` if there is none to be had.
fn register(fd: BorrowedFd<'_>, interest: Interest) -> Option<Box<AsyncFd<OwnedFd>>> {
    fd.try_clone_to_owned().and_then(|fd| watch(fd, interest)).ok().map(Box::new)
}

#[expect(
    deprecated,
    reason = "sound: an `OwnedFd` is open until it is dropped; the successor, for types that are not, is unsafe"
)]
fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    /// Both ends of a connection; nobody reads from the second.
    async fn pair() -> io::Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        Ok((client, listener.accept().await?.0))
    }

    async fn seen(hangup: &mut Hangup, socket: &TcpStream, bound: Duration) -> bool {
        timeout(bound, poll_fn(|cx| hangup.poll(socket.as_fd(), cx))).await.is_ok()
    }

    #[tokio::test(flavor = "local")]
    async fn end_is_seen_behind_unread_bytes_and_bytes_are_none() {
        for way in ["close", "half-close", "reset"] {
            let (mut client, socket) = pair().await.expect("a connection");
            let mut hangup = Hangup::default();
            for _ in 0..3 {
                client.write_all(b"unread").await.expect("written");
                assert!(!seen(&mut hangup, &socket, MOMENT).await, "{way}: bytes are no end");
            }
            match way {
                "half-close" => client.shutdown().await.expect("a FIN"),
                "reset" => {
                    client.set_zero_linger().expect("an option");
                    drop(client);
                }
                _ => drop(client),
            }
            assert!(seen(&mut hangup, &socket, LONG).await, "{way}");
            hangup.rest();
            assert!(seen(&mut hangup, &socket, LONG).await, "{way}: an end that came before the watch");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn half_close_is_no_breakage_and_a_reset_is_one_also_after_it() {
        for closed_before in [false, true] {
            let (mut client, socket) = pair().await.expect("a connection");
            let mut breakage = Breakage::default();
            let mut seen =
                async |bound| timeout(bound, poll_fn(|cx| breakage.poll(socket.as_fd(), cx))).await.is_ok();
            client.write_all(b"unread").await.expect("written");
            assert!(!seen(MOMENT).await, "bytes are no break");
            if closed_before {
                client.shutdown().await.expect("a FIN");
                assert!(!seen(MOMENT).await, "a half-close is no break");
            }
            client.set_zero_linger().expect("an option");
            drop(client);
            assert!(seen(LONG).await, "a reset; closed before: {closed_before}");
        }
    }

    const MOMENT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);
}
