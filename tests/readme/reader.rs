//! A reader who types what a page shows, from its top to its end, in one directory.
//!
//! The commands are found on a `PATH` that has nothing but the shims of `tests/readme/shims` and plain tools: one that
//! is neither fails, and so does the page.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::certs::Certs;
use crate::support::nginx::Nginx;
use crate::support::pages::{Block, certificates, completed, words_after};
use crate::support::{Dir, within_time};

/// A directory that looks like a checkout, and a system to install into.
#[derive(Debug)]
pub struct Reader {
    scratch: Dir,
    secrets: BTreeSet<String>,
}

impl Reader {
    /// Before anything was typed of this page.
    pub async fn of(page: &str) -> Self {
        let scratch = Dir::new();
        for folder in
            ["bin", "state", "root/etc/systemd/system", "root/usr/local/bin", "root/var/lib", "root/run"]
        {
            fs::create_dir_all(scratch.join(folder)).expect("a folder can be made");
        }
        for (shim, names) in SHIMS {
            for name in *names {
                symlink(shims().join(shim), scratch.join("bin").join(name)).expect("a link can be made");
            }
        }
        for tool in TOOLS {
            symlink(found(tool), scratch.join("bin").join(tool)).expect("a link can be made");
        }
        let certs = Certs::new();
        for (path, file) in certificates(page, &certs) {
            put(&scratch.join(&format!("root{path}")), &fs::read(file).expect("a certificate"));
        }
        for path in words_of_files(page) {
            let below = if path.starts_with('/') { format!("root{path}") } else { format!("home/{path}") };
            put(&scratch.join(&below), b"a-secret\n");
        }
        let secrets = words_after(page, "env:").into_iter().map(str::to_owned).collect();
        let reader = Reader { scratch, secrets };
        reader.types("\"$HARNESS_SHIMS/checkout\" \"$HARNESS_HOME\"", "the checkout", false).await;
        reader
    }

    /// Where a path of the system is for this reader.
    pub fn installed(&self, path: &str) -> PathBuf {
        self.scratch.join(&format!("root{path}"))
    }

    /// Does what the block is for; tells how many commands were run.
    pub async fn reads(&self, block: &Block) -> usize {
        match block.language.as_str() {
            "toml" => {
                put(&self.scratch.join("home/config.toml"), completed(&block.text).as_bytes());
                let script = "tidegate check --config config.toml\ntidegate --config config.toml";
                self.types(script, &block.place, true).await
            }
            "sh" => self.types(&block.text, &block.place, false).await,
            "nginx" => {
                Nginx::new(block).check(&block.place).await;
                1
            }
            _ => 0,
        }
    }

    /// The page is over: stops the server that may still run. Tells what was served and what curl was answered.
    pub async fn leaves(self) -> (Vec<String>, Vec<String>) {
        self.types(". \"$HARNESS_SHIMS/lib.sh\"; stop_server", "the end of the page", false).await;
        let lines = |name: &str| -> Vec<String> {
            let text = fs::read_to_string(self.scratch.join("state").join(name)).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        (lines("served"), lines("answers"))
    }

    /// [`Reader::attempts`], which must succeed.
    async fn types(&self, script: &str, place: &str, with_secrets: bool) -> usize {
        let done = self.attempts(script, with_secrets).await;
        done.unwrap_or_else(|said| panic!("{place}: {said}\n-- the script:\n{script}"))
    }

    /// Runs a script; counts its commands.
    ///
    /// # Errors
    /// What it said before it failed.
    pub async fn attempts(&self, script: &str, with_secrets: bool) -> Result<usize, String> {
        if let Some(file) = redirected(script) {
            return Err(format!("redirects to {file}, which no shim can move (write it with `sudo tee`)"));
        }
        let state = self.scratch.join("state");
        let record = state.join("commands");
        put(&record, b"");
        // Every command of the script itself, and of nothing that it starts.
        let prelude =
            format!("unset BASH_ENV; trap 'printf \"%s\\0\" \"$BASH_COMMAND\" >>{}' DEBUG", record.display());
        put(&state.join("prelude"), prelude.as_bytes());
        put(&state.join("script"), script.as_bytes());
        let home = self.scratch.join("home");
        fs::create_dir_all(&home).expect("a folder can be made");
        let mut bash = Command::new(found("bash"));
        bash.args(["-euo", "pipefail"])
            .arg(state.join("script"))
            .current_dir(&home)
            .env_clear()
            .env("PATH", self.scratch.join("bin"))
            .env("HOME", &home)
            .env("BASH_ENV", state.join("prelude"))
            .env("HARNESS_HOME", &home)
            .env("HARNESS_ROOT", self.scratch.join("root"))
            .env("HARNESS_STATE", &state)
            .env("HARNESS_SHIMS", shims())
            .env("HARNESS_REPO", env!("CARGO_MANIFEST_DIR"))
            .env("HARNESS_TIDEGATE", env!("CARGO_BIN_EXE_tidegate"))
            .env("HARNESS_CURL", found("curl"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if with_secrets {
            bash.envs(self.secrets.iter().map(|name| (name, "for-the-test")));
        }
        let output = within_time(LIMIT, "a block of a page", bash.output()).await.expect("bash can be run");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{}\n{said}", output.status));
        }
        let record = fs::read(&record).expect("the record is there");
        Ok(record.iter().filter(|byte| **byte == 0).count())
    }
}

fn shims() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readme/shims")
}

/// The files that `file:` references name.
fn words_of_files(page: &str) -> Vec<String> {
    let paths = page.split("file:").skip(1).filter_map(|rest| rest.split(['"', '`', ' ', '\n']).next());
    paths.filter(|path| path.contains('/') || path.contains('.')).map(str::to_owned).collect()
}

/// Where a tool is on this machine.
fn found(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|place| place.join(tool));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| panic!("{tool} is not installed"))
}

/// A file of the system that a script writes to by itself.
fn redirected(script: &str) -> Option<&str> {
    let targets = script.split('>').skip(1).filter_map(|rest| rest.split_whitespace().next());
    targets.into_iter().find(|target| {
        target.starts_with('/') && !["/dev/null", "/tmp/"].iter().any(|allowed| target.starts_with(allowed))
    })
}

fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
    fs::write(path, content).expect("a file can be written");
}

/// Which shim stands in for which commands.
const SHIMS: &[(&str, &[&str])] = &[
    ("tidegate", &["tidegate"]),
    ("cargo", &["cargo"]),
    ("git", &["git"]),
    ("curl", &["curl"]),
    ("sudo", &["sudo"]),
    ("systemctl", &["systemctl"]),
    ("journalctl", &["journalctl"]),
    ("useradd", &["useradd", "adduser", "groupadd"]),
    ("files", &["cp", "mv", "ln", "rm", "mkdir", "install", "tee", "chmod", "chown", "chgrp", "cat", "ls"]),
];

/// Commands that are what they are everywhere.
const TOOLS: &[&str] = &[
    "bash", "basename", "cmp", "dirname", "env", "flock", "grep", "head", "jq", "mktemp", "openssl", "sed",
    "sleep", "sort", "tail", "touch", "tr", "wc",
];

/// What a block may take.
const LIMIT: Duration = Duration::from_secs(60);
