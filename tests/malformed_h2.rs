//! probe
use crate::support::frames::*;
use crate::support::tidegate::Tidegate;
use crate::support::upstream::Upstream;
use std::time::Duration;

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
                let _ = tx.send(format!("{} {:?}", exchange.head.start, exchange.head.fields.iter().filter(|(n,_)| !["x-forwarded-for","via","forwarded","x-request-id","x-forwarded-proto","x-forwarded-host","x-forwarded-port"].contains(&n.to_lowercase().as_str())).collect::<Vec<_>>())).await;
                let body = exchange.body().await;
                let _ = tx.send(format!("body {:?}", String::from_utf8_lossy(&body))).await;
                exchange.answer(200, &[], b"ok").await;
            });
        }
    });
    let with = |more: &[(&'static str, &'static str)]| { let mut f: Vec<(&str,&str)> = get("/p"); f.extend_from_slice(more); request(1, &f) };
    let raw = |f: &[(&str, &str)]| request(1, f);
    let big = "x".repeat(8000);
    let bigf: Vec<(String, String)> = (0..6).map(|n| (format!("x-{n}"), big.clone())).collect();
    let mut over: Vec<(&str,&str)> = get("/p"); over.extend(bigf.iter().map(|(a,b)| (a.as_str(), b.as_str())));
    let overb = block(&over);
    let chunks: Vec<u8> = { let mut v = frame(HEADERS, END_STREAM, 1, &overb[..16000]); let mut rest=&overb[16000..]; while rest.len()>16000 { v.extend(frame(CONTINUATION,0,1,&rest[..16000])); rest=&rest[16000..]; } v.extend(frame(CONTINUATION,END_HEADERS,1,rest)); v };
    let many: Vec<(String,String)> = (0..150).map(|n| (format!("x-{n}"), "y".into())).collect();
    let mut manyf: Vec<(&str,&str)> = get("/p"); manyf.extend(many.iter().map(|(a,b)| (a.as_str(), b.as_str())));
    let post = |more: &[(&'static str, &'static str)], data: &[u8]| { let mut f = vec![(":method","POST"),(":scheme","http"),(":authority","a"),(":path","/p")]; f.extend_from_slice(more); [frame(HEADERS, END_HEADERS, 1, &block(&f)), frame(DATA, END_STREAM, 1, data)].concat() };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("good", with(&[])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "x")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te gzip", with(&[("te", "gzip")])),
        ("te trailers", with(&[("te", "trailers")])),
        ("upper", with(&[("X-Upper", "1")])),
        ("space in name", with(&[("x y", "1")])),
        ("colon in name", with(&[("x:y", "1")])),
        ("empty name", with(&[("", "1")])),
        ("value nl", with(&[("x", "a\nb")])),
        ("value cr", with(&[("x", "a\rb")])),
        ("value nul", with(&[("x", "a\0b")])),
        ("value crlf smuggle", with(&[("x", "a\r\ntransfer-encoding: chunked\r\n\r\n")])),
        ("value lead space", with(&[("x", " a")])),
        ("value trail tab", with(&[("x", "a\t")])),
        ("no method", raw(&[(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("no scheme", raw(&[(":method","GET"),(":authority","a"),(":path","/p")])),
        ("no path", raw(&[(":method","GET"),(":scheme","http"),(":authority","a")])),
        ("no path host", raw(&[(":method","GET"),(":scheme","http"),("host","a")])),
        ("empty path", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","")])),
        ("path p", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","p")])),
        ("path *", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","*")])),
        ("path abs", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","http://b/p")])),
        ("path space", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p HTTP/1.1")])),
        ("path crlf", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p HTTP/1.1\r\nx: y\r\n\r\n")])),
        ("path frag", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p#x")])),
        ("path dots", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p/../q")])),
        ("method crlf", raw(&[(":method","GET / HTTP/1.1\r\nx: y"),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("method space", raw(&[(":method","GET /"),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("method empty", raw(&[(":method",""),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("scheme ftp", raw(&[(":method","GET"),(":scheme","ftp"),(":authority","a"),(":path","/p")])),
        ("scheme bad", raw(&[(":method","GET"),(":scheme","ht tp"),(":authority","a"),(":path","/p")])),
        ("scheme https", raw(&[(":method","GET"),(":scheme","https"),(":authority","a"),(":path","/p")])),
        ("two methods", with(&[(":method","GET")])),
        ("method twice", raw(&[(":method","GET"),(":method","POST"),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("two authorities", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":authority","b"),(":path","/p")])),
        ("two paths", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p"),(":path","/q")])),
        ("pseudo late", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),("x","y"),(":path","/p")])),
        ("pseudo unknown", with(&[(":x","y")])),
        ("pseudo unknown first", raw(&[(":x","y"),(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("status", raw(&[(":method","GET"),(":scheme","http"),(":authority","a"),(":path","/p"),(":status","200")])),
        ("protocol", raw(&[(":method","CONNECT"),(":scheme","http"),(":authority","a"),(":path","/p"),(":protocol","websocket")])),
        ("connect", raw(&[(":method","CONNECT"),(":authority","a:80")])),
        ("connect cl", raw(&[(":method","CONNECT"),(":authority","a:80"),("content-length","5")])),
        ("trace", raw(&[(":method","TRACE"),(":scheme","http"),(":authority","a"),(":path","/p")])),
        ("no authority", raw(&[(":method","GET"),(":scheme","http"),(":path","/p")])),
        ("only host", raw(&[(":method","GET"),(":scheme","http"),(":path","/p"),("host","a")])),
        ("host same", with(&[("host","a")])),
        ("host other", with(&[("host","b")])),
        ("host twice", with(&[("host","a"),("host","a")])),
        ("authority user", raw(&[(":method","GET"),(":scheme","http"),(":authority","u@a"),(":path","/p")])),
        ("authority empty", raw(&[(":method","GET"),(":scheme","http"),(":authority",""),(":path","/p")])),
        ("authority bad", raw(&[(":method","GET"),(":scheme","http"),(":authority","a b"),(":path","/p")])),
        ("authority slash", raw(&[(":method","GET"),(":scheme","http"),(":authority","a/b"),(":path","/p")])),
        ("cl on get end", with(&[("content-length","5")])),
        ("cl bad", post(&[("content-length","x")], b"abc")),
        ("cl two differ", post(&[("content-length","3"),("content-length","4")], b"abc")),
        ("cl two same", post(&[("content-length","3"),("content-length","3")], b"abc")),
        ("cl too small", post(&[("content-length","2")], b"abc")),
        ("cl too large", post(&[("content-length","4")], b"abc")),
        ("trailers", [frame(HEADERS, END_HEADERS, 1, &block(&[(":method","POST"),(":scheme","http"),(":authority","a"),(":path","/p")])), frame(DATA, 0, 1, b"abc"), frame(HEADERS, END_HEADERS|END_STREAM, 1, &block(&[("x","y")]))].concat()),
        ("trailers pseudo", [frame(HEADERS, END_HEADERS, 1, &block(&[(":method","POST"),(":scheme","http"),(":authority","a"),(":path","/p")])), frame(DATA, 0, 1, b"abc"), frame(HEADERS, END_HEADERS|END_STREAM, 1, &block(&[(":path","/y")]))].concat()),
        ("trailers no end", [frame(HEADERS, END_HEADERS, 1, &block(&[(":method","POST"),(":scheme","http"),(":authority","a"),(":path","/p")])), frame(DATA, 0, 1, b"abc"), frame(HEADERS, END_HEADERS, 1, &block(&[("x","y")]))].concat()),
        ("head too large", chunks),
        ("many headers", request(1, &manyf)),
        ("even stream", request(2, &get("/p"))),
        ("stream 0", request(0, &get("/p"))),
        ("data idle", frame(DATA, 0, 1, b"x")),
        ("rst idle", frame(RST_STREAM, 0, 1, &[0,0,0,8])),
        ("wu zero", [with(&[]), frame(WINDOW_UPDATE, 0, 1, &[0,0,0,0])].concat()),
        ("wu overflow", frame(WINDOW_UPDATE, 0, 0, &[0x7f,0xff,0xff,0xff])),
        ("settings len 5", frame(SETTINGS, 0, 0, &[0;5])),
        ("settings stream", frame(SETTINGS, 0, 1, &[])),
        ("settings window", frame(SETTINGS, 0, 0, &[0,4,0xff,0xff,0xff,0xff])),
        ("ping len 7", frame(PING, 0, 0, &[0;7])),
        ("continuation alone", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("frame 20000", frame(DATA, 0, 1, &[0;20000])),
        ("push promise", frame(5, END_HEADERS, 1, &[0,0,0,2])),
        ("hpack bad", frame(HEADERS, END_HEADERS|END_STREAM, 1, &[0xff,0xff,0xff,0xff,0xff,0xff])),
        ("hpack index 0", frame(HEADERS, END_HEADERS|END_STREAM, 1, &[0x80])),
        ("garbage", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
        ("headers then data frame", [frame(HEADERS, END_STREAM, 1, &block(&get("/p"))), frame(DATA, 0, 1, b"x")].concat()),
        ("old stream", [request(5, &get("/p")), request(3, &get("/p"))].concat()),
    ];
    for (name, bytes) in cases {
        let before = proxy.access_lines().len();
        let mut raw = RawHttp2::connect(&proxy.http(), &[]).await;
        let _ = raw.try_write(&frame(SETTINGS, 1, 0, &[])).await;
        let _ = raw.try_write(&bytes).await;
        let _ = raw.try_write(&request(7, &get("/next"))).await;
        let mut frames = Vec::new();
        while let Some(f) = raw.next_within(Duration::from_millis(150)).await { frames.push(f) }
        let closed = tokio::time::timeout(Duration::from_millis(100), raw.next()).await.is_ok();
        drop(raw);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut up = Vec::new();
        while let Ok(it) = rx.try_recv() { up.push(it) }
        let lines: Vec<String> = proxy.access_lines()[before..].iter().map(|l| format!("{}:{}/{}", l.get("path").unwrap_or("-"), l.need("outcome"), l.get("status").unwrap_or("-"))).collect();
        let f: Vec<String> = frames.iter().filter(|f| f.kind == RST_STREAM || f.kind == GOAWAY).map(|f| format!("{}({},{})", if f.kind==RST_STREAM {"RST"} else {"GOAWAY"}, f.stream, f.reason())).collect();
        println!("{name:22} {:?} {f:?} closed={closed} lines={lines:?}\n        up={}", statuses(&frames), up.iter().map(|s| s.chars().take(160).collect::<String>()).collect::<Vec<_>>().join(" ; "));
    }
}
