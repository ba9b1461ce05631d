//! `tidegate demo` from outside: ports, the key, what is messy before tidegate and clean behind it, and that every
//! line that it prints works.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Command;

use crate::support::client::{Call, Request, Rest};
use crate::support::sse::{self, Event};
use crate::support::tidegate::{Launch, Tidegate};
use crate::support::wire::Endpoint;
use crate::support::within;

const CHAT: &str = "/v1/chat/completions";
const OLLAMA: &str = "/api/chat";
const KEY: &str = "Bearer sk-demo-not-a-secret";

/// A demo on free ports.
async fn demo() -> Tidegate {
    Launch::flags(&["demo", "--listen", "127.0.0.1:0"]).start().await
}

/// The URL of the messy upstream, as the greeting tells it.
fn raw_url(demo: &Tidegate) -> String {
    let greeting = demo.stdout();
    let (_, rest) = greeting.split_once("--upstream ").expect("the greeting shows how to do it by hand");
    rest.split(' ').next().expect("a URL").to_owned()
}

fn raw(demo: &Tidegate) -> Endpoint {
    let url = raw_url(demo);
    let address = url.strip_prefix("http://").and_then(|address| address.parse::<SocketAddr>().ok());
    Endpoint::Tcp(address.expect("an address with a port"))
}

/// A question in this model and language.
fn question(path: &str, model: &str, content: &str) -> Request {
    let body = format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{content}"}}]}}"#
    );
    Request::post(path, &body).field("accept", "text/event-stream")
}

/// The whole answer of either side; only the messy one is shown the key.
async fn both(demo: &Tidegate, path: &str, model: &str, content: &str) -> [Rest; 2] {
    let asked = question(path, model, content);
    let mut direct = Call::start(&raw(demo), &asked.clone().field("authorization", KEY)).await;
    let mut fixed = Call::start(&demo.http(), &asked).await;
    assert_eq!((direct.status().await, fixed.status().await), (200, 200));
    let (direct, fixed) = tokio::join!(direct.rest(), fixed.rest());
    [direct, fixed]
}

fn faults(rest: &Rest) -> Vec<String> {
    sse::faults(rest.pieces.iter().map(|piece| piece.data.as_slice()))
}

/// Pieces that do not end where an event does, and pieces that begin inside a character.
fn cuts(rest: &Rest, end: &[u8]) -> (usize, usize) {
    let events = rest.pieces.iter().filter(|piece| !piece.data.ends_with(end)).count();
    let characters = rest.pieces.iter().filter(|piece| piece.data[0] & 0xC0 == 0x80).count();
    (events, characters)
}

/// Takes the port for this test. The other demos of this file let go of it soon; what holds it for longer is a
/// program of this machine, and keeps it.
async fn taken(port: u16) -> Option<TcpListener> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while Instant::now() < deadline {
        look.tick().await;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Some(listener);
        }
    }
    None
}

#[tokio::test]
async fn free_ports_are_taken_when_the_usual_are_not_free() {
    let _taken = [taken(8080).await, taken(8081).await];
    let demo = Launch::flags(&["demo"]).start().await;
    let (front, raw) = (&demo.addresses[0], raw_url(&demo));
    for address in [front, &raw] {
        assert!(address.starts_with("http://127.0.0.1:"), "{address}");
        assert!(!address.ends_with(":8080") && !address.ends_with(":8081"), "{address}");
    }
    assert!(demo.stdout().contains(&format!("Open this page       {front}/")), "{}", demo.stdout());
    let mut call = Call::start(&demo.http(), &question(CHAT, "error", "hi")).await;
    assert_eq!(call.status().await, 200);
}

#[tokio::test]
async fn messy_server_wants_the_key_and_tidegate_puts_it_in() {
    let demo = demo().await;
    for path in [CHAT, OLLAMA] {
        for wrong in
            [question(path, "chat", "hi"), question(path, "chat", "hi").field("authorization", "Bearer x")]
        {
            let mut call = Call::start(&raw(&demo), &wrong).await;
            assert_eq!(call.status().await, 401);
            assert_eq!(call.json().await["error"]["code"], "invalid_api_key");
            // What the client shows does not matter behind tidegate.
            let mut call = Call::start(&demo.http(), &wrong).await;
            assert_eq!(call.status().await, 200);
        }
    }
}

#[tokio::test]
async fn events_are_whole_behind_tidegate_and_the_same() {
    let demo = demo().await;
    for content in ["Who are you?", "你是谁？"] {
        let [direct, fixed] = both(&demo, CHAT, "chat", content).await;
        let (events, characters) = cuts(&direct, b"\r\n\r\n");
        assert!(events >= 10 && characters >= 2, "{events} events and {characters} characters are cut");
        assert!(faults(&direct).len() >= 10);
        assert_eq!((faults(&fixed), fixed.cut.as_deref()), (vec![], None));
        assert_eq!(direct.events(), fixed.events());
        assert_eq!(fixed.events().last(), Some(&Event::message("[DONE]")));
        assert!(fixed.events().len() > 40);
    }
}

#[tokio::test]
async fn lines_of_ollama_become_events_for_who_accepts_them() {
    let demo = demo().await;
    let [direct, fixed] = both(&demo, OLLAMA, "chat", "你是谁？").await;
    let (events, characters) = cuts(&direct, b"\n");
    assert!(events >= 10 && characters >= 2, "{events} events and {characters} characters are cut");
    let text = String::from_utf8(direct.bytes()).expect("all of it is UTF-8");
    let lines: Vec<Event> = text.lines().map(Event::message).collect();
    assert_eq!((faults(&fixed), fixed.events()), (vec![], lines));
    // Ollama's own clients get lines.
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"你是谁？"}]}"#;
    let mut call = Call::start(&demo.http(), &Request::post(OLLAMA, body)).await;
    assert_eq!(call.body().await, direct.bytes());
}

#[tokio::test]
async fn truncation_looks_complete_until_tidegate_tells() {
    let demo = demo().await;
    for path in [CHAT, OLLAMA] {
        let [direct, fixed] = both(&demo, path, "truncated", "hi").await;
        assert_eq!(direct.cut, None, "a clean end");
        assert_eq!((faults(&fixed), fixed.cut.as_deref()), (vec![], None));
        let last = fixed.events().pop().expect("events");
        assert_eq!(last.event, "error");
        assert!(last.data.contains("upstream_truncated"), "{}", last.data);
    }
}

#[tokio::test]
async fn error_in_the_stream_arrives_whole() {
    let demo = demo().await;
    let [direct, fixed] = both(&demo, CHAT, "error", "你好").await;
    let (last, before) = (&direct.pieces[direct.pieces.len() - 1], &direct.pieces[direct.pieces.len() - 2]);
    assert!(!before.data.ends_with(b"\n") && !last.data.starts_with(b"data"), "it is cut");
    assert_eq!(faults(&fixed), Vec::<String>::new());
    let last = fixed.events().pop().expect("events");
    assert!(last.data.starts_with(r#"{"error":{"#) && last.data.contains("显存不足"), "{}", last.data);
}

#[tokio::test]
async fn heartbeats_bridge_the_silence_of_a_slow_start() {
    let demo = demo().await;
    let [direct, fixed] = both(&demo, CHAT, "slow", "hi").await;
    let beats = fixed.pieces.iter().take_while(|piece| sse::is_heartbeat(&piece.data)).count();
    assert!((3..=4).contains(&beats), "{beats} heartbeats in four seconds");
    assert_eq!((faults(&fixed), fixed.events()), (vec![], direct.events()));
}

#[tokio::test]
async fn answer_is_one_json_object_without_a_stream() {
    let demo = demo().await;
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"你好"}]}]}"#;
    let mut call = Call::start(&demo.http(), &Request::post(CHAT, body)).await;
    let content = call.json().await["choices"][0]["message"]["content"].to_string();
    assert!(content.contains("你好"), "{content}");
}

#[tokio::test]
async fn page_comes_through_tidegate_and_forbids_every_other_host() {
    let demo = demo().await;
    let front = demo.addresses[0].strip_prefix("http://").expect("http").to_owned();
    let mut call = Call::start(&demo.http(), &Request::get("/").field("host", &front)).await;
    let head = call.head().await.clone();
    assert_eq!((head.status(), head.one("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = head.one("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(policy.contains(&format!("connect-src 'self' {};", raw_url(&demo))), "{policy}");
    let html = String::from_utf8(call.body().await).expect("UTF-8");
    assert!(html.contains(&format!("data-raw=\"{}\"", raw_url(&demo))));
    // Who opens the messy server sees nothing fixed: it sends him to tidegate.
    let mut call = Call::start(&raw(&demo), &Request::get("/")).await;
    assert_eq!(call.status().await, 307);
    assert_eq!(call.head().await.one("location"), Some(format!("http://{front}/").as_str()));
}

#[tokio::test]
async fn other_pages_may_ask_the_messy_server() {
    let demo = demo().await;
    let mut call = Call::start(&raw(&demo), &Request::new("OPTIONS", CHAT)).await;
    let head = call.head().await;
    assert_eq!((head.status(), head.one("access-control-allow-origin")), (204, Some("*")));
    assert!(head.one("access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
}

#[tokio::test]
async fn wrong_requests_are_told() {
    let demo = demo().await;
    let keyed = |request: Request| request.field("authorization", KEY);
    for (request, status) in [
        (keyed(Request::post(CHAT, "{")), 400),
        (keyed(Request::get(CHAT)), 405),
        (keyed(Request::get("/nothing")), 404),
    ] {
        let mut call = Call::start(&raw(&demo), &request).await;
        assert_eq!(call.status().await, status);
        assert!(call.json().await["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn every_printed_curl_line_works() {
    let demo = demo().await;
    let greeting = demo.stdout();
    let lines: Vec<&str> = greeting.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 6, "{greeting}");
    let runs = lines.iter().map(|line| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {line} -sS --max-time 15")).stdin(Stdio::null()).kill_on_drop(true);
        tokio::spawn(async move { within("curl to end", shell.output()).await.expect("a shell") })
    });
    let mut outputs = Vec::new();
    for (line, run) in lines.iter().zip(runs.collect::<Vec<_>>()) {
        let output = run.await.expect("no panic");
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        outputs.push(output.stdout);
    }
    assert!(outputs[0].ends_with(b"data: [DONE]\r\n\r\n") && outputs[1].ends_with(b"data: [DONE]\n\n"));
    assert_eq!(sse::parse(&outputs[0]), sse::parse(&outputs[1]));
    let [cut, told] = [&outputs[2], &outputs[3]].map(|output| sse::parse(output));
    assert_eq!(cut[..], told[..told.len() - 1]);
    assert_eq!(told.last().map(|event| event.event.as_str()), Some("error"));
    let lines = String::from_utf8_lossy(&outputs[4]).lines().map(Event::message).collect::<Vec<_>>();
    assert_eq!(lines, sse::parse(&outputs[5]));
}

#[tokio::test]
async fn ctrl_c_ends_the_demo_at_once() {
    let mut demo = demo().await;
    let mut call = Call::start(&demo.http(), &question(CHAT, "slow", "hi")).await;
    assert_eq!(call.status().await, 200);
    let begin = Instant::now();
    demo.signal(Signal::INT);
    assert_eq!(demo.exit().await.code(), Some(0));
    // The answer has four seconds to go.
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn address_that_cannot_be_used_is_told() {
    let running = demo().await;
    let taken = running.addresses[0].strip_prefix("http://").expect("http");
    for (address, code) in [("nonsense", 78), ("unix:/tmp/x", 78), (taken, 1)] {
        let output = Launch::flags(&["demo", "--listen", address]).run().await;
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{address}: {}", output.stderr);
        assert!(output.stderr.contains(if code == 78 { "--listen" } else { address }), "{}", output.stderr);
    }
}
