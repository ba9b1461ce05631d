//! Every key of the configuration, once.
//!
//! The check of a document (`check`), the defaults, `config.toml.example` ([`super::example`]) and
//! the manual are all made from [`KEYS`]. A key that is not here does not exist.

use super::forms;
use super::units::{Size, Time};
use crate::stream::Cause;

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
    /// A value that shows its use, for the manual; empty where the one of [`Presence`] does.
    pub example: &'static str,
    /// Keys of the same table that the example needs beside it, as lines of TOML.
    pub beside: &'static str,
    /// How a request ends that meets the bound.
    pub causes: &'static [Cause],
    /// Keys that have to do with it.
    pub see: &'static [&'static str],
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
    /// What the client's profile says; this value where it says nothing.
    Profile(&'static str),
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
    /// Tables with names of the user's choice, of these keys of `[stream]`: `[profile.NAME]`.
    Profiles(&'static [&'static str]),
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

    /// Shows its use with this value.
    const fn example(mut self, value: &'static str) -> Key {
        self.example = value;
        self
    }

    /// Its example needs these lines beside it.
    const fn beside(mut self, lines: &'static str) -> Key {
        self.beside = lines;
        self
    }

    /// A request that meets its bound ends so.
    const fn causes(mut self, causes: &'static [Cause]) -> Key {
        self.causes = causes;
        self
    }

    /// These keys have to do with it.
    const fn see(mut self, keys: &'static [&'static str]) -> Key {
        self.see = keys;
        self
    }

    /// Valid TOML for the value: the default, or an example.
    pub fn sample(&self) -> &'static str {
        match self.presence {
            Presence::Default(text)
            | Presence::Required(text)
            | Presence::Optional(text)
            | Presence::Profile(text) => text,
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
            Kind::Named | Kind::Profiles(_) => "tables with names".to_owned(),
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
    let named = |top: &str, names: &[&str]| -> Vec<&'static Key> {
        names.iter().filter_map(|name| find(top, name)).collect()
    };
    let own = section.strip_prefix("route.").and_then(|top| match find("route", top)?.kind {
        Kind::Own(names) => Some(named(top, names)),
        _ => None,
    });
    let own = own.or_else(|| match find("", section.strip_suffix(".*")?)?.kind {
        Kind::Profiles(names) => {
            let own = KEYS.iter().filter(|key| key.section() == section);
            Some(own.chain(named("stream", names)).collect())
        }
        _ => None,
    });
    own.unwrap_or_else(|| KEYS.iter().filter(|key| key.section() == section).collect())
}

/// The keys of `[stream]` that a profile decides.
pub fn switches() -> impl Iterator<Item = &'static Key> {
    keys_of("profile.*").into_iter().filter(|key| key.section() == "stream")
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
    Key { path, kind, presence, meaning, edges, example: "", beside: "", causes: &[], see: &[] }
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
const POINTER: Kind = Kind::Text("JSON pointer, or \"off\"", |text| forms::pointer(text).map(drop));
const SECRET: Kind = Kind::Text("reference to a secret", |text| super::Secret::parse(text).map(drop));

use Presence::{Default, Optional, Profile, Required};

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
        "All addresses of a name are bound. Port 0 takes any free port. A stale socket file is replaced. \
         An address that other machines reach needs client_key or auth on every route that injects a \
         secret.",
    )
    .example(r#""0.0.0.0:8080""#)
    .see(&["route.client_key", "route.auth"]),
    key(
        "listener.tls",
        Kind::Table,
        Optional(r#"{ cert = "/etc/tidegate/cert.pem", key = "/etc/tidegate/key.pem" }"#),
        "Clients speak TLS 1.2 or 1.3 here, with HTTP/2 or HTTP/1.1 by ALPN.",
        "Without it clients speak clear text, HTTP/1.1 or HTTP/2 with prior knowledge.",
    )
    .see(&["timeouts.tls_handshake"]),
    key(
        "listener.tls.cert",
        FILE,
        Required(r#""/etc/tidegate/cert.pem""#),
        "PEM file with the full chain, leaf first.",
        "A file that cannot be read, or does not fit the key, is a mistake in the configuration.",
    ),
    key(
        "listener.tls.key",
        FILE,
        Required(r#""/etc/tidegate/key.pem""#),
        "PEM file with the private key of the leaf.",
        "The same.",
    ),
    key("upstream", Kind::Named, Required("{}"), "A server behind tidegate. Routes name it.", ""),
    key(
        "upstream.*.url",
        Kind::Text("\"http://HOST[:PORT][/BASE]\", \"https://…\" or \"unix:PATH\"", |text| {
            forms::url(text).map(drop)
        }),
        Required(r#""http://127.0.0.1:11434""#),
        "Where it is. The base path is put before the path of every request.",
        "A name is resolved at each connect, and all of its addresses are tried. If none answers, the \
         client gets 502.",
    )
    .see(&["route.rewrite", "upstream.*.ca"])
    .causes(&[Cause::UpstreamResolveFailed, Cause::UpstreamConnectFailed]),
    key(
        "upstream.*.ca",
        FILE,
        Optional(r#""/etc/tidegate/private-ca.pem""#),
        "PEM file with the certificate authorities to trust instead of the system's. For https.",
        "A certificate that none of them signed ends in 502.",
    )
    .beside(r#"url = "https://ai.internal""#)
    .causes(&[Cause::UpstreamTlsFailed]),
    key(
        "upstream.*.http",
        Kind::Word(|| vec!["auto", "1.1", "2"]),
        Default(r#""auto""#),
        "The HTTP version to speak.",
        "\"auto\" is the one agreed on by ALPN over TLS, and 1.1 without. \"2\" without TLS is HTTP/2 \
         with prior knowledge.",
    )
    .example(r#""2""#)
    .causes(&[Cause::UpstreamHttp2Error]),
    key(
        "upstream.*.connect_timeout",
        time("1ms", "10m"),
        Default(r#""5s""#),
        "Longest wait for a connection, name resolution and all addresses together.",
        "Past it the client gets 504.",
    )
    .example(r#""2s""#)
    .causes(&[Cause::UpstreamTimeoutConnect]),
    key(
        "upstream.*.tls_handshake_timeout",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest TLS handshake.",
        "Past it the client gets 504.",
    )
    .example(r#""5s""#)
    .causes(&[Cause::UpstreamTimeoutTlsHandshake]),
    key(
        "upstream.*.idle_timeout",
        time("1ms", "24h"),
        Default(r#""4s""#),
        "How long an unused connection is kept.",
        "Past it the connection is closed; no request sees it. Keep it below the time after which the \
         server closes its own side; 5s is common there.",
    )
    .example(r#""55s""#)
    .see(&["upstream.*.max_idle"]),
    key(
        "upstream.*.max_idle",
        count(0, 65_536),
        Default("32"),
        "Unused connections that each worker keeps.",
        "More are closed after use. With 0 every request makes a connection.",
    )
    .example(r#"128"#)
    .see(&["upstream.*.idle_timeout"]),
    key(
        "route",
        Kind::Tables,
        Required("[{}]"),
        "Which requests go to which upstream. The most specific route wins: one with a host before one \
         without, then an exact path before a prefix, then the longer path, then one with methods before \
         one without.",
        "A request that no route matches gets 404.",
    )
    .causes(&[Cause::ClientNoRoute]),
    key(
        "route.name",
        Kind::Text("text", forms::something),
        Optional(r#""chat""#),
        "What the route is called in the log. Its path by default.",
        "",
    )
    .see(&["log.format"]),
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
        "A prefix matches whole segments: \"/v1\" matches /v1 and /v1/models, not /v1beta. \"=/v1\" \
         matches /v1 alone.",
    )
    .example(r#""/v1""#),
    key(
        "route.methods",
        Kind::Texts("HTTP method", |text| forms::method(text).map(drop)),
        Default("[]"),
        "The methods that match, such as [\"GET\", \"POST\"].",
        "Empty: all. GET takes HEAD too. A path that has routes, but none for the method, gets 405.",
    )
    .example(r#"["GET", "POST"]"#)
    .causes(&[Cause::ClientMethodNotAllowed]),
    key(
        "route.upstream",
        Kind::Text("name of an upstream", forms::something),
        Required(r#""ollama""#),
        "Where the requests go.",
        "A name without an [upstream.NAME] is a mistake in the configuration.",
    ),
    key(
        "route.strip_prefix",
        Kind::Switch,
        Default("false"),
        "Removes the route's path prefix from the path that goes up.",
        "/openai/v1/models goes up as /v1/models. Not beside rewrite.",
    )
    .example(r#"true"#)
    .beside(r#"path = "/openai""#)
    .see(&["route.rewrite"]),
    key(
        "route.rewrite",
        Kind::Table,
        Optional(r#"{ from = "/openai", to = "/v1" }"#),
        "Replaces the beginning of the path that goes up.",
        "A path that does not begin with `from` goes up as it is.",
    )
    .see(&["route.strip_prefix"]),
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
    )
    .example(r#""preserve""#),
    key(
        "route.inject",
        Kind::Tables,
        Default("[]"),
        "Credentials (and other headers) that are put into each request that goes up, such as [{ bearer = \
         \"env:OPENAI_API_KEY\" }]. Each entry has one of bearer, header, query and basic. A secret is \
         named, not written: \"env:NAME\" is an environment variable, \"file:PATH\" a file that is read \
         again when it changes, \"cred:NAME\" a systemd credential.",
        "The client's own credentials are removed where a secret is injected (client_credentials). An upstream that answers 401 \
         or 403 to an injected credential is reported as 502.",
    )
    .example(r#"[{ bearer = "env:OPENAI_API_KEY" }]"#)
    .see(&["route.client_key", "route.client_credentials"])
    .causes(&[Cause::UpstreamAuth, Cause::UpstreamEncodedError, Cause::TidegateCredentialUnavailable]),
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
    )
    .beside(r#"value = "research""#),
    key(
        "route.inject.query",
        Kind::Text("name of a query parameter", forms::something),
        Optional(r#""key""#),
        "Sets this query parameter to `value`, which is a secret.",
        "",
    )
    .beside(r#"value = "env:GEMINI_API_KEY""#),
    key(
        "route.inject.value",
        Kind::Text("reference to a secret, or for a header any text", |text| forms::content(text).map(drop)),
        Optional(r#""env:GEMINI_API_KEY""#),
        "The value for `header` or `query`.",
        "",
    )
    .beside(r#"query = "key""#),
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
        "The key that clients must show: as `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`, or as the \
         query parameter `key`, `api_key` or `access_token`.",
        "Others get 401. It never goes up. In a query it stands in the logs of whatever is in front of tidegate: only for \
         an EventSource, which can set no header.",
    )
    .see(&["route.auth", "route.inject"])
    .causes(&[
        Cause::ClientMissingApiKey,
        Cause::ClientInvalidApiKey,
        Cause::TidegateClientKeyUnavailable,
    ]),
    key(
        "route.auth",
        Kind::Word(|| vec!["none"]),
        Optional(r#""none""#),
        "\"none\" says that everybody may use this route.",
        "Needed where a route injects a secret, has no client_key, and a listener is open to other \
         machines; not beside client_key.",
    )
    .see(&["route.client_key", "listener.address"]),
    key(
        "route.client_credentials",
        Kind::Word(|| vec!["strip", "pass"]),
        Optional(r#""strip""#),
        "Whether credentials in a client's request are removed or go up. By default \"strip\" where \
         a secret is injected, \"pass\" elsewhere.",
        "",
    )
    .see(&["route.inject"]),
    key(
        "route.max_request_body",
        Kind::Size { min: "0B", max: "16TiB" },
        Default(r#""64MiB""#),
        "Largest request body.",
        "A larger one gets 413: at once if Content-Length says so, else when the bound is reached.",
    )
    .example(r#""256MiB""#)
    .causes(&[Cause::ClientRequestBodyTooLarge]),
    key(
        "route.stream",
        Kind::Own(&[
            "format",
            "charset",
            "repair",
            "dialect",
            "intent",
            "commit",
            "commit_within",
            "early_head",
            "heartbeat",
            "heartbeat_form",
            "errors",
            "max_event_bytes",
            "bridge",
            "bridge_query",
            "fake_stream",
            "data_space",
            "done",
            "done_from",
            "done_to",
            "done_close",
            "to_delta",
            "merge",
            "split",
            "to_full",
            "pick",
            "pick_as",
            "ascii",
            "encode",
            "fields",
            "ids",
            "error_events",
            "profile",
            "profile_header",
        ]),
        Default("{}"),
        "Keys of [stream] for this route alone, such as { heartbeat = \"5s\" }.",
        "",
    )
    .example(r#"{ heartbeat = "5s" }"#),
    key(
        "route.timeouts",
        Kind::Own(&[
            "response_head",
            "first_event",
            "first_content",
            "event_gap",
            "request_body_idle",
            "total",
            "tunnel_idle",
            "tunnel_total",
        ]),
        Default("{}"),
        "Keys of [timeouts] for this route alone, such as { total = \"10m\" }.",
        "",
    )
    .example(r#"{ total = "10m" }"#),
    key("stream", Kind::Table, Default("{}"), "How streams are treated, on all routes.", ""),
    key(
        "stream.format",
        Kind::Word(|| with_names(&["auto", "off"], crate::format::FORMATS.iter().map(|format| format.name))),
        Default(r#""auto""#),
        "What upstreams send. \"auto\" is found out by the bytes of each stream, then by the media type.",
        "\"off\" passes every body through untouched. A body that is no stream passes whatever stands here. \"text\" and \
         \"text-json\" are never found out: they must be chosen. In any other format that is set here, a page or nothing in \
         place of a stream is still told; so under another label the head waits for the first bytes, at most until a \
         heartbeat is due.",
    )
    .example(r#""sse""#)
    .causes(&[Cause::UpstreamMalformed, Cause::UpstreamHtml, Cause::UpstreamEmpty]),
    key(
        "stream.charset",
        Kind::Word(|| vec!["declared", "utf-8"]),
        Default(r#""declared""#),
        "The character set of streams. \"declared\" is the one that the media type names: another than UTF-8 is \
         converted.",
        "An unknown name counts as UTF-8. \"utf-8\" ignores what is declared: event streams are UTF-8 by their standard.",
    )
    .example(r#""utf-8""#),
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
    )
    .example(r#"["auto", "glued"]"#),
    key(
        "stream.dialect",
        Kind::Word(|| with_names(&["auto"], crate::dialect::DIALECTS.iter().map(|dialect| dialect.name))),
        Default(r#""auto""#),
        "What the events mean: how a stream ends, and how an error is said in it; `tidegate formats` \
         explains each.",
        "\"auto\" is found by a header or the path of the request and confirmed by one of the first events.",
    )
    .example(r#""openai-chat""#)
    .causes(&[Cause::UpstreamTruncated, Cause::UpstreamError]),
    key(
        "stream.intent",
        Kind::Word(|| vec!["auto", "stream", "plain"]),
        Default(r#""auto""#),
        "Whether requests want a stream. \"auto\" looks at Accept, at `\"stream\": true` in a JSON body, \
         and at the media type of the response.",
        "\"stream\" turns newline-delimited JSON into events for every client. \"plain\" passes what is \
         not labelled as a stream.",
    )
    .example(r#""stream""#),
    key(
        "stream.commit",
        Kind::Word(|| vec!["head", "first-event", "first-content"]),
        Profile(r#""head""#),
        "What must have come of a stream before the client is given the response head. While it is held, an error event \
         or an empty stream that came with status 200 becomes a true status: the 4xx or 5xx that the error names, else 502. \
         An error in JSON or in plain words, a page or nothing in place of a stream, and not labelled as a stream, becomes \
         one always.",
        "\"head\" waits for nothing. The others hold the head, and with it all output, heartbeats too, until there is an event, or content (no role, no ping), \
         or 256 KiB of output, or commit_within has passed: the client's own timeout until the first byte runs meanwhile.",
    )
    .example(r#""first-event""#)
    .see(&["stream.commit_within", "stream.early_head"])
    .causes(&[Cause::UpstreamError, Cause::UpstreamHtml, Cause::UpstreamEmpty]),
    key(
        "stream.commit_within",
        time("1ms", "24h"),
        Profile(r#""20s""#),
        "How long commit may hold the head back, from the upstream's response head on.",
        "Then the head and what was held leave, and heartbeats begin. Also if the upstream is silent under a label that \
         promises no stream: a client that accepts events is promised them then, and what comes in their place is told as \
         an event. A client that takes what is sent (Accept is not text/event-stream) waits for the first bytes until \
         timeouts.first_event: nobody can know what head to give it.",
    )
    .example(r#""5s""#)
    .see(&["stream.commit", "timeouts.first_event"]),
    key(
        "stream.early_head",
        time_or_off("1ms", "24h"),
        Profile(r#""off""#),
        "How long the upstream may take to answer before the client's stream is opened without it: status 200 and \
         heartbeats, for proxies in between that cut a silent request after 60 s or 100 s. For requests that want a stream \
         and are known to get events; never for others.",
        "The status is promised then: what the upstream answers after that, 4xx and 5xx too, a refused connection or a \
         timeout, is an error event in the stream, and clients that try again by status do not. The head has none of the \
         upstream's fields (rate limits, request ids, cookies): it left before them. The access line keeps the true outcome.",
    )
    .example(r#""25s""#)
    .see(&["stream.heartbeat", "stream.commit"])
    .causes(&[Cause::UpstreamStatus]),
    key(
        "stream.heartbeat",
        time_or_off("1ms", "24h"),
        Profile(r#""15s""#),
        "Silence after which a heartbeat is sent to the client, so that nothing on the way gives the stream \
         up.",
        "\"off\" sends none. Bodies that pass get none. It may come 10 ms late.",
    )
    .example(r#""5s""#)
    .see(&["stream.heartbeat_form"]),
    key(
        "stream.heartbeat_form",
        Kind::Word(|| vec!["comment", "block", "delta", "off"]),
        Profile(r#""comment""#),
        "What a heartbeat looks like. \"comment\" is a line `:` and no blank line, which every parser of the standard bears; \
         \"block\" a blank line behind it; \"delta\" an event of the dialect that says nothing, once the dialect is known and \
         until the answer is finished, and a \"block\" before that and where a dialect has none; \"off\" is none.",
        "Comments of the upstream's go the same way: as lines, as blocks, or with \"delta\" and \"off\" not at all. A \"block\" \
         is an empty message to some libraries (fetch-event-source, openai-python behind an id): only for clients that drop \
         a whole block that begins with a colon, or split a stream at blank lines by themselves.",
    )
    .example(r#""delta""#)
    .see(&["stream.heartbeat", "stream.profile"]),
    key(
        "stream.errors",
        Kind::Word(|| vec!["status", "in-band", "event-source"]),
        Profile(r#""status""#),
        "How a client is told that there is no stream. \"status\" is a 4xx or 5xx with a body; \"in-band\" is 200 and a \
         stream of one error event, which names the status, for clients that lose other answers; \"event-source\" is that \
         for a browser's EventSource alone (GET, and `Accept: text/event-stream`), which can read nothing else.",
        "Only where a stream was asked for and the client is known to get events; never for OPTIONS, HEAD, an upgrade or a \
         dialect that tells no errors in streams (mcp). An EventSource is told when to ask again, too: after the upstream's \
         Retry-After, else after a day. Of an upstream's error, 64 KiB are read for its words. The access line has the \
         status that was told as `told`.",
    )
    .example(r#""in-band""#)
    .see(&["stream.profile", "stream.early_head"])
    .causes(&[Cause::UpstreamStatus]),
    key(
        "stream.max_event_bytes",
        Kind::Size { min: "64B", max: "1GiB" },
        Default(r#""64MiB""#),
        "Longest event.",
        "A longer one ends the stream with an error; nothing of it is sent.",
    )
    .example(r#""1MiB""#)
    .see(&["limits.max_carry_total"])
    .causes(&[Cause::UpstreamEventTooLarge]),
    key(
        "stream.bridge",
        Kind::Word(|| with_names(&["auto"], crate::bridge::BRIDGES.iter().map(|bridge| bridge.name))),
        Default(r#""auto""#),
        "How clients are written to: events, lines of JSON, or one answer put together from the stream. \"auto\" is `ndjson` \
         for clients that accept newline-delimited JSON and no events, and Ollama's own, and `sse` for all others. Who names neither in \
         `Accept` gets a stream that is no Server-Sent Events as it was sent, unless the route sets `intent = \"stream\"`.",
        "A body that is no stream passes whatever stands here. \"json\" is for requests that do not ask for a stream, \
         by `Accept` or `\"stream\": true`, in the dialects openai-chat, anthropic and ollama, by path or `dialect`; others \
         stay as \"auto\" has them. It holds the head until the answer is whole.",
    )
    .example(r#""ndjson""#)
    .see(&["stream.bridge_query", "stream.fake_stream", "stream.max_event_bytes"]),
    key(
        "stream.bridge_query",
        Kind::Text("name of a query parameter, or \"off\"", |text| forms::parameter(text).map(drop)),
        Default(r#""off""#),
        "The query parameter by which a client chooses the bridge itself, such as `?bridge=ndjson`. It wins over `bridge` and \
         does not go up.",
        "Another value than the name of a bridge, or two of them, is 400.",
    )
    .example(r#""bridge""#)
    .see(&["stream.bridge"])
    .causes(&[Cause::ClientBadBridge]),
    key(
        "stream.fake_stream",
        Kind::Switch,
        Default("false"),
        "A whole answer in JSON to a request that asked for a stream becomes a short stream of its dialect, for upstreams that \
         cannot stream. In openai-chat, anthropic and ollama.",
        "Off by default: a client that reads JSON is better served with the answer as it is, and the head waits until the answer \
         is whole. What is no whole answer, or larger than max_event_bytes, passes.",
    )
    .example("true")
    .see(&["stream.bridge", "stream.max_event_bytes"]),
    key(
        "stream.data_space",
        Kind::Word(|| vec!["standard", "literal"]),
        Default(r#""standard""#),
        "Whether the space after `data:` belongs to the data. By the standard it does not; Spring writes texts behind the \
         colon as they are, and those that begin with a space lose it in every client.",
        "\"literal\" takes everything after the colon as data, in streams of the format sse.",
    )
    .example(r#""literal""#),
    key(
        "stream.done",
        Kind::Word(|| vec!["keep", "auto", "ensure", "strip"]),
        Profile(r#""keep""#),
        "What becomes of the end marker, the event that says in so many words that the answer is over. \"ensure\" adds one \
         where an answer is complete without it, \"auto\" does so where streams of the dialect end with one (openai-chat, \
         vercel-ui), \"strip\" takes it out.",
        "Complete is what shows the end that its dialect has, or, in a dialect without one, what ends cleanly. None is added to \
         a stream that broke or told an error; but one that was made to tell an error in the place of a status (`errors`, `early_head`) has it.",
    )
    .example(r#""ensure""#)
    .see(&["stream.dialect"]),
    key(
        "stream.done_from",
        Kind::Texts("data of an event, or \"event:NAME\"", forms::marker),
        Default(r#"["[DONE]"]"#),
        "What upstreams send as the end marker: the whole data of an event, letter by letter, or the name of one.",
        "A text that holds those letters beside others is text. What `done_to` says counts too.",
    )
    .example(r#"["AIQA_EOF", "LLM-EOF", "event:finish"]"#),
    key(
        "stream.done_to",
        Kind::Text("data of an event, or \"event:NAME\"", forms::marker),
        Profile(r#""[DONE]""#),
        "What clients are sent as the end marker.",
        "\"event:NAME\" is an event of that name, with the upstream's data or `[DONE]`.",
    )
    .example(r#""AIQA_EOF""#),
    key(
        "stream.done_close",
        Kind::Text("\"auto\", \"off\", or a time up to 1m", |text| forms::closing(text).map(drop)),
        Profile(r#""auto""#),
        "How long after the end marker the stream is closed, if the upstream does not end it before. \"auto\" is 50 ms where \
         `done_from` or `done_to` is set, and \"off\" otherwise.",
        "What the upstream sends after that is not read; it is left. It may be 10 ms later.",
    )
    .example(r#""1s""#),
    key(
        "stream.to_delta",
        POINTER,
        Default(r#""off""#),
        "Where a text stands in the events that upstreams repeat whole in each: it is sent once, piece by piece. Keys and places as \
         in a JSON pointer, `*` for every element of an array.",
        "A text that does not begin with the one before is sent whole and counted in the access line (`rewrites=`). Events on \
         several data lines pass.",
    )
    .example(r#""/text""#)
    .causes(&[Cause::UpstreamEventTooLarge])
    .see(&["stream.to_full"]),
    key(
        "stream.merge",
        time_or_off("1ms", "10s"),
        Profile(r#""off""#),
        "The least time between two events with text: what comes meanwhile is joined to one. The first leaves at once.",
        "Events that differ in more than their text are not joined, and nothing else is late. Where the text stands is known \
         by the dialect, or by `to_delta` or `to_full`; in DashScope's own API, whose texts may be repeated whole, by these alone.",
    )
    .example(r#""40ms""#)
    .see(&["stream.dialect", "stream.to_delta"]),
    key(
        "stream.split",
        Kind::Text("size from 256B to 1MiB, or \"off\"", |text| forms::largest(text).map(drop)),
        Profile(r#""off""#),
        "The largest event with text in it, as it is written: a larger one is sent as several, each whole.",
        "Roles and the names of tool calls stand in the first, why the answer ended, its usage and the id in the last. Events \
         without text, and those that say a text whole at its end, are not divided. Where the text stands is known by the \
         dialect, or by `to_delta` or `to_full`; in DashScope's own API, whose texts may be repeated whole, by these alone.",
    )
    .example(r#""3900B""#)
    .see(&["stream.dialect", "stream.max_event_bytes", "stream.to_delta"]),
    key(
        "stream.to_full",
        POINTER,
        Profile(r#""off""#),
        "Where a text stands that grows, and is to be sent whole in every event, for clients that show the last one alone.",
        "What is sent grows with the square of the answer: set `merge` beside it.",
    )
    .example(r#""/choices/*/delta/content""#)
    .beside("merge = \"200ms\"")
    .causes(&[Cause::UpstreamEventTooLarge])
    .see(&["stream.merge", "stream.to_delta"]),
    key(
        "stream.pick",
        POINTER,
        Profile(r#""off""#),
        "Where the text stands that alone is sent of each event. Events without one are left out; those that are no JSON \
         object, and errors, pass.",
        "Roles, finish reasons and usage are lost.",
    )
    .example(r#""/choices/*/delta/content""#)
    .see(&["stream.pick_as"]),
    key(
        "stream.pick_as",
        Kind::Word(|| vec!["json", "text"]),
        Profile(r#""json""#),
        "How what `pick` finds is sent: as a JSON string, or as the text that it means.",
        "Clients that trim data lose spaces of plain text.",
    )
    .example(r#""text""#)
    .see(&["stream.pick"]),
    key(
        "stream.ascii",
        Kind::Switch,
        Profile("false"),
        "Characters beyond ASCII in JSON are written as `\\uXXXX`, so that no cut of the bytes can split one: for clients that \
         decode each read by itself, such as WeChat mini-programs.",
        "The value stays the same. Data that is no JSON stays as it is.",
    )
    .example("true"),
    key(
        "stream.encode",
        Kind::Word(|| vec!["off", "percent", "base64"]),
        Profile(r#""off""#),
        "An encoding of the data, for legacy front ends that decode it: `decodeURIComponent`, `atob`.",
        "End markers and tidegate's own error events are not encoded.",
    )
    .example(r#""percent""#),
    key(
        "stream.fields",
        Kind::Word(|| vec!["all", "data-only"]),
        Profile(r#""all""#),
        "Which fields events are sent with. \"data-only\" leaves out names, ids, retry times and unknown fields, and events \
         without data.",
        "tidegate's own error events have no name then, either.",
    )
    .example(r#""data-only""#),
    key(
        "stream.ids",
        Kind::Word(|| vec!["keep", "drop"]),
        Profile(r#""keep""#),
        "What becomes of the ids of events. `fields = \"data-only\"` drops them, too.",
        "Without them a client that asks again cannot say where it was (`Last-Event-ID`). A block that has nothing else is left \
         out.",
    )
    .example(r#""drop""#)
    .see(&["stream.fields"]),
    key(
        "stream.error_events",
        Kind::Word(|| vec!["keep", "named"]),
        Profile(r#""keep""#),
        "What becomes of an error that the upstream tells in its stream, in an event without a name. \"named\" gives it the name \
         `error`, for clients that look for that and see no end of a stream, such as uni-app x on Android.",
        "An error is known by its dialect, elsewhere by its data: a line of JSON such as `{\"error\":…}`. tidegate's own have that \
         name then in every dialect. `fields = \"data-only\"` takes it again.",
    )
    .example(r#""named""#)
    .see(&["stream.errors", "stream.fields"]),
    key(
        "stream.profile",
        Kind::Text("name of a profile", forms::something),
        Default(r#""auto""#),
        "What kind of client this is for, and so the defaults of the keys that suit one: a name that `tidegate formats` lists, or of \
         a [profile.NAME]. \"auto\" takes a client for what it shows to be: by the paths and user_agents of [profile.NAME], then \
         miniprogram by the Referer or the User-Agent of WeChat, sdk and browser by their fields; others get what \
         [profile.auto] says.",
        "A key that stands in [stream] or in [route.stream] wins over the profile. The access line has the profile as `profile`.",
    )
    .example(r#""miniprogram""#)
    .see(&["stream.profile_header", "profile"]),
    key(
        "stream.profile_header",
        Kind::Switch,
        Default("false"),
        "Whether a request may choose its profile itself, by a field `Tidegate-Profile: NAME`.",
        "A name that does not exist gets 400. The field never goes up. In a browser, a page of another origin may send it only \
         if the upstream's answer to the preflight allows `Tidegate-Profile`.",
    )
    .example("true")
    .see(&["stream.profile"])
    .causes(&[Cause::ClientUnknownProfile]),
    key(
        "profile",
        Kind::Profiles(&[
            "commit",
            "commit_within",
            "early_head",
            "heartbeat",
            "heartbeat_form",
            "errors",
            "done",
            "done_to",
            "done_close",
            "merge",
            "split",
            "to_full",
            "pick",
            "pick_as",
            "ascii",
            "encode",
            "fields",
            "ids",
            "error_events",
        ]),
        Default("{}"),
        "What a kind of client needs, under a name for stream.profile: keys of [stream], and by what \"auto\" knows it. [profile.auto] is what clients get that \
         are not known, and what the other profiles stand on.",
        "The name of a profile that is built in changes these keys of it; docs/profiles.md has them.",
    )
    .see(&["stream.profile"]),
    key(
        "profile.*.paths",
        Kind::Texts("\"/prefix\" or \"=/exact\"", |text| forms::path(text).map(drop)),
        Presence::Optional(r#"["/mp"]"#),
        "Where clients are of this kind: requests for these paths, in the words of route.path, get the profile on routes with \
         profile = \"auto\".",
        "Compared with the path that the client asks for, before any rewrite. One sign is enough, a path or a part of the \
         User-Agent. The tables are asked in the order of the file, before the signs that are built in, and also those of a \
         profile that is built in and of [profile.auto]. At the most 32.",
    )
    .see(&["profile.*.user_agents", "stream.profile", "route.path"]),
    key(
        "profile.*.user_agents",
        Kind::Texts("part of a User-Agent, at the most 128 characters of ASCII", forms::user_agent),
        Presence::Optional(r#"["okhttp/"]"#),
        "By what clients of this kind are known on routes with profile = \"auto\": a text that stands anywhere in their \
         User-Agent, in upper or lower case.",
        "A hint, and no authentication: any client can send any User-Agent. At the most 32.",
    )
    .see(&["profile.*.paths", "stream.profile"]),
    key(
        "timeouts",
        Kind::Table,
        Default("{}"),
        "Timeouts, in the order in which they can run out. What is timed on a stream, heartbeats too, comes up to 10 ms \
         after its time, and never before.",
        "",
    ),
    key(
        "timeouts.tls_handshake",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest TLS handshake of a client.",
        "Past it the connection is closed. No request is lost, so there is no access line.",
    )
    .example(r#""5s""#),
    key(
        "timeouts.request_head",
        time("1ms", "10m"),
        Default(r#""10s""#),
        "Longest wait for the first bytes of a connection, for each request head, and between requests.",
        "Past it the connection is closed; there is an access line if part of a head was there.",
    )
    .example(r#""30s""#)
    .causes(&[Cause::ClientTimeoutRequestHead]),
    key(
        "timeouts.request_body_idle",
        time_or_off("1ms", "24h"),
        Default(r#""30s""#),
        "Longest silence of a client inside a request body.",
        "Past it the client gets 408, or a stream that has begun ends with an error.",
    )
    .example(r#""2m""#)
    .causes(&[Cause::ClientTimeoutRequestBodyIdle]),
    key(
        "timeouts.response_head",
        time_or_off("1ms", "24h"),
        Default(r#""5m""#),
        "Longest wait for an upstream's response head, after the request. Models that think take minutes.",
        "Past it the client gets 504.",
    )
    .example(r#""15m""#)
    .causes(&[Cause::UpstreamTimeoutResponseHead]),
    key(
        "timeouts.first_event",
        time_or_off("1ms", "24h"),
        Default(r#""10m""#),
        "Longest time from the response head to the first event of a stream.",
        "Past it the stream ends with an error event, or with 504 if no head was sent yet.",
    )
    .example(r#""30m""#)
    .causes(&[Cause::UpstreamTimeoutFirstEvent]),
    key(
        "timeouts.first_content",
        time_or_off("1ms", "24h"),
        Default(r#""off""#),
        "Longest time from the response head to the first content of a stream whose dialect is known: text, \
         reasoning, a tool call. Comments, pings, roles and empty deltas are none.",
        "Past it the stream ends with an error event, or with 504 if no head was sent yet.",
    )
    .example(r#""2m""#)
    .causes(&[Cause::UpstreamTimeoutFirstContent]),
    key(
        "timeouts.event_gap",
        time_or_off("1ms", "24h"),
        Default(r#""5m""#),
        "Longest silence of an upstream inside a response body, from its first byte on; of a body that passes, from the \
         head on. Every byte counts, comments too.",
        "Past it the stream ends with an error event; a body that passes is cut.",
    )
    .example(r#""30m""#)
    .causes(&[Cause::UpstreamTimeoutEventGap]),
    key(
        "timeouts.client_write_stall",
        time("1ms", "24h"),
        Default(r#""1m""#),
        "How long a client may take nothing of what is ready for it.",
        "Past it the connection is closed, in HTTP/2 the stream reset, and the upstream is left.",
    )
    .example(r#""30s""#)
    .causes(&[Cause::ClientStalled]),
    key(
        "timeouts.total",
        time_or_off("1ms", "168h"),
        Default(r#""off""#),
        "Longest request, from its head to the last byte of the response.",
        "Past it the client gets 504, or the stream ends with an error event; a body that passes is cut. A tunnel has \
         tunnel_total instead.",
    )
    .example(r#""20m""#)
    .causes(&[Cause::TidegateTimeoutTotal]),
    key(
        "timeouts.tunnel_idle",
        time_or_off("1ms", "24h"),
        Default(r#""10m""#),
        "Longest silence of a tunnel (a WebSocket, or another connection that was upgraded), both ways together. Every \
         byte counts, pings too.",
        "Past it both sides are closed.",
    )
    .example(r#""30m""#)
    .causes(&[Cause::TidegateTimeoutTunnelIdle]),
    key(
        "timeouts.tunnel_total",
        time_or_off("1ms", "168h"),
        Default(r#""off""#),
        "Longest life of a tunnel, from the upstream's 101.",
        "Past it both sides are closed.",
    )
    .example(r#""4h""#)
    .causes(&[Cause::TidegateTimeoutTunnelTotal]),
    key(
        "timeouts.drain",
        time("0s", "24h"),
        Default(r#""10m""#),
        "How long running streams and tunnels may go on after SIGTERM.",
        "Past it, or at a second signal, streams end with an error event, tunnels are closed, and requests without a \
         response get 503.",
    )
    .example(r#""1m""#)
    .causes(&[Cause::TidegateDrain]),
    key("limits", Kind::Table, Default("{}"), "Bounds of the process and of each connection.", ""),
    key(
        "limits.max_head_bytes",
        Kind::Size { min: "8KiB", max: "1MiB" },
        Default(r#""32KiB""#),
        "Largest request head.",
        "A larger one gets 431, or 414 if its target alone is too long.",
    )
    .example(r#""64KiB""#)
    .causes(&[Cause::ClientMalformed]),
    key(
        "limits.max_headers",
        count(1, 10_000),
        Default("100"),
        "Most headers of a request.",
        "More get 431.",
    )
    .example(r#"200"#)
    .causes(&[Cause::ClientMalformed]),
    key(
        "limits.max_connections",
        count(1, 10_000_000),
        Default("16384"),
        "Most client connections at a time.",
        "Past it new ones wait in the backlog of the listener until one is closed. Each stream takes two \
         open files; the hard limit of the process must allow them.",
    )
    .example(r#"100000"#),
    key(
        "limits.max_connections_per_client",
        count(1, 10_000_000),
        Default("4096"),
        "Most connections of one client address at a time; of an IPv6 address, the whole /64 counts as one.",
        "Past it new ones are closed at once. Not for trusted_proxies and Unix sockets.",
    )
    .example("64")
    .see(&["server.trusted_proxies"]),
    key(
        "limits.min_body_rate",
        Kind::Size { min: "0B", max: "1GiB" },
        Default(r#""256B""#),
        "What a client must send of a request body each second on average, for the time that it is waited for. It may \
         be timeouts.request_body_idle behind.",
        "Less gets 408. \"0B\" asks for nothing.",
    )
    .example(r#""4KiB""#)
    .see(&["timeouts.request_body_idle"])
    .causes(&[Cause::ClientRequestBodyTooSlow]),
    key(
        "limits.max_carry_total",
        Kind::Size { min: "1MiB", max: "1TiB" },
        Default(r#""512MiB""#),
        "Most memory for unfinished events and the decoders of coded bodies, all streams together.",
        "Past it the stream that asks for more ends with an error event.",
    )
    .example(r#""2GiB""#)
    .see(&["stream.max_event_bytes"])
    .causes(&[Cause::TidegateCarryExhausted]),
    key("server", Kind::Table, Default("{}"), "The process.", ""),
    key(
        "server.workers",
        Kind::Count { min: 1, max: 1024, auto: true },
        Default(r#""auto""#),
        "Threads that carry streams.",
        "\"auto\" is one for each core that the process may use.",
    )
    .example(r#"4"#),
    key(
        "server.takeover",
        Kind::Word(|| vec!["on", "off"]),
        Default(r#""on""#),
        "Whether streams over HTTP/1.1 are written straight to the client's socket, without hyper.",
        "\"on\" takes less memory and CPU time: the HTTP library answers with the head and lets go of the connection, \
         until the end of the stream. \"off\" leaves the whole response to the library; clients see no difference. \
         HTTP/2, tunnels, bodies of a known length and responses that begin before the request is read stay with the \
         library in any case.",
    )
    .example(r#""off""#),
    key(
        "server.trusted_proxies",
        Kind::Texts("network, such as \"10.0.0.0/8\", or address", |text| forms::network(text).map(drop)),
        Default("[]"),
        "Peers whose X-Forwarded-* and Forwarded headers are believed and extended.",
        "From all others these headers are replaced. A peer on a Unix socket counts as 127.0.0.1.",
    )
    .example(r#"["127.0.0.1", "10.0.0.0/8"]"#),
    key("metrics", Kind::Table, Default("{}"), "Counts and times of the process, for a monitoring system.", ""),
    key(
        "metrics.address",
        Kind::Text("\"HOST:PORT\" or \"off\"", |text| forms::metrics(text).map(drop)),
        Default(r#""off""#),
        "Where `GET /metrics` is answered in the text format of OpenMetrics, which Prometheus reads.",
        "A listener of its own, in clear text and without authentication: keep it on an address that only \
         the monitoring system reaches. Port 0 takes any free port.",
    )
    .example(r#""127.0.0.1:9464""#)
    .see(&["log.format"]),
    key("log", Kind::Table, Default("{}"), "The log, on standard error.", ""),
    key(
        "log.format",
        Kind::Word(|| vec!["logfmt", "json"]),
        Default(r#""logfmt""#),
        "How a line looks: key=value pairs, or one JSON object.",
        "",
    )
    .example(r#""json""#),
    key(
        "log.level",
        Kind::Word(|| vec!["error", "warn", "info", "debug", "trace"]),
        Default(r#""info""#),
        "Which lines there are. One line for each request is at info.",
        "Below info, at warn or error, there are no access lines. The content of streams appears at trace \
         only, secrets never.",
    )
    .example(r#""warn""#),
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
