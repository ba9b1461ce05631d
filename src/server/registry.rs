//! Who is alive on a worker, and how to wake all of them: used to drain.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// The live connections, or the live streams, of one worker.
#[derive(Debug, Default, Clone)]
pub struct Registry(Rc<Members>);

#[derive(Debug, Default)]
struct Members {
    wakers: RefCell<Slab<Option<Waker>>>,
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

impl Member {
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
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn emptied_waits_for_the_last_member() {
        let registry = Registry::default();
        let first = registry.join();
        let second = registry.join();
        assert_eq!(registry.len(), 2);
        let waiting = tokio::task::spawn_local({
            let registry = registry.clone();
            async move { registry.emptied().await }
        });
        drop(second);
        tokio::task::yield_now().await;
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

    #[tokio::test(flavor = "local")]
    async fn wake_all_polls_every_member_again() {
        let registry = Registry::default();
        let polls = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (member, polls) = (registry.join(), polls.clone());
            tokio::task::spawn_local(poll_fn(move |cx| {
                member.watch(cx);
                polls.set(polls.get() + 1);
                Poll::<()>::Pending
            }));
        }
        tokio::task::yield_now().await;
        assert_eq!(polls.get(), 3);
        registry.wake_all();
        tokio::task::yield_now().await;
        assert_eq!(polls.get(), 6);
    }
}
