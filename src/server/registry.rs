//! Who is alive on a worker, and how to wake them: all of them to drain, and each at a time of its own.
//!
//! A stream is here once, with one waker for both. Its next deadline costs no timer of the runtime: one timer wakes those
//! whose time has come ([`Registry::keep_time`]), and there is none while nobody waits. When the last who waited has left,
//! it fires once more, for nobody.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use slab::Slab;
use tokio::time::{Instant, sleep_until};

use super::wheel::Wheel;

/// The live connections, or the live streams, of one worker.
#[derive(Debug, Default, Clone)]
pub struct Registry(Rc<Members>);

#[derive(Debug)]
struct Members {
    wakers: RefCell<Slab<Option<Waker>>>,
    /// Who waits for a deadline.
    wheel: RefCell<Wheel>,
    /// When the wheel is turned next.
    turns_at: Cell<Option<Instant>>,
    /// Who turns it.
    keeper: RefCell<Option<Waker>>,
    /// The members of all workers' registries of this kind.
    total: Arc<AtomicUsize>,
    /// Who waits for the last member to leave.
    empty: RefCell<Option<Waker>>,
}

/// One entry; leaves the registry when dropped.
#[derive(Debug)]
pub struct Member {
    registry: Registry,
    key: usize,
}

impl Registry {
    /// An empty one whose members are counted in `total` too.
    pub fn counted_in(total: Arc<AtomicUsize>) -> Self {
        Registry(Rc::new(Members { total, ..Members::default() }))
    }

    /// Adds an entry.
    pub fn join(&self) -> Member {
        let key = self.0.wakers.borrow_mut().insert(None);
        self.0.total.fetch_add(1, Ordering::Relaxed);
        Member { registry: self.clone(), key }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.wakers.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.wakers.borrow().is_empty()
    }

    /// Polls every member again.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.0.wakers.borrow().iter().filter_map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes members when [their time](Member::wake_at) comes, for ever. To be run once, as a task of its own.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; nobody is woken until there is another.
    pub async fn keep_time(self) -> Infallible {
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            self.0.keeper.replace(Some(cx.waker().clone()));
            loop {
                let Some(at) = self.0.turns_at.get() else { return Poll::Pending };
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                ready!(timer.as_mut().poll(cx));
                self.wake_due(Instant::now());
            }
        })
        .await
    }

    fn wake_due(&self, now: Instant) {
        let mut due = Vec::new();
        let mut wheel = self.0.wheel.borrow_mut();
        let wakers = self.0.wakers.borrow();
        wheel.turn(now, |key| due.extend(wakers.get(key).cloned().flatten()));
        self.0.turns_at.set(wheel.next());
        drop((wheel, wakers));
        due.into_iter().for_each(Waker::wake);
    }

    /// Waits until there is no member. One task at a time may wait.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn emptied(&self) {
        poll_fn(|cx| {
            if self.is_empty() {
                return Poll::Ready(());
            }
            *self.0.empty.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Default for Members {
    fn default() -> Self {
        Members {
            wakers: RefCell::default(),
            wheel: RefCell::new(Wheel::new(Instant::now())),
            turns_at: Cell::new(None),
            keeper: RefCell::default(),
            total: Arc::default(),
            empty: RefCell::default(),
        }
    }
}

impl Member {
    /// Has the task that [is remembered](Member::watch) woken once at `deadline`: never before, and no later than 10 ms
    /// (`wheel::GRAIN`) after it. What was asked for before is forgotten; `None`: it is not to be woken.
    pub fn wake_at(&self, deadline: Option<Instant>) {
        let registry = &self.registry.0;
        let mut wheel = registry.wheel.borrow_mut();
        let Some(deadline) = deadline else { return wheel.leave(self.key) };
        let due = wheel.wait(self.key, deadline);
        if registry.turns_at.get().is_none_or(|at| due < at) {
            registry.turns_at.set(Some(due));
            if let Some(keeper) = &*registry.keeper.borrow() {
                keeper.wake_by_ref();
            }
        }
    }

    /// Whether it is still to be woken at a deadline.
    pub fn is_waiting(&self) -> bool {
        self.registry.0.wheel.borrow().waits(self.key)
    }

    /// Remembers the task to wake; cheap if it is still the same.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut wakers = self.registry.0.wakers.borrow_mut();
        if let Some(slot) = wakers.get_mut(self.key) {
            match slot {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *slot = Some(cx.waker().clone()),
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.registry.0.wheel.borrow_mut().leave(self.key);
        self.registry.0.wakers.borrow_mut().try_remove(self.key);
        self.registry.0.total.fetch_sub(1, Ordering::Relaxed);
        if self.registry.is_empty()
            && let Some(waker) = self.registry.0.empty.take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::{spawn_local, yield_now};
    use tokio::time::sleep;

    use super::super::wheel::GRAIN;
    use super::*;

    #[tokio::test(flavor = "local")]
    async fn emptied_waits_for_the_last_member() {
        let registry = Registry::default();
        let first = registry.join();
        let second = registry.join();
        assert_eq!(registry.len(), 2);
        let waiting = spawn_local({
            let registry = registry.clone();
            async move { registry.emptied().await }
        });
        drop(second);
        yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.is_ok());
    }

    #[test]
    fn members_of_several_registries_are_counted_together() {
        let total = Arc::<AtomicUsize>::default();
        let registries = [(); 2].map(|()| Registry::counted_in(Arc::clone(&total)));
        let members: Vec<_> = registries.iter().map(Registry::join).collect();
        assert_eq!((registries[0].len(), total.load(Ordering::Relaxed)), (1, 2));
        drop(members);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    /// A registry that keeps time, and what its members do.
    struct Rig {
        registry: Registry,
        /// Who was polled when, in milliseconds from the beginning; the first time not counted.
        polls: Rc<RefCell<Vec<(usize, u128)>>>,
        start: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let registry = Registry::default();
            spawn_local(registry.clone().keep_time());
            Rig { registry, polls: Rc::default(), start: Instant::now() }
        }

        /// A member that waits for each of these, one after the other.
        fn member(&self, name: usize, deadlines: &[Duration]) -> tokio::task::JoinHandle<()> {
            let deadlines: Vec<Instant> = deadlines.iter().map(|after| self.start + *after).collect();
            let (member, polls, start) = (self.registry.join(), Rc::clone(&self.polls), self.start);
            spawn_local(async move {
                let mut deadlines = deadlines.into_iter();
                member.wake_at(deadlines.next());
                let mut begun = false;
                poll_fn(move |cx| {
                    member.watch(cx);
                    if begun {
                        assert!(!member.is_waiting());
                        polls.borrow_mut().push((name, start.elapsed().as_millis()));
                        member.wake_at(deadlines.next());
                    }
                    begun = true;
                    Poll::<()>::Pending
                })
                .await;
            })
        }
    }

    #[tokio::test(flavor = "local")]
    async fn wake_all_polls_every_member_again() {
        let rig = Rig::new();
        for name in 0..3 {
            rig.member(name, &[]);
        }
        yield_now().await;
        assert_eq!(*rig.polls.borrow(), []);
        rig.registry.wake_all();
        yield_now().await;
        assert_eq!(rig.polls.borrow().len(), 3);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn member_is_woken_once_for_each_deadline_and_in_time() {
        let rig = Rig::new();
        let far = Duration::from_secs(86_400);
        rig.member(0, &[15 * SECOND, 30 * SECOND + MS]);
        rig.member(1, &[3 * MS, far]);
        sleep(7 * SECOND).await;
        // Earlier than what the timer is set to.
        rig.member(2, &[7 * SECOND + 40 * MS]);
        sleep(2 * far).await;
        let wanted = [(1, 3 * MS), (2, 7040 * MS), (0, 15 * SECOND), (0, 30_001 * MS), (1, far)];
        let polls = rig.polls.borrow();
        assert_eq!(polls.len(), wanted.len(), "{polls:?}");
        for ((name, at), (who, deadline)) in polls.iter().zip(wanted) {
            let range = deadline.as_millis()..=(deadline + GRAIN).as_millis();
            assert!(*name == who && range.contains(at), "{who}, {deadline:?}: {polls:?}");
        }
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn members_that_left_are_not_woken_and_nothing_is_timed_for_nobody() {
        let rig = Rig::new();
        let members = [5, 5, 9].map(|after| rig.member(after, &[after as u32 * SECOND]));
        yield_now().await;
        assert!(rig.registry.0.turns_at.get().is_some());
        members[0].abort();
        members[2].abort();
        sleep(20 * SECOND).await;
        let polls = rig.polls.take();
        assert_eq!(polls.len(), 1, "{polls:?}");
        assert_eq!(rig.registry.0.turns_at.get(), None, "nobody waits");
        rig.member(1, &[21 * SECOND]);
        sleep(2 * SECOND).await;
        assert_eq!(rig.polls.borrow().len(), 1, "it is timed again");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn member_that_asks_in_its_own_wake_for_what_is_over_keeps_nobody_busy() {
        let rig = Rig::new();
        rig.member(0, &[SECOND; 100]);
        rig.member(1, &[SECOND + 100 * GRAIN]);
        sleep(10 * SECOND).await;
        let polls = rig.polls.borrow();
        let times: Vec<u128> = polls.iter().filter(|(name, _)| *name == 0).map(|(_, at)| *at).collect();
        assert_eq!((polls.len(), times.len()), (101, 100));
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= GRAIN.as_millis()), "{times:?}");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn thousands_wait_side_by_side() {
        let rig = Rig::new();
        for name in 0..10_000 {
            rig.member(name, &[15 * SECOND + name as u32 * MS, 100 * SECOND]);
        }
        sleep(200 * SECOND).await;
        assert_eq!(rig.polls.borrow().len(), 20_000);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn task_that_polled_last_is_woken() {
        let rig = Rig::new();
        let member = rig.registry.join();
        poll_fn(|cx| {
            member.watch(cx);
            Poll::Ready(())
        })
        .await;
        member.wake_at(Some(rig.start + SECOND));
        let moved = spawn_local(async move {
            poll_fn(|cx| {
                member.watch(cx);
                if member.is_waiting() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        });
        let bounded = tokio::time::timeout(2 * SECOND, moved).await;
        assert!(bounded.is_ok(), "it was woken");
    }

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
}
