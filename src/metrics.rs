//! Counts and times of the whole process, and where a monitoring system reads them.
//!
//! Counted where the access line is written, so that both tell the same; nothing is counted per event, and nothing
//! of a request is in a label but the name of its route. `serve` answers `GET /metrics` in the text format of
//! [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/), on a listener of its own: no route can
//! hide it, or show it to clients. Beside the path: [`crate::log`] counts, [`crate::server`] serves.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::log::{self, Facts};
use crate::stream::{Budget, Cause, Outcome};

/// The counts of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<[(&'static str, String); 2], Counter>,
    /// In the order of [`Config::routes`].
    routes: Vec<Route>,
    /// Of requests that found no route.
    unrouted: Outcomes,
    running: Gauge,
    held: Gauge,
    panics: Counter,
    /// Requests that wait for their response, and live response streams, of all workers.
    pub(crate) streams: Arc<AtomicUsize>,
    budget: Arc<Budget>,
}

/// What is counted by route.
#[derive(Debug)]
struct Route {
    name: String,
    outcomes: Outcomes,
    duration: Histogram,
    first_content: Histogram,
    events: Counter,
    bytes: Counter,
    repaired: Counter,
    mislabelled: Counter,
}

/// The counters of [`Metrics::requests`] for one route, in the order of [`Cause::ALL`]: each is there, and shown, once
/// there was such a request, and is found without its labels from then on.
type Outcomes = [OnceLock<Counter>; Cause::ALL.len()];

impl Metrics {
    /// Counts from zero for the routes of `config`. What `budget` holds is shown with them.
    pub fn new(config: &Config, budget: Arc<Budget>) -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let requests = register(&mut registry, "requests", Family::default());
        let seconds = || Family::new_with_constructor(|| Histogram::new(SECONDS));
        let duration = register(&mut registry, "request_duration_seconds", seconds());
        let first_content = register(&mut registry, "first_content_seconds", seconds());
        let mut counter = |name| register(&mut registry, name, Family::<Label, Counter>::default());
        let (events, bytes) = (counter("events"), counter("body_bytes"));
        let (repaired, mislabelled) = (counter("repaired_events"), counter("mislabelled_streams"));
        let routes = config.routes.iter().map(|route| {
            let label = [("route", route.name.clone())];
            Route {
                name: route.name.clone(),
                outcomes: none_yet(),
                duration: duration.get_or_create_owned(&label),
                first_content: first_content.get_or_create_owned(&label),
                events: events.get_or_create_owned(&label),
                bytes: bytes.get_or_create_owned(&label),
                repaired: repaired.get_or_create_owned(&label),
                mislabelled: mislabelled.get_or_create_owned(&label),
            }
        });
        Metrics {
            routes: routes.collect(),
            unrouted: none_yet(),
            requests,
            running: register(&mut registry, "running", Gauge::default()),
            held: register(&mut registry, "held_bytes", Gauge::default()),
            panics: register(&mut registry, "panics", Counter::default()),
            registry,
            streams: Arc::default(),
            budget,
        }
    }

    /// A request on `route` has ended after `duration`: to be called once for each, with what its access line says.
    pub fn ended(&self, route: Option<usize>, facts: &Facts<'_>, duration: Duration, outcome: Outcome) {
        let Some(route) = route.and_then(|index| self.routes.get(index)) else {
            return self.refused(outcome.cause);
        };
        self.count(&route.name, &route.outcomes, outcome.cause);
        route.duration.observe(duration.as_secs_f64());
        if let Some(first_content) = facts.first_content {
            route.first_content.observe(first_content.as_secs_f64());
        }
        route.events.inc_by(facts.events);
        route.bytes.inc_by(facts.bytes);
        route.repaired.inc_by(facts.repaired.count);
        route.mislabelled.inc_by(facts.label.is_some().into());
    }

    /// A request found no route, or its head was never complete.
    pub fn refused(&self, cause: Cause) {
        self.count(NO_ROUTE, &self.unrouted, cause);
    }

    fn count(&self, route: &str, outcomes: &Outcomes, cause: Cause) {
        let labels = || [("route", route.to_owned()), ("outcome", cause.to_string())];
        let counter = || self.requests.get_or_create_owned(&labels());
        if let Some(outcome) = outcomes.get(cause as usize) {
            outcome.get_or_init(counter).inc();
        }
    }

    /// Everything, as text.
    fn text(&self) -> Result<String, fmt::Error> {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.running.set(number(self.streams.load(Ordering::Relaxed)));
        self.held.set(number(self.budget.held()));
        self.panics.inc_by(log::panics().saturating_sub(self.panics.get()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if request.uri().path() != PATH {
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        } else if let Ok(text) = self.text() {
            *response.body_mut() = Full::from(text);
            response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
        } else {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    }
}

/// Answers on `listener` for ever. Eight connections at a time, and none for longer than five seconds: one that says
/// nothing keeps nobody waiting, and many that say nothing not for long.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> Infallible {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so never an error.
        let seat = Arc::clone(&seats).acquire_owned().await;
        let Ok((socket, _)) = listener.accept().await else {
            // As when the process has no descriptor left: to try again at once would take the whole worker.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = Arc::clone(&metrics);
        tokio::task::spawn_local(async move {
            let _seat = seat;
            let answer = service_fn(|request: Request<Incoming>| {
                let response = metrics.answer(&request);
                async { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
            // A client that breaks off or sends no HTTP hurts only itself.
            let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(socket), answer)).await;
        });
    }
}

fn none_yet() -> Outcomes {
    [const { OnceLock::new() }; Cause::ALL.len()]
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &'static str, metric: M) -> M {
    let about = METRICS.iter().find(|(known, _)| known.strip_suffix("_total").unwrap_or(known) == name);
    let meaning = about.map_or("", |(_, meaning)| meaning.trim_end_matches('.'));
    registry.register(name, meaning, metric.clone());
    metric
}

type Label = [(&'static str, String); 1];

/// What is counted, by name without its prefix `tidegate_`, and what it means.
pub const METRICS: &[(&str, &str)] = &[
    (
        "requests_total",
        "Requests that ended, by `route` (empty where none was found) and `outcome`, in the words of the log.",
    ),
    ("request_duration_seconds", "From the request head to the end, by `route`: a histogram."),
    (
        "first_content_seconds",
        "From the request head to the first content of a stream, by `route`: a histogram.",
    ),
    ("events_total", "Events sent to clients, by `route`."),
    ("body_bytes_total", "Body bytes sent to clients, by `route`."),
    ("repaired_events_total", "Events that were put right, by `route`."),
    (
        "mislabelled_streams_total",
        "Streams whose media type said another format than their bytes, by `route`.",
    ),
    ("running", "Requests that wait for their response, and streams that run."),
    ("held_bytes", "Bytes of unfinished events that are held now; `limits.max_carry_total` bounds them."),
    ("panics_total", "Panics: each is a bug, and cost one request."),
];

/// Where they are read.
pub const PATH: &str = "/metrics";

/// The `route` of requests that found none.
const NO_ROUTE: &str = "";

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Upper bounds of the buckets of histograms, in seconds: from an answer out of a cache to a model that thinks.
const SECONDS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Connections that are answered at the same time.
const MAX_CONNECTIONS: usize = 8;

/// The longest that one may take.
const PATIENCE: Duration = Duration::from_secs(5);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// hyper's least.
const MAX_HEAD_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Phase;

    fn metrics() -> Metrics {
        let text = "upstream.u.url = 'http://127.0.0.1:1'\n[[route]]\nname = 'chat'\nupstream = 'u'";
        let config = crate::config::parse(text, "config.toml").expect("a config");
        Metrics::new(&config, Arc::new(Budget::new(1 << 20)))
    }

    fn ask(metrics: &Metrics, method: Method, path: &str) -> StatusCode {
        metrics.answer(&Request::builder().method(method).uri(path).body(()).expect("a request")).status()
    }

    #[test]
    fn every_metric_is_in_the_text_and_nothing_else() {
        let metrics = metrics();
        metrics.refused(Cause::ClientMalformed);
        let text = metrics.text().expect("text");
        let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP tidegate_")).collect();
        assert_eq!(told.len(), METRICS.len(), "{text}");
        for (name, meaning) in METRICS {
            let name = name.trim_end_matches("_total");
            assert!(told.contains(&format!("{name} {meaning}").as_str()), "{name}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn refusals_are_counted_by_their_outcome() {
        let metrics = metrics();
        for _ in 0..3 {
            metrics.refused(Outcome::new(Cause::ClientMalformed, Phase::Request).cause);
        }
        let text = metrics.text().expect("text");
        let line = r#"tidegate_requests_total{route="",outcome="client:malformed"} 3"#;
        assert!(text.lines().any(|other| other == line), "{text}");
    }

    #[test]
    fn only_get_and_head_of_the_path_are_answered() {
        let metrics = metrics();
        assert_eq!(ask(&metrics, Method::GET, "/metrics"), StatusCode::OK);
        assert_eq!(ask(&metrics, Method::HEAD, "/metrics?x"), StatusCode::OK);
        assert_eq!(ask(&metrics, Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&metrics, Method::GET, "/"), StatusCode::NOT_FOUND);
    }
}
