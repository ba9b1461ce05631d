//! From a source to a sink: moves bytes and keeps time, and knows no format, dialect or timeout.
//!
//! [`Relay`] reads the upstream's body, lets the [session](crate::stream) say what to write, and is woken at the session's
//! next deadline, up to 10 ms late. There are two sinks: [`Body`] for hyper, which makes HTTP/2 DATA frames and HTTP/1.1
//! chunks of it, and `Raw` for an HTTP/1.1 socket that hyper has let go of. After an upgrade there is no body and no
//! session: a `Tunnel` moves the bytes of both sides.

mod body;
mod flow;
mod raw;
mod ready;
mod source;
mod takeover;
mod tunnel;
mod unsent;

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tokio::task::coop;
use tokio::time::Instant;

use crate::log::{Access, Facts};
use crate::proxy::{self, Trailers};
use crate::server::registry::Member;
use crate::server::worker::Phase;
use crate::stream::{self, Cause, Commit, End, Failure, Label, Out, Outcome, Session};
use crate::upstream::Read;

use ready::{Framing, Ready};

pub(crate) use source::{Arrival, Coming, Source};

pub use body::{Aborted, Body};
pub(crate) use raw::{Over, Raw};
pub(crate) use takeover::{Offer, Settled};
pub(crate) use tunnel::{ClientEnd, Ended, Tunnel};
pub(crate) use unsent::Unsent;

/// One response on its way: the source, the session, what is ready for the sink, and the log line to be.
///
/// Dropping it aborts the upstream and writes the access line.
#[derive(Debug)]
pub struct Relay {
    /// Gone as soon as the session has its outcome.
    source: Option<Source>,
    session: Session,
    ready: Ready,
    trailers: Option<Box<HeaderMap>>,
    /// Which trailers the client gets.
    allowed: Trailers,
    end: Option<End>,
    /// The client was given a head, or will be given one whatever comes.
    has_head: bool,
    timer: Timer,
    member: Member,
    /// The connection's count of flushes when hyper was last given something.
    handed_at: Option<u32>,
    /// The sink could not get rid of everything that it was given.
    is_untaken: bool,
    access: Access,
}

/// Waits for the session's next deadline. Deadlines only move later, but when the head is committed, the upstream
/// answers, or the session says so, so it is left as it is until it has come, and set anew only then: a usual event costs
/// no timer work.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// Not needed yet: nothing has been waited for.
    Unset,
    /// The [member](Relay::member) waits for it, or it has come.
    Set,
    /// The session has no deadline.
    Off,
}

/// What a worker's streams read into and write from, one after the other; never held across a poll.
struct Scratch {
    input: Box<[u8]>,
    out: Out,
    /// `out` as it goes over a raw socket.
    wire: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch {
            input: vec![0; READ_BYTES].into_boxed_slice(),
            out: Out::default(),
            wire: Vec::new(),
        });
}

/// One read of an upstream socket.
const READ_BYTES: usize = 64 << 10;

impl Relay {
    /// Joins a source to its session, in the task that answers the request. Of its trailers the client gets what is
    /// `allowed`. `access` is finished when the relay is dropped.
    pub(crate) fn new(source: Source, session: Session, allowed: Trailers, access: Access) -> Box<Self> {
        Box::new(Relay {
            source: Some(source),
            session,
            ready: Ready::default(),
            trailers: None,
            allowed,
            end: None,
            has_head: false,
            timer: Timer::Unset,
            member: access.worker.streams.join(),
            handed_at: None,
            is_untaken: false,
            access,
        })
    }

    /// Waits until it is known what head the client is to be given. A body that is known to be empty is over then:
    /// hyper would not ask for it.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was read is in the session.
    pub async fn commit(&mut self) -> Commit {
        std::future::poll_fn(|cx| {
            loop {
                let is_end = self.source.as_ref().is_some_and(Source::is_end);
                let is_empty = is_end && !self.session.is_behind();
                if let Some(commit) = self.session.commit().filter(|_| !is_empty) {
                    self.has_head = true;
                    return Poll::Ready(commit);
                }
                match self.advance(cx) {
                    // From here on there may be heartbeats, which are earlier than what was slept for.
                    Poll::Ready(()) => self.timer = Timer::Unset,
                    // The timer was set by the same tick that let the head go.
                    Poll::Pending if self.session.commit().is_some() => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// The line that will be logged.
    pub fn access(&mut self) -> &mut Access {
        &mut self.access
    }

    /// The next part for the client, or how it ends. Trailers come before a clean end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if let Some(part) = self.ready.pop() {
                return Poll::Ready(Next::Part(part));
            }
            match self.end {
                Some(End::Clean) => {
                    return Poll::Ready(
                        self.trailers.take().map_or(Next::End, |trailers| Next::Trailers(*trailers)),
                    );
                }
                Some(End::Abort) => return Poll::Ready(Next::Abort),
                None => {}
            }
            ready!(self.advance(cx));
        }
    }

    /// Everything was said and taken.
    fn is_over(&self) -> bool {
        self.end == Some(End::Clean) && self.ready.is_empty() && self.trailers.is_none()
    }

    /// Whether all that was handed to hyper has left for the kernel. hyper polls an HTTP/1.1 body again after each
    /// complete flush; nobody can tell for an HTTP/2 stream.
    fn is_flushed(&self) -> bool {
        self.access.watch().is_some() || self.handed_at != Some(self.access.client.flushes.get())
    }

    /// What hyper makes of what it is given.
    fn framing(&self) -> Framing {
        if self.access.watch().is_some() { Framing::Data } else { Framing::Chunks }
    }

    /// hyper was given something now.
    fn handed_over(&mut self) {
        self.handed_at = Some(self.access.client.flushes.get());
        // hyper does not poll the body of an HTTP/2 stream that has no window.
        if let Some(watch) = self.access.watch() {
            watch.handed_over.set(Some(Instant::now()));
        }
    }

    /// hyper asks for more.
    fn asked_for_more(&self) {
        if let Some(watch) = self.access.watch() {
            watch.handed_over.set(None);
        }
    }

    /// One step, whose output waits until it is asked for. Ready when it may have changed something.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            ready!(self.step(cx, scratch));
            if !scratch.out.bytes.is_empty() {
                self.ready.put(&scratch.out.bytes, &scratch.out.ends, self.framing());
            }
            Poll::Ready(())
        })
    }

    /// One step: a read, an end, a deadline or a drain. Ready when it may have changed something; what is to be written
    /// is in `scratch.out` then.
    fn step(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let Scratch { input, out, .. } = scratch;
        out.clear();
        self.member.watch(cx);
        if self.access.worker.phase.get() == Phase::Ending {
            self.session.drain(Instant::now().into_std(), out);
        } else if self.session.is_behind() {
            // What blows up inside one read must not keep the worker from its other streams.
            ready!(coop::poll_proceed(cx)).made_progress();
            self.session.go_on(Instant::now().into_std(), out);
        } else if self.read(cx, input, out).is_pending() {
            ready!(self.poll_timer(out));
        }
        if self.session.wants_tick() {
            // Something is due before what was waited for.
            self.timer = Timer::Unset;
        }
        self.note_end(out.end);
        Poll::Ready(())
    }

    /// Reads once from the source. If the body's end came in the same read, it is taken with it, so that the
    /// last event and the end of the body leave in one write.
    fn read(&mut self, cx: &mut Context<'_>, input: &mut [u8], out: &mut Out) -> Poll<()> {
        let source = match &mut self.source {
            None => return Poll::Ready(()),
            Some(Source::Coming(coming)) => {
                let arrival = coming.poll(cx);
                self.session.reached(coming.phase());
                self.arrived(ready!(arrival), out);
                return Poll::Ready(());
            }
            Some(Source::Body(body)) => body,
        };
        let bite = input.len().min(self.session.bite());
        let input = &mut input[..bite];
        loop {
            let read = ready!(source.poll_read(cx, input));
            let now = Instant::now().into_std();
            match read {
                Ok(Read::Data(length)) => self.session.input(&input[..length], now, out),
                Ok(Read::Trailers(trailers)) => self.trailers = Some(Box::new(trailers)),
                Ok(Read::End) if self.has_head => self.session.upstream_ended(now, out),
                Ok(Read::End) => self.session.upstream_empty(now, out),
                Err(error) => self.session.upstream_failed(proxy::failure(&error), now, out),
            }
            if out.end.is_some() || self.session.is_behind() || !source.is_end() {
                return Poll::Ready(());
            }
        }
    }

    /// The upstream has answered, or will not, a request whose client was given a head before.
    fn arrived(&mut self, arrival: Result<Arrival, Failure>, out: &mut Out) {
        let now = Instant::now().into_std();
        match arrival {
            Ok(Arrival { plan, status, body }) => {
                self.access.ttfb = Some(self.access.elapsed());
                self.source = Some(Source::Body(body));
                self.session.answered(plan, status, now, out);
            }
            Err(failure) => self.session.upstream_failed(failure, now, out),
        }
        self.timer = Timer::Unset;
    }

    fn poll_timer(&mut self, out: &mut Out) -> Poll<()> {
        match self.timer {
            Timer::Set if self.member.is_waiting() => return Poll::Pending,
            Timer::Off => return Poll::Pending,
            Timer::Unset | Timer::Set => {}
        }
        let deadline = self.session.tick(Instant::now().into_std(), out);
        self.member.wake_at(deadline.map(Instant::from_std));
        self.timer = if deadline.is_some() { Timer::Set } else { Timer::Off };
        if out.bytes.is_empty() && out.end.is_none() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Writes the access line, if that was not done before; `told` is what the client was told in place of the response.
    pub(crate) fn finish(&mut self, told: Facts<'_>) {
        let left = self.access.left();
        self.session.client_gone(left, Instant::now().into_std());
        let Some(outcome) = self.session.outcome() else { return };
        let untaken = outcome.cause == Cause::Done && (self.is_untaken || !self.ready.is_empty());
        let outcome = if untaken { Outcome::new(left, stream::Phase::Body) } else { outcome };
        let (session, stats, failure) = (&self.session, self.session.stats(), self.session.failure());
        let since = |at: std::time::Instant| self.access.since_start(at.into());
        let facts = Facts {
            told: told.told.or(failure.and_then(Failure::told_status)),
            format: session.format().map(|format| format.name),
            label: stats.lying_label.map(Label::name),
            bridge: session.bridge().map(|bridge| bridge.name),
            dialect: session.dialect().map(|dialect| dialect.name),
            first_event: stats.first_event.filter(|_| stats.events > 0).map(since),
            first_content: stats.first_content.map(since),
            events: stats.events,
            bytes: told.bytes + stats.bytes,
            bytes_up: None,
            longest_gap: Some(stats.longest_gap),
            repaired: stats.repaired,
            rewrites: stats.rewrites,
            error: failure.map(Failure::for_the_log),
        };
        self.access.finish(outcome, &facts);
    }

    /// After its end nothing is read.
    fn note_end(&mut self, end: Option<End>) {
        if end.is_some() {
            self.end = end;
            self.source = None;
            let trailers = self.trailers.take();
            let passing = trailers.filter(|_| self.session.commit() == Some(Commit::PassThrough));
            self.trailers = passing.and_then(|trailers| self.allowed.to_client(*trailers)).map(Box::new);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish(Facts::default());
    }
}

/// What a sink is to do next.
#[derive(Debug)]
enum Next {
    /// Write this: one chunk, or one DATA frame.
    Part(Bytes),
    /// Write the trailer section.
    Trailers(HeaderMap),
    /// End the body properly.
    End,
    /// Cut it.
    Abort,
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::testing::relay;
    use super::*;
    use crate::config::LogFormat;
    use crate::format::SSE;
    use crate::log::testing::Lines;
    use crate::stream::{Mode, Wanted};

    /// While the first bytes were awaited the timer stood at `event_gap`, and was left there for the whole of the
    /// first silence: a stream under a wrong label had no heartbeat in it.
    #[tokio::test(flavor = "local")]
    async fn heartbeat_comes_after_the_head_was_held_back() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (mut relay, mut peer) = relay(Mode::Sniff(Label::Other, Wanted::Events)).await;
        poll_fn(|cx| {
            assert!(relay.advance(cx).is_pending(), "no body byte is there");
            Poll::Ready(())
        })
        .await;
        peer.write_all(b"7\r\ndata: x\r\n").await.unwrap();
        assert_eq!(relay.commit().await, Commit::Reframe(&SSE));
        tokio::time::pause();
        let next = poll_fn(|cx| relay.poll_next(cx)).await;
        assert!(matches!(&next, Next::Part(part) if part == ":\n"), "{next:?}");
    }

    /// The upstream was done, so the line said that the request was, though the client had left before it took
    /// all of it.
    #[tokio::test(flavor = "local")]
    async fn client_that_leaves_before_it_took_all_is_the_outcome() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        for (taken, outcome) in [(1, "outcome=client:gone phase=body"), (2, "outcome=done phase=end")] {
            let (mut relay, mut peer) = relay(Mode::Reframe(&SSE)).await;
            peer.write_all(b"12\r\ndata: a\n\ndata: b\n\n\r\n0\r\n\r\n").await.unwrap();
            for _ in 0..taken {
                let next = poll_fn(|cx| relay.poll_next(cx)).await;
                assert!(matches!(next, Next::Part(_)), "{next:?}");
            }
            drop(relay);
            let line = lines.access().pop().unwrap();
            assert!(line.contains(outcome), "{line}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn trailers_pass_without_secrets_and_without_what_is_of_the_hop() {
        let (_lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let (mut relay, mut peer) = relay(Mode::PassThrough).await;
        let trailers =
            "x-sum: 1\r\nx-echo: sk-canary\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 3\r\n";
        peer.write_all(format!("1\r\na\r\n0\r\n{trailers}\r\n").as_bytes()).await.unwrap();
        assert!(matches!(poll_fn(|cx| relay.poll_next(cx)).await, Next::Part(_)));
        let Next::Trailers(trailers) = poll_fn(|cx| relay.poll_next(cx)).await else { panic!("no trailers") };
        assert_eq!(
            (trailers.len(), &trailers["x-sum"], &trailers["x-echo"]),
            (2, &"1".parse().unwrap(), &"*********".parse().unwrap())
        );
    }
}
