//! The client's side of a tunnel: an HTTP/1.1 connection that hyper has let go of, or a stream of an HTTP/2 one.
//!
//! hyper knows upgrades of HTTP/1.1 only for connections that may cross threads. Ours may not, so the tunnel waits
//! in [`Upgrades`] until hyper has written the 101 and says that it is done, and then has the [`Wire`] to itself. Of an
//! extended CONNECT (RFC 8441) hyper hands out the stream, and drives what is sent on it with a task of its own.
//!
//! Called by [`super::connection`].

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::io::{ClientIo, Wire};
use super::stall::StreamWatch;
use crate::relay::{ClientEnd, Tunnel};

/// What upgrades leave behind for the end of an HTTP/1.1 connection.
#[derive(Default)]
pub(super) struct Upgrades {
    /// Whether any request had an `Upgrade`: then hyper leaves it to others to end the connection.
    pub(super) asked: Cell<bool>,
    /// The tunnel that begins when hyper is done.
    pub(super) tunnel: Cell<Option<Box<Tunnel>>>,
}

/// An HTTP/1.1 connection.
pub(super) struct Http1End {
    wire: Rc<Wire>,
    io: TokioIo<ClientIo>,
}

/// A stream of an HTTP/2 connection.
struct Http2End {
    io: TokioIo<Upgraded>,
    /// hyper's task that sends; it ends when the client resets the stream.
    sending: Option<JoinHandle<()>>,
}

impl Http1End {
    /// What hyper read and did not use comes before `wire`.
    pub(super) fn new(wire: &Rc<Wire>) -> Self {
        Http1End { wire: Rc::clone(wire), io: TokioIo::new(ClientIo(Rc::clone(wire))) }
    }
}

impl ClientEnd for Http1End {
    type Io = TokioIo<ClientIo>;

    fn io(&mut self) -> &mut Self::Io {
        &mut self.io
    }

    fn poll_broken(&mut self, _: bool, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.poll_broken(cx)
    }

    fn reset_on_drop(&mut self) {
        self.wire.reset_on_drop();
    }
}

/// Runs `tunnel` on the stream that hyper hands out once the 200 is sent.
pub(super) async fn run_http2(tunnel: Box<Tunnel>, upgrade: OnUpgrade, watch: Option<Rc<StreamWatch>>) {
    // If there is no stream, the client is gone.
    let Ok(upgraded) = upgrade.await else { return };
    let sending = watch.and_then(|watch| watch.upgraded.take());
    let mut end = Http2End { io: TokioIo::new(upgraded), sending };
    tunnel.run(&mut end, b"").await;
}

impl ClientEnd for Http2End {
    type Io = TokioIo<Upgraded>;

    fn io(&mut self) -> &mut Self::Io {
        &mut self.io
    }

    fn poll_broken(&mut self, told_end: bool, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            // It has nothing more to send, and ends for that.
            _ if told_end => Poll::Pending,
            None => Poll::Pending,
            Some(sending) if sending.is_finished() => Poll::Ready(()),
            Some(sending) => Pin::new(sending).poll(cx).map(drop),
        }
    }

    /// RFC 8441 5: the reset of a TCP connection is RST_STREAM with CANCEL. h2 sends that for a stream that is dropped;
    /// hyper's task would end the stream properly.
    fn reset_on_drop(&mut self) {
        if let Some(sending) = &self.sending {
            sending.abort();
        }
    }
}
