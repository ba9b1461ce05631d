//! A relay with a real upstream, for the tests of this folder.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{Relay, Source};
use crate::codec::mask::Secrets;
use crate::config::Config;
use crate::log::Access;
use crate::proxy::Trailers;
use crate::route::fixture;
use crate::server::client::Client;
use crate::server::worker::Worker;
use crate::stream::{Mode, Plan, Session};
use crate::upstream::Upload;

fn plan(mode: Mode, worker: &Worker) -> Plan {
    Plan {
        known_ai: true,
        heartbeat: Some(Duration::from_secs(15)),
        first_event: Some(Duration::from_secs(600)),
        event_gap: Some(Duration::from_secs(300)),
        share: worker.budget.share(),
        ..Plan::plain(mode)
    }
}

/// A relay whose upstream has sent a head, and the upstream's end of the connection. Its access line is to be
/// captured: a line written without a subscriber can switch off that of a test on another thread.
pub(crate) async fn relay(mode: Mode) -> (Box<Relay>, TcpStream) {
    relay_behind(mode, "").await
}

/// [`relay`] whose upstream has sent `begun` too, in the same write as the head.
pub(super) async fn relay_behind(mode: Mode, begun: &str) -> (Box<Relay>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config: Config = fixture::config(Vec::new());
    config.upstreams[0].endpoint =
        crate::config::Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
    let worker = crate::server::testing::worker(config);
    tokio::task::spawn_local(worker.streams.clone().keep_time());
    let head = http::Request::get("/").header("host", "up.example").body(()).unwrap().into_parts().0;
    let client = Rc::new(Client::new(None, None, false));
    let access = Access::new(Rc::clone(&worker), client, &head, "id".into());
    let answer = async {
        let mut peer = listener.accept().await.unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(peer.read_u8().await.unwrap());
        }
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        peer.write_all(format!("{head}{begun}").as_bytes()).await.unwrap();
        peer
    };
    let (response, peer) =
        tokio::join!(worker.upstreams.send(0, head, Upload::empty(), None, &|_| ()), answer);
    let session = Session::new(plan(mode, &worker), Instant::now().into_std());
    let takes = HeaderMap::from_iter([(http::header::TE, "trailers".parse().unwrap())]);
    let allowed = Trailers::new(&takes, Secrets::new(vec![b"sk-canary".to_vec()]));
    (Relay::new(Source::Body(response.unwrap().body), session, allowed, access), peer)
}
