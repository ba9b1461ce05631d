//! One worker: a thread with a runtime of its own, and what its connections share.
//!
//! Both sides of every stream of a connection live on the worker that the connection was placed on, in one task.
//! Nothing here crosses a thread but connections on their way in and the phase of a drain.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::log::held;
use crate::metrics::Metrics;
use crate::stream::Budget;
use crate::upstream::Upstreams;

use super::acceptor::Accepted;
use super::connection::Handler;
use super::entrance::Detached;
use super::registry::Registry;

/// Shared by all connections of a worker, behind an `Rc`; never crosses a thread.
#[derive(Debug)]
pub struct Worker {
    /// The configuration.
    pub config: Arc<Config>,
    /// Pools and connections towards the upstreams.
    pub upstreams: Upstreams,
    /// Live client connections. They have no [deadlines](crate::server::registry::Member::wake_at): nobody keeps their time.
    pub connections: Registry,
    /// Requests that wait for their response, and live response streams.
    pub streams: Registry,
    /// How far a drain has come.
    pub phase: Cell<Phase>,
    /// Bytes of unfinished events in the whole process.
    pub budget: Arc<Budget>,
    /// The counts of the whole process.
    pub metrics: Arc<Metrics>,
}

/// How far a drain has come. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// No new requests; running streams go on.
    Draining,
    /// The `drain` timeout ran out (or a second signal came): streams end now, with an error.
    Ending,
}

impl Worker {
    /// A worker on the runtime of this thread, which wakes its streams in time as long as that runs. It serves nobody yet.
    pub(super) fn start(config: Arc<Config>, budget: Arc<Budget>, metrics: Arc<Metrics>) -> Rc<Self> {
        let worker = Rc::new(Worker::new(config, budget, metrics));
        tokio::task::spawn_local(worker.streams.clone().keep_time());
        worker
    }

    /// What a worker has, for nobody yet.
    pub fn new(config: Arc<Config>, budget: Arc<Budget>, metrics: Arc<Metrics>) -> Self {
        Worker {
            upstreams: Upstreams::new(Arc::clone(&config)),
            connections: Registry::default(),
            streams: Registry::counted_in(Arc::clone(&metrics.streams)),
            phase: Cell::new(Phase::Serving),
            config,
            budget,
            metrics,
        }
    }

    /// Goes on to `phase` and tells everybody.
    pub(super) fn enter(&self, phase: Phase) {
        if phase > self.phase.get() {
            self.phase.set(phase);
            self.streams.wake_all();
            self.connections.wake_all();
        }
    }
}

/// A runtime for one worker; to be made on its thread. Never a `LocalSet`: that costs an `epoll_wait` per wake.
///
/// # Errors
/// The kernel has no epoll instance or event fd left for it.
pub(super) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(held::write)
        .build_local(LocalOptions::default())
}

/// Runs `main` on a worker's thread. What `main` leaves behind is dropped, and a blocking call (a name lookup that
/// hangs) is not waited for.
pub(super) fn run<F: Future>(runtime: LocalRuntime, main: F) -> F::Output {
    let _held = held::hold();
    let output = runtime.block_on(main);
    runtime.shutdown_background();
    output
}

/// Serves the connections that come in until a drain is complete.
pub(super) async fn serve<H: Handler>(
    worker: Rc<Worker>,
    handler: H,
    mut incoming: mpsc::Receiver<Accepted<Detached>>,
    mut phase: watch::Receiver<Phase>,
) {
    // The drain may have begun before.
    worker.enter(*phase.borrow_and_update());
    let mut open = true;
    let mut watching = true;
    loop {
        let drained = !open && worker.phase.get() > Phase::Serving;
        tokio::select! {
            accepted = incoming.recv(), if open => match accepted {
                Some(accepted) => accepted.serve(&worker, handler.clone()),
                None => open = false,
            },
            changed = phase.changed(), if watching => match changed {
                Ok(()) => worker.enter(*phase.borrow_and_update()),
                Err(_) => watching = false,
            },
            () = worker.connections.emptied(), if drained => return,
        }
    }
}
