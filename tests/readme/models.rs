//! The upstreams that the pages name, on the ports that they name: servers that answer a chat as such servers do.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::pages::words_after;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::within;

/// The ports of this machine where a text has an upstream, each once.
pub fn ports(text: &str) -> Vec<u16> {
    let mut ports: Vec<u16> = ["--upstream http://127.0.0.1:", "url = \"http://127.0.0.1:"]
        .iter()
        .chain(&["--upstream http://localhost:", "url = \"http://localhost:"])
        .flat_map(|mark| words_after(text, mark))
        .map(|port| port.parse().unwrap_or_else(|_| panic!("not a port: {port:?}")))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// An upstream that answers until it is stopped.
#[derive(Debug)]
pub struct Model {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Model {
    /// Answers on this port.
    pub async fn start(port: u16) -> Self {
        let mut upstream = Upstream::at(port).await;
        let (stop, mut stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(exchange) = upstream.next_request() => drop(tokio::spawn(answer(exchange))),
                    _ = &mut stopped => return upstream.stop().await,
                }
            }
        });
        Model { stop, serving }
    }

    /// The port is free when this returns.
    pub async fn stop(self) {
        self.stop.send(()).expect("it serves until now");
        within("an upstream to stop", self.serving).await.expect("it ends by itself");
    }
}

async fn answer(mut exchange: Exchange) {
    let body: String = String::from_utf8_lossy(&exchange.body().await).split_whitespace().collect();
    let target = exchange.head.start.clone();
    let streams = body.contains("\"stream\":true");
    if target.contains(" /api/") && !body.contains("\"stream\":false") {
        exchange.respond(200, &[("content-type", "application/x-ndjson")]).await;
        exchange.chunk(b"{\"message\":{\"content\":\"hello\"},\"done\":false}\n").await;
        exchange.chunk(b"{\"message\":{\"content\":\"\"},\"done\":true}\n").await;
        exchange.end().await;
    } else if target.contains("/messages") && streams {
        exchange.respond_sse().await;
        for (name, data) in ANTHROPIC {
            exchange.chunk(format!("event: {name}\ndata: {data}\n\n").as_bytes()).await;
        }
        exchange.end().await;
    } else if streams {
        exchange.respond_sse().await;
        for data in OPENAI {
            exchange.chunk(format!("data: {data}\n\n").as_bytes()).await;
        }
        exchange.end().await;
    } else {
        let body = br#"{"object":"list","data":[{"id":"m","object":"model"}]}"#;
        exchange.answer(200, &[("content-type", "application/json")], body).await;
    }
}

const OPENAI: [&str; 3] = [
    r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#,
    r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "[DONE]",
];

const ANTHROPIC: [(&str, &str); 3] = [
    ("message_start", r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[]}}"#),
    (
        "content_block_delta",
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#,
    ),
    ("message_stop", r#"{"type":"message_stop"}"#),
];
