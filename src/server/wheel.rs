//! Who of a worker's members is to be woken when: a wheel of coarse ticks.
//!
//! Many streams wait for something that is seconds away, and few get there: a deadline is moved, or its stream ends,
//! long before. So waiting and leaving cost a few writes whatever the number of streams, and 16 bytes of each. Time is
//! cut into ticks of [`GRAIN`], and a tick has a ring: those who wait for it, and for the same place in a later round of the
//! wheel. Pure: it is told the time and wakes nobody; that is for [`super::registry`], which has the wakers.
//!
//! Invariant: nobody is due before the deadline that was named, and everybody at the tick behind it, no later than
//! [`GRAIN`] after it. A deadline that is over counts as one of now.

use std::time::Duration;

use tokio::time::Instant;

/// From one tick to the next: how late a deadline may be noticed.
pub(super) const GRAIN: Duration = Duration::from_millis(10);

/// Members by the tick that they wait for.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Tick 0.
    started: Instant,
    /// The ends of the [`SLOTS`] rings, then a place for each key; empty until somebody waits.
    nodes: Vec<Node>,
    /// The last tick of which all who waited for it were told.
    turned: u64,
    waiting: usize,
}

/// A place in a ring; linked to itself while it is in none.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The tick.
    due: u64,
    previous: u32,
    next: u32,
}

impl Wheel {
    /// A wheel for which nobody waits.
    pub(super) fn new(now: Instant) -> Self {
        Wheel { started: now, nodes: Vec::new(), turned: 0, waiting: 0 }
    }

    /// Has `key` wait for `deadline`, and for nothing else any more. When that is due.
    pub(super) fn wait(&mut self, key: usize, deadline: Instant) -> Instant {
        self.leave(key);
        let node = SLOTS + key;
        while self.nodes.len() <= node {
            self.nodes.push(Node::alone(self.nodes.len()));
        }
        let due = self.ticks(deadline + ALMOST_GRAIN).max(self.turned + 1);
        let end = slot(due);
        let previous = self.nodes[end].previous;
        self.nodes[node] = Node { due, previous, next: short(end) };
        self.nodes[previous as usize].next = short(node);
        self.nodes[end].previous = short(node);
        self.waiting += 1;
        self.at(due)
    }

    /// `key` waits no more.
    pub(super) fn leave(&mut self, key: usize) {
        if self.waits(key) {
            self.unlink(SLOTS + key);
        }
    }

    /// Whether `key` waits for a deadline that has not come.
    pub(super) fn waits(&self, key: usize) -> bool {
        self.nodes.get(SLOTS + key).is_some_and(|node| node.next as usize != SLOTS + key)
    }

    /// Names those whose deadline has come; they wait no more. Looks at nobody but those whose ring has come round.
    pub(super) fn turn(&mut self, now: Instant, mut name: impl FnMut(usize)) {
        let now = self.ticks(now);
        let last = if self.waiting == 0 { self.turned } else { now.min(self.turned + SLOTS as u64) };
        for tick in self.turned + 1..=last {
            let end = slot(tick);
            let mut at = self.nodes[end].next as usize;
            while at != end {
                let node = self.nodes[at];
                if node.due <= now {
                    self.unlink(at);
                    name(at - SLOTS);
                }
                at = node.next as usize;
            }
        }
        self.turned = self.turned.max(now);
    }

    /// When to turn it next, if anybody waits: when somebody is due, or a round later.
    pub(super) fn next(&self) -> Option<Instant> {
        let round = self.turned + SLOTS as u64;
        let is_due = |tick: &u64| {
            let end = slot(*tick);
            let mut at = self.nodes[end].next as usize;
            while at != end && self.nodes[at].due != *tick {
                at = self.nodes[at].next as usize;
            }
            at != end
        };
        (self.waiting > 0).then(|| self.at((self.turned + 1..round).find(is_due).unwrap_or(round)))
    }

    fn unlink(&mut self, at: usize) {
        let Node { previous, next, .. } = self.nodes[at];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        self.nodes[at] = Node::alone(at);
        self.waiting -= 1;
    }

    /// The ticks that have begun by `at`.
    fn ticks(&self, at: Instant) -> u64 {
        let since = at.duration_since(self.started);
        since.as_secs() * PER_SECOND + u64::from(since.subsec_nanos() / GRAIN.subsec_nanos())
    }

    fn at(&self, tick: u64) -> Instant {
        let part = GRAIN * (tick % PER_SECOND) as u32;
        self.started + Duration::from_secs(tick / PER_SECOND) + part
    }
}

impl Node {
    fn alone(at: usize) -> Self {
        Node { due: 0, previous: short(at), next: short(at) }
    }
}

/// The end of the ring of a tick.
fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

/// A worker has no four billion members: each has a socket.
fn short(node: usize) -> u32 {
    node as u32
}

/// Ticks in a round, 20 s: more than a heartbeat's time, so that most come round once.
const SLOTS: usize = 2048;

const PER_SECOND: u64 = Duration::from_secs(1).as_nanos() as u64 / GRAIN.as_nanos() as u64;

const ALMOST_GRAIN: Duration = GRAIN.saturating_sub(Duration::from_nanos(1));

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A wheel, the time, and what was due when, in milliseconds from the beginning.
    struct Rig {
        wheel: Wheel,
        start: Instant,
        now: Instant,
        due: Vec<(usize, u128)>,
    }

    impl Rig {
        fn new() -> Self {
            let start = Instant::now();
            Rig { wheel: Wheel::new(start), start, now: start, due: Vec::new() }
        }

        fn wait(&mut self, key: usize, from_start: Duration) {
            self.wheel.wait(key, self.start + from_start);
        }

        fn turn(&mut self, from_start: Duration) {
            self.now = self.start + from_start;
            let at = from_start.as_millis();
            self.wheel.turn(self.now, |key| self.due.push((key, at)));
        }

        /// Turns it whenever it says so, until nobody waits.
        fn run(&mut self) -> usize {
            let mut turns = 0;
            while let Some(next) = self.wheel.next() {
                assert!(next > self.now, "time goes on");
                self.turn(next - self.start);
                turns += 1;
            }
            turns
        }
    }

    #[test]
    fn deadline_is_never_early_and_late_by_a_grain_at_the_most() {
        let deadlines = [1, 9, 10, 11, 999, 1000, 1001, 15_000, 20_470, 20_480, 20_481, 300_000, 90_000_000];
        for begun in [0, 7, 20_485, 100_000] {
            let mut rig = Rig::new();
            rig.turn(begun * MS);
            for (key, after) in deadlines.iter().enumerate() {
                rig.wait(key, (begun + after) * MS);
            }
            rig.run();
            assert_eq!(rig.due.len(), deadlines.len(), "each is due once: {:?}", rig.due);
            for (key, at) in rig.due {
                let wanted = u128::from(begun + deadlines[key]);
                assert!((wanted..=wanted + GRAIN.as_millis()).contains(&at), "{wanted} ms: {at}");
            }
        }
    }

    #[test]
    fn deadline_that_is_over_is_due_at_the_next_tick() {
        let mut rig = Rig::new();
        rig.turn(5005 * MS);
        rig.wait(0, 100 * MS);
        rig.wait(1, 5005 * MS);
        rig.turn(5009 * MS);
        assert_eq!(rig.due, [], "within the tick in which it was asked for");
        rig.turn(5010 * MS);
        assert_eq!(rig.due, [(0, 5010), (1, 5010)]);
    }

    #[test]
    fn late_turn_finds_all_who_were_due_meanwhile() {
        let mut rig = Rig::new();
        for key in 0..5000 {
            rig.wait(key, (10 * key as u32 + 1) * MS);
        }
        rig.turn(40_000 * MS);
        assert_eq!(rig.due.len(), 4000, "two rounds late");
        assert_eq!(rig.wheel.next(), Some(rig.start + 40_010 * MS));
        rig.run();
        let mut keys: Vec<usize> = rig.due.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..5000).collect::<Vec<_>>());
    }

    #[test]
    fn who_leaves_or_moves_is_not_due_before() {
        let mut rig = Rig::new();
        for key in 0..3 {
            rig.wait(key, 50 * MS);
        }
        rig.wheel.leave(1);
        rig.wheel.leave(1);
        rig.wait(2, 90 * MS);
        assert_eq!([0, 1, 2, 3].map(|key| rig.wheel.waits(key)), [true, false, true, false]);
        rig.run();
        assert_eq!(rig.due, [(0, 50), (2, 90)]);
        assert_eq!(rig.wheel.next(), None, "nobody waits");
    }

    #[test]
    fn deadlines_beyond_the_round_cost_a_turn_a_round() {
        let mut rig = Rig::new();
        for key in 0..10_000 {
            rig.wait(key, 300_000 * MS + key as u32 * MS);
        }
        let turns = rig.run();
        assert_eq!(rig.due.len(), 10_000);
        assert!(turns <= 1000 + 16, "10,000 streams over ten seconds: {turns} turns");
    }
}
