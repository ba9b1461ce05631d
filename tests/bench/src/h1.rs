//! One HTTP/1.1 response, as its bytes come.

use anyhow::{Context, Result, bail, ensure};

use crate::client::Edge;

/// Reads one response.
#[derive(Debug, Default)]
pub struct Response {
    state: State,
    /// What is not complete yet: a head, or the line of a chunk's size.
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    Size,
    Chunk {
        left: usize,
        begins: bool,
    },
    /// The line end after a chunk.
    AfterChunk(usize),
    /// The line end after the last chunk.
    Last(usize),
    Length(usize),
    Over,
}

impl Response {
    /// Takes the next bytes, hands the parts of the body on, and returns whether the response is over.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        part: &mut impl FnMut(&[u8], Edge) -> Result<()>,
    ) -> Result<bool> {
        loop {
            match self.state {
                State::Over => {
                    ensure!(bytes.is_empty(), "bytes after the end of the response");
                    return Ok(true);
                }
                _ if bytes.is_empty() => return Ok(false),
                State::Head => {
                    let Some(rest) = self.until(bytes, b"\r\n\r\n") else { return Ok(false) };
                    bytes = rest;
                    self.state = head(&self.line)?;
                    self.line.clear();
                }
                State::Size => {
                    let Some(rest) = self.until(bytes, b"\r\n") else { return Ok(false) };
                    bytes = rest;
                    let line = std::str::from_utf8(&self.line)?.trim();
                    let left =
                        usize::from_str_radix(line, 16).with_context(|| format!("chunk size {line:?}"))?;
                    self.line.clear();
                    self.state = if left == 0 { State::Last(2) } else { State::Chunk { left, begins: true } };
                }
                State::Chunk { left, begins } => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    let left = left - now.len();
                    part(now, Edge { begins, ends: left == 0 })?;
                    bytes = rest;
                    self.state =
                        if left == 0 { State::AfterChunk(2) } else { State::Chunk { left, begins: false } };
                }
                State::AfterChunk(left) | State::Last(left) => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    self.state = match (self.state, left - taken) {
                        (State::AfterChunk(_), 0) => State::Size,
                        (State::AfterChunk(_), left) => State::AfterChunk(left),
                        (_, 0) => State::Over,
                        (_, left) => State::Last(left),
                    };
                }
                State::Length(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    part(now, Edge { begins: false, ends: false })?;
                    bytes = rest;
                    self.state =
                        if left == now.len() { State::Over } else { State::Length(left - now.len()) };
                }
            }
        }
    }

    /// Collects bytes until `end` has come; returns what follows it.
    fn until<'b>(&mut self, bytes: &'b [u8], end: &[u8]) -> Option<&'b [u8]> {
        for (at, byte) in bytes.iter().enumerate() {
            self.line.push(*byte);
            if self.line.ends_with(end) {
                return Some(&bytes[at + 1..]);
            }
        }
        None
    }
}

fn head(text: &[u8]) -> Result<State> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    ensure!(
        text.starts_with("http/1.1 200 "),
        "the response is {:?}",
        text.lines().next().unwrap_or_default()
    );
    let field =
        |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
    match (field("transfer-encoding"), field("content-length")) {
        (Some("chunked"), None) => Ok(State::Size),
        (None, Some(length)) => Ok(State::Length(length.parse()?)),
        _ => bail!("the response is neither chunked nor of a known length"),
    }
}
