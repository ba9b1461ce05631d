//! What the tests stand on: a scripted upstream, raw clients, the real binary as a child process.
//!
//! Nothing here waits without a deadline and nothing sleeps to let something happen: order comes from the
//! test, which decides when each byte is written, and time is only ever measured or bounded.

pub mod access;
pub mod attempt;
pub mod aws;
pub mod certs;
pub mod client;
pub mod frames;
pub mod http2_upstream;
pub mod network;
pub mod nginx;
pub mod pages;
pub mod security;
pub mod session;
pub mod sse;
pub mod tidegate;
pub mod upstream;
pub mod wire;

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// What has to happen happens long before this, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`; past [`DEADLINE`] the test fails and says what it was waiting for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(DEADLINE, what, future).await
}

/// [`within`], with a deadline of its own.
pub async fn within_time<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("gave up after {limit:?} waiting for {what}"),
    }
}

/// Looks again and again until `check` is content; for things that only `/proc` can tell.
pub async fn eventually(limit: Duration, what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + limit;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        match check() {
            Ok(()) => return,
            Err(why) if Instant::now() > deadline => panic!("{what}: not after {limit:?}: {why}"),
            Err(_) => {}
        }
    }
}

/// Tests that load the machine and tests that measure time take this, so that none runs beside another, be it a thread
/// of the same process or, as some runners have it, a process of its own.
pub async fn alone() -> (MutexGuard<'static, ()>, File) {
    static ONE: Mutex<()> = Mutex::const_new(());
    let one = ONE.lock().await;
    let locked = tokio::task::spawn_blocking(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alone");
        let file = File::create(path).expect("a file can be made");
        file.lock().expect("a file can be locked");
        file
    });
    (one, locked.await.expect("no panic"))
}

/// The bytes that hexadecimal digits stand for; line ends between them say nothing.
pub fn unhex(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_ascii_whitespace().collect();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A directory of its own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Makes one. The path is short enough for a Unix socket.
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tidegate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Dir(path)
    }

    /// The path of `name` inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and tells where it is.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
