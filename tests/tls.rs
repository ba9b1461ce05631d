//! TLS towards clients: versions, and handshakes that are nobody else's business.

use crate::support::certs::Certs;
use crate::support::client::{Call, Request};
use crate::support::tidegate::{Launch, config};
use crate::support::upstream::Upstream;
use crate::support::wire::{Endpoint, Wire};

/// tidegate with a listener for TLS before `upstream`.
fn listening(upstream: &Upstream, certs: &Certs, settings: &str) -> Launch {
    let tls = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n\n", certs.listener_tls());
    Launch::config(tls + &config(upstream, settings))
}

/// Old devices of mini-programs have no TLS 1.3.
#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let certs = Certs::new();
    let mut upstream = Upstream::start().await;
    let proxy = listening(&upstream, &certs, "").start().await;
    let Endpoint::Tls(address, _) = proxy.https(&certs, &["http/1.1"]) else { panic!("a TLS listener") };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let endpoint = Endpoint::Tls(address, certs.client_of(&[version], &["http/1.1"]));
        let mut call = Call::start(&endpoint, &Request::get("/")).await;
        upstream.request().await.answer(200, &[], b"ok").await;
        assert_eq!(call.status().await, 200, "{version:?}");
    }
}

/// A handshake awaited by the acceptor would stop everybody else.
#[tokio::test]
async fn handshake_that_does_not_come_holds_nobody_up() {
    let certs = Certs::new();
    let mut upstream = Upstream::start().await;
    let settings = "\n[server]\nworkers = 1\n[timeouts]\ntls_handshake = \"10m\"";
    let proxy = listening(&upstream, &certs, settings).start().await;
    let Endpoint::Tls(address, _) = proxy.https(&certs, &[]) else { panic!("a TLS listener") };
    let _silent =
        [Wire::connect(&Endpoint::Tcp(address)).await, Wire::connect(&Endpoint::Tcp(address)).await];
    let mut call = Call::start(&proxy.https(&certs, &["http/1.1"]), &Request::get("/")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(call.status().await, 200);
}
