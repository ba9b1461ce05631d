//! An HTTP/1.1 connection in the hands of hyper, and in those of a stream that hyper has let go of.
//!
//! Both are driven by [`super::driver`]. What is assumed of hyper stands in [`crate::relay::Offer`]; here is only the order:
//! hyper is polled until it waits, then the offer is settled. Called by [`super::connection`].

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;

use super::driver::Http;
use super::io::{ClientIo, Wire};
use crate::relay::{Over, Raw, Settled};

/// hyper has the connection.
pub(super) struct Heads<S: HttpService<Incoming>> {
    http: http1::Connection<ClientIo, S>,
    wire: Rc<Wire>,
}

/// A stream has it.
pub(super) struct Streaming {
    raw: Raw,
    wire: Rc<Wire>,
}

impl<S: HttpService<Incoming>> Heads<S> {
    /// `http`, which is on `wire`.
    pub(super) fn new(http: http1::Connection<ClientIo, S>, wire: Rc<Wire>) -> Self {
        Heads { http, wire }
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
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.http).graceful_shutdown();
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
