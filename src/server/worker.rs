//! What the connections of one worker share.

use std::cell::Cell;
use std::sync::Arc;

use crate::config::Config;
use crate::stream::Budget;
use crate::upstream::Upstreams;

use super::registry::Registry;

/// Shared by all connections of a worker, behind an `Rc`; never crosses a thread.
#[derive(Debug)]
pub struct Worker {
    /// The configuration.
    pub config: Arc<Config>,
    /// Pools and connections towards the upstreams.
    pub upstreams: Upstreams,
    /// Live client connections.
    pub connections: Registry,
    /// Live response streams.
    pub streams: Registry,
    /// How far a drain has come.
    pub phase: Cell<Phase>,
    /// Bytes of unfinished events in the whole process.
    pub budget: Arc<Budget>,
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
