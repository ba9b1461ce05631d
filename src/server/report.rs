//! What the service manager is told about the server, and when: ready, draining, ending, and how many streams run.
//!
//! The wire is [`crate::systemd`]. Told at every change of the drain's phase, and every few seconds if something is
//! new; what the manager was too busy to take is told at the next round. Runs on worker 0 and never waits for the
//! manager.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::worker::Phase;
use crate::config::units::Time;
use crate::systemd::{Manager, State};

/// Keeps the service manager informed; does nothing if there is none.
#[derive(Debug)]
pub(super) struct Report {
    manager: Option<Manager>,
    addresses: String,
    /// The `drain` timeout.
    drain: Duration,
    /// Requests and streams that run in the whole process.
    streams: Arc<AtomicUsize>,
    phase: watch::Receiver<Phase>,
    draining_since: Cell<Option<Instant>>,
    /// The status that the manager has.
    told: RefCell<String>,
    /// Whether it was logged that the manager cannot be told.
    failing: Cell<bool>,
}

impl Report {
    /// Reports to `manager`. Nothing is told before [`Self::tell`].
    pub(super) fn new(
        manager: Option<Manager>,
        addresses: &[String],
        drain: Duration,
        streams: Arc<AtomicUsize>,
        phase: watch::Receiver<Phase>,
    ) -> Rc<Self> {
        Rc::new(Report {
            manager,
            addresses: addresses.join(" "),
            drain,
            streams,
            phase,
            draining_since: Cell::new(None),
            told: RefCell::default(),
            failing: Cell::new(false),
        })
    }

    /// Tells how the server is, unless the manager knows.
    pub(super) fn tell(&self) {
        let Some(manager) = &self.manager else { return };
        let (state, status) = self.now();
        if *self.told.borrow() == status {
            return;
        }
        match manager.tell(state, &status) {
            Ok(()) => {
                self.failing.set(false);
                self.told.replace(status);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                if !self.failing.replace(true) {
                    tracing::warn!(%error, "cannot tell the service manager, trying again");
                }
            }
        }
    }

    /// Goes on telling until dropped; ends at once if there is no manager.
    pub(super) async fn keep_telling(self: Rc<Self>) {
        if self.manager.is_none() {
            return;
        }
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                Ok(()) = phase.changed() => {}
                () = sleep(ROUND) => {}
            }
            self.tell();
        }
    }

    fn now(&self) -> (State, String) {
        let streams = match self.streams.load(Ordering::Relaxed) {
            1 => "1 stream".to_owned(),
            streams => format!("{streams} streams"),
        };
        let phase = *self.phase.borrow();
        if phase == Phase::Serving {
            return (State::Ready, format!("serving {streams} on {}", self.addresses));
        }
        let since = self.draining_since.get().unwrap_or_else(Instant::now);
        self.draining_since.set(Some(since));
        match phase {
            Phase::Ending => (State::Stopping { at_most: ENDING }, format!("ending {streams}")),
            _ => {
                let left = self.drain.saturating_sub(since.elapsed());
                let status = format!("draining {streams}, up to {}", Time(self.drain));
                (State::Stopping { at_most: left + ENDING }, status)
            }
        }
    }
}

/// How long a change may go untold.
const ROUND: Duration = Duration::from_secs(5);

/// What the end takes at most after the drain: connections get two seconds to write out the ends of their streams.
const ENDING: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::testing::directory;
    use super::*;

    /// A report, and the manager's end of it.
    fn report(
        phase: &watch::Sender<Phase>,
        streams: &Arc<AtomicUsize>,
        name: &str,
    ) -> (Rc<Report>, UnixDatagram) {
        let path = directory(name).join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let addresses = ["http://127.0.0.1:8080".to_owned(), "unix:/run/http".to_owned()];
        let to = Manager::at(path.as_os_str()).unwrap();
        let drain = Duration::from_secs(600);
        (Report::new(Some(to), &addresses, drain, Arc::clone(streams), phase.subscribe()), manager)
    }

    /// The next message; `None` if there is none.
    fn told(manager: &UnixDatagram) -> Option<String> {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn manager_is_told_what_is_new_every_round_and_each_phase_at_once() {
        let (phase, streams) = (watch::Sender::new(Phase::Serving), Arc::default());
        let (report, manager) = report(&phase, &streams, "report");
        tokio::task::spawn_local(Rc::clone(&report).keep_telling());
        report.tell();
        let serving = "READY=1\nSTATUS=serving 0 streams on http://127.0.0.1:8080 unix:/run/http";
        assert_eq!(told(&manager).as_deref(), Some(serving));
        sleep(ROUND * 3).await;
        assert_eq!(told(&manager), None, "nothing is new");

        streams.store(1, Ordering::Relaxed);
        sleep(ROUND).await;
        assert!(told(&manager).unwrap().contains("serving 1 stream on"));

        phase.send_replace(Phase::Draining);
        tokio::task::yield_now().await;
        let draining = "STOPPING=1\nEXTEND_TIMEOUT_USEC=615000000\nSTATUS=draining 1 stream, up to 10m";
        assert_eq!(told(&manager).as_deref(), Some(draining));
        sleep(Duration::from_secs(100)).await;
        streams.store(2, Ordering::Relaxed);
        sleep(ROUND).await;
        let message = told(&manager).unwrap();
        assert!(message.contains("draining 2 streams"), "{message}");
        let left: u64 = message.lines().nth(1).unwrap().rsplit('=').next().unwrap().parse().unwrap();
        assert!((505_000_000..=515_000_000).contains(&left), "it asks for what is left: {left}");

        phase.send_replace(Phase::Ending);
        tokio::task::yield_now().await;
        let ending = "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=ending 2 streams";
        assert_eq!(told(&manager).as_deref(), Some(ending));
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn what_a_busy_manager_does_not_take_is_told_again() {
        let (phase, streams) = (watch::Sender::new(Phase::Serving), Arc::default());
        let (report, manager) = report(&phase, &streams, "report-busy");
        // Its own socket: whether the manager's queue or the sender's buffer is full first differs between machines.
        while report.manager.as_ref().unwrap().tell(State::Ready, "flood").is_ok() {}
        tokio::task::spawn_local(Rc::clone(&report).keep_telling());
        report.tell();
        while let Some(message) = told(&manager) {
            assert_eq!(message, "READY=1\nSTATUS=flood");
        }
        sleep(ROUND + Duration::from_millis(1)).await;
        assert!(told(&manager).unwrap().contains("STATUS=serving"));
    }
}
