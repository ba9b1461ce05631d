//! The sink for a client's HTTP/1.1 socket that hyper has let go of ([`super::takeover`]).
//!
//! One pass: what waits goes out; only when the socket has taken all of it is the upstream read, and what the session makes
//! of that read leaves in one write, one chunk per unit (RFC 9112 7.1). So a slow reader slows the upstream, and a
//! silent stream holds no buffer: what is being written lies in the worker's scratch, and only what the socket does
//! not take is kept.
//!
//! It writes and never reads: whether the client is still there, and takes what is written in time, is watched by
//! who drives it, [`crate::server`], as for hyper.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::unsent::Unsent;
use super::{Relay, SCRATCH, Scratch};
use crate::stream::{End, Out};

/// One response body on its way to a raw socket.
///
/// Dropping it aborts the upstream and writes the access line.
#[derive(Debug)]
pub(crate) struct Raw {
    relay: Box<Relay>,
    unsent: Unsent,
    keep_alive: bool,
    /// The socket has taken everything to the end.
    delivered: bool,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Properly, and the connection can carry another request.
    KeepAlive,
    /// Properly, and the connection is to be closed.
    Close,
    /// It was cut short, or the client takes no more: the connection must be dropped.
    Cut,
}

impl Raw {
    /// The rest of the body of `relay` behind `begun`, which nobody has written yet.
    pub(super) fn new(mut relay: Box<Relay>, mut begun: Vec<u8>, keep_alive: bool) -> Self {
        while let Some(unit) = relay.ready.pop() {
            put_chunk(&unit, &mut begun);
        }
        Raw { relay, unsent: Unsent::new(begun), keep_alive, delivered: false }
    }

    /// The connection is not to carry another request.
    pub(crate) fn close(&mut self) {
        self.keep_alive = false;
    }

    /// Writes until the socket takes no more, or there is nothing to write.
    pub(crate) fn poll(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Over> {
        self.poll_body(socket, cx).map(|result| result.unwrap_or(Over::Cut))
    }

    fn poll_body(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Over>> {
        loop {
            ready!(self.unsent.poll_taken(socket, cx))?;
            ready!(self.unsent.poll_flushed(socket, cx))?;
            self.delivered = self.relay.end.is_some();
            match self.relay.end {
                Some(End::Clean) if self.keep_alive => return Poll::Ready(Ok(Over::KeepAlive)),
                Some(End::Clean) => return Poll::Ready(Ok(Over::Close)),
                Some(End::Abort) => return Poll::Ready(Ok(Over::Cut)),
                None => ready!(self.step(socket, cx)?),
            }
        }
    }

    /// One step of the relay, and one write of what it brings.
    fn step(&mut self, socket: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            if self.relay.step(cx, scratch).is_pending() {
                return Ok(Poll::Pending);
            }
            let Scratch { out, wire, .. } = scratch;
            put_chunks(out, wire);
            self.unsent.send(socket, wire, cx)?;
            Ok(Poll::Ready(()))
        })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.relay.is_untaken = !self.delivered;
    }
}

/// Frames what a step of the relay brought.
fn put_chunks(out: &Out, wire: &mut Vec<u8>) {
    if wire.capacity() > KEEP_BYTES {
        *wire = Vec::new();
    }
    wire.clear();
    // Room is made once, and no more of it than a worker may keep because the last line end did not fit.
    wire.reserve(out.bytes.len() + out.ends.len() * CHUNK_FRAME_BYTES + LAST_CHUNK.len());
    let starts = std::iter::once(&0).chain(&out.ends);
    for (start, end) in starts.zip(&out.ends) {
        put_chunk(out.bytes.get(*start..*end).unwrap_or_default(), wire);
    }
    if out.end == Some(End::Clean) {
        wire.extend_from_slice(LAST_CHUNK);
    }
}

/// RFC 9112 7.1: the size in hex, the data, each with a line end behind it. No data would be the end of the body.
fn put_chunk(data: &[u8], wire: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    let size = (0..digits).rev().map(|digit| HEX[data.len() >> (4 * digit) & 0xf]);
    wire.extend(size);
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(data);
    wire.extend_from_slice(b"\r\n");
}

/// What stands around the data of a chunk, at the most: 16 digits and two line ends.
const CHUNK_FRAME_BYTES: usize = 20;

/// The end of a chunked body, without trailers (RFC 9112 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Framed output that a worker may keep room for.
const KEEP_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;

    use super::super::testing::relay;
    use super::*;
    use crate::config::LogFormat;
    use crate::format::SSE;
    use crate::log::testing::Lines;
    use crate::stream::Mode;

    const EVENT: &str = "9\r\ndata: 1\n\n\r\n";

    /// A raw stream behind `head`, and its upstream.
    async fn raw() -> (Raw, TcpStream) {
        let (relay, upstream) = relay(Mode::Reframe(&SSE)).await;
        (Raw::new(relay, b"head".to_vec(), true), upstream)
    }

    async fn finish(raw: &mut Raw, socket: &mut DuplexStream) -> Over {
        poll_fn(|cx| raw.poll(socket, cx)).await
    }

    #[tokio::test(flavor = "local")]
    async fn bytes_leave_in_order_however_little_the_socket_takes() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        for room in [1, 2, 3, 7, 1 << 10] {
            let (mut raw, mut upstream) = raw().await;
            let (mut socket, mut client) = duplex(room);
            let sent = format!("{}0\r\n\r\n", EVENT.repeat(3));
            upstream.write_all(sent.as_bytes()).await.unwrap();
            let writing = async {
                let over = finish(&mut raw, &mut socket).await;
                drop((raw, socket));
                over
            };
            let mut received = String::new();
            let (over, read) = tokio::join!(writing, client.read_to_string(&mut received));
            assert_eq!((over, read.unwrap()), (Over::KeepAlive, received.len()));
            assert_eq!(received, format!("head{sent}"), "{room} bytes at a time");
            assert!(lines.access().pop().expect("a line").contains("outcome=done"));
        }
    }

    #[tokio::test(flavor = "local")]
    async fn upstream_is_not_read_while_anything_waits() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (mut raw, mut upstream) = raw().await;
        let (mut socket, mut client) = duplex(2);
        upstream.write_all(EVENT.as_bytes()).await.unwrap();
        for read in ["he", "ad"] {
            let poll = poll_fn(|cx| Poll::Ready(raw.poll(&mut socket, cx))).await;
            assert!(poll.is_pending());
            assert_eq!(raw.relay.session.stats().bytes, 0, "it was read");
            let mut bytes = [0; 2];
            client.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, read.as_bytes());
        }
    }

    /// What the upstream said before it broke is the client's; then the connection must not look complete.
    #[tokio::test(flavor = "local")]
    async fn cut_comes_after_everything_before_it() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (relay, mut upstream) = relay(Mode::PassThrough).await;
        let mut raw = Raw::new(relay, b"head".to_vec(), true);
        let (mut socket, mut client) = duplex(1 << 10);
        upstream.write_all(EVENT.as_bytes()).await.unwrap();
        drop(upstream);
        assert_eq!(finish(&mut raw, &mut socket).await, Over::Cut);
        drop(socket);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, format!("head{EVENT}"));
    }

    /// The upstream was done; the client had left before it took all of it.
    #[tokio::test(flavor = "local")]
    async fn client_that_does_not_take_all_is_the_outcome() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (mut raw, mut upstream) = raw().await;
        let (mut socket, client) = duplex(6);
        upstream.write_all(format!("{EVENT}0\r\n\r\n").as_bytes()).await.unwrap();
        let pending = poll_fn(|cx| Poll::Ready(raw.poll(&mut socket, cx))).await;
        assert!(pending.is_pending());
        drop(client);
        assert_eq!(finish(&mut raw, &mut socket).await, Over::Cut);
        drop(raw);
        let line = lines.access().pop().expect("a line");
        assert!(line.contains("outcome=client:gone"), "{line}");
    }

    #[test]
    fn chunk_sizes_are_hex() {
        for length in [1, 9, 10, 15, 16, 255, 256, 4096, 70_000] {
            let mut wire = Vec::new();
            put_chunk(&vec![b'x'; length], &mut wire);
            let line = wire.split(|byte| *byte == b'\r').next().expect("a line");
            assert_eq!(String::from_utf8_lossy(line), format!("{length:X}"));
            assert_eq!(wire.len(), line.len() + 2 + length + 2);
        }
        let mut wire = Vec::new();
        put_chunk(b"", &mut wire);
        assert!(wire.is_empty(), "that would be the end of the body");
    }
}
