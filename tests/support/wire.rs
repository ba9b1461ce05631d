//! A socket that remembers each read, and strict HTTP/1.1 framing on top of it. Both ends use it: the raw
//! client reads responses with it, the scripted upstream reads requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::within;

/// Any stream: TCP, Unix, TLS of either side.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// The TCP socket below, if there is one.
    fn tcp(&self) -> Option<&TcpStream>;
}

impl Io for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Io for UnixStream {
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }
}

impl Io for tokio_rustls::client::TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

impl Io for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

/// Where to connect.
#[derive(Clone)]
pub enum Endpoint {
    /// Clear text.
    Tcp(SocketAddr),
    /// TLS with this configuration (roots and ALPN), to `localhost`.
    Tls(SocketAddr, Arc<rustls::ClientConfig>),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "http://{address}"),
            Endpoint::Tls(address, _) => write!(f, "https://{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Connects, TLS handshake included.
    pub async fn connect(&self) -> io::Result<Box<dyn Io>> {
        Ok(match self {
            Endpoint::Tcp(address) => Box::new(tcp(*address).await?),
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Endpoint::Tls(address, config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name, tcp(*address).await?).await?)
            }
        })
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The head of a message, as it stood on the wire.
#[derive(Debug, Clone)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// Every field in order, names as they were written.
    pub fields: Vec<(String, String)>,
    /// All of it, the blank line included.
    pub raw: Vec<u8>,
}

impl Head {
    /// Takes a head apart. Strict: anything that a careful sender would not write is an error.
    pub fn parse(raw: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(raw).map_err(|_| bad("a head that is not text"))?;
        let body = text.strip_suffix("\r\n\r\n").ok_or_else(|| bad("a head without an end"))?;
        let mut lines = body.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| bad(&format!("no field: {line:?}")))?;
            if name.is_empty() || name.contains(char::is_whitespace) || line.contains(['\r', '\n']) {
                return Err(bad(&format!("not a field: {line:?}")));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Head { start, fields, raw: raw.to_vec() })
    }

    /// A head made of parts, for messages that never were text (HTTP/2).
    pub fn from_parts(start: String, fields: Vec<(String, String)>) -> Self {
        Head { start, fields, raw: Vec::new() }
    }

    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field; a field that comes twice fails the test.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("not a status line: {:?}", self.start))
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.one("content-length").map(|value| value.parse().expect("content-length is a number"))
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Chunks.
    Chunked,
    /// So many bytes are still to come.
    Length(usize),
    /// All until the connection closes.
    Close,
}

impl Framing {
    /// Of a request.
    pub fn of_request(head: &Head) -> Self {
        if head.is_chunked() {
            assert_eq!(head.one("content-length"), None, "chunked and content-length together");
            return Framing::Chunked;
        }
        head.length().map_or(Framing::None, Framing::Length)
    }

    /// Of the response to a request with `method`.
    pub fn of_response(head: &Head, method: &str) -> Self {
        if method == "HEAD" || matches!(head.status(), 100..200 | 204 | 304) {
            return Framing::None;
        }
        if head.is_chunked() {
            return Framing::Chunked;
        }
        head.length().map_or(Framing::Close, Framing::Length)
    }
}

/// A piece of a body.
#[derive(Debug, Clone)]
pub struct Piece {
    /// One HTTP/1.1 chunk or one DATA frame; what one read brought where there is neither.
    pub data: Vec<u8>,
    /// Number of the read that brought its last byte.
    pub read: usize,
    /// When that was.
    pub at: Instant,
}

/// A connection, with what was read and not yet taken.
pub struct Wire {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
    /// Of the last chunked body that ended.
    trailers: Vec<(String, String)>,
    reads: usize,
    last_read: Instant,
}

impl Wire {
    /// Over a connected stream.
    pub fn new(io: Box<dyn Io>) -> Self {
        Wire { io, buffer: Vec::new(), trailers: Vec::new(), reads: 0, last_read: Instant::now() }
    }

    /// Connects.
    pub async fn connect(endpoint: &Endpoint) -> Self {
        let connected = within(&format!("a connection to {endpoint:?}"), endpoint.connect()).await;
        Wire::new(connected.unwrap_or_else(|error| panic!("cannot connect to {endpoint:?}: {error}")))
    }

    /// Connects with a receive buffer as small as the kernel allows, so that a client that does not read is
    /// noticed soon.
    pub async fn connect_narrow(endpoint: &Endpoint) -> Self {
        let Endpoint::Tcp(address) = endpoint else { panic!("only for clear-text TCP") };
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_recv_buffer_size(4096).expect("a socket takes its options");
        let connected = within("a connection", socket.connect(*address)).await;
        Wire::new(Box::new(connected.expect("the proxy listens")))
    }

    /// Writes all and flushes; `Err` if the peer is gone.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Writes all and flushes.
    pub async fn write(&mut self, bytes: &[u8]) {
        within("a write to go through", self.try_write(bytes)).await.expect("the peer reads");
    }

    /// Writes zeros until the peer stops reading, for `patience`, while its kernel still takes bytes: all that was
    /// written has arrived, so that an end of the connection arrives too. Clear text or TLS, over TCP only.
    pub async fn write_until_unread(&mut self, most: usize, patience: Duration) {
        let mut written = 0;
        while written < most {
            self.write(&[0; 16 << 10]).await;
            written += 16 << 10;
            if tokio::time::timeout(patience, self.until_read()).await.is_err() {
                let (ours, theirs) = self.underway();
                assert!(ours == 0 && theirs > 0, "{ours} bytes wait here, {theirs} at the peer");
                return;
            }
        }
        panic!("the peer took {written} bytes");
    }

    /// Waits until the peer has read all that was written. TCP over IPv4 on this machine only.
    pub async fn until_read(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(1));
        while self.underway() != (0, 0) {
            look.tick().await;
        }
    }

    /// What waits between the two ends: bytes that the peer's kernel has not confirmed, and bytes that it has and
    /// the peer has not read. TCP over IPv4 on this machine only.
    fn underway(&self) -> (u64, u64) {
        let tcp = self.io.tcp().expect("only TCP is looked up");
        let ours = tcp.local_addr().expect("a connected socket has an address").port();
        let theirs = tcp.peer_addr().expect("a connected socket has an address").port();
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
        let queues = |from: u16, to: u16| {
            table.lines().find_map(|line| {
                let mut columns = line.split_whitespace().skip(1);
                let is =
                    |column: Option<&str>, port| column?.ends_with(&format!(":{port:04X}")).then_some(());
                is(columns.next(), from)?;
                is(columns.next(), to)?;
                let (sent, received) = columns.nth(1)?.split_once(':')?;
                Some((u64::from_str_radix(sent, 16).ok()?, u64::from_str_radix(received, 16).ok()?))
            })
        };
        let sent = queues(ours, theirs).expect("the near end is open").0;
        let received = queues(theirs, ours).expect("the far end is open").1;
        (sent, received)
    }

    /// Writes zeros until nothing is taken for `patience`: all that lies between is full.
    pub async fn write_until_full(&mut self, most: usize, patience: Duration) {
        let mut written = 0;
        while written < most {
            match tokio::time::timeout(patience, self.try_write(&[0; 16 << 10])).await {
                Ok(result) => result.expect("the peer holds the connection"),
                Err(_) => return,
            }
            written += 16 << 10;
        }
        panic!("the peer took {written} bytes");
    }

    /// Reads once; 0 is the end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        let mut space = vec![0; 64 << 10];
        let count = self.io.read(&mut space).await?;
        if count > 0 {
            self.buffer.extend_from_slice(&space[..count]);
            self.reads += 1;
            self.last_read = Instant::now();
        }
        Ok(count)
    }

    /// What was read and not yet taken; leaves nothing.
    pub fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// A message head; `None` if the peer closed before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Head::parse(&self.take(end + 4)).map(Some);
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut("inside a head")) };
            }
        }
    }

    /// The next piece of a body; `None` at its end. Chunked framing is checked to the letter.
    pub async fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Piece>> {
        match framing {
            Framing::None => Ok(None),
            Framing::Chunked => self.chunk().await,
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.buffer.is_empty() && self.fill().await? == 0 {
                    return Err(cut("inside a body of known length"));
                }
                let data = self.take(self.buffer.len().min(*left));
                *left -= data.len();
                Ok(Some(self.stamp(data)))
            }
            Framing::Close => {
                if self.buffer.is_empty() && self.fill().await? == 0 {
                    return Ok(None);
                }
                let data = self.take_all();
                Ok(Some(self.stamp(data)))
            }
        }
    }

    /// Takes nothing before the chunk is whole, so that a caller may give up waiting and come back.
    async fn chunk(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some((data, end)) = self.whole_chunk()? {
                let after = data.end;
                let data = self.buffer[data].to_vec();
                let whole = self.take(end);
                if data.is_empty() {
                    let section = [b"\r\n", &whole[after..]].concat();
                    self.trailers =
                        if section.len() > 4 { Head::parse(&section)?.fields } else { Vec::new() };
                    return Ok(None);
                }
                return Ok(Some(self.stamp(data)));
            }
            if self.fill().await? == 0 {
                return Err(cut("inside a chunked body"));
            }
        }
    }

    /// Where the data of the first chunk is, and where the chunk ends; the last one ends after its trailers.
    fn whole_chunk(&self) -> io::Result<Option<(Range<usize>, usize)>> {
        let Some(line) = find(&self.buffer, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&self.buffer[..line]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| bad(&format!("chunk size {:?}", &self.buffer[..line])))?;
        let begin = line + 2;
        if size == 0 {
            // The blank line; or trailers, of which the last ends with the blank line.
            let end = match self.buffer.get(begin..begin + 2) {
                Some(b"\r\n") => Some(begin + 2),
                _ => find(&self.buffer[begin..], b"\r\n\r\n").map(|at| begin + at + 4),
            };
            return Ok(end.map(|end| (begin..begin, end)));
        }
        match self.buffer.get(begin + size..begin + size + 2) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some((begin..begin + size, begin + size + 2))),
            Some(_) => Err(bad("a chunk that does not end in CRLF")),
        }
    }

    /// The trailers of the last chunked body that was read to its end.
    pub fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }

    /// Exactly so many bytes.
    pub async fn exact(&mut self, count: usize) -> Vec<u8> {
        within(&format!("{count} bytes"), async {
            while self.buffer.len() < count {
                let read = self.fill().await.expect("the peer is there");
                assert_ne!(read, 0, "the end came after {:?}", self.buffer);
            }
        })
        .await;
        self.take(count)
    }

    /// What comes until the peer ends its half; `Err` if it breaks the connection off instead.
    pub async fn end(&mut self) -> io::Result<Vec<u8>> {
        within("the end of the connection", async {
            while self.fill().await? > 0 {}
            io::Result::Ok(())
        })
        .await?;
        Ok(self.take_all())
    }

    fn stamp(&self, data: Vec<u8>) -> Piece {
        Piece { data, read: self.reads, at: self.last_read }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Reads and throws away until the peer closes or resets, and tells when it did.
    pub async fn until_closed(&mut self) -> Instant {
        while matches!(self.fill().await, Ok(1..)) {
            self.buffer.clear();
        }
        Instant::now()
    }

    /// Sends FIN and goes on reading.
    pub async fn half_close(&mut self) {
        within("a half-close", self.io.shutdown()).await.expect("the socket is open");
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        let tcp = self.io.tcp().expect("only TCP can reset");
        tcp.set_zero_linger().expect("a socket takes its options");
    }

    /// The stream, and what was read of it.
    pub fn into_parts(self) -> (Box<dyn Io>, Vec<u8>) {
        (self.io, self.buffer)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed: {what}"))
}

fn cut(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended {place}"))
}
