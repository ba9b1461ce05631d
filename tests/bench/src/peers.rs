//! What is measured: nginx, HAProxy and tidegate, each as a careful operator would set it up, one worker, pinned.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::machine::{self, PROXY_CORE, on_core};

/// One program between client and backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nothing: the client asks the backend itself.
    Direct,
    /// The bare relay of [`crate::relay`]: the floor.
    Relay,
    /// nginx, response buffering off, connections to the backend kept, its access log as it is by default.
    Nginx,
    /// HAProxy, connections to the backend kept, a line for each request.
    Haproxy,
    /// tidegate with its defaults: parsing, heartbeats, access log.
    Tidegate,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Scratch files.
    pub dir: PathBuf,
    /// tidegate's binary.
    pub tidegate: PathBuf,
    /// The backend.
    pub backend: SocketAddr,
    /// Its process.
    pub backend_pid: u32,
}

/// A running peer; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    /// Where clients without TLS connect.
    pub plain: SocketAddr,
    /// Where clients with TLS connect; the backend has none.
    pub tls: Option<SocketAddr>,
}

impl Peer {
    /// All, in the order in which they take turns.
    pub const ALL: [Peer; 5] = [Peer::Direct, Peer::Relay, Peer::Nginx, Peer::Haproxy, Peer::Tidegate];
    /// Those that speak HTTP.
    pub const PROXIES: [Peer; 3] = [Peer::Nginx, Peer::Haproxy, Peer::Tidegate];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Direct => "direct",
            Peer::Relay => "relay",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
            Peer::Tidegate => "tidegate",
        }
    }

    /// What it says of its version.
    pub fn version(self, place: &Place) -> Result<String> {
        let (program, flag) = match self {
            Peer::Direct | Peer::Relay => return Ok("-".to_owned()),
            Peer::Nginx => (PathBuf::from("/usr/sbin/nginx"), "-v"),
            Peer::Haproxy => (PathBuf::from("/usr/sbin/haproxy"), "-v"),
            Peer::Tidegate => (place.tidegate.clone(), "--version"),
        };
        let output =
            Command::new(&program).arg(flag).output().with_context(|| program.display().to_string())?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    }

    /// Starts it on free ports and waits until it listens.
    pub fn start(self, place: &Place) -> Result<Running> {
        if self == Peer::Direct {
            return Ok(Running { child: None, plain: place.backend, tls: None });
        }
        let (plain, tls) = (free()?, free()?);
        let config = place.dir.join(format!("{}.conf", self.name()));
        let log = fs::File::create(place.dir.join(format!("{}.log", self.name())))?;
        let (text, program, arguments) = match self {
            Peer::Direct | Peer::Relay => (String::new(), std::env::current_exe()?, vec!["relay"]),
            Peer::Nginx => (nginx(place, plain, tls), "/usr/sbin/nginx".into(), vec!["-c"]),
            Peer::Haproxy => (haproxy(place, plain, tls), "/usr/sbin/haproxy".into(), vec!["-db", "-f"]),
            Peer::Tidegate => (tidegate(place, plain, tls), place.tidegate.clone(), vec!["--config"]),
        };
        let mut command = on_core(PROXY_CORE, &program);
        command.args(arguments);
        match self {
            Peer::Relay => command.args([plain.to_string(), place.backend.to_string()]),
            _ => command.arg(&config),
        };
        fs::write(&config, text)?;
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let running = Running { child: Some(child), plain, tls: (self != Peer::Relay).then_some(tls) };
        wait_for(plain)
            .with_context(|| format!("{} does not listen: see {}", self.name(), config.display()))?;
        Ok(running)
    }
}

impl Running {
    /// CPU time of all its threads so far, in nanoseconds.
    pub fn cpu(&self) -> Result<u64> {
        Ok(self.pids()?.into_iter().map(machine::cpu).sum())
    }

    /// Proportional set size of all its processes, in bytes.
    pub fn pss(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.pids()? {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
            sum += line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024;
        }
        Ok(sum)
    }

    fn pids(&self) -> Result<Vec<u32>> {
        let Some(child) = &self.child else { return Ok(Vec::new()) };
        let mut pids = vec![child.id()];
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))?;
        for pid in children.split_whitespace() {
            pids.push(pid.parse()?);
        }
        Ok(pids)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // nginx ends its workers on SIGTERM; HAProxy and tidegate would wait for streams, but none is left.
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < until {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits until something listens.
pub fn wait_for(address: SocketAddr) -> Result<()> {
    let until = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            bail!("nothing listens on {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port that nobody uses now.
pub fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn nginx(place: &Place, plain: SocketAddr, tls: SocketAddr) -> String {
    let (dir, backend) = (place.dir.display(), place.backend);
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 32768; }}
http {{
    access_log {dir}/nginx.access;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    keepalive_requests 1000000000;
    upstream backend {{
        server {backend};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {plain} backlog=16384;
        listen {tls} ssl http2 backlog=16384;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;
        ssl_protocols TLSv1.3;
        tcp_nodelay on;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    )
}

fn haproxy(place: &Place, plain: SocketAddr, tls: SocketAddr) -> String {
    let (dir, backend) = (place.dir.display(), place.backend);
    format!(
        "global
    log stderr format raw local0
    nbthread 1
    maxconn 9900
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option http-keep-alive
    option http-no-delay
    http-reuse always
frontend in
    bind {plain} backlog 16384
    bind {tls} ssl crt {dir}/both.pem alpn h2,http/1.1 backlog 16384
    default_backend out
backend out
    server backend {backend}
"
    )
}

fn tidegate(place: &Place, plain: SocketAddr, tls: SocketAddr) -> String {
    let (dir, backend) = (place.dir.display(), place.backend);
    format!(
        "[[listener]]
address = \"{plain}\"
[[listener]]
address = \"{tls}\"
tls = {{ cert = \"{dir}/cert.pem\", key = \"{dir}/key.pem\" }}
[upstream.backend]
url = \"http://{backend}\"
max_idle = 1024
[[route]]
upstream = \"backend\"
[server]
workers = 1
[limits]
# All clients have the same address here.
max_connections_per_client = 16384
"
    )
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Writes the certificate of all TLS listeners into `dir`.
pub fn certificate(dir: &Path) -> Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (cert, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    fs::write(dir.join("cert.pem"), &cert)?;
    fs::write(dir.join("key.pem"), &key)?;
    fs::write(dir.join("both.pem"), format!("{cert}{key}"))?;
    Ok(())
}
