//! An upstream that does nothing by itself: each request that arrives is handed to the test, which decides
//! what is written and when. Plain, TLS or Unix; HTTP/1.1 or HTTP/2.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::certs::Certs;
use super::client::Left;
use super::wire::{Framing, Head, Io, Wire};
use super::{Dir, within, within_time};

/// Which HTTP version an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; by prior knowledge where there is no TLS.
    Http2,
    /// What ALPN chooses, HTTP/2 first. With TLS only.
    Either,
}

/// A listening upstream.
#[derive(Debug)]
pub struct Upstream {
    /// The URL for `upstream.NAME.url`.
    pub url: String,
    speaks: Speaks,
    ca: Option<PathBuf>,
    requests: mpsc::Receiver<Exchange>,
    counts: Arc<Counts>,
    accept: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Upstream {
    /// HTTP/1.1 without TLS.
    pub async fn start() -> Self {
        Upstream::tcp(Speaks::Http1, None).await
    }

    /// HTTP/2 by prior knowledge.
    pub async fn h2c() -> Self {
        Upstream::tcp(Speaks::Http2, None).await
    }

    /// TLS.
    pub async fn tls(speaks: Speaks, certs: &Certs) -> Self {
        Upstream::tcp(speaks, Some(certs)).await
    }

    /// HTTP/1.1 without TLS on this very port, which only a test in a network of its own may choose
    /// ([`super::network`]).
    pub async fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|error| {
            panic!(
                "port {port} cannot be had ({error}): stop what listens there, or allow network namespaces"
            )
        });
        Upstream::listening(listener, Speaks::Http1, None)
    }

    async fn tcp(speaks: Speaks, certs: Option<&Certs>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        Upstream::listening(listener, speaks, certs)
    }

    fn listening(listener: TcpListener, speaks: Speaks, certs: Option<&Certs>) -> Self {
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let alpn: &[&str] = match speaks {
            Speaks::Http1 => &["http/1.1"],
            Speaks::Http2 => &["h2"],
            Speaks::Either => &["h2", "http/1.1"],
        };
        let tls = certs.map(|certs| TlsAcceptor::from(certs.server(alpn)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = if tls.is_some() { "localhost" } else { "127.0.0.1" };
        let (hand, requests) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let accept = tokio::spawn({
            let counts = Arc::clone(&counts);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let link = Ticket::new(&counts, &hand);
                    tokio::spawn(serve_tcp(stream, tls.clone(), speaks, link));
                }
            }
        });
        let url = format!("{scheme}://{host}:{port}");
        Upstream { url, speaks, ca: certs.map(|certs| certs.ca.clone()), requests, counts, accept }
    }

    /// HTTP/1.1 on a Unix socket in `dir`.
    pub fn unix(dir: &Dir) -> Self {
        let path = dir.join("upstream.sock");
        let listener = UnixListener::bind(&path).expect("the path is free");
        let (hand, requests) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let accept = tokio::spawn({
            let counts = Arc::clone(&counts);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve_http1(Wire::new(Box::new(stream)), Ticket::new(&counts, &hand)));
                }
            }
        });
        let url = format!("unix:{}", path.display());
        Upstream { url, speaks: Speaks::Http1, ca: None, requests, counts, accept }
    }

    /// Its table in a config file, as `[upstream.NAME]`; more keys may follow.
    pub fn table(&self, name: &str) -> String {
        let mut table = format!("[upstream.{name}]\nurl = \"{}\"\n", self.url);
        if let Some(ca) = &self.ca {
            table += &format!("ca = {:?}\n", ca.display());
        }
        if self.speaks == Speaks::Http2 {
            table += "http = \"2\"\n";
        }
        table
    }

    /// The next request on any connection: its head is there, its body may not be.
    pub async fn request(&mut self) -> Exchange {
        within("a request at the upstream", self.requests.recv()).await.expect("the upstream runs")
    }

    /// [`Upstream::request`] without a deadline, for an upstream that serves as long as the test runs.
    pub async fn next_request(&mut self) -> Option<Exchange> {
        self.requests.recv().await
    }

    /// Stops listening; the port is free when this returns.
    pub async fn stop(mut self) {
        self.accept.abort();
        let ended = (&mut self.accept).await;
        assert!(ended.is_err(), "it was listening until now");
    }

    /// Whether no request is waiting to be taken.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Belongs to one connection: counts it, and knows where its requests go.
#[derive(Debug)]
struct Ticket {
    counts: Arc<Counts>,
    hand: mpsc::Sender<Exchange>,
    number: usize,
}

impl Ticket {
    fn new(counts: &Arc<Counts>, hand: &mpsc::Sender<Exchange>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        let number = counts.accepted.fetch_add(1, Ordering::Relaxed);
        Ticket { counts: Arc::clone(counts), hand: hand.clone(), number }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_tcp(stream: TcpStream, tls: Option<TlsAcceptor>, speaks: Speaks, ticket: Ticket) {
    // What is taken of a flood is to be what the proxy takes, not what the kernel keeps here (up to 4 MiB).
    socket2::SockRef::from(&stream).set_send_buffer_size(64 << 10).expect("a socket has a send buffer");
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut http2 = speaks == Speaks::Http2;
    let io: Box<dyn Io> = match tls {
        None => Box::new(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => {
                http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::new(stream)
            }
            Err(_) => return,
        },
    };
    match http2 {
        false => serve_http1(Wire::new(io), ticket).await,
        true => serve_http2(io, ticket).await,
    }
}

/// Reads one request head and hands the connection over; whoever holds it brings it back with a new call.
async fn serve_http1(mut wire: Wire, ticket: Ticket) {
    match wire.head().await {
        Ok(Some(head)) => {
            let hand = ticket.hand.clone();
            let connection = ticket.number;
            let body = Framing::of_request(&head);
            let _ = hand.send(Exchange { head, connection, side: Side::Http1 { wire, body, ticket } }).await;
        }
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let _ = wire.try_write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            panic!("the upstream got something that is no HTTP/1.1: {error}");
        }
        Err(_) => {}
    }
}

async fn serve_http2(io: Box<dyn Io>, ticket: Ticket) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, recv) = request.into_parts();
        let authority = parts.uri.authority().map(|authority| ("host".to_owned(), authority.to_string()));
        let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let mut fields: Vec<_> = authority.into_iter().collect();
        fields.extend(super::client::fields_of(&parts.headers));
        let head = Head::from_parts(format!("{} {target} HTTP/2", parts.method), fields);
        let side = Side::Http2 { respond, send: None, recv };
        if ticket.hand.send(Exchange { head, connection: ticket.number, side }).await.is_err() {
            return;
        }
    }
}

/// One request and the response to it. Dropped, it closes the connection (HTTP/1.1) or resets the stream.
#[derive(Debug)]
pub struct Exchange {
    /// The head of the request, as it came.
    pub head: Head,
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Http1 { wire: Wire, body: Framing, ticket: Ticket },
    Http2 { respond: SendResponse<Bytes>, send: Option<SendStream<Bytes>>, recv: RecvStream },
}

impl Exchange {
    /// The next piece of the request body; `None` at its end.
    pub async fn body_piece(&mut self) -> Option<Vec<u8>> {
        match &mut self.side {
            Side::Http1 { wire, body, .. } => {
                let piece = within("a piece of the request body", wire.piece(body)).await;
                piece.expect("the request body is complete").map(|piece| piece.data)
            }
            Side::Http2 { recv, .. } => {
                let data = within("a piece of the request body", recv.data()).await?;
                let data = data.expect("the request body is complete");
                recv.flow_control().release_capacity(data.len()).expect("the window takes it back");
                Some(data.to_vec())
            }
        }
    }

    /// The whole request body.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = self.body_piece().await {
            whole.extend_from_slice(&piece);
        }
        whole
    }

    /// The whole request body, or why it is not complete. HTTP/1.1 only.
    pub async fn try_body(&mut self) -> Result<Vec<u8>, String> {
        let Side::Http1 { wire, body, .. } = &mut self.side else { panic!("only for HTTP/1.1") };
        let mut whole = Vec::new();
        loop {
            match within("a piece of the request body", wire.piece(body)).await {
                Ok(Some(piece)) => whole.extend(piece.data),
                Ok(None) => return Ok(whole),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Sends a response head; the body follows in chunks or DATA frames.
    pub async fn respond(&mut self, status: u16, fields: &[(&str, &str)]) {
        match &mut self.side {
            Side::Http1 { wire, .. } => {
                let head = response_head(status, fields, "transfer-encoding: chunked\r\n");
                wire.write(head.as_bytes()).await;
            }
            Side::Http2 { respond, send, .. } => {
                let response = http2_head(status, fields);
                *send = Some(respond.send_response(response, false).expect("the stream is open"));
            }
        }
    }

    /// Sends an interim response.
    pub async fn inform(&mut self, status: u16, fields: &[(&str, &str)]) {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.write(response_head(status, fields, "").as_bytes()).await,
            Side::Http2 { respond, .. } => {
                respond.send_informational(http2_head(status, fields)).expect("the stream is open");
            }
        }
    }

    /// Switches protocols, and gives the connection below. HTTP/1.1 only.
    pub async fn switch(mut self, fields: &[(&str, &str)]) -> Wire {
        self.wire().write(response_head(101, fields, "").as_bytes()).await;
        self.into_wire()
    }

    /// The connection below. HTTP/1.1 only.
    pub fn into_wire(self) -> Wire {
        match self.side {
            Side::Http1 { wire, .. } => wire,
            Side::Http2 { .. } => panic!("HTTP/2 has no raw bytes"),
        }
    }

    /// The trailers of the request, once its body was read to its end.
    pub async fn trailers(&mut self) -> Vec<(String, String)> {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.trailers().to_vec(),
            Side::Http2 { recv, .. } => {
                let trailers = within("the trailers", recv.trailers()).await.expect("a clean end");
                trailers.map(|trailers| super::client::fields_of(&trailers)).unwrap_or_default()
            }
        }
    }

    /// Ends the body with trailers.
    pub async fn end_with(mut self, trailers: &[(&str, &str)]) {
        match &mut self.side {
            Side::Http1 { wire, .. } => {
                let fields: String =
                    trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                wire.write(format!("0\r\n{fields}\r\n").as_bytes()).await;
                self.keep();
            }
            Side::Http2 { send, .. } => {
                let send = send.as_mut().expect("the head was sent");
                let trailers = http2_head(200, trailers).headers().clone();
                send.send_trailers(trailers).expect("the stream is open");
            }
        }
    }

    /// Sends the head of an event stream.
    pub async fn respond_sse(&mut self) {
        self.respond(200, &[("content-type", "text/event-stream")]).await;
    }

    /// Sends one chunk or DATA frame.
    pub async fn chunk(&mut self, data: &[u8]) {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.write(&chunk(data)).await,
            Side::Http2 { send, .. } => {
                let send = send.as_mut().expect("the head was sent");
                send.send_data(Bytes::copy_from_slice(data), false).expect("the stream is open");
            }
        }
    }

    /// [`Exchange::chunk`], where the proxy may be gone already. HTTP/1.1 only.
    pub async fn try_chunk(&mut self, data: &[u8]) -> io::Result<()> {
        self.wire().try_write(&chunk(data)).await
    }

    /// Sends one DATA frame if the window has, or gets within `patience`, room for it. HTTP/2 only.
    pub async fn chunk_if_room(&mut self, data: &[u8], patience: Duration) -> bool {
        let Side::Http2 { send: Some(send), .. } = &mut self.side else { panic!("only HTTP/2 has windows") };
        send.reserve_capacity(data.len());
        let room = async {
            while send.capacity() < data.len() {
                poll_fn(|cx| send.poll_capacity(cx)).await.expect("the stream is open").expect("a window");
            }
        };
        if tokio::time::timeout(patience, room).await.is_err() {
            return false;
        }
        send.send_data(Bytes::copy_from_slice(data), false).expect("the stream is open");
        true
    }

    /// Ends the body as its framing wants; the connection stays and takes more requests.
    pub async fn end(mut self) {
        match &mut self.side {
            Side::Http1 { wire, .. } => {
                wire.write(b"0\r\n\r\n").await;
                self.keep();
            }
            Side::Http2 { send, .. } => {
                let send = send.as_mut().expect("the head was sent");
                send.send_data(Bytes::new(), true).expect("the stream is open");
            }
        }
    }

    /// Ends the body, and waits until the other side has given up the rest of its request.
    pub async fn end_and_wait(&mut self) -> Instant {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.write(b"0\r\n\r\n").await,
            Side::Http2 { send, .. } => {
                let send = send.as_mut().expect("the head was sent");
                send.send_data(Bytes::new(), true).expect("the stream is open");
            }
        }
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.until_closed().await,
            Side::Http2 { recv, .. } => {
                while let Some(Ok(_)) = recv.data().await {}
                Instant::now()
            }
        }
    }

    /// A whole response with a known length; the connection stays.
    pub async fn answer(mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        match &mut self.side {
            Side::Http1 { wire, .. } => {
                let length = format!("content-length: {}\r\n", body.len());
                let mut whole = response_head(status, fields, &length).into_bytes();
                whole.extend_from_slice(body);
                wire.write(&whole).await;
                self.keep();
            }
            Side::Http2 { respond, .. } => {
                let mut send = respond.send_response(http2_head(status, fields), false).expect("open");
                send.send_data(Bytes::copy_from_slice(body), true).expect("the stream is open");
            }
        }
    }

    /// Waits for the next request on this connection. HTTP/1.1 only.
    pub fn keep(self) {
        let Side::Http1 { mut wire, mut body, ticket } = self.side else {
            panic!("only HTTP/1.1 hands over")
        };
        tokio::spawn(async move {
            // The next request begins behind the body of this one.
            while let Ok(Some(_)) = wire.piece(&mut body).await {}
            serve_http1(wire, ticket).await;
        });
    }

    /// The connection below, to write what no well-behaved server would. HTTP/1.1 only.
    pub fn wire(&mut self) -> &mut Wire {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire,
            Side::Http2 { .. } => panic!("HTTP/2 has no raw bytes"),
        }
    }

    /// Breaks off: a TCP reset, or RST_STREAM.
    pub fn reset(self) {
        match self.side {
            Side::Http1 { wire, .. } => wire.reset(),
            Side::Http2 { send: Some(mut send), .. } => send.send_reset(Reason::INTERNAL_ERROR),
            Side::Http2 { mut respond, .. } => respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Says that nothing of the request was processed: RST_STREAM with REFUSED_STREAM. HTTP/2 only.
    pub fn refuse(self) {
        match self.side {
            Side::Http2 { mut respond, .. } => respond.send_reset(Reason::REFUSED_STREAM),
            Side::Http1 { .. } => panic!("HTTP/1.1 cannot refuse"),
        }
    }

    /// When the other side gave this exchange up: it closed the connection, or reset the stream.
    pub async fn closed(&mut self) -> Instant {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.until_closed().await,
            Side::Http2 { respond, send, .. } => {
                let _ = poll_fn(|cx| match send {
                    Some(send) => send.poll_reset(cx),
                    None => respond.poll_reset(cx),
                })
                .await;
                Instant::now()
            }
        }
    }

    /// Fails unless the other side gave up at most `limit` after `left`.
    pub async fn assert_closed_within(&mut self, limit: Duration, left: &Left) {
        let at = within("the upstream connection to be closed", self.closed()).await;
        let took = at.duration_since(left.at);
        assert!(took <= limit, "the upstream was left alone only after {took:?}, not within {limit:?}");
    }

    /// Writes whole events of 16 KiB until nothing is taken for `patience`; returns how many bytes were. Half an event would be held
    /// by the proxy, whatever the client reads.
    pub async fn flood(&mut self, most: usize, patience: Duration) -> usize {
        let piece = chunk(format!("data: {}\n\n", "0".repeat(16 << 10)).as_bytes());
        let mut written = 0;
        while written < most {
            let write = self.wire().try_write(&piece);
            match tokio::time::timeout(patience, write).await {
                Ok(result) => result.expect("the proxy holds the connection"),
                Err(_) => return written,
            }
            written += piece.len();
        }
        panic!("the proxy took {written} bytes for a client that reads nothing");
    }
}

/// `data` as one HTTP/1.1 chunk.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn response_head(status: u16, fields: &[(&str, &str)], framing: &str) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Unknown"));
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head + framing + "\r\n"
}

fn http2_head(status: u16, fields: &[(&str, &str)]) -> http::Response<()> {
    let mut response = http::Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).expect("the head is valid")
}

/// The URL of a port on which nobody listens.
pub fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    format!("http://{address}")
}

/// A listener that never answers a connection attempt: its queue is full.
#[derive(Debug)]
pub struct Deaf {
    /// Its URL.
    pub url: String,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Deaf {
    /// Fills the queue of a fresh listener until an attempt hangs.
    pub async fn start() -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.expect("a socket can be made");
        listener.bind(&any.into()).expect("a port is free");
        listener.listen(0).expect("a bound socket listens");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.expect("a bound socket has an address");
        let mut queued = Vec::new();
        let attempt = Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(attempt, TcpStream::connect(address)).await {
            queued.push(stream.expect("the queue takes it or nobody answers"));
            assert!(queued.len() < 64, "the queue never fills");
        }
        Deaf { url: format!("http://{address}"), _listener: listener, _queued: queued }
    }
}

/// Waits until `condition` of an upstream holds.
pub async fn settled(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    within_time(limit, what, async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !condition() {
            look.tick().await;
        }
    })
    .await;
}

/// Requests that may wait to be taken.
const QUEUE: usize = 1024;
