//! What the tests of this folder share.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;

use super::client::Client;
use super::connection::{Connection, Handler};
use super::stall::{self, StreamWatch};
use super::worker::{Phase, Worker};
use crate::config::{Config, Limits, ListenAddress, Listener, LogFormat, ServerTimeouts};
use crate::log::Access;
use crate::log::testing::Lines;
use crate::metrics::Metrics;
use crate::relay::Aborted;
use crate::stream::Budget;

/// One listener on a free port, one worker, no routes, default bounds.
pub(crate) fn config() -> Config {
    Config {
        listeners: vec![Listener {
            address: ListenAddress::Tcp(vec![(Ipv4Addr::LOCALHOST, 0).into()]),
            tls: None,
        }],
        upstreams: Vec::new(),
        routes: Vec::new(),
        workers: 1,
        takeover: true,
        trusted_proxies: Vec::new(),
        timeouts: ServerTimeouts {
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            client_write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(600),
        },
        limits: Limits {
            max_head_bytes: 32 << 10,
            max_headers: 100,
            max_connections: 16384,
            max_connections_per_client: 4096,
            min_body_rate: 256,
            max_carry_total: 512 << 20,
        },
        metrics: None,
        log_format: LogFormat::Logfmt,
        log_level: LevelFilter::INFO,
    }
}

/// An empty directory of this test run.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
    // It may be there from a run that was killed.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory for the test");
    path
}

/// What happened to the requests of a test, in order: `called /path`, `dropped /path`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<(Mutex<Vec<String>>, Notify)>);

impl Events {
    pub(crate) fn push(&self, event: String) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.0.1.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `event` happened; a bug fails the test instead of hanging it.
    pub(crate) async fn wait(&self, event: &str) {
        let happened = tokio::time::timeout(Duration::from_secs(100), self.happened(event)).await;
        assert!(happened.is_ok(), "no {event:?} in {:?}", self.all());
    }

    async fn happened(&self, event: &str) {
        loop {
            let mut notified = pin!(self.0.1.notified());
            notified.as_mut().enable();
            if self.all().iter().any(|happened| happened == event) {
                return;
            }
            notified.await;
        }
    }
}

/// A handler that does what the path says: `/hello` answers at once, `/wait` never answers, `/endless` sends
/// 16 KiB frames for ever, `/gate` sends what comes through [`Scripted::gate`], `/panic` panics, `/panic-later` does in
/// its body, `/thread` answers with the name of its thread, `/lookup` waits for a blocking call that never returns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) events: Events,
    gate: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
}

/// A response body of [`Scripted`].
pub(crate) struct ScriptedBody {
    frames: Frames,
    watch: Option<Rc<StreamWatch>>,
    _request: Request,
}

enum Frames {
    One(Option<Bytes>),
    Endless,
    Gate(mpsc::Receiver<Bytes>),
    Panic(Option<Bytes>),
}

/// Tells when it is dropped, and writes an access line.
struct Request {
    path: String,
    events: Events,
    _access: Access,
}

impl Scripted {
    /// The way into the body of the next `/gate`.
    pub(crate) fn gate(&self) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel(16);
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
        sender
    }

    async fn answer(self, request: Request) -> Response<ScriptedBody> {
        self.events.push(format!("called {}", request.path));
        let frames = match request.path.as_str() {
            "/hello" => Frames::One(Some(Bytes::from_static(b"hello\n"))),
            "/thread" => {
                let name = std::thread::current().name().unwrap_or("none").to_owned();
                Frames::One(Some(name.into()))
            }
            "/endless" => Frames::Endless,
            "/gate" => {
                let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
                Frames::Gate(gate.expect("a gate"))
            }
            "/panic" => panic!("as the test wants"),
            "/panic-later" => Frames::Panic(Some(Bytes::from_static(b"begun"))),
            "/lookup" => {
                let lookup = tokio::task::spawn_blocking(|| {
                    loop {
                        std::thread::park();
                    }
                });
                match lookup.await {
                    Ok(never) => never,
                    Err(error) => panic!("{error}"),
                }
            }
            _ => std::future::pending().await,
        };
        Response::new(ScriptedBody { frames, watch: stall::current(), _request: request })
    }
}

impl Handler for Scripted {
    type Body = ScriptedBody;

    async fn handle(
        self,
        request: http::Request<Incoming>,
        client: Rc<Client>,
        worker: Rc<Worker>,
    ) -> Response<ScriptedBody> {
        let head = request.into_parts().0;
        let access = Access::new(worker, client, &head, "".into());
        let path = head.uri.path().to_owned();
        let events = self.events.clone();
        self.answer(Request { path, events, _access: access }).await
    }
}

impl http_body::Body for ScriptedBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if let Some(watch) = &self.watch {
            watch.handed_over.set(None);
        }
        let bytes = match &mut self.frames {
            Frames::One(bytes) => bytes.take(),
            Frames::Endless => Some(Bytes::from_static(&[b'x'; 16 << 10])),
            Frames::Gate(gate) => ready!(gate.poll_recv(cx)),
            Frames::Panic(bytes) => Some(bytes.take().expect("as the test wants")),
        };
        if let (Some(watch), Some(_)) = (&self.watch, &bytes) {
            watch.handed_over.set(Some(Instant::now()));
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.events.push(format!("dropped {}", self.path));
    }
}

/// A connection that is served on this thread.
pub(crate) struct Served {
    pub(crate) client: DuplexStream,
    pub(crate) state: Rc<Client>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) script: Scripted,
    pub(crate) task: JoinHandle<()>,
    pub(crate) lines: Lines,
    _guard: DefaultGuard,
}

/// A worker for `config` that serves nobody yet.
pub(crate) fn worker(config: Config) -> Rc<Worker> {
    let budget = Arc::new(Budget::new(1 << 20));
    let metrics = Arc::new(Metrics::new(&config, Arc::clone(&budget)));
    Rc::new(Worker::new(Arc::new(config), budget, metrics))
}

/// Serves one connection over a pipe that holds `capacity` bytes each way.
pub(crate) fn serve(config: Config, capacity: usize) -> Served {
    let tls = config.listeners[0].tls.as_ref().map(|tls| Arc::clone(&tls.config));
    let (lines, guard) = Lines::capture(LogFormat::Logfmt);
    let (client, socket) = tokio::io::duplex(capacity);
    let worker = worker(config);
    let state = Rc::new(Client::new(None, None, tls.is_some()));
    let script = Scripted::default();
    let connection = Connection {
        client: Rc::clone(&state),
        member: worker.connections.join(),
        worker: Rc::clone(&worker),
        handler: script.clone(),
    };
    let task = tokio::task::spawn_local(async move {
        if let Some((wire, opening)) = connection.open(socket, tls).await {
            connection.run(&wire, opening).await;
        }
    });
    Served { client, state, worker, script, task, lines, _guard: guard }
}

impl Served {
    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    /// Reads until `end` was read, and returns everything.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let length = self.client.read(&mut byte).await.expect("the server writes");
            assert_ne!(length, 0, "closed after {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&byte);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads until the server closes.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        self.client.read_to_end(&mut read).await.expect("a clean end");
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Goes on to a phase of the drain.
    pub(crate) fn enter(&self, phase: Phase) {
        self.worker.enter(phase);
    }
}
