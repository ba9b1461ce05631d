//! Plays a case: the upstream does what the script says, the client notes what it sees.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::case::{Case, Script, flag};
use crate::support::client::{Call, Request};
use crate::support::upstream::{Exchange, Upstream, chunk};
use crate::support::wire::{Endpoint, Head, Piece};
use crate::support::within;

/// What the client saw, and when the upstream had sent what.
#[derive(Debug)]
pub struct Seen {
    pub head: Head,
    pub pieces: Vec<Piece>,
    /// Why the body is not complete; `None` if it is.
    pub cut: Option<String>,
    /// Just before each write of the upstream: when by plan, counted from its start, and when in truth.
    pub sent: Vec<(Duration, Instant)>,
}

/// Runs the case against `endpoint`, behind which `upstream` stands.
pub async fn play(case: &Case, endpoint: &Endpoint, mut upstream: Upstream) -> Seen {
    let mut request = Request::new(&case.request.method, &case.request.path);
    for (name, value) in &case.request.fields {
        request = request.field(name, value);
    }
    if let Some(body) = &case.request.body {
        request = request.body(body.as_bytes());
    }
    let mut call = Call::start(endpoint, &request).await;
    let exchange = upstream.request().await;

    // A body that passes untouched must also flow: its next write waits until the client holds the last one.
    let (progress, held) = watch::channel(0);
    let held = flag(&case.expect, "passthrough").then_some(held);
    let script = case.upstream.clone();
    let sender = tokio::spawn(async move { perform(&script, exchange, held).await });

    let head = call.head().await.clone();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut total = 0;
    let cut = loop {
        match call.try_piece().await {
            Ok(Some(piece)) => {
                total += piece.data.len();
                progress.send_replace(total);
                pieces.push(piece);
            }
            Ok(None) => break None,
            Err(why) => break Some(why),
        }
    };
    drop(progress);
    let sent = within("the upstream's script to end", sender).await.expect("the script plays");
    Seen { head, pieces, cut, sent }
}

async fn perform(
    script: &Script,
    mut exchange: Exchange,
    mut held: Option<watch::Receiver<usize>>,
) -> Vec<(Duration, Instant)> {
    tokio::time::sleep(script.header_delay).await;
    let body = exchange.body().await;
    drop(body);
    if script.framing != "raw" {
        exchange.wire().write(head_of(script).as_bytes()).await;
    }
    let mut sent = Vec::new();
    let mut planned = script.header_delay;
    let mut total = 0;
    for write in &script.chunks {
        planned += write.delay;
        tokio::time::sleep(write.delay).await;
        sent.push((planned, Instant::now()));
        for _ in 0..write.repeat {
            let bytes = if script.framing == "chunked" { chunk(&write.bytes) } else { write.bytes.clone() };
            if exchange.wire().try_write(&bytes).await.is_err() {
                return sent;
            }
            total += write.bytes.len();
        }
        if let Some(held) = &mut held {
            let arrived = held.wait_for(|arrived| *arrived >= total);
            let _ = within("a piece of an untouched body to reach the client", arrived).await;
        }
    }
    tokio::time::sleep(script.end_delay).await;
    match (script.end.as_str(), script.framing.as_str()) {
        ("clean", "chunked") => {
            // An upstream that told an error first may have been left.
            if exchange.wire().try_write(b"0\r\n\r\n").await.is_ok() {
                exchange.keep();
            }
        }
        ("clean", "content-length" | "raw") => exchange.keep(),
        ("reset", _) => exchange.reset(),
        _ => drop(exchange),
    }
    sent
}

fn head_of(script: &Script) -> String {
    let mut head = format!("HTTP/1.1 {} Zoo\r\n", script.status);
    for (name, value) in &script.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let has_length = script.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match script.framing.as_str() {
        "chunked" => head += "transfer-encoding: chunked\r\n",
        "content-length" if !has_length => head += &format!("content-length: {}\r\n", script.body().len()),
        "close" => head += "connection: close\r\n",
        _ => {}
    }
    head + "\r\n"
}
