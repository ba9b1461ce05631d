//! Credentials: what tidegate puts in, what it takes out, whom it lets in; and that a secret it was given
//! is never seen again.

use std::time::{Duration, Instant};

use crate::support::access::outcome;
use crate::support::client::{Call, Request, Version};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::Upstream;
use crate::support::wire::Head;

/// Odd enough to be found in any form: plain, Base64 and percent-encoded differ.
const CANARY: &str = "sk-Zq7/canary+Qm9v=x9";
const CLIENT_KEY: &str = "ck-5f1c-let-me-in";

/// A proxy with this in its route; `$KEY` in the environment is the canary, `$CLIENT` the client key.
async fn proxy(upstream: &Upstream, route: &str) -> Tidegate {
    Launch::config(config(upstream, route)).env("KEY", CANARY).env("CLIENT", CLIENT_KEY).start().await
}

async fn seen(proxy: &Tidegate, upstream: &mut Upstream, request: &Request) -> Head {
    let mut call = Call::start(&proxy.http(), request).await;
    let exchange = upstream.request().await;
    let head = exchange.head.clone();
    exchange.answer(200, &[], b"").await;
    assert_eq!(call.status().await, 200);
    head
}

/// A request that carries a credential in every place that is known.
fn with_credentials(path: &str) -> Request {
    let mut request = Request::get(path);
    for name in CREDENTIALS {
        request = request.field(name, "Bearer of-the-client");
    }
    request
}

const CREDENTIALS: [&str; 5] = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];

fn assert_no_client_credentials(head: &Head) {
    let raw = String::from_utf8_lossy(&head.raw);
    assert!(!raw.contains("of-the-client"), "{raw}");
}

#[tokio::test]
async fn bearer_replaces_the_clients_credentials() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "inject = [{ bearer = \"env:KEY\" }]").await;
    let head = seen(&proxy, &mut upstream, &with_credentials("/x?a=1&key=of-the-client&b=2")).await;
    assert_eq!(head.one("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(head.target(), "/x?a=1&b=2");
    assert_no_client_credentials(&head);
}

/// It can come back to the client: it is no secret of anybody's.
#[tokio::test]
async fn header_that_holds_no_secret_changes_nothing_else() {
    let mut upstream = Upstream::start().await;
    for (value, coding, status) in [("front", "gzip", 401), ("env:KEY", "identity", 502)] {
        let proxy =
            proxy(&upstream, &format!("inject = [{{ header = \"x-app\", value = \"{value}\" }}]")).await;
        let request = Request::get("/app.js").field("accept-encoding", "gzip");
        let mut call = Call::start(&proxy.http(), &request).await;
        let exchange = upstream.request().await;
        assert_eq!(exchange.head.one("accept-encoding"), Some(coding));
        exchange.answer(401, &[], b"no key").await;
        assert_eq!(call.status().await, status, "{value}");
    }
}

#[tokio::test]
async fn header_and_query_and_basic_are_injected() {
    let mut upstream = Upstream::start().await;
    let route = "inject = [{ header = \"x-api-key\", value = \"env:KEY\" }, { query = \"key\", value = \"env:KEY\" }, \
                 { basic = { user = \"me\", password = \"env:KEY\" } }]";
    let proxy = proxy(&upstream, route).await;
    let head = seen(&proxy, &mut upstream, &with_credentials("/x?a=1")).await;
    assert_eq!(head.one("x-api-key"), Some(CANARY));
    assert_eq!(head.target(), "/x?a=1&key=sk-Zq7%2Fcanary%2BQm9v%3Dx9");
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("me:{CANARY}"));
    assert_eq!(head.one("authorization"), Some(format!("Basic {basic}").as_str()));
    assert_no_client_credentials(&head);
}

#[tokio::test]
async fn clients_own_credentials_pass_where_nothing_is_injected() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "").await;
    let head = seen(&proxy, &mut upstream, &with_credentials("/x?key=of-the-client")).await;
    for name in CREDENTIALS {
        assert_eq!(head.one(name), Some("Bearer of-the-client"), "{name}");
    }
    assert_eq!(head.target(), "/x?key=of-the-client");
}

#[tokio::test]
async fn client_credentials_setting_overrides_both_ways() {
    let mut upstream = Upstream::start().await;
    let strip = proxy(&upstream, "client_credentials = \"strip\"").await;
    let head = seen(&strip, &mut upstream, &with_credentials("/x")).await;
    assert_no_client_credentials(&head);

    let route = "client_credentials = \"pass\"\ninject = [{ header = \"x-extra\", value = \"env:KEY\" }]";
    let pass = proxy(&upstream, route).await;
    let head = seen(&pass, &mut upstream, &with_credentials("/x")).await;
    assert_eq!(head.one("x-extra"), Some(CANARY));
    assert_eq!(head.one("cookie"), Some("Bearer of-the-client"));
}

#[tokio::test]
async fn secret_file_is_read_again_when_it_changed() {
    let mut upstream = Upstream::start().await;
    let dir = crate::support::Dir::new();
    let file = dir.write("key", b"first-secret\n");
    let proxy = proxy(&upstream, &format!("inject = [{{ bearer = \"file:{}\" }}]", file.display())).await;
    let head = seen(&proxy, &mut upstream, &Request::get("/")).await;
    assert_eq!(head.one("authorization"), Some("Bearer first-secret"));
    dir.write("key", b"second-secret-is-longer\n");
    // The file is looked at once a second at the most.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut last = String::new();
    while last != "Bearer second-secret-is-longer" {
        assert!(Instant::now() < deadline, "still {last:?}");
        last = seen(&proxy, &mut upstream, &Request::get("/")).await.one("authorization").unwrap().to_owned();
    }
}

#[tokio::test]
async fn client_without_the_key_is_not_let_in() {
    let upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "client_key = \"env:CLIENT\"").await;
    for request in [
        Request::get("/x"),
        Request::get("/x").field("authorization", "Bearer wrong"),
        Request::get("/x").field("authorization", &format!("Bearer {CLIENT_KEY}x")),
        Request::get("/x?key=wrong"),
        Request::stream("/v1/chat/completions").field("x-api-key", ""),
    ] {
        let mut call = Call::start(&proxy.http(), &request).await;
        assert_eq!(call.status().await, 401);
        assert!(call.head().await.one("www-authenticate").is_some(), "RFC 9110 15.5.2");
        let body = call.json().await;
        assert!(body["error"]["message"].is_string() && body["error"]["code"].is_string(), "{body}");
        assert!(upstream.is_quiet());
    }
}

#[tokio::test]
async fn client_with_the_key_is_let_in_and_the_key_stays_here() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "client_key = \"env:CLIENT\"").await;
    for request in [
        Request::get("/x").field("authorization", &format!("Bearer {CLIENT_KEY}")),
        Request::get("/x").field("authorization", &format!("bearer {CLIENT_KEY}")),
        Request::get("/x").field("x-api-key", CLIENT_KEY),
        Request::get("/x").field("api-key", CLIENT_KEY),
        Request::get("/x").field("x-goog-api-key", CLIENT_KEY),
        Request::get(&format!("/x?key={CLIENT_KEY}")),
        Request::get(&format!("/x?a=1&access_token={CLIENT_KEY}")),
        Request::get(&format!("/x?api_key={CLIENT_KEY}&b=2")),
    ] {
        let head = seen(&proxy, &mut upstream, &request).await;
        let raw = String::from_utf8_lossy(&head.raw);
        assert!(!raw.contains(CLIENT_KEY), "{raw}");
    }
    assert!(!proxy.log().contains(CLIENT_KEY), "{}", proxy.log());
}

#[tokio::test]
async fn key_for_the_proxy_leaves_the_key_for_the_upstream_alone() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "client_key = \"env:CLIENT\"").await;
    let request = Request::get("/x").field("x-api-key", CLIENT_KEY).field("authorization", "Bearer theirs");
    let head = seen(&proxy, &mut upstream, &request).await;
    assert_eq!((head.one("authorization"), head.one("x-api-key")), (Some("Bearer theirs"), None));
}

#[tokio::test]
async fn refusal_of_our_own_credential_is_not_the_clients_fault() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "inject = [{ bearer = \"env:KEY\" }]").await;
    for status in [401, 403] {
        let mut call = Call::start(&proxy.http(), &Request::stream("/v1/chat/completions")).await;
        let body = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {CANARY}\"}}}}");
        upstream
            .request()
            .await
            .answer(status, &[("content-type", "application/json")], body.as_bytes())
            .await;
        assert_eq!(call.status().await, 502);
        let body = call.json().await;
        assert_eq!(body["error"]["code"], "upstream_auth");
        assert!(!body.to_string().contains(CANARY), "{body}");
        proxy.access("/v1/chat/completions").await.assert_ended(outcome::AUTH, "head");
    }
}

#[tokio::test]
async fn refusal_of_the_clients_credential_passes() {
    let mut upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &with_credentials("/x")).await;
    let fields = [("www-authenticate", "Bearer realm=\"r\"")];
    upstream.request().await.answer(401, &fields, b"no").await;
    assert_eq!(call.status().await, 401);
    assert_eq!(call.head().await.one("www-authenticate"), Some("Bearer realm=\"r\""));
    assert_eq!(call.body().await, b"no");
}

/// Every form in which the canary could be seen.
fn forms() -> Vec<String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let basic = base64::Engine::encode(&engine, format!("me:{CANARY}"));
    vec![CANARY.to_owned(), "sk-Zq7%2Fcanary%2BQm9v%3Dx9".to_owned(), basic, CANARY.replace('/', "\\/")]
}

fn assert_no_canary(place: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{form:?} is in {place}:\n{text}");
    }
}

#[tokio::test]
async fn injected_secret_is_never_seen_again() {
    let mut upstream = Upstream::start().await;
    let route = "client_key = \"env:CLIENT\"\n\
        inject = [{ bearer = \"env:KEY\" }, { header = \"x-api-key\", value = \"env:KEY\" }, \
                  { query = \"key\", value = \"env:KEY\" }]\n\
        [log]\nlevel = \"trace\"";
    let proxy = proxy(&upstream, route).await;
    let key = format!("Bearer {CLIENT_KEY}");
    for (status, kind) in
        [(400, "application/json"), (429, "text/plain"), (500, "text/html"), (200, "application/json")]
    {
        for encoded in [false, true] {
            let echo = if encoded { "sk-Zq7%2Fcanary%2BQm9v%3Dx9" } else { CANARY };
            let request = Request::stream("/v1/chat/completions").field("authorization", &key);
            let mut call = Call::start(&proxy.http(), &request).await;
            let fields =
                [("content-type", kind), ("x-echo", echo), ("location", &format!("/login?key={echo}"))];
            let body = format!("{{\"error\":{{\"message\":\"bad key {echo} in the request\"}}}}");
            upstream.request().await.answer(status, &fields, body.as_bytes()).await;
            let head = format!("{:?}", call.head().await);
            let body = String::from_utf8_lossy(&call.rest().await.bytes()).into_owned();
            assert_no_canary(&format!("the head of a {status}"), &head);
            if status != 200 {
                assert_no_canary(&format!("the body of a {status}"), &body);
            }
        }
    }
    // The secret in two pieces, so that no single read holds it whole.
    let request = Request::stream("/v1/chat/completions").field("authorization", &key);
    let mut call = Call::start(&proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.respond(400, &[("content-type", "application/json")]).await;
    exchange.chunk(b"{\"error\":\"sk-Zq7/can").await;
    exchange.chunk(b"ary+Qm9v=x9 is wrong\"}").await;
    exchange.end().await;
    let body = String::from_utf8_lossy(&call.rest().await.bytes()).into_owned();
    assert_no_canary("an error body that came in pieces", &body);
    assert!(body.contains("is wrong"), "the rest of the message is kept: {body}");

    // A failure of tidegate's own making, and one inside a stream.
    let mut call = Call::start(&proxy.http(), &request).await;
    drop(upstream.request().await);
    assert_eq!(call.status().await, 502);
    assert_no_canary("an error body of our own", &call.json().await.to_string());
    let mut call = Call::start(&proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n").await;
    call.piece().await;
    exchange.reset();
    assert_no_canary("an error event", &String::from_utf8_lossy(&call.rest().await.bytes()));

    // An error in place of a stream that was promised: status 200, and the upstream's words in tidegate's event.
    let mut call = Call::start(&proxy.http(), &request).await;
    let words = format!("upstream connect error or disconnect/reset before headers. key {CANARY}");
    upstream.request().await.answer(200, &[("content-type", "text/event-stream")], words.as_bytes()).await;
    let told = String::from_utf8_lossy(&call.rest().await.bytes()).into_owned();
    assert!(told.contains("upstream connect error"), "{told}");
    assert_no_canary("an error event that quotes the upstream", &told);

    proxy.signal(rustix::process::Signal::TERM);
    let mut proxy = proxy;
    proxy.exit().await;
    assert!(proxy.log().len() > 1000, "trace says something");
    assert_no_canary("the log", &proxy.log());
    assert_no_canary("standard output", &proxy.stdout());
    assert!(!proxy.log().contains(CLIENT_KEY), "the client key is in the log");
}

/// Over HTTP/2 the libraries have other things to say at trace, and header compression keeps what it saw.
#[tokio::test]
async fn secrets_are_not_in_the_log_of_http2_at_trace() {
    let mut upstream = Upstream::h2c().await;
    let route = "client_key = \"env:CLIENT\"\n\
        inject = [{ bearer = \"env:KEY\" }, { query = \"key\", value = \"env:KEY\" }]\n\
        [log]\nlevel = \"trace\"";
    let mut proxy = proxy(&upstream, route).await;
    for request in [
        Request::get(&format!("/x?key={CLIENT_KEY}")),
        Request::get("/x").field("authorization", &format!("Bearer {CLIENT_KEY}")),
    ] {
        for version in [Version::Http1, Version::Http2] {
            let mut call = Call::start_as(version, &proxy.http(), &request).await;
            let exchange = upstream.request().await;
            assert_eq!(exchange.head.one("authorization"), Some(format!("Bearer {CANARY}").as_str()));
            exchange.answer(200, &[], b"ok").await;
            assert_eq!(call.body().await, b"ok");
        }
    }
    proxy.signal(rustix::process::Signal::TERM);
    proxy.exit().await;
    assert!(proxy.log().contains("h2::"), "trace says something of HTTP/2");
    assert_no_canary("the log", &proxy.log());
    assert!(!proxy.log().contains(CLIENT_KEY), "the client key is in the log");
}

#[tokio::test]
async fn check_prints_no_secret() {
    let upstream = Upstream::start().await;
    let route = "client_key = \"env:CLIENT\"\n\
        inject = [{ bearer = \"env:KEY\" }, { basic = { user = \"me\", password = \"env:KEY\" } }]";
    let dir = crate::support::Dir::new();
    let file = dir.write("c.toml", config(&upstream, route).as_bytes());
    let output = Launch::flags(&["check", "--config", &file.display().to_string()])
        .env("KEY", CANARY)
        .env("CLIENT", CLIENT_KEY)
        .run()
        .await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("env:KEY"), "references are shown: {}", output.stdout);
    assert_no_canary("check's output", &(output.stdout.clone() + &output.stderr));
    assert!(!output.stdout.contains(CLIENT_KEY));
}
