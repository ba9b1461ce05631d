//! When something is due on a stream: its timeouts, its heartbeat, an event that waits for nothing but its end.

use std::time::{Duration, Instant};

use super::{Cause, Mode, Plan};

/// What has not come yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    /// The first event.
    pub(super) event: bool,
    /// The first content.
    pub(super) content: bool,
}

/// The instants and bounds of one response.
#[derive(Debug)]
pub(super) struct Times {
    heartbeat: Option<Duration>,
    first_event: Option<Duration>,
    first_content: Option<Duration>,
    event_gap: Option<Duration>,
    total: Option<(Instant, Duration)>,
    started: Instant,
    last_input: Instant,
    /// A byte has come.
    flows: bool,
    /// What the last tick said is due next, if there was one.
    told: Option<Option<Instant>>,
    /// Something is due before that.
    hurried: bool,
    /// When the event is handed out that is ripe, if one is.
    pub(super) ripe_at: Option<Instant>,
}

impl Times {
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        // Before there is a response, its bounds do not count.
        let bound = |bound: Option<Duration>| bound.filter(|_| plan.mode != Mode::Await);
        Times {
            heartbeat: plan.heartbeat,
            first_event: bound(plan.first_event),
            first_content: bound(plan.first_content),
            event_gap: bound(plan.event_gap),
            total: plan.total,
            started: now,
            last_input: now,
            flows: false,
            told: None,
            hurried: false,
            ripe_at: None,
        }
    }

    /// The upstream has sent something.
    pub(super) fn input(&mut self, now: Instant) {
        self.last_input = now;
        if !self.flows {
            self.flows = true;
            let due = self.event_gap.map(|gap| now + gap);
            let is_later = |told: Option<Instant>| due.is_some_and(|due| told.is_none_or(|told| due < told));
            self.hurried = self.told.is_some_and(is_later);
        }
    }

    /// Whether something is due before what the last tick said.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried || self.ripe_at.is_some()
    }

    /// Whether there are heartbeats at all.
    pub(super) fn beats(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// Since when the upstream has been silent inside its body. Before the first event the body has not begun until its
    /// first byte: until then `first_event` alone is the bound, which would never be reached otherwise.
    fn silent_since(&self, awaited: Awaited) -> Option<Instant> {
        (self.flows || !awaited.event).then_some(self.last_input)
    }

    /// How long the upstream has been silent.
    pub(super) fn gap(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_input)
    }

    /// An event is handed out after this time, if nothing of it follows; `None`: there is no such event.
    pub(super) fn ripe(&mut self, after: Option<Duration>, now: Instant) {
        self.ripe_at = after.map(|after| self.ripe_at.unwrap_or(now + after));
    }

    /// Whether a heartbeat is due, if the last write was then.
    pub(super) fn wants_heartbeat(&self, now: Instant, last_write: Instant) -> bool {
        self.heartbeat.is_some_and(|silence| now >= last_write + silence)
    }

    /// The timeout that has run out, and its length.
    pub(super) fn expired(&self, now: Instant, awaited: Awaited) -> Option<(Cause, Duration)> {
        let since = |start: Instant, bound: Option<Duration>| bound.filter(|bound| now >= start + *bound);
        if let Some((deadline, after)) = self.total
            && now >= deadline
        {
            return Some((Cause::TidegateTimeoutTotal, after));
        }
        if let Some(silent) = self.silent_since(awaited)
            && let Some(after) = since(silent, self.event_gap)
        {
            return Some((Cause::UpstreamTimeoutEventGap, after));
        }
        if awaited.event
            && let Some(after) = since(self.started, self.first_event)
        {
            return Some((Cause::UpstreamTimeoutFirstEvent, after));
        }
        if awaited.content
            && let Some(after) = since(self.started, self.first_content)
        {
            return Some((Cause::UpstreamTimeoutFirstContent, after));
        }
        None
    }

    /// What is due next. `last_write` where heartbeats are written, `own` where the session itself
    /// has something to do then.
    pub(super) fn next(
        &mut self,
        awaited: Awaited,
        last_write: Option<Instant>,
        own: Option<Instant>,
    ) -> Option<Instant> {
        self.hurried = false;
        let next = [
            self.total.map(|(deadline, _)| deadline),
            self.event_gap.zip(self.silent_since(awaited)).map(|(gap, silent)| silent + gap),
            self.first_event.filter(|_| awaited.event).map(|bound| self.started + bound),
            self.first_content.filter(|_| awaited.content).map(|bound| self.started + bound),
            self.heartbeat.zip(last_write).map(|(silence, last_write)| last_write + silence),
            self.ripe_at,
            own,
        ]
        .into_iter()
        .flatten()
        .min();
        self.told = Some(next);
        next
    }
}
