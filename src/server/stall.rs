//! Clients that take nothing: the lazy timer of connections, and the watch over each HTTP/2 stream.
//!
//! A connection notices that its socket takes no bytes. That is not enough for HTTP/2: a client that reads its
//! socket but never opens the window of one stream blocks this stream alone, and hyper does not poll the body
//! of a stream without a window. So each stream's task runs inside a wrapper, which drops the task, and by
//! that resets the stream, once hyper has sat on a frame for too long. The body finds its [`StreamWatch`] with
//! [`current`] and says what it handed over when. HTTP/1.1 has no stream of its own and no watch.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connection::LINGER;

use crate::stream::Cause;

tokio::task_local! {
    static WATCH: Rc<StreamWatch>;
}

/// The watch over one HTTP/2 stream, shared by its task and its body.
#[derive(Debug)]
pub struct StreamWatch {
    /// When the body last gave hyper a frame; `None` as soon as hyper polls the body again, which shows
    /// that it could pass the frame on. Kept by the body.
    pub handed_over: Cell<Option<Instant>>,
    /// Set just before the stream is dropped for what the client did not do; goes before
    /// [`Client::left`](super::client::Client::left).
    pub left: Cell<Option<Cause>>,
    /// What is left of the request body, once nobody wants it.
    unread: RefCell<Option<Incoming>>,
    /// The task that hyper made on this stream to send what comes after an upgrade.
    pub(super) upgraded: RefCell<Option<JoinHandle<()>>>,
    /// How long hyper may sit on a frame: `client_write_stall`.
    bound: Duration,
}

/// The watch over the HTTP/2 stream whose task is being polled; `None` in HTTP/1.1 connections.
///
/// To be asked inside the future that answers the request, not before it is first polled.
pub fn current() -> Option<Rc<StreamWatch>> {
    WATCH.try_with(Rc::clone).ok()
}

/// What to do with a request body that is dropped before its end. In HTTP/2, hyper stops an upload by RST_STREAM right
/// behind the response (RFC 9113 8.1), and there are clients (curl 7.88) that lose a response that comes in the same
/// read as that. So what still comes is read and dropped for a moment, and only then the stream is reset. In HTTP/1.1
/// the connection does as much.
///
/// To be asked like [`current`].
pub fn leave_unread() -> Option<Box<dyn FnOnce(Incoming)>> {
    let watch = current()?;
    Some(Box::new(move |incoming| drop(watch.unread.replace(Some(incoming)))))
}

/// Runs the streams of one HTTP/2 connection as tasks of the worker, each under a watch.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    live: Rc<Cell<usize>>,
    bound: Duration,
}

/// One live stream; counted until dropped.
struct Live(Rc<Cell<usize>>);

/// A timer that is made when first needed and moved only when it fires.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Streams {
    /// No streams yet; each may have hyper sit on a frame of it for `bound`.
    pub(super) fn new(bound: Duration) -> Self {
        Streams { live: Rc::default(), bound }
    }

    /// How many streams are running.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.live.set(self.live.get() + 1);
        let live = Live(Rc::clone(&self.live));
        let watch = Rc::new(StreamWatch {
            handed_over: Cell::new(None),
            left: Cell::new(None),
            unread: RefCell::new(None),
            upgraded: RefCell::new(None),
            bound: self.bound,
        });
        let task = tokio::task::spawn_local(WATCH.scope(Rc::clone(&watch), async move {
            let _live = live;
            watched(stream, &watch).await;
            let unread = watch.unread.take().filter(|_| watch.left.get().is_none());
            if let Some(unread) = unread {
                // Either way it is of no use.
                let _ = timeout(LINGER, discard(unread)).await;
            }
        }));
        // Of the tasks of a connection, only the one that answers a request makes another.
        if let Some(parent) = current() {
            parent.upgraded.replace(Some(task));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Timer {
    /// Ready once `deadline` has passed. Call after call the deadline may only move to later; moving it is
    /// free until the old one fires.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
}

/// Runs `stream` to its end, or drops it when hyper has sat on a frame of it for too long. Dropping it makes h2
/// send RST_STREAM and forget what was queued for it.
async fn watched<F: Future<Output = ()>>(stream: F, watch: &StreamWatch) {
    let mut stream = pin!(stream);
    let mut timer = Timer::default();
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = watch.handed_over.get() else { return Poll::Pending };
        ready!(timer.poll_until(cx, since + watch.bound));
        watch.left.set(Some(Cause::ClientStalled));
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    struct Stream(Rc<Cell<Option<&'static str>>>);

    impl Drop for Stream {
        fn drop(&mut self) {
            let left = current().and_then(|watch| watch.left.get()).map_or("ended", Cause::what);
            self.0.set(Some(left));
        }
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn stream_is_dropped_as_stalled_after_the_bound() {
        let streams = Streams::new(BOUND);
        let dropped = Rc::new(Cell::new(None));
        let stream = Stream(dropped.clone());
        let started = Instant::now();
        streams.execute(async move {
            current().expect("a watch").handed_over.set(Some(Instant::now()));
            std::future::pending::<()>().await;
            drop(stream);
        });
        assert_eq!(streams.live(), 1);
        while dropped.get().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(dropped.get(), Some("stalled"));
        assert!(started.elapsed() >= BOUND, "after {:?}", started.elapsed());
        assert_eq!(streams.live(), 0);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn stream_that_is_polled_again_is_not_stalled() {
        let streams = Streams::new(BOUND);
        let dropped = Rc::new(Cell::new(None));
        let stream = Stream(dropped.clone());
        streams.execute(async move {
            let watch = current().expect("a watch");
            for _ in 0..10 {
                watch.handed_over.set(Some(Instant::now()));
                tokio::time::sleep(BOUND / 2).await;
            }
            watch.handed_over.set(None);
            tokio::time::sleep(BOUND * 3).await;
            drop(stream);
        });
        while dropped.get().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(dropped.get(), Some("ended"));
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn timer_follows_a_deadline_that_moves() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let mut deadline = start + BOUND;
        poll_fn(|cx| timer.poll_until(cx, deadline)).await;
        assert!(start.elapsed() >= BOUND);
        deadline = start + 3 * BOUND;
        poll_fn(|cx| timer.poll_until(cx, deadline)).await;
        assert!(start.elapsed() >= 3 * BOUND);
    }

    #[test]
    fn current_is_none_outside_of_a_stream() {
        assert!(current().is_none());
    }
}
