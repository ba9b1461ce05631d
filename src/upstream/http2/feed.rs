//! A request body, as hyper pulls it, and what the pulling side and the reading side know of each other.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::{Meter, Spawner};
use crate::upstream::error::Error;
use crate::upstream::upload::Upload;

/// One attempt to send a request body: between hyper's task that sends it and the task that waits for the answer.
///
/// Invariant: `upload` is there until all of it was handed to hyper, or it failed, or the attempt is over.
#[derive(Debug)]
pub(super) struct Shared {
    upload: RefCell<Option<Box<Upload>>>,
    size: Option<u64>,
    /// Whether all of the upload was handed to hyper.
    done: Cell<bool>,
    moved_at: Cell<Instant>,
    fault: RefCell<Option<Error>>,
    /// The task that waits for the response.
    waiter: RefCell<Option<Waker>>,
    /// hyper's task that sends the request body, if it needed one.
    sending: RefCell<Option<AbortHandle>>,
}

impl Shared {
    pub(super) fn new(upload: Box<Upload>) -> Rc<Self> {
        let size = upload.size();
        let done = Cell::new(upload.is_end());
        Rc::new(Shared {
            upload: RefCell::new(Some(upload)),
            size,
            done,
            moved_at: Cell::new(Instant::now()),
            fault: RefCell::default(),
            waiter: RefCell::default(),
            sending: RefCell::default(),
        })
    }

    /// Wakes the current task when the upload ends or fails, or the client goes on with it after a pause.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        match &mut *self.waiter.borrow_mut() {
            Some(waiter) => waiter.clone_from(cx.waker()),
            waiter => *waiter = Some(cx.waker().clone()),
        }
    }

    /// Why the upload failed, once.
    pub(super) fn take_fault(&self) -> Option<Error> {
        self.fault.borrow_mut().take()
    }

    /// Whether all of the upload was handed to hyper.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Since when the upstream could have answered; `None` while the client is waited for.
    pub(super) fn upstreams_turn_since(&self) -> Option<Instant> {
        let waiting = self.upload.borrow().as_ref().is_some_and(|upload| upload.is_waiting());
        (self.is_done() || !waiting).then(|| self.moved_at.get())
    }

    fn trailers(&self) -> Option<HeaderMap> {
        self.upload.borrow().as_ref().and_then(|upload| upload.trailers().cloned())
    }

    /// Takes the upload away from hyper: its body then ends with an error.
    pub(super) fn take_upload(&self) -> Option<Box<Upload>> {
        self.upload.borrow_mut().take()
    }

    /// It will not be sent again.
    pub(super) fn forget(&self) {
        if let Some(upload) = &mut *self.upload.borrow_mut() {
            upload.forget();
        }
    }

    /// The response is not wanted any more: stops sending the request, so that the stream is reset.
    pub(super) fn abandon(&self) {
        drop(self.take_upload());
        if let Some(sending) = self.sending.borrow_mut().take().filter(|_| !self.is_done()) {
            sending.abort();
        }
    }

    /// hyper has made a task for this request.
    pub(super) fn sends_in(&self, task: AbortHandle) {
        self.sending.replace(Some(task));
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut upload = self.upload.borrow_mut();
        let Some(upload) = upload.as_mut() else { return Poll::Ready(Some(Err(Error::RequestBody))) };
        let was_waiting = upload.is_waiting();
        let polled = upload.poll_data(cx);
        if polled.is_ready() {
            self.moved_at.set(Instant::now());
            self.done.set(upload.is_end());
            if was_waiting {
                // Now it is the upstream's turn: its clock must be wound.
                self.wake();
            }
        }
        polled
    }

    fn wake(&self) {
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }
}

/// The body that hyper is given.
pub(super) struct Feed {
    shared: Rc<Shared>,
    /// `None` once it has said whose it is.
    spawner: Option<Spawner>,
    /// Whether the end of the data was found.
    ended: bool,
    meter: Rc<Meter>,
}

impl Feed {
    pub(super) fn new(shared: &Rc<Shared>, spawner: Spawner, meter: Rc<Meter>) -> Self {
        Feed { shared: Rc::clone(shared), spawner: Some(spawner), ended: false, meter }
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        // hyper polls a body once before it makes a task for it.
        if let Some(spawner) = self.spawner.take() {
            spawner.expect(Rc::clone(&self.shared));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = std::task::ready!(self.shared.poll_data(cx));
        if let Some(Err(_)) | None = polled {
            self.shared.done.set(polled.is_none());
            self.shared.wake();
        } else if self.shared.is_done() {
            self.shared.wake();
        }
        Poll::Ready(match polled {
            Some(Ok(bytes)) => {
                self.meter.uploaded(bytes.len());
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => {
                self.shared.fault.replace(Some(error));
                // RFC 9113 7: hyper resets the stream with this.
                Some(Err(h2::Reason::CANCEL.into()))
            }
            None => {
                self.ended = true;
                self.shared.trailers().map(|trailers| Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.shared.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.shared.size.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}
