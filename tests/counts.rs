//! What an event and a request cost, in counts that do not wobble: allocations, system calls, user instructions, and
//! the live heap of an idle stream. Each has a ceiling a little above today's figure; every run prints the figure.
//!
//! To lower a ceiling, make the figure smaller and move the constant with it, in the same commit. A ceiling is
//! raised only with the reason in the commit message. `docs/performance.md` says how to read the figures.
//!
//! One binary of its own: it needs a global allocator that counts.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "one test binary: a failed assumption is a failed test"
)]

use std::alloc::System;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate::codec::repair::Repairs;
use tidegate::config::{self, Config};
use tidegate::format::{Format, NDJSON, SSE};
use tidegate::server::{Server, Stopper};
use tidegate::stream::{Mode, Out, Plan, Session};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counting is for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Fails if `figure` is above `ceiling`; prints it either way.
fn ceiling(what: &str, figure: f64, ceiling: f64) {
    println!("{what}: {figure:.2} (ceiling {ceiling})");
    assert!(figure <= ceiling, "{what}: {figure:.2} is above the ceiling of {ceiling}");
}

// --- the session alone ----------------------------------------------------------------------------------------

/// 200 bytes, as a token event of an OpenAI-compatible server is.
fn event() -> Vec<u8> {
    let mut event = br#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":""#.to_vec();
    event.resize(160, b'x');
    event.extend_from_slice(br#""},"finish_reason":null}]}"#);
    event.resize(198, b' ');
    event.extend_from_slice(b"\n\n");
    event
}

fn session_allocations(format: &'static Format, inputs: &[&[u8]]) -> usize {
    let now = Instant::now();
    let plan = Plan {
        dialect: tidegate::dialect::Dialect::named("openai-chat"),
        known_ai: true,
        repairs: Repairs::auto(true),
        heartbeat: Some(Duration::from_secs(15)),
        ..Plan::plain(Mode::Reframe(format))
    };
    let mut session = Session::new(plan, now);
    let mut out = Out::default();
    let mut play = |times: usize| {
        for _ in 0..times {
            for input in inputs {
                out.clear();
                session.input(input, now, &mut out);
            }
        }
    };
    play(10);
    // Other threads of the harness may allocate meanwhile: what the session does, it does each time.
    let rounds = (0..5).map(|_| {
        let region = Region::new(ALLOCATOR);
        play(1000);
        let change = region.change();
        change.allocations + change.reallocations
    });
    let fewest = rounds.min().unwrap();
    assert!(session.stats().events > 5000, "the session saw the events");
    fewest
}

#[test]
fn session_allocates_nothing_per_event() {
    let _alone = alone();
    let event = event();
    let crlf = String::from_utf8(event.clone()).unwrap().replace('\n', "\r\n").replace("data: ", "data:");
    let four = event.repeat(4);
    assert_eq!(session_allocations(&SSE, &[&event]), 0, "one canonical event an input");
    assert_eq!(session_allocations(&SSE, &[&four]), 0, "four events an input");
    assert_eq!(session_allocations(&SSE, &[crlf.as_bytes()]), 0, "rewritten events");
    assert_eq!(session_allocations(&SSE, &[&event[..70], &event[70..]]), 0, "an event in two inputs");
    assert_eq!(session_allocations(&NDJSON, &[&event[6..199]]), 0, "lines");
}

// --- through the whole proxy ----------------------------------------------------------------------------------

const CONFIG: &str = r#"
[server]
workers = 1
[[listener]]
address = "127.0.0.1:0"
[upstream.u]
url = "http://UPSTREAM"
[[route]]
path = "/"
upstream = "u"
"#;

/// tidegate on a thread of this process, so that its allocations are counted here.
struct InProcess {
    address: String,
    stopper: Stopper,
    thread: JoinHandle<()>,
}

impl InProcess {
    fn start(upstream: &TcpListener) -> Self {
        let text = CONFIG.replace("UPSTREAM", &upstream.local_addr().unwrap().to_string());
        let config: Config = config::parse(&text, "counts.toml").unwrap();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let server = Server::bind(Arc::new(config)).unwrap();
            ready.send((server.addresses()[0].clone(), server.stopper())).unwrap();
            server.run().unwrap();
        });
        let (address, stopper) = started.recv().unwrap();
        InProcess { address: address.trim_start_matches("http://").to_owned(), stopper, thread }
    }

    fn stop(self) {
        self.stopper.drain();
        self.thread.join().unwrap();
    }
}

/// One stream with both of its ends in one hand: what is written on the one side is awaited on the other. Its
/// loop allocates nothing.
struct Stream {
    upstream: TcpStream,
    client: TcpStream,
    /// One write of the upstream: `batch` events, each an HTTP chunk.
    write: Vec<u8>,
    /// What the client gets for it.
    want: Vec<u8>,
    got: Vec<u8>,
}

impl Stream {
    fn open(tidegate: &str, listener: &TcpListener, batch: usize) -> Self {
        let mut client = TcpStream::connect(tidegate).unwrap();
        client.set_nodelay(true).unwrap();
        // In one write: what hyper keeps depends on whether the body came with the head.
        client
            .write_all(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                  Content-Length: 15\r\n\r\n{\"stream\":true}",
            )
            .unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        upstream.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        upstream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        read_until(&mut upstream, br#"{"stream":true}"#);
        upstream
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .unwrap();
        read_until(&mut client, b"\r\n\r\n");
        let event = event();
        let chunk = |size: &str| [size.as_bytes(), b"\r\n", &event, b"\r\n"].concat();
        let size = format!("{:X}", event.len());
        let want = chunk(&size).repeat(batch);
        let got = vec![0; want.len()];
        Stream { upstream, client, write: chunk(&size.to_lowercase()).repeat(batch), want, got }
    }

    fn play(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.upstream.write_all(&self.write).unwrap();
            self.client.read_exact(&mut self.got).unwrap();
            assert!(self.got == self.want, "the events came through unchanged, one a chunk");
        }
    }
}

/// Small requests, one after the other, on one connection of the client and one of the upstream.
struct Requests {
    upstream: TcpStream,
    client: TcpStream,
}

impl Requests {
    fn open(tidegate: &str, listener: &TcpListener) -> Self {
        let mut client = TcpStream::connect(tidegate).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.write_all(REQUEST).unwrap();
        let (upstream, _) = listener.accept().unwrap();
        upstream.set_nodelay(true).unwrap();
        upstream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut requests = Requests { upstream, client };
        requests.answer();
        requests
    }

    fn answer(&mut self) {
        read_until(&mut self.upstream, br#""hi"}]}"#);
        self.upstream.write_all(RESPONSE).unwrap();
        read_until(&mut self.client, br#""content":"hello"}"#);
    }

    fn play(&mut self, requests: usize) {
        for _ in 0..requests {
            self.client.write_all(REQUEST).unwrap();
            self.answer();
        }
    }
}

const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
    Content-Length: 57\r\n\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n\
    {\"object\":\"chat.completion\",\"content\":\"hello\"}";

fn read_until(socket: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end) {
        socket.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}

#[test]
fn proxy_allocates_nothing_per_event() {
    let _alone = alone();
    for (batch, allocations) in [(1, 0.02), (4, 0.02), (64, 0.02)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tidegate = InProcess::start(&listener);
        let mut stream = Stream::open(&tidegate.address, &listener, batch);
        stream.play(50);
        let region = Region::new(ALLOCATOR);
        stream.play(500);
        let change = region.change();
        let figure = (change.allocations + change.reallocations) as f64 / (500 * batch) as f64;
        ceiling(&format!("allocations per event, {batch} per read"), figure, allocations);
        drop(stream);
        tidegate.stop();
    }
}

#[test]
fn an_idle_stream_holds_little_heap() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tidegate = InProcess::start(&listener);
    let open = |count: usize| -> Vec<Stream> {
        (0..count)
            .map(|_| {
                let mut stream = Stream::open(&tidegate.address, &listener, 1);
                stream.play(3);
                stream
            })
            .collect()
    };
    let warm = open(20);
    let region = Region::new(ALLOCATOR);
    let streams = open(200);
    let change = region.change();
    // The player's own buffers are of a known size.
    let own: usize = streams
        .iter()
        .map(|stream| stream.write.capacity() + stream.want.capacity() + stream.got.capacity())
        .sum();
    let own = own + streams.capacity() * size_of::<Stream>();
    let live = change.bytes_allocated as f64 - change.bytes_deallocated as f64 - own as f64;
    ceiling("live heap per idle stream, bytes", live / streams.len() as f64, IDLE_HEAP_BYTES);
    drop((warm, streams));
    tidegate.stop();
}

/// More than a third is the relay, with its session and its log line; hyper's buffers are gone.
const IDLE_HEAP_BYTES: f64 = 2_800.0;

// --- the binary under a counter -------------------------------------------------------------------------------

/// The real program under strace or valgrind.
struct Traced {
    child: Child,
    address: String,
    config: PathBuf,
}

impl Traced {
    fn start(tracer: &[&str], upstream: &TcpListener) -> Self {
        let url = format!("http://{}", upstream.local_addr().unwrap());
        let config = std::env::temp_dir().join(format!(
            "tidegate-counts-{}-{}.toml",
            std::process::id(),
            upstream.local_addr().unwrap().port()
        ));
        std::fs::write(&config, CONFIG.replace("http://UPSTREAM", &url)).unwrap();
        let mut child = Command::new(tracer[0])
            .args(&tracer[1..])
            .arg(env!("CARGO_BIN_EXE_tidegate"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {} (tests/run installs it): {error}", tracer[0]));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
        Traced { address: address.split_whitespace().next().unwrap().to_owned(), child, config }
    }

    /// Ends the program as an operator would, and waits for the tracer's report.
    fn stop(mut self) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let target = children.split_whitespace().next().map_or(id.to_string(), str::to_owned);
        assert!(Command::new("kill").args(["-TERM", &target]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        std::fs::remove_file(&self.config).unwrap();
        assert!(status.success(), "{status}");
    }
}

/// What one round costs by a counter: how to start it, for a report in this file, and how to read that.
struct Counter {
    tracer: fn(&str) -> Vec<String>,
    read: fn(&str) -> f64,
}

const SYSTEM_CALLS: Counter = Counter {
    tracer: |report| ["strace", "-f", "-c", "-o", report].map(str::to_owned).to_vec(),
    read: |report| {
        let calls: HashMap<&str, f64> = report
            .lines()
            .filter_map(|line| {
                let columns: Vec<&str> = line.split_whitespace().collect();
                Some((*columns.last()?, columns.get(3)?.parse().ok()?))
            })
            .collect();
        calls["total"]
    },
};

const INSTRUCTIONS: Counter = Counter {
    tracer: |report| {
        ["valgrind", "--tool=callgrind", &format!("--callgrind-out-file={report}")]
            .map(str::to_owned)
            .to_vec()
    },
    read: |report| {
        let summary = report.lines().find_map(|line| line.strip_prefix("summary: "));
        summary.unwrap().trim().parse().unwrap()
    },
};

impl Counter {
    /// Runs the program for two lengths and returns the difference of what was counted, by the round.
    fn per_round(&self, rounds: usize, play: impl Fn(&str, &TcpListener, usize)) -> f64 {
        let count = |rounds: usize| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let report =
                std::env::temp_dir().join(format!("tidegate-counts-{}-{port}.out", std::process::id()));
            let report = report.to_str().unwrap().to_owned();
            let tracer = (self.tracer)(&report);
            let tracer: Vec<&str> = tracer.iter().map(String::as_str).collect();
            let traced = Traced::start(&tracer, &listener);
            play(&traced.address, &listener, rounds);
            traced.stop();
            let figure = (self.read)(&std::fs::read_to_string(&report).unwrap());
            std::fs::remove_file(&report).unwrap();
            figure
        };
        (count(2 * rounds) - count(rounds)) / rounds as f64
    }

    fn per_event(&self, batch: usize, rounds: usize) -> f64 {
        let rounds = self.per_round(rounds, |address, listener, rounds| {
            Stream::open(address, listener, batch).play(rounds);
        });
        rounds / batch as f64
    }

    fn per_request(&self, requests: usize) -> f64 {
        self.per_round(requests, |address, listener, requests| {
            Requests::open(address, listener).play(requests);
        })
    }
}

#[test]
fn system_calls_are_few() {
    let _alone = alone();
    for (batch, bound) in [(1, 3.1), (4, 0.8), (64, 0.06)] {
        let figure = SYSTEM_CALLS.per_event(batch, 300);
        ceiling(&format!("system calls per event, {batch} per read"), figure, bound);
    }
    ceiling("system calls per request", SYSTEM_CALLS.per_request(300), 8.1);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "instructions are counted in release builds; tests/run does it")]
fn user_instructions_are_few() {
    let _alone = alone();
    for (batch, bound) in [(1, 5_450.0), (4, 2_320.0), (64, 1_350.0)] {
        let figure = INSTRUCTIONS.per_event(batch, 200);
        ceiling(&format!("user instructions per event, {batch} per read"), figure, bound);
    }
    ceiling("user instructions per request", INSTRUCTIONS.per_request(300), 54_500.0);
}
