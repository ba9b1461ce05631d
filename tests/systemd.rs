//! systemd/tidegate.service as systemd reads it, what the service manager is told, and whether the system calls
//! that the unit allows are enough. A booted systemd is not needed; `systemd-analyze` is.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tidegate::config::table::{KEYS, Presence};
use tidegate::config::units::Time;
use tokio::net::UnixDatagram;

use crate::support::certs::Certs;
use crate::support::client::{Call, Request, Version};
use crate::support::pages;
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Exchange, Speaks, Upstream};
use crate::support::{DEADLINE, Dir, eventually, within};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const PATH: &str = "/v1/chat/completions";
const DELTA: &[u8] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn unit() -> String {
    read("systemd/tidegate.service")
}

/// The values of a setting, in order.
fn values(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| *key == name);
    lines.map(|(_, value)| value.to_owned()).collect()
}

fn only(unit: &str, name: &str) -> String {
    let [value] = &values(unit, name)[..] else { panic!("{name}= is not there once") };
    value.clone()
}

fn systemd_analyze(args: &[&str]) -> Command {
    let mut command = Command::new("systemd-analyze");
    command.args(args).env_remove("SYSTEMD_LOG_LEVEL").env("SYSTEMD_COLORS", "0");
    command
}

/// Runs a command to its end: whether it succeeded, and all it said.
fn run(command: &mut Command) -> (bool, String) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What systemd says to a unit, with the built binary in the place of the installed one.
fn verified(unit: &str, drop_in: Option<&str>) -> (bool, String) {
    let dir = Dir::new();
    assert_eq!(unit.matches(" /usr/local/bin/").count() + unit.matches("=/usr/local/bin/").count(), 1);
    let file = dir.write("tidegate.service", unit.replace("/usr/local/bin/tidegate", BINARY).as_bytes());
    if let Some(drop_in) = drop_in {
        std::fs::create_dir(dir.join("tidegate.service.d")).expect("a directory can be made");
        dir.write("tidegate.service.d/override.conf", drop_in.as_bytes());
    }
    run(systemd_analyze(&["verify", "--man=no"]).arg(file))
}

#[test]
fn unit_is_accepted_by_systemd_without_a_word() {
    assert_eq!(verified(&unit(), None), (true, String::new()));
    let misspelt = unit().replace("ProtectHome=", "ProtectHomes=");
    let (_, said) = verified(&misspelt, None);
    assert!(said.contains("ProtectHomes"), "systemd-analyze does not look: {said:?}");
}

/// What the manual's page shows in a language.
fn blocks(language: &str) -> Vec<String> {
    let all = pages::blocks("docs/systemd.md").into_iter();
    all.filter(|block| block.language == language).map(|block| block.text).collect()
}

#[test]
fn drop_ins_of_the_manual_are_accepted_by_systemd_without_a_word() {
    let drop_ins = blocks("ini");
    assert_eq!(drop_ins.len(), 3);
    for drop_in in drop_ins {
        assert_eq!(verified(&unit(), Some(&drop_in)), (true, String::new()), "{drop_in}");
    }
    assert!(!verified(&unit(), Some("[Service]\nNonsense=1\n")).1.is_empty(), "drop-ins are not read");
}

#[test]
fn every_line_of_the_unit_is_explained_above_it() {
    let unit = unit();
    let lines: Vec<&str> = unit.lines().collect();
    let mut settings = 0;
    for pair in lines.windows(2) {
        if pair[1].contains('=') && !pair[1].starts_with('#') {
            settings += 1;
            let explained = pair[0].starts_with("# ") && pair[0].len() > 12;
            assert!(explained, "nothing above {:?} says why", pair[1]);
        }
    }
    assert!(settings > 40, "only {settings} settings were found");
}

#[test]
fn exposure_is_what_the_manual_says() {
    let dir = Dir::new();
    let file = dir.write("tidegate.service", unit().as_bytes());
    let (_, said) = run(systemd_analyze(&["security", "--offline=yes", "--no-pager"]).arg(file));
    let level =
        said.lines().find_map(|line| line.split_once("Overall exposure level for tidegate.service: "));
    let (_, level) = level.unwrap_or_else(|| panic!("no exposure level in {said}"));
    let score = level.split(' ').next().expect("a figure");
    // Another version of systemd may look at more; it must not be a bad unit by its standards either.
    assert!(score.parse::<f64>().expect("a figure") < 2.0, "{score}:\n{said}");
    assert!(read("docs/systemd.md").contains("1.1 of 10"));
}

#[test]
fn systemd_waits_longer_than_the_drain() {
    let stop: u64 = only(&unit(), "TimeoutStopSec").parse().expect("TimeoutStopSec= is in seconds");
    let key = KEYS.iter().find(|key| key.path == "timeouts.drain").expect("the key is in the table");
    let Presence::Default(drain) = key.presence else { panic!("drain has no default") };
    let drain: Time = drain.trim_matches('"').parse().expect("the default is a duration");
    assert!(stop >= drain.0.as_secs() + 15, "{stop} s for a drain of {drain} and its end");
}

#[tokio::test]
async fn mistakes_that_a_restart_cannot_mend_are_not_restarted() {
    let unit = unit();
    let prevented = only(&unit, "RestartPreventExitStatus");
    let prevented: Vec<i32> = prevented.split(' ').map(|code| code.parse().expect("a code")).collect();
    let usage = Launch::flags(&["--nonsense"]).run().await.code;
    let wrong = Launch::config("[[listener]]\naddress = 1\n").run().await.code;
    assert_eq!(prevented, [usage, wrong]);
    // An address that is not there yet may come.
    let unbound =
        Launch::flags(&["--listen", "192.0.2.1:80", "--upstream", "http://127.0.0.1:1"]).run().await;
    assert!(!prevented.contains(&unbound.code) && unbound.code != 0, "{unbound:?}");
}

#[test]
fn install_lines_of_the_manual_install_what_the_unit_names() {
    let dir = Dir::new();
    let root = dir.path().display().to_string();
    let mut installed = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let Some(command) = line.strip_prefix("sudo install ") else { continue };
        let command = command.split(" #").next().unwrap_or(command).trim_end();
        let command = command
            .replace("target/release/tidegate", BINARY)
            .replace(" /usr/local/", &format!(" {root}/usr/local/"))
            .replace(" /etc/", &format!(" {root}/etc/"));
        let shell = format!("echo sk-1 | install {command}");
        let (ok, said) = run(Command::new("sh").args(["-c", &shell]).current_dir(env!("CARGO_MANIFEST_DIR")));
        assert!(ok && said.is_empty(), "{shell}: {said}");
        installed += 1;
    }
    assert_eq!(installed, 6);
    let unit = unit();
    let command = only(&unit, "ExecStart");
    let [program, "serve", "--config", config] = command.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{command}")
    };
    let check = |config: &Path| {
        run(Command::new(format!("{root}{program}"))
            .args(["check", "--config"])
            .arg(config)
            .env("CREDENTIALS_DIRECTORY", format!("{root}/etc/tidegate/secrets")))
    };
    let (ok, said) = check(Path::new(&format!("{root}{config}")));
    assert!(ok, "{said}");
    let [toml] = &blocks("toml")[..] else { panic!("one configuration") };
    let (ok, said) = check(&dir.write("credentials.toml", toml.as_bytes()));
    assert!(ok && !said.contains("sk-1"), "{said}");
}

// --- what the service manager is told ---------------------------------------------------------------------------

/// A socket to tell things to, and its name for NOTIFY_SOCKET.
fn manager(dir: &Dir) -> [(UnixDatagram, String); 2] {
    use std::os::linux::net::SocketAddrExt;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = dir.join("notify");
    let at_path = UnixDatagram::bind(&path).expect("the path is free");
    let name = format!("tidegate-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a short name");
    let named = std::os::unix::net::UnixDatagram::bind_addr(&address).expect("the name is free");
    named.set_nonblocking(true).expect("a socket can be made not to block");
    let named = UnixDatagram::from_std(named).expect("a socket fits the runtime");
    [(at_path, path.display().to_string()), (named, format!("@{name}"))]
}

/// The next message, as its assignments.
async fn told(manager: &UnixDatagram) -> HashMap<String, String> {
    let mut message = vec![0; 4096];
    let length = within("a message to the service manager", manager.recv(&mut message)).await;
    message.truncate(length.expect("a datagram can be read"));
    let message = String::from_utf8(message).expect("messages are text");
    message
        .lines()
        .map(|line| line.split_once('=').unwrap_or_else(|| panic!("no assignment: {line:?}")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

async fn streaming(proxy: &Tidegate, upstream: &mut Upstream) -> (Call, Exchange) {
    let mut call = Call::start(&proxy.http(), &Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(DELTA).await;
    assert_eq!(call.piece().await.data, DELTA);
    (call, exchange)
}

#[tokio::test]
async fn manager_is_told_of_the_start_and_of_the_drain() {
    let dir = Dir::new();
    for (manager, name) in manager(&dir) {
        let mut upstream = Upstream::start().await;
        let launch = Launch::config(config(&upstream, "\n[timeouts]\ndrain = \"20m\""));
        let mut proxy = launch.env("NOTIFY_SOCKET", &name).start().await;
        let ready = told(&manager).await;
        assert_eq!(ready["READY"], "1");
        assert_eq!(ready["STATUS"], format!("serving 0 streams on {}", proxy.addresses.join(" ")));
        let (mut call, mut exchange) = streaming(&proxy, &mut upstream).await;

        proxy.signal(Signal::TERM);
        let stopping = loop {
            let message = told(&manager).await;
            if message.contains_key("STOPPING") {
                break message;
            }
            // The round of the status came in between.
            assert_eq!(message["READY"], "1");
        };
        assert_eq!(stopping["STOPPING"], "1");
        assert_eq!(stopping["STATUS"], "draining 1 stream, up to 20m");
        let extended: u64 = stopping["EXTEND_TIMEOUT_USEC"].parse().expect("a number");
        assert!((1_200_000_000..1_300_000_000).contains(&extended), "{extended}");
        assert!(proxy.is_running(), "the stream runs");
        exchange.chunk(b"data: [DONE]\n\n").await;
        exchange.end().await;
        assert_eq!(call.rest().await.bytes(), b"data: [DONE]\n\n");
        assert_eq!(proxy.exit().await.code(), Some(0));
    }
}

#[tokio::test]
async fn manager_is_told_of_a_drain_that_has_nothing_to_wait_for() {
    let dir = Dir::new();
    let [(manager, name), _] = manager(&dir);
    let upstream = Upstream::start().await;
    let mut proxy = Launch::config(config(&upstream, "")).env("NOTIFY_SOCKET", &name).start().await;
    assert_eq!(told(&manager).await["READY"], "1");
    proxy.signal(Signal::TERM);
    assert_eq!(told(&manager).await["STATUS"], "draining 0 streams, up to 10m");
    assert_eq!(proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn server_that_cannot_listen_is_never_ready() {
    let dir = Dir::new();
    let [(manager, name), _] = manager(&dir);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let launch = Launch::flags(&["--listen", &address, "--upstream", "http://127.0.0.1:1"]);
    assert_eq!(launch.env("NOTIFY_SOCKET", &name).run().await.code, 1);
    let nothing = manager.try_recv(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn manager_that_cannot_be_told_does_not_stop_the_server() {
    let dir = Dir::new();
    let gone = dir.join("gone").display().to_string();
    for (address, logged) in [(gone.as_str(), "cannot tell"), ("vsock:2:1", "cannot use NOTIFY_SOCKET")] {
        let mut upstream = Upstream::start().await;
        let mut proxy = Launch::config(config(&upstream, "")).env("NOTIFY_SOCKET", address).start().await;
        proxy.logged(logged).await;
        let (_call, _exchange) = streaming(&proxy, &mut upstream).await;
        assert!(proxy.is_running());
    }
}

// --- what the unit forbids --------------------------------------------------------------------------------------

/// The sets of system calls that this systemd knows, by their names (`@file-system`).
fn sets() -> HashMap<String, Vec<String>> {
    let (ok, said) = run(&mut systemd_analyze(&["syscall-filter", "--no-pager"]));
    assert!(ok, "{said}");
    let mut sets: HashMap<String, Vec<String>> = HashMap::new();
    let mut current = String::new();
    for line in said.lines() {
        match line.trim() {
            name if name.is_empty() || name.starts_with('#') => {}
            name if line.starts_with('@') => current = name.to_owned(),
            name => sets.entry(current.clone()).or_default().push(name.to_owned()),
        }
    }
    sets
}

/// The calls that a name stands for: itself, or the members of its set.
fn calls(name: &str, sets: &HashMap<String, Vec<String>>) -> Vec<String> {
    match sets.get(name) {
        Some(members) => members.iter().flat_map(|member| calls(member, sets)).collect(),
        None => vec![name.to_owned()],
    }
}

/// What the unit allows, as systemd.exec(5) reads SystemCallFilter=: lines with `~` take away what stands before.
fn allowed(unit: &str) -> BTreeSet<String> {
    let sets = sets();
    let mut allowed = BTreeSet::new();
    for line in values(unit, "SystemCallFilter") {
        let (forbids, names) = line.strip_prefix('~').map_or((false, line.as_str()), |names| (true, names));
        for call in names.split(' ').flat_map(|name| calls(name, &sets)) {
            if forbids {
                allowed.remove(&call);
            } else {
                allowed.insert(call);
            }
        }
    }
    allowed
}

/// The system calls in the output of `strace -f`.
fn traced(report: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start();
        let call = call.split_once('(')?.0;
        let is_name =
            call.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then(|| call.to_owned())
    };
    report.lines().filter_map(name).collect()
}

/// Everything that tidegate does with the system in one run: listeners of all kinds, TLS and both versions of HTTP on
/// both sides, names, secrets, a client that leaves, the service manager, a drain.
async fn use_everything(report: &Path) {
    let dir = Dir::new();
    let [(manager, name), _] = manager(&dir);
    let certs = Certs::new();
    let mut plain = Upstream::start().await;
    let mut secure = Upstream::tls(Speaks::Http2, &certs).await;
    let secret = dir.write("secret", b"sk-1");
    let more = format!(
        "inject = [{{ bearer = \"file:{}\" }}, {{ header = \"x-key\", value = \"cred:secret\" }}]\nauth = \"none\"\n\
         [[route]]\npath = \"/secure\"\nupstream = \"secure\"\n{}\n[[listener]]\naddress = \"unix:{}\"\n\
         [[listener]]\naddress = \"localhost:0\"\ntls = {}\n",
        secret.display(),
        secure.table("secure"),
        dir.join("http").display(),
        certs.listener_tls(),
    );
    let report = report.display().to_string();
    let launch = Launch::config(config(&plain, &more))
        .env("NOTIFY_SOCKET", &name)
        .env("CREDENTIALS_DIRECTORY", &dir.path().display().to_string())
        .by(&["strace", "-D", "-f", "-q", "-e", "signal=none", "-o", &report]);
    let mut proxy = launch.start().await;
    assert_eq!(told(&manager).await["READY"], "1");

    let mut call = Call::start(&proxy.unix(), &Request::get("/")).await;
    plain.request().await.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
    std::fs::write(&secret, b"sk-2").expect("a file can be written");
    let mut streams = Vec::new();
    for (version, alpn) in [(Version::Http1, "http/1.1"), (Version::Http2, "h2")] {
        for (upstream, path) in [(&mut plain, PATH), (&mut secure, "/secure")] {
            let request = Request::stream(path);
            let mut call = Call::start_as(version, &proxy.https(&certs, &[alpn]), &request).await;
            let mut exchange = upstream.request().await;
            exchange.respond_sse().await;
            exchange.chunk(DELTA).await;
            assert_eq!(call.piece().await.data, DELTA);
            streams.push((call, exchange));
        }
    }
    let (call, mut exchange) = streams.pop().expect("a stream");
    drop(call);
    within("the upstream's stream to be closed", exchange.closed()).await;
    proxy.signal(Signal::TERM);
    for (mut call, exchange) in streams {
        exchange.end().await;
        call.rest().await;
    }
    assert_eq!(proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn system_calls_of_a_whole_life_are_allowed_by_the_unit() {
    let allowed = allowed(&unit());
    assert!(allowed.len() > 150 && allowed.contains("prlimit64"), "{} calls", allowed.len());
    assert!(!allowed.contains("setuid") && !allowed.contains("ptrace"), "the filter forbids too little");
    let dir = Dir::new();
    let report = dir.join("strace");
    use_everything(&report).await;
    let mut text = String::new();
    // The tracer is a process of its own and ends after the traced one.
    eventually(DEADLINE, "the whole report of strace", || {
        text = std::fs::read_to_string(&report).map_err(|error| error.to_string())?;
        // Another thread may cut in: `exit_group(0 <unfinished ...>`.
        text.contains("exit_group(0").then_some(()).ok_or_else(|| format!("{} bytes", text.len()))
    })
    .await;
    let used = traced(&text);
    for call in ["accept4", "connect", "epoll_wait", "sendto", "prlimit64", "clone3"] {
        assert!(used.contains(call), "{call} was not seen: {used:?}");
    }
    let forbidden: Vec<_> = used.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "the unit forbids {forbidden:?}");
}
