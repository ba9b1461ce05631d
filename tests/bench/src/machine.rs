//! The machine: which core is whose, what is awake, what others use.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::peers;

/// The core of every proxy.
pub const PROXY_CORE: usize = 1;
/// The core of client, backend and what reads the clocks.
pub const HARNESS_CORE: usize = 0;

/// Puts this process, and all that it starts, on its core.
pub fn pin_harness() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(HARNESS_CORE);
    sched_setaffinity(None, &set).context("this takes two cores")
}

/// The place of this process, and of all that it starts, before what else there is; given up when dropped.
pub struct First {
    /// What the group had before, where the scheduler groups processes by session: then only the group's counts
    /// (sched(7), autogroup), and the shell that started this is in it too.
    group: Option<String>,
}

impl First {
    /// Goes first, if it may.
    pub fn go() -> Self {
        let _ = rustix::process::setpriority_process(None, -20);
        let group = fs::read_to_string(AUTOGROUP).ok();
        let group = group.and_then(|group| Some(group.trim_end().rsplit_once("nice ")?.1.to_owned()));
        let _ = fs::write(AUTOGROUP, "-20");
        First { group }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _ = fs::write(AUTOGROUP, group);
        }
    }
}

const AUTOGROUP: &str = "/proc/self/autogroup";

/// A command that runs on a core.
pub fn on_core(core: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// Raises the soft limit of open files to the hard one; children inherit it.
pub fn raise_fd_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it cannot be raised, there are fewer idle streams.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many streams a proxy can have open, two files each.
pub fn most_streams() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX)
}

/// CPU time of all threads of a process so far, in nanoseconds; 0 if it is gone.
pub fn cpu(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let times = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    times.sum()
}

/// CPU time of everything on this machine but idle-priority spinners, in nanoseconds.
pub fn cpu_of_all() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let times: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user, nice (the spinners), system, idle, iowait, irq, softirq
    let ticks = [0, 2, 5, 6].iter().filter_map(|index| times.get(*index)).sum::<u64>();
    Ok(ticks * NS_PER_TICK)
}

/// What the machine is, in one line.
pub fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let guest = if cpuinfo.contains("hypervisor") { " (a virtual machine)" } else { "" };
    let cores = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let cores = cores.filter(|entry| {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        digits.is_some_and(|digits| digits.parse::<u32>().is_ok())
    });
    format!("{} cores of {}{guest}, Linux {}", cores.count(), field("model name"), kernel.trim())
}

/// Idle-priority loops: a virtual core that halts and is woken costs about as much as an event, and how often that
/// happens depends on everything else.
pub struct Spinners(Vec<Child>);

impl Spinners {
    /// One on each core.
    pub fn start() -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut spinners = Spinners(Vec::new());
        for core in [HARNESS_CORE, PROXY_CORE] {
            // Nice as well: the kernel counts them apart then.
            let mut command = on_core(core, "nice");
            command.args(["-n", "19", "chrt", "--idle", "0"]).arg(&program).arg("spin");
            spinners.0.push(command.spawn().context("taskset, nice and chrt")?);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Never returns.
pub fn spin() -> Result<()> {
    let parent = rustix::process::getppid();
    // In a group of its own, and the last: idle priority is within the group.
    let _ = rustix::process::setsid();
    let _ = fs::write(AUTOGROUP, "19");
    loop {
        for _ in 0..1_000_000_u32 {
            std::hint::spin_loop();
        }
        // Whoever started it was killed.
        if rustix::process::getppid() != parent {
            return Ok(());
        }
    }
}

/// The backend's process; killed when dropped.
pub struct Backend {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Backend {
    /// Starts it and waits until it listens.
    pub fn start() -> Result<Self> {
        let address = peers::free()?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["backend", &address.to_string()]).spawn()?;
        let backend = Backend { child, address };
        peers::wait_for(address)?;
        Ok(backend)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// `/proc/stat` counts in hundredths of a second on every Linux there is.
const NS_PER_TICK: u64 = 10_000_000;
/// Open files of a proxy that are no streams.
const OTHER_FILES: u64 = 200;
