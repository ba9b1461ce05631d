//! Accepts connections and places each on a worker.
//!
//! Runs as one task on worker 0, and awaits nothing but the listeners and a free place: handshakes and requests
//! are the business of the worker that a connection was placed on. A connection stays where it was placed.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::client::Client;
use super::connection::{Connection, Handler};
use super::crowd::{Crowd, Entry, Seldom};
use super::entrance::{Arrival, Detached, Entrance, Stream};
use super::listener::Listener;
use super::worker::Worker;

/// Accepts on all listeners.
pub(super) struct Acceptor<H> {
    entrances: Vec<Entrance>,
    /// The entrance to ask first, so that a busy one does not starve the others.
    next: usize,
    places: Vec<Place>,
    /// Worker 0, which is on this thread.
    worker: Rc<Worker>,
    handler: H,
    free: Arc<Semaphore>,
    max_connections: usize,
    /// Whether it was logged that there is no free place.
    full: bool,
    crowd: Crowd,
    refused: Seldom,
}

/// A worker as the acceptor sees it.
#[derive(Debug)]
pub(super) struct Place {
    /// Connections that are on it or on their way to it.
    live: Arc<AtomicUsize>,
    /// The way to it; `None` for worker 0.
    sender: Option<mpsc::Sender<Accepted<Detached>>>,
}

/// A connection that was accepted; `S` is [`Stream`], or [`Detached`] on its way to another worker.
#[derive(Debug)]
pub(super) struct Accepted<S> {
    stream: S,
    peer: Option<SocketAddr>,
    tls: Option<Arc<rustls::ServerConfig>>,
    seat: Seat,
}

/// What a live connection takes up, in the process and on its worker; given back when dropped.
#[derive(Debug)]
struct Seat {
    live: Option<Arc<AtomicUsize>>,
    _permit: OwnedSemaphorePermit,
    _entry: Entry,
}

impl<H: Handler> Acceptor<H> {
    /// Accepts on `listeners` for worker 0 (`worker`, the first of `places`) and the others.
    ///
    /// # Errors
    /// A listener cannot be registered with the runtime.
    pub(super) fn new(
        listeners: Vec<Listener>,
        places: Vec<Place>,
        worker: Rc<Worker>,
        handler: H,
    ) -> io::Result<Self> {
        let limits = &worker.config.limits;
        let max_connections = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let crowd = Crowd::new(limits.max_connections_per_client);
        let entrances = listeners.into_iter().map(Entrance::open).collect::<io::Result<_>>()?;
        Ok(Acceptor {
            entrances,
            next: 0,
            places,
            worker,
            handler,
            free: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            full: false,
            crowd,
            refused: Seldom::default(),
        })
    }

    /// Accepts for ever.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection that was accepted.
    pub(super) async fn run(&mut self) -> std::convert::Infallible {
        let mut failing = false;
        loop {
            let permit = self.free_place().await;
            let (index, accepted) = poll_fn(|cx| self.poll_accept(cx)).await;
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    let Some(entry) = self.admit(peer) else {
                        stream.reset();
                        continue;
                    };
                    let tls = self.entrances[index].tls.clone();
                    self.place(Accepted { stream, peer, tls, seat: Seat::new(permit, entry) });
                }
                // The connection was gone before it was accepted; the next one may be fine.
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let address = self.entrances[index].address.as_str();
                        tracing::warn!(address, %error, "cannot accept connections, trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until there are fewer than `max_connections`.
    async fn free_place(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                // Not at the first free place, or a full process would log at every change.
                self.full &= self.free.available_permits() < self.max_connections / 8;
                return permit;
            }
            if !std::mem::replace(&mut self.full, true) {
                let max_connections = self.max_connections;
                tracing::warn!(max_connections, "no more connections are accepted until one ends");
            }
            // The semaphore is never closed; if it were, trying again would be right.
            if let Ok(permit) = Arc::clone(&self.free).acquire_owned().await {
                return permit;
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(usize, io::Result<Arrival>)> {
        for _ in 0..self.entrances.len() {
            let index = self.next;
            self.next = (index + 1) % self.entrances.len();
            if let Poll::Ready(accepted) = self.entrances[index].poll_accept(cx) {
                return Poll::Ready((index, accepted));
            }
        }
        Poll::Pending
    }

    /// What a connection from `peer` holds as long as it lives; `None` if there are too many from there.
    fn admit(&mut self, peer: Option<SocketAddr>) -> Option<Entry> {
        let Some(peer) = peer.filter(|peer| !self.worker.config.trusts(peer.ip())) else {
            return Some(Entry::unbounded());
        };
        let entry = self.crowd.enter(peer.ip());
        if entry.is_none()
            && let Some(refused) = self.refused.count()
        {
            let client = peer.ip();
            tracing::warn!(%client, refused, "closed connections beyond limits.max_connections_per_client");
        }
        entry
    }

    /// Hands a connection to the worker with the fewest.
    fn place(&self, mut accepted: Accepted<Stream>) {
        let index = least(self.places.iter().map(|place| place.live.load(Ordering::Relaxed)));
        let place = &self.places[index];
        accepted.seat.sit(place);
        let Some(sender) = &place.sender else { return accepted.serve(&self.worker, self.handler.clone()) };
        let refused = match accepted.detach() {
            Ok(detached) => sender.try_send(detached),
            Err(error) => return tracing::warn!(%error, "cannot hand a connection to a worker"),
        };
        // A worker whose queue is full is stuck; worker 0 is not, as this is its thread.
        if let Err(TrySendError::Full(mut detached) | TrySendError::Closed(mut detached)) = refused {
            tracing::warn!(worker = index, "a worker takes no connections");
            detached.seat.sit(&self.places[0]);
            detached.serve(&self.worker, self.handler.clone());
        }
    }
}

impl Place {
    /// Worker 0.
    pub(super) fn here() -> Self {
        Place { live: Arc::default(), sender: None }
    }

    /// Another worker, and where it receives its connections.
    pub(super) fn elsewhere() -> (Self, mpsc::Receiver<Accepted<Detached>>) {
        let (sender, receiver) = mpsc::channel(HAND_OFF_QUEUE);
        (Place { live: Arc::default(), sender: Some(sender) }, receiver)
    }
}

impl Accepted<Stream> {
    /// Serves the connection on this thread, which is `worker`'s.
    fn serve<H: Handler>(self, worker: &Rc<Worker>, handler: H) {
        let Accepted { stream, peer, tls, seat } = self;
        let connection = Connection {
            client: Rc::new(Client::new(peer, stream.local(), tls.is_some())),
            // Joined now, not when the task first runs: a drain must not overlook it.
            member: worker.connections.join(),
            worker: Rc::clone(worker),
            handler,
        };
        tokio::task::spawn_local(async move {
            let opened = match stream {
                Stream::Tcp(stream) => Box::pin(connection.open(stream, tls)).await,
                Stream::Unix(stream) => Box::pin(connection.open(stream, tls)).await,
            };
            if let Some((wire, opening)) = opened {
                connection.run(&wire, opening).await;
            }
            // Others may sit once nothing is left of it.
            drop(connection);
            drop(seat);
        });
    }

    fn detach(self) -> io::Result<Accepted<Detached>> {
        let Accepted { stream, peer, tls, seat } = self;
        Ok(Accepted { stream: stream.detach()?, peer, tls, seat })
    }
}

impl Accepted<Detached> {
    /// Serves the connection on this thread, which is `worker`'s.
    pub(super) fn serve<H: Handler>(self, worker: &Rc<Worker>, handler: H) {
        let Accepted { stream, peer, tls, seat } = self;
        match stream.attach() {
            Ok(stream) => Accepted { stream, peer, tls, seat }.serve(worker, handler),
            Err(error) => tracing::warn!(%error, "cannot take a connection over"),
        }
    }
}

impl Seat {
    fn new(permit: OwnedSemaphorePermit, entry: Entry) -> Self {
        Seat { live: None, _permit: permit, _entry: entry }
    }

    /// Counts the connection on the worker at `place`, and no longer where it was before.
    fn sit(&mut self, place: &Place) {
        self.rise();
        place.live.fetch_add(1, Ordering::Relaxed);
        self.live = Some(Arc::clone(&place.live));
    }

    fn rise(&mut self) {
        if let Some(live) = self.live.take() {
            live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rise();
    }
}

/// The worker with the fewest connections, the first of them if there are several. Never asked about no worker.
fn least(live: impl Iterator<Item = usize>) -> usize {
    live.enumerate().min_by_key(|(_, live)| *live).map_or(0, |(index, _)| index)
}

/// Whether an error of `accept` is one that Linux passes on from a connection that is already broken
/// (accept(2), "Error handling"), rather than a lack of something.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    )
}

/// How long nothing is accepted after an error that the next try would meet too (no file descriptor left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections on their way to one worker.
const HAND_OFF_QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_takes_the_lowest_index_among_equals() {
        assert_eq!(least([0, 0, 0].into_iter()), 0);
        assert_eq!(least([1, 0, 0].into_iter()), 1);
        assert_eq!(least([2, 1, 0].into_iter()), 2);
        assert_eq!(least([1, 1, 1].into_iter()), 0);
    }

    #[test]
    fn seat_is_given_back_where_it_moved_to() {
        let free = Arc::new(Semaphore::new(1));
        let (first, second) = (Place::here(), Place::here());
        let permit = Arc::clone(&free).try_acquire_owned().expect("a permit");
        let mut seat = Seat::new(permit, Entry::unbounded());
        seat.sit(&first);
        assert_eq!((first.live.load(Ordering::Relaxed), free.available_permits()), (1, 0));
        seat.sit(&second);
        assert_eq!(first.live.load(Ordering::Relaxed), 0);
        assert_eq!(second.live.load(Ordering::Relaxed), 1);
        drop(seat);
        assert_eq!((second.live.load(Ordering::Relaxed), free.available_permits()), (0, 1));
    }

    #[test]
    fn accept_error_pauses_only_when_something_is_missing() {
        assert!(!is_about_one_connection(&io::Error::from_raw_os_error(24)), "EMFILE");
        assert!(is_about_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
    }
}
