//! A configuration as typed, with its defaults.
//!
//! [`File`] has the shape of the TOML document, field by key. It is only built from a document that
//! [`super::check`] has completed, so every key that has a default has a value here. What the values mean
//! together (does the upstream exist, can the secret be read) is for [`super::resolve`].
//! Written out again it is what `tidegate check` prints: a valid configuration with nothing left to defaults.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeTable;

use super::forms::{self, Content};
use super::mistake::{Collector, Mistakes, Source};
use super::own::OwnProfiles;
use super::switches::Switches;
use super::units::{CountOrAuto, Size, Time, TimeOrOff};
use super::{LogFormat, PathMatch, Secret, check};

/// The whole document.
#[derive(Debug, Serialize, Deserialize)]
pub struct File {
    pub(super) listener: Vec<Listener>,
    pub(super) upstream: BTreeMap<String, Upstream>,
    pub(super) route: Vec<Spanned<Route>>,
    /// Those of the operator; once the document is resolved, what is to be shown of all that requests may choose.
    pub(super) profile: OwnProfiles,
    pub(super) stream: Stream,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) server: Server,
    pub(super) metrics: Metrics,
    pub(super) log: Log,
}

/// `[[listener]]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) address: Spanned<String>,
    pub(super) tls: Option<Tls>,
}

/// `listener.tls`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Tls {
    pub(super) cert: Spanned<String>,
    pub(super) key: Spanned<String>,
}

/// `[upstream.NAME]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Upstream {
    pub(super) url: Spanned<String>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) http: HttpVersion,
    pub(super) connect_timeout: Time,
    pub(super) tls_handshake_timeout: Time,
    pub(super) idle_timeout: Time,
    pub(super) max_idle: usize,
}

/// `upstream.*.http`
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum HttpVersion {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "1.1")]
    Http1,
    #[serde(rename = "2")]
    Http2,
}

/// `[[route]]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) name: Option<String>,
    pub(super) host: Option<String>,
    pub(super) path: Spanned<String>,
    pub(super) methods: Spanned<Vec<String>>,
    pub(super) upstream: Spanned<String>,
    pub(super) strip_prefix: Spanned<bool>,
    pub(super) rewrite: Option<Spanned<Rewrite>>,
    pub(super) host_header: HostHeader,
    pub(super) inject: Vec<Spanned<Inject>>,
    pub(super) client_key: Option<Spanned<Secret>>,
    pub(super) auth: Option<Spanned<Auth>>,
    pub(super) client_credentials: Option<ClientCredentials>,
    pub(super) max_request_body: Size,
    pub(super) stream: Stream,
    pub(super) timeouts: RouteTimeouts,
}

/// `route.rewrite`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rewrite {
    pub(super) from: String,
    pub(super) to: String,
}

/// `route.host_header`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HostHeader {
    Upstream,
    Preserve,
}

/// `route.auth`
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    None,
}

/// `route.client_credentials`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientCredentials {
    Strip,
    Pass,
}

/// `[[route.inject]]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inject {
    pub(super) bearer: Option<Spanned<Secret>>,
    pub(super) header: Option<Spanned<String>>,
    pub(super) query: Option<Spanned<String>>,
    pub(super) value: Option<Spanned<Content>>,
    pub(super) basic: Option<Basic>,
}

impl Inject {
    /// Whether it puts in a credential, and not just a header.
    fn is_secret(&self) -> bool {
        let is_literal = |value: &Spanned<Content>| matches!(value.get_ref(), Content::Literal(_));
        !self.value.as_ref().is_some_and(is_literal)
    }
}

/// `route.inject.basic`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Basic {
    pub(super) user: String,
    pub(super) password: Spanned<Secret>,
}

/// `[stream]`, `[route.stream]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) format: String,
    pub(super) charset: Charset,
    pub(super) repair: Vec<String>,
    pub(super) dialect: String,
    pub(super) intent: Intent,
    pub(super) max_event_bytes: Size,
    pub(super) bridge: String,
    pub(super) bridge_query: String,
    pub(super) fake_stream: bool,
    pub(super) data_space: DataSpace,
    pub(super) done_from: Vec<String>,
    pub(super) to_delta: String,
    pub(super) profile: Spanned<String>,
    pub(super) profile_header: bool,
    /// Where nothing is written, a profile decides.
    #[serde(flatten)]
    pub(super) switches: Switches,
}

/// `stream.data_space`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DataSpace {
    Standard,
    Literal,
}

/// `stream.charset`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Charset {
    #[serde(rename = "declared")]
    Declared,
    #[serde(rename = "utf-8")]
    Utf8,
}

/// `stream.intent`
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Intent {
    Auto,
    Stream,
    Plain,
}

/// `[timeouts]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Timeouts {
    pub(super) tls_handshake: Time,
    pub(super) request_head: Time,
    #[serde(flatten)]
    pub(super) route: RouteTimeouts,
    pub(super) client_write_stall: Time,
    pub(super) drain: Time,
}

/// `[route.timeouts]`, and the part of `[timeouts]` that it takes its defaults from
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RouteTimeouts {
    pub(super) request_body_idle: TimeOrOff,
    pub(super) response_head: TimeOrOff,
    pub(super) first_event: TimeOrOff,
    pub(super) first_content: TimeOrOff,
    pub(super) event_gap: TimeOrOff,
    pub(super) total: TimeOrOff,
    pub(super) tunnel_idle: TimeOrOff,
    pub(super) tunnel_total: TimeOrOff,
}

/// `[limits]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) max_head_bytes: Size,
    pub(super) max_headers: usize,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_client: usize,
    pub(super) min_body_rate: Size,
    pub(super) max_carry_total: Size,
}

/// `[server]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) workers: CountOrAuto,
    pub(super) takeover: Takeover,
    pub(super) trusted_proxies: Vec<String>,
}

/// `server.takeover`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Takeover {
    On,
    Off,
}

/// `[metrics]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Metrics {
    pub(super) address: Spanned<String>,
}

/// `[log]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) format: LogFormat,
    pub(super) level: String,
}

impl File {
    /// Reads a document, checks it against the key table and fills in the defaults. Mistakes go to `found`.
    ///
    /// # Errors
    /// The text is not TOML; nothing else can be said about it then.
    pub(super) fn read(source: &Source, found: &mut Collector<'_>) -> Result<File, Mistakes> {
        let (mut document, errors) = DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            let mut found = Collector::new(source);
            for error in errors {
                let span = error.span().unwrap_or(0..0);
                // The name of a key may be shown; anything else in a broken line may be a secret.
                let key =
                    if error.message() == "duplicate key" { source.text().get(span.clone()) } else { None };
                found.add(span, key.unwrap_or_default(), format_args!("not TOML: {}", error.message()));
            }
            return match found.finish() {
                Err(mistakes) => Err(mistakes),
                Ok(()) => Err(Mistakes::one(source.place(&(0..0)), "not TOML")),
            };
        }
        check::document(document.get_mut(), found);
        let mut file = File::deserialize(toml::de::Deserializer::from(document)).map_err(|error| {
            Mistakes::one(source.place(&error.span().unwrap_or(0..0)), error.message().to_owned())
        })?;
        for route in &mut file.route {
            route.get_mut().complete();
        }
        file.route.sort_by_key(|route| route.get_ref().rank());
        Ok(file)
    }

    /// The document as TOML: every key that has a value, secrets by reference. What a route leaves to profiles stands in
    /// these.
    ///
    /// # Errors
    /// It cannot be written as TOML, which does not happen to a `File` that was read.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl Route {
    /// Fills in the defaults that follow from other keys.
    fn complete(&mut self) {
        self.name.get_or_insert_with(|| self.path.get_ref().clone());
        self.client_credentials.get_or_insert(
            match self.inject.iter().any(|inject| inject.get_ref().is_secret()) {
                true => ClientCredentials::Strip,
                false => ClientCredentials::Pass,
            },
        );
    }

    /// Sorts the most specific first: host, exact path, longer path, methods; then the order of the file.
    fn rank(&self) -> (bool, bool, Reverse<usize>, bool) {
        let (prefix, length) = match forms::path(self.path.get_ref()) {
            Ok(PathMatch::Exact(path)) => (false, path.len()),
            Ok(PathMatch::Prefix(path)) => (true, path.len()),
            Err(_) => (true, 0),
        };
        (self.host.is_none(), prefix, Reverse(length), self.methods.get_ref().is_empty())
    }
}
