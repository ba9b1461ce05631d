//! Who is alive on a worker, and how to wake all of them: used to drain.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

/// The live connections, or the live streams, of one worker.
#[derive(Debug, Default, Clone)]
pub struct Registry(Rc<RefCell<Slab<Option<Waker>>>>);

/// One entry; leaves the registry when dropped.
#[derive(Debug)]
pub struct Member {
    registry: Registry,
    key: usize,
}

impl Registry {
    /// Adds an entry.
    pub fn join(&self) -> Member {
        let key = self.0.borrow_mut().insert(None);
        Member { registry: self.clone(), key }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Polls every member again.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self.0.borrow().iter().filter_map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Member {
    /// Remembers the task to wake; cheap if it is still the same.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut members = self.registry.0.borrow_mut();
        if let Some(slot) = members.get_mut(self.key) {
            match slot {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *slot = Some(cx.waker().clone()),
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.registry.0.borrow_mut().try_remove(self.key);
    }
}
