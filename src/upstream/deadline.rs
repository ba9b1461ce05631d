//! A deadline that moves without touching the timer.
//!
//! The timer is armed once and looked at when it fires: if what it waits for has progressed meanwhile, it is
//! armed again for the rest. So progress costs nothing, however often it comes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is not armed yet, or armed for the deadline of some earlier call.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Ready once `after` has gone by since `since`; otherwise the task is woken no later than then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, since: Instant, after: Duration) -> Poll<()> {
        let Some(at) = since.checked_add(after) else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn deadline_fires_after_the_last_progress_not_after_the_first() {
        let start = Instant::now();
        let mut since = start;
        let mut deadline = Deadline::default();
        let progress = tokio::time::sleep(7 * SECOND);
        tokio::pin!(progress);
        let mut progressed = false;
        poll_fn(|cx| {
            if !progressed && progress.as_mut().poll(cx).is_ready() {
                progressed = true;
                since = Instant::now();
            }
            deadline.poll(cx, since, 10 * SECOND)
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 17);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_moves_earlier_when_armed_too_late() {
        let start = Instant::now();
        let mut deadline = Deadline::default();
        poll_fn(|cx| {
            assert!(deadline.poll(cx, start, 60 * SECOND).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| deadline.poll(cx, start, SECOND)).await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_never_fires_when_it_lies_beyond_the_clock() {
        let mut deadline = Deadline::default();
        poll_fn(|cx| {
            assert!(deadline.poll(cx, Instant::now(), Duration::MAX).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
