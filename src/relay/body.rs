//! The sink for hyper: a response body, in frames of which hyper makes one chunk (HTTP/1.1) or one DATA frame (HTTP/2)
//! each; frames that are ready together leave in one write. A chunk is one unit; a DATA frame is as many whole ones as one
//! read brought, within its bound.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::takeover::{Offer, Offered};
use super::{Next, Relay, Tunnel};

/// A response body as hyper pulls it.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Full(Bytes),
    /// A whole stream, unit by unit: it says nothing of its length, since clients may wait for chunks (WeChat does).
    Events(vec::IntoIter<Bytes>),
    /// Nothing; what comes after the head is not HTTP.
    Tunnel(Option<Box<Tunnel>>),
    Stream(Stream),
    /// The same, which somebody else may write.
    Offered(Offered),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) relay: Box<Relay>,
    /// An abort was decided, and hyper was given one more turn to flush what it has.
    flushing: bool,
}

/// The response cannot be completed: hyper must cut the connection or reset the stream.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut short")]
pub struct Aborted;

impl Body {
    /// A body that is all there; may be empty.
    pub fn full(bytes: Bytes) -> Self {
        Body(Kind::Full(bytes))
    }

    /// An event stream that is all there; not empty, and no unit of it is.
    pub fn events(units: Vec<Bytes>) -> Self {
        Body(Kind::Events(units.into_iter()))
    }

    /// No body, and a tunnel for whoever drives the connection.
    pub(crate) fn tunnel(tunnel: Tunnel) -> Self {
        Body(Kind::Tunnel(Some(Box::new(tunnel))))
    }

    /// The tunnel that begins behind the head; only the first call finds it.
    pub(crate) fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.0 {
            Kind::Tunnel(tunnel) => tunnel.take(),
            Kind::Full(_) | Kind::Events(_) | Kind::Stream(_) | Kind::Offered(_) => None,
        }
    }

    /// Offers this body to whoever drives the connection, if it is relayed.
    pub(crate) fn offer(&mut self) -> Option<Rc<Offer>> {
        match std::mem::replace(&mut self.0, Kind::Full(Bytes::new())) {
            Kind::Stream(stream) => {
                let offer = Offer::new(stream);
                self.0 = Kind::Offered(Offered(Rc::clone(&offer)));
                Some(offer)
            }
            other => {
                self.0 = other;
                None
            }
        }
    }

    /// A body that is relayed from an upstream.
    pub fn relayed(relay: Box<Relay>) -> Self {
        Body(Kind::Stream(Stream::new(relay)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut self.get_mut().0 {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Tunnel(_) => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Events(units) => Poll::Ready(units.next().map(Frame::data).map(Ok)),
            Kind::Stream(stream) => stream.poll_frame(cx),
            Kind::Offered(offered) => offered.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Events(units) => units.len() == 0,
            Kind::Tunnel(_) => true,
            Kind::Stream(stream) => stream.is_over(),
            Kind::Offered(offered) => offered.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Tunnel(_) => SizeHint::with_exact(0),
            Kind::Events(_) | Kind::Stream(_) | Kind::Offered(_) => SizeHint::default(),
        }
    }
}

impl Stream {
    pub(super) fn new(relay: Box<Relay>) -> Self {
        Stream { relay, flushing: false }
    }

    pub(super) fn is_over(&self) -> bool {
        self.relay.is_over()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.relay.asked_for_more();
        let frame = match ready!(self.relay.poll_next(cx)) {
            Next::Part(bytes) => Some(Ok(Frame::data(bytes))),
            Next::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Next::End => None,
            Next::Abort => {
                ready!(self.poll_flushed(cx));
                Some(Err(Aborted))
            }
        };
        self.relay.handed_over();
        Poll::Ready(frame)
    }

    /// On an error hyper drops what it has buffered. Whole events that came before the break are the client's:
    /// hyper gets a turn to write them, and over HTTP/1.1 as many turns as the socket needs.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.flushing {
            self.flushing = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.relay.is_flushed() { Poll::Ready(()) } else { Poll::Pending }
    }
}
