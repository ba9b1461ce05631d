//! The service manager: told through `NOTIFY_SOCKET` that the server is ready or stops, and how it is.
//!
//! This is the wire only: one datagram of `NAME=value` lines, as in sd_notify(3). What is told, and when, is the
//! business of `server::report`. Nothing here waits, so that it can be called on a worker's thread. Without
//! `NOTIFY_SOCKET` there is no [`Manager`], and nothing happens.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started this process and wants to hear from it.
#[derive(Debug)]
pub struct Manager {
    /// Not blocking. Not connected either: a manager that was replaced is found again at the same address.
    socket: UnixDatagram,
    address: SocketAddr,
}

/// What the manager acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Clients are served: units that come after this one may start.
    Ready,
    /// The end has begun.
    Stopping {
        /// How long it may still take; the manager waits at least as long before it kills.
        at_most: Duration,
    },
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names, if any. An address that cannot be used is logged.
    pub fn of_environment() -> Option<Self> {
        let address = env::var_os("NOTIFY_SOCKET")?;
        Manager::at(&address)
            .inspect_err(|error| {
                tracing::warn!(?address, %error, "cannot use NOTIFY_SOCKET: the service manager is told nothing");
            })
            .ok()
    }

    /// The one that listens at `address`: a path, or `@` and an abstract name (sd_notify(3), "Environment").
    ///
    /// # Errors
    /// The address has another form, or no socket can be made.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            [b'@', name @ ..] => abstract_address(name)?,
            _ => return Err(unsupported()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Manager { socket, address })
    }

    /// Tells `state`, with `status` as the line that `systemctl status` shows.
    ///
    /// # Errors
    /// The manager did not take it. If it is only busy ([`io::ErrorKind::WouldBlock`]), try again later.
    pub fn tell(&self, state: State, status: &str) -> io::Result<()> {
        let message = message(state, status);
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop)
    }
}

fn message(state: State, status: &str) -> String {
    // A line end would begin another assignment; a socket's path may hold one.
    let status = status.replace(char::is_control, " ");
    match state {
        State::Ready => format!("READY=1\nSTATUS={status}"),
        State::Stopping { at_most } => {
            format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={status}", at_most.as_micros())
        }
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(unsupported())
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_lines_of_assignments() {
        assert_eq!(message(State::Ready, "serving"), "READY=1\nSTATUS=serving");
        let stopping = State::Stopping { at_most: Duration::from_millis(1500) };
        assert_eq!(message(stopping, "bye"), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\nSTATUS=bye");
    }

    #[test]
    fn status_cannot_begin_another_assignment() {
        let message = message(State::Ready, "serving unix:/a\nSTOPPING=1\r");
        assert_eq!(message, "READY=1\nSTATUS=serving unix:/a STOPPING=1 ");
    }

    #[test]
    fn address_of_another_form_is_refused() {
        for address in ["", "run/notify", "vsock:2:1234"] {
            assert_eq!(Manager::at(OsStr::new(address)).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        let long = format!("/{}", "a".repeat(200));
        assert_eq!(Manager::at(OsStr::new(&long)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn manager_that_is_busy_does_not_hold_the_caller_up() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("tidegate-busy-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _deaf = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::at(OsStr::new(&format!("@{name}"))).unwrap();
        // The queue of a socket holds net.unix.max_dgram_qlen datagrams, and its buffer a bounded number of bytes.
        let full = (0..100_000).find_map(|_| manager.tell(State::Ready, "serving").err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
