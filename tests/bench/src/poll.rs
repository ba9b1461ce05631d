//! epoll by tokens, with waits in nanoseconds; and the clock that all processes share.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// An epoll instance.
pub struct Poll {
    fd: OwnedFd,
    events: Vec<Event>,
}

/// What is ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The token that was registered.
    pub token: usize,
    /// Bytes, an end or an error can be read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Poll {
    /// An empty one.
    pub fn new() -> Result<Self> {
        Ok(Poll { fd: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(1024) })
    }

    /// Watches for bytes, and for room if `write`.
    pub fn add(&self, source: impl AsFd, token: usize, write: bool) -> Result<()> {
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token as u64), flags(write))?)
    }

    /// Changes whether room is watched for.
    pub fn change(&self, source: impl AsFd, token: usize, write: bool) -> Result<()> {
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token as u64), flags(write))?)
    }

    /// Watches for an end or an error only.
    pub fn mute(&self, source: impl AsFd, token: usize) -> Result<()> {
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token as u64), EventFlags::empty())?)
    }

    /// Waits until something is ready, or until a time of [`now`].
    pub fn wait(&mut self, until: Option<u64>, ready: &mut Vec<Ready>) -> Result<()> {
        let timeout = until.map(|until| {
            let left = until.saturating_sub(now());
            Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 }
        });
        self.events.clear();
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: event.data.u64() as usize,
                read: flags
                    .intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP),
                write: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn flags(write: bool) -> EventFlags {
    if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}
