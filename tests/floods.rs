//! Clients that send, open or ask for more than anybody needs. What they hold is bounded and others are served; what costs
//! them nothing ends their connection.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::client::{Call, Request};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, RawHttp2, SETTINGS,
    WINDOW_UPDATE, block, frame, get, request, statuses,
};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::Upstream;
use crate::support::wire::{Endpoint, Wire};
use crate::support::{alone, within, within_time};

/// How long anybody else may have to wait during a flood. Much more than it takes, much less than if they were not served.
const SERVED: Duration = Duration::from_secs(5);

/// One worker, so that the flood and the others share it.
async fn one_worker(upstream: &Upstream, more: &str) -> Tidegate {
    Tidegate::before(upstream, &format!("{more}\n[server]\nworkers = 1")).await
}

/// Somebody else is served.
async fn served(endpoint: &Endpoint, upstream: &mut Upstream) {
    let served = async {
        let mut call = Call::start(endpoint, &Request::get("/other")).await;
        loop {
            let exchange = upstream.request().await;
            if exchange.head.target() == "/other" {
                exchange.answer(200, &[], b"ok").await;
                break;
            }
        }
        assert_eq!(call.body().await, b"ok");
    };
    within_time(SERVED, "somebody else to be served", served).await;
}

/// Writes what `flood` makes until the connection ends; how often it was taken.
async fn flood(client: &mut RawHttp2, most: usize, mut flood: impl FnMut(u32) -> Vec<u8>) -> usize {
    for number in 0..most {
        let frames = flood(number as u32);
        if within("a write of the flood", client.try_write(&frames)).await.is_err() {
            return number;
        }
    }
    panic!("{most} were taken");
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    served(&proxy.http(), &mut upstream).await;
    let before = proxy.rss();
    // A thousand at a time: the writes would be the slowest part.
    let floods: &[(&str, Vec<u8>)] = &[
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS of windows", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("frames of no known type", frame(0xbe, 0, 0, b"x")),
        ("empty DATA", frame(DATA, 0, 1, b"")),
    ];
    for (name, one) in floods {
        let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/flood")];
        client.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        // Its body never comes, nor does an answer.
        let exchange = within(name, upstream.request()).await;
        // Most of what is taken is in the buffers of the kernel, and nobody reads it any more.
        flood(&mut client, 1000, |_| one.repeat(1000)).await;
        drop(exchange);
        served(&proxy.http(), &mut upstream).await;
    }
    let line = proxy.access("/flood").await;
    assert_eq!(line.need("outcome"), "client:flooded", "{line:?}");
    let flooded = proxy.access_lines().iter().filter(|line| line.need("outcome") == "client:flooded").count();
    assert_eq!(flooded, floods.len(), "{}", proxy.log());
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < 8 << 20, "RSS grew by {grown} bytes");
}

/// A few PINGs a second are what a client does that wants to know whether the connection lives.
#[tokio::test]
async fn frames_that_carry_nothing_now_and_then_are_no_flood() {
    let upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    for round in 0..50_u64 {
        client.write(&frame(PING, 0, 0, &round.to_be_bytes()).repeat(10)).await;
        let mut answered = 0;
        while answered < 10 {
            let frame = within("an answer to a PING", client.next()).await.expect("the connection stays");
            answered += u32::from(frame.kind == PING && frame.flags == 1);
        }
    }
}

#[tokio::test]
async fn continuation_without_end_ends_the_connection() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    served(&proxy.http(), &mut upstream).await;
    let before = proxy.rss();
    // Many small ones, empty ones, and few large ones whose fields are never seen because the head never ends.
    for payload in [block(&[("x", "y")]), Vec::new(), block(&[("x", &"y".repeat(16_000))])] {
        let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
        client.write(&frame(HEADERS, END_STREAM, 1, &block(&get("/flood")))).await;
        let taken = flood(&mut client, 100_000, |_| frame(CONTINUATION, 0, 1, &payload)).await;
        assert!(taken < 10_000, "{taken} were taken");
        proxy.logged("client:flooded").await;
        served(&proxy.http(), &mut upstream).await;
    }
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < 8 << 20, "RSS grew by {grown} bytes");
}

/// CVE-2023-44487: each stream is taken back at once, so that none counts as open, and the upstream has the work.
#[tokio::test]
async fn streams_that_are_opened_and_reset_end_the_connection() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    served(&proxy.http(), &mut upstream).await;
    let before = (proxy.rss(), upstream.accepted());
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        [request(stream, &get("/flood")), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    for at_a_time in [1, 100] {
        let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
        let taken = flood(&mut client, 100_000, |number| {
            (0..at_a_time).flat_map(|more| pair(number * at_a_time + more)).collect()
        })
        .await;
        // What the kernel held when the connection ended was never read.
        assert!(taken * (at_a_time as usize) < 50_000, "{taken} writes were taken");
        served(&proxy.http(), &mut upstream).await;
    }
    proxy.logged("client:flooded").await;
    let (grown, asked) = (proxy.rss().saturating_sub(before.0), upstream.accepted() - before.1);
    assert!(grown < 16 << 20, "RSS grew by {grown} bytes");
    assert!(asked < 1_000, "the upstream was asked {asked} times");
}

/// The same by a client that waits until the upstream is at work, so that nothing is reset before it was looked at.
#[tokio::test]
async fn streams_that_are_reset_when_the_upstream_works_end_the_connection() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    let mut asked = 0;
    let start = Instant::now();
    loop {
        let stream = 2 * asked + 1;
        if client.try_write(&request(stream, &get("/flood"))).await.is_err() {
            break;
        }
        let mut exchange = tokio::select! {
            biased;
            exchange = upstream.request() => exchange,
            () = async { while client.next().await.is_some() {} } => break,
        };
        asked += 1;
        if client.try_write(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await.is_err() {
            break;
        }
        within("the upstream to be left", exchange.closed()).await;
    }
    // 400, and 40 for each second.
    let most = 450 + 40 * start.elapsed().as_secs() as u32;
    assert!((300..most).contains(&asked), "the upstream was asked {asked} times");
    proxy.logged("client:flooded").await;
    served(&proxy.http(), &mut upstream).await;
}

/// What h2 refuses costs the upstream nothing, but the log a line each.
#[tokio::test]
async fn requests_with_faults_end_the_connection() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    let fields = [get("/faulty"), vec![("connection", "close")]].concat();
    flood(&mut client, 100_000, |number| request(2 * number + 1, &fields)).await;
    proxy.logged("client:flooded").await;
    assert!(upstream.is_quiet());
    served(&proxy.http(), &mut upstream).await;
    // One for each that was read: those that were refused for themselves, and those behind them.
    let lines = proxy.access_lines().iter().filter(|line| line.get("path").is_none()).count();
    println!("{lines} lines");
    assert!((256..2_000).contains(&lines), "{lines} lines");
}

/// A proxy in front, say, some of whose users leave: most of what it asks for it wants.
#[tokio::test]
async fn streams_of_which_every_third_is_reset_are_no_flood() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    let mut stream = 1;
    for _ in 0..300 {
        for path in ["/1", "/2", "/gone"] {
            client.write(&request(stream, &get(path))).await;
            let exchange = upstream.request().await;
            if path == "/gone" {
                client.write(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
            } else {
                exchange.answer(204, &[], b"").await;
                let answered = |frame: &_| statuses(std::slice::from_ref(frame)).contains_key(&stream);
                while !answered(&within("an answer", client.next()).await.expect("the connection stays")) {}
            }
            stream += 2;
        }
    }
}

#[tokio::test]
async fn streams_past_the_limit_are_refused_and_the_others_answered() {
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
    let open: Vec<u8> = (0..200).flat_map(|number| request(2 * number + 1, &get("/many"))).collect();
    client.write(&open).await;
    let mut exchanges = Vec::new();
    while exchanges.len() < 128 {
        exchanges.push(upstream.request().await);
    }
    for exchange in exchanges {
        exchange.answer(204, &[], b"").await;
    }
    let (mut refused, mut answered) = (0, 0);
    while refused + answered < 200 {
        let frame = within("the answers", client.next()).await.expect("the connection stays");
        match frame.kind {
            RST_STREAM => {
                assert_eq!(frame.reason(), 7, "REFUSED_STREAM: it may be tried again");
                refused += 1;
            }
            HEADERS => answered += 1,
            _ => {}
        }
    }
    assert_eq!((refused, answered), (72, 128));
    assert!(upstream.is_quiet());
    crate::support::upstream::settled(Duration::from_secs(5), "a line for each", || {
        proxy.access_lines().len() == 200
    })
    .await;
    let lines = proxy.access_lines();
    assert_eq!(lines.iter().filter(|line| line.need("outcome") == "client:too_many_streams").count(), 72);
}

/// Frames of one byte that the upstream does not take: the window counts what they carry, not what they are.
#[tokio::test]
async fn small_frames_that_nobody_takes_are_held_in_bounds() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    served(&proxy.http(), &mut upstream).await;
    let before = proxy.rss();
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/flood")];
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = RawHttp2::connect(&proxy.http(), &[]).await;
        client.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        let exchange = upstream.request().await;
        // No more than the window: a client that goes beyond it breaks the connection itself.
        for _ in 0..60 {
            let thousand = frame(DATA, 0, 1, b"x").repeat(1000);
            if within("a write", client.try_write(&thousand)).await.is_err() {
                break;
            }
        }
        held.push((client, exchange));
    }
    served(&proxy.http(), &mut upstream).await;
    let grown = proxy.rss().saturating_sub(before);
    println!("{grown} bytes for 1.2 million frames");
    assert!(grown < 64 << 20, "RSS grew by {grown} bytes for 1.2 million frames");
}

/// Requests piled up behind one that is not answered.
#[tokio::test]
async fn requests_sent_far_ahead_end_the_connection() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    let request = Request::get("/ahead").to_bytes();
    wire.write(&request).await;
    let exchange = upstream.request().await;
    let mut taken = 0;
    while within("a write of the flood", wire.try_write(&request.repeat(100))).await.is_ok() {
        taken += 100 * request.len();
        assert!(taken < 64 << 20, "{taken} bytes were taken");
    }
    drop(exchange);
    proxy.access("/ahead").await.assert_ended("client:flooded", "head");
    assert!(upstream.is_quiet(), "a request of a client that was cut was sent");
}

#[tokio::test]
async fn connections_past_the_limit_of_a_client_are_closed_and_told_of_once_in_a_while() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = one_worker(&upstream, "\n[limits]\nmax_connections_per_client = 20").await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(Wire::connect(&proxy.http()).await);
    }
    for _ in 0..500 {
        let knock = async {
            // It may be reset before it is known here that it was made.
            if let Ok(io) = proxy.http().connect().await {
                Wire::new(io).until_closed().await;
            }
        };
        within("the end of a connection too many", knock).await;
    }
    let told = proxy.logged("max_connections_per_client").await;
    assert!(told.contains("level=warn") && told.contains("client=127.0.0.1"), "{told}");
    let told = proxy.log().matches("max_connections_per_client").count();
    assert!(told <= 1 + 20, "{told} lines");
    assert!(proxy.access_lines().is_empty());
    // Who is in is served, and who leaves makes room.
    let mut call = Call::over(kept.pop().expect("one"), &Request::get("/in")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
    drop(call);
    let room = async {
        loop {
            let Ok(io) = proxy.http().connect().await else { continue };
            let mut wire = Wire::new(io);
            if wire.try_write(&Request::get("/again").to_bytes()).await.is_err() {
                continue;
            }
            tokio::select! {
                exchange = upstream.request() => return exchange,
                _ = wire.until_closed() => {}
            }
        }
    };
    within("room for another", room).await;
}

/// Most connections are idle at any time. What one costs is what 9,000 cost, divided.
#[tokio::test]
async fn nine_thousand_idle_connections_cost_little_and_hold_nobody_up() {
    const MANY: usize = 9_000;
    let _alone = alone().await;
    allow_files(MANY as u64 + 1_000);
    let mut upstream = Upstream::start().await;
    let more = "\n[limits]\nmax_connections_per_client = 10000\n[timeouts]\nrequest_head = \"10m\"\n[server]\nworkers = 2";
    let proxy = Launch::config(config(&upstream, more)).start().await;
    served(&proxy.http(), &mut upstream).await;
    let (before, files) = (proxy.rss(), proxy.fds());
    let start = Instant::now();
    let mut idle = Vec::with_capacity(MANY);
    while idle.len() < MANY {
        idle.push(Wire::connect(&proxy.http()).await);
    }
    served(&proxy.http(), &mut upstream).await;
    crate::support::eventually(Duration::from_secs(20), "all to be accepted", || {
        let open = proxy.fds() - files;
        if open >= MANY - 10 { Ok(()) } else { Err(format!("{open} are")) }
    })
    .await;
    let fresh = proxy.rss().saturating_sub(before) / MANY as u64;
    println!("{MANY} connections: {:?}, {fresh} bytes each", start.elapsed());
    assert!(fresh <= FRESH, "an idle connection that was never used costs {fresh} bytes");
    // hyper has its buffers from the first request on. No route leads to this one, so no upstream is asked.
    for wire in &mut idle {
        wire.write(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    for wire in &mut idle {
        let head = within("a response", wire.head()).await.expect("the connection stays");
        assert_eq!(head.expect("a head").status(), 404);
    }
    served(&proxy.http(), &mut upstream).await;
    let used = proxy.rss().saturating_sub(before) / MANY as u64;
    println!("used: {used} bytes each");
    assert!(used <= USED, "an idle connection that was used once costs {used} bytes");
    let start = Instant::now();
    // Reset, so that the kernel does not keep 9,000 closed connections for a minute.
    idle.into_iter().for_each(Wire::reset);
    crate::support::eventually(Duration::from_secs(20), "all to be closed", || {
        let open = proxy.fds().saturating_sub(files);
        if open < 100 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
    println!("closed: {:?}", start.elapsed());
    served(&proxy.http(), &mut upstream).await;
}

/// Bytes of an idle connection on which nothing came. Debug builds, with the system's allocator.
const FRESH: u64 = 8 << 10;

/// Bytes of an idle connection on which a request was answered: hyper keeps a buffer for each way.
const USED: u64 = 28 << 10;

/// This process has the other ends.
fn allow_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        possible >= wanted,
        "the hard limit of open files is {possible}: raise it to {wanted} (ulimit -Hn)"
    );
    let current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).expect("up to the hard limit");
}
