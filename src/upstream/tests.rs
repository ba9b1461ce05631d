//! What the tests of this module share, and the tests of the whole: TLS, ALPN, timeouts.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::upload::tests::{full, scripted};
use super::*;
use crate::config::{ClientTls, Config, Endpoint, HttpVersion, Upstream};

pub(super) fn upstream(address: SocketAddr, http: HttpVersion) -> Upstream {
    Upstream {
        name: "test".to_owned(),
        endpoint: Endpoint::Tcp { host: address.ip().to_string(), port: address.port() },
        tls: None,
        authority: http::uri::Authority::from_static("configured.example"),
        base_path: String::new(),
        http,
        connect_timeout: Duration::from_secs(5),
        tls_handshake_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(4),
        max_idle: 32,
    }
}

pub(super) fn upstreams(upstream: Upstream) -> Upstreams {
    Upstreams::new(Arc::new(Config { upstreams: vec![upstream], ..crate::server::testing::config() }))
}

/// A server that the test plays.
pub(super) struct Server(TcpListener);

impl Server {
    pub(super) async fn start() -> Self {
        Server(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub(super) fn client(&self, http: HttpVersion) -> Upstreams {
        upstreams(upstream(self.address(), http))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(super) async fn accept(&self) -> Peer {
        Peer(self.0.accept().await.unwrap().0)
    }

    /// No connection has come that was not accepted.
    pub(super) async fn assert_no_more(&self) {
        poll_fn(|cx| {
            assert!(self.0.poll_accept(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}

/// The server's end of a connection.
pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    /// Reads until what came ends with `end`.
    pub(super) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let byte = self.0.read_u8().await.expect("more of the request");
            read.push(byte);
        }
        String::from_utf8(read).unwrap()
    }

    pub(super) async fn head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    pub(super) async fn write(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Waits for the other side to close or reset the connection.
    pub(super) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
    }
}

pub(super) fn head(method: Method, path: &str) -> request::Parts {
    let request = http::Request::builder().method(method).uri(path).header("host", "up.example");
    request.body(()).unwrap().into_parts().0
}

pub(super) async fn get(upstreams: &Upstreams) -> Result<Response, Error> {
    upstreams.send(0, head(Method::GET, "/x"), Upload::empty(), None, &|_| ()).await
}

pub(super) async fn read(body: &mut Body) -> Result<Read, Error> {
    let mut buffer = [0; 1000];
    poll_fn(|cx| body.poll_read(cx, &mut buffer)).await
}

/// Body bytes of one read.
pub(super) async fn data(body: &mut Body) -> String {
    let mut buffer = [0; 1000];
    match poll_fn(|cx| body.poll_read(cx, &mut buffer)).await.unwrap() {
        Read::Data(length) => String::from_utf8(buffer[..length].to_vec()).unwrap(),
        other => panic!("{other:?} and not data"),
    }
}

/// All that is left of a body.
pub(super) async fn rest(body: &mut Body) -> Result<Vec<u8>, Error> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match poll_fn(|cx| body.poll_read(cx, &mut buffer)).await? {
            Read::Data(length) => all.extend_from_slice(&buffer[..length]),
            Read::Trailers(_) => {}
            Read::End => return Ok(all),
        }
    }
}

/// A server certificate of a CA that the client trusts: both sides, with these ALPN protocols.
fn tls(server: &[&str], client: &[&str]) -> (Arc<rustls::ServerConfig>, ClientTls) {
    let protocols = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    let made = rcgen::generate_simple_self_signed(["up.example".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut accept = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    accept.alpn_protocols = protocols(server);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut connect = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    connect.alpn_protocols = protocols(client);
    let name = "up.example".try_into().unwrap();
    (Arc::new(accept), ClientTls { name, config: Arc::new(connect) })
}

fn secured(address: SocketAddr, http: HttpVersion, tls: ClientTls) -> Upstreams {
    let mut upstream = upstream(address, http);
    upstream.tls = Some(tls);
    upstreams(upstream)
}

#[tokio::test(flavor = "local")]
async fn http1_is_spoken_over_tls_and_the_connection_kept() {
    let server = Server::start().await;
    let (accept, connect) = tls(&["http/1.1"], &["h2", "http/1.1"]);
    let upstreams = secured(server.address(), HttpVersion::Auto, connect);
    let serve = async {
        let tcp = server.accept().await.0;
        let mut peer = tokio_rustls::TlsAcceptor::from(accept).accept(tcp).await.unwrap();
        for _ in 0..2 {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nping") {
                request.push(peer.read_u8().await.unwrap());
            }
            peer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            peer.write_all(b"4\r\npong\r\n0\r\n\r\n").await.unwrap();
            peer.flush().await.unwrap();
        }
    };
    let ask = async {
        for _ in 0..2 {
            let sent = upstreams.send(0, head(Method::POST, "/x"), full(b"ping"), None, &|_| ());
            assert_eq!(rest(&mut sent.await.unwrap().body).await.unwrap(), b"pong");
        }
    };
    tokio::join!(serve, ask);
    server.assert_no_more().await;
}

#[tokio::test(flavor = "local")]
async fn http2_is_spoken_when_alpn_says_so() {
    let server = Server::start().await;
    let (accept, connect) = tls(&["h2"], &["h2", "http/1.1"]);
    let upstreams = secured(server.address(), HttpVersion::Auto, connect);
    let serve = async {
        let tcp = server.accept().await.0;
        let io = tokio_rustls::TlsAcceptor::from(accept).accept(tcp).await.unwrap();
        let mut connection = h2::server::handshake(io).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri(), "https://up.example/x");
        respond.send_response(http::Response::new(()), true).unwrap();
        while connection.accept().await.is_some() {}
    };
    let ask = async {
        let response = get(&upstreams).await.unwrap();
        assert_eq!(response.head.version, http::Version::HTTP_2);
        assert!(response.body.is_end());
        drop(response);
        drop(upstreams);
    };
    tokio::join!(serve, ask);
}

#[tokio::test(flavor = "local")]
async fn tls_failure_is_named_when_the_certificate_is_not_trusted() {
    let server = Server::start().await;
    let (accept, _) = tls(&[], &[]);
    let (_, stranger) = tls(&[], &[]);
    let upstreams = secured(server.address(), HttpVersion::Auto, stranger);
    let serve = async {
        let tcp = server.accept().await.0;
        assert!(tokio_rustls::TlsAcceptor::from(accept).accept(tcp).await.is_err());
    };
    let ((), error) = tokio::join!(serve, get(&upstreams));
    let error = error.unwrap_err();
    assert_eq!(
        (error.cause().what(), error.to_string().as_str()),
        ("tls_failed", "TLS handshake with up.example failed")
    );
}

#[tokio::test(flavor = "local")]
async fn http2_only_upstream_is_refused_when_alpn_did_not_agree() {
    let server = Server::start().await;
    let (accept, connect) = tls(&[], &["h2"]);
    let upstreams = secured(server.address(), HttpVersion::Http2, connect);
    let serve = async {
        let tcp = server.accept().await.0;
        tokio_rustls::TlsAcceptor::from(accept).accept(tcp).await.unwrap();
    };
    let ((), error) = tokio::join!(serve, get(&upstreams));
    assert_eq!(error.unwrap_err().cause().what(), "tls_failed");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn tls_handshake_times_out_by_name() {
    let server = Server::start().await;
    let (_, connect) = tls(&[], &[]);
    let upstreams = secured(server.address(), HttpVersion::Auto, connect);
    let error = get(&upstreams).await.unwrap_err();
    assert_eq!(error.cause().what(), "timeout_tls_handshake");
}

#[tokio::test(flavor = "local")]
async fn unix_socket_is_spoken_to() {
    let directory = std::env::temp_dir().join(format!("tidegate-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("up.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut upstream = upstream(([127, 0, 0, 1], 0).into(), HttpVersion::Auto);
    upstream.endpoint = Endpoint::Unix(path);
    let upstreams = upstreams(upstream);
    let serve = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(peer.read_u8().await.unwrap());
        }
        peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let ((), response) = tokio::join!(serve, get(&upstreams));
    assert!(response.unwrap().body.is_end());
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "local")]
async fn connect_failure_is_named() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let error = get(&upstreams(upstream(address, HttpVersion::Auto))).await.unwrap_err();
    assert_eq!((error.cause().what(), error.phase().name()), ("connect_failed", "connect"));
    assert_eq!(error.to_string(), format!("cannot connect to {address}"));
}

#[tokio::test(flavor = "local")]
async fn body_is_refused_before_anything_is_sent_when_it_declares_too_much() {
    let server = Server::start().await;
    let (upload, _script) = upload::tests::scripted_with(Some(11), 10, None);
    let upstreams = server.client(HttpVersion::Auto);
    let error = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()).await.unwrap_err();
    assert_eq!((error.cause().what(), error.cause().status().as_u16()), ("request_body_too_large", 413));
    server.assert_no_more().await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn head_timeout_counts_from_the_end_of_the_upload_in_both_protocols() {
    for http in [HttpVersion::Http1, HttpVersion::Http2] {
        let server = Server::start().await;
        let upstreams = server.client(http);
        let start = tokio::time::Instant::now();
        let (upload, script) = scripted(None);
        let upload_slowly = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(100)).await;
                script.send("x");
            }
            script.end();
        };
        let serve = async {
            let mut peer = server.accept().await;
            if http == HttpVersion::Http1 {
                peer.closed().await;
            } else {
                let mut connection = h2::server::handshake(peer.0).await.unwrap();
                let _stream = connection.accept().await.unwrap().unwrap();
                while connection.accept().await.is_some() {}
            }
        };
        let ask = async {
            let timeout = Some(Duration::from_secs(300));
            let sent = upstreams.send(0, head(Method::POST, "/x"), upload, timeout, &|_| ()).await;
            drop(upstreams);
            sent.unwrap_err()
        };
        let (error, (), ()) = tokio::join!(ask, upload_slowly, serve);
        assert_eq!(
            (error.cause().what(), start.elapsed().as_secs()),
            ("timeout_response_head", 700),
            "{http:?}"
        );
    }
}
