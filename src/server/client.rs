//! What is known about the client of a connection, and what its socket is doing.

use std::cell::Cell;
use std::net::SocketAddr;

/// One client connection, behind an `Rc`: written by the connection, read by requests and streams on it.
#[derive(Debug)]
pub struct Client {
    /// Its address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address it connected to; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether the socket did not take all of the last write: bytes are waiting in tidegate.
    /// A body must not end with an error while this is set, or hyper drops what is waiting.
    pub write_blocked: Cell<bool>,
    /// Set, just before the connection is dropped, to why: the `what` of a `client:` outcome.
    pub left: Cell<&'static str>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>, tls: bool) -> Self {
        Client { peer, local, tls, write_blocked: Cell::new(false), left: Cell::new("gone") }
    }
}
