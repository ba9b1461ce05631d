//! One bound for the unfinished events of the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all streams together may hold back, waiting for the rest of an event.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

/// What one stream holds of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Budget { limit, held: AtomicUsize::new(0) }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held: 0 }
    }
}

impl Share {
    /// Says how many bytes are held now. `false`: the budget does not allow that many.
    ///
    /// Below 64 KiB nothing is counted, so that the usual event cut in two costs no shared write.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        let counted = if bytes < FREE_BYTES { 0 } else { bytes };
        if counted == self.held {
            return true;
        }
        if counted < self.held {
            self.budget.held.fetch_sub(self.held - counted, Ordering::Relaxed);
            self.held = counted;
            return true;
        }
        let more = counted - self.held;
        let before = self.budget.held.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.held = counted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Bytes that every stream may hold without being counted.
const FREE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_refused_past_the_limit_and_given_back_on_drop() {
        let budget = Arc::new(Budget::new(3 * FREE_BYTES));
        let mut first = budget.share();
        let mut second = budget.share();
        assert!(first.hold(FREE_BYTES - 1));
        assert_eq!(budget.held(), 0);
        assert!(first.hold(2 * FREE_BYTES));
        assert!(!second.hold(2 * FREE_BYTES));
        assert_eq!(budget.held(), 2 * FREE_BYTES);
        drop(first);
        assert!(second.hold(2 * FREE_BYTES));
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
