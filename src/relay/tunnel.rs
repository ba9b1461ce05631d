//! A tunnel: the bytes of both sides after an upgrade (RFC 9110 7.8), moved and not looked at.
//!
//! [`Tunnel::run`] reads each side only when the other has taken everything before, so a slow side slows the fast
//! one. An end is passed on as what it was: a half-close as a half-close, a reset as a reset. There is no session
//! and no framing here, and nothing is ever added, at a drain neither: tidegate closes a WebSocket without a Close
//! frame, since it cannot know whether it stands between two frames.
//!
//! Invariant: at most one read ([`super::READ_BYTES`]) waits for each side, and an idle tunnel holds no buffer.
//!
//! Made by [`crate::proxy`] when an upstream switched protocols, run by [`crate::server`] once hyper has let go of
//! the connection (HTTP/1.1) or has a stream for it (HTTP/2, RFC 8441).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::SCRATCH;
use super::flow::{Broke, Flow, State};
use crate::config::RouteTimeouts;
use crate::log::{Access, Facts};
use crate::server::registry::Member;
use crate::server::worker::{Phase, Worker};
use crate::stream::{self, Cause, Outcome, Who};
use crate::upstream::{Deadline, Io, Switched};

/// The client's side of a tunnel.
pub(crate) trait ClientEnd {
    /// What is read and written.
    type Io: AsyncRead + AsyncWrite + Unpin;

    /// What is read and written.
    fn io(&mut self) -> &mut Self::Io;

    /// Ready once the client broke its side off, though it is not being read; a half-close is no break. `told_end`:
    /// whether the client was told that nothing more comes.
    fn poll_broken(&mut self, told_end: bool, cx: &mut Context<'_>) -> Poll<()>;

    /// Has it end with a reset when it is dropped, if it can.
    fn reset_on_drop(&mut self);
}

/// An upstream that switched protocols, and the log line to be.
///
/// Dropping it closes the upstream and writes the access line.
#[derive(Debug)]
pub(crate) struct Tunnel {
    upstream: Io,
    up: Flow,
    down: Flow,
    /// Whether the upstream took no more before it had said its end.
    upstream_went: bool,
    clocks: Clocks,
    outcome: Option<Outcome>,
    member: Member,
    worker: Rc<Worker>,
    access: Access,
}

/// What is left to do for the client's side when a tunnel is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing.
    Closed,
    /// It was told the end, but it may still send: to be read for a moment, so that no reset destroys what it has
    /// not read yet (RFC 9112 9.6).
    ToLinger,
}

/// The timeouts of a tunnel.
#[derive(Debug)]
struct Clocks {
    idle: Option<Duration>,
    total: Option<Duration>,
    /// `client_write_stall`
    stall: Duration,
    started: Instant,
    /// When anything was last taken by either side.
    moved: Instant,
    /// Since when the client takes nothing of what waits for it.
    stalled: Option<Instant>,
    idle_timer: Deadline,
    total_timer: Deadline,
    stall_timer: Deadline,
}

impl Tunnel {
    /// A tunnel to an upstream that has just switched. `access` is finished when the tunnel is dropped.
    pub(crate) fn new(
        switched: Switched,
        timeouts: &RouteTimeouts,
        worker: Rc<Worker>,
        access: Access,
    ) -> Self {
        access.phase.set(stream::Phase::Body);
        let mut down = Flow::default();
        down.put(&switched.early);
        Tunnel {
            upstream: switched.io,
            up: Flow::default(),
            down,
            upstream_went: false,
            clocks: Clocks::start(timeouts, worker.config.timeouts.client_write_stall),
            outcome: None,
            member: worker.streams.join(),
            worker,
            access,
        }
    }

    /// Moves bytes until both sides ended, one broke, or it is time. `early` is what was read of the client already.
    ///
    /// # Cancel safety
    /// Dropping the future drops the tunnel.
    pub(crate) async fn run(mut self, client: &mut impl ClientEnd, early: &[u8]) -> Ended {
        self.up.put(early);
        let outcome = poll_fn(|cx| self.poll(client, cx)).await;
        self.outcome = Some(outcome);
        match outcome.cause.who() {
            Who::Nobody if self.up.state == State::Broken => return Ended::ToLinger,
            Who::Nobody => {}
            Who::Client | Who::Upstream => {
                self.upstream.reset_on_drop();
                client.reset_on_drop();
            }
            // A FIN (over TLS with its close_notify) to both, if it goes out at once.
            Who::Tidegate => {
                poll_fn(|cx| {
                    let _ = Pin::new(client.io()).poll_shutdown(cx);
                    let _ = Pin::new(&mut self.upstream).poll_shutdown(cx);
                    Poll::Ready(())
                })
                .await;
            }
        }
        Ended::Closed
    }

    fn poll(&mut self, client: &mut impl ClientEnd, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.member.watch(cx);
        if self.worker.phase.get() == Phase::Ending {
            return Poll::Ready(ended(Cause::TidegateDrain));
        }
        let (up, down) = (self.up.bytes(), self.down.bytes());
        if let Err(broken) = self.move_bytes(client.io(), cx) {
            return Poll::Ready(broken);
        }
        if self.down.state == State::Ended && matches!(self.up.state, State::Ended | State::Broken) {
            return Poll::Ready(Outcome::DONE);
        }
        // A side that is not read does not tell that it broke.
        let unread = self.up.blocked || self.up.state != State::Open;
        if unread && client.poll_broken(self.down.has_read_end(), cx).is_ready() {
            return Poll::Ready(CLIENT_GONE);
        }
        let taken = (up != self.up.bytes(), down != self.down.bytes());
        self.clocks.poll(taken, self.down.blocked, cx)
    }

    /// Both directions, as far as they go.
    fn move_bytes<C>(&mut self, client: &mut C, cx: &mut Context<'_>) -> Result<(), Outcome>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (up, down) = SCRATCH.with_borrow_mut(|scratch| {
            let up = self.up.advance(client, &mut self.upstream, &mut scratch.input, cx);
            (up, self.down.advance(&mut self.upstream, client, &mut scratch.input, cx))
        });
        if up == Err(Broke::From) || matches!(down, Err(Broke::To { .. })) {
            return Err(CLIENT_GONE);
        }
        if let Err(Broke::To { after_its_end }) = up {
            // What it said before is still to be read; if it had said all, there is nothing to complain about.
            self.up.give_up();
            self.upstream_went = !after_its_end;
        }
        if down == Err(Broke::From) || (self.upstream_went && self.down.has_read_end()) {
            return Err(UPSTREAM_RESET);
        }
        Ok(())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| Outcome::new(self.access.left(), stream::Phase::Body));
        let (bytes, bytes_up) = (self.down.bytes(), Some(self.up.bytes()));
        self.access.finish(outcome, &Facts { bytes, bytes_up, ..Facts::default() });
    }
}

impl Clocks {
    fn start(timeouts: &RouteTimeouts, stall: Duration) -> Self {
        let now = Instant::now();
        Clocks {
            idle: timeouts.tunnel_idle,
            total: timeouts.tunnel_total,
            stall,
            started: now,
            moved: now,
            stalled: None,
            idle_timer: Deadline::default(),
            total_timer: Deadline::default(),
            stall_timer: Deadline::default(),
        }
    }

    /// Ready when one of them ran out. `taken`: whether the upstream and the client took something just now;
    /// `blocked`: whether something waits for the client.
    fn poll(&mut self, taken: (bool, bool), blocked: bool, cx: &mut Context<'_>) -> Poll<Outcome> {
        let now = Instant::now();
        if taken.0 || taken.1 {
            self.moved = now;
        }
        if taken.1 || !blocked {
            self.stalled = None;
        }
        if blocked {
            let since = *self.stalled.get_or_insert(now);
            if self.stall_timer.poll(cx, since, self.stall).is_ready() {
                return Poll::Ready(ended(Cause::ClientStalled));
            }
        }
        if let Some(total) = self.total
            && self.total_timer.poll(cx, self.started, total).is_ready()
        {
            return Poll::Ready(ended(Cause::TidegateTimeoutTunnelTotal));
        }
        let Some(idle) = self.idle else { return Poll::Pending };
        self.idle_timer.poll(cx, self.moved, idle).map(|()| ended(Cause::TidegateTimeoutTunnelIdle))
    }
}

const fn ended(cause: Cause) -> Outcome {
    Outcome::new(cause, stream::Phase::Body)
}

const CLIENT_GONE: Outcome = ended(Cause::ClientGone);

const UPSTREAM_RESET: Outcome = ended(Cause::UpstreamReset);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clocks(idle: u32, total: Option<u32>) -> Clocks {
        let timeouts = RouteTimeouts {
            response_head: None,
            first_event: None,
            first_content: None,
            event_gap: None,
            request_body_idle: None,
            total: None,
            tunnel_idle: Some(idle * SECOND),
            tunnel_total: total.map(|total| total * SECOND),
        };
        Clocks::start(&timeouts, 60 * SECOND)
    }

    /// When what of `clocks` ran out; `step` says of each second what was taken, and whether anything waits.
    async fn ran_out(mut clocks: Clocks, step: impl Fn(u64) -> ((bool, bool), bool)) -> (u64, &'static str) {
        let start = Instant::now();
        let mut second = tokio::time::interval(SECOND);
        poll_fn(|cx| {
            while second.poll_tick(cx).is_ready() {}
            let (taken, blocked) = step(start.elapsed().as_secs());
            clocks.poll(taken, blocked, cx).map(|outcome| (start.elapsed().as_secs(), outcome.cause.what()))
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_byte_of_either_side() {
        let silent = ran_out(clocks(100, None), |_| ((false, false), false)).await;
        assert_eq!(silent, (100, "timeout_tunnel_idle"));
        let up = ran_out(clocks(100, None), |at| ((at < 70, false), false)).await;
        assert_eq!(up, (169, "timeout_tunnel_idle"));
        let down = ran_out(clocks(100, None), |at| ((false, at < 70), false)).await;
        assert_eq!(down, (169, "timeout_tunnel_idle"));
    }

    #[tokio::test(start_paused = true)]
    async fn total_counts_from_the_beginning() {
        let busy = ran_out(clocks(100, Some(250)), |_| ((true, true), false)).await;
        assert_eq!(busy, (250, "timeout_tunnel_total"));
    }

    #[tokio::test(start_paused = true)]
    async fn stall_counts_from_the_last_byte_that_a_blocked_client_took() {
        let stalled = ran_out(clocks(1000, None), |at| ((true, at < 70), true)).await;
        assert_eq!(stalled, (129, "stalled"), "what the upstream takes does not count");
        let unblocked = ran_out(clocks(1000, Some(500)), |at| ((true, false), at % 50 != 0)).await;
        assert_eq!(unblocked, (500, "timeout_tunnel_total"));
    }
}
