//! One direction of a tunnel: reads from one side, writes to the other, and passes the end on.
//!
//! It reads only when everything before was taken, so a slow reader slows the writer. It looks at no byte, keeps no
//! time and logs nothing; what a broken side means is for [`super::tunnel`] to say, which calls it.
//!
//! Invariant: at most one read of `space` waits, and nothing is held while nothing waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::unsent::Unsent;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Read from one side and not yet taken by the other.
    unsent: Unsent,
    /// Whether the side that is written to has to take something before this goes on.
    pub(super) blocked: bool,
    pub(super) state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// The end was read, and is to be passed on.
    Ending,
    /// The end was passed on.
    Ended,
    /// Nobody takes anything any more.
    Broken,
}

/// Which side of a [`Flow`] broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broke {
    /// The one that is read.
    From,
    /// The one that is written to, after it had ended its own side or before.
    To { after_its_end: bool },
}

impl Flow {
    /// These bytes go before what is read; they were read by others.
    pub(super) fn put(&mut self, early: &[u8]) {
        self.unsent.put(early);
    }

    /// Gives up: nothing more is read or written.
    pub(super) fn give_up(&mut self) {
        self.unsent.give_up();
        self.blocked = false;
        self.state = State::Broken;
    }

    /// Moves what there is, until one side has to be waited for.
    pub(super) fn advance(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Result<(), Broke> {
        loop {
            self.blocked = self.unsent.poll_taken(to, cx).map_err(|error| Broke::to(&error))?.is_pending();
            if self.blocked {
                return Ok(());
            }
            match self.state {
                State::Open => match poll_read(from, space, cx)? {
                    Poll::Ready(0) => self.state = State::Ending,
                    Poll::Ready(length) => {
                        self.unsent.send(to, &space[..length], cx).map_err(|error| Broke::to(&error))?;
                    }
                    Poll::Pending => {
                        let flushed = self.unsent.poll_flushed(to, cx);
                        self.blocked = flushed.map_err(|error| Broke::to(&error))?.is_pending();
                        return Ok(());
                    }
                },
                State::Ending => match Pin::new(&mut *to).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.state = State::Ended,
                    Poll::Ready(Err(error)) => return Err(Broke::to(&error)),
                    Poll::Pending => {
                        self.blocked = true;
                        return Ok(());
                    }
                },
                State::Ended | State::Broken => return Ok(()),
            }
        }
    }

    /// Bytes that were taken.
    pub(super) fn bytes(&self) -> u64 {
        self.unsent.taken
    }

    pub(super) fn has_read_end(&self) -> bool {
        matches!(self.state, State::Ending | State::Ended)
    }
}

impl Broke {
    /// A reset is ECONNRESET, but EPIPE if a FIN came before it.
    fn to(error: &io::Error) -> Self {
        Broke::To { after_its_end: error.kind() == io::ErrorKind::BrokenPipe }
    }
}

/// One read; 0 is the end. TLS without its close_notify ended too: half of the peers in the field close like that
/// after they have said everything, and the protocol inside has an end of its own.
fn poll_read(
    from: &mut (impl AsyncRead + Unpin),
    space: &mut [u8],
    cx: &mut Context<'_>,
) -> Result<Poll<usize>, Broke> {
    let mut buffer = ReadBuf::new(space);
    match Pin::new(from).poll_read(cx, &mut buffer) {
        Poll::Ready(Ok(())) => Ok(Poll::Ready(buffer.filled().len())),
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Poll::Ready(0)),
        Poll::Ready(Err(_)) => Err(Broke::From),
        Poll::Pending => Ok(Poll::Pending),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SENT: &[u8] = b"every byte in its order";

    /// A writer whose bytes go through a flow into a pipe that holds `room` bytes, read with `space` bytes at a time.
    async fn pass(room: usize, space: usize, waiting: &[u8]) -> (Vec<u8>, u64) {
        let (mut writer, mut from) = duplex(7);
        let (mut to, mut reader) = duplex(room);
        let mut flow = Flow::default();
        flow.put(waiting);
        let mut space = vec![0; space];
        let moving = poll_fn(|cx| {
            flow.advance(&mut from, &mut to, &mut space, cx).expect("nobody breaks");
            if flow.state == State::Ended { Poll::Ready(()) } else { Poll::Pending }
        });
        let writing = async {
            writer.write_all(SENT).await.expect("it is read");
            drop(writer);
        };
        let mut received = Vec::new();
        let (_, _, read) = tokio::join!(moving, writing, reader.read_to_end(&mut received));
        assert_eq!(read.expect("a clean end"), received.len());
        assert!(!flow.blocked, "nothing is held");
        (received, flow.bytes())
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_the_end_after_them_however_small_the_pipes() {
        for room in [1, 2, 5, 100] {
            for space in [1, 3, 100] {
                assert_eq!(pass(room, space, b"").await, (SENT.to_vec(), SENT.len() as u64));
                let (received, bytes) = pass(room, space, b"early").await;
                assert_eq!((received, bytes), ([b"early", SENT].concat(), SENT.len() as u64 + 5));
            }
        }
    }

    async fn advance(flow: &mut Flow, from: &mut DuplexStream, to: &mut DuplexStream) -> Result<(), Broke> {
        poll_fn(|cx| Poll::Ready(flow.advance(from, to, &mut [0; 64], cx))).await
    }

    #[tokio::test]
    async fn writer_is_not_read_while_anything_waits() {
        let (mut writer, mut from) = duplex(4);
        let (mut to, mut reader) = duplex(2);
        let mut flow = Flow::default();
        writer.write_all(b"abcd").await.expect("room");
        advance(&mut flow, &mut from, &mut to).await.expect("nobody breaks");
        assert_eq!((flow.blocked, flow.bytes()), (true, 2));
        writer.write_all(b"efgh").await.expect("room again, once");
        advance(&mut flow, &mut from, &mut to).await.expect("nobody breaks");
        let more = poll_fn(|cx| Poll::Ready(Pin::new(&mut writer).poll_write(cx, b"i"))).await;
        assert!(more.is_pending(), "it went on reading");
        assert_eq!(reader.read_u8().await.expect("a byte"), b'a');
        advance(&mut flow, &mut from, &mut to).await.expect("nobody breaks");
        assert_eq!((flow.blocked, flow.bytes()), (true, 3));
    }

    #[tokio::test]
    async fn side_that_broke_is_named() {
        let (mut writer, mut from) = duplex(4);
        let (mut to, reader) = duplex(4);
        drop(reader);
        writer.write_all(b"a").await.expect("room");
        let broke = advance(&mut Flow::default(), &mut from, &mut to).await;
        assert_eq!(broke, Err(Broke::To { after_its_end: true }), "a pipe knows no reset");
        for (kind, after_its_end) in
            [(io::ErrorKind::ConnectionReset, false), (io::ErrorKind::BrokenPipe, true)]
        {
            assert_eq!(Broke::to(&kind.into()), Broke::To { after_its_end });
        }
    }
}
