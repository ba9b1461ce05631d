//! The sending half of an HTTP/1.1 exchange: head and body of the request, as far as the socket takes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::request::Parts;
use tokio::io::AsyncWrite;

use super::head::{self, RequestFraming};
use crate::upstream::error::Error;
use crate::upstream::io::Io;
use crate::upstream::upload::Upload;

/// What has still to be sent.
///
/// Goes out in this order: `prefix` (head, chunk size line, last chunk), `data`, `tail`. A frame is pulled
/// from the upload only when `data` and `tail` are out, and together with the head before anything is: so
/// a small request is one write.
#[derive(Debug)]
pub(super) struct Sender {
    upload: Box<Upload>,
    framing: RequestFraming,
    prefix: Vec<u8>,
    prefix_sent: usize,
    data: Bytes,
    tail: &'static [u8],
    /// Whether everything was pulled from the upload.
    pulled: bool,
    written: u64,
}

/// Who has to do something before more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody: all was sent.
    Done,
    /// The client.
    Client,
    /// The upstream.
    Upstream,
}

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The upstream takes no more; it may have answered.
    Write(io::Error),
    /// The request body failed.
    Upload(Error),
}

impl Sender {
    pub(super) fn new(head: &Parts, upload: Box<Upload>) -> Self {
        let (prefix, framing) = head::encode(head, upload.size());
        let pulled = matches!(framing, RequestFraming::None | RequestFraming::Length(0));
        Sender { upload, framing, prefix, prefix_sent: 0, data: Bytes::new(), tail: b"", pulled, written: 0 }
    }

    /// Bytes that the socket took.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The request body, to be sent on another connection.
    pub(super) fn into_upload(self) -> Box<Upload> {
        self.upload
    }

    /// Sends until the socket or the client has to be waited for.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Result<Turn, Stopped> {
        loop {
            let waiting = self.pull(cx).map_err(Stopped::Upload)?;
            if self.unsent() {
                match self.poll_write(io, cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => return Err(Stopped::Write(error)),
                    Poll::Pending => return Ok(Turn::Upstream),
                }
            }
            return match Pin::new(&mut *io).poll_flush(cx) {
                Poll::Pending => Ok(Turn::Upstream),
                Poll::Ready(Err(error)) => Err(Stopped::Write(error)),
                Poll::Ready(Ok(())) if waiting => Ok(Turn::Client),
                Poll::Ready(Ok(())) => Ok(Turn::Done),
            };
        }
    }

    /// Takes the next frame from the upload if there is room for it. Whether the client has to be waited for.
    fn pull(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        if self.pulled || !self.data.is_empty() || !self.tail.is_empty() {
            return Ok(false);
        }
        match self.upload.poll_data(cx) {
            Poll::Pending => Ok(true),
            Poll::Ready(Some(frame)) => self.frame(frame?).map(|()| false),
            Poll::Ready(None) => self.end().map(|()| false),
        }
    }

    fn frame(&mut self, frame: Bytes) -> Result<(), Error> {
        self.reuse_prefix();
        match &mut self.framing {
            RequestFraming::None => return Err(Error::RequestBody),
            RequestFraming::Length(left) => {
                // More than was declared would be read as the next request.
                *left = left.checked_sub(frame.len() as u64).ok_or(Error::RequestBody)?;
                self.pulled = *left == 0;
            }
            RequestFraming::Chunked => {
                let size = format!("{:x}\r\n", frame.len());
                self.prefix.extend_from_slice(size.as_bytes());
                self.pulled = self.upload.is_end();
                self.tail = if self.pulled { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            }
        }
        self.data = frame;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.framing {
            RequestFraming::Length(1..) => return Err(Error::RequestBody),
            RequestFraming::Chunked => match self.upload.trailers() {
                Some(trailers) => {
                    let trailers = trailers.clone();
                    self.reuse_prefix();
                    head::encode_trailers(&mut self.prefix, &trailers);
                }
                None => self.tail = b"0\r\n\r\n",
            },
            // Only chunks can be followed by trailers.
            RequestFraming::None | RequestFraming::Length(_) => {}
        }
        self.pulled = true;
        Ok(())
    }

    fn reuse_prefix(&mut self) {
        if self.prefix_sent == self.prefix.len() {
            self.prefix.clear();
            self.prefix_sent = 0;
        }
    }

    fn unsent(&self) -> bool {
        self.prefix_sent < self.prefix.len() || !self.data.is_empty() || !self.tail.is_empty()
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let prefix = &self.prefix[self.prefix_sent..];
        let slices = [IoSlice::new(prefix), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        let written = std::task::ready!(Pin::new(io).poll_write_vectored(cx, &slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if self.written == 0 {
            // The upstream has seen some of it: it will not be sent again.
            self.upload.forget();
        }
        self.written += written as u64;
        let from_prefix = written.min(prefix.len());
        let from_data = (written - from_prefix).min(self.data.len());
        self.prefix_sent += from_prefix;
        self.data.advance(from_data);
        self.tail = &self.tail[written - from_prefix - from_data..];
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use socket2::{Domain, Socket, Type};
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::upstream::upload::tests::{Script, full, scripted};

    /// Two ends of a socket that keeps the borders of writes: a read returns what one write wrote.
    async fn packets() -> (Io, UnixStream) {
        let (near, far) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        let stream = |socket: Socket| {
            socket.set_nonblocking(true).unwrap();
            UnixStream::from_std(std::os::fd::OwnedFd::from(socket).into()).unwrap()
        };
        let near = stream(near);
        near.writable().await.unwrap();
        (Io::Unix(near), stream(far))
    }

    fn sender(upload: Box<Upload>) -> Sender {
        let request = http::Request::post("/x").header("host", "up").body(()).unwrap();
        Sender::new(&request.into_parts().0, upload)
    }

    async fn drive(sender: &mut Sender, io: &mut Io) -> Turn {
        poll_fn(|cx| Poll::Ready(sender.poll(io, cx).unwrap())).await
    }

    async fn one_write(far: &mut UnixStream) -> String {
        let mut packet = [0; 1000];
        let length = far.read(&mut packet).await.unwrap();
        String::from_utf8(packet[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn small_request_is_one_write() {
        let (mut io, mut far) = packets().await;
        let mut sender = sender(full(b"hello"));
        assert_eq!(drive(&mut sender, &mut io).await, Turn::Done);
        let whole = "POST /x HTTP/1.1\r\nhost: up\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(one_write(&mut far).await, whole);
        assert_eq!(sender.written(), whole.len() as u64);
    }

    #[tokio::test]
    async fn each_frame_of_a_chunked_request_is_one_write() {
        let (mut io, mut far) = packets().await;
        let (upload, script): (_, Script) = scripted(None);
        let mut sender = sender(upload);
        script.send("one");
        assert_eq!(drive(&mut sender, &mut io).await, Turn::Client);
        let head = "POST /x HTTP/1.1\r\nhost: up\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(one_write(&mut far).await, format!("{head}3\r\none\r\n"));
        script.send("seventeen letters");
        assert_eq!(drive(&mut sender, &mut io).await, Turn::Client);
        assert_eq!(one_write(&mut far).await, "11\r\nseventeen letters\r\n");
        script.end();
        assert_eq!(drive(&mut sender, &mut io).await, Turn::Done);
        assert_eq!(one_write(&mut far).await, "0\r\n\r\n");
    }

    #[tokio::test]
    async fn head_does_not_wait_for_a_body_that_is_not_there_yet() {
        let (mut io, mut far) = packets().await;
        let (upload, _script) = scripted(Some(5));
        assert_eq!(drive(&mut sender(upload), &mut io).await, Turn::Client);
        assert!(one_write(&mut far).await.ends_with("content-length: 5\r\n\r\n"));
    }
}
