//! What follows an upgrade: every byte in order both ways, each end passed on as what it was, named timeouts, and
//! memory that does not grow.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::access::outcome;
use crate::support::certs::Certs;
use crate::support::client::{Call, Http2, Left, Request};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Speaks, Upstream};
use crate::support::wire::{Endpoint, Wire};
use crate::support::{alone, eventually, within, within_time};

const LIMIT: Duration = Duration::from_millis(100);
const SWITCH: &[(&str, &str)] = &[("connection", "upgrade"), ("upgrade", "raw")];

/// Both ends of a tunnel on `path`, through which a byte has gone each way.
async fn tunnel(endpoint: &Endpoint, upstream: &mut Upstream, path: &str) -> (Wire, Wire) {
    through(Wire::connect(endpoint).await, upstream, path).await
}

async fn through(mut client: Wire, upstream: &mut Upstream, path: &str) -> (Wire, Wire) {
    let request = Request::get(path).field("connection", "upgrade").field("upgrade", "raw");
    client.write(&request.to_bytes()).await;
    let mut far = upstream.request().await.switch(SWITCH).await;
    assert_eq!(within("the 101", client.head()).await.expect("no reset").expect("a head").status(), 101);
    client.write(b">").await;
    assert_eq!(far.exact(1).await, b">");
    far.write(b"<").await;
    assert_eq!(client.exact(1).await, b"<");
    (client, far)
}

/// The same over a stream of an HTTP/2 connection.
async fn http2_tunnel(connection: &Http2, upstream: &mut Upstream, path: &str) -> (Call, Wire) {
    let mut call = connection.tunnel(&Request::get(path), "websocket").await;
    let exchange = upstream.request().await;
    let accept = derive_accept_key(exchange.head.one("sec-websocket-key").expect("a key").as_bytes());
    let fields = [("upgrade", "websocket"), ("sec-websocket-accept", accept.as_str())];
    let mut far = exchange.switch(&fields).await;
    assert_eq!(call.status().await, 200);
    call.send(b">", false);
    assert_eq!(far.exact(1).await, b">");
    (call, far)
}

#[tokio::test]
async fn half_close_is_passed_on_and_the_other_half_goes_on() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for client_first in [true, false] {
        let (client, far) = tunnel(&proxy.http(), &mut upstream, "/half").await;
        let (mut first, mut second) = if client_first { (client, far) } else { (far, client) };
        first.write(b"bye").await;
        first.half_close().await;
        assert_eq!(second.end().await.expect("a FIN"), b"bye");
        for _ in 0..3 {
            second.write(b"still here").await;
            assert_eq!(first.exact(10).await, b"still here");
        }
        second.half_close().await;
        assert_eq!(first.end().await.expect("a FIN"), b"");
        proxy.access("/half").await.assert_ended(outcome::DONE, "end");
    }
}

#[tokio::test]
async fn end_of_one_side_reaches_the_other_within_100_ms_as_what_it_was() {
    let _alone = alone().await;
    let certs = Certs::new();
    let tls = format!("\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    for mut upstream in [Upstream::start().await, Upstream::tls(Speaks::Http1, &certs).await] {
        let proxy = Tidegate::before(&upstream, &tls).await;
        for endpoint in [proxy.http(), proxy.https(&certs, &["http/1.1"])] {
            for (client_goes, reset) in [(true, false), (true, true), (false, false), (false, true)] {
                let path = format!("/{client_goes}/{reset}");
                let (client, far) = tunnel(&endpoint, &mut upstream, &path).await;
                let (goes, mut stays) = if client_goes { (client, far) } else { (far, client) };
                let left = Left::now();
                if reset {
                    goes.reset();
                } else {
                    drop(goes);
                }
                let end = stays.end().await;
                let took = left.at.elapsed();
                assert!(took <= LIMIT, "{path} over {endpoint:?}: {took:?}");
                assert_eq!(end.is_err(), reset, "{path} over {endpoint:?}: {end:?}");
                drop(stays);
                let line = proxy.access(&path).await;
                match (reset, client_goes) {
                    (false, _) => line.assert_ended(outcome::DONE, "end"),
                    (true, true) => line.assert_ended(outcome::CLIENT_GONE, "body"),
                    (true, false) => line.assert_ended(outcome::RESET, "body"),
                }
            }
        }
    }
}

/// What is not read does not tell of its end: the client's reset must be seen although the upstream takes nothing and
/// so the client is not read.
#[tokio::test]
async fn upstream_that_takes_nothing_is_left_when_the_client_resets() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for half_closed in [false, true] {
        let path = format!("/deaf/{half_closed}");
        let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, &path).await;
        if half_closed {
            client.half_close().await;
            far.end().await.expect("a FIN");
        } else {
            client.write_until_full(64 << 20, Duration::from_millis(300)).await;
        }
        let left = Left::now();
        client.reset();
        let line = within_time(LIMIT, "the tunnel to end", proxy.access(&path)).await;
        line.assert_ended(outcome::CLIENT_GONE, "body");
        within("the upstream to be left", far.until_closed()).await;
        assert!(left.at.elapsed() < Duration::from_secs(2));
    }
}

/// An upstream often says its last word and closes while the client still talks. The last word must arrive.
#[tokio::test]
async fn last_words_of_an_upstream_arrive_although_the_client_goes_on_talking() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, "/last").await;
    // So much that it is with the proxy when the upstream closes: what were not would be lost to TCP itself.
    far.write(&[b'w'; 20_000]).await;
    drop(far);
    // Until the upstream's kernel has said that nobody is there, and the proxy has heard it.
    let talking =
        async { while client.try_write(&[0; 1000]).await.is_ok() && proxy.access_lines().is_empty() {} };
    within("the tunnel to end", talking).await;
    let rest = client.end().await.expect("a FIN");
    assert_eq!(rest.len(), 20_000);
    proxy.access("/last").await.assert_ended(outcome::DONE, "end");
}

#[tokio::test]
async fn tunnel_that_is_silent_for_too_long_is_closed_and_pings_keep_it() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "timeouts = { tunnel_idle = \"400ms\" }").await;
    let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, "/idle").await;
    let mut spoke = Instant::now();
    // Two that are silent, one after the other, are closed while this one pings.
    for round in 0..2 {
        let (mut silent, _held) = tunnel(&proxy.http(), &mut upstream, "/silent").await;
        let closed = tokio::spawn(async move { silent.end().await });
        let (from, to) = if round == 0 { (&mut client, &mut far) } else { (&mut far, &mut client) };
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while !closed.is_finished() {
            pace.tick().await;
            spoke = Instant::now();
            from.write(b"p").await;
            assert_eq!(to.exact(1).await, b"p");
        }
        assert_eq!(closed.await.expect("no panic").expect("a FIN"), b"");
    }
    assert_eq!(client.end().await.expect("a FIN"), b"");
    assert_eq!(far.end().await.expect("a FIN"), b"");
    assert!(spoke.elapsed() >= Duration::from_millis(400), "{:?}", spoke.elapsed());
    proxy.access("/idle").await.assert_ended(outcome::TUNNEL_IDLE, "body");
}

#[tokio::test]
async fn tunnel_that_is_open_for_too_long_is_closed_although_it_talks() {
    let mut upstream = Upstream::start().await;
    // `total` is over with the 101.
    let proxy =
        Tidegate::before(&upstream, "timeouts = { total = \"200ms\", tunnel_total = \"600ms\" }").await;
    let start = Instant::now();
    let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, "/total").await;
    let talking = async {
        while client.try_write(b"p").await.is_ok() {
            if !matches!(far.fill().await, Ok(1..)) {
                break;
            }
        }
    };
    within("the tunnel to be closed", talking).await;
    assert!(start.elapsed() >= Duration::from_millis(590), "{:?}", start.elapsed());
    proxy.access("/total").await.assert_ended(outcome::TUNNEL_TOTAL, "body");
}

#[tokio::test]
async fn client_that_takes_nothing_is_cut_off() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[timeouts]\nclient_write_stall = \"500ms\"").await;
    let (client, mut far) = through(Wire::connect_narrow(&proxy.http()).await, &mut upstream, "/stall").await;
    let flood = async { while far.try_write(&[0; 16 << 10]).await.is_ok() {} };
    within("the tunnel to be cut", flood).await;
    proxy.access("/stall").await.assert_ended(outcome::CLIENT_STALLED, "body");
    drop(client);
}

#[tokio::test]
async fn slow_side_slows_the_fast_one_and_memory_stays() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    drop(tunnel(&proxy.http(), &mut upstream, "/warm").await);
    for client_floods in [true, false] {
        let (client, far) = tunnel(&proxy.http(), &mut upstream, "/flood").await;
        let before = proxy.rss();
        let (mut floods, mut reads) = if client_floods { (client, far) } else { (far, client) };
        floods.write_until_full(64 << 20, Duration::from_millis(300)).await;
        let grown = proxy.rss().saturating_sub(before);
        assert!(grown < 1 << 20, "RSS grew by {grown} bytes; the client floods: {client_floods}");
        // Once it is read, everything goes on, and the end comes behind all of it.
        let finish = async {
            floods.write(b"last").await;
            floods.half_close().await;
        };
        let mut rest = Vec::new();
        let read = async { rest = reads.end().await.expect("a FIN") };
        within("the rest", async { tokio::join!(finish, read) }).await;
        assert!(rest.ends_with(b"\0last"));
    }
}

/// As fast as it goes, which has to be 1 MiB/s each way at least.
#[tokio::test]
async fn both_ways_at_once_move_every_byte_in_bounded_memory() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let certs = Certs::new();
    let tls = format!("\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let proxy = Tidegate::before(&upstream, &tls).await;
    for endpoint in [proxy.http(), proxy.https(&certs, &["http/1.1"])] {
        drop(tunnel(&endpoint, &mut upstream, "/warm").await);
        let before = proxy.rss();
        let (client, far) = tunnel(&endpoint, &mut upstream, "/both").await;
        let start = Instant::now();
        let (up, down) = (tokio::spawn(exchange(client, 1)), tokio::spawn(exchange(far, 2)));
        within("16 MiB each way", async { (up.await.expect("no panic"), down.await.expect("no panic")) })
            .await;
        let took = start.elapsed();
        let grown = proxy.rss().saturating_sub(before);
        assert!(took < Duration::from_secs(16), "not 1 MiB/s each way: {took:?}");
        assert!(grown < 2 << 20, "RSS grew by {grown} bytes over {endpoint:?}");
    }
    let line = proxy.access("/both").await;
    assert_eq!((line.need("bytes"), line.need("bytes_up")), ("16777217", "16777217"));
}

/// Sends 16 MiB of a pattern and reads as much of the other pattern, at the same time.
async fn exchange(wire: Wire, number: u8) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (io, early) = wire.into_parts();
    assert!(early.is_empty());
    let (mut read, mut write) = tokio::io::split(io);
    let sending = async {
        for block in 0..BOTH_WAYS / BLOCK {
            write.write_all(&pattern(number, block)).await.expect("the peer reads");
        }
        write.shutdown().await.expect("open");
    };
    let receiving = async {
        let mut received = vec![0; BLOCK];
        for block in 0..BOTH_WAYS / BLOCK {
            read.read_exact(&mut received).await.expect("all of it comes");
            assert!(received == pattern(3 - number, block), "block {block} is another");
        }
        assert_eq!(read.read(&mut received).await.expect("no reset"), 0);
    };
    tokio::join!(sending, receiving);
}

/// Lost or moved bytes would show: each block begins with its number.
fn pattern(number: u8, block: usize) -> Vec<u8> {
    let mut pattern = vec![number; BLOCK];
    pattern[..8].copy_from_slice(&(block as u64).to_be_bytes());
    pattern
}

const BOTH_WAYS: usize = 16 << 20;
const BLOCK: usize = 64 << 10;

#[tokio::test]
async fn tunnels_go_on_until_the_drain_time_is_up() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "\n[timeouts]\ndrain = \"700ms\"").await;
    let connection = Http2::connect(&proxy.http()).await;
    let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, "/drain").await;
    let (mut call, mut far2) = http2_tunnel(&connection, &mut upstream, "/drain2").await;
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    eventually(Duration::from_secs(5), "nobody to listen", || {
        match std::net::TcpStream::connect(tcp(&proxy)) {
            Ok(_) => Err("still connects".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    client.write(b"1").await;
    assert_eq!(far.exact(1).await, b"1");
    call.send(b"2", false);
    assert_eq!(far2.exact(1).await, b"2");
    // Nothing is added at the end: not a Close frame, nor anything else.
    assert_eq!(client.end().await.expect("a FIN"), b"");
    assert_eq!(far.end().await.expect("a FIN"), b"");
    assert_eq!(far2.end().await.expect("a FIN"), b"");
    assert_eq!(call.rest().await.bytes(), b"");
    assert!(start.elapsed() >= Duration::from_millis(690), "{:?}", start.elapsed());
    assert_eq!(proxy.exit().await.code(), Some(0));
    proxy.access("/drain").await.assert_ended(outcome::DRAIN, "body");
    proxy.access("/drain2").await.assert_ended(outcome::DRAIN, "body");
}

fn tcp(proxy: &Tidegate) -> std::net::SocketAddr {
    match proxy.http() {
        Endpoint::Tcp(address) => address,
        other => panic!("not TCP: {other:?}"),
    }
}

#[tokio::test]
async fn drain_ends_as_soon_as_the_last_tunnel_does() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "").await;
    let (mut client, mut far) = tunnel(&proxy.http(), &mut upstream, "/drain").await;
    proxy.signal(Signal::TERM);
    client.write(b"1").await;
    assert_eq!(far.exact(1).await, b"1");
    assert!(proxy.is_running());
    drop(client);
    assert_eq!(far.end().await.expect("a FIN"), b"");
    drop(far);
    assert_eq!(proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn http2_tunnel_ends_as_its_other_side_does() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let connection = Http2::connect(&proxy.http()).await;
    let (mut call, mut far) = http2_tunnel(&connection, &mut upstream, "/fin").await;
    far.write(b"bye").await;
    far.half_close().await;
    let rest = call.rest().await;
    assert_eq!((rest.bytes().as_slice(), rest.cut), (&b"bye"[..], None));
    call.send(b"too", true);
    assert_eq!(far.end().await.expect("a FIN"), b"too");
    proxy.access("/fin").await.assert_ended(outcome::DONE, "end");

    let (mut call, far) = http2_tunnel(&connection, &mut upstream, "/rst").await;
    far.reset();
    let cut = call.rest().await.cut;
    assert!(cut.is_some(), "a reset looked like an end");
    proxy.access("/rst").await.assert_ended(outcome::RESET, "body");

    for deaf in [false, true] {
        let path = format!("/cancel/{deaf}");
        let (mut call, mut far) = http2_tunnel(&connection, &mut upstream, &path).await;
        if deaf {
            far.write_until_full(64 << 20, Duration::from_millis(300)).await;
        }
        call.send(b"x", false);
        let _left = call.reset();
        let line = within_time(LIMIT, "the tunnel to end", proxy.access(&path)).await;
        line.assert_ended(outcome::CLIENT_GONE, "body");
        within("the upstream to be left", far.until_closed()).await;
    }

    let (_call, mut far) = http2_tunnel(&connection, &mut upstream, "/close").await;
    drop(_call);
    drop(connection);
    within("the upstream to be left", far.until_closed()).await;
    proxy.access("/close").await.assert_ended(outcome::CLIENT_GONE, "body");
}

#[tokio::test]
async fn http2_client_that_reads_nothing_slows_the_upstream_and_is_cut_off() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[timeouts]\nclient_write_stall = \"2s\"").await;
    let connection = Http2::connect(&proxy.http()).await;
    let (call, mut far) = http2_tunnel(&connection, &mut upstream, "/slow").await;
    let before = proxy.rss();
    far.write_until_full(64 << 20, Duration::from_millis(300)).await;
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < 1 << 20, "RSS grew by {grown} bytes");
    proxy.access("/slow").await.assert_ended(outcome::CLIENT_STALLED, "body");
    drop(call);
}
