//! An HTTP/2 connection, shared by the streams of one worker.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::feed::{Feed, Shared};
use super::flood::Ledger;
use super::translate_error;
use crate::upstream::error::Error;
use crate::upstream::io::Io;
use crate::upstream::pool::Pool;

type Driver = http2::Connection<TokioIo<Metered>, Feed, Spawner>;

/// One connection. Closed when nobody holds it any more and its last stream is over.
pub(in crate::upstream) struct Connection {
    sender: SendRequest<Feed>,
    spawner: Spawner,
    /// Polled by a task of its own; here to be asked how many streams the upstream allows. `None` once the
    /// connection has ended: only when it is dropped do requests that wait in it come back.
    driver: Rc<RefCell<Option<Driver>>>,
    meter: Rc<Meter>,
    streams: Cell<usize>,
    limit: Cell<usize>,
    unused_since: Cell<Option<Instant>>,
    retired: Cell<bool>,
}

impl Connection {
    /// Starts HTTP/2 on a connected socket.
    ///
    /// # Errors
    /// [`Error::Http2`] or [`Error::ClosedBeforeHead`] if the preface could not be sent.
    pub(in crate::upstream) async fn start(io: Io) -> Result<Rc<Self>, Error> {
        let meter = Rc::new(Meter::default());
        let spawner = Spawner::default();
        let io = TokioIo::new(Metered { io, meter: Rc::clone(&meter) });
        let handshake = builder(spawner.clone()).handshake(io).await;
        let (sender, driver) = handshake
            .map_err(|error| translate_error(&error, |source| Error::ClosedBeforeHead { source }))?;
        let driver = Rc::new(RefCell::new(Some(driver)));
        tokio::task::spawn_local(drive(Rc::clone(&driver)));
        Ok(Rc::new(Connection {
            sender,
            spawner,
            driver,
            meter,
            streams: Cell::new(0),
            limit: Cell::new(MAX_STREAMS),
            unused_since: Cell::new(None),
            retired: Cell::new(false),
        }))
    }

    /// To send a request with.
    pub(super) fn sender(&self) -> SendRequest<Feed> {
        self.sender.clone()
    }

    pub(super) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    pub(super) fn meter(&self) -> Rc<Meter> {
        Rc::clone(&self.meter)
    }

    /// Bytes that the socket took, of all streams.
    pub(super) fn written(&self) -> u64 {
        self.meter.written.get()
    }

    /// Whether new streams may be opened, as far as is known.
    pub(in crate::upstream) fn is_open(&self) -> bool {
        !self.retired.get() && !self.sender.is_closed()
    }

    /// Takes no new streams from now on.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// The upstream refused one stream more than there are now, so that is all it takes.
    pub(super) fn lower_limit(&self) {
        match self.streams.get() {
            0 => self.retire(),
            streams => self.limit.set(streams.min(self.limit.get())),
        }
    }

    /// Whether one more stream may be opened: our own bound, and the upstream's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        let Ok(driver) = self.driver.try_borrow() else { return false };
        let allowed = driver.as_ref().map_or(0, Driver::current_max_send_streams);
        self.streams.get() < self.limit.get().min(allowed)
    }

    /// Streams that are open.
    pub(in crate::upstream) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Since when it has had no stream.
    pub(in crate::upstream) fn unused_since(&self) -> Option<Instant> {
        self.unused_since.get()
    }
}

/// A stream holds at most 64 KiB unread. The window of the connection is as good as open,
/// so that streams which nobody reads do not hold up the others, and because h2 allows a connection only
/// `window / 2` bytes of overhead for small unread frames: token events are small, and with a usual window one
/// slow reader makes h2 end the connection of all (ENHANCE_YOUR_CALM, too_many_data_frames).
fn builder(spawner: Spawner) -> http2::Builder<Spawner> {
    let mut builder = http2::Builder::new(spawner);
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 30)
        .max_header_list_size(64 << 10)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(false);
    builder
}

async fn drive(driver: Rc<RefCell<Option<Driver>>>) {
    let end = poll_fn(|cx| match &mut *driver.borrow_mut() {
        Some(driver) => Pin::new(driver).poll(cx),
        None => Poll::Ready(Ok(())),
    })
    .await;
    let ended = driver.take();
    drop(ended);
    if let Err(error) = end {
        tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("streams", &self.streams.get()).finish_non_exhaustive()
    }
}

/// The right to one stream; given back when dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Lease {
    connection: Rc<Connection>,
    pool: Weak<Pool>,
}

impl Lease {
    /// Counts one more stream on `connection`.
    pub(in crate::upstream) fn new(connection: Rc<Connection>, pool: Weak<Pool>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.unused_since.set(None);
        connection.meter.ledger.borrow_mut().asked();
        Lease { connection, pool }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let streams = self.connection.streams.get() - 1;
        self.connection.streams.set(streams);
        if streams == 0 {
            self.connection.unused_since.set(Some(Instant::now()));
            if let Some(pool) = self.pool.upgrade() {
                pool.reap();
            }
        }
    }
}

/// Runs hyper's tasks on this worker, and tells a request which task sends its body: hyper itself resets the
/// stream of a dropped response only if that task is not waiting for the upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Spawner {
    next: Rc<RefCell<Option<Rc<Shared>>>>,
}

impl Spawner {
    /// The next task belongs to this request: hyper has polled its body and makes the task for it now.
    pub(super) fn expect(self, shared: Rc<Shared>) {
        self.next.replace(Some(shared));
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        if let Some(shared) = self.next.take() {
            shared.sends_in(task.abort_handle());
        }
    }
}

/// What went over a socket.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes that the socket took: if there were none since a request was handed over, none was of it.
    written: Cell<u64>,
    ledger: RefCell<Ledger>,
}

impl Meter {
    /// A piece of a request body goes up.
    pub(super) fn uploaded(&self, bytes: usize) {
        self.ledger.borrow_mut().uploaded(bytes);
    }
}

/// A socket, counted.
struct Metered {
    io: Io,
    meter: Rc<Meter>,
}

impl Metered {
    fn count(&self, written: usize) -> Poll<io::Result<usize>> {
        self.meter.written.set(self.meter.written.get() + written as u64);
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.meter.ledger.borrow_mut().read(&buffer.filled()[before..]) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(FLOODED.into()))
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// How [`translate_error`] knows that it was a flood; no socket says this.
pub(super) const FLOODED: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// Most streams on one connection: bounds what its unread streams can hold to 4 MiB, and how many requests one
/// broken connection takes with it.
const MAX_STREAMS: usize = 64;
