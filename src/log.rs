//! The log: set up once, one access line per request.
//!
//! Lines go to standard error. Access lines have the target `access`, are written by hand, in `line`, and leave when a
//! worker has time for them (`held`); everything else of tidegate has its module, goes through `tracing`, and is written
//! at once. Nothing of what a stream carries is logged above trace, and secrets never are.

mod access;
pub(crate) mod held;
mod line;
mod logfmt;

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tracing::field::display;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::config::LogFormat;

use line::Value;

pub use access::{Access, FIELDS, Facts, refused};

/// Sends log lines to standard error, and panics to the log.
///
/// # Errors
/// It was called before.
pub fn init(format: LogFormat, level: LevelFilter) -> Result<(), AlreadySet> {
    tracing::subscriber::set_global_default(subscriber(format, level, io::stderr)).map_err(|_| AlreadySet)?;
    if level >= LevelFilter::INFO {
        ACCESS.set(format).map_err(|_| AlreadySet)?;
    }
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let place = panic.location().map(display);
        tracing::error!(place, "panic: this is a bug in tidegate; the request it happened in is lost");
        // The message can hold a piece of a stream.
        let message = panic.payload_as_str();
        tracing::trace!(place, message, "panic");
    }));
    Ok(())
}

/// How many panics there were since [`init`].
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// The log was set up before.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already; set it up once")]
pub struct AlreadySet;

/// Writes an access line, if the log is set up and has room for what goes well.
fn write_line(fields: &[(&'static str, Option<Value<'_>>)]) {
    #[cfg(test)]
    if testing::write_line(fields) {
        return;
    }
    let Some(format) = ACCESS.get() else { return };
    held::line(|line| line::access(line, *format, SystemTime::now(), fields));
}

fn subscriber<W>(
    format: LogFormat,
    level: LevelFilter,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A global filter on targets: callsites of dependencies are switched off once and for all.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let targets =
        Targets::new().with_default(others).with_target("tidegate", level).with_target("access", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        LogFormat::Logfmt => {
            Box::new(tracing_subscriber::registry().with(targets).with(layer.event_format(logfmt::Logfmt)))
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(tracing_subscriber::registry().with(targets).with(layer))
        }
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How access lines are written; unset while they are not.
static ACCESS: OnceLock<LogFormat> = OnceLock::new();

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;
    use std::io::Write as _;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    thread_local! {
        /// Never emptied: each test has a thread of its own.
        static CAPTURED: RefCell<Option<(LogFormat, Lines)>> = const { RefCell::new(None) };
    }

    /// Whether the line was captured.
    pub(super) fn write_line(fields: &[(&'static str, Option<Value<'_>>)]) -> bool {
        CAPTURED.with_borrow_mut(|captured| {
            captured.as_mut().is_some_and(|(format, lines)| {
                let mut line = Vec::new();
                line::access(&mut line, *format, SystemTime::now(), fields);
                lines.write_all(&line).is_ok()
            })
        })
    }

    /// Log lines, kept.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// Keeps what this thread logs from here on, while the guard lives.
        pub(crate) fn capture(format: LogFormat) -> (Self, tracing::subscriber::DefaultGuard) {
            let lines = Lines::default();
            CAPTURED.set(Some((format, lines.clone())));
            let guard =
                tracing::subscriber::set_default(subscriber(format, LevelFilter::INFO, lines.clone()));
            (lines, guard)
        }

        /// The access lines so far.
        pub(crate) fn access(&self) -> Vec<String> {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&bytes);
            text.lines().filter(|line| line.contains("access")).map(str::to_owned).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Lines;
        fn make_writer(&'a self) -> Lines {
            self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_silent_below_trace() {
        let at = |level, ask: fn() -> bool| {
            tracing::subscriber::with_default(subscriber(LogFormat::Logfmt, level, io::sink), ask)
        };
        let warn = || tracing::enabled!(target: "h2::codec", tracing::Level::WARN);
        let debug = || tracing::enabled!(target: "h2::codec", tracing::Level::DEBUG);
        assert!(!at(LevelFilter::ERROR, warn));
        assert!(at(LevelFilter::DEBUG, warn));
        assert!(!at(LevelFilter::DEBUG, debug));
        assert!(at(LevelFilter::TRACE, debug));
    }
}
