//! One exchange over HTTP/1.1: our own client codec on `httparse`.
//!
//! [`head`] and [`framing`] are pure; here they are driven over a socket with poll functions. Request and
//! response go at the same time: whoever waits for the head or reads the body also drives the request body up.
//! A connection goes back to the pool only after [`Read::End`], and only if nothing is left unsent or unread.

pub mod framing;
pub mod head;
mod sender;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, request};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use self::framing::{Decoded, Decoder};
use self::head::{Head, HeadReader};
use self::sender::{Sender, Stopped, Turn};
use super::deadline::Deadline;
use super::error::{Error, Timeout};
use super::io::Io;
use super::pool::Pool;
use super::upload::Upload;
use super::{Failure, Read, Response};

pub(super) use head::asks_for_upgrade;

/// Sends a request on `io` and waits for the final head. `reused` says that the connection was kept.
///
/// # Errors
/// With the upload in the [`Failure`] if the connection was reused and took no byte: it was dead already.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn send(
    io: Io,
    pool: Rc<Pool>,
    reused: bool,
    head: &request::Parts,
    upload: Box<Upload>,
    head_timeout: Option<Duration>,
) -> Result<Response, Failure> {
    let mut exchange = Exchange {
        io,
        sender: Some(Box::new(Sender::new(head, upload))),
        broken: None,
        reader: HeadReader::new(head),
        clock: Clock { timeout: head_timeout, since: None, progress: 0, deadline: Deadline::default() },
    };
    match poll_fn(|cx| exchange.poll_head(&head.method, reused, cx)).await {
        Ok(head) => Ok(exchange.into_response(head, pool)),
        Err(error) => {
            let dead = reused && matches!(error, Error::ClosedBeforeHead { .. });
            let unsent = exchange.sender.filter(|sender| dead && sender.written() == 0);
            Err(Failure::new(error, unsent.map(|sender| sender.into_upload())))
        }
    }
}

/// The time until the head is there.
struct Exchange {
    io: Io,
    /// `None` once all is sent.
    sender: Option<Box<Sender>>,
    /// Set once the upstream takes no more of the request.
    broken: Option<io::Error>,
    reader: HeadReader,
    clock: Clock,
}

/// Bounds the wait for the head: time counts while it is the upstream's turn and nothing moves.
struct Clock {
    timeout: Option<Duration>,
    since: Option<Instant>,
    /// Bytes written when the clock was last looked at.
    progress: u64,
    deadline: Deadline,
}

impl Exchange {
    fn poll_head(
        &mut self,
        method: &Method,
        reused: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Error>> {
        let turn = self.drive_upload(cx)?;
        let written = self.sender.as_ref().map(|sender| sender.written());
        if self.broken.is_some() && written == Some(0) && reused {
            return Poll::Ready(Err(self.closed(None)));
        }
        loop {
            match self.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed(None))),
                Poll::Ready(Ok(_)) => {
                    if let Some(head) = self.reader.next(method)? {
                        return Poll::Ready(Ok(head));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(Some(error)))),
            }
        }
        self.clock.poll(turn, written, cx).map(Err)
    }

    /// Sends what can be sent. After a write error the response may still come: it is waited for.
    fn drive_upload(&mut self, cx: &mut Context<'_>) -> Result<Turn, Error> {
        let Some(sender) = self.sender.as_mut().filter(|_| self.broken.is_none()) else {
            return Ok(Turn::Done);
        };
        match sender.poll(&mut self.io, cx) {
            Ok(Turn::Done) => {
                self.sender = None;
                Ok(Turn::Done)
            }
            Ok(turn) => Ok(turn),
            Err(Stopped::Upload(error)) => Err(error),
            Err(Stopped::Write(error)) => {
                self.broken = Some(error);
                Ok(Turn::Done)
            }
        }
    }

    /// Reads on the stack, so that a head takes no more memory than it has bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let (buffer, room) = self.reader.space();
        let mut read = ReadBuf::uninit(&mut space[..room.min(READ_BYTES)]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn closed(&mut self, error: Option<io::Error>) -> Error {
        Error::ClosedBeforeHead { source: self.broken.take().or(error) }
    }

    fn into_response(self, head: Head, pool: Rc<Pool>) -> Response {
        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let body = super::Body::switched(self.io, self.reader.into_rest());
            return Response { head: head.parts, body };
        }
        let mut body = Body {
            io: Some(self.io),
            reusable: head.keep_alive && self.broken.is_none(),
            sender: self.sender.filter(|_| self.broken.is_none()),
            decoder: Decoder::new(head.framing),
            rest: self.reader.into_rest(),
            rest_read: 0,
            trailers: None,
            broken: None,
            pool,
        };
        if body.decoder.is_done() {
            body.reusable &= body.rest.is_empty();
            body.give_back();
        }
        Response { head: head.parts, body: super::Body::http1(body) }
    }
}

impl Clock {
    /// Ready with the error once the upstream has kept us waiting too long.
    fn poll(&mut self, turn: Turn, written: Option<u64>, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(after) = self.timeout else { return Poll::Pending };
        let progress = written.unwrap_or(u64::MAX);
        if turn == Turn::Client || self.progress != progress {
            self.since = None;
            self.progress = progress;
        }
        if turn == Turn::Client {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        ready!(self.deadline.poll(cx, since, after));
        Poll::Ready(Error::Timeout { timeout: Timeout::ResponseHead, after })
    }
}

/// The body of a response.
pub(super) struct Body {
    /// `None` once the connection was given back or closed.
    io: Option<Io>,
    /// The request body, while it is still on its way.
    sender: Option<Box<Sender>>,
    decoder: Decoder,
    /// What came in the same read as the head, from `rest_read` on.
    rest: Vec<u8>,
    rest_read: usize,
    trailers: Option<Box<HeaderMap>>,
    /// What is wrong behind the data that was read last.
    broken: Option<Box<Error>>,
    /// Whether the connection can carry another request, as far as is known.
    reusable: bool,
    pool: Rc<Pool>,
}

impl Body {
    /// Whether nothing but [`Read::End`] will come.
    pub(super) fn is_end(&self) -> bool {
        self.decoder.is_done() && self.trailers.is_none() && self.broken.is_none()
    }

    /// See [`super::Body::poll_read`].
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Read, Error>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(*error));
        }
        let upload = self.drive_upload(cx);
        while !self.decoder.is_done() {
            let room = self.decoder.room().min(buffer.len());
            let length = match self.poll_bytes(cx, &mut buffer[..room]) {
                Poll::Ready(length) => length?,
                // What the upstream has answered goes first: it may be all of it.
                Poll::Pending => {
                    return upload.map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending);
                }
            };
            if length == 0 {
                if !self.decoder.end_of_file() {
                    return Poll::Ready(Err(Error::Truncated { source: None }));
                }
                break;
            }
            let (data, result) = match self.decoder.decode(&mut buffer[..length]) {
                Ok(decoded) => (decoded.data, self.decoded(&decoded, length)),
                Err(broken) => (broken.data, Err(broken.error)),
            };
            if data > 0 {
                // What came before it is good, and goes first.
                self.broken = result.err().map(Box::new);
                return Poll::Ready(Ok(Read::Data(data)));
            }
            result?;
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Ok(Read::Trailers(*trailers)));
        }
        self.give_back();
        Poll::Ready(Ok(Read::End))
    }

    /// Looks at the end of the body, if `decoded`, out of `length` bytes, reached it.
    fn decoded(&mut self, decoded: &Decoded, length: usize) -> Result<(), Error> {
        if self.decoder.is_done() {
            // RFC 9112 9.3: what follows a complete response was not asked for.
            self.reusable &= decoded.used == length && self.rest.is_empty();
            self.trailers = self.decoder.take_trailers()?.map(Box::new);
        }
        Ok(())
    }

    /// What came with the head, then the socket.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Error>> {
        if !self.rest.is_empty() {
            let rest = &self.rest[self.rest_read..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            self.rest_read += length;
            if self.rest_read == self.rest.len() {
                self.rest = Vec::new();
            }
            return Poll::Ready(Ok(length));
        }
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        let mut buffer = ReadBuf::new(buffer);
        match ready!(Pin::new(io).poll_read(cx, &mut buffer)) {
            Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
            Err(source) => Poll::Ready(Err(Error::Truncated { source: Some(source) })),
        }
    }

    fn drive_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let (Some(sender), Some(io)) = (&mut self.sender, &mut self.io) else { return Ok(()) };
        match sender.poll(io, cx) {
            Ok(Turn::Done) => self.sender = None,
            Ok(Turn::Client | Turn::Upstream) => {}
            Err(Stopped::Upload(error)) => return Err(error),
            Err(Stopped::Write(_)) => {
                // The upstream has answered and wants no more; what it answered is still read.
                self.sender = None;
                self.reusable = false;
            }
        }
        Ok(())
    }

    /// The exchange is over: keeps the connection if another one can follow on it, else closes it.
    fn give_back(&mut self) {
        if let Some(io) = self.io.take()
            && self.reusable
            && self.sender.take().is_none()
        {
            self.pool.put(io);
        }
    }
}

/// One read of a head, and often all of a small body.
const READ_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
