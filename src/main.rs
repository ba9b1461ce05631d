//! tidegate: arguments, configuration, log, limits, server, exit code.

#[cfg(feature = "jemalloc")]
mod allocator;

use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate::cli::{self, Failure, Task};
use tidegate::config::{self, Source};
use tidegate::demo::{Demo, DemoError};
use tidegate::log;
use tidegate::server::Server;
use tidegate::systemd::Manager;

fn main() -> ExitCode {
    let done = cli::parse(std::env::args_os()).and_then(|task| match task {
        Task::Serve(source) => serve(&source),
        Task::Check(source) => cli::check(&source).and_then(|toml| cli::print(&toml)),
        Task::Formats => cli::print(&cli::formats()),
        Task::Demo(listen) => demo(listen.as_deref()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Serves until a signal ends it.
fn serve(source: &Source) -> Result<(), Failure> {
    let (_, config) = config::read(source).map_err(Failure::Config)?;
    log::init(config.log_format, config.log_level).map_err(|error| Failure::runtime(&error))?;
    raise_fd_limit();
    #[cfg(feature = "jemalloc")]
    set_up_allocator();
    let server = Server::bind(Arc::new(config)).map_err(|error| Failure::runtime(&error))?;
    let addresses = server.addresses().join(" ");
    cli::print(&format!("tidegate {} ready on {addresses}\n", env!("CARGO_PKG_VERSION")))?;
    server.telling(Manager::of_environment()).run().map_err(|error| Failure::runtime(&error))?;
    tracing::info!("stopped");
    Ok(())
}

/// Shows the demo until a signal ends it.
fn demo(listen: Option<&str>) -> Result<(), Failure> {
    let failure = |error| match error {
        DemoError::Config(mistakes) => Failure::Config(mistakes),
        error => Failure::runtime(&error),
    };
    let demo = Demo::bind(listen).map_err(failure)?;
    log::init(demo.config().log_format, demo.config().log_level).map_err(|error| Failure::runtime(&error))?;
    cli::print(&demo.greeting())?;
    demo.run().map_err(failure)
}

#[cfg(feature = "jemalloc")]
fn set_up_allocator() {
    if let Err(error) = allocator::give_back_soon() {
        tracing::debug!(%error, "the allocator gives memory back only while there is work");
    }
}

/// Raises the soft limit of open files to the hard one, and says how many streams it allows.
fn raise_fd_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = match &raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current
        }
    };
    match limit {
        // A stream takes two: its client's connection and its upstream's.
        Some(files) => {
            tracing::info!(files, streams = files.saturating_sub(OTHER_FILES) / 2, "limit of open files");
        }
        None => tracing::info!("no limit of open files"),
    }
}

/// Open files that are no streams: listeners, workers, standard streams.
const OTHER_FILES: u64 = 64;
