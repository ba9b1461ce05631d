//! What bytes cost in the pure parts, without sockets: the SSE codec, the session around it, and the HTTP/1.1 framing
//! of upstreams; beside them `memcpy` of the same bytes, which nothing that moves them can beat.
//!
//! One iteration is one read of [`READ_BYTES`] or a little less. *Canonical* is what tidegate writes itself, and what
//! most upstreams send; *messy* is as much of the standard as an upstream can legally use: CRLF, no blank after the
//! colon, comments, ids, data in several lines; *cut* is canonical in pieces of 70 bytes.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tidegate::codec::repair::Repairs;
use tidegate::codec::sse::Sse;
use tidegate::codec::{Decode, Item, Options};
use tidegate::dialect::Dialect;
use tidegate::format::SSE;
use tidegate::stream::{Mode, Out, Plan, Session};
use tidegate::upstream::http1::framing::{Decoder, Framing};

fn main() {
    divan::main();
}

/// Input of each kind.
#[derive(Debug, Clone, Copy)]
enum Input {
    Canonical,
    Messy,
    Cut,
}

const INPUTS: [Input; 3] = [Input::Canonical, Input::Messy, Input::Cut];

impl Input {
    /// Whole events, and how many.
    fn events(self) -> (Vec<u8>, usize) {
        let token = format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{}"}},"finish_reason":null}}]}}"#,
            "x".repeat(67)
        );
        let event = match self {
            Input::Canonical | Input::Cut => format!("data: {token}\n\n"),
            Input::Messy => {
                let (first, second) = token.split_at(60);
                format!(": ping\r\nid:7\r\nevent:message\r\ndata:{first}\r\ndata:{second}\r\n\r\n")
            }
        };
        let count = READ_BYTES / event.len();
        (event.repeat(count).into_bytes(), count)
    }

    fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        bytes.chunks(if matches!(self, Input::Cut) { 70 } else { bytes.len() })
    }
}

#[divan::bench(args = INPUTS)]
fn memcpy(bencher: Bencher, input: Input) {
    let (bytes, events) = input.events();
    let mut copy = vec![0; bytes.len()];
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .counter(ItemsCount::new(events))
        .bench_local(|| copy.copy_from_slice(black_box(&bytes)));
}

#[divan::bench(args = INPUTS)]
fn sse_codec(bencher: Bencher, input: Input) {
    let (bytes, events) = input.events();
    let mut codec = Sse::new(Options { limit: 1 << 20, repairs: Repairs::auto(true), literal: false });
    bencher.counter(BytesCount::of_slice(&bytes)).counter(ItemsCount::new(events)).bench_local(|| {
        let mut seen = 0;
        for piece in input.pieces(black_box(&bytes)) {
            codec
                .decode(piece, &mut |item| seen += usize::from(matches!(black_box(item), Item::Event(_))))
                .expect("legal");
        }
        assert_eq!(seen, events);
    });
}

/// With the dialect watched, for the first content and for an honest end.
#[divan::bench(args = INPUTS)]
fn session(bencher: Bencher, input: Input) {
    play(bencher, input, Dialect::named("openai-chat"));
}

/// The same of a stream of which nothing is known: no event is looked into.
#[divan::bench(args = INPUTS)]
fn session_unwatched(bencher: Bencher, input: Input) {
    play(bencher, input, None);
}

fn play(bencher: Bencher, input: Input, dialect: Option<&'static Dialect>) {
    let (bytes, events) = input.events();
    let now = Instant::now();
    let plan = Plan {
        dialect,
        known_ai: dialect.is_some(),
        repairs: Repairs::auto(true),
        heartbeat: Some(Duration::from_secs(15)),
        event_gap: Some(Duration::from_secs(300)),
        ..Plan::plain(Mode::Reframe(&SSE))
    };
    let mut session = Session::new(plan, now);
    let mut out = Out::default();
    if dialect.is_none() {
        // The first event may tell the dialect by itself; this one does not.
        session.input(b"data: hello\n\n", now, &mut out);
    }
    bencher.counter(BytesCount::of_slice(&bytes)).counter(ItemsCount::new(events)).bench_local(|| {
        let mut written = 0;
        for piece in input.pieces(black_box(&bytes)) {
            out.clear();
            session.input(piece, now, &mut out);
            while session.is_behind() {
                session.go_on(now, &mut out);
            }
            written += out.ends.len();
        }
        assert!(written >= events, "{written} of {events}");
    });
    // An object in several data lines is looked at by nobody.
    let is_seen = !matches!(input, Input::Messy);
    assert!(!is_seen || session.dialect() == dialect, "what is watched: {:?}", session.dialect());
}

/// Chunks of one event each are taken off in place, so each iteration has a copy, which is not counted.
#[divan::bench]
fn http1_chunked(bencher: Bencher) {
    let (bytes, events) = Input::Canonical.events();
    let size = bytes.len() / events;
    let mut wire = Vec::new();
    for event in bytes.chunks(size) {
        wire.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        wire.extend_from_slice(event);
        wire.extend_from_slice(b"\r\n");
    }
    let mut decoder = Decoder::new(Framing::Chunked);
    bencher
        .counter(BytesCount::of_slice(&wire))
        .counter(ItemsCount::new(events))
        .with_inputs(|| wire.clone())
        .bench_local_refs(|wire| {
            let decoded = decoder.decode(wire).expect("legal");
            assert_eq!((decoded.data, decoded.used), (bytes.len(), wire.len()));
        });
}

/// What a busy stream brings in one read.
const READ_BYTES: usize = 16 << 10;
