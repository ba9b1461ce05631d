//! HTTP/2 frames by hand, for upstreams that write what no library would: a server that reads a request as far as it must
//! know it, and leaves every byte of the answer to the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::frames::{END_HEADERS, HEADERS, PING, SETTINGS, block, frame};
use super::within;

/// HEADERS with these fields.
pub fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

/// A connection on which a request has come.
#[derive(Debug)]
pub struct Connection {
    /// The stream of the last request.
    pub stream: u32,
    pub tcp: TcpStream,
}

impl Server {
    /// Without TLS, HTTP/2 by prior knowledge.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        Server { listener }
    }

    /// Its table in a config file.
    pub fn table(&self, name: &str) -> String {
        let address = self.listener.local_addr().expect("a bound socket has an address");
        format!("[upstream.{name}]\nurl = \"http://{address}\"\nhttp = \"2\"\n")
    }

    /// The next connection and the request on it; ours have been told `settings`.
    pub async fn request(&self, settings: &[u8]) -> Connection {
        let accepted = within("a connection at the upstream", self.listener.accept()).await;
        let (mut tcp, _) = accepted.expect("a listener accepts");
        let mut preface = [0; 24];
        within("the preface", tcp.read_exact(&mut preface)).await.expect("a preface");
        tcp.write_all(&frame(SETTINGS, 0, 0, settings)).await.expect("the peer reads");
        let mut connection = Connection { stream: 0, tcp };
        connection.stream = connection.next_request().await.expect("a request");
        connection
    }
}

impl Connection {
    /// The stream of the next request, its body read as far as it comes unasked; `None` if the connection ends before.
    pub async fn next_request(&mut self) -> Option<u32> {
        loop {
            let (kind, flags, stream) = within("a frame", self.frame()).await?;
            match kind {
                SETTINGS if flags == 0 => self.write(&frame(SETTINGS, 1, 0, b"")).await?,
                PING if flags == 0 => self.write(&frame(PING, 1, 0, &[0; 8])).await?,
                HEADERS => {
                    self.stream = stream;
                    return Some(stream);
                }
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.tcp.read_exact(&mut head).await.ok()?;
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.tcp.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }

    /// Writes all, while whatever comes is thrown away: no flood waits for its own answers. `None` if the peer is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        let (mut reader, mut writer) = self.tcp.split();
        let mut void = [0; 16 << 10];
        let write = writer.write_all(bytes);
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                result = &mut write => return result.ok(),
                read = reader.read(&mut void) => if !matches!(read, Ok(1..)) { return None },
            }
        }
    }
}
