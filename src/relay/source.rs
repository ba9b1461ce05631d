//! Where the bytes of a relay come from: the upstream's body, or an exchange that has no response yet.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::StatusCode;

use crate::stream::{Failure, Phase, Plan};
use crate::upstream;

/// The upstream's side of a relay. Dropping it aborts the exchange.
pub(crate) enum Source {
    /// A request that the upstream has not answered, though its client was given a head.
    Coming(Coming),
    /// Its body.
    Body(upstream::Body),
}

/// A response that is to come.
pub(crate) struct Coming {
    response: Pin<Box<dyn Future<Output = Result<Arrival, Failure>>>>,
    phase: Rc<Cell<Phase>>,
}

/// One that has come, and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// What is to happen to it.
    pub(crate) plan: Plan,
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: upstream::Body,
}

impl Source {
    /// Whether it is known already that nothing but the end will come.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Source::Body(body) if body.is_end())
    }
}

impl Coming {
    /// A `response` that is to come, and how far it is.
    pub(crate) fn new(
        response: impl Future<Output = Result<Arrival, Failure>> + 'static,
        phase: Rc<Cell<Phase>>,
    ) -> Self {
        Coming { response: Box::pin(response), phase }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arrival, Failure>> {
        self.response.as_mut().poll(cx)
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Coming(coming) => f.debug_tuple("Coming").field(&coming.phase.get()).finish(),
            Source::Body(body) => f.debug_tuple("Body").field(body).finish(),
        }
    }
}
