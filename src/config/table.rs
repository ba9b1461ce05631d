//! Every key of the configuration, once.
//!
//! The check of a document (`check`), the defaults, `config.toml.example` ([`super::example`]) and
//! the manual are all made from [`KEYS`]. A key that is not here does not exist.

use super::forms;
use super::units::{Size, Time};

/// One key: where it is, what it takes, what it means.
#[derive(Debug)]
pub struct Key {
    /// Its place: `upstream.*.connect_timeout`, where `*` is any name.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What happens without it.
    pub presence: Presence,
    /// What it means.
    pub meaning: &'static str,
    /// What happens at the edges; empty if nothing needs saying.
    pub edges: &'static str,
}

/// What happens if a key is not there. The texts are TOML.
#[derive(Debug, Clone, Copy)]
pub enum Presence {
    /// This value is taken.
    Default(&'static str),
    /// That is a mistake; an example.
    Required(&'static str),
    /// It has no value; an example.
    Optional(&'static str),
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A table: `[key]`, or inline.
    Table,
    /// A list of tables: `[[key]]`, or inline.
    Tables,
    /// Tables with names of the user's choice: `[key.NAME]`.
    Named,
    /// These keys of the top-level table of the same name, for one route alone. Defaults come from there.
    Own(&'static [&'static str]),
    /// Text in a form; the function says what is wrong and what to write.
    Text(&'static str, fn(&str) -> Result<(), String>),
    /// A list of such texts.
    Texts(&'static str, fn(&str) -> Result<(), String>),
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// A duration from a least to a longest; `off` if allowed.
    Time {
        /// The least.
        min: &'static str,
        /// The longest.
        max: &'static str,
        /// Whether `off` is allowed.
        off: bool,
    },
    /// A size from a least to a largest.
    Size {
        /// The least.
        min: &'static str,
        /// The largest.
        max: &'static str,
    },
    /// A whole number from a least to a largest; `auto` if allowed.
    Count {
        /// The least.
        min: i64,
        /// The largest.
        max: i64,
        /// Whether `auto` is allowed.
        auto: bool,
    },
    /// `true` or `false`.
    Switch,
}

impl Key {
    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The table that it stands in, as a path; empty at the top. Inside named tables it ends in `.*`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Valid TOML for the value: the default, or an example.
    pub fn sample(&self) -> &'static str {
        match self.presence {
            Presence::Default(text) | Presence::Required(text) | Presence::Optional(text) => text,
        }
    }
}

impl Kind {
    /// What the key takes, in words.
    pub fn describe(&self) -> String {
        let or = |allowed: bool, word: &str| if allowed { format!(", or {word:?}") } else { String::new() };
        match self {
            Kind::Table | Kind::Own(_) => "table".to_owned(),
            Kind::Tables => "list of tables".to_owned(),
            Kind::Named => "tables with names".to_owned(),
            Kind::Text(form, _) => (*form).to_owned(),
            Kind::Texts(form, _) => format!("list of: {form}"),
            Kind::Word(words) => super::mistake::quoted(&words()).replace(", ", " | "),
            Kind::Time { min, max, off } => format!("time from {min} to {max}{}", or(*off, "off")),
            Kind::Size { min, max } => format!("size from {min} to {max}"),
            Kind::Count { min, max, auto } => format!("number from {min} to {max}{}", or(*auto, "auto")),
            Kind::Switch => "true | false".to_owned(),
        }
    }
}

/// The keys that may stand in a section, in the order of the table.
pub fn keys_of(section: &str) -> Vec<&'static Key> {
    let own = section.strip_prefix("route.").and_then(|top| match find("route", top)?.kind {
        Kind::Own(names) => Some(names.iter().filter_map(|name| find(top, name)).collect()),
        _ => None,
    });
    own.unwrap_or_else(|| KEYS.iter().filter(|key| key.section() == section).collect())
}

/// The key of this name in a section.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section() == section && key.name() == name)
}

/// How a section is written: `[timeouts]`, `[[route]]`, `[upstream.NAME]`.
pub fn written(section: &str) -> String {
    let Some(key) = KEYS.iter().find(|key| key.path == section.trim_end_matches(".*")) else {
        return "the top of the file".to_owned();
    };
    match key.kind {
        Kind::Tables => format!("[[{section}]]"),
        _ => format!("[{}]", section.replace('*', "NAME")),
    }
}

const fn key(
    path: &'static str,
    kind: Kind,
    presence: Presence,
    meaning: &'static str,
    edges: &'static str,
) -> Key {
    Key { path, kind, presence, meaning, edges }
}

const fn time(min: &'static str, max: &'static str) -> Kind {
    Kind::Time { min, max, off: false }
}

const fn time_or_off(min: &'static str, max: &'static str) -> Kind {
    Kind::Time { min, max, off: true }
}

const fn count(min: i64, max: i64) -> Kind {
    Kind::Count { min, max, auto: false }
}

const FILE: Kind = Kind::Text("path of a file", forms::something);
const SECRET: Kind = Kind::Text("reference to a secret", |text| super::Secret::parse(text).map(drop));

use Presence::{Default, Optional, Required};

/// The table.
pub static KEYS: &[Key] = &[
    key(
        "listener",
        Kind::Tables,
        Default("[{}]"),
        "A place where clients connect. There can be several.",
        "",
    ),
    key(
        "listener.address",
        Kind::Text("\"HOST:PORT\" or \"unix:PATH\"", |text| forms::address(text).map(drop)),
        Default(r#""127.0.0.1:8080""#),
        "Where to listen.",
        "All addresses of a name are bound. Port 0 takes any free port. A stale socket file is replaced.",
    ),
    key(
        "listener.tls",
        Kind::Table,
        Optional(r#"{ cert = "/etc/tidegate/cert.pem", key = "/etc/tidegate/key.pem" }"#),
        "Clients speak TLS 1.2 or 1.3 here, with HTTP/2 or HTTP/1.1 by ALPN.",
        "Without it clients speak clear text, HTTP/1.1 or HTTP/2 with prior knowledge.",
    ),
    key(
        "listener.tls.cert",
        FILE,
        Required(r#""/etc/tidegate/cert.pem""#),
        "PEM file with the full chain, leaf first.",
        "",
    ),
    key(
        "listener.tls.key",
        FILE,
        Required(r#""/etc/tidegate/key.pem""#),
        "PEM file with the private key of the leaf.",
        "",
    ),
    key("upstream", Kind::Named, Required("{}"), "A server behind tidegate. Routes name it.", ""),
    key(
        "upstream.*.url",
        Kind::Text("\"http://HOST[:PORT][/BASE]\", \"https://…\" or \"unix:PATH\"", |text| {
            forms::url(text).map(drop)
        }),
        Required(r#""http://127.0.0.1:11434""#),
        "Where it is. The base path is put before the path of every request.",
        "A name is resolved at each connect, and all of its addresses are tried.",
    ),
    key(
        "upstream.*.ca",
        FILE,
        Optional(r#""/etc/tidegate/private-ca.pem""#),
        "PEM file with the certificate authorities to trust instead of the system's. For https.",
        "",
    ),
    key(
        "upstream.*.http",
        Kind::Word(|| vec!["auto", "1.1", "2"]),
        Default(r#""auto""#),
        "The HTTP version to speak.",
        "\"auto\" is the one agreed on by ALPN over TLS, and 1.1 without. \"2\" without TLS is HTTP/2 with prior \
         knowledge.",
    ),
    key(
        "upstream.*.connect_timeout",
        time("1ms", "10m"),
        Default(r#""5s""#),
        "Longest wait for a connection, name resolution and all addresses together.",
        "Past it the client gets 504.",
    ),
    key(
        "upstream.*.tls_handshake_timeout",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest TLS handshake.",
        "Past it the client gets 504.",
    ),
    key(
        "upstream.*.idle_timeout",
        time("1ms", "24h"),
        Default(r#""4s""#),
        "How long an unused connection is kept.",
        "Keep it below the time after which the server closes its own side; 5s is common there.",
    ),
    key(
        "upstream.*.max_idle",
        count(0, 65_536),
        Default("32"),
        "Unused connections that each worker keeps.",
        "With 0 every request makes a connection.",
    ),
    key(
        "route",
        Kind::Tables,
        Required("[{}]"),
        "Which requests go to which upstream. The most specific route wins: one with a host before one without, then \
         an exact path before a prefix, then the longer path, then one with methods before one without.",
        "A request that no route matches gets 404.",
    ),
    key(
        "route.name",
        Kind::Text("text", forms::something),
        Optional(r#""chat""#),
        "What the route is called in the log. Its path by default.",
        "",
    ),
    key(
        "route.host",
        Kind::Text("host name or address, without port", |text| forms::host(text).map(drop)),
        Optional(r#""ai.example.com""#),
        "The host that a request must ask for. Every host by default.",
        "",
    ),
    key(
        "route.path",
        Kind::Text("\"/PREFIX\" or \"=/EXACT\"", |text| forms::path(text).map(drop)),
        Default(r#""/""#),
        "The path of a request, or its beginning.",
        "A prefix matches whole segments: \"/v1\" matches /v1 and /v1/models, not /v1beta. \"=/v1\" matches /v1 alone.",
    ),
    key(
        "route.methods",
        Kind::Texts("HTTP method", |text| forms::method(text).map(drop)),
        Default("[]"),
        "The methods that match, such as [\"GET\", \"POST\"].",
        "Empty: all.",
    ),
    key(
        "route.upstream",
        Kind::Text("name of an upstream", forms::something),
        Required(r#""ollama""#),
        "Where the requests go.",
        "",
    ),
    key(
        "route.strip_prefix",
        Kind::Switch,
        Default("false"),
        "Removes the route's path prefix from the path that goes up.",
        "",
    ),
    key(
        "route.rewrite",
        Kind::Table,
        Optional(r#"{ from = "/openai", to = "/v1" }"#),
        "Replaces the beginning of the path that goes up.",
        "A path that does not begin with `from` goes up as it is.",
    ),
    key(
        "route.rewrite.from",
        Kind::Text("\"/PREFIX\"", |text| forms::prefix(text).map(drop)),
        Required(r#""/openai""#),
        "What is replaced: whole segments.",
        "",
    ),
    key(
        "route.rewrite.to",
        Kind::Text("\"/PREFIX\"", |text| forms::prefix(text).map(drop)),
        Required(r#""/v1""#),
        "What is put in its place.",
        "\"/\" removes it.",
    ),
    key(
        "route.host_header",
        Kind::Word(|| vec!["upstream", "preserve"]),
        Default(r#""upstream""#),
        "The Host that goes up: the one of the upstream's URL, or the client's.",
        "",
    ),
    key(
        "route.inject",
        Kind::Tables,
        Default("[]"),
        "Credentials (and other headers) that are put into each request that goes up, such as \
         [{ bearer = \"env:OPENAI_API_KEY\" }]. Each entry has one of bearer, header, query and basic. A secret is \
         named, not written: \"env:NAME\" is an environment variable, \"file:PATH\" a file that is read again when it \
         changes, \"cred:NAME\" a systemd credential.",
        "The client's own credentials are removed then (client_credentials). An upstream that answers 401 or 403 to \
         an injected credential is reported as 502.",
    ),
    key(
        "route.inject.bearer",
        SECRET,
        Optional(r#""env:OPENAI_API_KEY""#),
        "Sets `Authorization: Bearer SECRET`.",
        "",
    ),
    key(
        "route.inject.header",
        Kind::Text("header name", |text| forms::header_name(text).map(drop)),
        Optional(r#""x-team""#),
        "Sets this header to `value`.",
        "A header that is known to carry credentials takes only a secret.",
    ),
    key(
        "route.inject.query",
        Kind::Text("name of a query parameter", forms::something),
        Optional(r#""key""#),
        "Sets this query parameter to `value`, which is a secret.",
        "",
    ),
    key(
        "route.inject.value",
        Kind::Text("reference to a secret, or for a header any text", |text| forms::content(text).map(drop)),
        Optional(r#""env:GEMINI_API_KEY""#),
        "The value for `header` or `query`.",
        "",
    ),
    key(
        "route.inject.basic",
        Kind::Table,
        Optional(r#"{ user = "proxy", password = "env:UPSTREAM_PASSWORD" }"#),
        "Sets `Authorization: Basic` with this user and password.",
        "",
    ),
    key(
        "route.inject.basic.user",
        Kind::Text("text without a colon", |text| match text.contains(':') {
            // RFC 7617 2: the first colon ends the user.
            true => Err("holds a colon, which ends the user in Basic credentials".to_owned()),
            false => Ok(()),
        }),
        Required(r#""proxy""#),
        "The user.",
        "",
    ),
    key("route.inject.basic.password", SECRET, Required(r#""env:UPSTREAM_PASSWORD""#), "The password.", ""),
    key(
        "route.client_key",
        SECRET,
        Optional(r#""env:TIDEGATE_CLIENT_KEY""#),
        "The key that clients must show, as `Authorization: Bearer` or as `x-api-key`.",
        "Others get 401. It never goes up.",
    ),
    key(
        "route.auth",
        Kind::Word(|| vec!["none"]),
        Optional(r#""none""#),
        "\"none\" says that everybody may use this route.",
        "Needed where a route injects a secret, has no client_key, and a listener is open to other machines.",
    ),
    key(
        "route.client_credentials",
        Kind::Word(|| vec!["strip", "pass"]),
        Optional(r#""strip""#),
        "Whether credentials in a client's request are removed or go up. By default \"strip\" where something is \
         injected, \"pass\" elsewhere.",
        "",
    ),
    key(
        "route.max_request_body",
        Kind::Size { min: "0B", max: "16TiB" },
        Default(r#""64MiB""#),
        "Largest request body.",
        "A larger one gets 413.",
    ),
    key(
        "route.stream",
        Kind::Own(&["format", "charset", "repair", "dialect", "intent", "heartbeat", "max_event_bytes"]),
        Default("{}"),
        "Keys of [stream] for this route alone, such as { heartbeat = \"5s\" }.",
        "",
    ),
    key(
        "route.timeouts",
        Kind::Own(&["response_head", "first_event", "event_gap", "request_body_idle", "total"]),
        Default("{}"),
        "Keys of [timeouts] for this route alone, such as { total = \"10m\" }.",
        "",
    ),
    key("stream", Kind::Table, Default("{}"), "How streams are treated, on all routes.", ""),
    key(
        "stream.format",
        Kind::Word(|| with_names(&["auto", "off"], crate::format::FORMATS.iter().map(|format| format.name))),
        Default(r#""auto""#),
        "What upstreams send. \"auto\" is found out by the bytes of each stream, then by the media type.",
        "\"off\" passes every body through untouched. A body that is no stream passes whatever stands here. \"text\" and \
         \"text-json\" are never found out: they must be chosen.",
    ),
    key(
        "stream.charset",
        Kind::Word(|| vec!["declared", "utf-8"]),
        Default(r#""declared""#),
        "The character set of streams. \"declared\" is the one that the media type names: another than UTF-8 is \
         converted.",
        "An unknown name counts as UTF-8. \"utf-8\" ignores what is declared: event streams are UTF-8 by their standard.",
    ),
    key(
        "stream.repair",
        Kind::Texts("\"auto\", \"all\", or a repair that `tidegate formats` lists", |text| {
            let names = crate::codec::repair::REPAIRS.iter().map(|entry| entry.name);
            forms::word(text, &with_names(&["auto", "all"], names))
        }),
        Default(r#"["auto"]"#),
        "What is put right in event streams. \"auto\" is what can do no harm: more where the path or `dialect` says that \
         every event is JSON.",
        "[] changes nothing. [\"auto\", \"glued\"] adds one to those. Each repair is counted in the access line.",
    ),
    key(
        "stream.dialect",
        Kind::Word(|| with_names(&["auto"], crate::dialect::DIALECTS.iter().map(|dialect| dialect.name))),
        Default(r#""auto""#),
        "What the events mean: how a stream ends, and how an error is said in it.",
        "\"auto\" is found by the path of the request and confirmed by the first event.",
    ),
    key(
        "stream.intent",
        Kind::Word(|| vec!["auto", "stream", "plain"]),
        Default(r#""auto""#),
        "Whether requests want a stream. \"auto\" looks at Accept, at `\"stream\": true` in a JSON body, and at the \
         media type of the response.",
        "",
    ),
    key(
        "stream.heartbeat",
        time_or_off("1ms", "24h"),
        Default(r#""15s""#),
        "Silence after which a comment is sent to the client, so that nothing on the way gives the stream up.",
        "",
    ),
    key(
        "stream.max_event_bytes",
        Kind::Size { min: "64B", max: "1GiB" },
        Default(r#""64MiB""#),
        "Longest event.",
        "A longer one ends the stream with an error.",
    ),
    key("timeouts", Kind::Table, Default("{}"), "Timeouts, in the order in which they can run out.", ""),
    key(
        "timeouts.tls_handshake",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest TLS handshake of a client.",
        "Past it the connection is closed.",
    ),
    key(
        "timeouts.request_head",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest wait for the first bytes of a connection, for each request head, and between requests.",
        "Past it the connection is closed.",
    ),
    key(
        "timeouts.request_body_idle",
        time_or_off("1ms", "24h"),
        Default(r#""30s""#),
        "Longest silence of a client inside a request body.",
        "Past it the client gets 408.",
    ),
    key(
        "timeouts.response_head",
        time_or_off("1ms", "24h"),
        Default(r#""5m""#),
        "Longest wait for an upstream's response head, after the request. Models that think take minutes.",
        "Past it the client gets 504.",
    ),
    key(
        "timeouts.first_event",
        time_or_off("1ms", "24h"),
        Default(r#""10m""#),
        "Longest time from the response head to the first event of a stream.",
        "Past it the stream ends with an error.",
    ),
    key(
        "timeouts.event_gap",
        time_or_off("1ms", "24h"),
        Default(r#""5m""#),
        "Longest silence of an upstream inside a response body. Every byte counts, comments too.",
        "Past it the stream ends with an error.",
    ),
    key(
        "timeouts.client_write_stall",
        time("1ms", "24h"),
        Default(r#""1m""#),
        "How long a client may take nothing of what is ready for it.",
        "Past it the connection is closed.",
    ),
    key(
        "timeouts.total",
        time_or_off("1ms", "168h"),
        Default(r#""off""#),
        "Longest request, from its head to the last byte of the response.",
        "Past it the client gets 504, or the stream ends with an error.",
    ),
    key(
        "timeouts.drain",
        time("0s", "24h"),
        Default(r#""10m""#),
        "How long running streams may go on after SIGTERM.",
        "Past it, or at a second signal, they end with an error.",
    ),
    key("limits", Kind::Table, Default("{}"), "Bounds of the process and of each connection.", ""),
    key(
        "limits.max_head_bytes",
        Kind::Size { min: "8KiB", max: "1MiB" },
        Default(r#""32KiB""#),
        "Largest request head.",
        "A larger one gets 431.",
    ),
    key(
        "limits.max_headers",
        count(1, 10_000),
        Default("100"),
        "Most headers of a request.",
        "More get 431.",
    ),
    key(
        "limits.max_connections",
        count(1, 10_000_000),
        Default("16384"),
        "Most client connections at a time.",
        "Past it new ones wait in the backlog of the listener.",
    ),
    key(
        "limits.max_carry_total",
        Kind::Size { min: "1MiB", max: "1TiB" },
        Default(r#""512MiB""#),
        "Most memory for unfinished events, all streams together.",
        "Past it the stream that asks for more ends with an error.",
    ),
    key("server", Kind::Table, Default("{}"), "The process.", ""),
    key(
        "server.workers",
        Kind::Count { min: 1, max: 1024, auto: true },
        Default(r#""auto""#),
        "Threads that carry streams.",
        "\"auto\" is one for each core that the process may use.",
    ),
    key(
        "server.trusted_proxies",
        Kind::Texts("network, such as \"10.0.0.0/8\", or address", |text| forms::network(text).map(drop)),
        Default("[]"),
        "Peers whose X-Forwarded-* and Forwarded headers are believed and extended.",
        "From all others these headers are replaced. A peer on a Unix socket counts as 127.0.0.1.",
    ),
    key("log", Kind::Table, Default("{}"), "The log, on standard error.", ""),
    key(
        "log.format",
        Kind::Word(|| vec!["logfmt", "json"]),
        Default(r#""logfmt""#),
        "How a line looks: key=value pairs, or one JSON object.",
        "",
    ),
    key(
        "log.level",
        Kind::Word(|| vec!["error", "warn", "info", "debug", "trace"]),
        Default(r#""info""#),
        "Which lines there are. One line for each request is at info.",
        "The content of streams appears at trace only, secrets never.",
    ),
];

fn with_names(words: &[&'static str], names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    words.iter().copied().chain(names).collect()
}

/// Whether a value lies in a range that the table gives as text.
pub(super) fn in_time_range(value: Time, min: &str, max: &str) -> bool {
    min.parse::<Time>().is_ok_and(|min| min <= value) && max.parse::<Time>().is_ok_and(|max| value <= max)
}

/// Whether a value lies in a range that the table gives as text.
pub(super) fn in_size_range(value: Size, min: &str, max: &str) -> bool {
    min.parse::<Size>().is_ok_and(|min| min <= value) && max.parse::<Size>().is_ok_and(|max| value <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_stands_once_below_its_section() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..index].iter().any(|other| other.path == key.path), "{} twice", key.path);
            let section = key.section().trim_end_matches(".*");
            assert!(
                section.is_empty() || KEYS[..index].iter().any(|other| other.path == section),
                "{}",
                key.path
            );
        }
        assert!(KEYS.len() > 60, "{}", KEYS.len());
    }

    #[test]
    fn key_is_explained_in_sentences() {
        for key in KEYS {
            assert!(key.meaning.ends_with('.'), "{}", key.path);
            assert!(key.edges.is_empty() || key.edges.ends_with('.'), "{}", key.path);
            assert!(!key.kind.describe().is_empty());
        }
    }

    #[test]
    fn section_of_a_route_has_the_keys_of_the_top() {
        let names = |section| keys_of(section).iter().map(|key| key.path).collect::<Vec<_>>();
        assert_eq!(names("route.stream"), names("stream"));
        assert!(names("route.timeouts").contains(&"timeouts.total"));
        assert!(!names("route.timeouts").contains(&"timeouts.drain"));
    }

    #[test]
    fn ranges_of_the_table_are_ranges() {
        for key in KEYS {
            match key.kind {
                Kind::Time { min, max, .. } => {
                    assert!(min.parse::<Time>().unwrap() < max.parse().unwrap(), "{}", key.path);
                }
                Kind::Size { min, max } => {
                    assert!(min.parse::<Size>().unwrap() < max.parse().unwrap(), "{}", key.path);
                }
                Kind::Count { min, max, .. } => assert!(min < max, "{}", key.path),
                _ => {}
            }
        }
    }
}
