//! Between hyper and the client's socket.
//!
//! [`Wire`] sits above TLS, between hyper ([`ClientIo`]) and the connection that drives hyper. It adds no copy and no
//! system call to what hyper does, with one exception: what the client sends while hyper does not read goes into a
//! stash ([`super::ahead`]).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::answer::Stage;
use super::client::Client;
use super::frames::Frames;
use super::hangup::{Breakage, Hangup};
use super::refusal;
use super::tap::Tap;
use crate::relay::{Offer, Unsent};
use crate::stream::Cause;

/// A byte stream to the client: TCP or Unix, plain or TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The kernel's socket below; `None` for a pipe inside a test.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

impl Socket for TcpStream {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Socket for UnixStream {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl<S: Socket> Socket for TlsStream<S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.get_ref().0.fd()
    }
}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A client's byte stream, shared by hyper and the connection that drives hyper.
pub(super) struct Wire {
    pub(super) socket: RefCell<TokioIo<Tap>>,
    /// Read from the socket, not yet by hyper. See [`super::ahead`].
    pub(super) ahead: RefCell<BytesMut>,
    /// HTTP/1.1: how much of what the client sent is not ahead of the answer to its last request; `None` before the first.
    pub(super) behind: Cell<Option<NonZeroU64>>,
    /// Tells of the client's end while the stash is full; at rest again once hyper has emptied it.
    pub(super) hangup: RefCell<Hangup>,
    /// Tells that the connection broke while a tunnel does not read.
    breakage: RefCell<Breakage>,
    /// Whether it is to be [reset](Wire::reset_unless_shut).
    resets: Cell<bool>,
    /// Whether hyper's last read found nothing, so that the socket will wake the connection.
    pub(super) parked: Cell<bool>,
    /// The status of the last response head that began a write.
    status: Cell<Option<u16>>,
    /// HTTP/1.1: where the answer of the handler is.
    pub(super) stage: Cell<Stage>,
    /// Whether a refusal of hyper's was kept from the client.
    withheld: Cell<bool>,
    /// HTTP/1.1: the body of the answer, while it is open who writes it.
    pub(super) offer: RefCell<Option<Rc<Offer>>>,
    /// What hyper wrote while that was open, and goes before what it writes next.
    pub(super) owed: RefCell<Option<Box<Unsent>>>,
    pub(super) client: Rc<Client>,
}

/// The end of a [`Wire`] that hyper holds.
pub(super) struct ClientIo(pub(super) Rc<Wire>);

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Anything but the HTTP/2 preface.
    Http1,
    /// The whole HTTP/2 preface.
    Http2,
    /// The client closed the connection before that was clear.
    Closed,
}

impl Wire {
    /// A wire over a socket on which nothing was read.
    pub(super) fn new(socket: Box<dyn Socket>, client: Rc<Client>) -> Rc<Self> {
        Rc::new(Wire {
            socket: RefCell::new(TokioIo::new(Tap::new(socket))),
            ahead: RefCell::default(),
            behind: Cell::new(None),
            hangup: RefCell::default(),
            breakage: RefCell::default(),
            resets: Cell::new(false),
            parked: Cell::new(false),
            status: Cell::new(None),
            stage: Cell::default(),
            withheld: Cell::new(false),
            offer: RefCell::default(),
            owed: RefCell::default(),
            client,
        })
    }

    /// Reads until the first bytes tell HTTP/2 (RFC 9113 3.4) from HTTP/1.1. They stay for hyper.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn opening(&self) -> Opening {
        poll_fn(|cx| {
            loop {
                match is_preface(&self.ahead.borrow()) {
                    Some(true) => return Poll::Ready(Opening::Http2),
                    Some(false) => return Poll::Ready(Opening::Http1),
                    None => {}
                }
                if !matches!(ready!(self.poll_read_ahead(cx)), Ok(1..)) {
                    return Poll::Ready(Opening::Closed);
                }
            }
        })
        .await
    }

    /// To be called before each poll of hyper.
    pub(super) fn begin_poll(&self) {
        self.parked.set(false);
    }

    /// To be called when the stash is full: ready once the client closed the connection (or its half of it,
    /// which counts as much when it is read), or it broke.
    pub(super) fn poll_hangup(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.socket.borrow().inner().fd() {
            Some(fd) => self.hangup.borrow_mut().poll(fd, cx),
            None => Poll::Pending,
        }
    }

    /// To be called by whoever does not read, but must not take a half-close for the end: ready once the connection
    /// broke.
    pub(super) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.socket.borrow().inner().fd() {
            Some(fd) => self.breakage.borrow_mut().poll(fd, cx),
            None => Poll::Pending,
        }
    }

    /// Has the connection end with a reset when it is dropped (over TCP; a Unix socket knows no such end).
    pub(super) fn reset_on_drop(&self) {
        self.set_linger(Some(Duration::ZERO));
    }

    /// The same for an answer whose end is that of the connection (RFC 9112 6.3 rule 8), so that one that breaks off does not
    /// look complete: unless the connection is [shut down](Wire::poll_shutdown) before.
    pub(super) fn reset_unless_shut(&self) {
        self.resets.set(true);
        self.reset_on_drop();
    }

    fn set_linger(&self, linger: Option<Duration>) {
        if let Some(fd) = self.socket.borrow().inner().fd() {
            // It is closed either way.
            let _ = SockRef::from(&fd).set_linger(linger);
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) async fn shutdown(&self) {
        // It is gone if that fails.
        let _ = poll_fn(|cx| self.poll_shutdown(cx)).await;
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.resets.take() {
            self.set_linger(None);
        }
        Pin::new(self.socket.borrow_mut().inner_mut()).poll_shutdown(cx)
    }

    /// To be called before hyper serves HTTP/2: from now on frames are counted, what was read before included.
    pub(super) fn follow_frames(&self) {
        // A write may begin anywhere in a frame, and with anything.
        self.stage.set(Stage::Running);
        self.socket.borrow_mut().inner_mut().follow(&self.ahead.borrow());
    }

    /// To be called for each request that the handler gets.
    pub(super) fn handled(&self) {
        if let Some(frames) = self.socket.borrow_mut().inner_mut().frames_mut() {
            frames.handle();
        }
    }

    /// Whether hyper, having nothing more to do, has seen to all that was read and written all that it had to say.
    pub(super) fn is_settled(&self) -> bool {
        self.ahead.borrow().is_empty() && !self.client.write_blocked.get()
    }

    /// The HTTP/2 streams that were refused and not told of yet ([`Frames::refused`]).
    pub(super) fn refused(&self) -> impl Iterator<Item = Option<Cause>> + use<> {
        self.socket.borrow_mut().inner_mut().frames_mut().map(Frames::refused).into_iter().flatten()
    }

    /// Whether an HTTP/2 client is in the middle of the head of a request.
    pub(super) fn is_inside_head(&self) -> bool {
        self.socket.borrow().inner().frames().is_some_and(Frames::is_inside_head)
    }

    /// Whether an HTTP/2 client sent more than it may for nothing.
    pub(super) fn is_flooded(&self) -> bool {
        self.socket.borrow().inner().frames().is_some_and(Frames::is_flooded)
    }

    /// Writes a short response of our own where hyper has none: in one piece that the socket takes at once, or not at
    /// all. Whether it did.
    pub(super) async fn reply(&self, response: &[u8]) -> bool {
        poll_fn(|cx| {
            let written = Pin::new(self.socket.borrow_mut().inner_mut()).poll_write(cx, response);
            Poll::Ready(matches!(written, Poll::Ready(Ok(length)) if length == response.len()))
        })
        .await
    }

    /// Whether hyper found a head too large and said 431, which was not written: somebody has to say what was.
    pub(super) fn has_withheld(&self) -> bool {
        self.withheld.get()
    }

    /// The status of the last response head that hyper wrote.
    pub(super) fn last_status(&self) -> Option<u16> {
        self.status.get()
    }

    fn note_status(&self, bytes: &[u8]) {
        if bytes.starts_with(b"HTTP/1.") {
            let digits = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
            self.status.set(digits.and_then(|digits| digits.parse().ok()));
            let is_refusal = self.stage.get() == Stage::None;
            self.withheld.set(is_refusal && self.status.get() == Some(refusal::HEAD_TOO_LARGE.status));
        }
    }
}

impl hyper::rt::Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.take_ahead(&mut buffer) {
            self.0.read_for_request();
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut *self.0.socket.borrow_mut()).poll_read(cx, buffer);
        self.0.parked.set(poll.is_pending());
        self.0.read_for_request();
        poll
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.note_status(bytes);
        let is_captured = self.0.offer.borrow().as_ref().is_some_and(|offer| offer.captures(bytes));
        if is_captured || self.0.withheld.get() {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.0.poll_owed(cx))?;
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_silent() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.0.poll_owed(cx))?;
        ready!(Pin::new(&mut *self.0.socket.borrow_mut()).poll_flush(cx))?;
        // hyper flushes what is below it only when it has nothing left itself.
        if self.0.stage.get() == Stage::Ending {
            self.0.stage.set(Stage::None);
        }
        let client = &self.0.client;
        client.flushes.set(client.flushes.get().wrapping_add(1));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written in its place comes first.
        if self.0.withheld.get() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.0.poll_owed(cx))?;
        self.0.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        hyper::rt::Write::is_write_vectored(&*self.0.socket.borrow())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_write_vectored(cx, slices)
    }
}

/// Whether `bytes` begin with the preface of HTTP/2; `None` while that is open.
fn is_preface(bytes: &[u8]) -> Option<bool> {
    let common = bytes.len().min(PREFACE.len());
    match bytes[..common] == PREFACE[..common] {
        true if common == PREFACE.len() => Some(true),
        true => None,
        false => Some(false),
    }
}

/// RFC 9113 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preface_is_open_until_its_last_byte() {
        for length in 0..PREFACE.len() {
            assert_eq!(is_preface(&PREFACE[..length]), None, "{length} bytes");
        }
        assert_eq!(is_preface(PREFACE), Some(true));
        assert_eq!(is_preface(&[PREFACE.as_slice(), b"\0\0\0"].concat()), Some(true));
        assert_eq!(is_preface(b"G"), Some(false));
        assert_eq!(is_preface(b"PRI * HTTP/2.0\r\n\r\nSX"), Some(false));
        assert_eq!(is_preface(b"PRI * HTTP/1.1\r\n\r\n"), Some(false));
    }

    #[tokio::test]
    async fn status_is_taken_from_the_head_that_begins_a_write() {
        use hyper::rt::Write;
        let (_end, socket) = tokio::io::duplex(1 << 10);
        let wire = Wire::new(Box::new(socket), Rc::new(Client::new(None, None, false)));
        let mut io = ClientIo(Rc::clone(&wire));
        for (bytes, status) in [
            (&b"5\r\nHTTP/\r\n"[..], None),
            (b"HTTP/1.1 431 Request Header Fields Too Large\r\n", Some(431)),
            (b"0\r\n\r\n", Some(431)),
            (b"HTTP/1.0 400", Some(400)),
        ] {
            poll_fn(|cx| Pin::new(&mut io).poll_write(cx, bytes)).await.expect("written");
            assert_eq!(wire.last_status(), status);
        }
    }
}
