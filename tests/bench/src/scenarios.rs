//! What is measured, and the results.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::Run;
use crate::machine;
use crate::measure::{self, Cost, Figure, Load, Memory, Unit};
use crate::peers::{Peer, Place};

/// Something that the client does, and what is read off.
#[derive(Debug)]
struct Scenario {
    load: Load,
    /// Rows of the table: name, what is read.
    rows: &'static [(&'static str, Reading)],
    peers: &'static [Peer],
}

/// What is read off a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// CPU microseconds of the proxy per unit.
    Cpu,
    /// What the proxy adds, in microseconds, between the sending of an event and its arrival, in the median: against
    /// [`Peer::Direct`] in the same repetition.
    Added,
    /// Microseconds from the request to the first event, the median.
    FirstEvent,
    /// Per cent of chunks that begin or end inside an event.
    Misaligned,
    /// Proportional set size in bytes of one idle stream.
    Idle,
    /// Megabytes kept.
    Kept,
}

/// Values by scenario and peer, one for each repetition.
#[derive(Debug, Default)]
pub struct Results {
    /// The main table, in order.
    pub rows: Vec<Row>,
    /// Cost against something: title, unit of x, then for each peer the points.
    pub sweeps: Vec<Sweep>,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// What its values are.
    pub reading: Reading,
    /// For each peer a value of each repetition.
    pub values: BTreeMap<&'static str, Vec<f64>>,
    /// The same, of everything that cost something.
    pub costs: BTreeMap<&'static str, Vec<Cost>>,
}

/// One plot.
#[derive(Debug)]
pub struct Sweep {
    /// Also the name of its file.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The axis.
    pub x: &'static str,
    /// For each peer: x and the median of y.
    pub lines: BTreeMap<&'static str, Vec<(f64, f64)>>,
}

/// Measures everything that was asked for.
pub fn measure(run: &Run, place: &Place) -> Result<Results> {
    let mut results = Results::default();
    for scenario in scenarios(if run.quick { 1_000 } else { SCENARIO_MS }) {
        if scenario.rows.iter().any(|(name, _)| name.contains(&run.only)) {
            results.rows.extend(play(run, place, &scenario)?);
        }
    }
    for (name, tls) in [("idle", false), ("idle, TLS 1.3", true)] {
        if name.contains(&run.only) {
            results.rows.extend(idle(run, place, name, tls)?);
        }
    }
    sweeps(run, place, &mut results)?;
    Ok(results)
}

fn play(run: &Run, place: &Place, scenario: &Scenario) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> =
        scenario.rows.iter().map(|(name, reading)| Row::new((*name).to_owned(), *reading)).collect();
    for _ in 0..run.repeat {
        let mut direct = 0.0;
        for peer in scenario.peers {
            let figure = measure::load(*peer, place, &scenario.load)
                .with_context(|| format!("{} through {}", rows[0].name, peer.name()))?;
            if *peer == Peer::Direct {
                direct = latency(&figure);
            }
            for row in &mut rows {
                let value = match row.reading {
                    Reading::Cpu => figure.cost.proxy,
                    Reading::Added if *peer == Peer::Direct => latency(&figure),
                    Reading::Added => latency(&figure) - direct,
                    Reading::FirstEvent => middle(figure.seen.first_event),
                    Reading::Misaligned => {
                        100.0 * figure.seen.misaligned as f64 / figure.seen.chunks.max(1) as f64
                    }
                    Reading::Idle | Reading::Kept => continue,
                };
                tell(&row.name, *peer, value, &figure.cost);
                row.values.entry(peer.name()).or_default().push(value);
                row.costs.entry(peer.name()).or_default().push(figure.cost);
            }
        }
    }
    Ok(rows)
}

fn tell(name: &str, peer: Peer, value: f64, cost: &Cost) {
    let Cost { rate, proxy_share, harness_share, others, .. } = cost;
    eprintln!(
        "{name:<52} {:<9} {value:>10.2}   {rate:>9.0}/s, cores: proxy {proxy_share:.2}, harness {harness_share:.2}, others \
         {others:.2}",
        peer.name()
    );
}

fn latency(figure: &Figure) -> f64 {
    middle(figure.seen.latency)
}

fn middle(quantiles: Option<[u64; 3]>) -> f64 {
    quantiles.map_or(f64::NAN, |[_, median, _]| median as f64 / 1_000.0)
}

fn scenarios(ms: u64) -> Vec<Scenario> {
    let paced =
        Load { target: format!("/stream?gap=50000000&ms={ms}&cut=1"), connections: 1000, ..Load::default() };
    let flat = Load { target: format!("/stream?ms={ms}&cut=1"), connections: 64, ..Load::default() };
    let ten = Load {
        target: "/stream?n=10".to_owned(),
        connections: 64,
        repeat_ms: ms,
        unit: Unit::Response,
        ..Load::default()
    };
    let json = Load { target: "/json".to_owned(), ..ten.clone() };
    let calm = Load { target: format!("/stream?gap=20000000&ms={ms}"), connections: 100, ..Load::default() };
    let first = Load { target: "/stream?n=1".to_owned(), connections: 1, repeat_ms: ms, ..Load::default() };
    let tls = |load: &Load| Load { tls: true, ..load.clone() };
    let h2 = |load: &Load, connections| Load {
        tls: true,
        connections,
        multiplexed: load.connections / connections,
        ..load.clone()
    };
    let (paced_tls, flat_tls, paced_h2, flat_h2) = (tls(&paced), tls(&flat), h2(&paced, 20), h2(&flat, 8));
    let scenario = |load, peers, rows| Scenario { load, rows, peers };
    vec![
        scenario(
            paced,
            FLOOR,
            &[
                ("paced: 1,000 streams × 20 events/s, CPU µs/event", Reading::Cpu),
                ("the same: chunks cut inside an event, %", Reading::Misaligned),
            ],
        ),
        scenario(flat, FLOOR, &[("flat out: 64 streams, CPU µs/event", Reading::Cpu)]),
        scenario(ten, FLOOR, &[("churn: streams of 10 events, CPU µs/stream", Reading::Cpu)]),
        scenario(json, FLOOR, &[("small JSON POST, CPU µs/request", Reading::Cpu)]),
        scenario(calm, &Peer::ALL, &[("added to an event, 100 streams × 50/s, p50 µs", Reading::Added)]),
        scenario(first, &Peer::ALL, &[("request to first event, p50 µs", Reading::FirstEvent)]),
        scenario(paced_tls, &Peer::PROXIES, &[("paced, TLS 1.3: 1,000 streams, CPU µs/event", Reading::Cpu)]),
        scenario(flat_tls, &Peer::PROXIES, &[("flat out, TLS 1.3: 64 streams, CPU µs/event", Reading::Cpu)]),
        scenario(paced_h2, &Peer::PROXIES, &[("paced, HTTP/2: 20 × 50 streams, CPU µs/event", Reading::Cpu)]),
        scenario(flat_h2, &Peer::PROXIES, &[("flat out, HTTP/2: 8 × 8 streams, CPU µs/event", Reading::Cpu)]),
    ]
}

fn idle(run: &Run, place: &Place, name: &str, tls: bool) -> Result<[Row; 2]> {
    let streams = machine::most_streams().min(if run.quick { 500 } else { IDLE_STREAMS });
    let mut rows = [
        Row::new(format!("{name}: {streams} streams, PSS bytes/stream"), Reading::Idle),
        Row::new("PSS kept 2 s after they closed, MB".to_owned(), Reading::Kept),
    ];
    let peers = if tls { &Peer::PROXIES[..] } else { FLOOR };
    for _ in 0..run.repeat {
        for peer in peers.iter().copied() {
            let Memory { idle, kept } = measure::memory(peer, place, streams, tls)
                .with_context(|| format!("{name} through {}", peer.name()))?;
            eprintln!("{:<52} {:<9} {idle:>10.0}   {:.1} MB kept", rows[0].name, peer.name(), kept / 1e6);
            rows[0].values.entry(peer.name()).or_default().push(idle);
            rows[1].values.entry(peer.name()).or_default().push(kept / 1e6);
        }
    }
    Ok(rows)
}

fn sweeps(run: &Run, place: &Place, results: &mut Results) -> Result<()> {
    let (ms, every) = if run.quick { (800, 4) } else { (SWEEP_MS, 1) };
    if "cost-by-size".contains(&run.only) {
        let sizes = [100, 300, 1_000, 4_000, 16_000, 64_000, 250_000, 1_000_000];
        let loads = sizes.iter().step_by(every).map(|size| {
            let target = format!("/stream?ms={ms}&cut=1&size={size}");
            (*size as f64, Load { target, connections: 16, size: *size, ..Load::default() })
        });
        let title = "CPU µs per event, 16 streams flat out";
        results.sweeps.push(sweep(
            run,
            place,
            ("cost-by-size", title, "bytes of an event"),
            loads.collect(),
        )?);
    }
    if "cost-by-streams".contains(&run.only) {
        let streams = [10_usize, 100, 1_000, 4_000, IDLE_STREAMS];
        let most = if run.quick { 1_000 } else { machine::most_streams() };
        let loads = streams.iter().filter(|streams| **streams <= most).map(|streams| {
            let gap = *streams as u64 * 1_000_000_000 / EVENTS_PER_SECOND;
            // They open at 5,000 a second; each sends a few events at least.
            let ms = ms + *streams as u64 / 2;
            let target = format!("/stream?gap={gap}&ms={ms}&cut=1");
            (*streams as f64, Load { target, connections: *streams, ..Load::default() })
        });
        let title = "CPU µs per event, 10,000 events/s in all";
        results.sweeps.push(sweep(run, place, ("cost-by-streams", title, "streams"), loads.collect())?);
    }
    Ok(())
}

fn sweep(
    run: &Run,
    place: &Place,
    (name, title, x): (&'static str, &'static str, &'static str),
    loads: Vec<(f64, Load)>,
) -> Result<Sweep> {
    let mut sweep = Sweep { name, title, x, lines: BTreeMap::new() };
    for (at, load) in loads {
        let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for _ in 0..run.repeat {
            for peer in FLOOR.iter().copied() {
                let figure = measure::load(peer, place, &load)
                    .with_context(|| format!("{name} {at} {}", peer.name()))?;
                tell(&format!("{name} {at}"), peer, figure.cost.proxy, &figure.cost);
                values.entry(peer.name()).or_default().push(figure.cost.proxy);
            }
        }
        for (peer, mut values) in values {
            sweep.lines.entry(peer).or_default().push((at, median(&mut values)));
        }
    }
    Ok(sweep)
}

impl Row {
    fn new(name: String, reading: Reading) -> Self {
        Row { name, reading, values: BTreeMap::new(), costs: BTreeMap::new() }
    }
}

/// The median; NaN of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whoever can stand between client and backend without TLS.
const FLOOR: &[Peer] = &[Peer::Relay, Peer::Nginx, Peer::Haproxy, Peer::Tidegate];
const SCENARIO_MS: u64 = 5_000;
const SWEEP_MS: u64 = 2_000;
const IDLE_STREAMS: usize = 9_500;
const EVENTS_PER_SECOND: u64 = 10_000;
