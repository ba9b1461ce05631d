//! A connection over HTTP/1.1: hyper reads heads and answers, and streams that go on take the socket from it.
//!
//! What hyper refuses before the handler sees it gets its access line here, since hyper says so when the connection ends.
//! Called by [`super::connection`].

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::time::timeout;

use super::ahead::is_blank;
use super::answer::Answer;
use super::bounds;
use super::connection::{Connection, Handler, LINGER, answer};
use super::driver::{Driver, End};
use super::handover::{Heads, Streaming};
use super::io::{ClientIo, Wire};
use super::refusal::{self, TIMED_OUT};
use super::tunnel::{Http1End, Upgrades};
use crate::log;
use crate::relay::{Ended, Over};
use crate::stream::Cause;

impl<H: Handler> Connection<H> {
    /// Serves `wire` until it is closed.
    pub(super) async fn serve_http1(&self, wire: &Rc<Wire>) {
        // In boxes is what a silent stream has behind it, or will not come to: it would keep the room for it; no
        // `while let`: that would keep room for the stream twice.
        let mut again = false;
        loop {
            let Some(mut streaming) = Box::pin(self.heads(wire, again)).await else { return };
            again = true;
            tracing::debug!(
                client = self.client.peer.map(tracing::field::display),
                "stream goes on without hyper"
            );
            let driver = Driver::new(&self.client, wire, &self.worker, &self.member, None);
            let end = driver.run(Pin::new(&mut streaming)).await;
            if let End::Cut(cause) = end {
                self.client.left.set(cause);
            }
            // Its access line comes before the connection lingers.
            drop(streaming);
            match end {
                End::Done(Over::KeepAlive) => {}
                End::Done(Over::Close) => return Box::pin(self.close(wire)).await,
                End::Done(Over::Cut) | End::Cut(_) => return,
            }
        }
    }

    /// Has hyper answer requests, until the connection is over or a stream takes it; `again` if one did before.
    async fn heads(&self, wire: &Rc<Wire>, again: bool) -> Option<Streaming> {
        let (handler, client, worker) =
            (self.handler.clone(), Rc::clone(&self.client), Rc::clone(&self.worker));
        let upgrades = Rc::new(Upgrades::default());
        let (aside, answered) = (Rc::clone(&upgrades), Rc::clone(wire));
        let service = service_fn(move |request: Request<Incoming>| {
            client.uploading.set(!request.body().is_end_stream());
            answered.answer_begins();
            if request.headers().contains_key(UPGRADE) {
                aside.asked.set(true);
            }
            let is_old = request.version() == Version::HTTP_10;
            let response = answer(&handler, request, &client, &worker);
            let may_offer = worker.config.takeover && !aside.asked.get();
            let (aside, client, wire) = (Rc::clone(&aside), Rc::clone(&client), Rc::clone(&answered));
            async move {
                let mut response = response.await;
                aside.tunnel.set(H::tunnel(response.body_mut()));
                let has_length = response.headers().contains_key(CONTENT_LENGTH)
                    || response.body().size_hint().exact().is_some();
                if is_old && !has_length {
                    // hyper would say that the connection is kept, which it is not.
                    *response.version_mut() = Version::HTTP_10;
                    wire.reset_unless_shut();
                } else if may_offer
                    && !has_length
                    && !client.uploading.get()
                    && let Some(offer) = H::offer(response.body_mut())
                {
                    wire.offer(offer);
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, wire)))
            }
        });
        let http = bounds::http1(&self.worker.config).serve_connection(ClientIo(Rc::clone(wire)), service);
        let mut heads = Heads::new(http, Rc::clone(wire), again);
        let driver = Driver::new(&self.client, wire, &self.worker, &self.member, None);
        let end = match driver.run(Pin::new(&mut heads)).await {
            End::Done(end) => end,
            End::Cut(cause) => {
                self.client.left.set(cause);
                return None;
            }
        };
        // What hyper holds besides goes now, so that a connection that lingers costs little.
        let unread = heads.into_unread();
        match end {
            Ok(Some(raw)) => {
                wire.put_back(&unread);
                return Some(Streaming::new(raw, Rc::clone(wire)));
            }
            Ok(None) => self.http1_done(&upgrades, &unread, wire).await,
            Err(error) => self.http1_failed(&error, &unread, wire).await,
        }
        None
    }

    /// Goes on in a tunnel where hyper has written a 101; else closes so that the client can read what it was answered.
    async fn http1_done(&self, upgrades: &Upgrades, unread: &[u8], wire: &Rc<Wire>) {
        if let Some(tunnel) = upgrades.tunnel.take() {
            if tunnel.run(&mut Http1End::new(wire), unread).await == Ended::ToLinger {
                self.linger(wire, LINGER).await;
            }
            return;
        }
        wire.put_back(unread);
        self.close(wire).await;
    }

    /// Closes the connection after the last answer.
    async fn close(&self, wire: &Wire) {
        // hyper has not shut it down where somebody may take the connection over.
        let _ = timeout(LINGER, wire.shutdown()).await;
        if self.client.uploading.get() {
            self.linger(wire, LINGER_UPLOAD).await;
        } else if wire.has_unread().await {
            self.linger(wire, LINGER).await;
        }
    }

    /// Tells about a request that hyper refused, and closes so that the client can read why.
    async fn http1_failed(&self, error: &hyper::Error, unread: &[u8], wire: &Wire) {
        if error.is_parse() {
            let status = match wire.has_withheld() {
                true => self.too_large(unread, wire).await,
                false => wire.last_status(),
            };
            log::refused(&self.worker, &self.client, status, Cause::ClientMalformed);
            self.linger(wire, LINGER).await;
        } else if error.is_timeout() && !is_blank(unread) {
            self.timed_out(wire).await;
        } else if error.is_incomplete_message() && !is_blank(unread) {
            log::refused(&self.worker, &self.client, None, Cause::ClientGone);
        } else {
            self.ended(error);
        }
    }

    /// Tells a client in hyper's place what of its head was too large. The status, if it was told.
    async fn too_large(&self, unread: &[u8], wire: &Wire) -> Option<u16> {
        let refusal = refusal::too_large(unread, self.worker.config.limits.max_head_bytes);
        wire.reply(refusal.bytes).await.then_some(refusal.status)
    }

    /// Tells a client that did not finish its head, which hyper does not (RFC 9110 15.5.9). It was waiting for the head,
    /// so it has written all of the response before.
    async fn timed_out(&self, wire: &Wire) {
        let told = !self.client.write_blocked.get() && wire.reply(TIMED_OUT.bytes).await;
        log::refused(
            &self.worker,
            &self.client,
            told.then_some(TIMED_OUT.status),
            Cause::ClientTimeoutRequestHead,
        );
        if told {
            self.linger(wire, LINGER).await;
        }
    }
}

/// The same in the middle of an upload: some clients send all of it before they look at the response.
const LINGER_UPLOAD: Duration = Duration::from_secs(30);
