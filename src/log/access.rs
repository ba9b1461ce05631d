//! The access line: what is known of a request while it runs, and what it came to.
//!
//! An idle stream keeps its [`Access`] as long as it lives, so that holds only what nobody else knows: what the session
//! counts and finds out comes at the end, as [`Facts`]. Whoever carries the request has it: first [`crate::proxy`], then
//! [`crate::relay`].
//!
//! Invariant: one line for each request, however it ends, and the metrics are told the same.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::line::Value::{self, Number, Text, Time, Word};
use super::write_line;
use crate::codec::repair::Tally;
use crate::server::client::Client;
use crate::server::stall::{self, StreamWatch};
use crate::server::worker::Worker;
use crate::stream::{Cause, Outcome, Phase};

/// One request, for its access line, which is written exactly once: by [`Access::finish`], or when it is
/// dropped. It belongs to whoever carries the request: first the handler, then the response body.
#[derive(Debug)]
pub struct Access {
    /// The request id.
    pub id: Box<str>,
    /// Index into [`Config::routes`](crate::config::Config::routes), and into the profiles of that route.
    pub chosen: Option<(usize, usize)>,
    /// What the client was answered.
    pub status: Option<StatusCode>,
    /// From the beginning to the upstream's response head.
    pub ttfb: Option<Duration>,
    /// How far it has come: the phase of the outcome if it is dropped now.
    pub phase: Cell<Phase>,
    /// Where it runs.
    pub worker: Rc<Worker>,
    /// Who asks.
    pub client: Rc<Client>,
    watch: Option<Rc<StreamWatch>>,
    method: Method,
    path: Box<str>,
    version: Version,
    started: Instant,
    written: bool,
}

/// What a request came to.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The status that the client was told of inside a stream, in the place of the one that it was answered.
    pub told: Option<StatusCode>,
    /// The format of the upstream's stream.
    pub format: Option<&'static str>,
    /// What its media type said it was, if that is not so.
    pub label: Option<&'static str>,
    /// How the client was written to.
    pub bridge: Option<&'static str>,
    /// Its dialect.
    pub dialect: Option<&'static str>,
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
    pub error: Option<&'a str>,
}

impl Access {
    /// A request that has just come in. To be called inside the future that answers it (see
    /// [`stall::current`]).
    pub fn new(worker: Rc<Worker>, client: Rc<Client>, head: &http::request::Parts, id: Box<str>) -> Self {
        Access {
            id,
            chosen: None,
            status: None,
            ttfb: None,
            phase: Cell::new(Phase::Request),
            worker,
            client,
            watch: stall::current(),
            method: head.method.clone(),
            path: head.uri.path().into(),
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
    pub fn finish(&mut self, outcome: Outcome, facts: &Facts<'_>) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let duration = self.elapsed();
        let config = &self.worker.config;
        let (index, profile) = self.chosen.unzip();
        self.worker.metrics.ended(index, facts, duration, outcome);
        let route = index.and_then(|index| config.routes.get(index));
        let upstream = route.and_then(|route| config.upstreams.get(route.upstream));
        let profile = route.zip(profile).and_then(|(route, index)| route.profiles.choices.get(index));
        let repaired = (facts.repaired.count > 0).then_some(facts.repaired);
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
            ("told", facts.told.map(status)),
            ("format", facts.format.map(Word)),
            ("label", facts.label.map(Word)),
            ("dialect", facts.dialect.map(Word)),
            ("bridge", facts.bridge.map(Word)),
            ("ttfb_ms", self.ttfb.map(Time)),
            ("first_event_ms", facts.first_event.map(Time)),
            ("first_content_ms", facts.first_content.map(Time)),
            ("events", Some(Number(facts.events))),
            ("bytes", Some(Number(facts.bytes))),
            ("bytes_up", facts.bytes_up.map(Number)),
            ("longest_gap_ms", facts.longest_gap.map(Time)),
            ("repaired", repaired.map(|tally| Number(tally.count))),
            ("repairs", repairs.as_deref().map(Text)),
            ("rewrites", (facts.rewrites > 0).then_some(Number(facts.rewrites))),
            ("duration_ms", Some(Time(duration))),
            ("outcome", Some(Word(&outcome_word))),
            ("phase", Some(Word(outcome.phase.name()))),
            ("error", facts.error.map(Text)),
        ]);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.finish(Outcome::new(self.left(), self.phase.get()), &Facts::default());
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
    ("events", "Events of the upstream that were sent to the client, or put together to its answer."),
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

#[cfg(test)]
mod tests {
    use super::super::testing::Lines;
    use super::*;
    use crate::config::LogFormat;

    fn access() -> Access {
        let head = http::Request::get("/v1/chat?key=hidden").body(()).expect("a request").into_parts().0;
        let client = Rc::new(Client::new(Some(([192, 0, 2, 1], 4711).into()), None, false));
        Access::new(
            crate::server::testing::worker(crate::server::testing::config()),
            client,
            &head,
            "abc".into(),
        )
    }

    #[test]
    fn line_has_every_field_in_logfmt() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let mut access = access();
        access.status = Some(StatusCode::OK);
        access.ttfb = Some(Duration::from_micros(1_240));
        let facts = Facts {
            format: Some("sse"),
            dialect: Some("generic"),
            first_event: Some(Duration::from_millis(2)),
            first_content: Some(Duration::from_millis(3)),
            longest_gap: Some(Duration::from_secs(1)),
            events: 3,
            bytes: 120,
            bytes_up: Some(7),
            error: Some("the upstream closed"),
            ..Facts::default()
        };
        access.finish(Outcome::new(Cause::UpstreamTruncated, Phase::Body), &facts);
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
        access().finish(Outcome::DONE, &Facts::default());
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
