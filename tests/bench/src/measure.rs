//! One measurement: a peer, a client's task, and what both cost and saw.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{BUCKET_NS, CONNECTIONS_PER_SECOND, Seen};
use crate::machine;
use crate::peers::{Peer, Place, Running};
use crate::poll::now;

/// What the client does.
#[derive(Debug, Clone)]
pub struct Load {
    /// What it asks for.
    pub target: String,
    /// Connections.
    pub connections: usize,
    /// Streams of each; 0 is HTTP/1.1.
    pub multiplexed: usize,
    /// Over TLS.
    pub tls: bool,
    /// Bytes of an event.
    pub size: usize,
    /// Ask again and again for so long.
    pub repeat_ms: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a cost is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events.
    Event,
    /// Responses.
    Response,
}

/// What came of it.
#[derive(Debug)]
pub struct Figure {
    /// What the proxy, client and backend cost.
    pub cost: Cost,
    /// What the client saw.
    pub seen: Seen,
}

/// CPU time against what was done, while the load was full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// CPU microseconds of the proxy per unit: the lower quartile of the parts. NaN if nothing was done.
    pub proxy: f64,
    /// CPU microseconds of client and backend per unit.
    pub harness: f64,
    /// Units a second.
    pub rate: f64,
    /// How much of its core the proxy used, 0 to 1.
    pub proxy_share: f64,
    /// How much of theirs client and backend used, 0 to 1.
    pub harness_share: f64,
    /// How many cores everybody else used.
    pub others: f64,
}

/// Memory of idle streams.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// PSS per idle stream, in bytes.
    pub idle: f64,
    /// PSS kept after all were closed, in bytes.
    pub kept: f64,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            target: String::new(),
            connections: 1,
            multiplexed: 0,
            tls: false,
            size: 200,
            repeat_ms: 0,
            unit: Unit::Event,
        }
    }
}

/// Puts a load on a fresh process of the peer.
pub fn load(peer: Peer, place: &Place, load: &Load) -> Result<Figure> {
    let running = peer.start(place)?;
    let mut client = client(place, &running, load, &[])?;
    let client_pid = client.child.id();
    let over = AtomicBool::new(false);
    let (samples, seen) = std::thread::scope(|scope| -> Result<_> {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !over.load(Ordering::Relaxed) {
                samples.push(Sample::take(&running, client_pid, place)?);
                std::thread::sleep(PART);
            }
            anyhow::Ok(samples)
        });
        let seen = client.finish();
        over.store(true, Ordering::Relaxed);
        let samples = sampler.join().map_err(|_| anyhow::anyhow!("the sampler died"))??;
        Ok((samples, seen?))
    })?;
    ensure!(seen.error_count == 0, "{}: {} errors: {:?}", peer.name(), seen.error_count, seen.errors);
    let counts = match load.unit {
        Unit::Event => &seen.events_by_time,
        Unit::Response => &seen.responses_by_time,
    };
    Ok(Figure { cost: cost(&samples, seen.start, counts), seen })
}

/// Opens silent streams, and closes them.
pub fn memory(peer: Peer, place: &Place, connections: usize, tls: bool) -> Result<Memory> {
    let running = peer.start(place)?;
    // One stream first: what is made once is not counted.
    let once = Load { target: "/stream?n=1".to_owned(), tls, ..Load::default() };
    client(place, &running, &once, &[])?.finish()?;
    std::thread::sleep(SETTLE);
    let base = running.pss()?;
    let idle =
        Load { target: "/stream?gap=600000000000&at-once=1".to_owned(), connections, tls, ..Load::default() };
    let rate = if tls { HANDSHAKES_PER_SECOND } else { CONNECTIONS_PER_SECOND }.to_string();
    let mut client = client(place, &running, &idle, &["--hold-ms", "5000", "--rate", &rate])?;
    client.wait_for_line()?;
    std::thread::sleep(SETTLE);
    let full = running.pss()?;
    let seen = client.finish()?;
    ensure!(seen.error_count == 0, "{}: {:?}", peer.name(), seen.errors);
    std::thread::sleep(SETTLE);
    let after = running.pss()?;
    Ok(Memory {
        idle: full.saturating_sub(base) as f64 / connections as f64,
        kept: after.saturating_sub(base) as f64,
    })
}

struct Client {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

fn client(place: &Place, running: &Running, load: &Load, more: &[&str]) -> Result<Client> {
    let address: SocketAddr = if load.tls { running.tls.context("no TLS here")? } else { running.plain };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["client", "--address", &address.to_string(), "--target", &load.target]);
    command.args(["--connections", &load.connections.to_string()]);
    command.args(["--multiplexed", &load.multiplexed.to_string(), "--size", &load.size.to_string()]);
    command.args(["--repeat-ms", &load.repeat_ms.to_string()]);
    if load.tls {
        command.arg("--ca").arg(place.dir.join("cert.pem"));
    }
    let mut child = command.args(more).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    Ok(Client { child, output })
}

impl Client {
    fn wait_for_line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "the client ended early");
        Ok(line)
    }

    fn finish(&mut self) -> Result<Seen> {
        let line = self.wait_for_line()?;
        ensure!(self.child.wait()?.success(), "the client failed");
        Ok(serde_json::from_str(&line)?)
    }
}

/// CPU times so far, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: u64,
    proxy: u64,
    harness: u64,
    all: u64,
}

impl Sample {
    fn take(running: &Running, client: u32, place: &Place) -> Result<Self> {
        let harness = machine::cpu(client) + machine::cpu(place.backend_pid);
        Ok(Sample { at: now(), proxy: running.cpu()?, harness, all: machine::cpu_of_all()? })
    }
}

fn cost(samples: &[Sample], start: u64, counts: &[u64]) -> Cost {
    let mut sums = vec![0];
    for count in counts {
        sums.push(sums[sums.len() - 1] + count);
    }
    let until = |time: u64| {
        let index = (time.saturating_sub(start) / BUCKET_NS) as usize;
        sums[index.min(sums.len() - 1)] as f64
    };
    // The first and the last fifth are the way up and down.
    let length = counts.len() as u64 * BUCKET_NS;
    let (from, to) = (start + length / 5, start + length * 4 / 5);
    let inside: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= from && sample.at <= to).collect();
    let units = |pair: &[&Sample]| until(pair[pair.len() - 1].at) - until(pair[0].at);
    let microseconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1_000.0;
    let mut parts: Vec<f64> = inside
        .windows(2)
        .filter(|pair| units(pair) > 0.0)
        .map(|pair| microseconds(pair[0].proxy, pair[1].proxy) / units(pair))
        .collect();
    parts.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else { return Cost::default() };
    let time = microseconds(first.at, last.at);
    let proxy_share = microseconds(first.proxy, last.proxy) / time;
    let harness_share = microseconds(first.harness, last.harness) / time;
    Cost {
        proxy: parts.get(parts.len() / 4).copied().unwrap_or(f64::NAN),
        harness: microseconds(first.harness, last.harness) / units(&inside),
        rate: units(&inside) * 1e6 / time,
        proxy_share,
        harness_share,
        others: (microseconds(first.all, last.all) / time - proxy_share - harness_share).max(0.0),
    }
}

const PART: Duration = Duration::from_millis(200);
/// How fast idle connections with TLS open: slower than any peer shakes hands, so that none of them runs into a timeout.
const HANDSHAKES_PER_SECOND: u64 = 1_000;
/// Memory is read this long after what changes it.
const SETTLE: Duration = Duration::from_secs(2);
