//! The floor: `recv` from one side, `send` to the other, no HTTP, no allocation per read.
//!
//! Nobody who understands what he relays can cost less. A side that cannot take everything ends the pair's turn
//! until it can.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use crate::poll::{Poll, Ready};

/// Relays until it is killed.
pub fn run(address: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // std asks for 128; a test opens thousands at once.
    rustix::net::listen(&listener, 16_384)?;
    let mut relay =
        Relay { poll: Poll::new()?, sides: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER] };
    relay.poll.add(&listener, LISTENER, false)?;
    let mut ready = Vec::new();
    loop {
        relay.poll.wait(None, &mut ready)?;
        for Ready { token, read, write } in ready.drain(..) {
            if token == LISTENER {
                relay.accept(&listener, upstream)?;
                continue;
            }
            if write {
                relay.unblock(token)?;
            }
            if read {
                relay.read(token)?;
            }
        }
    }
}

/// Sides stand in pairs: the other side of `n` is `n ^ 1`.
struct Relay {
    poll: Poll,
    sides: Vec<Option<Side>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

struct Side {
    socket: TcpStream,
    /// What it has not taken; nothing is read from the other side meanwhile.
    waiting: Vec<u8>,
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let upstream = TcpStream::connect(upstream)?;
            let first = self.free.pop().unwrap_or_else(|| {
                self.sides.extend([None, None]);
                self.sides.len() - 2
            });
            for (token, socket) in [(first, client), (first + 1, upstream)] {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                self.poll.add(&socket, token, false)?;
                self.sides[token] = Some(Side { socket, waiting: Vec::new() });
            }
        }
    }

    fn read(&mut self, token: usize) -> Result<()> {
        let (Some(from), Some(to)) = (&self.sides[token], &self.sides[token ^ 1]) else { return Ok(()) };
        if !to.waiting.is_empty() {
            return Ok(());
        }
        match (&from.socket).read(&mut self.buffer) {
            Ok(0) => self.close(token),
            Ok(length) => self.write(token ^ 1, length)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.close(token),
        }
        Ok(())
    }

    fn write(&mut self, token: usize, length: usize) -> Result<()> {
        let Some(to) = &mut self.sides[token] else { return Ok(()) };
        let written = match to.socket.write(&self.buffer[..length]) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.close(token);
                return Ok(());
            }
        };
        if written < length {
            to.waiting.extend_from_slice(&self.buffer[written..length]);
            self.poll.change(&to.socket, token, true)?;
            self.pause(token ^ 1, true)?;
        }
        Ok(())
    }

    fn unblock(&mut self, token: usize) -> Result<()> {
        let Some(to) = &mut self.sides[token] else { return Ok(()) };
        match to.socket.write(&to.waiting) {
            Ok(written) => drop(to.waiting.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                self.close(token);
                return Ok(());
            }
        }
        if to.waiting.is_empty() {
            self.poll.change(&to.socket, token, false)?;
            self.pause(token ^ 1, false)?;
        }
        Ok(())
    }

    /// Stops watching for bytes of a side, or begins again.
    fn pause(&self, token: usize, paused: bool) -> Result<()> {
        match &self.sides[token] {
            Some(side) if paused => self.poll.mute(&side.socket, token),
            Some(side) => self.poll.change(&side.socket, token, false),
            None => Ok(()),
        }
    }

    fn close(&mut self, token: usize) {
        let first = token & !1;
        if self.sides[first].take().is_some() {
            self.sides[first + 1] = None;
            self.free.push(first);
        }
    }
}

const LISTENER: usize = usize::MAX;

/// One read.
const BUFFER: usize = 64 << 10;
