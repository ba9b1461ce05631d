//! The hyper sink: a response body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

/// A response body as hyper pulls it.
#[derive(Debug)]
pub struct Body(Option<Bytes>);

/// The response cannot be completed: hyper must cut the connection or reset the stream.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut short")]
pub struct Aborted;

impl Body {
    /// A body that is all there.
    pub fn full(bytes: Bytes) -> Self {
        Body(Some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;
    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        Poll::Ready(self.get_mut().0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
