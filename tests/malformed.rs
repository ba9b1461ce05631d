//! Requests that no careful client sends.
use crate::support::tidegate::Tidegate;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;
use std::time::Duration;

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn probe() {
    let mut upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "").await;
    let (tx, mut rx) = tokio::sync::mpsc::channel(1000);
    tokio::spawn(async move {
        loop {
            let mut exchange = upstream.request().await;
            let tx = tx.clone();
            tokio::spawn(async move {
                let _ = tx.send(format!("{} {:?}", exchange.head.start, exchange.head.fields.iter().filter(|(n,_)| ["host","content-length","transfer-encoding"].contains(&n.to_lowercase().as_str())).collect::<Vec<_>>())).await;
                let body = exchange.body().await;
                let _ = tx.send(format!("body {:?}", String::from_utf8_lossy(&body))).await;
                exchange.answer(200, &[], b"ok").await;
            });
        }
    });
    let long = |n: usize| "x".repeat(n);
    let post = |fields: &str, body: &str| format!("POST /p HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}");
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    let cases: Vec<(&str, String)> = vec![
        ("cl+te", post("content-length: 5\r\ntransfer-encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        ("te+cl", post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        ("te+bad cl", post("transfer-encoding: chunked\r\ncontent-length: x\r\n", "3\r\nabc\r\n0\r\n\r\n")),
        ("te gzip, chunked", post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        ("te gzip, chunked + cl", post("content-length: 3\r\ntransfer-encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        ("te chunked twice", post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")),
        ("te chunked, chunked", post("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("te chunked, identity", post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("te ,chunked", post("transfer-encoding: ,chunked\r\n", "0\r\n\r\n")),
        ("te identity", post("transfer-encoding: identity\r\n", "")),
        ("te xchunked", post("transfer-encoding: xchunked\r\n", "")),
        ("te vt chunked", post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        ("te empty", post("transfer-encoding: \r\n", "")),
        ("te \"chunked\"", post("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        ("te Chunked", post("transfer-encoding: Chunked\r\n", "0\r\n\r\n")),
        ("te_underscore", post("transfer_encoding: chunked\r\n", "")),
        ("te 1.0", "POST /p HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("cl differ", post("content-length: 1\r\ncontent-length: 2\r\n", "ab")),
        ("cl same", post("content-length: 2\r\ncontent-length: 2\r\n", "ab")),
        ("cl 2,2", post("content-length: 2, 2\r\n", "ab")),
        ("cl +2", post("content-length: +2\r\n", "ab")),
        ("cl -2", post("content-length: -2\r\n", "ab")),
        ("cl 0x2", post("content-length: 0x2\r\n", "ab")),
        ("cl empty", post("content-length: \r\n", "")),
        ("cl 2^64", post("content-length: 18446744073709551616\r\n", "")),
        ("cl 2^64-1", post("content-length: 18446744073709551615\r\n", "")),
        ("cl 65MiB", post("content-length: 70000000\r\n", "")),
        ("no host", "GET /p HTTP/1.1\r\n\r\n".into()),
        ("2 hosts", "GET /p HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into()),
        ("2 same hosts", "GET /p HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".into()),
        ("empty host", "GET /p HTTP/1.1\r\nhost:\r\n\r\n".into()),
        ("host a,b", "GET /p HTTP/1.1\r\nhost: a,b\r\n\r\n".into()),
        ("host u@a", "GET /p HTTP/1.1\r\nhost: u@a\r\n\r\n".into()),
        ("host a/b", "GET /p HTTP/1.1\r\nhost: a/b\r\n\r\n".into()),
        ("absolute same", "GET http://a/p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("absolute other", "GET http://b/p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("absolute ftp", "GET ftp://a/p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("absolute user", "GET http://u@a/p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("absolute no path", "GET http://a HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("authority form GET", "GET a HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("authority:port GET", "GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("target ?", "GET ?x HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("target *", "GET * HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("options *", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("target //", "GET //b/p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("fragment", "GET /p#/../admin HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("connect", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n".into()),
        ("trace", "TRACE /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("lower method", "get /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("bad method", "G@T /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("dot seg", "GET /p/../q HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("enc dot seg", "GET /p/%2e%2E/q HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("backslash", "GET /p\\..\\q HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("pct zz", "GET /p%zz HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("pct 00", "GET /p%00 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("8bit path", "GET /p\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("bare cr in value", "GET /p HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n".into()),
        ("bare cr line end", "GET /p HTTP/1.1\rhost: a\r\r".into()),
        ("cr in request line", "GET /p\r HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("nul in value", "GET /p HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n".into()),
        ("nul in name", "GET /p HTTP/1.1\r\nhost: a\r\nx\0: a\r\n\r\n".into()),
        ("nul in path", "GET /p\0 HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("vt in value", "GET /p HTTP/1.1\r\nhost: a\r\nx: a\x0bb\r\n\r\n".into()),
        ("del in value", "GET /p HTTP/1.1\r\nhost: a\r\nx: a\x7fb\r\n\r\n".into()),
        ("8bit value", "GET /p HTTP/1.1\r\nhost: a\r\nx: \u{e9}\r\n\r\n".into()),
        ("obs-fold", "GET /p HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n".into()),
        ("obs-fold te", "POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n".into()),
        ("fold first", "GET /p HTTP/1.1\r\n host: a\r\n\r\n".into()),
        ("space colon", "GET /p HTTP/1.1\r\nhost: a\r\nx : a\r\n\r\n".into()),
        ("te space colon", "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n".into()),
        ("no colon", "GET /p HTTP/1.1\r\nhost: a\r\nxyz\r\n\r\n".into()),
        ("empty name", "GET /p HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n".into()),
        ("name with @", "GET /p HTTP/1.1\r\nhost: a\r\nx@y: x\r\n\r\n".into()),
        ("bare lf", "GET /p HTTP/1.1\nhost: a\n\n".into()),
        ("lead crlf", "\r\n\r\nGET /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("lead space", " GET /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("two spaces", "GET  /p HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("two spaces 2", "GET /p  HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("tab", "GET\t/p\tHTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("trailing space", "GET /p HTTP/1.1 \r\nhost: a\r\n\r\n".into()),
        ("space in target", "GET /p q HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("HTTP/1.2", "GET /p HTTP/1.2\r\nhost: a\r\n\r\n".into()),
        ("HTTP/2.0", "GET /p HTTP/2.0\r\nhost: a\r\n\r\n".into()),
        ("HTTP/1.10", "GET /p HTTP/1.10\r\nhost: a\r\n\r\n".into()),
        ("HTTP/01.1", "GET /p HTTP/01.1\r\nhost: a\r\n\r\n".into()),
        ("http/1.1", "GET /p http/1.1\r\nhost: a\r\n\r\n".into()),
        ("HTTP/1,1", "GET /p HTTP/1,1\r\nhost: a\r\n\r\n".into()),
        ("0.9", "GET /p\r\n\r\n".into()),
        ("0.9 v", "GET /p HTTP/0.9\r\n\r\n".into()),
        ("not http", "SSH-2.0-OpenSSH\r\n\r\n".into()),
        ("tls hello", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into()),
        ("pri 1.1", "PRI * HTTP/1.1\r\nhost: a\r\n\r\n".into()),
        ("pri upset", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into()),
        ("101 headers", format!("GET /p HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101))),
        ("33k head", format!("GET /p HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", long(33_000))),
        ("70k head", format!("GET /p HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", long(70_000))),
        ("300k head", format!("GET /p HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", long(300_000))),
        ("20k uri", format!("GET /p{} HTTP/1.1\r\nhost: a\r\n\r\n", long(20_000))),
        ("40k uri", format!("GET /p{} HTTP/1.1\r\nhost: a\r\n\r\n", long(40_000))),
        ("70k uri", format!("GET /p{} HTTP/1.1\r\nhost: a\r\n\r\n", long(70_000))),
        ("chunk size x", chunked("x\r\nabc\r\n0\r\n\r\n")),
        ("chunk size -3", chunked("-3\r\nabc\r\n0\r\n\r\n")),
        ("chunk size +3", chunked("+3\r\nabc\r\n0\r\n\r\n")),
        ("chunk size 0x3", chunked("0x3\r\nabc\r\n0\r\n\r\n")),
        ("chunk size empty", chunked("\r\nabc\r\n0\r\n\r\n")),
        ("chunk size sp", chunked(" 3\r\nabc\r\n0\r\n\r\n")),
        ("chunk size overflow", chunked("10000000000000003\r\nabc\r\n0\r\n\r\n")),
        ("chunk size huge", chunked("fffffffffffffffe\r\nabc\r\n0\r\n\r\n")),
        ("chunk too short", chunked("2\r\nabc\r\n0\r\n\r\n")),
        ("chunk too long", chunked("4\r\nabc\r\n0\r\n\r\n")),
        ("chunk lf", chunked("3\nabc\n0\n\n")),
        ("chunk lf after size", chunked("3\nabc\r\n0\r\n\r\n")),
        ("chunk lf after data", chunked("3\r\nabc\n0\r\n\r\n")),
        ("chunk cr", chunked("3\rabc\r\n0\r\n\r\n")),
        ("chunk ext", chunked("3;a=b\r\nabc\r\n0;x\r\n\r\n")),
        ("chunk ext lf", chunked("3;a\nb\r\nabc\r\n0\r\n\r\n")),
        ("chunk ext cr", chunked("3;a\rb\r\nabc\r\n0\r\n\r\n")),
        ("chunk ext nul", chunked("3;a\0b\r\nabc\r\n0\r\n\r\n")),
        ("chunk ext long", chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", long(20_000)))),
        ("chunk sp after size", chunked("3 \r\nabc\r\n0\r\n\r\n")),
        ("chunk sp long", chunked(&format!("3{}\r\nabc\r\n0\r\n\r\n", " ".repeat(100_000)))),
        ("chunk zeros long", chunked(&format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(100_000)))),
        ("trailer", chunked("3\r\nabc\r\n0\r\nx: y\r\n\r\n")),
        ("trailer cl", chunked("3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n")),
        ("trailer bad", chunked("3\r\nabc\r\n0\r\nx y\r\n\r\n")),
        ("trailer fold", chunked("3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n")),
        ("trailer many", chunked(&format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(200)))),
        ("trailer long", chunked(&format!("3\r\nabc\r\n0\r\nx: {}\r\n\r\n", long(40_000)))),
        ("get with body", "GET /p HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".into()),
        ("expect other", post("expect: x\r\ncontent-length: 2\r\n", "ab")),
        ("upgrade h2c", "GET /p HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n".into()),
        ("1.0", "GET /p HTTP/1.0\r\n\r\n".into()),
        ("1.0 keepalive", "GET /p HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".into()),
    ];
    for (name, bytes) in cases {
        let before = proxy.access_lines().len();
        let mut wire = Wire::connect(&proxy.http()).await;
        let _ = wire.try_write(bytes.as_bytes()).await;
        let _ = wire.try_write(NEXT.as_bytes()).await;
        let mut end = "quiet".to_owned();
        loop {
            match tokio::time::timeout(Duration::from_millis(150), wire.fill()).await {
                Ok(Ok(0)) => { end = "FIN".into(); break }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => { end = format!("{:?}", error.kind()); break }
                Err(_) => break,
            }
        }
        let got = String::from_utf8_lossy(&wire.take_all()).into_owned();
        let statuses: Vec<&str> = got.match_indices("HTTP/1.").map(|(at, _)| got.get(at + 9..at + 12).unwrap_or("?")).collect();
        drop(wire);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut up = Vec::new();
        while let Ok(it) = rx.try_recv() { up.push(it) }
        let lines: Vec<String> = proxy.access_lines()[before..].iter().map(|l| format!("{}:{}/{}", l.get("path").unwrap_or("-").chars().take(9).collect::<String>(), l.need("outcome"), l.get("status").unwrap_or("-"))).collect();
        println!("{name:22} {statuses:?} {end} lines={lines:?}\n        up={}", up.iter().map(|s| s.chars().take(120).collect::<String>()).collect::<Vec<_>>().join(" ; "));
    }
}
