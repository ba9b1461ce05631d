//! Exchanges with HTTP/2 servers (prior knowledge), on the `h2` crate or on raw frames.

use std::cell::Cell;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::tests::{Server, data, get, head, read, rest, upstream, upstreams};
use super::super::upload::tests::{full, scripted};
use super::super::{Read, Upstreams};
use super::*;
use crate::config::HttpVersion;

/// A request as a server gets it: on which connection (counted from 0), what, and how to answer.
struct Asked {
    connection: usize,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl Asked {
    fn begin(&mut self) -> SendStream<Bytes> {
        self.respond.send_response(http::Response::new(()), false).unwrap()
    }
}

/// A server that hands over what it is asked, and drives its connections on its own.
async fn serve(builder: Builder) -> (Rc<Cell<usize>>, mpsc::Receiver<Asked>, Upstreams) {
    let server = Server::start().await;
    let upstreams = upstreams(upstream(server.address(), HttpVersion::Http2));
    let (sender, receiver) = mpsc::channel(1000);
    let closed = Rc::new(Cell::new(0));
    let count = Rc::clone(&closed);
    tokio::task::spawn_local(async move {
        for connection in 0.. {
            let tcp = server.accept().await.0;
            let (builder, sender, count) = (builder.clone(), sender.clone(), Rc::clone(&count));
            tokio::task::spawn_local(async move {
                let mut h2 = builder.handshake::<_, Bytes>(tcp).await.unwrap();
                while let Some(Ok((request, respond))) = h2.accept().await {
                    sender.send(Asked { connection, request, respond }).await.ok();
                }
                count.set(count.get() + 1);
            });
        }
    });
    (closed, receiver, upstreams)
}

async fn body_of(asked: &mut Asked) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = asked.request.body_mut().data().await {
        all.extend_from_slice(&bytes.unwrap());
    }
    all
}

/// Waits for capacity and sends.
async fn push(stream: &mut SendStream<Bytes>, bytes: &'static [u8]) {
    stream.reserve_capacity(bytes.len());
    while stream.capacity() < bytes.len() {
        poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
    }
    stream.send_data(Bytes::from_static(bytes), false).unwrap();
}

async fn reset_of(stream: &mut SendStream<Bytes>) -> Reason {
    poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()
}

#[tokio::test(flavor = "local")]
async fn request_becomes_a_stream_without_what_concerns_one_connection() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let mut parts = head(Method::POST, "/v1/chat?x=1");
    for (name, value) in [
        ("te", "trailers, deflate"),
        ("connection", "x"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("proxy-connection", "close"),
        ("content-length", "99"),
        ("accept", "*/*"),
    ] {
        parts.headers.insert(name, value.parse().unwrap());
    }
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        assert_eq!(asked.request.uri(), "http://up.example/v1/chat?x=1");
        let mut fields: Vec<_> =
            asked.request.headers().iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        fields.sort_unstable();
        assert_eq!(fields, [("accept", &b"*/*"[..]), ("content-length", b"4"), ("te", b"trailers")]);
        assert_eq!(body_of(&mut asked).await, b"ping");
        let mut stream = asked.begin();
        push(&mut stream, b"pong").await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    };
    let ask = async {
        let mut response = upstreams.send(0, parts, full(b"ping"), None, &|_| ()).await.unwrap();
        assert_eq!(response.head.status, StatusCode::OK);
        assert_eq!(data(&mut response.body).await, "pong");
        assert!(
            matches!(read(&mut response.body).await.unwrap(), Read::Trailers(map) if map["x-sum"] == "1")
        );
        assert!(matches!(read(&mut response.body).await.unwrap(), Read::End));
    };
    tokio::join!(server, ask);
}

#[tokio::test(flavor = "local")]
async fn request_body_streams_while_the_response_streams() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (upload, script) = scripted(None);
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        let mut stream = asked.begin();
        while let Some(bytes) = asked.request.body_mut().data().await {
            stream.send_data(bytes.unwrap(), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    };
    let ask = async {
        let mut response = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()).await.unwrap();
        for word in ["one", "two", "three"] {
            script.send(word);
            assert_eq!(data(&mut response.body).await, word);
        }
        script.end();
        assert!(matches!(read(&mut response.body).await.unwrap(), Read::End));
    };
    tokio::join!(server, ask);
}

#[tokio::test(flavor = "local")]
async fn frame_larger_than_the_buffer_comes_in_pieces() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        let mut stream = asked.begin();
        push(&mut stream, &[b'x'; 10_000]).await;
        stream.send_data(Bytes::new(), true).unwrap();
    };
    let ask = async { rest(&mut get(&upstreams).await.unwrap().body).await.unwrap().len() };
    assert_eq!(tokio::join!(server, ask).1, 10_000);
}

/// A model streams tokens as small DATA frames, and some clients read slowly. h2 charges a connection for small
/// frames that nobody has read; with the usual connection window, a handful of such streams made it end the
/// connection under everybody (ENHANCE_YOUR_CALM, too_many_data_frames). The window that is set allows for it.
#[tokio::test(flavor = "local")]
async fn unread_streams_of_small_frames_do_not_end_a_healthy_stream() {
    const UNREAD: usize = 32;
    const FRAME: &[u8] = b"data: {\"token\":1}\n\n.";
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (filled, mut filling) = mpsc::channel(UNREAD);
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        let server = async {
            let mut asked = asked.recv().await.unwrap();
            assert_eq!(asked.connection, 0);
            let mut stream = asked.begin();
            let filled = filled.clone();
            tokio::task::spawn_local(async move {
                // All that the window of the stream takes.
                for _ in 0..(64 << 10) / FRAME.len() {
                    push(&mut stream, FRAME).await;
                }
                filled.send(stream).await.unwrap();
            });
        };
        unread.push(tokio::join!(server, get(&upstreams)).1.unwrap());
    }
    let mut streams = Vec::new();
    for _ in 0..UNREAD {
        streams.push(filling.recv().await.unwrap());
    }
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        assert_eq!(asked.connection, 0);
        (asked.begin(), asked)
    };
    let ((mut stream, _asked), response) = tokio::join!(server, get(&upstreams));
    let mut healthy = response.unwrap().body;
    for _ in 0..100 {
        push(&mut stream, FRAME).await;
        assert_eq!(data(&mut healthy).await.as_bytes(), FRAME);
    }
    // And what was held up is all there.
    let mut body = unread.swap_remove(0).body;
    let first = data(&mut body).await;
    assert!(first.as_bytes().starts_with(FRAME));
}

#[tokio::test(flavor = "local")]
async fn refused_stream_is_sent_again_with_its_body() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        let mut first = asked.recv().await.unwrap();
        assert_eq!(body_of(&mut first).await, b"hello");
        first.respond.send_reset(Reason::REFUSED_STREAM);
        let mut second = asked.recv().await.unwrap();
        assert_eq!((first.connection, second.connection), (0, 1));
        assert_eq!(body_of(&mut second).await, b"hello");
        second.respond.send_response(http::Response::new(()), true).unwrap();
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), full(b"hello"), None, &|_| ());
    let ((), response) = tokio::join!(server, ask);
    assert_eq!(response.unwrap().head.status, 200);
}

#[tokio::test(flavor = "local")]
async fn refused_stream_is_an_error_when_it_is_refused_again_and_again() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        for _ in 0..3 {
            asked.recv().await.unwrap().respond.send_reset(Reason::REFUSED_STREAM);
        }
    };
    let ((), response) = tokio::join!(server, get(&upstreams));
    let error = response.unwrap_err();
    assert_eq!(error.to_string(), "HTTP/2 stream reset by the upstream: REFUSED_STREAM");
    assert_eq!(error.cause().what(), "http2_error");
}

#[tokio::test(flavor = "local")]
async fn stream_is_not_sent_again_when_it_may_have_been_processed() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        asked.recv().await.unwrap().respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let ((), response) = tokio::join!(server, get(&upstreams));
    assert_eq!(response.unwrap_err().to_string(), "HTTP/2 stream reset by the upstream: INTERNAL_ERROR");
    assert!(asked.try_recv().is_err());
}

#[tokio::test(flavor = "local")]
async fn large_body_is_not_sent_again() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (upload, script) = scripted(None);
    (0..5).for_each(|_| script.send(vec![b'x'; 16 << 10]));
    script.end();
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        let mut seen = 0;
        while let Some(bytes) = asked.request.body_mut().data().await {
            let length = bytes.unwrap().len();
            seen += length;
            asked.request.body_mut().flow_control().release_capacity(length).unwrap();
        }
        assert_eq!(seen, 80 << 10);
        asked.respond.send_reset(Reason::REFUSED_STREAM);
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    assert!(tokio::join!(server, ask).1.is_err());
    assert!(asked.try_recv().is_err());
}

/// SETTINGS, and GOAWAY with last stream id 0 and NO_ERROR: stream 1 was not processed.
const GOAWAY_BEFORE_ANY: [u8; 26] =
    [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test(flavor = "local")]
async fn stream_above_the_last_of_a_goaway_is_sent_again() {
    let server = Server::start().await;
    let upstreams = server.client(HttpVersion::Http2);
    let serve = async {
        let mut leaving = server.accept().await.0;
        // Preface, SETTINGS and more: what matters is that the request is on its way.
        leaving.read_exact(&mut [0; 100]).await.unwrap();
        leaving.write_all(&GOAWAY_BEFORE_ANY).await.unwrap();
        let mut h2 = h2::server::handshake(server.accept().await.0).await.unwrap();
        let (mut request, mut respond) = h2.accept().await.unwrap().unwrap();
        let serving = async {
            assert_eq!(request.body_mut().data().await.unwrap().unwrap(), "hello");
            respond.send_response(http::Response::new(()), true).unwrap();
        };
        tokio::join!(serving, async { while h2.accept().await.is_some() {} });
    };
    let ask = async {
        let sent = upstreams.send(0, head(Method::POST, "/x"), full(b"hello"), None, &|_| ()).await;
        assert_eq!(sent.unwrap().head.status, 200);
        drop(upstreams);
    };
    tokio::join!(serve, ask);
}

#[tokio::test(flavor = "local")]
async fn stream_is_reset_when_its_body_is_dropped() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        (asked.begin(), asked)
    };
    let ((mut stream, _asked), response) = tokio::join!(server, get(&upstreams));
    drop(response);
    assert_eq!(reset_of(&mut stream).await, Reason::CANCEL);
}

#[tokio::test(flavor = "local")]
async fn stream_is_reset_when_the_exchange_is_dropped_before_its_head() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let mut exchange = Box::pin(get(&upstreams));
    let mut asked = tokio::select! {
        _ = &mut exchange => panic!("no head was sent"),
        asked = asked.recv() => asked.unwrap(),
    };
    drop(exchange);
    let reset = poll_fn(|cx| asked.respond.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, Reason::CANCEL);
}

/// The upstream answers early and takes no more of the upload; then the client leaves. hyper's task that sends
/// the upload waits for the window and would never learn of it.
#[tokio::test(flavor = "local")]
async fn stream_is_reset_when_its_body_is_dropped_while_the_upload_is_blocked() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (upload, script) = scripted(None);
    (0..16).for_each(|_| script.send(vec![b'x'; 16 << 10]));
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        (asked.begin(), asked)
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    let ((mut stream, _asked), response) = tokio::join!(server, ask);
    drop(response);
    assert_eq!(reset_of(&mut stream).await, Reason::CANCEL);
}

#[tokio::test(flavor = "local")]
async fn exchange_ends_when_the_request_body_breaks_off() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (upload, script) = scripted(None);
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        (asked.begin(), asked)
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    let ((mut stream, _asked), response) = tokio::join!(server, ask);
    script.fail();
    assert_eq!(read(&mut response.unwrap().body).await.unwrap_err().cause().what(), "request_body");
    assert_eq!(reset_of(&mut stream).await, Reason::CANCEL);

    let (upload, script) = scripted(None);
    script.fail();
    let sent = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()).await;
    assert_eq!(sent.unwrap_err().cause().what(), "request_body");
}

#[tokio::test(flavor = "local")]
async fn body_is_truncated_when_the_stream_is_reset_inside_it_even_without_an_error() {
    for (reason, code) in [(Reason::NO_ERROR, "truncated"), (Reason::INTERNAL_ERROR, "http2_error")] {
        let (_, mut asked, upstreams) = serve(Builder::new()).await;
        let server = async {
            let mut asked = asked.recv().await.unwrap();
            (asked.begin(), asked)
        };
        let ((mut stream, _asked), response) = tokio::join!(server, get(&upstreams));
        let mut body = response.unwrap().body;
        push(&mut stream, b"half").await;
        assert_eq!(data(&mut body).await, "half");
        stream.send_reset(reason);
        assert_eq!(read(&mut body).await.unwrap_err().cause().what(), code);
    }
}

#[tokio::test(flavor = "local")]
async fn requests_that_come_together_share_a_connection_up_to_its_bound() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let all = async {
        let upstreams = Rc::new(upstreams);
        let mut tasks = Vec::new();
        for _ in 0..65 {
            let upstreams = Rc::clone(&upstreams);
            tasks.push(tokio::task::spawn_local(async move { get(&upstreams).await.unwrap() }));
        }
        let mut open = Vec::new();
        for task in tasks {
            open.push(task.await.unwrap());
        }
        open
    };
    let server = async {
        let mut connections = [0; 2];
        let mut streams = Vec::new();
        for _ in 0..65 {
            let mut asked = asked.recv().await.unwrap();
            connections[asked.connection] += 1;
            streams.push((asked.begin(), asked));
        }
        (connections, streams)
    };
    let ((mut connections, _streams), _open) = tokio::join!(server, all);
    connections.sort_unstable();
    assert_eq!(connections, [1, 64]);
}

#[tokio::test(flavor = "local")]
async fn streams_that_ended_make_room_and_the_upstreams_own_bound_is_kept() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let (_, mut asked, upstreams) = serve(builder).await;
    let mut open = Vec::new();
    for (expected, drop_first) in [(0, false), (1, false), (0, true)] {
        if drop_first {
            open.remove(0);
        }
        let server = async {
            let mut asked = asked.recv().await.unwrap();
            assert_eq!(asked.connection, expected);
            (asked.begin(), asked)
        };
        let (stream, response) = tokio::join!(server, get(&upstreams));
        open.push((stream, response.unwrap()));
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn unused_connection_is_closed_by_time_alone() {
    let (closed, mut asked, upstreams) = serve(Builder::new()).await;
    let server = async {
        let mut asked = asked.recv().await.unwrap();
        asked.respond.send_response(http::Response::new(()), true).unwrap();
    };
    let ((), response) = tokio::join!(server, get(&upstreams));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(closed.get(), 0);
    drop(response);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(closed.get(), 1);
}

#[tokio::test(flavor = "local")]
async fn dead_connection_is_not_used_again() {
    let server = Server::start().await;
    let upstreams = server.client(HttpVersion::Http2);
    for _ in 0..2 {
        let serve = async {
            let mut h2 = h2::server::handshake(server.accept().await.0).await.unwrap();
            let (_, mut respond): (_, SendResponse<Bytes>) = h2.accept().await.unwrap().unwrap();
            respond.send_response(http::Response::new(()), true).unwrap();
            h2.graceful_shutdown();
            while h2.accept().await.is_some() {}
        };
        let ask = async { assert_eq!(get(&upstreams).await.unwrap().head.status, 200) };
        tokio::join!(serve, ask);
    }
}

/// A client uploads slowly; when the time for the head ran out first, it was the client's turn, so nothing ended.
/// Then the upstream stopped taking the upload, and nothing looked at the clock any more.
#[tokio::test(flavor = "local", start_paused = true)]
async fn head_timeout_runs_again_when_the_upstream_stops_taking_a_slow_upload() {
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let (upload, script) = scripted(None);
    let start = tokio::time::Instant::now();
    let upload_slowly = async {
        tokio::time::sleep(Duration::from_secs(400)).await;
        // More than the window, and the server never opens it.
        (0..8).for_each(|_| script.send(vec![b'x'; 16 << 10]));
        script
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, Some(Duration::from_secs(300)), &|_| ());
    let bounded = tokio::time::timeout(Duration::from_secs(3600), ask);
    let (sent, _script, _asked) = tokio::join!(bounded, upload_slowly, asked.recv());
    let error = sent.expect("an end").unwrap_err();
    assert_eq!((error.cause().what(), start.elapsed().as_secs()), ("timeout_response_head", 700));
}

#[tokio::test(flavor = "local")]
async fn requests_that_come_together_make_no_more_connections_than_they_need() {
    const TOGETHER: usize = 200;
    let (_, mut asked, upstreams) = serve(Builder::new()).await;
    let upstreams = Rc::new(upstreams);
    let mut tasks = Vec::new();
    for _ in 0..TOGETHER {
        let upstreams = Rc::clone(&upstreams);
        tasks.push(tokio::task::spawn_local(async move { get(&upstreams).await.unwrap() }));
    }
    let mut connections = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..TOGETHER {
        let mut asked = asked.recv().await.unwrap();
        connections.push(asked.connection);
        streams.push((asked.begin(), asked));
    }
    let mut open = Vec::new();
    for task in tasks {
        open.push(task.await.unwrap());
    }
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections, [0, 1, 2, 3]);
}
