//! Exchanges with raw sockets: the test plays the server, step by step.

use std::task::Waker;

use http::Method;

use super::super::tests::{Server, data, get, head, read, rest};
use super::super::upload::tests::{full, scripted, scripted_with};
use super::super::{Body, Upstreams};
use super::*;
use crate::config::HttpVersion;

async fn client() -> (Server, Upstreams) {
    let server = Server::start().await;
    let upstreams = server.client(HttpVersion::Auto);
    (server, upstreams)
}

/// What a client sees of `response`, after which the server closes.
async fn exchange(response: &str) -> Result<Response, Error> {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write(response).await;
    };
    tokio::join!(serve, get(&upstreams)).1
}

/// Whether a second request goes over the connection of the first, which was answered with `response`.
async fn is_kept(method: Method, response: &str) -> bool {
    let (server, upstreams) = client().await;
    let ok = "HTTP/1.1 204 No Content\r\n\r\n";
    let ask = async {
        let sent = upstreams.send(0, head(method, "/first"), Upload::empty(), None, &|_| ()).await;
        rest(&mut sent.unwrap().body).await.unwrap();
        upstreams.send(0, head(Method::GET, "/second"), Upload::empty(), None, &|_| ()).await.unwrap();
    };
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write(response).await;
        tokio::select! {
            biased;
            mut other = server.accept() => {
                assert!(other.head().await.contains("/second"));
                other.write(ok).await;
                false
            }
            head = peer.head() => {
                assert!(head.contains("/second"));
                peer.write(ok).await;
                true
            }
        }
    };
    tokio::join!(serve, ask).0
}

#[tokio::test(flavor = "local")]
async fn request_and_response_go_through_in_full() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        let head = peer.read_until("\r\n\r\nhello").await;
        assert_eq!(head, "POST /x HTTP/1.1\r\nhost: up.example\r\ncontent-length: 5\r\n\r\nhello");
        peer.write("HTTP/1.1 201 Made\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\nabc")
            .await;
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), full(b"hello"), None, &|_| ());
    let ((), response) = tokio::join!(serve, ask);
    let mut response = response.unwrap();
    assert_eq!(response.head.status, 201);
    assert_eq!(response.head.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(rest(&mut response.body).await.unwrap(), b"abc");
}

#[tokio::test(flavor = "local")]
async fn request_body_streams_while_the_response_streams() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted(None);
    let (step, mut steps) = tokio::sync::mpsc::channel(1);
    let serve = async {
        let mut peer = server.accept().await;
        assert!(peer.head().await.contains("transfer-encoding: chunked\r\n"));
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for word in ["one", "two", "three"] {
            step.send(word).await.unwrap();
            peer.read_until(&format!("{:x}\r\n{word}\r\n", word.len())).await;
            peer.write(&format!("{:x}\r\n{word}\r\n", word.len())).await;
        }
        drop(step);
        peer.read_until("0\r\n\r\n").await;
        peer.write("0\r\n\r\n").await;
    };
    let ask = async {
        let mut response = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()).await.unwrap();
        while let Some(word) = steps.recv().await {
            script.send(word);
            assert_eq!(data(&mut response.body).await, word);
        }
        script.end();
        assert!(matches!(read(&mut response.body).await.unwrap(), Read::End));
    };
    tokio::join!(serve, ask);
}

#[tokio::test(flavor = "local")]
async fn early_answer_is_delivered_when_the_upstream_refuses_the_rest_of_the_upload() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted(Some(1 << 30));
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        // Closed with the upload unread: a reset.
        drop(peer);
        for _ in 0..64 {
            script.send(vec![0; 64 << 10]);
        }
    };
    script.send("the beginning");
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    let ((), response) = tokio::join!(serve, ask);
    let mut response = response.unwrap();
    assert_eq!(response.head.status, 413);
    assert_eq!(rest(&mut response.body).await.unwrap(), b"big");
}

#[tokio::test(flavor = "local")]
async fn early_answer_is_delivered_while_the_upstream_takes_nothing_more() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted(None);
    for _ in 0..256 {
        script.send(vec![0; 64 << 10]);
    }
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        peer
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    let (mut peer, response) = tokio::join!(serve, ask);
    let mut response = response.unwrap();
    assert_eq!(response.head.status, 413);
    assert_eq!(rest(&mut response.body).await.unwrap(), b"big");
    // The upload is not complete, so the connection is of no more use.
    peer.closed().await;
}

#[tokio::test(flavor = "local")]
async fn interim_responses_are_dropped() {
    let bytes =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall";
    let mut response = exchange(bytes).await.unwrap();
    assert_eq!(response.head.status, 200);
    assert!(response.head.headers.is_empty());
    assert_eq!(rest(&mut response.body).await.unwrap(), b"all");
}

#[tokio::test(flavor = "local")]
async fn zoo_framings_are_understood() {
    let twice = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n\
                 4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(rest(&mut exchange(twice).await.unwrap().body).await.unwrap(), b"body");
    let padded = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n\
                  9   \r\nsome body\r\n0  \r\n\r\n";
    assert_eq!(rest(&mut exchange(padded).await.unwrap().body).await.unwrap(), b"some body");
}

#[tokio::test(flavor = "local")]
async fn body_is_truncated_when_the_connection_ends_inside_it() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcd",
    ] {
        let mut body = exchange(bytes).await.unwrap().body;
        assert_eq!(data(&mut body).await, "abcd");
        assert!(matches!(read(&mut body).await, Err(Error::Truncated { source: None })), "{bytes:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn head_that_never_comes_is_an_error_by_name() {
    for bytes in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        assert_eq!(exchange(bytes).await.unwrap_err().cause().what(), "closed_before_head");
    }
    assert_eq!(exchange("SSH-2.0-OpenSSH\r\n\r\n").await.unwrap_err().cause().what(), "malformed");
}

#[tokio::test(flavor = "local")]
async fn end_in_the_same_read_is_told_without_another_read() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        peer
    };
    let (mut peer, response) = tokio::join!(serve, get(&upstreams));
    let mut body = response.unwrap().body;
    peer.write("3\r\none\r\n3\r\ntwo\r\n0\r\nX: y\r\n\r\n").await;
    assert_eq!(data(&mut body).await, "onetwo");
    // A read would have to wait for the reactor: what is ready now was remembered.
    let mut cx = Context::from_waker(Waker::noop());
    let mut buffer = [0; 10];
    let polled = body.poll_read(&mut cx, &mut buffer);
    assert!(matches!(polled, Poll::Ready(Ok(Read::Trailers(map))) if map["x"] == "y"));
    assert!(body.is_end());
    assert!(matches!(body.poll_read(&mut cx, &mut buffer), Poll::Ready(Ok(Read::End))));
}

#[tokio::test(flavor = "local")]
async fn read_of_nothing_but_framing_is_not_told() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        peer
    };
    let (mut peer, response) = tokio::join!(serve, get(&upstreams));
    let mut body = response.unwrap().body;
    peer.write("3\r\n").await;
    peer.0.readable().await.err();
    let mut polled = 0;
    let write_later = async {
        tokio::task::yield_now().await;
        peer.write("abc").await;
    };
    let reading = poll_fn(|cx| {
        polled += 1;
        body.poll_read(cx, &mut [0; 10])
    });
    let (read, ()) = tokio::join!(reading, write_later);
    assert!(matches!(read.unwrap(), Read::Data(3)));
}

#[tokio::test(flavor = "local")]
async fn body_larger_than_the_buffer_comes_in_pieces() {
    let large = "x".repeat(3000);
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{large}");
    let mut body = exchange(&response).await.unwrap().body;
    assert_eq!(rest(&mut body).await.unwrap(), large.as_bytes());
}

#[tokio::test(flavor = "local")]
async fn connection_is_kept_exactly_when_the_response_ended_cleanly() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert!(is_kept(Method::GET, length).await);
    assert!(is_kept(Method::GET, chunked).await);
    assert!(is_kept(Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").await);
    assert!(is_kept(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await);
    for (what, response) in [
        ("bytes after a length", format!("{length}x")),
        ("bytes after the last chunk", format!("{chunked}x")),
        ("bytes after a head", "HTTP/1.1 204 No Content\r\n\r\nx".to_owned()),
        ("close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_owned()),
        ("HTTP/1.0", length.replace("1.1", "1.0")),
        ("both framings", chunked.replace("\r\nT", "\r\nContent-Length: 2\r\nT")),
    ] {
        assert!(!is_kept(Method::GET, &response).await, "{what}");
    }
}

#[tokio::test(flavor = "local")]
async fn connection_is_closed_at_once_when_the_exchange_is_dropped_before_its_head() {
    let (server, upstreams) = client().await;
    let (upload, _script) = scripted(None);
    let mut exchange = Box::pin(upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()));
    let asked = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer
    };
    let mut peer = tokio::select! {
        _ = &mut exchange => panic!("no head was sent"),
        peer = asked => peer,
    };
    drop(exchange);
    peer.closed().await;
}

#[tokio::test(flavor = "local")]
async fn connection_is_closed_at_once_when_the_body_is_dropped() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1").await;
        peer
    };
    let (mut peer, response) = tokio::join!(serve, get(&upstreams));
    drop(response);
    peer.closed().await;
}

/// A kept connection whose death showed only at the first write: nothing was sent, so even a POST goes again.
#[tokio::test(flavor = "local")]
async fn request_is_sent_again_when_a_kept_connection_takes_no_byte() {
    let (server, upstreams) = client().await;
    let dead = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let _its_peer = server.accept().await;
    socket2::SockRef::from(&dead).shutdown(std::net::Shutdown::Write).unwrap();
    upstreams.pools[0].put(Io::Tcp(dead));
    let serve = async {
        let mut peer = server.accept().await;
        peer.read_until("\r\n\r\nhello").await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), full(b"hello"), None, &|_| ());
    let ((), response) = tokio::join!(serve, ask);
    assert_eq!(response.unwrap().head.status, 204);
}

/// The client's body broke off before a byte of the request was sent on a kept connection. Sent again, the body
/// would look complete where it broke.
#[tokio::test(flavor = "local")]
async fn request_is_not_sent_again_when_its_own_body_broke_off() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        peer.closed().await;
    };
    let ask = async {
        get(&upstreams).await.unwrap();
        let (upload, script) = scripted(None);
        script.fail();
        script.end();
        let timeout = Some(Duration::from_secs(1));
        upstreams.send(0, head(Method::POST, "/x"), upload, timeout, &|_| ()).await
    };
    let ((), response) = tokio::join!(serve, ask);
    assert_eq!(response.unwrap_err().cause().what(), "request_body");
    server.assert_no_more().await;
}

#[tokio::test(flavor = "local")]
async fn request_is_not_sent_again_when_bytes_of_it_were_written() {
    let (server, upstreams) = client().await;
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        // On the kept connection now.
        peer.head().await;
    };
    let ask = async {
        get(&upstreams).await.unwrap();
        upstreams.send(0, head(Method::POST, "/x"), full(b"hello"), None, &|_| ()).await
    };
    let ((), response) = tokio::join!(serve, ask);
    assert_eq!(response.unwrap_err().cause().what(), "closed_before_head");
    server.assert_no_more().await;
}

#[tokio::test(flavor = "local")]
async fn exchange_ends_when_the_request_body_breaks_off() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted(None);
    let serve = async {
        let mut peer = server.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        peer
    };
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ());
    let (mut peer, response) = tokio::join!(serve, ask);
    let mut body: Body = response.unwrap().body;
    script.fail();
    let error = read(&mut body).await.unwrap_err();
    assert_eq!((error.cause().what(), error.cause().who()), ("request_body", crate::stream::Who::Client));
    drop(body);
    peer.closed().await;
}

#[tokio::test(flavor = "local")]
async fn request_body_that_is_not_as_long_as_declared_is_an_error() {
    for pieces in [&["too", "long"][..], &["to"]] {
        let (server, upstreams) = client().await;
        let (upload, script) = scripted(Some(3));
        // The declared bytes may be out already; what counts is that nothing is sent beyond them.
        pieces.iter().for_each(|piece| script.send(*piece));
        script.end();
        let ask = async {
            let sent = upstreams.send(0, head(Method::POST, "/x"), upload, None, &|_| ()).await;
            drop(upstreams);
            sent
        };
        let serve = async {
            let mut peer = server.accept().await;
            let head = peer.head().await;
            assert!(head.contains("content-length: 3\r\n"));
            let mut body = [0; 8];
            let length = tokio::io::AsyncReadExt::read(&mut peer.0, &mut body).await.unwrap();
            assert!(body[..length].starts_with(pieces[0].as_bytes()) && length <= 3);
        };
        assert!(tokio::join!(serve, ask).1.is_err());
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn silence_of_the_client_inside_its_body_is_its_own_timeout() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted_with(None, u64::MAX, Some(Duration::from_secs(30)));
    script.send("x");
    let serve = async { server.accept().await.closed().await };
    let ask = async {
        let head_timeout = Some(Duration::from_secs(10));
        let sent = upstreams.send(0, head(Method::POST, "/x"), upload, head_timeout, &|_| ()).await;
        drop(upstreams);
        sent.unwrap_err()
    };
    let start = Instant::now();
    let ((), error) = tokio::join!(serve, ask);
    assert_eq!((error.cause().what(), error.cause().status().as_u16()), ("timeout_request_body_idle", 408));
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn head_timeout_runs_when_the_upstream_takes_no_more_of_the_upload() {
    let (server, upstreams) = client().await;
    let (upload, script) = scripted(None);
    for _ in 0..256 {
        script.send(vec![0; 64 << 10]);
    }
    let ask = upstreams.send(0, head(Method::POST, "/x"), upload, Some(Duration::from_secs(10)), &|_| ());
    let serve = async { server.accept().await };
    let (_peer, response) = tokio::join!(serve, ask);
    assert_eq!(response.unwrap_err().cause().what(), "timeout_response_head");
}

/// Two events and nonsense behind them once came in one read, and the events were lost with the nonsense.
#[tokio::test(flavor = "local")]
async fn data_in_front_of_broken_framing_is_read_before_the_error() {
    let response = exchange("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    let mut response = response.await.unwrap();
    assert_eq!(data(&mut response.body).await, "hello");
    assert!(!response.body.is_end());
    let error = read(&mut response.body).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { what: "a bad chunk size" }), "{error}");
}

#[tokio::test(flavor = "local")]
async fn te_is_sent_as_an_option_of_the_connection() {
    let (server, upstreams) = client().await;
    let ask = async {
        let mut head = head(Method::GET, "/");
        head.headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
        upstreams.send(0, head, Upload::empty(), None, &|_| ()).await.unwrap();
    };
    let serve = async {
        let mut peer = server.accept().await;
        let head = peer.head().await.to_ascii_lowercase();
        assert!(head.contains("\r\nte: trailers\r\n") && head.contains("\r\nconnection: te\r\n"), "{head}");
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    };
    tokio::join!(ask, serve);
}
