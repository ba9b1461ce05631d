//! Attempts on the proxy, as rows of a table: what a client sends, what it gets, what the upstream sees of it, what the
//! log says. The rows are run against the real binary, and `docs/security.md` shows them.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::eventually;
use super::tidegate::{Launch, Tidegate, config};
use super::upstream::{Exchange, Upstream};
use super::wire::Head;

/// One attempt. Behind it, on the same connection, a good request for `/next` is sent at once.
pub struct Case {
    /// What is wrong with it, for people.
    pub name: &'static str,
    /// It, for `/p`.
    pub bytes: Vec<u8>,
    /// What the client gets.
    pub answer: Answer,
    /// The outcome in its access line.
    pub outcome: &'static str,
    /// What the upstream sees of it.
    pub goes_up: GoesUp,
    /// What becomes of the request behind it.
    pub then: Then,
    /// By which rule.
    pub rule: &'static str,
}

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A response.
    Status(u16),
    /// The end of its stream, with this reason.
    Reset(u32),
    /// The end of its connection, with this reason.
    GoAway(u32),
}

/// What the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoesUp {
    /// Nothing.
    Nothing,
    /// At most a request that begins, breaks off, and is never complete.
    Broken,
    /// One complete request with this body.
    Whole(&'static str),
}

/// What becomes of a good request behind the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is answered.
    Serves,
    /// The connection is closed without an answer to it.
    Closes,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |reason: &u32| match reason {
            1 => "PROTOCOL_ERROR",
            3 => "FLOW_CONTROL_ERROR",
            6 => "FRAME_SIZE_ERROR",
            7 => "REFUSED_STREAM",
            other => panic!("a reason without a name: {other}"),
        };
        match self {
            Answer::Status(status) => status.fmt(f),
            Answer::Reset(code) => write!(f, "RST_STREAM {}", reason(code)),
            Answer::GoAway(code) => write!(f, "GOAWAY {}", reason(code)),
        }
    }
}

impl Case {
    /// Its row in the documentation.
    pub fn row(&self) -> String {
        let Case { name, answer, outcome, then, rule, .. } = self;
        let goes_up = match self.goes_up {
            GoesUp::Nothing => "nothing",
            GoesUp::Broken => "its beginning",
            GoesUp::Whole(_) => "one request",
        };
        let then = match then {
            Then::Serves => "stays",
            Then::Closes => "closes",
        };
        format!("| {name} | {answer} | `{outcome}` | {goes_up} | {then} | {rule} |")
    }

    /// How many access lines there must be: one for each request that was read.
    fn lines(&self) -> usize {
        if self.then == Then::Serves { 2 } else { 1 }
    }
}

/// The proxy, before an upstream that answers every complete request and remembers all.
pub struct Scene {
    /// The proxy.
    pub proxy: Tidegate,
    seen: Arc<Mutex<Vec<Seen>>>,
    upstream: JoinHandle<()>,
}

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
struct Seen {
    head: Head,
    /// `None` while more of it may come.
    body: Option<Result<Vec<u8>, String>>,
}

impl Scene {
    /// Starts both; `more` is config as in [`Tidegate::before`].
    pub async fn start(more: &str) -> Self {
        let mut upstream = Upstream::start().await;
        let proxy = Launch::config(config(&upstream, more)).start().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        let upstream = tokio::spawn(async move {
            while let Some(exchange) = upstream.next_request().await {
                tokio::spawn(answer(exchange, Arc::clone(&all)));
            }
        });
        Scene { proxy, seen, upstream }
    }

    /// How many access lines and requests at the upstream there were before an attempt.
    pub fn before(&self) -> (usize, usize) {
        (self.proxy.access_lines().len(), self.seen().len())
    }

    /// Fails unless the attempt left what its row says, no more and no less, since `before`.
    pub async fn check(&self, case: &Case, before: (usize, usize)) {
        let name = case.name;
        let served = usize::from(case.then == Then::Serves);
        // Whether a request that breaks off has begun to go up is a matter of time.
        let requests = match case.goes_up {
            GoesUp::Nothing => served..=served,
            GoesUp::Broken => served..=served + 1,
            GoesUp::Whole(_) => served + 1..=served + 1,
        };
        let limit = Duration::from_secs(10);
        eventually(limit, name, || {
            let seen = self.seen();
            let done = seen.iter().all(|seen| seen.body.is_some());
            let (lines, seen) = (self.proxy.access_lines().len() - before.0, seen.len() - before.1);
            if done && lines == case.lines() && requests.contains(&seen) {
                return Ok(());
            }
            Err(format!(
                "{lines} access lines, {seen} requests at the upstream: not as {requests:?} and {}",
                case.lines()
            ))
        })
        .await;
        let lines = self.proxy.access_lines();
        // Requests of HTTP/2 may end in any order.
        let own = lines[before.0..].iter().find(|line| line.get("path") != Some("/next"));
        let own = own.unwrap_or_else(|| panic!("{name}: no line of its own: {lines:?}"));
        assert_eq!(own.need("outcome"), case.outcome, "{name}: {own:?}");
        if let Answer::Status(status) = case.answer {
            assert_eq!(own.need("status"), status.to_string(), "{name}: {own:?}");
        }
        let seen = self.seen();
        let (next, own): (Vec<_>, Vec<_>) =
            seen[before.1..].iter().partition(|seen| seen.head.target() == "/next");
        assert_eq!(next.len(), served, "{name}: {seen:?}");
        let body = own.first().map(|seen| seen.body.as_ref().expect("all are done"));
        match (case.goes_up, body) {
            (GoesUp::Nothing | GoesUp::Broken, None) | (GoesUp::Broken, Some(Err(_))) => {}
            (GoesUp::Whole(body), Some(Ok(whole))) => assert_eq!(whole, body.as_bytes(), "{name}"),
            _ => panic!("{name}: the upstream saw {own:?}"),
        }
    }

    /// Fails if anything came up that no request of tidegate's own making would have.
    pub fn check_heads(&self, at_least: usize) {
        let seen = self.seen();
        assert!(seen.len() >= at_least, "only {} requests came up", seen.len());
        for Seen { head, .. } in seen {
            assert!(head.start.ends_with(" HTTP/1.1"), "{head:?}");
            assert!(head.one("host").is_some_and(|host| host.starts_with("127.0.0.1:")), "{head:?}");
            let framing = [head.one("content-length"), head.one("transfer-encoding")];
            assert!(framing.iter().flatten().count() < 2, "{head:?}");
            assert!(framing[1].is_none_or(|coding| coding == "chunked"), "{head:?}");
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with the lock").clone()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.upstream.abort();
    }
}

async fn answer(mut exchange: Exchange, all: Arc<Mutex<Vec<Seen>>>) {
    let index = {
        let mut all = all.lock().expect("nobody panics with the lock");
        all.push(Seen { head: exchange.head.clone(), body: None });
        all.len() - 1
    };
    let body = exchange.try_body().await;
    let complete = body.is_ok();
    all.lock().expect("nobody panics with the lock")[index].body = Some(body);
    if complete {
        exchange.answer(200, &[], b"ok").await;
    }
}

/// The rows of a table in the documentation.
pub fn table(cases: &[Case]) -> String {
    let head = "| The client sends | It gets | Outcome | Goes up | Connection | By |\n| --- | --- | --- | --- | --- | --- |\n";
    cases.iter().fold(head.to_owned(), |table, case| table + &case.row() + "\n")
}
