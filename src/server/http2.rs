//! A connection over HTTP/2, from its preface to its end.
//!
//! Of what hyper refuses before the handler sees it nobody tells: the frames that passed are counted
//! ([`super::frames`]), and the access lines are written here. Called by [`super::connection`].

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::bounds;
use super::connection::{Connection, Handler, answer};
use super::driver::{Driver, End};
use super::io::{ClientIo, Wire};
use super::stall::{self, Streams};
use super::tunnel;
use super::worker::Phase;
use crate::log;
use crate::stream::Cause;

impl<H: Handler> Connection<H> {
    /// Serves `wire` until it is closed.
    pub(super) async fn serve_http2(&self, wire: &Rc<Wire>) {
        let (handler, client, worker) =
            (self.handler.clone(), Rc::clone(&self.client), Rc::clone(&self.worker));
        let tapped = Rc::clone(wire);
        let service = service_fn(move |mut request: Request<Incoming>| {
            tapped.handled();
            let upgrade = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
            let response = answer(&handler, request, &client, &worker);
            async move {
                let mut response = response.await;
                if let (Some(upgrade), Some(tunnel)) = (upgrade, H::tunnel(response.body_mut())) {
                    tokio::task::spawn_local(tunnel::run_http2(tunnel, upgrade, stall::current()));
                }
                Ok::<_, Infallible>(response)
            }
        });
        wire.follow_frames();
        let streams = Streams::new(self.worker.config.timeouts.client_write_stall);
        let http = bounds::http2(&self.worker.config, streams.clone())
            .serve_connection(ClientIo(Rc::clone(wire)), service);
        let driver = Driver::new(&self.client, wire, &self.worker, &self.member, Some(&streams));
        let end = driver.run(pin!(http)).await;
        match end {
            End::Done(Ok(())) => {
                self.http2_ended(wire, Cause::ClientMalformed);
            }
            End::Done(Err(error)) => {
                let cause = match reason(&error) {
                    _ if wire.is_flooded() => Cause::ClientFlooded,
                    Some(h2::Reason::ENHANCE_YOUR_CALM) => Cause::ClientFlooded,
                    Some(_) => Cause::ClientMalformed,
                    None => Cause::ClientGone,
                };
                self.client.left.set(cause);
                let lines = self.http2_ended(wire, cause) + streams.live();
                if lines == 0 && (cause != Cause::ClientGone || wire.is_inside_head()) {
                    log::refused(&self.worker, &self.client, None, cause);
                }
                self.ended(&error);
            }
            End::Cut(cause) => self.client.left.set(cause),
        }
    }

    /// Tells of the requests that the handler did not get because of `cause`. How many there were.
    fn http2_ended(&self, wire: &Wire, cause: Cause) -> usize {
        if self.worker.phase.get() > Phase::Serving {
            return 0;
        }
        let refused = wire
            .refused()
            .map(|reset| log::refused(&self.worker, &self.client, None, reset.unwrap_or(cause)));
        refused.count()
    }
}

/// Why h2 gave a connection up; `None` if it was the client that did, or the network.
fn reason(error: &hyper::Error) -> Option<h2::Reason> {
    let cause = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    cause.reason().filter(|_| !cause.is_remote())
}
