//! What is known about the client of a connection, and what its socket is doing.

use std::cell::Cell;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::stream::Cause;

/// One client connection, behind an `Rc`: written by the connection, read by requests and streams on it.
#[derive(Debug)]
pub struct Client {
    /// Its address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// How the log calls it: its address and port, or `unix`.
    pub name: Box<str>,
    /// Its IP address as other hops are told of it; `None` on a Unix socket.
    pub address: Option<Box<str>>,
    /// The address it connected to; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether the socket did not take all of the last write: bytes are waiting in tidegate.
    /// A body must not end with an error while this is set, or hyper drops what is waiting.
    pub write_blocked: Cell<bool>,
    /// When the socket last took anything of what is waiting; meaningful only while `write_blocked`.
    pub(super) wrote_at: Cell<Instant>,
    /// How often everything that hyper had for an HTTP/1.1 client was handed to the kernel.
    ///
    /// A body that remembers this number when it yields a frame knows that the frame has left as soon as the
    /// number is another one.
    pub flushes: Cell<u32>,
    /// HTTP/1.1: whether there may be more of the request body to read. Set when a request with a body
    /// comes in; whoever reads the body clears it at the end of the body (or when it drops it).
    ///
    /// While it is set, bytes that wait behind each other are taken for the body; once it is clear, a client
    /// that sends more than 64 KiB ahead of its answer is disconnected.
    pub uploading: Cell<bool>,
    /// Why this connection ended, set just before tidegate drops it; what a request that was cut off
    /// has as its outcome. `client:gone` unless tidegate knows better.
    pub left: Cell<Cause>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>, tls: bool) -> Self {
        Client {
            peer,
            name: peer.map_or("unix".into(), |peer| peer.to_string().into()),
            address: peer.map(|peer| peer.ip().to_canonical().to_string().into()),
            local,
            tls,
            write_blocked: Cell::new(false),
            wrote_at: Cell::new(Instant::now()),
            flushes: Cell::new(0),
            uploading: Cell::new(false),
            left: Cell::new(Cause::ClientGone),
        }
    }
}
