//! A network of its own for a test that needs fixed ports: only a loopback device is there, so nothing collides
//! with what runs on the machine, and no host outside can be reached.
//!
//! A test in it is this binary once more, started under `unshare` for that test alone. Where namespaces are not
//! allowed (some containers), the test runs on the machine's own loopback, one at a time.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{Dir, within_time};

/// Held by a test while it uses fixed ports.
#[derive(Debug)]
pub struct Network {
    _lock: Option<File>,
}

/// Enters a network of its own. `None`: `test` (its name, with its module) has run there, and passed.
pub async fn enter(test: &str) -> Option<Network> {
    if std::env::var_os(INSIDE).is_some() {
        return Some(Network { _lock: None });
    }
    if !is_allowed().await {
        eprintln!("unshare is not allowed here: {test} uses the loopback of this machine");
        return Some(Network { _lock: Some(lock()) });
    }
    let program = std::env::current_exe().expect("a test knows its binary");
    let mut inside = unshared("ip link set lo up && \"$0\" --exact --nocapture \"$1\"; exit $?");
    // Processes have other ids inside, and directories are named after them.
    let dir = Dir::new();
    inside.arg(program).arg(test).env(INSIDE, "1").env("TMPDIR", dir.path());
    inside.stdin(Stdio::null()).kill_on_drop(true);
    let output = within_time(LIMIT, &format!("{test} in a network of its own"), inside.output()).await;
    let output = output.expect("unshare can be run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "in a network of its own:\n{said}");
    println!("{said}");
    None
}

/// A shell in namespaces of its own; all that it starts ends with it.
fn unshared(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        script,
    ]);
    command
}

async fn is_allowed() -> bool {
    let mut probe = unshared("ip link set lo up; exit $?");
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().await.is_ok_and(|status| status.success())
}

/// Waits until no other test uses fixed ports of this machine.
fn lock() -> File {
    let path = std::env::temp_dir().join("tidegate-fixed-ports.lock");
    let file = File::create(path).expect("a file can be made");
    file.lock().expect("a file can be locked");
    file
}

/// Set for the test inside.
const INSIDE: &str = "TIDEGATE_TEST_NETWORK";

/// What a test in a network of its own may take.
const LIMIT: Duration = Duration::from_secs(240);
