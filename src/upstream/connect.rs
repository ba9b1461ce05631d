//! A new connection to an upstream: resolve, connect, TLS.
//!
//! Every address of a name is tried, in the order of the resolver, each with an equal share of the time that
//! is left, so that one address that swallows packets does not hide the others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::error::{Error, Timeout};
use super::io::Io;
use crate::config::{ClientTls, Endpoint, HttpVersion, Upstream};

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Opens a connection and finds out what to speak on it: one of what `http` allows.
///
/// # Errors
/// [`Error::Resolve`], [`Error::Connect`], [`Error::Tls`], or the timeout of one of them.
///
/// # Cancel safety
/// Dropping the future closes what was opened.
pub(super) async fn connect(upstream: &Upstream, http: HttpVersion) -> Result<(Io, Protocol), Error> {
    let started = Instant::now();
    let bound = upstream.connect_timeout;
    let late = || Error::Timeout { timeout: Timeout::Connect, after: bound };
    let tcp = match &upstream.endpoint {
        Endpoint::Unix(path) => {
            let stream = timeout(bound, UnixStream::connect(path)).await.map_err(|_| late())?;
            let address = path.display().to_string();
            let stream = stream.map_err(|source| Error::Connect { address, source })?;
            return Ok((Io::Unix(stream), without_tls(http)));
        }
        Endpoint::Tcp { host, port } => {
            let resolved = timeout(bound, tokio::net::lookup_host((host.as_str(), *port))).await;
            let addresses: Vec<SocketAddr> = resolved
                .map_err(|_| late())?
                .map_err(|source| Error::Resolve { host: host.clone(), source })?
                .collect();
            connect_any(&addresses, bound.saturating_sub(started.elapsed())).await.map_err(|failed| {
                match failed {
                    Failed::Late => late(),
                    Failed::Refused(address, source) => Error::Connect { address, source },
                    Failed::NoAddress => {
                        Error::Resolve { host: host.clone(), source: io::ErrorKind::NotFound.into() }
                    }
                }
            })?
        }
    };
    tune(&tcp);
    match &upstream.tls {
        None => Ok((Io::Tcp(tcp), without_tls(http))),
        Some(tls) => secure(tcp, tls, http, upstream.tls_handshake_timeout).await,
    }
}

/// Why no address could be connected to.
#[derive(Debug)]
enum Failed {
    NoAddress,
    /// The last address, and its error.
    Refused(String, io::Error),
    /// The time ran out.
    Late,
}

async fn connect_any(addresses: &[SocketAddr], bound: Duration) -> Result<TcpStream, Failed> {
    let started = Instant::now();
    let mut failed = Failed::NoAddress;
    let mut untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = bound.saturating_sub(started.elapsed()) / untried.max(1);
        untried = untried.saturating_sub(1);
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Failed::Refused(address.to_string(), error),
            Err(_) => Failed::Late,
        };
    }
    Err(failed)
}

/// TLS, and what ALPN chose.
async fn secure(
    tcp: TcpStream,
    tls: &ClientTls,
    http: HttpVersion,
    after: Duration,
) -> Result<(Io, Protocol), Error> {
    let alpn = match http {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Auto | HttpVersion::Http2 => tls.config.alpn_protocols.clone(),
    };
    let connector = TlsConnector::from(tls.config.clone());
    let handshake = connector.with_alpn(alpn).connect(tls.name.clone(), tcp);
    let stream = timeout(after, handshake)
        .await
        .map_err(|_| Error::Timeout { timeout: Timeout::TlsHandshake, after })?
        .map_err(|source| Error::Tls { name: shown(&tls.name), source })?;
    let agreed_on_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let protocol = match http {
        HttpVersion::Http1 => Protocol::Http1,
        HttpVersion::Auto if !agreed_on_http2 => Protocol::Http1,
        // RFC 9113 3.2: over TLS, HTTP/2 is agreed on by ALPN, not assumed.
        HttpVersion::Http2 if !agreed_on_http2 => {
            let source = io::Error::other("it did not agree to speak HTTP/2 (set http = \"auto\")");
            return Err(Error::Tls { name: shown(&tls.name), source });
        }
        HttpVersion::Auto | HttpVersion::Http2 => Protocol::Http2,
    };
    Ok((Io::Tls(Box::new(stream)), protocol))
}

fn without_tls(version: HttpVersion) -> Protocol {
    match version {
        HttpVersion::Auto | HttpVersion::Http1 => Protocol::Http1,
        HttpVersion::Http2 => Protocol::Http2,
    }
}

fn shown(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// Sets what a socket towards an upstream needs. None of it is worth failing a request for.
fn tune(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let results = [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_keepalive(&keepalive),
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT)),
    ];
    if let Some(error) = results.into_iter().find_map(Result::err) {
        tracing::debug!(%error, "a socket option towards an upstream could not be set");
    }
}

/// Silence after which the kernel asks whether the upstream's host is still there: the only way to see one
/// that vanished without FIN or RST while it had nothing to say. 30 s together with the two below.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Longest time that what was sent may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// An address that refuses connections as long as the socket lives.
    fn refusing() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn connect_tries_every_address_until_one_accepts() {
        let (_socket, refused) = refusing();
        let (_other, also_refused) = refusing();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let open = listener.local_addr().unwrap();
        let stream = connect_any(&[refused, also_refused, open], Duration::from_secs(60)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn connect_names_the_last_address_when_all_refuse() {
        let (_socket, first) = refusing();
        let (_other, last) = refusing();
        let failed = connect_any(&[first, last], Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(failed, Failed::Refused(address, error)
            if address == last.to_string() && error.kind() == io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn socket_is_tuned_when_connected() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
