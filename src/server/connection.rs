//! One client connection, from accept to close.
//!
//! TLS handshake, then the first bytes (is it HTTP/2?), then hyper with every limit set ([`super::http1`],
//! [`super::http2`]). Each step has its timeout. Nothing here knows what a request is about: that is the
//! [`Handler`], which in production is [`crate::proxy::handle`].

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::io::{Opening, Socket, Wire};
use super::metered::Metered;
use super::registry::Member;
use super::worker::{Phase, Worker};
use crate::log;
use crate::relay::{Aborted, Offer, Tunnel};
use crate::stream::Cause;

/// Answers requests.
pub(super) trait Handler: Clone + Send + 'static {
    /// The body of its responses.
    type Body: http_body::Body<Data = Bytes, Error = Aborted> + Unpin + 'static;

    /// Answers one request of `client`. Dropping the future abandons the request.
    fn handle(
        self,
        request: Request<Incoming>,
        client: Rc<Client>,
        worker: Rc<Worker>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;

    /// The tunnel that begins behind a response with this body.
    fn tunnel(_: &mut Self::Body) -> Option<Box<Tunnel>> {
        None
    }

    /// Has this body offer itself to the connection, if it can be written without hyper.
    fn offer(_: &mut Self::Body) -> Option<Rc<Offer>> {
        None
    }
}

/// The handler in production: [`crate::proxy::handle`].
#[derive(Debug, Clone)]
pub(super) struct Proxy;

/// What a connection needs besides its socket.
pub(super) struct Connection<H> {
    /// The client.
    pub(super) client: Rc<Client>,
    /// The worker that it runs on.
    pub(super) worker: Rc<Worker>,
    /// Its place among the live connections of the worker.
    pub(super) member: Member,
    /// Answers its requests.
    pub(super) handler: H,
}

impl Handler for Proxy {
    type Body = crate::relay::Body;

    fn handle(
        self,
        request: Request<Incoming>,
        client: Rc<Client>,
        worker: Rc<Worker>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static {
        crate::proxy::handle(request, client, worker)
    }

    fn tunnel(body: &mut Self::Body) -> Option<Box<Tunnel>> {
        body.take_tunnel()
    }

    fn offer(body: &mut Self::Body) -> Option<Rc<Offer>> {
        body.offer()
    }
}

impl<H: Handler> Connection<H> {
    /// Serves what [opened](Connection::open) until it is closed.
    pub(super) async fn run(&self, wire: &Rc<Wire>, opening: Opening) {
        match opening {
            Opening::Http1 => self.serve_http1(wire).await,
            Opening::Http2 => Box::pin(self.serve_http2(wire)).await,
            Opening::Closed => {}
        }
    }

    /// Comes to where the version of HTTP is known; `None` if the connection is over before.
    pub(super) async fn open(
        &self,
        socket: impl Socket + 'static,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Option<(Rc<Wire>, Opening)> {
        let socket = Metered::new(socket, Rc::clone(&self.client));
        let (socket, alpn) = self.handshake(socket, tls).await?;
        let wire = Wire::new(socket, Rc::clone(&self.client));
        let opening = self.opening(&wire, alpn).await?;
        Some((wire, opening))
    }

    /// Does the TLS handshake, where there is one, and says which version ALPN (RFC 7301) chose.
    async fn handshake<S: Socket + 'static>(
        &self,
        socket: Metered<S>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Option<(Box<dyn Socket>, Option<Opening>)> {
        let Some(config) = tls else { return Some((Box::new(socket), None)) };
        let bound = self.worker.config.timeouts.tls_handshake;
        let handshake = TlsAcceptor::from(config).accept(socket);
        let error = match self.unless_draining(timeout(bound, handshake)).await? {
            Ok(Ok(stream)) => {
                let version = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Opening::Http2,
                    _ => Opening::Http1,
                };
                return Some((Box::new(stream), Some(version)));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("timeout tls_handshake ({bound:?}) ran out"),
        };
        tracing::debug!(
            client = self.client.peer.map(tracing::field::display),
            error,
            "TLS handshake failed"
        );
        None
    }

    /// Finds the version by the first bytes where ALPN did not say that it is HTTP/1.1. HTTP/2 must begin
    /// with its preface in any case, and hyper would wait for it without end.
    async fn opening(&self, wire: &Wire, alpn: Option<Opening>) -> Option<Opening> {
        if alpn == Some(Opening::Http1) {
            return alpn;
        }
        let bound = self.worker.config.timeouts.request_head;
        let cause = match self.unless_draining(timeout(bound, wire.opening())).await? {
            Ok(Opening::Closed) => Cause::ClientGone,
            Ok(Opening::Http1) if alpn == Some(Opening::Http2) => Cause::ClientMalformed,
            Ok(opening) => return Some(opening),
            Err(_) => Cause::ClientTimeoutRequestHead,
        };
        if wire.holds_bytes() {
            log::refused(&self.worker, &self.client, None, cause);
        }
        None
    }

    /// Says how hyper ended.
    pub(super) fn ended(&self, error: &hyper::Error) {
        tracing::debug!(
            client = self.client.peer.map(tracing::field::display),
            error = error as &dyn std::error::Error,
            "connection ended"
        );
    }

    /// Says that nothing more comes, and reads what the client still sends after the last response, for `bound` at most,
    /// and while it sends: closing a socket with unread bytes resets it, and the reset can overtake the response
    /// (RFC 9112 9.6).
    pub(super) async fn linger(&self, wire: &Wire, bound: Duration) {
        let quiet = async {
            // hyper has done it already, but after a CONNECT.
            wire.shutdown().await;
            while let Ok(true) = timeout(LINGER, wire.discard()).await {}
        };
        // Either way the connection is closed now.
        let _ = self.unless_draining(timeout(bound, quiet)).await;
    }

    /// What `future` gives; `None` if a drain begins before.
    async fn unless_draining<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.member.watch(cx);
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if self.worker.phase.get() > Phase::Serving { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// The handler's future, boxed: hyper keeps room for what it polls as long as the connection or the stream lives, and
/// what a request takes until its response head is not needed while the body goes. Boxed here and not further out: each
/// `async` block around it holds it twice, once as it came and once as it is polled.
pub(super) fn answer<H: Handler>(
    handler: &H,
    request: Request<Incoming>,
    client: &Rc<Client>,
    worker: &Rc<Worker>,
) -> Pin<Box<impl Future<Output = Response<H::Body>> + use<H>>> {
    Box::pin(handler.clone().handle(request, Rc::clone(client), Rc::clone(worker)))
}

/// What a client that still sends gets to read the response and close.
pub(super) const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http2 as client;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::time::Instant;

    use super::super::testing::{Served, config, serve};
    use super::*;
    use crate::config::ServerTls;

    const PIPE: usize = 64 << 10;
    const GET_HELLO: &str = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    const GET_WAIT: &str = "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n";

    #[derive(Clone)]
    struct Local;

    impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
        fn execute(&self, future: F) {
            tokio::task::spawn_local(async move { drop(future.await) });
        }
    }

    type Sender = client::SendRequest<Empty<Bytes>>;

    async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + 'static, window: u32) -> Sender {
        let (sender, connection) = client::Builder::new(Local)
            .initial_stream_window_size(window)
            .initial_connection_window_size(1 << 20)
            .handshake(TokioIo::new(io))
            .await
            .expect("a handshake");
        tokio::task::spawn_local(async move { drop(connection.await) });
        sender
    }

    fn get(path: &str) -> Request<Empty<Bytes>> {
        Request::get(format!("http://a{path}")).body(Empty::new()).expect("a request")
    }

    /// What comes until the end.
    async fn rest(body: &mut Incoming) -> hyper::Result<String> {
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            rest.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    /// The client's end, and everything else.
    fn split(mut served: Served) -> (tokio::io::DuplexStream, Served) {
        let (nothing, _) = tokio::io::duplex(1);
        (std::mem::replace(&mut served.client, nothing), served)
    }

    #[tokio::test(flavor = "local")]
    async fn http1_requests_are_answered_one_after_the_other() {
        let mut served = serve(config(), PIPE);
        for _ in 0..2 {
            served.send(GET_HELLO).await;
            let response = served.read_until("hello\n\r\n0\r\n\r\n").await;
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        }
        served.send(format!("{GET_HELLO}{GET_HELLO}")).await;
        served.read_until("hello\n\r\n0\r\n\r\n").await;
        served.read_until("hello\n\r\n0\r\n\r\n").await;
    }

    #[tokio::test(flavor = "local")]
    async fn http2_is_served_with_prior_knowledge() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let response = sender.send_request(get("/hello")).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(rest(&mut response.into_body()).await.expect("a clean end"), "hello\n");
        drop(served);
    }

    #[tokio::test(flavor = "local")]
    async fn http2_preface_is_found_in_single_bytes() {
        let mut served = serve(config(), 1);
        served.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let mut head = [0; 9];
        served.client.read_exact(&mut head).await.expect("a frame");
        assert_eq!(head[3], 4, "a SETTINGS frame");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn preface_that_is_not_completed_is_cut_at_the_head_timeout() {
        let mut served = serve(config(), PIPE);
        let start = Instant::now();
        served.send("PRI * HT").await;
        assert_eq!(served.read_to_end().await, "");
        assert_eq!(start.elapsed().as_secs(), 10);
        let lines = served.lines.access();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("outcome=client:timeout_request_head phase=request"), "{lines:?}");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn connection_without_a_byte_is_closed_without_a_line() {
        let mut served = serve(config(), PIPE);
        let start = Instant::now();
        assert_eq!(served.read_to_end().await, "");
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(served.lines.access().is_empty(), "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn idle_connections_are_closed_without_a_line() {
        let mut served = serve(config(), PIPE);
        served.send(GET_HELLO).await;
        served.read_until("0\r\n\r\n").await;
        let start = Instant::now();
        assert_eq!(served.read_to_end().await, "");
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(served.lines.access().len(), 1, "the request: {:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn http2_connection_without_streams_is_closed() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let start = Instant::now();
        sender.send_request(get("/hello")).await.expect("a response");
        served.task.await.expect("no panic");
        assert!((10..=20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert!(sender.is_closed());
    }

    /// A certificate for `localhost`, and what a client needs to trust it.
    fn tls(alpn: &[u8]) -> (ServerTls, tokio_rustls::TlsConnector) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a server");
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![alpn.to_vec()];
        let server = ServerTls { cert: "".into(), key: "".into(), config: Arc::new(server) };
        (server, Arc::new(client).into())
    }

    fn localhost() -> rustls::pki_types::ServerName<'static> {
        rustls::pki_types::ServerName::try_from("localhost").expect("a name")
    }

    #[tokio::test(flavor = "local")]
    async fn tls_serves_the_version_that_alpn_chose() {
        let (server, connector) = tls(b"h2");
        let mut config = config();
        config.listeners[0].tls = Some(server);
        let (io, _served) = split(serve(config, PIPE));
        let mut sender = http2(connector.connect(localhost(), io).await.expect("TLS"), 65_535).await;
        let response = sender.send_request(get("/hello")).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_2);

        let (server, connector) = tls(b"http/1.1");
        let mut config = super::super::testing::config();
        config.listeners[0].tls = Some(server);
        let (io, _served) = split(serve(config, PIPE));
        let mut io = connector.connect(localhost(), io).await.expect("TLS");
        io.write_all(GET_HELLO.as_bytes()).await.expect("written");
        let mut head = [0; 15];
        io.read_exact(&mut head).await.expect("a response");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn tls_handshake_that_does_not_come_is_cut() {
        let mut config = config();
        config.listeners[0].tls = Some(tls(b"h2").0);
        config.timeouts.tls_handshake = Duration::from_secs(3);
        let mut served = serve(config, PIPE);
        let start = Instant::now();
        assert_eq!(served.read_to_end().await, "");
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn tls_client_that_chose_http2_and_says_nothing_is_cut() {
        let (server, connector) = tls(b"h2");
        let mut config = config();
        config.listeners[0].tls = Some(server);
        let (io, served) = split(serve(config, PIPE));
        let _io = connector.connect(localhost(), io).await.expect("TLS");
        let start = Instant::now();
        served.task.await.expect("no panic");
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    /// hyper watches for the end of file only while its read buffer is empty: with anything behind the request
    /// it never noticed that the client was gone, and the upstream went on working for nobody.
    #[tokio::test(flavor = "local")]
    async fn client_that_leaves_behind_pipelined_bytes_is_noticed() {
        for behind in ["", "\r\n", GET_HELLO, "GET /hel"] {
            let mut served = serve(config(), PIPE);
            served.send(format!("{GET_WAIT}{behind}")).await;
            served.script.events.wait("called /wait").await;
            let (client, served) = split(served);
            drop(client);
            served.script.events.wait("dropped /wait").await;
            let lines = served.lines.access();
            assert_eq!(lines.len(), 1, "{behind:?}: {lines:?}");
            assert!(lines[0].contains("outcome=client:gone"), "{behind:?}: {lines:?}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn client_that_leaves_after_it_pipelined_into_a_stream_is_noticed() {
        let mut served = serve(config(), PIPE);
        let gate = served.script.gate();
        served.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.send(Bytes::from_static(b"one")).await.expect("sent");
        served.read_until("one\r\n").await;
        served.send(GET_HELLO).await;
        gate.send(Bytes::from_static(b"two")).await.expect("sent");
        served.read_until("two\r\n").await;
        let (client, served) = split(served);
        drop(client);
        served.script.events.wait("dropped /gate").await;
    }

    #[tokio::test(flavor = "local")]
    async fn pipelined_requests_are_answered_after_a_stash() {
        let mut served = serve(config(), PIPE);
        let gate = served.script.gate();
        served.send(format!("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n{GET_HELLO}")).await;
        served.script.events.wait("called /gate").await;
        for _ in 0..500 {
            served.send(GET_HELLO).await;
        }
        drop(gate);
        for _ in 0..501 {
            served.read_until("hello\n\r\n0\r\n\r\n").await;
        }
    }

    #[tokio::test(flavor = "local")]
    async fn client_that_sends_too_far_ahead_is_cut() {
        let mut served = serve(config(), PIPE);
        served.send(GET_WAIT).await;
        served.script.events.wait("called /wait").await;
        let flood = vec![b'x'; 1 << 20];
        served.client.write_all(&flood).await.expect_err("cut");
        served.script.events.wait("dropped /wait").await;
        assert!(served.lines.access()[0].contains("outcome=client:flooded"), "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn body_that_nobody_reads_is_backpressure_and_no_flood() {
        let mut served = serve(config(), PIPE);
        served.send("POST /wait HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        served.script.events.wait("called /wait").await;
        // The handler dropped the body, but only whoever reads bodies knows that there is no more of it.
        assert!(served.state.uploading.get());
        let rest = vec![b'x'; 1_000_000];
        let written = timeout(Duration::from_secs(1), served.client.write_all(&rest)).await;
        assert!(written.is_err(), "everything was read");
        assert_eq!(served.script.events.all(), ["called /wait"]);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn client_that_takes_nothing_is_cut_after_the_bound() {
        let mut served = serve(config(), 1 << 10);
        served.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
        served.script.events.wait("called /endless").await;
        let start = Instant::now();
        served.script.events.wait("dropped /endless").await;
        assert!(served.state.write_blocked.get());
        assert_eq!(start.elapsed().as_secs(), 60);
        assert!(served.lines.access()[0].contains("outcome=client:stalled"), "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn client_that_takes_a_little_now_and_then_is_not_cut() {
        let mut served = serve(config(), 1 << 10);
        served.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            served.client.read_exact(&mut [0; 100]).await.expect("more");
        }
        assert_eq!(served.script.events.all(), ["called /endless"]);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn http2_stream_without_a_window_is_reset_and_the_others_go_on() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 100_000).await;
        let gate = served.script.gate();
        let mut going = sender.send_request(get("/gate")).await.expect("a response").into_body();
        let mut stuck = sender.send_request(get("/endless")).await.expect("a response").into_body();
        let start = Instant::now();
        while !served.script.events.all().iter().any(|event| event == "dropped /endless") {
            gate.send(Bytes::from_static(b"event")).await.expect("sent");
            let frame = going.frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), "event");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((59..=61).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let lines = served.lines.access();
        assert!(
            lines[0].contains("path=/endless") && lines[0].contains("outcome=client:stalled"),
            "{lines:?}"
        );
        let error = rest(&mut stuck).await.expect_err("cut");
        assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
    }

    #[tokio::test(flavor = "local")]
    async fn http2_stream_that_the_client_resets_is_dropped() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let gate = served.script.gate();
        let body = sender.send_request(get("/gate")).await.expect("a response").into_body();
        drop(body);
        served.script.events.wait("dropped /gate").await;
        drop(gate);
        assert!(served.lines.access()[0].contains("outcome=client:gone"), "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local")]
    async fn http2_streams_are_dropped_when_the_client_leaves() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let waiting = tokio::task::spawn_local(sender.send_request(get("/wait")));
        served.script.events.wait("called /wait").await;
        waiting.abort();
        drop(sender);
        served.script.events.wait("dropped /wait").await;
    }

    #[tokio::test(flavor = "local")]
    async fn request_that_hyper_refuses_has_an_access_line() {
        let long = "x".repeat(66_000);
        let headers = "a: b\r\n".repeat(101);
        let cases = [
            ("no http at all\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.2\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nbad header: x\r\n\r\n".to_owned(), 400),
            (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414),
            (format!("GET / HTTP/1.1\r\n{headers}\r\n"), 431),
            (format!("GET / HTTP/1.1\r\na: {long}{long}\r\n\r\n"), 431),
        ];
        for (request, status) in cases {
            let mut config = config();
            config.limits.max_head_bytes = 100 << 10;
            let mut served = serve(config, 1 << 20);
            served.send(&request).await;
            let response = served.read_until("\r\n\r\n").await;
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
            let (client, served) = split(served);
            drop(client);
            served.task.await.expect("no panic");
            let lines = served.lines.access();
            assert_eq!(lines.len(), 1, "{lines:?}");
            let line = format!("method=- status={status} outcome=client:malformed phase=request");
            assert!(lines[0].contains(&line), "{lines:?}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn target_past_the_bound_is_told_from_a_head_past_it() {
        let long = "x".repeat(40_000);
        let cases = [
            (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414),
            (format!("\r\n\r\nGET /{long}"), 414),
            (format!("GET /hello HTTP/1.1\r\nhost: a\r\na: {long}\r\n\r\n"), 431),
            (long, 431),
        ];
        // On a fresh connection, on one that carried a request, and in one breath with that.
        for (before, at_once) in [("", false), (GET_HELLO, false), (GET_HELLO, true)] {
            for (request, status) in &cases {
                let mut served = serve(config(), 1 << 20);
                served.send(before).await;
                if at_once {
                    served.send(request).await;
                }
                if !before.is_empty() {
                    served.read_until("0\r\n\r\n").await;
                }
                if !at_once {
                    served.send(request).await;
                }
                let response = served.read_until("\r\n\r\n").await;
                assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
                assert_eq!(served.read_to_end().await, "", "one answer");
                let lines = served.lines.access();
                let line = format!("method=- status={status} outcome=client:malformed phase=request");
                assert!(lines.last().is_some_and(|last| last.contains(&line)), "{lines:?}");
            }
        }
    }

    #[tokio::test(flavor = "local")]
    async fn body_that_looks_like_a_refusal_is_written_wherever_a_write_begins() {
        // A write takes one byte: the next begins anywhere, also at what hyper itself could have said.
        let mut served = serve(config(), 1);
        let gate = served.script.gate();
        served.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let text = "HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n";
        let mut response = String::new();
        for _ in 0..2 {
            gate.send(Bytes::from_static(text.as_bytes())).await.expect("sent");
            response += &served.read_until(text).await;
        }
        // hyper has the end of the body before it has written what came first.
        gate.send(Bytes::from_static(text.as_bytes())).await.expect("sent");
        drop(gate);
        response += &served.read_until("\r\n0\r\n\r\n").await;
        assert_eq!(response.matches(text).count(), 3, "{response}");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn head_that_is_not_completed_is_refused_with_a_line() {
        let mut served = serve(config(), PIPE);
        served.send(GET_HELLO).await;
        served.read_until("0\r\n\r\n").await;
        served.send("GET /hello HTTP/1.1\r\nhost:").await;
        let answer = served.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let lines = served.lines.access();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("method=- status=408 outcome=client:timeout_request_head"), "{lines:?}");
    }

    #[tokio::test(flavor = "local")]
    async fn head_that_the_client_breaks_off_has_a_line() {
        for begin in ["P", "GET /hello HTTP/1.1\r\nhost:"] {
            let mut served = serve(config(), PIPE);
            served.send(begin).await;
            let (client, served) = split(served);
            drop(client);
            served.task.await.expect("no panic");
            let lines = served.lines.access();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("method=- outcome=client:gone phase=request"), "{lines:?}");
        }
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn client_that_still_uploads_can_read_an_early_answer() {
        let mut served = serve(config(), 1 << 10);
        served.send("POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        served.read_until("hello\n\r\n0\r\n\r\n").await;
        served.send(vec![b'x'; 500_000]).await;
        let start = Instant::now();
        assert_eq!(served.read_to_end().await, "");
        assert_eq!(start.elapsed(), Duration::ZERO, "only the reading side lingers");
        served.task.await.expect("no panic");
        assert!(start.elapsed() <= LINGER + Duration::from_millis(10));
    }

    #[tokio::test(flavor = "local")]
    async fn panic_in_a_request_ends_its_connection_only() {
        let mut served = serve(config(), PIPE);
        served.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(served.read_to_end().await, "");
        assert!(served.lines.access()[0].contains("outcome=tidegate:panic"), "{:?}", served.lines.access());
        assert!(served.worker.connections.is_empty());
    }

    #[tokio::test(flavor = "local")]
    async fn panic_in_a_body_ends_its_connection_only_and_no_body_looks_complete() {
        let mut served = serve(config(), PIPE);
        served.send("GET /panic-later HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let got = served.read_to_end().await;
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
        assert!(served.lines.access()[0].contains("outcome=tidegate:panic"), "{:?}", served.lines.access());
        assert!(served.worker.connections.is_empty());
    }

    #[tokio::test(flavor = "local")]
    async fn panic_in_an_http2_stream_leaves_the_others_alone() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let gate = served.script.gate();
        let mut other = sender.send_request(get("/gate")).await.expect("a response").into_body();
        sender.send_request(get("/panic")).await.expect_err("reset");
        let mut later = sender.send_request(get("/panic-later")).await.expect("a response").into_body();
        assert!(rest(&mut later).await.is_err(), "a body that broke off looked complete");
        gate.send(Bytes::from_static(b"still here")).await.expect("sent");
        drop(gate);
        assert_eq!(rest(&mut other).await.expect("a clean end"), "still here");
        let response = sender.send_request(get("/hello")).await.expect("a response");
        assert_eq!(response.status(), 200);
        let panics =
            served.lines.access().iter().filter(|line| line.contains("outcome=tidegate:panic")).count();
        assert_eq!(panics, 2, "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn drain_closes_idle_connections_at_once() {
        for request in ["", GET_HELLO] {
            let mut served = serve(config(), PIPE);
            served.send(request).await;
            if !request.is_empty() {
                served.read_until("0\r\n\r\n").await;
            }
            tokio::task::yield_now().await;
            let start = Instant::now();
            served.enter(Phase::Draining);
            assert_eq!(served.read_to_end().await, "");
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert!(served.worker.connections.is_empty());
        }
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn drain_lets_a_stream_finish_and_then_closes() {
        let mut served = serve(config(), PIPE);
        let gate = served.script.gate();
        served.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.send(Bytes::from_static(b"one")).await.expect("sent");
        served.read_until("one\r\n").await;
        served.enter(Phase::Draining);
        tokio::time::sleep(Duration::from_secs(300)).await;
        gate.send(Bytes::from_static(b"two")).await.expect("sent");
        served.read_until("two\r\n").await;
        drop(gate);
        assert_eq!(served.read_to_end().await, "0\r\n\r\n");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn drain_lets_an_http2_stream_finish_and_then_closes() {
        let (io, served) = split(serve(config(), PIPE));
        let mut sender = http2(io, 65_535).await;
        let gate = served.script.gate();
        let mut body = sender.send_request(get("/gate")).await.expect("a response").into_body();
        served.enter(Phase::Draining);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(sender.send_request(get("/hello")).await.is_err(), "no new requests");
        gate.send(Bytes::from_static(b"last")).await.expect("sent");
        drop(gate);
        assert_eq!(rest(&mut body).await.expect("a clean end"), "last");
        served.task.await.expect("no panic");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn end_of_a_drain_cuts_what_still_runs() {
        let mut served = serve(config(), PIPE);
        served.send(GET_WAIT).await;
        served.script.events.wait("called /wait").await;
        served.enter(Phase::Draining);
        served.enter(Phase::Ending);
        let start = Instant::now();
        served.script.events.wait("dropped /wait").await;
        assert_eq!(start.elapsed().as_secs(), 2);
        assert!(served.lines.access()[0].contains("outcome=tidegate:drain"), "{:?}", served.lines.access());
    }

    #[tokio::test(flavor = "local")]
    async fn flushes_count_what_has_left() {
        let mut served = serve(config(), 1 << 10);
        let gate = served.script.gate();
        served.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.send(Bytes::from_static(b"one")).await.expect("sent");
        served.read_until("one\r\n").await;
        assert!(!served.state.write_blocked.get());
        let before = served.state.flushes.get();
        gate.send(vec![b'x'; 2 << 10].into()).await.expect("sent");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(served.state.write_blocked.get());
        assert_eq!(served.state.flushes.get(), before, "it has not left");
        served.read_until("x\r\n").await;
        tokio::task::yield_now().await;
        assert!(!served.state.write_blocked.get());
        assert_ne!(served.state.flushes.get(), before);
    }
}
