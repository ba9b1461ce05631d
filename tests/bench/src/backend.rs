//! The upstream of every measurement: raw sockets, one thread, no HTTP library, so that it costs little.
//!
//! `POST /stream?gap=NS&ms=MS&size=BYTES&cut=0|1` streams events, one each `gap` nanoseconds (0: as fast as they are
//! taken) for `ms` milliseconds, or `n=COUNT` of them; `cut=1` cuts each event in two, so that every chunk but the
//! first and the last begins and ends inside one. `POST /json` answers with a small document.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail};

use crate::event;
use crate::poll::{Poll, Ready, now};

/// Serves on this address until it is killed.
pub fn run(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    listener.set_nonblocking(true)?;
    // std asks for 128; a test opens thousands at once.
    rustix::net::listen(&listener, 16_384)?;
    let mut backend =
        Backend { poll: Poll::new()?, connections: Vec::new(), free: Vec::new(), due: BinaryHeap::new() };
    backend.poll.add(&listener, LISTENER, false)?;
    let mut ready = Vec::new();
    loop {
        let until = backend.due.peek().map(|Reverse((at, ..))| *at);
        backend.poll.wait(until, &mut ready)?;
        for Ready { token, read, write } in ready.drain(..) {
            if token == LISTENER {
                backend.accept(&listener)?;
                continue;
            }
            if read {
                backend.read(token)?;
            }
            if write {
                backend.write(token)?;
            }
        }
        backend.send_due()?;
    }
}

struct Backend {
    poll: Poll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When a connection has an event to send; the last number tells whether it is still the same stream.
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    waits_for_room: bool,
    streams: u64,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    gap: u64,
    until: u64,
    left: u64,
    cut: bool,
    template: Vec<u8>,
    next: u64,
    due: u64,
}

impl Backend {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let token = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.add(&socket, token, false)?;
            let streams = now();
            self.connections[token] = Some(Connection {
                socket,
                input: Vec::new(),
                output: Vec::new(),
                written: 0,
                waits_for_room: false,
                streams,
                stream: None,
            });
        }
    }

    fn close(&mut self, token: usize) {
        if self.connections[token].take().is_some() {
            self.free.push(token);
        }
    }

    fn read(&mut self, token: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        match connection.socket.read(&mut buffer) {
            Ok(0) => self.close(token),
            Ok(length) => {
                connection.input.extend_from_slice(&buffer[..length]);
                self.requests(token)?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.close(token),
        }
        Ok(())
    }

    /// Answers a request that is whole.
    fn requests(&mut self, token: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if connection.stream.is_some() {
            return Ok(());
        }
        let Some(end) = find(&connection.input, b"\r\n\r\n").map(|at| at + 4) else { return Ok(()) };
        let head = String::from_utf8_lossy(&connection.input[..end]).to_ascii_lowercase();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = match field(&head, "content-length") {
            Some(length) => length.parse::<usize>().context("content-length")?,
            None if field(&head, "transfer-encoding").is_some() => {
                match find(&connection.input[end..], b"0\r\n\r\n") {
                    Some(at) => at + 5,
                    None => return Ok(()),
                }
            }
            None => 0,
        };
        if connection.input.len() < end + body {
            return Ok(());
        }
        connection.input.drain(..end + body);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/stream" => {
                connection.output.extend_from_slice(STREAM_HEAD);
                connection.streams += 1;
                let mut stream = Stream::new(query, token)?;
                stream.begin(&mut connection.output);
                self.due.push(Reverse((stream.due, token, connection.streams)));
                connection.stream = Some(stream);
            }
            "/json" => connection.output.extend_from_slice(&json()),
            other => bail!("no such path: {other}"),
        }
        self.write(token)
    }

    fn send_due(&mut self) -> Result<()> {
        let now = now();
        while let Some(Reverse((at, token, id))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(connection) = &mut self.connections[token] else { continue };
            if connection.streams != id || connection.waits_for_room {
                continue;
            }
            self.write(token)?;
        }
        Ok(())
    }

    /// Writes what there is, and what is due.
    fn write(&mut self, token: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if connection.written == connection.output.len() {
            connection.output.clear();
            connection.written = 0;
        }
        if let Some(stream) = &mut connection.stream
            && connection.output.len() - connection.written < BLOCK_BYTES
        {
            let over = stream.produce(&mut connection.output);
            if over {
                connection.stream = None;
            } else if stream.gap > 0 {
                self.due.push(Reverse((stream.due, token, connection.streams)));
            }
        }
        let pending = &connection.output[connection.written..];
        if !pending.is_empty() {
            match connection.socket.write(pending) {
                Ok(length) => connection.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.close(token);
                    return Ok(());
                }
            }
        }
        let flat_out = connection.stream.as_ref().is_some_and(|stream| stream.gap == 0);
        let wants_room = connection.written < connection.output.len() || flat_out;
        if wants_room != connection.waits_for_room {
            connection.waits_for_room = wants_room;
            self.poll.change(&connection.socket, token, wants_room)?;
            if !wants_room && let Some(stream) = &connection.stream {
                self.due.push(Reverse((stream.due, token, connection.streams)));
            }
        }
        if connection.stream.is_none() && !connection.input.is_empty() {
            self.requests(token)
        } else {
            Ok(())
        }
    }
}

impl Stream {
    fn new(query: &str, token: usize) -> Result<Self> {
        let number = |name: &str, default: u64| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map_or(Ok(default), str::parse::<u64>)
        };
        let gap = number("gap", 0)?;
        let size = usize::try_from(number("size", 200)?)?;
        let start = now();
        // Streams that begin together do not send together.
        let spread = if gap == 0 { 0 } else { (token as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % gap };
        Ok(Stream {
            gap,
            until: start + number("ms", 1_000_000)? * 1_000_000,
            left: number("n", u64::MAX)?,
            cut: number("cut", 0)? == 1,
            template: event::template(size),
            next: 0,
            due: if number("at-once", 0)? == 1 { start } else { start + spread },
        })
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.cut {
            event::number(&mut self.template, 0);
            chunk(&[&self.template[..event::CUT_AT]], out);
        }
    }

    /// Writes the events that are due, and the end of the stream if it is over.
    fn produce(&mut self, out: &mut Vec<u8>) -> bool {
        let mut time = now();
        if self.gap == 0 {
            while out.len() < BLOCK_BYTES && self.left > 0 && time < self.until {
                self.event(0, out);
            }
        } else {
            while self.due <= time && self.left > 0 && time < self.until {
                self.event(time, out);
                self.due += self.gap;
                time = now();
            }
        }
        let over = self.left == 0 || time >= self.until;
        if over {
            if self.cut {
                // What was begun is finished.
                event::time(&mut self.template[event::CUT_AT..], event::CUT_AT, time);
                chunk(&[&self.template[event::CUT_AT..]], out);
            }
            chunk(&[event::done()], out);
            out.extend_from_slice(b"0\r\n\r\n");
        } else if self.gap > 0 {
            self.due = self.due.min(self.until);
        }
        over
    }

    fn event(&mut self, time: u64, out: &mut Vec<u8>) {
        if self.cut {
            event::time(&mut self.template[event::CUT_AT..], event::CUT_AT, time);
            let (first, second) = self.template.split_at_mut(event::CUT_AT);
            event::number(first, self.next + 1);
            chunk(&[second, first], out);
        } else {
            event::number(&mut self.template, self.next);
            event::time(&mut self.template, 0, time);
            chunk(&[&self.template], out);
        }
        self.next += 1;
        self.left -= 1;
    }
}

fn chunk(parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{length:x}\r\n");
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn json() -> Vec<u8> {
    let body = format!("{{\"object\":\"chat.completion\",\"content\":\"{}\"}}", "x".repeat(460));
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

const LISTENER: usize = usize::MAX;

/// Flat out, so much is written at a time.
const BLOCK_BYTES: usize = 64 << 10;

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
