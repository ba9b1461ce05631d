//! tidegate beside nginx and HAProxy: what an event, a request and an idle stream cost each of them.
//!
//! Three processes on 127.0.0.1: the [backend] and the [client] share one core, the proxy has the other alone, with one
//! worker. Every byte is compared with what was sent while it is measured. The peers take turns within each
//! repetition; what is reported are medians, and medians of the ratio to nginx within a repetition.

#![forbid(unsafe_code)]

mod backend;
mod client;
mod event;
mod h1;
mod h2;
mod machine;
mod measure;
mod peers;
mod plot;
mod poll;
mod relay;
mod report;
mod scenarios;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use machine::{Backend, First, Spinners};
use peers::Place;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures and writes the report
    Run(Run),
    /// The upstream, in a process of its own
    #[command(hide = true)]
    Backend {
        /// Where to listen
        address: SocketAddr,
    },
    /// The client, in a process of its own
    #[command(hide = true)]
    Client(client::Options),
    /// The bare relay, in a process of its own
    #[command(hide = true)]
    Relay {
        /// Where to listen
        address: SocketAddr,
        /// Where to connect to
        upstream: SocketAddr,
    },
    /// Keeps a core awake until it is killed
    #[command(hide = true)]
    Spin,
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// tidegate's binary
    #[arg(long)]
    tidegate: PathBuf,
    /// Scratch files
    #[arg(long)]
    dir: PathBuf,
    /// The page to write the results into, between its markers; plots go beside it, into images/
    #[arg(long)]
    page: Option<PathBuf>,
    /// Repetitions
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only scenarios and sweeps whose name contains this; the page is left alone then
    #[arg(long, default_value = "")]
    only: String,
    /// Short runs, once, to see that all works; the figures are no good
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Backend { address } => backend::run(address),
        Task::Client(options) => {
            let seen = client::run(&options)?;
            println!("{}", serde_json::to_string(&seen)?);
            Ok(())
        }
        Task::Relay { address, upstream } => relay::run(address, upstream),
        Task::Spin => machine::spin(),
        Task::Run(run) => measure_all(run),
    }
}

fn measure_all(mut run: Run) -> Result<()> {
    if run.quick {
        run.repeat = 1;
    }
    fs::create_dir_all(&run.dir)?;
    let dir = run.dir.canonicalize()?;
    peers::certificate(&dir)?;
    machine::raise_fd_limit();
    machine::pin_harness()?;
    let _first = First::go();
    let _spinners = Spinners::start()?;
    let backend = Backend::start()?;
    let place = Place {
        dir,
        tidegate: run.tidegate.canonicalize().context("tidegate's binary")?,
        backend: backend.address,
        backend_pid: backend.pid(),
    };
    let results = scenarios::measure(&run, &place)?;
    let text = report::markdown(&run, &results, &place)?;
    println!("{text}");
    match &run.page {
        Some(page) if run.only.is_empty() => report::write(&results, &text, page),
        _ => Ok(()),
    }
}
