//! Accepts connections, hands them to workers, and ends when a drain is complete.
//!
//! [`Server::run`] uses the calling thread as worker 0, where the acceptor and the signals are too, and starts a
//! thread for every other worker. A drain is one value that only goes forward ([`worker::Phase`]); signals, a
//! [`Stopper`] and the `drain` timeout advance it, and everything else follows it.

mod acceptor;
mod ahead;
mod answer;
mod bounds;
pub mod client;
mod connection;
mod crowd;
mod driver;
mod entrance;
mod frames;
mod handover;
mod hangup;
mod http1;
mod http2;
mod io;
mod listener;
mod metered;
mod refusal;
pub mod registry;
mod report;
pub mod stall;
mod tap;
#[cfg(test)]
pub(crate) mod testing;
mod tunnel;
mod wheel;
pub mod worker;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::runtime::LocalRuntime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use acceptor::{Acceptor, Place};
use connection::{Handler, Proxy};
use listener::Listener;
use report::Report;
use worker::{Phase, Worker};

use crate::config::Config;
use crate::metrics::{self, Metrics};
use crate::stream::Budget;
use crate::systemd::Manager;

pub use listener::BindError;

/// A server whose listeners are bound. Connections wait in the kernel until it runs.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    budget: Arc<Budget>,
    listeners: Vec<Listener>,
    addresses: Vec<String>,
    stopper: Stopper,
    metrics: Arc<Metrics>,
    /// Where the metrics are read, if anywhere.
    metrics_listener: Option<Listener>,
    manager: Option<Manager>,
}

/// Ends a server from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<Phase>>);

/// A server could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system did not give what a worker needs.
    #[error("cannot start worker {worker}: raise the limits on threads and open files")]
    Start {
        /// Which worker.
        worker: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The signals that end the server cannot be received.
    #[error("cannot receive SIGTERM and SIGINT")]
    Signals(#[source] std::io::Error),
    /// A worker ended before its time: a bug.
    #[error("worker {worker} panicked")]
    Panicked {
        /// Which worker.
        worker: usize,
    },
}

/// The threads of the workers that are not on the calling thread.
struct Threads {
    handles: Vec<thread::JoinHandle<()>>,
    places: Vec<Place>,
    /// Closed when the last worker is done.
    done: mpsc::Receiver<Infallible>,
}

impl Server {
    /// Binds every listener of `config`.
    ///
    /// # Errors
    /// An address cannot be bound; the ones before it are free again.
    pub fn bind(config: Arc<Config>) -> Result<Self, BindError> {
        let listeners = listener::bind(&config)?;
        let metrics_listener = listener::bind_metrics(&config)?;
        let budget = Arc::new(Budget::new(config.limits.max_carry_total));
        Ok(Server {
            addresses: listeners.iter().map(|listener| listener.address.clone()).collect(),
            metrics: Arc::new(Metrics::new(&config, Arc::clone(&budget))),
            metrics_listener,
            budget,
            stopper: Stopper(Arc::new(watch::Sender::new(Phase::Serving))),
            listeners,
            config,
            manager: None,
        })
    }

    /// Where it listens, with real ports: `http://127.0.0.1:8080`, `https://…`, `unix:/path`.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Tells `manager` when it is ready, when it stops, and how many streams run.
    #[must_use]
    pub fn telling(self, manager: Option<Manager>) -> Self {
        Server { manager, ..self }
    }

    /// A handle that ends it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until a drain is complete. SIGTERM and SIGINT begin the drain; a second one ends it.
    ///
    /// # Errors
    /// A worker cannot be started, or panicked. That streams were cut by the `drain` timeout is no error.
    pub fn run(self) -> Result<(), RunError> {
        self.run_with(Proxy)
    }

    fn run_with<H: Handler>(self, handler: H) -> Result<(), RunError> {
        let stopper = self.stopper();
        let threads = self.start_threads(&handler).inspect_err(|_| stopper.end_now())?;
        let result = worker::runtime()
            .map_err(|source| RunError::Start { worker: 0, source })
            .and_then(|runtime| self.control(runtime, handler, threads.places, threads.done))
            .inspect_err(|_| stopper.end_now());
        for (index, handle) in threads.handles.into_iter().enumerate() {
            if handle.join().is_err() {
                return Err(RunError::Panicked { worker: index + 1 });
            }
        }
        result
    }

    /// Starts the workers 1, 2, …, and waits until they run.
    fn start_threads<H: Handler>(&self, handler: &H) -> Result<Threads, RunError> {
        let (done_sender, done) = mpsc::channel(1);
        let mut threads = Threads { handles: Vec::new(), places: vec![Place::here()], done };
        for index in 1..self.config.workers.max(1) {
            let (place, incoming) = Place::elsewhere();
            let (started, start) = std::sync::mpsc::sync_channel(1);
            let (config, budget, handler) =
                (Arc::clone(&self.config), Arc::clone(&self.budget), handler.clone());
            let (phase, done) = (self.stopper.0.subscribe(), done_sender.clone());
            let metrics = Arc::clone(&self.metrics);
            let body = move || {
                let _done = done;
                let runtime = match worker::runtime() {
                    Ok(runtime) => runtime,
                    // Nobody receives it only if this thread's starter is gone.
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(())));
                worker::run(runtime, async {
                    let worker = Worker::start(config, budget, metrics);
                    worker::serve(worker, handler, incoming, phase).await;
                });
            };
            let error = |source| RunError::Start { worker: index, source };
            let handle = thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(error)?;
            if let Ok(Err(source)) = start.recv() {
                return Err(error(source));
            }
            threads.handles.push(handle);
            threads.places.push(place);
        }
        Ok(threads)
    }

    /// Worker 0, the acceptor, the signals and the drain, on this thread.
    fn control<H: Handler>(
        self,
        runtime: LocalRuntime,
        handler: H,
        places: Vec<Place>,
        mut done: mpsc::Receiver<Infallible>,
    ) -> Result<(), RunError> {
        worker::run(runtime, async {
            let signals = Signals::new().map_err(RunError::Signals)?;
            tokio::task::spawn_local(signals.forward(self.stopper.clone()));
            let (config, budget) = (Arc::clone(&self.config), Arc::clone(&self.budget));
            let worker = Worker::start(config, budget, Arc::clone(&self.metrics));
            if let Some(listener) = self.metrics_listener {
                tracing::info!(url = format!("{}{}", listener.address, metrics::PATH), "metrics");
                let listener = listener.into_tcp().map_err(|source| RunError::Start { worker: 0, source })?;
                tokio::task::spawn_local(metrics::serve(listener, Arc::clone(&self.metrics)));
            }
            let acceptor = Acceptor::new(self.listeners, places, Rc::clone(&worker), handler.clone())
                .map_err(|source| RunError::Start { worker: 0, source })?;
            let mut phase = self.stopper.0.subscribe();
            let drain = self.config.timeouts.drain;
            let report = Report::new(
                self.manager,
                &self.addresses,
                drain,
                Arc::clone(&self.metrics.streams),
                phase.clone(),
            );
            report.tell();
            tokio::task::spawn_local(Rc::clone(&report).keep_telling());
            accept_until_drain(acceptor, &mut phase).await;
            report.tell();
            tracing::info!(?drain, "draining: no new requests");
            tokio::task::spawn_local(end_after(drain, self.stopper.clone()));
            // No connection comes this way: the acceptor put those of worker 0 on it directly.
            let (_, nothing) = Place::elsewhere();
            worker::serve(worker, handler, nothing, phase).await;
            // Every other worker holds a sender until it is done; nothing is ever sent.
            match done.recv().await {
                Some(never) => match never {},
                None => Ok(()),
            }
        })
    }
}

impl Stopper {
    /// Begins a drain: no new connections and requests, running streams go on until the `drain` timeout.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends running streams with an error, now.
    pub fn end_now(&self) {
        self.advance(Phase::Ending);
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let later = to > *phase;
            if later {
                *phase = to;
            }
            later
        });
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The first begins the drain, the second ends it.
    async fn forward(mut self, stopper: Stopper) {
        self.next().await;
        stopper.drain();
        self.next().await;
        tracing::warn!("second signal: ending the streams that still run");
        stopper.end_now();
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Accepts until a drain begins; then the listeners are closed and the other workers know that nobody comes.
async fn accept_until_drain<H: Handler>(mut acceptor: Acceptor<H>, phase: &mut watch::Receiver<Phase>) {
    tokio::select! {
        biased;
        // An error would mean that nobody can stop the server, but its own stopper exists.
        _ = phase.wait_for(|phase| *phase > Phase::Serving) => {}
        never = acceptor.run() => match never {},
    }
}

/// The `drain` timeout.
async fn end_after(drain: std::time::Duration, stopper: Stopper) {
    tokio::time::sleep(drain).await;
    tracing::warn!(?drain, "timeout drain ran out: ending the streams that still run");
    stopper.end_now();
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use bytes::Bytes;

    use super::testing::{Scripted, config, directory};
    use super::*;
    use crate::config::{ListenAddress, Listener};

    /// A server on threads of its own; drained when dropped.
    struct Running {
        addresses: Vec<String>,
        stopper: Stopper,
        script: Scripted,
        thread: Option<thread::JoinHandle<Result<(), RunError>>>,
    }

    fn run(config: Config) -> Running {
        let server = Server::bind(Arc::new(config)).expect("bound");
        let (addresses, stopper, script) =
            (server.addresses().to_vec(), server.stopper(), Scripted::default());
        let handler = script.clone();
        let thread = Some(thread::spawn(move || server.run_with(handler)));
        Running { addresses, stopper, script, thread }
    }

    impl Running {
        fn connect(&self) -> TcpStream {
            let address = self.addresses[0].strip_prefix("http://").expect("TCP");
            let stream = TcpStream::connect(address).expect("connected");
            // So that a bug fails a test instead of hanging it.
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
            stream
        }

        fn join(&mut self) -> Result<(), RunError> {
            self.thread.take().expect("running").join().expect("no panic")
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stopper.end_now();
        }
    }

    fn get(stream: &mut (impl Read + Write), path: &str) -> String {
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        read_until(stream, "\r\n0\r\n\r\n")
    }

    fn read_until(stream: &mut impl Read, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("more");
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    fn body(response: &str) -> &str {
        response.rsplit("\r\n").nth(3).expect("a chunk")
    }

    #[test]
    fn connection_goes_to_the_worker_with_the_fewest() {
        let mut config = config();
        config.workers = 3;
        let running = run(config);
        let mut streams: Vec<_> = (0..5).map(|_| running.connect()).collect();
        // Each is asked before the next is looked at: they are accepted in this order anyway.
        let names: Vec<_> =
            streams.iter_mut().map(|stream| body(&get(stream, "/thread")).to_owned()).collect();
        assert_eq!(names[1], "worker-1");
        assert_eq!(names[2], "worker-2");
        assert_eq!(names[3], names[0], "back at worker 0");
        assert_eq!(names[4], "worker-1");
        assert!(!names[0].starts_with("worker"), "worker 0 is the calling thread");
    }

    #[test]
    fn connection_beyond_the_limit_waits_until_one_ends() {
        let mut config = config();
        config.limits.max_connections = 1;
        let running = run(config);
        let mut first = running.connect();
        get(&mut first, "/hello");
        let mut second = running.connect();
        write!(second, "GET /thread HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        // The first is still served, and asked last: had the second been accepted, its call came before.
        get(&mut first, "/hello");
        assert!(!running.script.events.all().contains(&"called /thread".to_owned()));
        drop(first);
        read_until(&mut second, "\r\n0\r\n\r\n");
        assert!(running.script.events.all().contains(&"called /thread".to_owned()));
    }

    #[test]
    fn connection_beyond_the_limit_of_its_client_is_closed_at_once() {
        let mut config = config();
        config.limits.max_connections_per_client = 2;
        config.workers = 2;
        let running = run(config);
        let mut streams: Vec<_> = (0..2).map(|_| running.connect()).collect();
        for stream in &mut streams {
            get(stream, "/hello");
        }
        let mut third = running.connect();
        // A reset, or an end of file if that is earlier than the client looks.
        assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)));
        // The ones that were there are served, and one that leaves makes room.
        get(&mut streams[0], "/hello");
        drop(streams.pop());
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut again = running.connect();
            let sent = write!(again, "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
            if sent.is_ok() && matches!(again.read(&mut [0]), Ok(1)) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "no room");
        }
    }

    #[test]
    fn trusted_proxy_has_as_many_connections_as_it_wants() {
        let mut config = config();
        config.limits.max_connections_per_client = 1;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        let running = run(config);
        let mut streams: Vec<_> = (0..3).map(|_| running.connect()).collect();
        for stream in &mut streams {
            get(stream, "/hello");
        }
    }

    #[test]
    fn drain_closes_listeners_and_idle_connections_and_waits_for_streams() {
        for workers in [1, 2] {
            let mut config = config();
            config.workers = workers;
            let mut running = run(config);
            let gate = running.script.gate();
            // With two workers the stream is on the one, and the idle connection on the other.
            let mut streaming = running.connect();
            write!(streaming, "GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
            gate.blocking_send(Bytes::from_static(b"one")).expect("sent");
            read_until(&mut streaming, "one\r\n");
            let mut idle = running.connect();
            get(&mut idle, "/hello");

            running.stopper.drain();
            assert_eq!(idle.read(&mut [0]).expect("closed"), 0);
            let address = running.addresses[0].strip_prefix("http://").expect("TCP");
            // Worker 0, which closes the listener, may be behind the one that closed the connection.
            while TcpStream::connect(address).is_ok() {
                thread::yield_now();
            }
            gate.blocking_send(Bytes::from_static(b"two")).expect("sent");
            read_until(&mut streaming, "two\r\n");
            assert!(!running.thread.as_ref().expect("running").is_finished());
            drop(gate);
            read_until(&mut streaming, "0\r\n\r\n");
            assert!(running.join().is_ok());
        }
    }

    /// The resolver can take half a minute to give up on a name. The process stayed until then, after its last
    /// stream and after a second signal.
    #[test]
    fn end_does_not_wait_for_a_name_lookup_that_hangs() {
        for workers in [1, 2] {
            let mut config = config();
            config.workers = workers;
            let mut running = run(config);
            let mut streams: Vec<_> = (0..workers).map(|_| running.connect()).collect();
            for stream in &mut streams {
                write!(stream, "GET /lookup HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
            }
            while running.script.events.all().len() < workers {
                thread::yield_now();
            }
            drop(streams);
            running.stopper.drain();
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while !running.thread.as_ref().expect("running").is_finished() {
                assert!(std::time::Instant::now() < deadline, "it waits");
                thread::yield_now();
            }
            assert!(running.join().is_ok());
        }
    }

    #[test]
    fn drain_timeout_ends_streams_and_is_no_error() {
        let mut config = config();
        config.timeouts.drain = Duration::from_millis(1);
        let mut running = run(config);
        let mut stream = running.connect();
        write!(stream, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        read_until(&mut stream, "x");
        running.stopper.drain();
        let mut rest = Vec::new();
        // Cut off: an end of file or a reset.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "no clean end");
        assert!(running.join().is_ok());
    }

    #[test]
    fn drain_before_the_server_runs_ends_it_at_once() {
        let server = Server::bind(Arc::new(config())).expect("bound");
        server.stopper().drain();
        assert!(server.run_with(Scripted::default()).is_ok());
    }

    #[test]
    fn unix_socket_is_served_and_its_file_removed() {
        let path = directory("served").join("socket");
        let mut config = config();
        config.listeners.push(Listener { address: ListenAddress::Unix(path.clone()), tls: None });
        config.workers = 2;
        let mut running = run(config);
        assert_eq!(running.addresses[1], format!("unix:{}", path.display()));
        let mut tcp = running.connect();
        get(&mut tcp, "/hello");
        let mut unix = UnixStream::connect(&path).expect("connected");
        assert_eq!(body(&get(&mut unix, "/thread")), "worker-1");
        running.stopper.drain();
        assert!(running.join().is_ok());
        assert!(!path.exists());
    }

    /// Stands where a bug of tidegate's would: on the path of every request of its route.
    #[derive(Debug)]
    struct Bug;

    impl crate::auth::Injector for Bug {
        fn inject(&self, head: &mut http::request::Parts) -> Result<(), crate::auth::Error> {
            match head.uri.path() {
                "/panic" => panic!("as the test wants"),
                _ => Ok(()),
            }
        }

        fn secrets(&self) -> Vec<Vec<u8>> {
            Vec::new()
        }
    }

    /// Nobody listens at the upstream of these routes, so a request that gets as far is a 502.
    #[test]
    fn panic_in_a_request_ends_it_alone() {
        use crate::config::PathMatch;
        use crate::route::fixture;
        let mut route = fixture::route(PathMatch::Prefix(String::new()));
        route.injectors.push(Box::new(Bug));
        let mut upstreams = fixture::config(Vec::new()).upstreams;
        upstreams[0].endpoint = crate::config::Endpoint::Unix(directory("panic").join("nobody"));
        let config = Config { routes: vec![route], upstreams, ..config() };
        let server = Server::bind(Arc::new(config)).expect("bound");
        let (address, stopper) = (server.addresses()[0].clone(), server.stopper());
        let thread = thread::spawn(move || server.run());
        let connect = || {
            let stream =
                TcpStream::connect(address.strip_prefix("http://").expect("TCP")).expect("connected");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
            stream
        };
        let get = |stream: &mut TcpStream, path: &str| {
            write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
            let mut status = [0; 12];
            stream.read_exact(&mut status).map(|()| String::from_utf8_lossy(&status).into_owned())
        };
        let mut other = connect();
        assert_eq!(get(&mut other, "/").expect("an answer"), "HTTP/1.1 502");
        assert!(get(&mut connect(), "/panic").is_err(), "the connection of the request is closed");
        read_until(&mut other, "\"type\":\"error\"}");
        assert_eq!(get(&mut other, "/").expect("an answer"), "HTTP/1.1 502");
        assert_eq!(get(&mut connect(), "/").expect("an answer"), "HTTP/1.1 502");
        stopper.end_now();
        assert!(thread.join().expect("no panic").is_ok());
    }

    #[test]
    fn panic_leaves_the_worker_alive() {
        let running = run(config());
        let mut unlucky = running.connect();
        write!(unlucky, "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        assert_eq!(unlucky.read(&mut [0]).expect("closed"), 0);
        get(&mut running.connect(), "/hello");
    }
}
