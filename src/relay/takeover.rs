//! How hyper hands a client's connection over: everything that depends on it is in this file.
//!
//! hyper does the heads, and the bodies that are there at once. A stream that goes on may instead go out of [`Raw`], straight
//! to the socket, which costs half the instructions and none of hyper's buffers (16 KiB for as long as the stream is silent).
//! Such a body is an [`Offer`]. hyper encodes the head, pulls what the body has by now, and is told to wait; from that moment
//! on what it writes is captured here and does not reach the socket. Once hyper waits, [`Offer::settle`] looks at what it
//! wrote: if that begins with a head behind which chunks follow, the connection can be taken apart, and
//! what was captured is the first that leaves. If it is anything else the offer is declined: the bytes go out as they
//! are, and hyper pulls the body as ever. So what is assumed of hyper is not trusted, and a hyper that does otherwise
//! makes streams slower, not wrong. What is assumed, each with a test below:
//!
//! 1. hyper asks for frames before it writes the head, and writes all that it has before it waits.
//! 2. The head says `transfer-encoding: chunked` where hyper chunks the body, and each frame is one whole chunk. To
//!    HTTP/1.0 it says nothing of the kind, and for HEAD it asks for no frame.
//! 3. If hyper will not take another request, the head says `connection: close`.
//! 4. `into_parts` gives back every byte that hyper has read and not used (pipelined requests), and has nothing
//!    left to write.
//! 5. A new connection of hyper's on the same socket, given those bytes first, answers the next requests.
//!
//! hyper documents `into_parts` for connections that are done; this is earlier than that.
//!
//! Called by [`crate::server`], which owns the socket and drives hyper.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use memchr::memmem;

use super::body::{Aborted, Stream};
use super::raw::Raw;

/// A response body that hyper need not carry, shared by the body that hyper has and the connection.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Gone once it was taken, or hyper dropped the body.
    stream: RefCell<Option<Stream>>,
    stage: Cell<Stage>,
    /// Bytes that hyper was given.
    given: Cell<usize>,
    /// What hyper wrote since it was told to wait.
    written: RefCell<Vec<u8>>,
}

/// The end of an [`Offer`] that hyper has. Dropping it drops the body, unless that was taken.
#[derive(Debug)]
pub(super) struct Offered(pub(super) Rc<Offer>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// hyper is given what is there.
    Open,
    /// It was told to wait: the next thing it does is to write what it has.
    Silent,
    /// The body is hyper's to the end.
    Declined,
}

/// What became of an [`Offer`].
#[derive(Debug)]
pub(crate) enum Settled {
    /// hyper is to let go of the connection.
    Taken(Raw),
    /// hyper is to be polled again, and this is to be written before all else.
    Declined(Vec<u8>),
}

impl Offer {
    /// Offers `stream`.
    pub(super) fn new(stream: Stream) -> Rc<Self> {
        Rc::new(Offer {
            stream: RefCell::new(Some(stream)),
            stage: Cell::new(Stage::Open),
            given: Cell::new(0),
            written: RefCell::default(),
        })
    }

    /// To be asked before each write of hyper's: whether it was captured. All of it was, then. If hyper writes before it was
    /// told to wait, it has more than it holds (a large first event), and the body is its own.
    pub(crate) fn captures(&self, bytes: &[u8]) -> bool {
        match self.stage.get() {
            Stage::Silent => self.written.borrow_mut().extend_from_slice(bytes),
            Stage::Open | Stage::Declined => {
                self.stage.set(Stage::Declined);
                return false;
            }
        }
        true
    }

    /// Whether what hyper writes is captured now, and a flush of hyper's says nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.stage.get() == Stage::Silent
    }

    /// To be asked after each poll of hyper that was pending: `None` while the body is hyper's.
    pub(crate) fn settle(&self) -> Option<Settled> {
        if self.stage.get() != Stage::Silent {
            return None;
        }
        self.stage.set(Stage::Declined);
        let written = self.written.take();
        let stream = self.stream.take();
        match (stream, Chunked::of(&written)) {
            (Some(stream), Some(head)) => {
                Some(Settled::Taken(Raw::new(stream.relay, written, head.keep_alive)))
            }
            (stream, _) => {
                self.stream.replace(stream);
                Some(Settled::Declined(written))
            }
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else { return Poll::Pending };
        match self.stage.get() {
            Stage::Open if self.given.get() < GIVEN_BYTES => {}
            Stage::Open | Stage::Silent => {
                self.stage.set(Stage::Silent);
                return Poll::Pending;
            }
            Stage::Declined => return stream.poll_frame(cx),
        }
        let poll = stream.poll_frame(cx);
        if stream.relay.end.is_some() {
            // The rest is there already.
            self.stage.set(Stage::Declined);
        } else if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.given.set(self.given.get() + frame.data_ref().map_or(0, Bytes::len));
        } else {
            self.stage.set(Stage::Silent);
        }
        poll
    }
}

impl Offered {
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.0.poll_frame(cx)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.stream.borrow().as_ref().is_some_and(Stream::is_over)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        drop(self.0.stream.take());
    }
}

/// A head that hyper wrote, of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
struct Chunked {
    keep_alive: bool,
}

impl Chunked {
    /// `None` if chunks must not follow `written`: it does not begin with a complete head, the body is not chunked, or hyper
    /// would look after a trailer section. hyper writes field names in lower case, and one space before the value.
    fn of(written: &[u8]) -> Option<Self> {
        let head = written.get(..memmem::find(written, b"\r\n\r\n")?)?;
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let is_1_1 = lines.next()?.starts_with(b"HTTP/1.1 ");
        let (mut is_chunked, mut has_trailer, mut keep_alive) = (false, false, true);
        for line in lines {
            match line {
                b"transfer-encoding: chunked" => is_chunked = true,
                b"connection: close" => keep_alive = false,
                _ => has_trailer |= line.starts_with(b"trailer: "),
            }
        }
        (is_1_1 && is_chunked && !has_trailer).then_some(Chunked { keep_alive })
    }
}

/// What hyper is given at the most before the connection is taken over. Less than hyper holds before it writes
/// (`max_buf_size`, 64 KiB), and more than a short answer has.
const GIVEN_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::io;
    use std::pin::Pin;

    use http::{Request, Response};
    use hyper::body::Incoming;
    use hyper::rt::{Read, ReadBufCursor, Write};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::super::testing::relay_behind;
    use super::super::{Body, Over};
    use super::*;
    use crate::config::LogFormat;
    use crate::format::SSE;
    use crate::log::testing::Lines;
    use crate::stream::Mode;

    /// What hyper reads and writes; nothing ever blocks.
    #[derive(Default, Clone)]
    struct Io {
        unread: Rc<RefCell<Vec<u8>>>,
        written: Rc<RefCell<Vec<u8>>>,
        offer: Rc<RefCell<Option<Rc<Offer>>>>,
    }

    impl Read for Io {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut buffer: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let mut unread = self.unread.borrow_mut();
            if unread.is_empty() {
                return Poll::Pending;
            }
            let length = unread.len().min(buffer.remaining());
            buffer.put_slice(&unread.drain(..length).collect::<Vec<u8>>());
            Poll::Ready(Ok(()))
        }
    }

    impl Write for Io {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if !self.offer.borrow().as_ref().is_some_and(|offer| offer.captures(bytes)) {
                self.written.borrow_mut().extend_from_slice(bytes);
            }
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What came of one answer of hyper's: an offered stream.
    struct Answered {
        /// `None` if hyper kept the body.
        raw: Option<Raw>,
        /// What hyper had read and not used when it let go.
        unread: Bytes,
        /// What hyper wrote.
        written: String,
        upstream: TcpStream,
    }

    /// Has hyper answer `request`, whose upstream has sent `begun` with its head, and sends `rest` once the offer is
    /// settled; until hyper lets go or is idle.
    async fn answer(request: &str, begun: &str, rest: &str) -> Answered {
        let io = Io::default();
        io.unread.borrow_mut().extend_from_slice(request.as_bytes());
        let (relay, mut upstream) = relay_behind(Mode::Reframe(&SSE), begun).await;
        let (relay, slot) = (RefCell::new(Some(relay)), Rc::clone(&io.offer));
        let service = service_fn(move |_: Request<Incoming>| {
            let mut body = Body::relayed(relay.take().expect("one request"));
            slot.replace(body.offer());
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        let mut http = http1::Builder::new().writev(false).serve_connection(io.clone(), service);
        let mut raw = None;
        poll_fn(|cx| {
            loop {
                let poll = Pin::new(&mut http).poll(cx);
                let offer = io.offer.borrow().clone();
                match offer.as_ref().and_then(|offer| offer.settle()) {
                    Some(Settled::Taken(taken)) => raw = Some(taken),
                    Some(Settled::Declined(written)) => {
                        io.written.borrow_mut().extend(written);
                        upstream.try_write(rest.as_bytes()).expect("it is read");
                        continue;
                    }
                    None => {}
                }
                // hyper drops a body of which it has all.
                let is_over = offer.is_some_and(|offer| offer.stream.borrow().is_none());
                return if is_over || poll.is_ready() { Poll::Ready(()) } else { Poll::Pending };
            }
        })
        .await;
        if raw.is_some() {
            upstream.write_all(rest.as_bytes()).await.expect("it is read");
        }
        let unread = http.into_parts().read_buf;
        let written = String::from_utf8(io.written.take()).expect("text");
        Answered { raw, unread, written, upstream }
    }

    /// What goes out of `raw`, to its end.
    async fn finish(mut raw: Raw) -> (String, Over) {
        let mut out = Vec::new();
        let over = poll_fn(|cx| raw.poll(&mut out, cx)).await;
        (String::from_utf8(out).expect("text"), over)
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const EVENT: &str = "9\r\ndata: 1\n\n\r\n";
    const END: &str = "9\r\ndata: 2\n\n\r\n0\r\n\r\n";

    #[tokio::test(flavor = "local")]
    async fn hyper_writes_head_and_chunks_before_it_waits() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        for begun in ["", EVENT] {
            let answered = answer(GET, begun, END).await;
            assert_eq!(answered.written, "", "hyper wrote before it was told to wait");
            let (out, over) = finish(answered.raw.expect("hyper lets go")).await;
            let (head, body) = out.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body, format!("{begun}{END}"), "behind {begun:?}");
            assert_eq!(over, Over::KeepAlive);
            drop(answered.upstream);
        }
    }

    #[tokio::test(flavor = "local")]
    async fn answer_that_is_there_at_once_stays_with_hyper() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let answered = answer(GET, &format!("{EVENT}{END}"), "").await;
        assert!(answered.raw.is_none());
        assert!(answered.written.ends_with(&format!("\r\n\r\n{EVENT}{END}")), "{}", answered.written);
        assert!(lines.access().pop().expect("a line").contains("outcome=done"));
    }

    /// hyper holds 64 KiB before it writes: more than that is written before it is told to wait, and it goes on.
    #[tokio::test(flavor = "local")]
    async fn large_first_event_goes_out_by_hyper_and_so_does_the_rest() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let data = "x".repeat(600 << 10);
        let large = format!("{:X}\r\ndata: {data}\n\n\r\n", data.len() + 8);
        let answered = answer(GET, EVENT, &format!("{large}{END}")).await;
        let (out, _) = finish(answered.raw.expect("hyper lets go of what begins small")).await;
        assert!(out.ends_with(&format!("\r\n\r\n{EVENT}{large}{END}")), "{} bytes", out.len());
        let offer = Offer::new(Stream::new(relay_behind(Mode::Reframe(&SSE), "").await.0));
        assert!(!offer.captures(b"HTTP/1.1 200 OK\r\n"), "it writes before it asks");
        assert!(offer.settle().is_none());
    }

    #[tokio::test(flavor = "local")]
    async fn answer_to_http10_goes_on_in_hyper_without_chunks() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let answered = answer("GET / HTTP/1.0\r\n\r\n", EVENT, END).await;
        assert!(answered.raw.is_none());
        assert!(answered.written.starts_with("HTTP/1.0 200 OK\r\n"), "{}", answered.written);
        assert!(answered.written.ends_with("\r\n\r\ndata: 1\n\ndata: 2\n\n"), "{}", answered.written);
    }

    #[tokio::test(flavor = "local")]
    async fn answer_to_head_is_a_head_and_drops_the_stream() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let answered = answer("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", EVENT, "").await;
        assert!(answered.raw.is_none());
        assert!(answered.written.ends_with("\r\n\r\n"), "{}", answered.written);
        assert_eq!(lines.access().len(), 1, "the stream was dropped");
    }

    /// RFC 9112 9.3 and 9.6; where Content-Length and Transfer-Encoding come together, 6.1.
    #[tokio::test(flavor = "local")]
    async fn connection_that_hyper_would_close_is_closed_after_the_stream() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let close = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let both =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        for request in [close, both] {
            let answered = answer(request, EVENT, END).await;
            let (out, over) = finish(answered.raw.expect("hyper lets go")).await;
            assert_eq!(over, Over::Close, "{out}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn pipelined_bytes_are_given_back_and_answered_by_a_new_connection() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\nGET /af";
        let answered = answer(&format!("{GET}{next}"), EVENT, END).await;
        assert_eq!(answered.unread, next);
        let (_, over) = finish(answered.raw.expect("hyper lets go")).await;
        assert_eq!(over, Over::KeepAlive);
        let again = answer(&String::from_utf8_lossy(&answered.unread), EVENT, END).await;
        assert!(again.raw.is_some());
        assert_eq!(again.unread, "GET /af");
    }

    #[test]
    fn head_is_judged_by_its_lines() {
        let of = |head: &str| Chunked::of(head.as_bytes()).map(|chunked| chunked.keep_alive);
        let head = "HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(of(&format!("{head}\r\n5\r\ntrailer: ")), Some(true));
        assert_eq!(of(&format!("{head}connection: close\r\n\r\n")), Some(false));
        assert_eq!(of(head), None, "half a head");
        assert_eq!(of(&format!("{head}trailer: x\r\n\r\n")), None);
        assert_eq!(of("HTTP/1.1 200 OK\r\nx: transfer-encoding: chunked\r\n\r\n"), None);
        assert_eq!(of("5\r\ndata\n\r\n"), None);
        assert_eq!(of("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), None);
    }
}
