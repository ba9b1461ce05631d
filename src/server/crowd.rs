//! How many connections each client has, so that one address cannot have all of them.
//!
//! Counted where connections are accepted, given back on whichever worker they end. A client is an IPv4 address, or the
//! /64 of an IPv6 address: a household or a server has that many addresses to itself (RFC 7421 1), so a bound on single
//! ones would bound nothing. Trusted proxies and Unix sockets are many clients in one and have no bound.
//!
//! A connection too many is closed as it is, before TLS and without a byte: whatever else it were answered would cost
//! more than it cost to make. It is not a request and has no access line; the log tells of it at most once a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The clients that have connections.
#[derive(Debug)]
pub(super) struct Crowd {
    counts: Counts,
    max: usize,
}

/// One connection of a client, and where it is counted, if it is; given back when dropped.
#[derive(Debug)]
pub(super) struct Entry(Option<(IpAddr, Counts)>);

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Lets a message through once in a while, and says how many there were since.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    since: u64,
}

impl Crowd {
    /// Nobody yet; `max` connections for each client.
    pub(super) fn new(max: usize) -> Self {
        Crowd { counts: Arc::default(), max }
    }

    /// Counts one more connection from `address`; `None` if there are as many as there may be.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Entry> {
        let client = client_of(address);
        let mut counts = lock(&self.counts);
        let count = counts.entry(client).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Entry(Some((client, Arc::clone(&self.counts)))))
    }
}

impl Entry {
    /// A connection of a client that may have as many as it wants.
    pub(super) fn unbounded() -> Self {
        Entry(None)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some((client, counts)) = &self.0 else { return };
        let mut counts = lock(counts);
        if let Some(count) = counts.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(client);
            }
        }
    }
}

impl Seldom {
    /// Counts one more, and says how many there were since the last that was let through, this one included, if it is
    /// to be let through.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.since))
    }
}

fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

/// A count is right at all times, also where a thread panicked that held the lock.
fn lock(counts: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first 64 bits.
const NETWORK: u128 = !0 << 64;

/// Between two messages.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(crowd: &Crowd, address: &str) -> Option<Entry> {
        crowd.enter(address.parse().expect("an address"))
    }

    #[test]
    fn client_has_as_many_as_it_may_and_others_have_theirs() {
        let crowd = Crowd::new(2);
        let first = enter(&crowd, "192.0.2.1");
        let second = enter(&crowd, "::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(enter(&crowd, "192.0.2.1").is_none());
        assert!(enter(&crowd, "192.0.2.2").is_some());
        drop(first);
        assert!(enter(&crowd, "192.0.2.1").is_some());
    }

    #[test]
    fn ipv6_client_is_its_network() {
        let crowd = Crowd::new(1);
        let _entry = enter(&crowd, "2001:db8:1:2::1");
        assert!(enter(&crowd, "2001:db8:1:2:ffff::9").is_none());
        assert!(enter(&crowd, "2001:db8:1:3::1").is_some());
    }

    #[test]
    fn client_that_left_is_forgotten() {
        let crowd = Crowd::new(1);
        for number in 0..1000_u32 {
            drop(crowd.enter(IpAddr::from(number.to_be_bytes())));
        }
        assert!(lock(&crowd.counts).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn message_is_let_through_once_in_a_while_with_the_count() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.count(), Some(1));
        assert_eq!(seldom.count(), None);
        assert_eq!(seldom.count(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(seldom.count(), Some(3));
        assert_eq!(seldom.count(), None);
    }
}
