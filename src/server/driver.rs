//! The loop that polls whoever has a connection, hyper or a stream, and everything that can end it from outside.
//!
//! One pass: has a drain begun? then who has it; if that waits: is the client still there, does it take what is
//! written, is an HTTP/2 connection idle? The connection is never dropped by anything but the end of this loop,
//! and dropping it drops the requests and bodies on it, which aborts their upstreams.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::ahead::Ahead;
use super::client::Client;
use super::io::Wire;
use super::registry::Member;
use super::stall::{Streams, Timer};
use super::worker::{Phase, Worker};
use crate::log;
use crate::stream::Cause;

/// Whoever has a connection: hyper, or a stream that runs without it.
pub(super) trait Http: Future {
    /// Takes no more requests; the connection ends when the running ones are answered.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// How [`Driver::run`] ended.
#[derive(Debug)]
pub(super) enum End<T> {
    /// It is over, for whoever has it.
    Done(T),
    /// It must be dropped now: and why.
    Cut(Cause),
}

/// Drives one connection.
pub(super) struct Driver<'a> {
    client: &'a Client,
    wire: &'a Wire,
    worker: &'a Worker,
    member: &'a Member,
    /// In a box: most connections that wait have none.
    http2: Option<Box<Http2<'a>>>,
    /// Whether hyper was told to take no more requests.
    closing: bool,
    /// Since when streams must end.
    ending_since: Option<Instant>,
    write_timer: Timer,
    ending_timer: Timer,
}

/// What an HTTP/2 connection has besides.
struct Http2<'a> {
    streams: &'a Streams,
    /// Since when there is no stream.
    idle_since: Option<Instant>,
    /// Since when the client is in the middle of a head.
    head_since: Option<Instant>,
    idle_timer: Timer,
    head_timer: Timer,
}

impl<'a> Driver<'a> {
    /// A driver for the connection over `wire`; `streams` is what its HTTP/2 streams run on.
    pub(super) fn new(
        client: &'a Client,
        wire: &'a Wire,
        worker: &'a Worker,
        member: &'a Member,
        streams: Option<&'a Streams>,
    ) -> Self {
        Driver {
            client,
            wire,
            worker,
            member,
            http2: streams.map(Http2::new).map(Box::new),
            closing: false,
            ending_since: None,
            write_timer: Timer::default(),
            ending_timer: Timer::default(),
        }
    }

    /// Polls `http` to its end.
    ///
    /// # Cancel safety
    /// Dropping the future leaves `http` as it is.
    pub(super) fn run<C: Http>(mut self, mut http: Pin<&mut C>) -> impl Future<Output = End<C::Output>> {
        // No `async fn`: that would keep room for its arguments twice.
        poll_fn(move |cx| self.poll(http.as_mut(), cx))
    }

    fn poll<C: Http>(&mut self, mut http: Pin<&mut C>, cx: &mut Context<'_>) -> Poll<End<C::Output>> {
        self.member.watch(cx);
        if self.worker.phase.get() > Phase::Serving && !self.closing {
            self.closing = true;
            http.as_mut().graceful_shutdown();
        }
        self.wire.begin_poll();
        if let Poll::Ready(output) = http.as_mut().poll(cx) {
            return Poll::Ready(End::Done(output));
        }
        // Once no more requests are taken, a stream that is not handled was not refused: the client is to send it to
        // another connection (RFC 9113 6.8).
        if !self.closing && self.wire.is_settled() {
            self.wire.refused().for_each(|reset| match reset {
                Some(cause) => log::refused(self.worker, self.client, None, cause),
                // The one thing that h2 answers instead: a head past `max_head_bytes`.
                None => log::refused(self.worker, self.client, Some(431), Cause::ClientMalformed),
            });
        }
        if let Poll::Ready(cause) = self.poll_left(cx) {
            return Poll::Ready(End::Cut(cause));
        }
        if let Poll::Ready(cause) = self.poll_head(cx) {
            return Poll::Ready(End::Cut(cause));
        }
        if self.poll_idle(cx).is_ready() {
            if self.closing {
                return Poll::Ready(End::Cut(Cause::ClientIdle));
            }
            self.closing = true;
            http.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        self.poll_ending(cx).map(End::Cut)
    }

    /// Whether the client went away, sends what nobody asked for, or takes nothing.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        match self.wire.poll_ahead(cx) {
            Poll::Ready(Ahead::Gone) => return Poll::Ready(Cause::ClientGone),
            // HTTP/2 stops reading only while its own replies cannot be written, and a full stash in the
            // middle of a request body is backpressure.
            Poll::Ready(Ahead::Full) if self.http2.is_none() && !self.client.uploading.get() => {
                return Poll::Ready(Cause::ClientFlooded);
            }
            Poll::Ready(Ahead::Full) if self.wire.poll_hangup(cx).is_ready() => {
                return Poll::Ready(Cause::ClientGone);
            }
            Poll::Ready(Ahead::Full) | Poll::Pending => {}
        }
        if self.client.write_blocked.get() {
            let bound = self.worker.config.timeouts.client_write_stall;
            ready!(self.write_timer.poll_until(cx, self.client.wrote_at.get() + bound));
            return Poll::Ready(Cause::ClientStalled);
        }
        Poll::Pending
    }

    /// Ready when an HTTP/2 client did not finish the head of a request that it began. Nothing else can come on the
    /// connection meanwhile (RFC 9113 4.3), so it is of no use to anybody.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let Some(http2) = &mut self.http2 else { return Poll::Pending };
        if !self.wire.is_inside_head() {
            http2.head_since = None;
            return Poll::Pending;
        }
        let since = *http2.head_since.get_or_insert_with(Instant::now);
        ready!(http2.head_timer.poll_until(cx, since + self.worker.config.timeouts.request_head));
        log::refused(self.worker, self.client, None, Cause::ClientTimeoutRequestHead);
        Poll::Ready(Cause::ClientTimeoutRequestHead)
    }

    /// Ready when an HTTP/2 connection had no stream for `request_head`, and every such time again. (hyper
    /// has a timer for that, and for slow heads, in HTTP/1.1 only.)
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(http2) = &mut self.http2 else { return Poll::Pending };
        if http2.streams.live() > 0 {
            http2.idle_since = None;
            return Poll::Pending;
        }
        let since = *http2.idle_since.get_or_insert_with(Instant::now);
        ready!(http2.idle_timer.poll_until(cx, since + self.worker.config.timeouts.request_head));
        http2.idle_since = None;
        Poll::Ready(())
    }

    /// Ready when streams had to end, and had time to.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.worker.phase.get() < Phase::Ending {
            return Poll::Pending;
        }
        let since = *self.ending_since.get_or_insert_with(Instant::now);
        ready!(self.ending_timer.poll_until(cx, since + ENDING_GRACE));
        Poll::Ready(Cause::TidegateDrain)
    }
}

impl<'a> Http2<'a> {
    fn new(streams: &'a Streams) -> Self {
        let (idle_timer, head_timer) = (Timer::default(), Timer::default());
        Http2 { streams, idle_since: None, head_since: None, idle_timer, head_timer }
    }
}

impl<S, B> Http for hyper::server::conn::http2::Connection<super::io::ClientIo, S, Streams>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What a connection gets to write out the ends of its streams before it is dropped.
const ENDING_GRACE: Duration = Duration::from_secs(2);
