//! A listener on the acceptor's runtime, and the connections that come through it.
//!
//! TCP and Unix sockets look the same from here on. A connection that is handed to another thread leaves this
//! runtime ([`Stream::detach`]) and enters the other ([`Detached::attach`]).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::listener::{Listener, Socket, SocketFile};

/// A place where connections come in.
#[derive(Debug)]
pub(super) struct Entrance {
    gate: Gate,
    /// As a client would write it.
    pub(super) address: String,
    /// Set if clients speak TLS here.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Gate {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection on a runtime.
#[derive(Debug)]
pub(super) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Through a file.
    Unix(UnixStream),
}

/// A connection that came in, and the client's address if it has one.
pub(super) type Arrival = (Stream, Option<SocketAddr>);

/// A connection between two runtimes.
#[derive(Debug)]
pub(super) enum Detached {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Through a file.
    Unix(std::os::unix::net::UnixStream),
}

impl Entrance {
    /// Opens a bound listener on the current runtime.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub(super) fn open(listener: Listener) -> io::Result<Self> {
        let Listener { socket, address, tls } = listener;
        let (gate, file) = match socket {
            Socket::Tcp(socket) => (Gate::Tcp(TcpListener::from_std(socket)?), None),
            Socket::Unix(socket, file) => (Gate::Unix(UnixListener::from_std(socket)?), Some(file)),
        };
        Ok(Entrance { gate, address, tls, _file: file })
    }

    /// The next connection.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        Poll::Ready(match &self.gate {
            Gate::Tcp(gate) => ready!(gate.poll_accept(cx)).map(|(tcp, peer)| (Stream::Tcp(tcp), Some(peer))),
            Gate::Unix(gate) => ready!(gate.poll_accept(cx)).map(|(unix, _)| (Stream::Unix(unix), None)),
        })
    }
}

impl Stream {
    /// The address that the client connected to, if it has one.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(tcp) => tcp.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Closes it so that nothing stays behind, neither here nor in the kernel (TIME_WAIT).
    pub(super) fn reset(self) {
        if let Stream::Tcp(tcp) = &self
            && let Err(error) = tcp.set_zero_linger()
        {
            tracing::debug!(%error, "cannot reset a connection; it is closed as any other");
        }
    }

    /// Leaves the runtime.
    pub(super) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Stream::Tcp(tcp) => Detached::Tcp(tcp.into_std()?),
            Stream::Unix(unix) => Detached::Unix(unix.into_std()?),
        })
    }
}

impl Detached {
    /// Enters the current runtime.
    pub(super) fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Detached::Tcp(tcp) => Stream::Tcp(TcpStream::from_std(tcp)?),
            Detached::Unix(unix) => Stream::Unix(UnixStream::from_std(unix)?),
        })
    }
}
