//! The connections of one upstream on one worker: unused HTTP/1.1 ones, and HTTP/2 ones, used or not.
//!
//! Invariant: as long as a connection is unused there is one task that closes it when its time is up, so an
//! unused connection never outlives `idle_timeout`, also if no request comes any more. There is no task while
//! nothing is unused.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{Protocol, connect};
use super::error::Error;
use super::http2::{Connection, Lease};
use super::io::Io;
use crate::config::{HttpVersion, Upstream};

/// The connections of one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    /// Unused HTTP/1.1 connections, the one used last at the end: it is taken first, so that the others can
    /// run out.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections that may take more streams.
    shared: RefCell<Vec<Rc<Connection>>>,
    max_idle: usize,
    idle_timeout: Duration,
    /// Whether the task that closes unused connections is there.
    reaping: Cell<bool>,
    /// What was spoken last; decides whether it is worth waiting for a connection that is being made.
    speaks_http2: Cell<bool>,
    connecting: Cell<bool>,
    /// HTTP/2 connections that were ever made.
    made: Cell<u64>,
    connected: Notify,
}

#[derive(Debug)]
struct Idle {
    io: Io,
    until: Instant,
}

/// What a connection has to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Want {
    /// Not an unused HTTP/1.1 one.
    pub(super) fresh: bool,
    /// HTTP/1.1.
    pub(super) http1: bool,
}

/// A connection to send one request on.
#[derive(Debug)]
pub(super) enum Acquired {
    Http1 { io: Io, reused: bool },
    Http2(Lease),
}

impl Pool {
    pub(super) fn new(upstream: &Upstream) -> Rc<Self> {
        Rc::new(Pool {
            idle: RefCell::default(),
            shared: RefCell::default(),
            max_idle: upstream.max_idle,
            idle_timeout: upstream.idle_timeout,
            reaping: Cell::new(false),
            speaks_http2: Cell::new(upstream.http == HttpVersion::Http2),
            connecting: Cell::new(false),
            made: Cell::new(0),
            connected: Notify::new(),
        })
    }

    /// A connection that is there and alive, or a new one.
    ///
    /// # Errors
    /// Those of [`connect`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons a connection attempt.
    pub(super) async fn acquire(self: &Rc<Self>, upstream: &Upstream, want: Want) -> Result<Acquired, Error> {
        match self.take(want) {
            Some(acquired) => Ok(acquired),
            // In a box: it is large, and most requests do not need it.
            None => Box::pin(self.connect(upstream, want)).await,
        }
    }

    /// A new connection, or one that another request makes.
    async fn connect(self: &Rc<Self>, upstream: &Upstream, want: Want) -> Result<Acquired, Error> {
        // Requests that come together share the HTTP/2 connection that the first of them makes. For whom there
        // is no room left on it, the next one is made, once for all. If an attempt fails, each makes its own.
        while !want.http1 && self.speaks_http2.get() && self.connecting.get() {
            let made = self.made.get();
            self.connected.notified().await;
            if let Some(acquired) = self.take(want) {
                return Ok(acquired);
            }
            if self.made.get() == made {
                break;
            }
        }
        if want.http1 {
            let (io, _) = connect(upstream, HttpVersion::Http1).await?;
            return Ok(Acquired::Http1 { io, reused: false });
        }
        let _connecting = Connecting::start(self);
        match connect(upstream, upstream.http).await? {
            (io, Protocol::Http1) => {
                self.speaks_http2.set(false);
                Ok(Acquired::Http1 { io, reused: false })
            }
            (io, Protocol::Http2) => {
                self.speaks_http2.set(true);
                let connection = Connection::start(io).await?;
                self.shared.borrow_mut().push(Rc::clone(&connection));
                self.made.set(self.made.get() + 1);
                Ok(Acquired::Http2(Lease::new(connection, Rc::downgrade(self))))
            }
        }
    }

    fn take(self: &Rc<Self>, want: Want) -> Option<Acquired> {
        self.shared.borrow_mut().retain(|connection| connection.is_open());
        // The fullest that has room: so the others can run out.
        let fullest =
            self.shared.borrow().iter().filter(|it| it.has_room()).max_by_key(|it| it.streams()).cloned();
        if let Some(connection) = fullest.filter(|_| !want.http1) {
            return Some(Acquired::Http2(Lease::new(connection, Rc::downgrade(self))));
        }
        while !want.fresh
            && let Some(mut idle) = self.pop()
        {
            if idle.until > Instant::now() && idle.io.is_quiet() {
                return Some(Acquired::Http1 { io: idle.io, reused: true });
            }
        }
        None
    }

    fn pop(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop()
    }

    /// Keeps an HTTP/1.1 connection on which another request can follow. If there are too many, the one that
    /// was unused longest is closed.
    pub(super) fn put(self: &Rc<Self>, io: Io) {
        let Some(until) = Instant::now().checked_add(self.idle_timeout).filter(|_| self.max_idle > 0) else {
            return;
        };
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.max_idle {
            idle.remove(0);
        }
        idle.push(Idle { io, until });
        drop(idle);
        self.reap();
    }

    /// Makes sure that unused connections are closed in time.
    pub(super) fn reap(self: &Rc<Self>) {
        if !self.reaping.replace(true) {
            tokio::task::spawn_local(reap(Rc::downgrade(self), self.idle_timeout));
        }
    }

    /// Closes what has been unused for too long. When the next one is due; `None` if nothing is unused.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|idle| idle.until > now);
        let timeout = self.idle_timeout;
        self.shared.borrow_mut().retain(|connection| {
            connection.is_open()
                && connection.unused_since().is_none_or(|since| now.duration_since(since) < timeout)
        });
        let http1 = self.idle.borrow().first().map(|idle| idle.until);
        let shared = self.shared.borrow();
        let http2 = shared.iter().filter_map(|it| it.unused_since()?.checked_add(timeout)).min();
        http1.into_iter().chain(http2).min()
    }
}

/// Closes unused connections when their time is up; ends when none is left, or with the pool.
async fn reap(pool: Weak<Pool>, idle_timeout: Duration) {
    tokio::time::sleep(idle_timeout).await;
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let Some(next) = pool.sweep() else {
            pool.reaping.set(false);
            return;
        };
        drop(pool);
        tokio::time::sleep_until(next).await;
    }
}

/// Marks that a connection is being made, until dropped.
struct Connecting<'a>(&'a Pool);

impl<'a> Connecting<'a> {
    fn start(pool: &'a Pool) -> Self {
        pool.connecting.set(true);
        Connecting(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.connected.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::super::tests::upstream;
    use super::*;

    const ANY: Want = Want { fresh: false, http1: false };

    fn pool(max_idle: usize) -> Rc<Pool> {
        let mut upstream = upstream(([127, 0, 0, 1], 0).into(), HttpVersion::Http1);
        upstream.max_idle = max_idle;
        Pool::new(&upstream)
    }

    fn pair() -> (Io, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Io::Unix(near), far)
    }

    fn take(pool: &Rc<Pool>) -> bool {
        matches!(pool.take(ANY), Some(Acquired::Http1 { reused: true, .. }))
    }

    #[tokio::test(flavor = "local")]
    async fn pool_gives_the_connection_back_that_was_used_last() {
        let pool = pool(2);
        let (old, mut far_of_old) = pair();
        let (new, mut far_of_new) = pair();
        pool.put(old);
        pool.put(new);
        let Some(Acquired::Http1 { io, reused: true }) = pool.take(ANY) else { panic!("nothing kept") };
        drop(io);
        assert_eq!(far_of_new.read(&mut [0]).await.unwrap(), 0);
        assert!(pool.take(Want { fresh: true, ..ANY }).is_none());
        assert!(take(&pool));
        assert!(pool.take(ANY).is_none());
        assert_eq!(far_of_old.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "local")]
    async fn pool_closes_the_oldest_when_it_is_full() {
        let pool = pool(1);
        let (old, mut far_of_old) = pair();
        let (new, _far_of_new) = pair();
        pool.put(old);
        pool.put(new);
        assert_eq!(far_of_old.read(&mut [0]).await.unwrap(), 0);
        assert!(take(&pool));
        assert!(!take(&pool));
    }

    #[tokio::test(flavor = "local")]
    async fn pool_keeps_nothing_when_told_so() {
        let pool = pool(0);
        let (io, mut far) = pair();
        pool.put(io);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "local")]
    async fn pool_skips_connections_that_died_or_said_something() {
        let pool = pool(8);
        let (alive, _far) = pair();
        let (dead, far_of_dead) = pair();
        let (loud, far_of_loud) = pair();
        pool.put(alive);
        pool.put(dead);
        pool.put(loud);
        drop(far_of_dead);
        far_of_loud.try_write(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
        assert!(take(&pool));
        assert!(!take(&pool));
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn pool_closes_unused_connections_by_time_alone() {
        let pool = pool(8);
        let start = Instant::now();
        let (io, mut far) = pair();
        pool.put(io);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(start.elapsed(), pool.idle_timeout);
        tokio::task::yield_now().await;
        assert!(!pool.reaping.get());
        let (io, mut far) = pair();
        pool.put(io);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(start.elapsed(), 2 * pool.idle_timeout);
    }

    #[tokio::test(flavor = "local")]
    async fn pool_closes_its_connections_when_dropped() {
        let pool = pool(8);
        let (io, mut far) = pair();
        pool.put(io);
        drop(pool);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    }
}
