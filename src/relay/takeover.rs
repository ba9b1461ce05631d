//! How hyper hands a client's connection over: everything that depends on it is in this file.
//!
//! hyper does the heads. The body of a response may instead go out of [`Raw`], straight to the socket, which costs a
//! third of the instructions and none of hyper's buffers (16 KiB for as long as a stream is silent). Such a body is an
//! [`Offer`]: it gives hyper no frame at all. hyper then encodes the head, asks the body, finds nothing, and writes what it
//! has; from the question on, what it writes is captured here and does not reach the socket. Once hyper waits,
//! [`Offer::settle`] looks at what it wrote: if that is a head behind which chunks may follow, the connection can be taken
//! apart, and the captured head leaves in one write with the first events. If it is anything else the offer is declined:
//! the bytes go out as they are, and hyper pulls the body as ever. So what is assumed of hyper is not trusted, and
//! a hyper that does otherwise makes streams slower, not wrong. What is assumed, each with a test below:
//!
//! 1. hyper asks for a body's first frame before it writes the head, and then writes all of the head before it waits.
//! 2. The head ends with an empty line and says `transfer-encoding: chunked` where hyper would chunk the body. To
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
    /// What hyper wrote since it asked.
    written: RefCell<Vec<u8>>,
}

/// The end of an [`Offer`] that hyper has. Dropping it drops the body, unless that was taken.
#[derive(Debug)]
pub(super) struct Offered(pub(super) Rc<Offer>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// hyper has not asked for a frame.
    Open,
    /// It has: the next thing it does is to write the head.
    Asked,
    /// The body is hyper's.
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
    /// Offers `relay`, the body of a response to HTTP/1.1 of which no length is said.
    pub(super) fn new(stream: Stream) -> Rc<Self> {
        let stream = RefCell::new(Some(stream));
        Rc::new(Offer { stream, stage: Cell::new(Stage::Open), written: RefCell::default() })
    }

    /// To be asked before each write of hyper's: whether it was captured. All of it was, then.
    pub(crate) fn captures(&self, bytes: &[u8]) -> bool {
        let captures = self.stage.get() == Stage::Asked;
        if captures {
            self.written.borrow_mut().extend_from_slice(bytes);
        }
        captures
    }

    /// To be asked after each poll of hyper that was pending: `None` while hyper has not come to the body.
    pub(crate) fn settle(&self) -> Option<Settled> {
        if self.stage.get() != Stage::Asked {
            return None;
        }
        self.stage.set(Stage::Declined);
        let written = self.written.take();
        let stream = self.stream.take();
        match (stream, chunked(&written)) {
            (Some(stream), Some(head)) => Some(Settled::Taken(Raw::new(stream.relay, &written, head.keep_alive))),
            (stream, _) => {
                self.stream.replace(stream);
                Some(Settled::Declined(written))
            }
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.stage.get() != Stage::Declined {
            self.stage.set(Stage::Asked);
            return Poll::Pending;
        }
        match &mut *self.stream.borrow_mut() {
            Some(stream) => stream.poll_frame(cx),
            None => Poll::Pending,
        }
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

/// What a head that was written says of what follows it.
#[derive(Debug, PartialEq, Eq)]
struct Chunked {
    keep_alive: bool,
}

/// `None` if chunks must not follow `written`: it is no complete head, the body is not chunked, or hyper would
/// look after a trailer section. hyper writes field names in lower case, one space before the value, and no value has
/// a line end in it.
fn chunked(written: &[u8]) -> Option<Chunked> {
    let has = |field: &[u8]| memmem::find(written, field).is_some();
    let is_head = written.starts_with(b"HTTP/1.1 ") && written.ends_with(b"\r\n\r\n");
    let follows = is_head && has(b"\r\ntransfer-encoding: chunked\r\n") && !has(b"\r\ntrailer: ");
    follows.then(|| Chunked { keep_alive: !has(b"\r\nconnection: close\r\n") })
}
