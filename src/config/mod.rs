//! The configuration that the rest of the program reads.
//!
//! Three stages, three types: [`table`] says which keys exist (once: the parser, `config.toml.example` and
//! the manual are all made from it), [`File`] is what a person typed, [`Config`] is what it means. Nothing
//! downstream of [`Config`] checks anything again. All mistakes of all stages come back together, as [`Mistakes`].

mod check;
pub mod example;
mod file;
mod forms;
mod mistake;
mod notes;
mod own;
mod profiles;
mod resolve;
mod rewrite;
mod secret;
mod switches;
pub mod table;
mod tls;
pub mod units;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};

pub use file::File;
pub use mistake::{Mistake, Mistakes, Source};
pub use notes::notes;
pub use profiles::{Errors, Profile, Profiles};
pub use resolve::read;
pub use rewrite::Rewrite;
pub use secret::Secret;

use crate::auth::Injector;
use crate::bridge::Bridge;
use crate::codec::repair::Repairs;
use crate::dialect::Dialect;
use crate::format::Format;
use crate::shape;
use crate::stream::{HeartbeatForm, Hold};

/// Reads and resolves a configuration file.
///
/// # Errors
/// Every mistake that was found, each with file and line.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    read(&Source::open(path)?).map(|(_, config)| config)
}

/// Resolves the text of a configuration file; `file_name` is what mistakes call it.
///
/// # Errors
/// Every mistake that was found, each with file and line.
pub fn parse(text: &str, file_name: &str) -> Result<Config, Mistakes> {
    read(&Source::file(file_name, text)).map(|(_, config)| config)
}

/// Everything that a running tidegate needs to know. Immutable; shared by all workers.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// The upstreams, in the order of their names. [`Route::upstream`] is an index into this list.
    pub upstreams: Vec<Upstream>,
    /// The routes, most specific first: the first that matches wins (see [`crate::route`]).
    pub routes: Vec<Route>,
    /// Threads that carry streams. At least one.
    pub workers: usize,
    /// Whether streams over HTTP/1.1 are written without hyper.
    pub takeover: bool,
    /// Peers whose `X-Forwarded-*` and `Forwarded` headers are believed and extended.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Timeouts that belong to no route.
    pub timeouts: ServerTimeouts,
    /// Bounds of the process and of each connection.
    pub limits: Limits,
    /// Where the counts of the process are read; `None` = nowhere, the default.
    pub metrics: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::level_filters::LevelFilter,
}

/// A place where clients connect.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The address to bind.
    pub address: ListenAddress,
    /// Set if clients speak TLS here.
    pub tls: Option<ServerTls>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`; all addresses that the host resolved to when the config was read.
    Tcp(Vec<SocketAddr>),
    /// `unix:PATH`. A stale socket file is replaced.
    Unix(PathBuf),
}

/// Certificate and key of a TLS listener, read and checked when the config was resolved.
#[derive(Clone)]
pub struct ServerTls {
    /// PEM file of the full chain, leaf first.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// Ready to accept with: ALPN `h2` and `http/1.1`, TLS 1.2 and 1.3.
    pub config: Arc<rustls::ServerConfig>,
}

/// A server that tidegate stands in front of.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in the config and in the log.
    pub name: String,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// TLS, for `https` URLs.
    pub tls: Option<ClientTls>,
    /// The `Host` (or `:authority`) that it is sent, from its URL; `localhost` for Unix sockets.
    pub authority: Authority,
    /// Path that is put before every request path; empty or `/…` without a slash at the end.
    pub base_path: String,
    /// Which HTTP version to speak.
    pub http: HttpVersion,
    /// Bound for one TCP or Unix connect attempt, all addresses together. Default 5 s.
    pub connect_timeout: Duration,
    /// Bound for the TLS handshake. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// How long an unused connection is kept; below the 5 s after which many servers close theirs. Default 4 s.
    pub idle_timeout: Duration,
    /// Unused connections kept per worker. Default 32.
    pub max_idle: usize,
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port; the name is resolved at each connect, all its addresses are tried.
    Tcp {
        /// Name or address literal (IPv6 without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// TLS towards an upstream.
#[derive(Clone)]
pub struct ClientTls {
    /// The name that its certificate must carry; also the SNI.
    pub name: rustls::pki_types::ServerName<'static>,
    /// Roots: the system's, or the `ca` file. ALPN follows [`Upstream::http`].
    pub config: Arc<rustls::ClientConfig>,
}

/// HTTP version towards an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// By ALPN for `https`, HTTP/1.1 otherwise. The default.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; with prior knowledge where there is no TLS.
    Http2,
}

/// Which requests go to which upstream, and how their streams are treated.
#[derive(Debug)]
pub struct Route {
    /// Its name in the log: the `name` key, else its path.
    pub name: String,
    /// Lower-case host without port; `None` matches every host.
    pub host: Option<String>,
    /// Which paths match.
    pub path: PathMatch,
    /// Which methods match; empty means all.
    pub methods: Vec<http::Method>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// What happens to the path on its way up.
    pub rewrite: Rewrite,
    /// `Host` sent upstream: `false` = the upstream's authority (default), `true` = the client's.
    pub preserve_host: bool,
    /// Put into each request that goes up, in this order.
    pub injectors: Vec<Box<dyn Injector>>,
    /// Who may use this route.
    pub client_auth: ClientAuth,
    /// Whether the client's own credentials are removed: default `true` exactly where `injectors` is not empty.
    pub strip_client_credentials: bool,
    /// How responses are turned into streams, for each profile that a request may choose.
    pub profiles: Profiles,
    /// Timeouts of a request on this route.
    pub timeouts: RouteTimeouts,
    /// Largest request body in bytes; a longer one is 413. Default 64 MiB.
    pub max_request_body: u64,
}

/// A path condition. Matching is on segment boundaries: `/v1` matches `/v1` and `/v1/x`, not `/v1beta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path or its beginning; without a slash at the end, the root is the empty string.
    Prefix(String),
}

/// Who may use a route.
#[derive(Debug)]
pub enum ClientAuth {
    /// Everybody who can connect.
    None,
    /// Who presents this key (see [`crate::auth::client`]).
    Key(Secret),
}

/// How responses on a route are turned into streams, for clients of one profile.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// What the upstream sends.
    pub format: FormatSetting,
    /// Whether a declared character set other than UTF-8 is converted. Default yes.
    pub transcode: bool,
    /// Whether a space after `data:` is data. Default no, as the standard says.
    pub literal_space: bool,
    /// What is changed in the events; `None` = nothing, the default.
    pub shapes: Option<Arc<shape::Settings>>,
    /// What is put right in event streams. Default: what can do no harm.
    pub repair: RepairSetting,
    /// What the events mean; `None` = found by path, confirmed by one of the first events.
    pub dialect: Option<&'static Dialect>,
    /// Whether a stream is wanted; `None` = found by `Accept`, body and media type.
    pub intent: Option<bool>,
    /// What must have come before the head leaves, and how long that may take. Default: nothing.
    pub hold: Option<Hold>,
    /// How long the upstream may take to answer before the client's stream is opened without it; `None` = for ever, the
    /// default.
    pub early_head: Option<Duration>,
    /// Silence after which a heartbeat is written; `None` = never. Default 15 s.
    pub heartbeat: Option<Duration>,
    /// How clients are written to; `None` = found by `Accept`, body and dialect.
    pub bridge: Option<&'static Bridge>,
    /// The query parameter by which a client chooses that itself; `None` = it cannot, the default.
    pub bridge_query: Option<String>,
    /// Whether a whole answer in place of the stream that was asked for becomes one. Default no.
    pub fake_stream: bool,
    /// What it looks like, and comments with it. Default: a comment line.
    pub heartbeat_form: HeartbeatForm,
    /// How a client is told that there is no stream. Default: by a status.
    pub errors: Errors,
    /// Longest event in bytes; past it the stream ends with an error. Default 64 MiB.
    pub max_event_bytes: usize,
}

/// Where the format of a stream is taken from.
#[derive(Debug, Clone, Copy)]
pub enum FormatSetting {
    /// From the bytes of a stream response, else from its media type. The default.
    Auto,
    /// Bodies pass through untouched.
    Off,
    /// Always this one.
    Fixed(&'static Format),
}

/// Which repairs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairSetting {
    /// Those that can do no harm to the stream at hand.
    pub auto: bool,
    /// These in any case.
    pub named: Repairs,
}

/// Timeouts of a request. `None` = off.
#[derive(Debug, Clone)]
pub struct RouteTimeouts {
    /// From the end of the request head to the first byte of the response head. Default 5 min.
    pub response_head: Option<Duration>,
    /// From the response head to the first event. Default 10 min.
    pub first_event: Option<Duration>,
    /// From the response head to the first content. Default off.
    pub first_content: Option<Duration>,
    /// Longest silence of the upstream inside a body, from its first byte on; every byte counts, comments too. Default
    /// 5 min.
    pub event_gap: Option<Duration>,
    /// Longest silence of the client inside a request body. Default 30 s.
    pub request_body_idle: Option<Duration>,
    /// The whole request; of one that becomes a tunnel, until it does. Default off.
    pub total: Option<Duration>,
    /// Longest silence of a tunnel, both ways together. Default 10 min.
    pub tunnel_idle: Option<Duration>,
    /// Longest life of a tunnel. Default off.
    pub tunnel_total: Option<Duration>,
}

/// Timeouts that are needed before a route is known, or that belong to the process.
#[derive(Debug, Clone)]
pub struct ServerTimeouts {
    /// TLS handshake of a client. Default 10 s.
    pub tls_handshake: Duration,
    /// The first bytes of a connection, each request head, and idle keep-alive. Default 10 s.
    pub request_head: Duration,
    /// A client that takes nothing of what is ready for it. Default 60 s.
    pub client_write_stall: Duration,
    /// From SIGTERM to the end of streams that still run. Default 10 min.
    pub drain: Duration,
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Request head in bytes. Default 32 KiB.
    pub max_head_bytes: usize,
    /// Headers of a request. Default 100.
    pub max_headers: usize,
    /// Client connections of the process. Default 16384.
    pub max_connections: usize,
    /// Client connections from one address. Default 4096.
    pub max_connections_per_client: usize,
    /// Request body bytes per second that a client must come to; 0 = no bound. Default 256.
    pub min_body_rate: u64,
    /// Bytes of unfinished events and decoders of coded bodies in the whole process. Default 512 MiB.
    pub max_carry_total: usize,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `key=value` pairs. The default.
    Logfmt,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Whether a peer with this address is one of [`Config::trusted_proxies`].
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// The path and query to send upstream for `path_and_query` on `route`: rewritten, base path before it.
    ///
    /// # Errors
    /// If the result is not a valid path; it cannot be for paths that [`crate::route`] let through.
    pub fn upstream_path(
        &self,
        route: &Route,
        path_and_query: &PathAndQuery,
    ) -> Result<PathAndQuery, http::uri::InvalidUri> {
        let base = self.upstreams[route.upstream].base_path.as_str();
        if route.rewrite == Rewrite::None && base.is_empty() {
            return Ok(path_and_query.clone());
        }
        let rewritten = route.rewrite.of(path_and_query.path());
        let slash = if base.is_empty() && !rewritten.starts_with('/') { "/" } else { "" };
        let query = path_and_query.query().map(|query| format!("?{query}")).unwrap_or_default();
        PathAndQuery::try_from(format!("{base}{slash}{rewritten}{query}"))
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(base: &str, route: &str, path: &str) -> String {
        let text = format!("upstream.a.url = 'http://127.0.0.1:1{base}'\n[[route]]\nupstream = 'a'\n{route}");
        let config = parse(&text, "config.toml").unwrap();
        config.upstream_path(&config.routes[0], &path.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn path_goes_up_as_it_is_below_the_base_path() {
        assert_eq!(sent("", "", "/v1/x?y=/z"), "/v1/x?y=/z");
        assert_eq!(sent("/base/", "", "/v1"), "/base/v1");
    }

    #[test]
    fn prefix_is_stripped_in_whole_segments() {
        let route = "path = '/api'\nstrip_prefix = true";
        assert_eq!(sent("", route, "/api/v1?a"), "/v1?a");
        assert_eq!(sent("", route, "/api"), "/");
        assert_eq!(sent("/base", route, "/api"), "/base");
        assert_eq!(sent("", route, "/apiary"), "/apiary");
    }

    #[test]
    fn prefix_is_rewritten_in_whole_segments() {
        let route = "path = '/old'\nrewrite = { from = '/old', to = '/new' }";
        assert_eq!(sent("", route, "/old/x"), "/new/x");
        assert_eq!(sent("/base", route, "/old"), "/base/new");
        assert_eq!(sent("", route, "/older"), "/older");
        let route = "rewrite = { from = '/', to = '/all' }";
        assert_eq!(sent("", route, "/x"), "/all/x");
        let route = "rewrite = { from = '/v1', to = '/' }";
        assert_eq!(sent("", route, "/v1/x"), "/x");
    }
}
