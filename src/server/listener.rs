//! Listening sockets: bound before anything else runs, so that a mistake is told at once.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};

use crate::config::{Config, ListenAddress};

/// A bound listener.
#[derive(Debug)]
pub(super) struct Listener {
    /// Not blocking.
    pub(super) socket: Socket,
    /// As a client would write it: `http://127.0.0.1:8080`, `https://…`, `unix:/path`.
    pub(super) address: String,
    /// Set if clients speak TLS here.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

/// A socket that accepts connections.
#[derive(Debug)]
pub(super) enum Socket {
    /// Over TCP.
    Tcp(TcpListener),
    /// Through a file.
    Unix(UnixListener, SocketFile),
}

/// A listener cannot be bound. The text says where and what to do; [`source`](std::error::Error::source) is
/// what the system said.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {hint}")]
pub struct BindError {
    /// Where.
    pub address: String,
    /// What is wrong, and what to do.
    pub hint: &'static str,
    source: Option<io::Error>,
}

/// A socket file that goes away with its listener, unless it is another's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// The socket, for the runtime of this thread.
    ///
    /// # Errors
    /// It is no TCP socket, or the runtime does not take it.
    pub(super) fn into_tcp(self) -> io::Result<tokio::net::TcpListener> {
        match self.socket {
            Socket::Tcp(socket) => tokio::net::TcpListener::from_std(socket),
            Socket::Unix(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Binds every listener of `config`.
pub(super) fn bind(config: &Config) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let tls = listener.tls.as_ref().map(|tls| Arc::clone(&tls.config));
        match &listener.address {
            ListenAddress::Tcp(addresses) => {
                let both = addresses.iter().any(SocketAddr::is_ipv4);
                for address in addresses {
                    listeners.push(bind_tcp(config, *address, both, tls.clone())?);
                }
            }
            ListenAddress::Unix(path) => listeners.push(bind_unix(path, tls)?),
        }
    }
    Ok(listeners)
}

/// Binds where the metrics are read, if that is anywhere.
pub(super) fn bind_metrics(config: &Config) -> Result<Option<Listener>, BindError> {
    config.metrics.map(|address| bind_tcp(config, address, false, None)).transpose()
}

fn bind_tcp(
    config: &Config,
    address: SocketAddr,
    only_v6: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<Listener, BindError> {
    let bound = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() && only_v6 {
            // Its IPv4 sibling is in the same list.
            socket.set_only_v6(true)?;
        }
        set_tcp_options(&socket, config.timeouts.client_write_stall)?;
        socket.bind(&address.into())?;
        listen(&socket)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, format!("{scheme}://{address}")))
    };
    let (socket, address) = bound().map_err(|error| tcp_error(address, error))?;
    Ok(Listener { socket: Socket::Tcp(socket.into()), address, tls })
}

/// The options of client sockets. Set on the listening socket, whose accepted sockets have them from the start,
/// instead of by several system calls per connection.
fn set_tcp_options(socket: &socket2::Socket, write_stall: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // A peer that vanished without a word is noticed after 15 + 3 * 5 s without data.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        // Also kills a live peer whose window is closed, so it must leave `client_write_stall` the first word.
        socket.set_tcp_user_timeout(Some(write_stall + Duration::from_secs(30)))?;
        // What a slow client has not taken waits with the upstream, not in megabytes of kernel memory.
        socket.set_tcp_notsent_lowat(64 << 10)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = write_stall;
    Ok(())
}

fn bind_unix(path: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Listener, BindError> {
    let address = format!("unix:{}", path.display());
    let error = |hint, source| BindError { address: address.clone(), hint, source };
    make_way(path).map_err(|(hint, source)| error(hint, source))?;
    let bound = || {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::at(path)?;
        listen(&socket)?;
        Ok((socket, file))
    };
    let (socket, file) =
        bound().map_err(|source: io::Error| error(unix_hint(source.kind()), Some(source)))?;
    Ok(Listener { socket: Socket::Unix(socket.into(), file), address, tls })
}

/// Removes the socket file that a process left at `path` when it died.
fn make_way(path: &Path) -> Result<(), (&'static str, Option<io::Error>)> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(("there is a file that is no socket; remove it or choose another path", None));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(("another process answers there; stop it or choose another path", None)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| ("the stale socket file cannot be removed; remove it", Some(error))),
        Err(error) => Err(("the socket file that is there cannot be tried; remove it", Some(error))),
    }
}

fn listen(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)
}

fn tcp_error(address: SocketAddr, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; stop it or choose another port (0 takes a free one)"
        }
        io::ErrorKind::PermissionDenied => {
            "not allowed; choose a port above 1023 or give the process CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address; choose one that it has",
        _ => "the system refuses; check the address",
    };
    BindError { address: address.to_string(), hint, source: Some(source) }
}

fn unix_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "its directory does not exist; make it",
        io::ErrorKind::PermissionDenied => {
            "its directory is not writable; change its owner or choose another path"
        }
        io::ErrorKind::InvalidInput => "the path is too long for a socket; choose a shorter one",
        _ => "the system refuses; check the path",
    }
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// Connections that wait to be accepted; the kernel lowers it to its own bound.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn tcp(listener: &Listener) -> &TcpListener {
        match &listener.socket {
            Socket::Tcp(socket) => socket,
            Socket::Unix(..) => panic!("not TCP"),
        }
    }

    fn only(config: &Config) -> Result<Listener, BindError> {
        bind(config).map(|mut listeners| {
            assert_eq!(listeners.len(), 1);
            listeners.remove(0)
        })
    }

    #[test]
    fn address_has_the_real_port() {
        let listener = only(&testing::config()).expect("bound");
        let port = tcp(&listener).local_addr().expect("address").port();
        assert_ne!(port, 0);
        assert_eq!(listener.address, format!("http://127.0.0.1:{port}"));
    }

    #[test]
    fn address_in_use_is_told_with_what_to_do() {
        let first = only(&testing::config()).expect("bound");
        let mut config = testing::config();
        let taken = tcp(&first).local_addr().expect("address");
        config.listeners[0].address = ListenAddress::Tcp(vec![taken]);
        let error = only(&config).expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {taken}: another process listens there; stop it or choose another port \
                 (0 takes a free one)"
            )
        );
    }

    #[test]
    fn accepted_socket_has_the_options_of_its_listener() {
        let listener = only(&testing::config()).expect("bound");
        let address = tcp(&listener).local_addr().expect("address");
        let _client = std::net::TcpStream::connect(address).expect("connected");
        tcp(&listener).set_nonblocking(false).expect("blocking");
        let socket = socket2::Socket::from(tcp(&listener).accept().expect("accepted").0);
        assert!(socket.tcp_nodelay().expect("TCP_NODELAY"));
        assert!(socket.keepalive().expect("SO_KEEPALIVE"));
        assert_eq!(socket.tcp_keepalive_time().expect("TCP_KEEPIDLE"), Duration::from_secs(15));
        assert_eq!(socket.tcp_keepalive_interval().expect("TCP_KEEPINTVL"), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().expect("TCP_KEEPCNT"), 3);
        #[cfg(target_os = "linux")]
        {
            let stall = testing::config().timeouts.client_write_stall;
            let user_timeout = socket.tcp_user_timeout().expect("TCP_USER_TIMEOUT");
            assert_eq!(user_timeout, Some(stall + Duration::from_secs(30)));
            assert_eq!(socket.tcp_notsent_lowat().expect("TCP_NOTSENT_LOWAT"), 64 << 10);
        }
    }

    #[test]
    fn stale_socket_file_is_replaced_and_removed_at_the_end() {
        let directory = testing::directory("stale");
        let path = directory.join("socket");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "std leaves the file");
        let mut config = testing::config();
        config.listeners[0].address = ListenAddress::Unix(path.clone());
        let listener = only(&config).expect("bound");
        assert_eq!(listener.address, format!("unix:{}", path.display()));
        UnixStream::connect(&path).expect("somebody listens");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn socket_file_of_a_living_process_is_left_alone() {
        let directory = testing::directory("living");
        let path = directory.join("socket");
        let _living = UnixListener::bind(&path).expect("bound");
        let mut config = testing::config();
        config.listeners[0].address = ListenAddress::Unix(path.clone());
        let error = only(&config).expect_err("in use").to_string();
        assert!(error.contains("another process answers there"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn file_that_is_no_socket_is_left_alone() {
        let directory = testing::directory("file");
        let path = directory.join("socket");
        fs::write(&path, "precious").expect("written");
        let mut config = testing::config();
        config.listeners[0].address = ListenAddress::Unix(path.clone());
        let error = only(&config).expect_err("a file").to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn socket_file_of_a_successor_is_not_removed() {
        let directory = testing::directory("successor");
        let path = directory.join("socket");
        let mut config = testing::config();
        config.listeners[0].address = ListenAddress::Unix(path.clone());
        let first = only(&config).expect("bound");
        fs::rename(&path, directory.join("old")).expect("moved away");
        let _second = only(&config).expect("bound");
        drop(first);
        UnixStream::connect(&path).expect("the second still listens");
    }
}
