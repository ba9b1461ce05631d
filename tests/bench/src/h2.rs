//! A client connection of HTTP/2 that does no more than the measurement needs: requests with literal header fields, DATA
//! frames read, windows kept open, SETTINGS and PING answered. Response header fields are not looked at.

use anyhow::{Result, bail, ensure};

use crate::client::{Edge, Exchange, Meter};

/// One connection with a fixed number of streams, all opened at once.
#[derive(Debug)]
pub struct Multiplexed {
    held: Vec<u8>,
    exchanges: Vec<Exchange>,
    over: usize,
    /// Bytes read since the connection's window was last opened again.
    taken: u32,
    /// The same for each stream.
    taken_by_stream: Vec<u32>,
}

impl Multiplexed {
    /// Writes the preface and one request per exchange.
    pub fn open(target: &str, exchanges: Vec<Exchange>, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // INITIAL_WINDOW_SIZE: streams never wait for their own window.
        let mut settings = Vec::new();
        settings.extend_from_slice(&4_u16.to_be_bytes());
        settings.extend_from_slice(&WINDOW.to_be_bytes());
        frame(SETTINGS, 0, 0, &settings, out);
        frame(WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes(), out);
        for index in 0..exchanges.len() {
            let mut block = Vec::new();
            for (name, value) in [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", target),
                ("content-type", "application/json"),
            ] {
                literal(name, value, &mut block);
            }
            let stream = index as u32 * 2 + 1;
            frame(HEADERS, END_HEADERS, stream, &block, out);
            frame(DATA, END_STREAM, stream, br#"{"stream":true}"#, out);
        }
        let taken_by_stream = vec![0; exchanges.len()];
        Multiplexed { held: Vec::new(), exchanges, over: 0, taken: 0, taken_by_stream }
    }

    /// Whether something holds of all streams.
    pub fn all(&self, what: impl Fn(&Exchange) -> bool) -> bool {
        self.exchanges.iter().all(what)
    }

    /// Takes the next bytes; returns whether all streams are over.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>, meter: &mut Meter) -> Result<bool> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.held.get(at..at + HEADER_BYTES) {
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let (kind, flags) = (header[3], header[4]);
            let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
            let from = at + HEADER_BYTES;
            if self.held.len() < from + length {
                break;
            }
            at = from + length;
            self.frame([kind, flags], stream, from..at, out, meter)?;
        }
        self.held.drain(..at);
        reopen(0, &mut self.taken, out);
        Ok(self.over == self.exchanges.len())
    }

    fn frame(
        &mut self,
        [kind, flags]: [u8; 2],
        stream: u32,
        payload: std::ops::Range<usize>,
        out: &mut Vec<u8>,
        meter: &mut Meter,
    ) -> Result<()> {
        let payload = &self.held[payload];
        match kind {
            DATA => {
                let index = (stream as usize).wrapping_sub(1) / 2;
                let Some(exchange) = self.exchanges.get_mut(index) else { bail!("DATA on stream {stream}") };
                ensure!(flags & PADDED == 0, "padding was not expected");
                if !payload.is_empty() {
                    exchange.part(payload, Edge { begins: true, ends: true }, meter)?;
                    self.taken += payload.len() as u32;
                    self.taken_by_stream[index] += payload.len() as u32;
                    reopen(stream, &mut self.taken_by_stream[index], out);
                }
                if flags & END_STREAM != 0 {
                    exchange.finish(meter)?;
                    self.over += 1;
                }
            }
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[], out),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, payload, out),
            RST_STREAM => bail!("stream {stream} was reset"),
            GOAWAY => bail!("the proxy closes the connection"),
            _ => {}
        }
        Ok(())
    }
}

/// Opens a window again once half of it was taken.
fn reopen(stream: u32, taken: &mut u32, out: &mut Vec<u8>) {
    if *taken > WINDOW / 2 {
        frame(WINDOW_UPDATE, 0, stream, &taken.to_be_bytes(), out);
        *taken = 0;
    }
}

/// A header field, literal without indexing, no Huffman code (RFC 7541 6.2.2).
fn literal(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(0);
    for text in [name, value] {
        // Lengths are below 127 here: one byte (RFC 7541 5.1).
        out.push(text.len().min(126) as u8);
        out.extend_from_slice(&text.as_bytes()[..text.len().min(126)]);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

const HEADER_BYTES: usize = 9;
const WINDOW: u32 = 16 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
