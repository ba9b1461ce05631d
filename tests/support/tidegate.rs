//! The program itself, as a child process: started with a config or with flags on port 0, read through its
//! ready line, its log and `/proc`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::access::Line;
use super::certs::Certs;
use super::upstream::Upstream;
use super::wire::Endpoint;
use super::{Dir, within};

/// How to start it.
#[derive(Debug)]
pub struct Launch {
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    by: Vec<String>,
}

impl Launch {
    /// `serve --config FILE` with this text.
    pub fn config(text: impl Into<String>) -> Self {
        Launch { config: Some(text.into()), args: Vec::new(), env: Vec::new(), by: Vec::new() }
    }

    /// Flags only.
    pub fn flags(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Launch { config: None, args, env: Vec::new(), by: Vec::new() }
    }

    /// Sets an environment variable. There are no others but `PATH`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lowers its soft limit of open files.
    #[must_use]
    pub fn soft_files(self, files: u64) -> Self {
        self.by(&["sh", "-c", &format!("ulimit -S -n {files} && exec \"$0\" \"$@\"")])
    }

    /// Starts it by another program, which is given its command line and becomes it: the same process.
    #[must_use]
    pub fn by(mut self, program: &[&str]) -> Self {
        self.by = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn command(&self, dir: &Dir) -> Command {
        let program = env!("CARGO_BIN_EXE_tidegate");
        let mut command = match self.by.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        if let Some(config) = &self.config {
            let file = dir.write("config.toml", with_takeover(config).as_bytes());
            command.arg("serve").arg("--config").arg(file);
        }
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it and waits for the ready line.
    pub async fn start(self) -> Tidegate {
        let dir = Dir::new();
        let mut child = self.command(&dir).spawn().expect("the binary can be run");
        let stdout = Lines::collect(BufReader::new(child.stdout.take().expect("stdout is piped")));
        let stderr = Lines::collect(BufReader::new(child.stderr.take().expect("stderr is piped")));
        let ready = stdout.find("the ready line", |line| line.contains(" ready on ")).await;
        let Some(ready) = ready else {
            let status = within("the exit of a child that never was ready", child.wait()).await;
            let log = stderr.all().join("\n");
            panic!("tidegate ended before it was ready ({status:?}):\n{log}");
        };
        let (_, addresses) = ready.split_once(" ready on ").expect("just found");
        let addresses = addresses.split_whitespace().map(str::to_owned).collect();
        Tidegate { child, addresses, stdout, stderr, _dir: dir }
    }

    /// Runs it to its end and collects what it said.
    pub async fn run(self) -> Output {
        let dir = Dir::new();
        let output = within("the program to end", self.command(&dir).output()).await;
        let output = output.expect("the binary can be run");
        Output {
            code: output.status.code().expect("it ended by itself"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `config`, in the position of `server.takeover` that the whole run of the tests is to be in.
fn with_takeover(config: &str) -> String {
    match std::env::var("TIDEGATE_TEST_TAKEOVER") {
        Ok(position) if !config.contains("takeover =") => {
            let key = format!("[server]\ntakeover = \"{position}\"\n");
            match config.contains("[server]\n") {
                true => config.replacen("[server]\n", &key, 1),
                false => format!("{config}\n{key}"),
            }
        }
        _ => config.to_owned(),
    }
}

/// What a run to the end left.
#[derive(Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// A running tidegate; killed when dropped.
#[derive(Debug)]
pub struct Tidegate {
    child: Child,
    /// The addresses of the ready line, in order.
    pub addresses: Vec<String>,
    stdout: Lines<ChildStdout>,
    stderr: Lines<ChildStderr>,
    _dir: Dir,
}

/// Standard error that nobody reads.
#[derive(Debug)]
pub struct Stalled(BufReader<ChildStderr>);

impl Tidegate {
    /// In front of `upstream`, everything else by default; `more` follows `upstream = "up"` in the route, so it
    /// begins with keys of the route, and tables may follow.
    pub async fn before(upstream: &Upstream, more: &str) -> Self {
        Launch::config(config(upstream, more)).start().await
    }

    /// The first clear-text TCP listener.
    pub fn http(&self) -> Endpoint {
        Endpoint::Tcp(self.tcp("http://"))
    }

    /// The first TLS listener, as a client that offers `alpn` sees it.
    pub fn https(&self, certs: &Certs, alpn: &[&str]) -> Endpoint {
        Endpoint::Tls(self.tcp("https://"), certs.client(alpn))
    }

    /// The first Unix listener.
    pub fn unix(&self) -> Endpoint {
        Endpoint::Unix(PathBuf::from(self.address("unix:")))
    }

    fn tcp(&self, scheme: &str) -> SocketAddr {
        let address = self.address(scheme);
        address.parse().unwrap_or_else(|_| panic!("not an address with a port: {address:?}"))
    }

    fn address(&self, scheme: &str) -> &str {
        let found = self.addresses.iter().find_map(|address| address.strip_prefix(scheme));
        found.unwrap_or_else(|| panic!("no {scheme} listener among {:?}", self.addresses))
    }

    /// The access line of the request for `path`.
    pub async fn access(&self, path: &str) -> Line {
        let wanted =
            |line: &str| Line::parse(line).filter(|line| line.is_access() && line.get("path") == Some(path));
        let what = format!("the access line of {path}");
        let found = self.stderr.find(&what, |line| wanted(line).is_some()).await;
        let found = found.unwrap_or_else(|| panic!("{what}: the process ended without it\n{}", self.log()));
        wanted(&found).expect("just found")
    }

    /// A line of the log that contains `text`.
    pub async fn logged(&self, text: &str) -> String {
        let found = self.stderr.find(&format!("a log line with {text:?}"), |line| line.contains(text)).await;
        found.unwrap_or_else(|| panic!("no log line with {text:?} in\n{}", self.log()))
    }

    /// The access lines so far.
    pub fn access_lines(&self) -> Vec<Line> {
        self.stderr.all().iter().filter_map(|line| Line::parse(line)).filter(Line::is_access).collect()
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// Everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.all().join("\n")
    }

    /// Closes the reading end of standard error, as a log collector does that dies.
    pub async fn close_log(&mut self) {
        drop(self.stderr.stop().await);
    }

    /// Fills standard error and leaves it unread, as a log collector does that hangs; until [`Tidegate::read_log`].
    pub async fn stall_log(&mut self) -> Stalled {
        let pipe = self.stderr.stop().await;
        let again = std::fs::File::options().write(true).open(self.proc("fd/2"));
        let mut end = again.expect("a pipe can be opened again");
        rustix::io::ioctl_fionbio(&end, true).expect("it need not block");
        loop {
            match end.write(&[b'\n'; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Stalled(pipe),
                Err(error) => panic!("the log's pipe cannot be filled: {error}"),
            }
        }
    }

    /// Reads the log again.
    pub fn read_log(&mut self, Stalled(pipe): Stalled) {
        self.stderr = Lines::collect(pipe);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Waits for the process to end.
    pub async fn exit(&mut self) -> ExitStatus {
        within("the process to end", self.child.wait()).await.expect("a child can be waited for")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Open file descriptors.
    pub fn fds(&self) -> usize {
        let list = std::fs::read_dir(self.proc("fd")).expect("the process is there");
        list.count()
    }

    /// How many files it may open: the soft limit and the hard one.
    pub fn file_limits(&self) -> (u64, u64) {
        let limits = std::fs::read_to_string(self.proc("limits")).expect("the process is there");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut numbers = line.expect("the kernel tells").split_whitespace().map_while(|it| it.parse().ok());
        (numbers.next().expect("a soft limit"), numbers.next().expect("a hard limit"))
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("the kernel tells VmRSS in kB") * 1024
    }

    fn pid(&self) -> Pid {
        let id = self.child.id().expect("the process was not waited for");
        Pid::from_raw(id.try_into().expect("a pid is small")).expect("a pid is not 0")
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid().as_raw_nonzero()))
    }
}

/// The config of [`Tidegate::before`].
pub fn config(upstream: &Upstream, more: &str) -> String {
    let table = upstream.table("up");
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n\n{table}\n[[route]]\npath = \"/\"\nupstream = \"up\"\n{more}\n"
    )
}

/// The lines of a pipe, collected while the test goes on.
#[derive(Debug)]
struct Lines<P> {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    reader: JoinHandle<BufReader<P>>,
}

impl<P: AsyncRead + Send + Unpin + 'static> Lines<P> {
    fn collect(mut pipe: BufReader<P>) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (news, count) = watch::channel(0);
        let (stop, mut stopped) = watch::channel(false);
        let collected = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            let mut line = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    read = pipe.read_until(b'\n', &mut line) => if !matches!(read, Ok(1..)) {
                        return pipe;
                    },
                    _ = stopped.wait_for(|is_stopped| *is_stopped) => return pipe,
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let mut lines = collected.lock().expect("nobody panics with the lock");
                lines.push(text);
                news.send_replace(lines.len());
            }
        });
        Lines { lines, count, stop, reader }
    }

    /// Stops reading once there is nothing to read, and hands out the pipe.
    async fn stop(&mut self) -> BufReader<P> {
        assert!(!self.reader.is_finished(), "it was open until now");
        self.stop.send_replace(true);
        (&mut self.reader).await.expect("it reads until it is stopped")
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with the lock").clone()
    }

    /// The first line that fits, now or later; `None` if the pipe was closed without one.
    async fn find(&self, what: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
        let mut count = self.count.clone();
        let mut seen = 0;
        let search = async {
            loop {
                let open = count.has_changed().is_ok();
                count.mark_unchanged();
                let lines = self.all();
                if let Some(line) = lines[seen..].iter().find(|line| fits(line)) {
                    return Some(line.clone());
                }
                seen = lines.len();
                if !open || count.changed().await.is_err() && self.all().len() == seen {
                    return None;
                }
            }
        };
        match tokio::time::timeout(LOG_DEADLINE, search).await {
            Ok(found) => found,
            Err(_) => panic!(
                "gave up after {LOG_DEADLINE:?} waiting for {what}; so far:\n{}",
                self.all().join("\n")
            ),
        }
    }
}

/// How long a line may take to appear.
const LOG_DEADLINE: Duration = Duration::from_secs(20);
