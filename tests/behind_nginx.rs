//! The README's recipe for nginx, for real: nginx before tidegate before an upstream, token by token.

use crate::support::client::{Call, Request};
use crate::support::network;
use crate::support::nginx::Nginx;
use crate::support::pages::{first_block, words_after};
use crate::support::tidegate::Launch;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn event_passes_nginx_before_the_next_is_sent() {
    let test = "behind_nginx::event_passes_nginx_before_the_next_is_sent";
    let Some(_network) = network::enter(test).await else { return };
    let recipe = first_block("README.md", "nginx");
    let ports = words_after(&recipe.text, "127.0.0.1:");
    let port = ports.first().expect("the recipe names tidegate's port");
    let location = recipe.text.split_whitespace().skip_while(|word| *word != "location").nth(1);
    let location = location.expect("the recipe names a location");

    let mut upstream = Upstream::start().await;
    let table = upstream.table("up");
    let text = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n{table}[[route]]\nupstream = \"up\"\n");
    let _tidegate = Launch::config(text).start().await;
    let nginx = Nginx::new(&recipe);
    let _child = nginx.start().await;

    let mut call =
        Call::start(&nginx.endpoint(), &Request::stream(&format!("{location}v1/chat/completions"))).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    assert_eq!(call.status().await, 200);
    for number in 0..20 {
        let event = format!("data: {{\"token\":{number}}}\n\n");
        exchange.chunk(event.as_bytes()).await;
        let mut got = Vec::new();
        while got.len() < event.len() {
            got.extend(call.piece().await.data);
        }
        assert_eq!(String::from_utf8_lossy(&got), event);
    }
    // Whoever leaves nginx leaves the upstream.
    drop(call);
    within("the upstream to be left", exchange.closed()).await;
}
