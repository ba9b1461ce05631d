//! tidegate: a reverse proxy that makes the streams of AI upstreams just work for every client.
//!
//! # The life of a request
//!
//! The modules stand in the order in which a request meets them.
//!
//! 1. **Accept.** [`server::Server`] binds the listeners and accepts; each connection is placed on a
//!    [`server::worker::Worker`], one current-thread runtime per core, where it stays. `server::connection`
//!    tells HTTP/1.1 from HTTP/2, sets every limit, and lets hyper read heads.
//! 2. **Route.** [`proxy::handle`] is the page to read: it asks [`route::find`] for a route and
//!    [`auth::client`] whether the client may use it.
//! 3. **Forward.** [`proxy`] builds the head that goes up (hop-by-hop fields out, [injectors](auth::Injector)
//!    in), [`upstream::Upstreams::send`] connects or takes a pooled connection, sends, and returns the response
//!    head. The request body goes up as it arrives, watched for `"stream": true`.
//! 4. **Plan.** Intent, media type and settings become one [`stream::Plan`]: pass through, reframe, or let the
//!    first bytes tell.
//! 5. **Relay.** [`relay::Relay`] moves bytes from the source, [`upstream::Body`], through one
//!    [`stream::Session`] to the sink, [`relay::Body`]. All policy is in the session, which is pure: a
//!    [format](format::Format) decodes ([`codec`]) and [repairs](codec::repair), a [dialect](dialect::Dialect)
//!    watches for the first content and for the end, [shapes](shape::SHAPES) change what a route wants changed, a
//!    [bridge](bridge::Bridge) writes.
//!    An upstream that switches protocols ends HTTP there: `relay::Tunnel` moves the bytes of both sides.
//! 6. **Flush.** One event is one chunk; a DATA frame is one event, or all those of one read. What is ready leaves in one
//!    write. hyper makes DATA frames, and the chunks of what is there at once; from the first silence on, an HTTP/1.1
//!    stream has the socket to itself (`relay::takeover`), and hyper has it back after the last chunk.
//! 7. **Outcome.** However it ends, there is exactly one [`stream::Outcome`], and one [access line](log::Access).
//!
//! Beside the path stand [`profile`], what kinds of clients there are and what each needs, [`config`], [`cli`],
//! [`metrics`], and [`demo`], which shows all of this against a messy upstream.
//!
//! A client that leaves drops its connection's task, and with it everything above: the upstream's socket is
//! closed at once.

pub mod server;

pub mod route;

pub mod proxy;

pub mod auth;

pub mod upstream;

pub mod relay;

pub mod stream;

pub mod format;

pub mod codec;

pub mod dialect;

pub mod shape;

pub mod bridge;

pub mod profile;

pub mod config;

pub mod systemd;

pub mod cli;

pub mod demo;

pub mod manual;

pub mod log;

pub mod metrics;
