//! The log: set up once, one access line per request.
//!
//! Lines go to standard error. Access lines have the target `access`, are written by hand, in `line`, and leave when a
//! worker has time for them ([`held`]); everything else of tidegate has its module, goes through `tracing`, and is written
//! at once. Nothing of what a stream carries is
//! logged above trace, and secrets never are.

pub(crate) mod held;
mod line;
mod logfmt;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use tokio::time::Instant;
use tracing::field::display;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::codec::repair::Tally;
use crate::config::LogFormat;
use crate::server::client::Client;
use crate::server::stall::{self, StreamWatch};
use crate::server::worker::Worker;
use crate::stream::{Cause, Outcome, Phase};

use line::Value::{self, Number, Text, Time, Word};

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

/// One request, for its access line, which is written exactly once: by [`Access::finish`], or when it is
/// dropped. It belongs to whoever carries the request: first the handler, then the response body.
#[derive(Debug)]
pub struct Access {
    /// The request id.
    pub id: String,
    /// Index into [`Config::routes`](crate::config::Config::routes).
    pub route: Option<usize>,
    /// Index into [`Config::upstreams`](crate::config::Config::upstreams).
    pub upstream: Option<usize>,
    /// Index into the route's profiles.
    pub profile: Option<usize>,
    /// What the client was answered.
    pub status: Option<StatusCode>,
    /// The status that it was told of inside a stream, in the place of that one.
    pub told: Option<StatusCode>,
    /// The format of the upstream's stream.
    pub format: Option<&'static str>,
    /// What its media type said it was, if that is not so.
    pub label: Option<&'static str>,
    /// How the client was written to.
    pub bridge: Option<&'static str>,
    /// Its dialect.
    pub dialect: Option<&'static str>,
    /// From the beginning to the upstream's response head.
    pub ttfb: Option<Duration>,
    /// From the beginning to the first event.
    pub first_event: Option<Duration>,
    /// From the beginning to the first content.
    pub first_content: Option<Duration>,
    /// Events sent to the client.
    pub events: u64,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// Bytes that a tunnel took from the client to the upstream; of tunnels only.
    pub bytes_up: Option<u64>,
    /// Longest silence of the upstream inside the body.
    pub longest_gap: Option<Duration>,
    /// Events that were put right, and how.
    pub repaired: Tally,
    /// Cumulative texts that did not begin with what came before, and were sent whole.
    pub rewrites: u64,
    /// What went wrong, in words. Nothing of the request or the response.
    pub error: Option<String>,
    /// How far it has come: the phase of the outcome if it is dropped now.
    pub phase: Cell<Phase>,
    worker: Rc<Worker>,
    client: Rc<Client>,
    watch: Option<Rc<StreamWatch>>,
    method: Method,
    path: String,
    version: Version,
    started: Instant,
    written: bool,
}

impl Access {
    /// A request that has just come in. To be called inside the future that answers it (see
    /// [`stall::current`]).
    pub fn new(worker: Rc<Worker>, client: Rc<Client>, head: &http::request::Parts, id: String) -> Self {
        Access {
            id,
            route: None,
            upstream: None,
            profile: None,
            status: None,
            told: None,
            format: None,
            label: None,
            bridge: None,
            dialect: None,
            ttfb: None,
            first_event: None,
            first_content: None,
            events: 0,
            bytes: 0,
            bytes_up: None,
            longest_gap: None,
            repaired: Tally::default(),
            rewrites: 0,
            error: None,
            phase: Cell::new(Phase::Request),
            worker,
            client,
            watch: stall::current(),
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            version: head.version,
            started: Instant::now(),
            written: false,
        }
    }

    /// Since the request came in.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// From when the request came in to `at`.
    pub fn since_start(&self, at: Instant) -> Duration {
        at.duration_since(self.started)
    }

    /// Why the request ended, if it is dropped now.
    pub fn left(&self) -> Cause {
        if std::thread::panicking() {
            return Cause::TidegatePanic;
        }
        let reset = self.watch.as_ref().and_then(|watch| watch.left.get());
        reset.unwrap_or_else(|| self.client.left.get())
    }

    /// The watch over the HTTP/2 stream that the request came on.
    pub fn watch(&self) -> Option<&Rc<StreamWatch>> {
        self.watch.as_ref()
    }

    /// Writes the access line, and counts the request. Only the first call counts.
    pub fn finish(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let duration = self.elapsed();
        self.worker.metrics.ended(self, duration, outcome);
        let config = &self.worker.config;
        let route = self.route.and_then(|index| config.routes.get(index));
        let upstream = self.upstream.and_then(|index| config.upstreams.get(index));
        let profile = route.zip(self.profile).and_then(|(route, index)| route.profiles.choices.get(index));
        let repaired = (self.repaired.count > 0).then_some(self.repaired);
        let repairs = repaired.map(|tally| tally.kinds.names().collect::<Vec<_>>().join(","));
        let outcome_word = outcome.to_string();
        write_line(&[
            ("id", Some(Text(&self.id))),
            ("route", route.map(|route| Text(&route.name))),
            ("upstream", upstream.map(|upstream| Text(&upstream.name))),
            ("profile", profile.map(|profile| Text(&profile.name))),
            ("client", Some(Text(&self.client.name))),
            ("method", Some(Text(self.method.as_str()))),
            ("path", Some(Text(&self.path))),
            ("version", Some(Word(version(self.version)))),
            ("status", self.status.map(status)),
            ("told", self.told.map(status)),
            ("format", self.format.map(Word)),
            ("label", self.label.map(Word)),
            ("dialect", self.dialect.map(Word)),
            ("bridge", self.bridge.map(Word)),
            ("ttfb_ms", self.ttfb.map(Time)),
            ("first_event_ms", self.first_event.map(Time)),
            ("first_content_ms", self.first_content.map(Time)),
            ("events", Some(Number(self.events))),
            ("bytes", Some(Number(self.bytes))),
            ("bytes_up", self.bytes_up.map(Number)),
            ("longest_gap_ms", self.longest_gap.map(Time)),
            ("repaired", repaired.map(|tally| Number(tally.count))),
            ("repairs", repairs.as_deref().map(Text)),
            ("rewrites", (self.rewrites > 0).then_some(Number(self.rewrites))),
            ("duration_ms", Some(Time(duration))),
            ("outcome", Some(Word(&outcome_word))),
            ("phase", Some(Word(outcome.phase.name()))),
            ("error", self.error.as_deref().map(Text)),
        ]);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.finish(Outcome::new(self.left(), self.phase.get()));
    }
}

/// The access line of a request that was refused, or broken off, before its head was complete.
/// `status` is what the client was answered, if anything.
pub fn refused(worker: &Worker, client: &Client, status: Option<u16>, cause: Cause) {
    worker.metrics.refused(cause);
    let outcome = Outcome::new(cause, Phase::Request);
    write_line(&[
        ("client", Some(Text(&client.name))),
        ("method", Some(Word("-"))),
        ("status", status.map(|status| Number(status.into()))),
        ("outcome", Some(Text(&outcome.to_string()))),
        ("phase", Some(Word(outcome.phase.name()))),
    ]);
}

/// Writes an access line, if the log is set up and has room for what goes well.
fn write_line(fields: &[(&'static str, Option<Value<'_>>)]) {
    #[cfg(test)]
    if testing::write_line(fields) {
        return;
    }
    let Some(format) = ACCESS.get() else { return };
    held::line(|line| line::access(line, *format, SystemTime::now(), fields));
}

fn status(status: StatusCode) -> Value<'static> {
    Number(status.as_u16().into())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
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

/// The fields of an access line, in their order, and what they mean.
pub const FIELDS: &[(&str, &str)] = &[
    (
        "id",
        "The request id, a new one or that of a trusted proxy; client and upstream get it as `x-request-id`.",
    ),
    ("route", "The name of the route."),
    ("upstream", "The name of the upstream."),
    ("profile", "The profile of the client, named or found (`stream.profile`)."),
    ("client", "Address and port of the peer, or `unix`."),
    ("method", "The method; `-` if the head was not complete."),
    ("path", "The path that the client asked for, without its query."),
    ("version", "The HTTP version that the client speaks."),
    ("status", "The status that the client got."),
    (
        "told",
        "The status that it would have got, where it was told of it inside a stream (`stream.errors`, `stream.early_head`).",
    ),
    ("format", "The format of the upstream's stream, if tidegate read it."),
    ("dialect", "Its dialect, as far as the events confirmed it."),
    ("bridge", "How the client was written to, if tidegate wrote the body anew."),
    ("ttfb_ms", "From the request head to the upstream's response head, in milliseconds."),
    ("first_event_ms", "From the request head to the first event, in milliseconds."),
    (
        "first_content_ms",
        "From the request head to the first event with content (text, reasoning, a tool call), in milliseconds.",
    ),
    ("events", "Events sent to the client, or put together to its answer."),
    ("bytes", "Body bytes sent to the client; in a tunnel all bytes."),
    ("bytes_up", "Bytes that a tunnel took from the client to the upstream; of tunnels only."),
    ("longest_gap_ms", "Longest silence of the upstream inside the body, in milliseconds."),
    ("label", "What the media type said that the stream is, if the bytes said otherwise."),
    ("repaired", "Events that were put right."),
    ("repairs", "Which repairs that took."),
    ("rewrites", "Texts that `stream.to_delta` found rewritten, and that were sent whole."),
    ("duration_ms", "From the request head to the end, in milliseconds."),
    ("outcome", "How it ended: one of the words above."),
    ("phase", "How far it had come."),
    ("error", "What went wrong, in words."),
];

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
    use super::testing::Lines;
    use super::*;

    fn access() -> Access {
        let head = http::Request::get("/v1/chat?key=hidden").body(()).expect("a request").into_parts().0;
        let client = Rc::new(Client::new(Some(([192, 0, 2, 1], 4711).into()), None, false));
        Access::new(
            crate::server::testing::worker(crate::server::testing::config()),
            client,
            &head,
            "abc".to_owned(),
        )
    }

    #[test]
    fn line_has_every_field_in_logfmt() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let mut access = access();
        access.status = Some(StatusCode::OK);
        access.format = Some("sse");
        access.dialect = Some("generic");
        access.ttfb = Some(Duration::from_micros(1_240));
        access.first_event = Some(Duration::from_millis(2));
        access.first_content = Some(Duration::from_millis(3));
        access.longest_gap = Some(Duration::from_secs(1));
        access.events = 3;
        access.bytes = 120;
        access.bytes_up = Some(7);
        access.error = Some("the upstream closed".to_owned());
        access.finish(Outcome::new(Cause::UpstreamTruncated, Phase::Body));
        drop(access);
        let lines = lines.access();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for field in [
            "level=info",
            "target=access",
            "id=abc",
            "client=192.0.2.1:4711",
            "method=GET",
            "path=/v1/chat ",
            "version=HTTP/1.1",
            "status=200",
            "format=sse",
            "dialect=generic",
            "ttfb_ms=1.2 ",
            "first_event_ms=2",
            "first_content_ms=3",
            "events=3",
            "bytes=120",
            "bytes_up=7",
            "longest_gap_ms=1000",
            "duration_ms=",
            "outcome=upstream:truncated",
            "phase=body",
            "error=\"the upstream closed\"",
        ] {
            assert!(lines[0].contains(field), "{field} in {}", lines[0]);
        }
        assert!(!lines[0].contains("hidden"), "{}", lines[0]);
    }

    #[test]
    fn line_is_one_flat_object_in_json() {
        let (lines, _guard) = Lines::capture(LogFormat::Json);
        access().finish(Outcome::DONE);
        let lines = lines.access();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(line["target"], "access");
        assert_eq!(line["message"], "request");
        assert_eq!(line["id"], "abc");
        assert_eq!(line["events"], 0);
        assert_eq!(line["outcome"], "done");
        assert_eq!(line["phase"], "end");
        assert!(line.get("status").is_none(), "nothing was answered");
        assert!(line["duration_ms"].is_number());
    }

    #[test]
    fn line_of_a_dropped_request_tells_who_left() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let gone = access();
        gone.phase.set(Phase::Head);
        drop(gone);
        let drained = access();
        drained.client.left.set(Cause::TidegateDrain);
        drop(drained);
        let lines = lines.access();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("outcome=client:gone phase=head"), "{}", lines[0]);
        assert!(lines[1].contains("outcome=tidegate:drain phase=request"), "{}", lines[1]);
    }

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

    #[test]
    fn line_of_a_panic_does_not_blame_the_client() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let access = access();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _access = access;
            panic!("a test");
        }));
        assert!(result.is_err());
        assert!(lines.access()[0].contains("outcome=tidegate:panic"), "{:?}", lines.access());
    }

    #[test]
    fn refused_request_has_no_method() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        refused(
            &crate::server::testing::worker(crate::server::testing::config()),
            &Client::new(None, None, false),
            Some(431),
            Cause::ClientMalformed,
        );
        let lines = lines.access();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("client=unix method=- status=431 outcome=client:malformed phase=request"),
            "{}",
            lines[0]
        );
    }
}
