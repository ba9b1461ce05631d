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

/// The end of a chunked body, without trailers (RFC 9112 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Framed output that a worker may keep room for.
const KEEP_BYTES: usize = 1 << 20;
