//! Heads on their way up and down: what belongs to one hop stays there, who is told what about whom, and
//! which route a request takes.

use crate::support::client::{Call, Request, Version};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::Upstream;
use crate::support::wire::{Head, Wire};

/// The head that the upstream sees of `request`.
async fn seen(proxy: &Tidegate, upstream: &mut Upstream, request: &Request) -> Head {
    let mut call = Call::start(&proxy.http(), request).await;
    let exchange = upstream.request().await;
    let head = exchange.head.clone();
    exchange.answer(200, &[("content-type", "application/json")], b"{}").await;
    assert_eq!(call.status().await, 200);
    head
}

/// The status and body of a request that must not reach the upstream.
async fn refused(proxy: &Tidegate, upstream: &Upstream, request: &Request) -> (Head, serde_json::Value) {
    let mut call = Call::start(&proxy.http(), request).await;
    let head = call.head().await.clone();
    let body = call.json().await;
    assert!(upstream.is_quiet(), "the upstream was asked");
    for key in ["message", "type", "code"] {
        assert!(body["error"][key].is_string(), "no error.{key} in {body}");
    }
    (head, body)
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_stay_behind() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let request = Request::get("/")
        .field("connection", "keep-alive, X-Private")
        .field("x-private", "1")
        .field("keep-alive", "timeout=5")
        .field("proxy-connection", "keep-alive")
        .field("te", "gzip")
        .field("upgrade", "h3")
        .field("x-public", "2");
    let head = seen(&proxy, &mut upstream, &request).await;
    for name in ["x-private", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(head.all(name), [""; 0], "{name}");
    }
    assert!(!head.all("connection").iter().any(|value| value.to_ascii_lowercase().contains("private")));
    assert_eq!(head.one("x-public"), Some("2"));
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_stay_behind() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for version in [Version::Http1, Version::Http2] {
        let mut call = Call::start_as(version, &proxy.http(), &Request::get("/")).await;
        let mut exchange = upstream.request().await;
        let fields = [
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h3"),
            ("content-type", "text/event-stream"),
            ("x-public", "2"),
        ];
        exchange.respond(200, &fields).await;
        let head = call.head().await;
        for name in ["x-private", "keep-alive", "proxy-connection", "upgrade"] {
            assert_eq!(head.all(name), [""; 0], "{name} over {version:?}");
        }
        if version == Version::Http2 {
            assert_eq!((head.all("connection"), head.all("transfer-encoding")), (vec![], vec![]));
        }
        assert_eq!(head.one("x-public"), Some("2"));
    }
}

#[tokio::test]
async fn host_is_the_upstreams_own_unless_the_route_preserves_it() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let head = seen(&proxy, &mut upstream, &Request::get("/")).await;
    assert_eq!(head.one("host"), upstream.url.strip_prefix("http://"));

    let proxy = Tidegate::before(&upstream, "host_header = \"preserve\"").await;
    let head = seen(&proxy, &mut upstream, &Request::get("/").field("host", "shop.test:8080")).await;
    assert_eq!(head.one("host"), Some("shop.test:8080"));
}

#[tokio::test]
async fn forwarded_fields_of_a_stranger_are_replaced() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let request = Request::get("/")
        .field("host", "shop.test")
        .field("x-forwarded-for", "6.6.6.6")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "evil.test")
        .field("X_Forwarded_For", "6.6.6.6")
        .field("Content_Length", "6")
        .field("X_Own", "stays")
        .field("forwarded", "for=6.6.6.6");
    let head = seen(&proxy, &mut upstream, &request).await;
    assert_eq!(head.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.one("x-forwarded-proto"), Some("http"));
    assert_eq!(head.one("x-forwarded-host"), Some("shop.test"));
    assert!(!head.all("forwarded").join(",").contains("6.6.6.6"));
    assert_eq!((head.one("x_forwarded_for"), head.one("content_length")), (None, None));
    assert_eq!(head.one("x_own"), Some("stays"));
}

#[tokio::test]
async fn forwarded_fields_of_a_trusted_proxy_are_extended() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[server]\ntrusted_proxies = [\"127.0.0.0/8\"]").await;
    let request = Request::get("/")
        .field("x-forwarded-for", "6.6.6.6")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "front.test");
    let head = seen(&proxy, &mut upstream, &request).await;
    assert_eq!(head.all("x-forwarded-for").join(", "), "6.6.6.6, 127.0.0.1");
    assert_eq!(head.one("x-forwarded-proto"), Some("https"));
    assert_eq!(head.one("x-forwarded-host"), Some("front.test"));
}

#[tokio::test]
async fn request_id_is_the_same_for_the_upstream_and_the_log() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let head = seen(&proxy, &mut upstream, &Request::get("/id")).await;
    let id = head.one("x-request-id").expect("a request id").to_owned();
    assert!(id.len() >= 16, "{id:?}");
    assert_eq!(proxy.access("/id").await.need("id"), id);
    let other = seen(&proxy, &mut upstream, &Request::get("/id2")).await;
    assert_ne!(other.one("x-request-id"), Some(id.as_str()));
}

#[tokio::test]
async fn request_that_came_round_is_stopped() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let head = seen(&proxy, &mut upstream, &Request::get("/").field("via", "1.1 edge")).await;
    let via = head.all("via").join(", ");
    assert!(via.starts_with("1.1 edge, 1.1 "), "{via:?}");
    let again = Request::get("/loop").field("via", &via);
    let (head, _) = refused(&proxy, &upstream, &again).await;
    assert_eq!(head.status(), 508);
}

#[tokio::test]
async fn streams_are_asked_for_without_a_content_coding() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let codings = "gzip, br";
    for (request, wanted) in [
        (Request::stream("/v1/chat/completions"), "identity"),
        (Request::post("/v1/chat/completions", "{\"stream\":true}"), "identity"),
        (Request::get("/events").field("accept", "text/event-stream"), "identity"),
        (Request::get("/logo.png").field("accept", "image/*"), codings),
    ] {
        let head = seen(&proxy, &mut upstream, &request.field("accept-encoding", codings)).await;
        assert_eq!(head.one("accept-encoding"), Some(wanted), "{:?}", head.start);
    }
}

fn two_upstreams(first: &Upstream, second: &Upstream, routes: &str) -> Launch {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    Launch::config(format!("{listener}{}{}{routes}", first.table("one"), second.table("two")))
}

#[tokio::test]
async fn most_specific_route_wins_on_segment_boundaries() {
    let (mut one, mut two) = (Upstream::start().await, Upstream::start().await);
    let routes = r#"
        [[route]]
        path = "/"
        upstream = "one"
        [[route]]
        path = "/v1"
        upstream = "two"
        [[route]]
        path = "=/v1/exact"
        upstream = "one"
        [[route]]
        host = "chat.test"
        path = "/"
        upstream = "two"
    "#;
    let proxy = two_upstreams(&one, &two, routes).start().await;
    for (path, host, first) in [
        ("/", "a", true),
        ("/v1", "a", false),
        ("/v1/x?y=/../z", "a", false),
        ("/v1beta", "a", true),
        ("/v1/exact", "a", true),
        ("/v1/exact/x", "a", false),
        ("/x", "chat.test", false),
        ("/x", "CHAT.test:8080", false),
    ] {
        let upstream = if first { &mut one } else { &mut two };
        let head = seen(&proxy, upstream, &Request::get(path).field("host", host)).await;
        assert_eq!(head.target(), path);
    }
}

#[tokio::test]
async fn path_is_changed_as_the_route_says() {
    let mut upstream = Upstream::start().await;
    let base = upstream.table("up").replace(&upstream.url, &format!("{}/base", upstream.url));
    let text = format!(
        r#"
        [[listener]]
        address = "127.0.0.1:0"
        {base}
        [[route]]
        path = "/api"
        upstream = "up"
        strip_prefix = true
        [[route]]
        path = "/old"
        upstream = "up"
        rewrite = {{ from = "/old", to = "/new" }}
        [[route]]
        path = "/"
        upstream = "up"
        "#
    );
    let proxy = Launch::config(text).start().await;
    for (path, expected) in [
        ("/api/v1/chat?a=b%20c", "/base/v1/chat?a=b%20c"),
        ("/old/x", "/base/new/x"),
        ("/old", "/base/new"),
        ("/other/%E4%BD%A0?q", "/base/other/%E4%BD%A0?q"),
    ] {
        let head = seen(&proxy, &mut upstream, &Request::get(path)).await;
        assert_eq!(head.target(), expected);
    }
}

#[tokio::test]
async fn request_without_a_route_is_not_found() {
    let upstream = Upstream::start().await;
    let text = config(&upstream, "").replace("path = \"/\"", "path = \"/v1\"");
    let proxy = Launch::config(text).start().await;
    let (head, _) = refused(&proxy, &upstream, &Request::get("/other")).await;
    assert_eq!(head.status(), 404);
    assert_eq!(proxy.access("/other").await.number("status"), 404.0);
}

#[tokio::test]
async fn method_without_a_route_is_told_which_are_allowed() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "methods = [\"GET\", \"POST\"]").await;
    let (head, _) = refused(&proxy, &upstream, &Request::new("DELETE", "/x")).await;
    assert_eq!(head.status(), 405);
    let allow = head.one("allow").expect("405 says what is allowed (RFC 9110 15.5.6)");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow:?}");
}

#[tokio::test]
async fn dot_segments_are_refused_before_routing() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let paths = ["/a/../b", "/..", "/a/./b", "/a/%2e%2e/b", "/a/.%2E/b", "/a/%2e", "/a/..%2fb"];
    for path in paths {
        let (head, _) = refused(&proxy, &upstream, &Request::get(path)).await;
        assert_eq!(head.status(), 400, "{path}");
    }
}

#[tokio::test]
async fn head_past_the_limits_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "\n[limits]\nmax_head_bytes = \"8KiB\"\nmax_headers = 20").await;
    let long = Request::get("/").field("x-long", &"x".repeat(20_000));
    let many = (0..40).fold(Request::get("/"), |request, number| request.field(&format!("x-{number}"), "1"));
    for request in [long, many] {
        let mut call = Call::start(&proxy.http(), &request).await;
        assert_eq!(call.status().await, 431);
        assert!(upstream.is_quiet());
    }
}

#[tokio::test]
async fn connection_serves_one_request_after_another() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut wire = Wire::connect(&proxy.http()).await;
    // The second is pipelined behind the first.
    let both = [Request::get("/1").to_bytes(), Request::get("/2").to_bytes()].concat();
    wire.write(&both).await;
    let mut call = Call::written(wire, "GET");
    for path in ["/1", "/2"] {
        let exchange = upstream.request().await;
        assert_eq!(exchange.head.target(), path);
        exchange.answer(200, &[], path.as_bytes()).await;
        assert_eq!(call.body().await, path.as_bytes());
        call = Call::written(call.into_wire(), "GET");
    }
    let mut call = call.again(&Request::stream("/3")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: a\n\n").await;
    exchange.end().await;
    assert_eq!(call.body().await, b"data: a\n\n");
    let mut call = call.again(&Request::get("/4")).await;
    upstream.request().await.answer(200, &[], b"4").await;
    assert_eq!(call.body().await, b"4");
}
