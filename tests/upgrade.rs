//! `Upgrade` and the extended CONNECT: the handshake is passed on, everything else about such a request is as ever,
//! and nothing that is not a tunnel to the protocol asked for becomes one.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::access::outcome;
use crate::support::certs::Certs;
use crate::support::client::{Call, Http2, Request};
use crate::support::tidegate::{Launch, Tidegate, config};
use crate::support::upstream::{Speaks, Upstream};
use crate::support::wire::{Head, Wire};
use crate::support::{Dir, within};

const SWITCH: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "websocket")];

fn handshake(path: &str) -> Request {
    Request::get(path).field("Connection", "keep-alive, Upgrade").field("Upgrade", "websocket")
}

/// The head that answers an upgrade, 101 included.
async fn answer(wire: &mut Wire) -> Head {
    within("a response head", wire.head()).await.expect("no reset").expect("a head")
}

#[tokio::test]
async fn handshake_goes_through_and_bytes_follow_both_ways() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut client = Wire::connect(&proxy.http()).await;
    let request = handshake("/ws?a=b")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .field("Sec-WebSocket-Version", "13")
        .field("Sec-WebSocket-Protocol", "chat")
        .field("Origin", "https://example.com")
        .field("Keep-Alive", "timeout=5");
    client.write(&request.to_bytes()).await;
    let exchange = upstream.request().await;
    let head = &exchange.head;
    assert_eq!((head.method(), head.target()), ("GET", "/ws?a=b"));
    assert_eq!((head.one("connection"), head.one("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(head.one("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(
        (head.one("sec-websocket-version"), head.one("sec-websocket-protocol")),
        (Some("13"), Some("chat"))
    );
    assert_eq!((head.one("origin"), head.one("keep-alive")), (Some("https://example.com"), None));
    assert_eq!((head.one("content-length"), head.one("transfer-encoding")), (None, None));
    let fields = [SWITCH, &[("sec-websocket-accept", "x"), ("x-hop", "1"), ("keep-alive", "max=1")]].concat();
    let mut far = exchange.switch(&fields).await;

    let head = answer(&mut client).await;
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((head.one("connection"), head.one("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!((head.one("sec-websocket-accept"), head.one("keep-alive")), (Some("x"), None));
    assert_eq!((head.one("content-length"), head.one("transfer-encoding")), (None, None));
    assert_eq!(head.one("via"), Some("1.1 tidegate"));
    for round in 0..3u8 {
        client.write(&[b'c', round, 0xff]).await;
        assert_eq!(far.exact(3).await, [b'c', round, 0xff]);
        far.write(&[b'u', round]).await;
        assert_eq!(client.exact(2).await, [b'u', round]);
    }
    client.half_close().await;
    assert_eq!(far.end().await.expect("a FIN"), b"");
    far.half_close().await;
    assert_eq!(client.end().await.expect("a FIN"), b"");
    let line = proxy.access("/ws").await;
    line.assert_ended(outcome::DONE, "end");
    assert_eq!((line.need("status"), line.need("bytes"), line.need("bytes_up")), ("101", "6", "9"));
}

/// Whoever reads a head may read on; neither side may lose what it read too early.
#[tokio::test]
async fn bytes_that_come_with_the_heads_are_not_lost() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for early in [4, 60_000] {
        let mut client = Wire::connect(&proxy.http()).await;
        let mut request = handshake("/early").to_bytes();
        request.extend(vec![b'c'; early]);
        client.write(&request).await;
        let mut exchange = upstream.request().await;
        let mut switch =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_vec();
        switch.extend(vec![b'u'; early]);
        exchange.wire().write(&switch).await;
        let mut far = exchange.into_wire();
        assert_eq!(answer(&mut client).await.status(), 101);
        assert!(client.exact(early).await.iter().all(|byte| *byte == b'u'));
        assert!(far.exact(early).await.iter().all(|byte| *byte == b'c'));
        client.write(b"after").await;
        assert_eq!(far.exact(5).await, b"after");
    }
}

#[tokio::test]
async fn websocket_works_end_to_end_over_every_transport() {
    let certs = Certs::new();
    let dir = Dir::new();
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    for mut upstream in
        [Upstream::start().await, Upstream::tls(Speaks::Http1, &certs).await, Upstream::unix(&dir)]
    {
        let proxy = Tidegate::before(&upstream, &format!("\n{listener}")).await;
        for endpoint in [proxy.http(), proxy.https(&certs, &["http/1.1"])] {
            let io = endpoint.connect().await.expect("the proxy listens");
            let connecting = tokio::spawn(client_async("ws://localhost/chat", io));
            let exchange = upstream.request().await;
            let key = exchange.head.one("sec-websocket-key").expect("a key");
            let accept = derive_accept_key(key.as_bytes());
            let wire = exchange.switch(&[SWITCH, &[("sec-websocket-accept", &accept)]].concat()).await;
            let (io, _) = wire.into_parts();
            let echo = tokio::spawn(async move {
                let mut server = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                while let Some(Ok(message)) = server.next().await {
                    if message.is_binary() {
                        server.send(message).await.expect("the client reads");
                    }
                }
            });
            let (mut client, response) =
                within("the handshake", connecting).await.expect("no panic").expect("an upgrade");
            assert_eq!(response.status(), 101);
            for size in [0, 125, 70_000, 1 << 20] {
                let sent = Message::binary(vec![b'x'; size]);
                within("a message to go", client.send(sent.clone())).await.expect("sent");
                assert!(
                    within("its echo", client.next()).await.expect("a message").expect("no error") == sent,
                    "{size} bytes"
                );
            }
            within("the closing handshake", async {
                client.close(None).await.expect("sent");
                while let Some(Ok(_)) = client.next().await {}
            })
            .await;
            within("the server to end", echo).await.expect("no panic");
        }
    }
}

#[tokio::test]
async fn client_key_and_injected_credential_are_as_for_any_request() {
    let mut upstream = Upstream::start().await;
    let text = config(&upstream, "client_key = \"env:TG\"\ninject = [{ bearer = \"env:KEY\" }]");
    let proxy = Launch::config(text).env("TG", "tg-key").env("KEY", "sk-canary").start().await;
    let mut refused = Call::start(&proxy.http(), &handshake("/ws")).await;
    assert_eq!(refused.status().await, 401);

    let mut client = Wire::connect(&proxy.http()).await;
    let request = handshake("/ws")
        .field("x-api-key", "tg-key")
        .field("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-own, v1");
    client.write(&request.to_bytes()).await;
    let exchange = upstream.request().await;
    assert_eq!(exchange.head.one("authorization"), Some("Bearer sk-canary"));
    assert_eq!(exchange.head.one("x-api-key"), None);
    assert_eq!(exchange.head.one("sec-websocket-protocol"), Some("realtime, v1"));
    exchange.switch(&[SWITCH, &[("x-echo", "sk-canary")]].concat()).await;
    let head = answer(&mut client).await;
    assert_eq!((head.status(), head.one("x-echo")), (101, Some("*********")));
}

#[tokio::test]
async fn upstream_that_does_not_switch_is_an_ordinary_response() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &handshake("/a")).await;
    upstream.request().await.answer(426, &[("upgrade", "foo")], b"no").await;
    assert_eq!((call.status().await, call.head().await.one("upgrade")), (426, None));
    assert_eq!(call.body().await, b"no");
    // Both connections go on.
    let mut call = call.again(&handshake("/b")).await;
    let exchange = upstream.request().await;
    assert_eq!(exchange.connection, 0);
    exchange.answer(200, &[], b"plain").await;
    assert_eq!(call.body().await, b"plain");
}

#[tokio::test]
async fn upgrade_to_more_http_is_ignored() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (upgrade, up) in [("h2c", None), ("HTTP/2.0, TLS/1.0", None), ("h2c, websocket", Some("websocket"))] {
        let request = Request::get("/x")
            .field("connection", "Upgrade, HTTP2-Settings")
            .field("upgrade", upgrade)
            .field("http2-settings", "AAMAAABkAAQAAP__");
        let mut call = Call::start(&proxy.http(), &request).await;
        let exchange = upstream.request().await;
        assert_eq!(exchange.head.one("upgrade"), up, "{upgrade}");
        assert_eq!(exchange.head.one("connection"), up.map(|_| "upgrade"));
        assert_eq!(exchange.head.one("http2-settings"), None);
        exchange.answer(200, &[], b"ordinary").await;
        assert_eq!((call.status().await, call.body().await.as_slice()), (200, &b"ordinary"[..]));
    }
}

#[tokio::test]
async fn upgrade_with_a_body_or_without_connection_is_an_ordinary_request() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let with_body =
        Request::new("POST", "/x").field("connection", "upgrade").field("upgrade", "foo").body(b"abc");
    for request in [with_body, Request::get("/x").field("upgrade", "websocket")] {
        let mut call = Call::start(&proxy.http(), &request).await;
        let exchange = upstream.request().await;
        assert_eq!((exchange.head.one("upgrade"), exchange.head.one("connection")), (None, None));
        exchange.answer(200, &[], b"").await;
        assert_eq!(call.status().await, 200);
    }
}

#[tokio::test]
async fn switch_that_nobody_asked_for_is_502() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    for (request, fields) in [
        (Request::get("/x"), SWITCH),
        (
            Request::get("/x").field("connection", "upgrade").field("upgrade", "h2c"),
            &[("upgrade", "h2c")][..],
        ),
        (handshake("/x"), &[("connection", "upgrade"), ("upgrade", "h2c")]),
        (handshake("/x"), &[("connection", "upgrade")]),
    ] {
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        exchange.wire().write(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n").as_bytes()).await;
        assert_eq!(call.status().await, 502);
        assert_eq!(call.json().await["error"]["code"], "upstream_malformed");
        within("the upstream to be left", exchange.closed()).await;
    }
}

#[tokio::test]
async fn connect_without_a_protocol_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut client = Wire::connect(&proxy.http()).await;
    client.write(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n").await;
    assert_eq!(answer(&mut client).await.status(), 501);
    let connection = Http2::connect(&proxy.http()).await;
    let mut call = connection.tunnel(&Request::get("/x"), "connect-udp").await;
    assert_eq!(call.status().await, 501);
    assert!(upstream.is_quiet());
}

/// An upstream that would choose HTTP/2 is asked for HTTP/1.1: a pooled HTTP/2 connection is of no use.
#[tokio::test]
async fn upgrade_goes_over_http1_although_the_upstream_speaks_http2() {
    let certs = Certs::new();
    let mut upstream = Upstream::tls(Speaks::Either, &certs).await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &Request::get("/plain")).await;
    let exchange = upstream.request().await;
    assert!(exchange.head.start.ends_with("HTTP/2"), "{}", exchange.head.start);
    exchange.answer(200, &[], b"").await;
    assert_eq!(call.status().await, 200);
    let mut client = Wire::connect(&proxy.http()).await;
    client.write(&handshake("/ws").to_bytes()).await;
    let exchange = upstream.request().await;
    assert!(exchange.head.start.ends_with("HTTP/1.1"), "{}", exchange.head.start);
    let mut far = exchange.switch(SWITCH).await;
    assert_eq!(answer(&mut client).await.status(), 101);
    client.write(b"hi").await;
    assert_eq!(far.exact(2).await, b"hi");
}

#[tokio::test]
async fn upstream_that_takes_http2_only_gets_no_upgrade() {
    let mut upstream = Upstream::h2c().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&proxy.http(), &handshake("/ws")).await;
    let exchange = upstream.request().await;
    assert_eq!(exchange.head.one("upgrade"), None);
    exchange.answer(400, &[], b"").await;
    assert_eq!(call.status().await, 400);
    let connection = Http2::connect(&proxy.http()).await;
    let mut call = connection.tunnel(&Request::get("/ws"), "websocket").await;
    assert_eq!(call.status().await, 501);
    assert_eq!(call.json().await["error"]["code"], "no_websocket");
}

/// RFC 8441: the client has no key and gets no 101, the upstream has and sends both.
#[tokio::test]
async fn extended_connect_goes_up_as_a_websocket_handshake() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "methods = [\"GET\"]").await;
    let connection = Http2::connect(&proxy.http()).await;
    let request =
        Request::get("/ws?a=b").field("sec-websocket-version", "13").field("origin", "https://e.com");
    let mut call = connection.tunnel(&request, "websocket").await;
    let exchange = upstream.request().await;
    let head = &exchange.head;
    assert_eq!(
        (head.start.as_str(), head.one("host")),
        ("GET /ws?a=b HTTP/1.1", Some(upstream.url.trim_start_matches("http://")))
    );
    assert_eq!((head.one("connection"), head.one("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!((head.one("sec-websocket-version"), head.one("origin")), (Some("13"), Some("https://e.com")));
    let key = head.one("sec-websocket-key").expect("a key").to_owned();
    let accept = derive_accept_key(key.as_bytes());
    let fields =
        [SWITCH, &[("sec-websocket-accept", accept.as_str()), ("sec-websocket-protocol", "chat")]].concat();
    let mut far = exchange.switch(&fields).await;
    let head = call.head().await;
    assert_eq!((head.status(), head.one("sec-websocket-protocol")), (200, Some("chat")));
    assert_eq!((head.one("upgrade"), head.one("sec-websocket-accept")), (None, None));
    for round in 0..3 {
        call.send(&[b'c', round], false);
        assert_eq!(far.exact(2).await, [b'c', round]);
        far.write(&[b'u', round]).await;
        assert_eq!(call.piece().await.data, [b'u', round]);
    }
    // The rest of the connection is as it was.
    let mut other = connection.call(&Request::get("/other")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(other.body().await, b"ok");
    call.send(b"last", true);
    assert_eq!(far.end().await.expect("a FIN"), b"last");
    far.half_close().await;
    assert_eq!(call.rest().await.cut, None);
    let line = proxy.access("/ws").await;
    line.assert_ended(outcome::DONE, "end");
    assert_eq!((line.need("method"), line.need("status"), line.need("bytes_up")), ("CONNECT", "200", "10"));
}

#[tokio::test]
async fn extended_connect_that_is_not_accepted_is_no_tunnel() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let connection = Http2::connect(&proxy.http()).await;
    for (status, fields, expected) in [
        (403, &[][..], 403),
        (200, &[], 502),
        (101, &[("upgrade", "websocket"), ("sec-websocket-accept", "wrong")], 502),
        (101, &[("upgrade", "websocket")], 502),
    ] {
        let mut call = connection.tunnel(&Request::get("/ws"), "websocket").await;
        let mut exchange = upstream.request().await;
        if status == 101 {
            exchange.inform(101, fields).await;
        } else {
            exchange.answer(status, fields, b"its own").await;
        }
        assert_eq!(call.status().await, expected, "{status} {fields:?}");
        let body = call.body().await;
        assert_eq!(body == b"its own", expected == 403);
    }
}

/// hyper leaves a connection open behind every request with `Upgrade`, in case that somebody takes it over.
#[tokio::test]
async fn tls_connection_is_closed_properly_after_an_upgrade_that_was_ignored() {
    let certs = Certs::new();
    let mut upstream = Upstream::start().await;
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n", certs.listener_tls());
    let proxy = Tidegate::before(&upstream, &format!("\n{listener}")).await;
    let mut client = Wire::connect(&proxy.https(&certs, &["http/1.1"])).await;
    client.write(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n\r\n").await;
    upstream.request().await.answer(200, &[], b"ok").await;
    let rest = client.end().await.expect("a close_notify");
    assert!(rest.ends_with(b"ok"), "{:?}", String::from_utf8_lossy(&rest));
}
