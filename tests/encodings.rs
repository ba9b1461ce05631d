//! Content codings that come although identity was asked: each flush of the upstream reaches the client at once, what is
//! known is taken off, what is not passes, and a bomb hurts nobody.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::support::access::outcome;
use crate::support::alone;
use crate::support::client::{Call, Request};
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream};

const CHAT: &str = "/v1/chat/completions";
const EVENTS: [&str; 3] = [
    "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"你\"},\"finish_reason\":null}]}\n\n",
    "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
];

/// `pieces`, each as it is on the wire when it was flushed, and the end.
fn coded(coding: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    match coding {
        "gzip" => {
            flushed(GzEncoder::new(Vec::new(), Compression::default()), pieces, GzEncoder::get_mut, |it| {
                it.finish().expect("memory takes all")
            })
        }
        "deflate" => flushed(
            ZlibEncoder::new(Vec::new(), Compression::default()),
            pieces,
            ZlibEncoder::get_mut,
            |it| it.finish().expect("memory takes all"),
        ),
        "zstd" => {
            let encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("level 3 exists");
            flushed(encoder, pieces, zstd::stream::write::Encoder::get_mut, |it| {
                it.finish().expect("memory takes all")
            })
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            let mut all = Vec::new();
            for piece in pieces {
                let before = encoder.get_ref().len();
                encoder.write_all(piece).and_then(|()| encoder.flush()).expect("memory takes all");
                all.push(encoder.get_ref()[before..].to_vec());
            }
            let before = encoder.get_ref().len();
            all.push(encoder.into_inner()[before..].to_vec());
            all
        }
        stacked => {
            let (first, second) = stacked.split_once(", ").expect("two codings");
            let inner = coded(first, pieces);
            let inner: Vec<&[u8]> = inner.iter().map(Vec::as_slice).collect();
            coded(second, &inner)
        }
    }
}

fn flushed<E: Write>(
    mut encoder: E,
    pieces: &[&[u8]],
    output: fn(&mut E) -> &mut Vec<u8>,
    finish: fn(E) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for piece in pieces {
        encoder.write_all(piece).and_then(|()| encoder.flush()).expect("memory takes all");
        all.push(std::mem::take(output(&mut encoder)));
    }
    all.push(finish(encoder));
    all
}

fn coded_events(coding: &str) -> Vec<Vec<u8>> {
    coded(coding, &EVENTS.map(str::as_bytes))
}

/// A stream request, answered with a head that names a coding.
async fn answered(
    proxy: &Tidegate,
    upstream: &mut Upstream,
    path: &str,
    kind: &str,
    coding: &str,
) -> (Call, Exchange) {
    let request = Request::stream(path).field("accept-encoding", "gzip, br, zstd");
    let call = Call::start(&proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    assert_eq!(exchange.head.one("accept-encoding"), Some("identity"));
    let fields = [("content-type", kind), ("content-encoding", coding), ("etag", "\"coded\"")];
    exchange.respond(200, &fields).await;
    (call, exchange)
}

/// By order: the next event is written only when the client holds the one before.
/// What was still inside the coding when the socket had been read waited for the next read, or for ever.
#[tokio::test]
async fn text_that_is_decoded_behind_its_read_waits_no_longer_than_others() {
    let keys = "stream = { merge = \"50ms\", heartbeat = \"off\", dialect = \"openai-chat\" }";
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, keys).await;
    let token = |text: &str| EVENTS[0].replace('你', text);
    let (small, large) = (token("a"), token(&"b".repeat(100_000)));
    let pieces = coded("gzip", &[small.as_bytes(), large.as_bytes()]);
    let (mut call, mut exchange) = answered(&proxy, &mut upstream, CHAT, "text/event-stream", "gzip").await;
    for (piece, event) in pieces.iter().zip([small, large]) {
        exchange.chunk(piece).await;
        assert!(call.piece().await.data == event.as_bytes(), "not the event of {} bytes", event.len());
    }
}

#[tokio::test]
async fn each_flushed_event_of_a_coded_stream_arrives_before_the_next_exists() {
    for mut upstream in [Upstream::start().await, Upstream::h2c().await] {
        let proxy = Tidegate::before(&upstream, "").await;
        for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br", "zstd, gzip"] {
            let (mut call, mut exchange) =
                answered(&proxy, &mut upstream, CHAT, "text/event-stream", coding).await;
            let head = call.head().await;
            assert_eq!((head.status(), head.one("content-encoding"), head.one("etag")), (200, None, None));
            assert_eq!(head.one("content-type"), Some("text/event-stream; charset=utf-8"));
            let pieces = coded_events(coding.trim_start_matches("x-"));
            for (piece, event) in pieces.iter().zip(EVENTS) {
                exchange.chunk(piece).await;
                assert_eq!(String::from_utf8_lossy(&call.piece().await.data), event, "{coding}");
            }
            for piece in pieces[EVENTS.len()..].iter().filter(|piece| !piece.is_empty()) {
                exchange.chunk(piece).await;
            }
            exchange.end().await;
            assert_eq!(call.body().await, b"", "{coding}");
        }
        for line in proxy.access_lines() {
            line.assert_ended(outcome::DONE, "end");
        }
    }
}

#[tokio::test]
async fn coded_stream_is_whole_when_it_comes_in_one_byte_chunks() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for coding in ["gzip", "br", "zstd"] {
        let (mut call, mut exchange) = answered(&proxy, &mut upstream, CHAT, "text/plain", coding).await;
        for byte in coded_events(coding).concat() {
            exchange.chunk(&[byte]).await;
        }
        exchange.end().await;
        assert_eq!(String::from_utf8_lossy(&call.body().await), EVENTS.concat(), "{coding}");
    }
}

#[tokio::test]
async fn coded_stream_that_is_cut_or_corrupt_ends_with_an_error() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for coding in ["gzip", "deflate", "br", "zstd"] {
        for (how, code, ended) in [
            ("cut", "upstream_truncated", outcome::TRUNCATED),
            ("corrupt", "upstream_malformed", outcome::MALFORMED),
        ] {
            let path = format!("{CHAT}/{how}-{coding}");
            let (mut call, mut exchange) =
                answered(&proxy, &mut upstream, &path, "text/event-stream", coding).await;
            let pieces = coded_events(coding);
            exchange.chunk(&pieces[0]).await;
            assert_eq!(call.piece().await.data, EVENTS[0].as_bytes());
            if how == "corrupt" {
                exchange.chunk(&[0xff; 64]).await;
            }
            exchange.end().await;
            let rest = String::from_utf8(call.body().await).expect("text");
            assert!(rest.starts_with("event: error\n") && rest.contains(code), "{coding} {how}: {rest}");
            proxy.access(&path).await.assert_ended(ended, "body");
        }
    }
}

/// Its label stays, and nothing of it is touched: whoever asked for it must know how to read it.
#[tokio::test]
async fn unknown_coding_passes_unframed() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for coding in ["compress", "aes128gcm", "gzip, br, zstd", "gzip, unknown"] {
        let (mut call, mut exchange) =
            answered(&proxy, &mut upstream, CHAT, "text/event-stream", coding).await;
        let head = call.head().await;
        assert_eq!(head.one("content-encoding"), Some(coding));
        assert_eq!(
            (head.one("content-type"), head.one("etag")),
            (Some("text/event-stream"), Some("\"coded\""))
        );
        exchange.chunk(b"\x1f\x9d\x90data: not text\r\n\xff").await;
        exchange.end().await;
        assert_eq!(call.body().await, b"\x1f\x9d\x90data: not text\r\n\xff");
    }
}

/// A client that asked for no stream has asked for the coding itself.
#[tokio::test]
async fn coded_body_that_is_no_stream_passes_untouched() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for coding in ["gzip", "br", "zstd"] {
        let body = coded(coding, &[b"{\"a\":1}"]).concat();
        let request = Request::get("/v1/models").field("accept-encoding", coding);
        let mut call = Call::start(&proxy.http(), &request).await;
        let exchange = upstream.request().await;
        assert_eq!(exchange.head.one("accept-encoding"), Some(coding));
        let fields = [("content-type", "application/json"), ("content-encoding", coding), ("etag", "\"a\"")];
        exchange.answer(200, &fields, &body).await;
        let head = call.head().await;
        assert_eq!((head.one("content-encoding"), head.one("etag")), (Some(coding), Some("\"a\"")));
        assert_eq!(call.body().await, body);
    }
}

#[tokio::test]
async fn bomb_ends_with_the_name_of_its_bound() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let events = [b"data: ".as_slice(), &[b'x'; 4000], b"\n\n"].concat().repeat(1000);
    for coding in ["gzip", "br", "zstd", "gzip, gzip"] {
        let path = format!("{CHAT}/{coding}").replace(", ", "-");
        let (mut call, mut exchange) =
            answered(&proxy, &mut upstream, &path, "text/event-stream", coding).await;
        exchange.chunk(&coded(coding, &[&events]).concat()).await;
        let body = call.body().await;
        let rest = String::from_utf8_lossy(&body[body.len() - 300..]);
        assert!(
            rest.contains("event: error\n") && rest.contains("upstream_coding_ratio"),
            "{coding}: {rest}"
        );
        assert!(rest.contains("256 times its size"), "{coding}: {rest}");
        assert!(body.len() < events.len(), "{coding}: {} bytes", body.len());
        proxy.access(&path).await.assert_ended(outcome::CODING_RATIO, "body");
    }
}

/// What a coded body blows up to waits in its coding, not in memory.
#[tokio::test]
async fn slow_reader_of_coded_streams_costs_no_memory() {
    let _alone = alone().await;
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[server]\nworkers = 1").await;
    // Blows up by about 150: within the ratio.
    let mut number = 1_u64;
    let events: Vec<Vec<u8>> = std::iter::repeat_with(|| {
        let mut event = b"data: ".to_vec();
        for _ in 0..64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            event.extend_from_slice(format!("{number:016x}").as_bytes());
        }
        event.resize(100 << 10, b'x');
        event.extend_from_slice(b"\n\n");
        event
    })
    .take(80)
    .collect();
    let body = coded("gzip", &events.iter().map(Vec::as_slice).collect::<Vec<_>>()).concat();
    let ratio = (8 << 20) / body.len();
    assert!((50..256).contains(&ratio), "{ratio}");

    let mut held = Vec::new();
    let before = proxy.rss();
    for _ in 0..20 {
        let (mut call, mut exchange) =
            answered(&proxy, &mut upstream, CHAT, "text/event-stream", "gzip").await;
        call.head().await;
        exchange.chunk(&body).await;
        held.push((call, exchange));
    }
    // All of it was written into the sockets; what the proxy took of it, it has by the time it answers another.
    let mut other = Call::start(&proxy.http(), &Request::get("/other")).await;
    upstream.request().await.answer(200, &[], b"served").await;
    assert_eq!(other.body().await, b"served");
    let grown = proxy.rss().saturating_sub(before);
    // 160 MB if it were decoded; an unfinished event of 100 KiB each, and what was handed to hyper.
    assert!(grown < 40 << 20, "{} KiB for 20 streams", grown >> 10);

    for (mut call, exchange) in held {
        exchange.end().await;
        let rest = crate::support::within_time(Duration::from_secs(60), "the rest", call.rest()).await;
        assert_eq!((rest.pieces.len(), rest.cut), (80, None));
    }
}
