//! The handler's answer over HTTP/1.1, followed until all of it has left hyper.
//!
//! What hyper writes while there is none is its own refusal of a head ([`super::refusal`]). A body of the handler's could
//! look just like one, so that is told by when it is written and never by what it says. Made by
//! [`super::connection`].

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use super::io::Wire;

/// Where the handler's answer to an HTTP/1.1 request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// There is none: what is written is hyper's own.
    #[default]
    None,
    /// The handler has the request, or hyper reads the answer's body.
    Running,
    /// hyper has all of it, and may not have written it yet.
    Ending,
}

/// The body of an answer. Dropping it says that hyper has all of it.
pub(super) struct Answer<B> {
    body: B,
    wire: Rc<Wire>,
}

impl<B> Answer<B> {
    /// `body`, at whose end `wire` is told that it is [`Stage::Ending`].
    pub(super) fn new(body: B, wire: Rc<Wire>) -> Self {
        Answer { body, wire }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.wire.stage.set(Stage::Ending);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
