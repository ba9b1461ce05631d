//! What ends a request that has no response yet: its own time, and a drain's. Called by [`super::forward`] and
//! [`super::early`].

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Terms;
use super::error::ProxyError;
use crate::log::Access;
use crate::server::worker::{Phase as Drain, Worker};
use crate::stream::{Cause, Failure};

/// When the whole request must be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    pub(super) fn of(terms: &Terms) -> Self {
        Deadline(terms.route().timeouts.total.map(|total| (terms.started + total, total)))
    }

    /// Waits for it, or for running requests to be ended.
    pub(super) async fn or_drain(self, worker: &Worker, access: &Access) -> ProxyError {
        let total = async {
            match self.0 {
                Some((at, total)) => {
                    sleep_until(at).await;
                    total
                }
                None => pending().await,
            }
        };
        let failure = tokio::select! {
            biased;
            () = ending(worker) => {
                let message = "the proxy is shutting down and could not wait for the response";
                Failure::new(Cause::TidegateDrain, message)
            }
            total = total => {
                Failure::new(Cause::TidegateTimeoutTotal, format!("timeout total ({total:?}) ran out"))
            }
        };
        ProxyError::new(access.phase.get(), failure)
    }
}

/// Ready when running requests must end: the `drain` timeout ran out.
async fn ending(worker: &Worker) {
    let member = worker.streams.join();
    poll_fn(|cx| {
        member.watch(cx);
        if worker.phase.get() == Drain::Ending { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
