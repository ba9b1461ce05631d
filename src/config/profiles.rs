//! The profiles of a route, resolved: what a request may choose, and how its client is treated then.

use std::sync::Arc;

use super::{Route, StreamSettings};
use crate::profile::Signs;

/// The profiles that a request on a route may choose.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// Whether a request may name one itself (`Tidegate-Profile`). Default no.
    pub by_header: bool,
    /// Whether a request that names none is taken for what it shows to be. Default yes.
    pub detect: bool,
    /// By what it is taken for one of `choices` before what is built in; the same for all routes.
    pub signs: Arc<[Signs]>,
    /// At least one: where nothing chooses another, the first.
    pub choices: Vec<Profile>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name in the config and in the log.
    pub name: String,
    /// How responses to its clients are turned into streams.
    pub stream: StreamSettings,
}

/// How a client is told that there is no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// By a 4xx or 5xx.
    Status,
    /// By an error event in a stream of its own.
    InBand,
    /// By an error event where a native `EventSource` asks, else by a status.
    EventSource,
}

impl Route {
    /// How responses are turned into streams for clients of this profile, an index into [`Profiles::choices`].
    pub fn stream(&self, profile: usize) -> &StreamSettings {
        &self.profiles.choices[profile].stream
    }
}
