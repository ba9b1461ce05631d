//! A client that leaves stops the work behind it: the upstream is left within 100 ms, however and whenever
//! the client goes, and nothing of it stays.

use std::time::Duration;

use crate::support::access::outcome;
use crate::support::certs::Certs;
use crate::support::client::{Call, Http2, Left, Request, Version};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Exchange, Upstream, settled};
use crate::support::wire::Wire;
use crate::support::{Dir, alone, eventually, within, within_time};

const LIMIT: Duration = Duration::from_millis(100);
const PATH: &str = "/v1/chat/completions";
/// Bytes of an upload that fits into no buffer.
const UPLOAD: usize = 48 << 20;

/// A stream of which the client holds one event; the upstream is silent since.
async fn silent_stream(version: Version, proxy: &Tidegate, upstream: &mut Upstream) -> (Call, Exchange) {
    let mut call = Call::start_as(version, &proxy.http(), &Request::stream(PATH)).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: 1\n\n").await;
    assert_eq!(call.piece().await.data, b"data: 1\n\n");
    (call, exchange)
}

#[tokio::test]
async fn upstream_is_left_when_the_client_goes_in_silence() {
    let _alone = alone().await;
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        for version in [Version::Http1, Version::Http2] {
            for reset in [false, true] {
                let (call, mut exchange) = silent_stream(version, &proxy, &mut upstream).await;
                let left = if reset { call.reset() } else { call.close() };
                exchange.assert_closed_within(LIMIT, &left).await;
            }
        }
        proxy.access(PATH).await.assert_ended(outcome::CLIENT_GONE, "body");
    }
}

#[tokio::test]
async fn upstream_is_left_when_the_client_closes_its_half() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (mut call, mut exchange) = silent_stream(Version::Http1, &proxy, &mut upstream).await;
    let left = Left::now();
    call.wire().half_close().await;
    exchange.assert_closed_within(LIMIT, &left).await;
}

/// Bytes behind the request (a stray CRLF, a pipelined request) fill the read buffer of the server, which then
/// does not look at the socket any more; the end of file behind them must be seen all the same.
#[tokio::test]
async fn upstream_is_left_when_the_client_goes_after_pipelined_bytes() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let next = Request::get("/next").to_bytes();
    for bytes in [&b"\r\n"[..], &next] {
        for reset in [false, true] {
            let (mut call, mut exchange) = silent_stream(Version::Http1, &proxy, &mut upstream).await;
            call.wire().write(bytes).await;
            // The stream goes on: the proxy has had every chance to read what was pipelined.
            exchange.chunk(b"data: 2\n\n").await;
            assert_eq!(call.piece().await.data, b"data: 2\n\n");
            let left = if reset { call.reset() } else { call.close() };
            exchange.assert_closed_within(LIMIT, &left).await;
            assert!(upstream.is_quiet(), "the pipelined request of a client that left was sent");
        }
    }
}

#[tokio::test]
async fn upstream_is_left_when_the_client_goes_before_the_head() {
    let _alone = alone().await;
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        for version in [Version::Http1, Version::Http2] {
            for reset in [false, true] {
                let call = Call::start_as(version, &proxy.http(), &Request::stream(PATH)).await;
                let mut exchange = upstream.request().await;
                exchange.body().await;
                let left = if reset { call.reset() } else { call.close() };
                exchange.assert_closed_within(LIMIT, &left).await;
            }
        }
        proxy.access(PATH).await.assert_ended(outcome::CLIENT_GONE, "head");
    }
}

#[tokio::test]
async fn upstream_is_left_when_the_client_goes_inside_its_upload() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    wire.write(b"POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await;
    let mut exchange = upstream.request().await;
    assert_eq!(exchange.body_piece().await.as_deref(), Some(&b"abc"[..]));
    let left = Call::written(wire, "POST").close();
    exchange.assert_closed_within(LIMIT, &left).await;
}

/// An upstream that takes nothing of an upload makes the server stop reading, and a server that does not read
/// sees no end of file: the client's end must be seen without it. Only when the access line tells that the
/// upstream was left does this upstream read again; before that it would set the upload going, and the end would
/// be read after all.
#[tokio::test]
async fn upstream_that_takes_nothing_is_left_when_the_client_goes_inside_its_upload() {
    let _alone = alone().await;
    let (certs, dir) = (Certs::new(), Dir::new());
    // A Unix socket takes much less than TCP before it is full.
    let mut upstream = Upstream::unix(&dir);
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let proxy = Tidegate::before(&upstream, &format!("\n{listener}")).await;
    for (scheme, endpoint) in [("http", proxy.http()), ("https", proxy.https(&certs, &["http/1.1"]))] {
        for way in ["close", "half", "reset"] {
            let mut wire = Wire::connect(&endpoint).await;
            let path = format!("/{scheme}/{way}");
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n");
            wire.write(head.as_bytes()).await;
            let mut exchange = upstream.request().await;
            // A FIN waits behind what does not fit into the window; a reset does not.
            let patience = Duration::from_millis(300);
            match way {
                "reset" => wire.write_until_full(UPLOAD, patience).await,
                _ => wire.write_until_unread(UPLOAD, patience).await,
            }
            let mut call = Call::written(wire, "POST");
            let mut left = Left::now();
            match way {
                "close" => left = call.close(),
                "half" => call.wire().half_close().await,
                _ => left = call.reset(),
            }
            let line = within_time(LIMIT, &format!("{path} to end"), proxy.access(&path)).await;
            line.assert_ended(outcome::CLIENT_GONE, "head");
            exchange.assert_closed_within(LIMIT, &left).await;
        }
    }
}

#[tokio::test]
async fn upstream_is_left_when_a_client_that_reads_nothing_goes() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (call, mut exchange) = silent_stream(Version::Http1, &proxy, &mut upstream).await;
    exchange.flood(64 << 20, Duration::from_millis(300)).await;
    let left = call.close();
    exchange.assert_closed_within(LIMIT, &left).await;
}

#[tokio::test]
async fn other_streams_of_an_http2_client_go_on_when_one_is_reset() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let connection = Http2::connect(&proxy.http()).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let call = connection.call(&Request::stream(PATH)).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        streams.push((call, exchange));
    }
    let (call, mut exchange) = streams.remove(1);
    let left = call.reset();
    exchange.assert_closed_within(LIMIT, &left).await;
    for (call, exchange) in &mut streams {
        exchange.chunk(b"data: still here\n\n").await;
        assert_eq!(call.piece().await.data, b"data: still here\n\n");
    }
}

/// Linear congruential, as good as it needs to be; the seed is fixed so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn nothing_is_left_of_500_streams_of_which_half_were_killed() {
    let _alone = alone().await;
    allow_many_files();
    let mut upstream = Upstream::start().await;
    let workers = 2;
    let proxy = Launch::config(config(&upstream, &format!("\n[server]\nworkers = {workers}"))).start().await;
    // One request first, so that whatever is made on first use is there.
    let mut call = Call::start(&proxy.http(), &Request::get("/")).await;
    upstream.request().await.answer(200, &[("connection", "close")], b"").await;
    assert_eq!(call.status().await, 200);
    drop(call);
    settled(Duration::from_secs(5), "the first connection to close", || upstream.open() == 0).await;
    let before = proxy.fds();

    let mut dice = Dice(0x7145_9a7e);
    let mut streams = Vec::new();
    for number in 0..500 {
        let version = if number % 5 == 0 { Version::Http2 } else { Version::Http1 };
        streams.push(silent_stream(version, &proxy, &mut upstream).await);
    }
    let mut killed = Vec::new();
    for _ in 0..250 {
        let victim = dice.roll(streams.len() as u64) as usize;
        let (call, exchange) = streams.swap_remove(victim);
        if dice.roll(2) == 0 {
            call.reset()
        } else {
            call.close()
        };
        killed.push(exchange);
    }
    for mut exchange in killed {
        within("the upstream of a killed client to be left", exchange.closed()).await;
    }
    for (mut call, mut exchange) in streams {
        exchange.chunk(b"data: [DONE]\n\n").await;
        exchange.end().await;
        assert_eq!(call.rest().await.cut, None);
    }
    // Idle pooled connections may stay: 32 for each worker.
    let idle = workers * 32;
    eventually(Duration::from_secs(2), "everything to be cleaned up", || {
        let (open, fds) = (upstream.open(), proxy.fds());
        let clean = open <= idle && fds <= before + open;
        if clean { Ok(()) } else { Err(format!("{open} upstream connections, {fds} fds, {before} before")) }
    })
    .await;
    settled(Duration::from_secs(5), "an access line for each", || proxy.access_lines().len() == 501).await;
    let gone =
        proxy.access_lines().iter().filter(|line| line.need("outcome") == outcome::CLIENT_GONE).count();
    assert_eq!(gone, 250);
}

/// Both ends of all streams are in this process.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |maximum| maximum.min(4096));
    let raised = Rlimit { current: limit.current.map(|current| current.max(wanted)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised up to the hard one");
}
