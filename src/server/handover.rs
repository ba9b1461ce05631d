//! An HTTP/1.1 connection in the hands of hyper, and in those of a stream that hyper has let go of.
//!
//! Both are driven by [`super::driver`]. What is assumed of hyper stands in [`crate::relay::Offer`]; here is only the order:
//! hyper is polled until it waits, then the offer is settled. Called by [`super::connection`].

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;

use super::answer::Stage;
use super::driver::Http;
use super::io::{ClientIo, Wire};
use super::tap::Tap;
use crate::relay::{Offer, Over, Raw, Settled, Unsent};

/// hyper has the connection.
pub(super) struct Heads<S: HttpService<Incoming>> {
    http: http1::Connection<ClientIo, S>,
    wire: Rc<Wire>,
    again: bool,
    is_over: bool,
}

/// A stream has it.
pub(super) struct Streaming {
    raw: Raw,
    wire: Rc<Wire>,
}

impl<S: HttpService<Incoming>> Heads<S> {
    /// `http`, which is on `wire`; `again` if a stream was there before.
    pub(super) fn new(http: http1::Connection<ClientIo, S>, wire: Rc<Wire>, again: bool) -> Self {
        Heads { http, wire, again, is_over: false }
    }
}

impl<S, B> Heads<S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Lets go of everything that hyper holds; what it read and did not use.
    pub(super) fn into_unread(self) -> bytes::Bytes {
        self.http.into_parts().read_buf
    }
}

impl<S, B> Future for Heads<S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The stream that hyper is to let go of the connection for; `None` if it is over.
    type Output = hyper::Result<Option<Raw>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over {
            return Poll::Ready(Ok(None));
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut self.http).poll(cx) {
                return Poll::Ready(result.map(|()| None));
            }
            match self.wire.settle() {
                Some(Settled::Taken(raw)) => return Poll::Ready(Ok(Some(raw))),
                Some(Settled::Declined(written)) => self.wire.owe(written),
                None => return Poll::Pending,
            }
        }
    }
}

impl<S, B> Http for Heads<S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// hyper closes a connection between two requests, also in the middle of a head. It cannot know that a new one of its own
    /// is that.
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        if self.again && self.wire.stage.get() == Stage::None {
            self.is_over = true;
        } else {
            Pin::new(&mut self.http).graceful_shutdown();
        }
    }
}

impl Wire {
    /// From now on, what hyper writes may be for `offer` to take.
    pub(super) fn offer(&self, offer: Rc<Offer>) {
        self.offer.replace(Some(offer));
    }

    /// To be called after each poll of hyper that was pending: what became of the offer, if there is one and that is clear.
    pub(super) fn settle(&self) -> Option<Settled> {
        let settled = self.offer.borrow().as_ref()?.settle()?;
        self.offer.take();
        Some(settled)
    }

    /// `written` is to go before what hyper writes next.
    pub(super) fn owe(&self, written: Vec<u8>) {
        self.owed.replace(Some(Box::new(Unsent::new(written))));
    }

    /// hyper read `bytes` and has let go of the connection: they are to be read again, before all others.
    pub(super) fn put_back(&self, bytes: &[u8]) {
        let ahead = self.ahead.take();
        let mut all = BytesMut::with_capacity(bytes.len() + ahead.len());
        all.extend_from_slice(bytes);
        all.extend_from_slice(&ahead);
        self.ahead.replace(all);
    }

    /// The socket, for whoever writes in hyper's place.
    pub(super) fn with_socket<T>(&self, write: impl FnOnce(&mut Tap) -> T) -> T {
        write(self.socket.borrow_mut().inner_mut())
    }

    /// All of the answer was written, and not by hyper.
    pub(super) fn answered(&self) {
        self.stage.set(Stage::None);
    }

    /// Whether what hyper writes is captured.
    pub(super) fn is_silent(&self) -> bool {
        self.offer.borrow().as_ref().is_some_and(|offer| offer.is_silent())
    }

    /// Ready once what was [owed](Wire::owe) has left.
    pub(super) fn poll_owed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut owed = self.owed.borrow_mut();
        if let Some(unsent) = &mut *owed {
            ready!(unsent.poll_taken(self.socket.borrow_mut().inner_mut(), cx))?;
            *owed = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Streaming {
    /// `raw`, on its way over `wire`.
    pub(super) fn new(raw: Raw, wire: Rc<Wire>) -> Self {
        Streaming { raw, wire }
    }
}

impl Future for Streaming {
    type Output = Over;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Over> {
        let Streaming { raw, wire } = &mut *self;
        let over = ready!(wire.with_socket(|socket| raw.poll(socket, cx)));
        wire.answered();
        Poll::Ready(over)
    }
}

impl Http for Streaming {
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        self.raw.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body as _;
    use hyper::rt::Write;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::config::LogFormat;
    use crate::format::SSE;
    use crate::log::testing::Lines;
    use crate::relay::Body;
    use crate::relay::testing::relay;
    use crate::server::client::Client;
    use crate::stream::Mode;

    /// A flush of what was captured was counted, so a stream that was declined and then broke took its events for
    /// delivered: head and events were dropped with hyper's connection.
    #[tokio::test(flavor = "local")]
    async fn flush_counts_only_once_what_was_captured_has_left() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (relay, _upstream) = relay(Mode::Reframe(&SSE)).await;
        let client = Rc::new(Client::new(None, None, false));
        let (mut end, socket) = tokio::io::duplex(64);
        let wire = Wire::new(Box::new(socket), Rc::clone(&client));
        let mut io = ClientIo(Rc::clone(&wire));
        let mut body = Body::relayed(relay);
        wire.offer(body.offer().expect("a relayed body"));
        let frame = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        assert!(frame.is_pending());
        poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"no head")).await.expect("captured");
        poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.expect("nothing to do");
        assert_eq!(client.flushes.get(), 0, "nothing has left");
        let Some(Settled::Declined(written)) = wire.settle() else { panic!("that is no head") };
        wire.owe(written);
        poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.expect("room");
        assert_eq!(client.flushes.get(), 1);
        let mut read = [0; 7];
        end.read_exact(&mut read).await.expect("all of it");
        assert_eq!(&read, b"no head");
    }
}
