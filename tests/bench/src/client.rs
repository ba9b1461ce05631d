//! The client of every measurement: raw sockets, one thread. It checks every byte that it reads, and counts.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::event::Checker;
use crate::h1::Response;
use crate::h2::Multiplexed;
use crate::poll::{Poll, Ready, now};

/// What to do.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Options {
    /// Where the proxy is.
    #[arg(long)]
    pub address: SocketAddr,
    /// What to ask for.
    #[arg(long)]
    pub target: String,
    /// Connections.
    #[arg(long)]
    pub connections: usize,
    /// Streams of each connection at a time: 0 is HTTP/1.1, more is HTTP/2.
    #[arg(long, default_value_t = 0)]
    pub multiplexed: usize,
    /// Speak TLS and trust this certificate.
    #[arg(long)]
    pub ca: Option<String>,
    /// Bytes of each event.
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// Ask again after each response until so many milliseconds have gone by; 0: ask once.
    #[arg(long, default_value_t = 0)]
    pub repeat_ms: u64,
    /// Connections opened a second.
    #[arg(long, default_value_t = CONNECTIONS_PER_SECOND)]
    pub rate: u64,
    /// Once all have sent an event, say so, hold still for so many milliseconds, and close.
    #[arg(long, default_value_t = 0)]
    pub hold_ms: u64,
}

/// What was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Events that came whole and right.
    pub events: u64,
    /// Responses that ended as they should.
    pub responses: u64,
    /// What was wrong, the first few.
    pub errors: Vec<String>,
    /// How many were.
    pub error_count: u64,
    /// Chunks or DATA frames with events in them.
    pub chunks: u64,
    /// Those that begin or end inside an event.
    pub misaligned: u64,
    /// Time of the first bucket, in nanoseconds of the monotonic clock.
    pub start: u64,
    /// Events in each [`BUCKET_NS`] since `start`.
    pub events_by_time: Vec<u64>,
    /// Responses likewise.
    pub responses_by_time: Vec<u64>,
    /// From the sending of an event to its arrival: nanoseconds at 25, 50, 99 %.
    pub latency: Option<[u64; 3]>,
    /// From the request to the first event, likewise.
    pub first_event: Option<[u64; 3]>,
}

/// How many connections are opened a second, if nothing else is said.
pub const CONNECTIONS_PER_SECOND: u64 = 5_000;

/// Length of the time slices in which [`Seen`] counts.
pub const BUCKET_NS: u64 = 10_000_000;

/// Runs to the end.
pub fn run(options: &Options) -> Result<Seen> {
    let tls = options.ca.as_deref().map(|path| config(path, options.multiplexed > 0)).transpose()?;
    let start = now();
    let mut client = Client {
        poll: Poll::new()?,
        meter: Meter { seen: Seen { start, ..Seen::default() }, ..Meter::default() },
        connections: Vec::new(),
        open: 0,
        until: start + options.repeat_ms * 1_000_000,
        options: options.clone(),
        tls,
        said: false,
        hold_until: None,
    };
    client.run()?;
    Ok(client.meter.into_seen())
}

struct Client {
    poll: Poll,
    meter: Meter,
    connections: Vec<Option<Connection>>,
    open: usize,
    until: u64,
    options: Options,
    tls: Option<Arc<ClientConfig>>,
    said: bool,
    hold_until: Option<u64>,
}

struct Connection {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    output: Vec<u8>,
    waits_for_room: bool,
    wire: Wire,
    has_event: bool,
}

enum Wire {
    One { response: Response, exchange: Exchange },
    Many(Box<Multiplexed>),
}

/// One request and what came of it.
#[derive(Debug)]
pub struct Exchange {
    /// Compares what comes; `None` for a body that is no stream of events.
    pub checker: Option<Checker>,
    asked: u64,
    any: bool,
}

/// Counts what all connections see.
#[derive(Debug, Default)]
pub struct Meter {
    seen: Seen,
    latencies: Vec<u64>,
    firsts: Vec<u64>,
    now: u64,
}

impl Client {
    fn run(&mut self) -> Result<()> {
        let gap = 1_000_000_000 / self.options.rate.max(1);
        let mut next_open = now();
        let mut ready = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            while self.connections.len() < self.options.connections && now() >= next_open {
                self.open()?;
                next_open += gap;
            }
            let opening = self.connections.len() < self.options.connections;
            if !opening && self.open == 0 {
                return Ok(());
            }
            if self.hold_until.is_some_and(|until| now() >= until) {
                return Ok(());
            }
            self.poll.wait(if opening { Some(next_open) } else { self.hold_until }, &mut ready)?;
            self.meter.now = now();
            for Ready { token, read, write } in ready.drain(..) {
                if let Err(error) = self.serve(token, read, write, &mut buffer) {
                    self.meter.error(format!("{error:#}"));
                    self.close(token);
                }
            }
            self.hold();
        }
    }

    /// With all connections open and served, says so once, and begins to hold still.
    fn hold(&mut self) {
        if self.options.hold_ms == 0 || self.said || self.connections.len() < self.options.connections {
            return;
        }
        if self.connections.iter().flatten().all(|connection| connection.has_event) {
            println!("holding");
            self.said = true;
            self.hold_until = Some(now() + self.options.hold_ms * 1_000_000);
        }
    }

    fn open(&mut self) -> Result<()> {
        let socket = TcpStream::connect(self.options.address).context("connecting to the proxy")?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let token = self.connections.len();
        self.poll.add(&socket, token, false)?;
        let tls = match &self.tls {
            Some(config) => Some(ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?),
            None => None,
        };
        self.meter.now = now();
        let mut output = Vec::new();
        let wire = match self.options.multiplexed {
            0 => {
                output.extend_from_slice(&request(&self.options.target));
                Wire::One {
                    response: Response::default(),
                    exchange: Exchange::new(&self.options, self.meter.now),
                }
            }
            streams => {
                let exchanges = (0..streams).map(|_| Exchange::new(&self.options, self.meter.now)).collect();
                Wire::Many(Box::new(Multiplexed::open(&self.options.target, exchanges, &mut output)))
            }
        };
        let connection = Connection { socket, tls, output, waits_for_room: false, wire, has_event: false };
        self.connections.push(Some(connection));
        self.open += 1;
        self.flush(token)
    }

    fn close(&mut self, token: usize) {
        if self.connections[token].take().is_some() {
            self.open -= 1;
        }
    }

    fn serve(&mut self, token: usize, read: bool, write: bool, buffer: &mut [u8]) -> Result<()> {
        if read {
            self.read(token, buffer)?;
        }
        if write { self.flush(token) } else { Ok(()) }
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let length = match connection.socket.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("reading"),
        };
        ensure!(length > 0, "the proxy closed the connection");
        let again = connection.received(&buffer[..length], &mut self.meter)?;
        if again {
            match &mut connection.wire {
                Wire::One { response, exchange }
                    if self.options.repeat_ms > 0 && self.meter.now < self.until =>
                {
                    *response = Response::default();
                    exchange.restart(self.meter.now);
                    connection.output.extend_from_slice(&request(&self.options.target));
                }
                _ => {
                    self.close(token);
                    return Ok(());
                }
            }
        }
        self.flush(token)
    }

    fn flush(&mut self, token: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        connection.flush()?;
        let waits = connection.wants_room();
        if waits != connection.waits_for_room {
            connection.waits_for_room = waits;
            self.poll.change(&connection.socket, token, waits)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Takes bytes from the socket; returns whether all that was asked for has come.
    fn received(&mut self, bytes: &[u8], meter: &mut Meter) -> Result<bool> {
        let Some(tls) = &mut self.tls else { return self.plain(bytes, meter) };
        let mut rest = bytes;
        let mut clear = VecDeque::new();
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            let state = tls.process_new_packets()?;
            let mut text = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut text)?;
            clear.push_back(text);
        }
        let mut over = false;
        for text in clear {
            over |= self.plain(&text, meter)?;
        }
        Ok(over)
    }

    fn plain(&mut self, bytes: &[u8], meter: &mut Meter) -> Result<bool> {
        match &mut self.wire {
            Wire::One { response, exchange } => {
                let over = response.push(bytes, &mut |part, edge| exchange.part(part, edge, meter))?;
                self.has_event |= exchange.any;
                if over {
                    exchange.finish(meter)?;
                }
                Ok(over)
            }
            Wire::Many(many) => {
                let over = many.push(bytes, &mut self.output, meter)?;
                self.has_event |= many.all(|exchange| exchange.any);
                Ok(over)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.output)?;
            self.output.clear();
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("writing"),
                }
            }
            return Ok(());
        }
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(())
    }

    fn wants_room(&self) -> bool {
        self.tls.as_ref().map_or(!self.output.is_empty(), |tls| tls.wants_write())
    }
}

impl Exchange {
    fn new(options: &Options, asked: u64) -> Self {
        let events = options.target.starts_with("/stream");
        Exchange { checker: events.then(|| Checker::new(options.size)), asked, any: false }
    }

    fn restart(&mut self, asked: u64) {
        if let Some(checker) = &mut self.checker {
            checker.reset();
        }
        self.asked = asked;
        self.any = false;
    }

    /// A part of the body.
    pub fn part(&mut self, bytes: &[u8], edge: Edge, meter: &mut Meter) -> Result<()> {
        let Some(checker) = &mut self.checker else { return Ok(()) };
        let crooked = edge.begins && !checker.aligned();
        let (asked, any) = (self.asked, &mut self.any);
        checker.push(bytes, &mut |event| {
            meter.event(event.sent);
            if !std::mem::replace(any, true) {
                meter.firsts.push(meter.now.saturating_sub(asked));
            }
        })?;
        if edge.ends {
            meter.seen.chunks += 1;
        }
        meter.seen.misaligned += u64::from(crooked || (edge.ends && !checker.aligned()));
        Ok(())
    }

    /// The body is over.
    pub fn finish(&mut self, meter: &mut Meter) -> Result<()> {
        if let Some(checker) = &self.checker {
            let (events, done) = checker.seen();
            ensure!(done && checker.aligned(), "the stream ended after {events} events, without its end");
        }
        meter.response();
        Ok(())
    }
}

/// Where a part of a body stands in its chunk or frame.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    /// At its beginning.
    pub begins: bool,
    /// At its end.
    pub ends: bool,
}

impl Meter {
    fn bucket(start: u64, now: u64, buckets: &mut Vec<u64>) {
        let index = (now.saturating_sub(start) / BUCKET_NS) as usize;
        if buckets.len() <= index {
            buckets.resize(index + 1, 0);
        }
        buckets[index] += 1;
    }

    fn event(&mut self, sent: u64) {
        self.seen.events += 1;
        Self::bucket(self.seen.start, self.now, &mut self.seen.events_by_time);
        if sent > 0 {
            self.latencies.push(self.now.saturating_sub(sent));
        }
    }

    fn response(&mut self) {
        self.seen.responses += 1;
        Self::bucket(self.seen.start, self.now, &mut self.seen.responses_by_time);
    }

    fn error(&mut self, error: String) {
        self.seen.error_count += 1;
        if self.seen.errors.len() < 5 {
            self.seen.errors.push(error);
        }
    }

    fn into_seen(mut self) -> Seen {
        self.seen.latency = quantiles(&mut self.latencies);
        self.seen.first_event = quantiles(&mut self.firsts);
        self.seen
    }
}

fn quantiles(values: &mut [u64]) -> Option<[u64; 3]> {
    values.sort_unstable();
    let at = |share: usize| values.get(values.len() * share / 100).copied();
    Some([at(25)?, at(50)?, at(99)?])
}

fn request(target: &str) -> Vec<u8> {
    let body = r#"{"model":"bench","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn config(path: &str, h2: bool) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path).context("the certificate")?)?;
    // One cipher for all peers: they would not choose the same.
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Clients that have never been here before.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}
