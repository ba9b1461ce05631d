//! Fields that belong to a connection or to a hop, both ways, and the identity of a request.
//!
//! What intermediaries must do to a head: remove what was meant for them (RFC 9110 7.6.1), say who asked
//! (`X-Forwarded-*`, RFC 7239), name themselves (RFC 9110 7.6.3). Pure over [`HeaderMap`]s. It adds no framing, no
//! `Host`, no credentials. Called by [`super::request`] and [`super::response`].
//!
//! Invariant: what tidegate says about a client (`X-Forwarded-*`, `Forwarded`, `X-Request-Id`) comes from the
//! client only if the client is a trusted proxy.

use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::IpAddr;
use std::sync::LazyLock;

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use super::host::Host;
use crate::config::Config;
use crate::server::client::Client;

/// Whether `name` means something to one connection only, so that no request or response may be given it by hand.
///
/// RFC 9110 7.6.1, and for proxies 11.7. `Trailer` is not one of them (RFC 9110 6.6.2). `HTTP2-Settings` went with the
/// upgrade of RFC 7540 3.2.1.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Removes hop-by-hop fields: the known ones and those that `Connection` names (RFC 9110 7.6.1). `TE: trailers` stays
/// as such: tidegate takes trailers (RFC 9110 10.1.4).
///
/// `Connection` cannot name away a field that is meant for the recipient: such an option is ignored. The RFC forbids
/// to send it (7.6.1), and to obey would let a client take credentials, the cache directives or the address of
/// its user out of a request that a proxy before tidegate put there.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove(headers, |_| false);
}

/// Removes from a request what does not go up: what is of the hop; `Expect`, which hyper answers itself; the framing,
/// which is that of the connection to the upstream; the name of a profile; what only a server in front of tidegate may
/// say to nginx; and what an untrusted client says about itself.
pub(super) fn clean_request(headers: &mut HeaderMap, trusted: bool) {
    remove(headers, |name| {
        matches!(name, "expect" | "content-length" | TIDEGATE_PROFILE_NAME)
            || is_accel(name)
            || (!trusted && (matches!(name, "forwarded" | "x-real-ip") || is_forwarded(name)))
    });
}

/// Removes from a response what does not go to the client: what is of the hop; what would send an nginx in front of
/// tidegate to files of its own, or say how it buffers; and the upstream's other addresses, which would lead past tidegate
/// (RFC 7838).
pub(super) fn clean_response(headers: &mut HeaderMap) {
    remove(headers, |name| name == "alt-svc" || is_accel(name));
}

/// Removes what is of the hop, and what else is `unwanted`: the names are looked at once.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let is_unwanted = |name: &&HeaderName| is_hop_by_hop(name) || unwanted(name.as_str());
    let mut names: Vec<HeaderName> = headers.keys().filter(is_unwanted).cloned().collect();
    // Most heads have neither.
    let takes_trailers = names.contains(&header::TE) && takes_trailers(headers);
    if names.contains(&header::CONNECTION) {
        let options = tokens(headers, &header::CONNECTION);
        let named = options.filter_map(|option| HeaderName::try_from(option).ok());
        names.extend(named.filter(|name| !is_end_to_end(name)));
    }
    for name in names {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn is_accel(name: &str) -> bool {
    name.starts_with("x-accel-")
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-")
}

/// Whether a request says that its sender takes trailers (RFC 9110 10.1.4).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// Whether the peer of a connection is one of [`Config::trusted_proxies`]. A Unix socket counts as 127.0.0.1: whoever
/// can connect is on this machine.
pub(super) fn is_trusted(config: &Config, client: &Client) -> bool {
    config.trusts(client.peer.map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.ip()))
}

/// Says who asked: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `Forwarded` (RFC 7239).
///
/// For a head that went through [`clean_request`]. What a trusted proxy sent stays, with its address added to the lists;
/// of two forms of the list (`X-Forwarded-For` and `Forwarded`) one that it did not send is not begun, since it would name
/// the proxy as the client.
pub(super) fn forward(headers: &mut HeaderMap, client: &Client, host: Option<&Host>, trusted: bool) {
    let has = |headers: &HeaderMap, name: &HeaderName| trusted && headers.contains_key(name);
    let address = client.address.as_deref();
    let (has_for, has_forwarded) = (has(headers, &X_FORWARDED_FOR), has(headers, &header::FORWARDED));
    if let (Some(address), true) = (address, has_for || !has_forwarded) {
        extend(headers, X_FORWARDED_FOR, has_for, address.to_owned());
    }
    if has_forwarded || !has_for {
        let element = forwarded_element(address, client.tls, host);
        extend(headers, header::FORWARDED, has_forwarded, element);
    }
    // The port goes with the scheme and the host that the client saw; ours is not that of a proxy before us.
    let (has_proto, has_host) = (has(headers, &X_FORWARDED_PROTO), has(headers, &X_FORWARDED_HOST));
    if let (false, Some(local)) = (has_proto || has_host || has(headers, &X_FORWARDED_PORT), client.local) {
        headers.insert(X_FORWARDED_PORT, HeaderValue::from(local.port()));
    }
    if !has_proto {
        let proto = if client.tls { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if let (false, Some(host)) = (has_host, host) {
        headers.insert(X_FORWARDED_HOST, host.value().clone());
    }
}

/// Removes fields that an upstream may take for another: servers that speak CGI or WSGI (RFC 3875 4.1.18, PEP 3333) read
/// `X_Forwarded_For` and `X-Forwarded-For` as the same variable. With an underscore for a hyphen a client could say
/// about itself what only tidegate may say, or say again what an injector said; so what has the name of a field that
/// goes up, or of one that a client may not set, does not go up in that spelling. To be called on the finished head.
pub(super) fn remove_lookalikes(headers: &mut HeaderMap) {
    let meant = |name: &str| HeaderName::try_from(name.replace('_', "-")).ok();
    let unwanted = |name: &&HeaderName| {
        memchr::memchr(b'_', name.as_str().as_bytes()).is_some()
            && meant(name.as_str()).is_some_and(|meant| headers.contains_key(&meant) || is_ours(&meant))
    };
    let names: Vec<HeaderName> = headers.keys().filter(unwanted).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether it is for tidegate alone to say this, or to leave it out, in a request that goes up.
fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    is_hop_by_hop(name)
        || is_forwarded(text)
        || is_accel(text)
        || matches!(
            text,
            "content-length"
                | "forwarded"
                | "host"
                | TIDEGATE_PROFILE_NAME
                | "via"
                | "x-real-ip"
                | "x-request-id"
        )
}

/// Whether the request was here before: `Via` has the name of this very process.
pub(super) fn is_loop(headers: &HeaderMap) -> bool {
    let name = PSEUDONYM.as_bytes();
    headers.get_all(header::VIA).iter().any(|value| memmem::find(value.as_bytes(), name).is_some())
}

/// Adds tidegate to the `Via` of a request that came in `version`, under a name that no other process has.
pub(super) fn add_via_to_request(headers: &mut HeaderMap, version: Version) {
    headers.append(header::VIA, received_by(version, &REQUEST_VIA));
}

/// Adds tidegate to the `Via` of a response that came in `version`.
pub(super) fn add_via_to_response(headers: &mut HeaderMap, version: Version) {
    headers.append(header::VIA, received_by(version, &RESPONSE_VIA));
}

/// The name of one request, in the log, upstream and in the response: `X-Request-Id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The one that a trusted proxy gave, if it is 1 to 128 visible ASCII characters; else a new one: 128 random
    /// bits in hex. They are unlikely to meet again, but no secret.
    pub(super) fn of(headers: &HeaderMap, trusted: bool) -> Self {
        if !trusted {
            return RequestId::random();
        }
        let mut given = headers.get_all(&X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(value), None) if is_sane_id(value) => RequestId(value.clone()),
            _ => RequestId::random(),
        }
    }

    fn random() -> Self {
        let words = random();
        let digits: [u8; 32] = std::array::from_fn(|at| {
            let nibble = words[at / 16] >> (60 - at % 16 * 4) & 15;
            b"0123456789abcdef"[nibble as usize]
        });
        RequestId(HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-")))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header.
    pub(super) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_sane_id(value: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// The elements of a comma-separated list of tokens (RFC 9110 5.6.1), over all fields of that name.
pub(super) fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// The media ranges that `Accept` names, without parameters, and whether the client accepts each: a weight of 0 says that it
/// does not (RFC 9110 12.4.2, 12.5.1).
pub(super) fn media_ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, bool)> {
    tokens(headers, &header::ACCEPT).map(|range| match range.split_once(';') {
        None => (range, true),
        Some((essence, parameters)) => (essence.trim_end(), !refuses(parameters)),
    })
}

/// Whether the parameters of a media range have a weight of 0.
fn refuses(parameters: &str) -> bool {
    let is_zero = |weight: &str| !weight.is_empty() && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    parameters.any(|(name, value)| name.trim().eq_ignore_ascii_case("q") && is_zero(value.trim()))
}

/// Whether a field is meant for the recipient by its own definition, whatever `Connection` says.
fn is_end_to_end(name: &HeaderName) -> bool {
    END_TO_END.contains(&name.as_str()) || is_forwarded(name.as_str())
}

/// Adds an element to a list, which `begins` with what is there, and makes one field of it: some servers read only the
/// first or the last.
fn extend(headers: &mut HeaderMap, name: HeaderName, begins: bool, element: String) {
    let list = match begins {
        false => element.into_bytes(),
        true => {
            let values = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
            values.chain([element.as_bytes()]).collect::<Vec<_>>().join(&b", "[..])
        }
    };
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(name, value);
    }
}

/// One hop (RFC 7239 4). An address with colons, and a host with a port, must be quoted.
fn forwarded_element(address: Option<&str>, tls: bool, host: Option<&Host>) -> String {
    let (open, close) =
        if address.is_some_and(|address| address.contains(':')) { ("\"[", "]\"") } else { ("", "") };
    let (before, host, after) = host.map_or(("", "", ""), |host| (";host=\"", host.as_str(), "\""));
    let proto = if tls { ";proto=https" } else { ";proto=http" };
    ["for=", open, address.unwrap_or("unknown"), close, before, host, after, proto].concat()
}

/// One of the values for HTTP/1.0, 1.1 and 2: the received protocol (RFC 9110 7.6.3).
fn received_by(version: Version, [http_10, http_11, http_2]: &[HeaderValue; 3]) -> HeaderValue {
    let value = match version {
        Version::HTTP_10 => http_10,
        Version::HTTP_2 => http_2,
        _ => http_11,
    };
    value.clone()
}

/// 128 random bits: two generators for each thread, seeded once by the system (SplitMix64, Steele and others 2014).
pub(super) fn random() -> [u64; 2] {
    thread_local! {
        static STATE: Cell<[u64; 2]> = Cell::new([seed(), seed()]);
    }
    let state = STATE.get().map(|state| state.wrapping_add(0x9e37_79b9_7f4a_7c15));
    STATE.set(state);
    state.map(|state| {
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Without a generator of the system: the keys of std's hash maps, which are random as well.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| std::hash::RandomState::new().build_hasher().finish())
}

/// What this process calls itself upstream: no other has this name, so whoever sees it in `Via` knows of a loop.
static PSEUDONYM: LazyLock<String> = LazyLock::new(|| format!("tidegate-{:016x}", seed()));

static REQUEST_VIA: LazyLock<[HeaderValue; 3]> = LazyLock::new(|| {
    ["1.0", "1.1", "2"].map(|protocol| {
        let value = HeaderValue::try_from(format!("{protocol} {}", *PSEUDONYM));
        value.unwrap_or(HeaderValue::from_static("1.1 tidegate"))
    })
});
static RESPONSE_VIA: [HeaderValue; 3] = [
    HeaderValue::from_static("1.0 tidegate"),
    HeaderValue::from_static("1.1 tidegate"),
    HeaderValue::from_static("2 tidegate"),
];

/// By which a request names its profile, where its route allows that; for tidegate alone.
pub(super) const TIDEGATE_PROFILE: HeaderName = HeaderName::from_static(TIDEGATE_PROFILE_NAME);
const TIDEGATE_PROFILE_NAME: &str = "tidegate-profile";

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Longest request id that is taken over.
const MAX_REQUEST_ID: usize = 128;

/// Fields that `Connection` cannot name away, beside `x-forwarded-*`.
const END_TO_END: &[&str] = &[
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "location",
    "origin",
    "set-cookie",
    "vary",
    "via",
    "www-authenticate",
    "x-api-key",
    "x-real-ip",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::route::fixture;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap()))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    fn list(headers: &HeaderMap) -> Vec<String> {
        let mut fields: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        fields.sort();
        fields
    }

    fn client(peer: &str, tls: bool) -> Client {
        Client::new(Some(peer.parse().unwrap()), Some(SocketAddr::from(([127, 0, 0, 1], 8443))), tls)
    }

    #[test]
    fn media_range_of_weight_zero_is_not_accepted() {
        for (accept, ranges) in [
            ("text/event-stream", &["text/event-stream"][..]),
            ("text/event-stream;q=0", &[]),
            ("text/event-stream ; charset=utf-8 ; Q=0.000, */*", &["*/*"]),
            ("text/event-stream;q=0.001, application/json;q=1", &["text/event-stream", "application/json"]),
            ("application/x-ndjson;level=0;q=0., text/event-stream ;x=y", &["text/event-stream"]),
            ("text/event-stream;q=, text/plain;q", &["text/event-stream", "text/plain"]),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let accepted =
                media_ranges(&headers).filter_map(|(range, is_accepted)| is_accepted.then_some(range));
            assert_eq!(accepted.collect::<Vec<_>>(), ranges, "{accept}");
        }
    }

    #[test]
    fn hop_by_hop_fields_are_removed_and_others_stay() {
        let mut fields = headers(&[
            ("connection", "close, X-Private ,"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, deflate"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-private", "a"),
            ("x-private", "b"),
            ("trailer", "x-checksum"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut fields);
        assert_eq!(list(&fields), ["accept: */*", "trailer: x-checksum"]);
    }

    #[test]
    fn te_keeps_trailers_only() {
        for te in ["trailers", "gzip;q=0.5, Trailers", "trailers, chunked"] {
            let mut fields = headers(&[("connection", "te"), ("te", te)]);
            remove_hop_by_hop(&mut fields);
            assert_eq!(list(&fields), ["te: trailers"], "{te}");
        }
        let mut fields = headers(&[("te", "x-trailers")]);
        remove_hop_by_hop(&mut fields);
        assert!(fields.is_empty());
    }

    #[test]
    fn connection_cannot_name_away_fields_for_the_recipient() {
        let mut fields = headers(&[
            (
                "connection",
                "host, Authorization, cookie, content-type, x-forwarded-for, cache-control, @, x-own",
            ),
            ("host", "a"),
            ("authorization", "b"),
            ("cookie", "c"),
            ("content-type", "d"),
            ("x-forwarded-for", "e"),
            ("cache-control", "f"),
            ("x-own", "g"),
        ]);
        remove_hop_by_hop(&mut fields);
        assert_eq!(fields.len(), 6);
        assert!(!fields.contains_key("x-own"));
    }

    #[test]
    fn untrusted_client_is_named_and_what_it_claims_is_removed() {
        let mut fields = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/x"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ]);
        let host = Host::from_static("ai.example:8443");
        clean_request(&mut fields, false);
        forward(&mut fields, &client("198.51.100.7:999", true), Some(&host), false);
        assert_eq!(
            list(&fields),
            [
                "forwarded: for=198.51.100.7;host=\"ai.example:8443\";proto=https",
                "x-forwarded-for: 198.51.100.7",
                "x-forwarded-host: ai.example:8443",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn trusted_proxy_is_believed_and_added() {
        let mut fields = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.0.0.1"),
        ]);
        let host = Host::from_static("inner");
        clean_request(&mut fields, true);
        forward(&mut fields, &client("192.0.2.1:1", false), Some(&host), true);
        assert_eq!(
            list(&fields),
            [
                "x-forwarded-for: 10.0.0.1, 10.0.0.2, 192.0.2.1",
                "x-forwarded-host: inner",
                "x-forwarded-proto: https",
                "x-real-ip: 10.0.0.1",
            ]
        );
        let mut fields = headers(&[("forwarded", "for=10.0.0.1;proto=https")]);
        forward(&mut fields, &client("[2001:db8::1]:1", false), None, true);
        assert_eq!(fields["forwarded"], "for=10.0.0.1;proto=https, for=\"[2001:db8::1]\";proto=http");
        assert!(!fields.contains_key("x-forwarded-for"));
    }

    #[test]
    fn client_on_a_unix_socket_has_no_address() {
        let client = Client::new(None, None, false);
        let mut fields = HeaderMap::new();
        forward(&mut fields, &client, None, false);
        assert_eq!(list(&fields), ["forwarded: for=unknown;proto=http", "x-forwarded-proto: http"]);
    }

    #[test]
    fn peer_is_trusted_by_its_network() {
        let config = fixture::config(Vec::new());
        for (peer, trusted) in [
            ("192.0.2.9:1", true),
            ("[::ffff:192.0.2.9]:1", true),
            ("192.0.3.9:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(is_trusted(&config, &client(peer, false)), trusted, "{peer}");
        }
        // A Unix peer is local, and 127.0.0.0/8 is trusted here.
        assert!(is_trusted(&config, &Client::new(None, None, false)));
        let config = Config { trusted_proxies: Vec::new(), ..config };
        assert!(!is_trusted(&config, &Client::new(None, None, false)));
    }

    #[test]
    fn accel_fields_are_removed() {
        let mut fields =
            headers(&[("x-accel-redirect", "/etc"), ("x-accel-buffering", "no"), ("x-accelerate", "1")]);
        let mut asked = fields.clone();
        clean_response(&mut fields);
        assert_eq!(list(&fields), ["x-accelerate: 1"]);
        clean_request(&mut asked, true);
        assert_eq!(list(&asked), ["x-accelerate: 1"]);
    }

    #[test]
    fn lookalike_of_a_field_that_is_ours_or_goes_up_is_removed() {
        let mut fields = headers(&[
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded_proto", "https"),
            ("transfer_encoding", "chunked"),
            ("content_length", "5"),
            ("x_accel_redirect", "/etc"),
            ("x_request_id", "1"),
            ("x-team", "blue"),
            ("x_team", "red"),
            ("x_own", "1"),
            ("_", "1"),
        ]);
        remove_lookalikes(&mut fields);
        assert_eq!(list(&fields), ["_: 1", "x-team: blue", "x_own: 1"]);
    }

    #[test]
    fn own_name_in_via_is_a_loop() {
        let mut fields = headers(&[("via", "1.1 tidegate, 1.1 tidegate-0000")]);
        assert!(!is_loop(&fields));
        add_via_to_request(&mut fields, Version::HTTP_2);
        assert!(is_loop(&fields));
        let last = fields.get_all("via").iter().next_back().unwrap().to_str().unwrap();
        assert!(last.starts_with("2 tidegate-") && last.len() == "2 tidegate-".len() + 16, "{last}");
    }

    #[test]
    fn via_of_a_response_says_how_it_came() {
        let mut fields = headers(&[("via", "1.0 fred")]);
        add_via_to_response(&mut fields, Version::HTTP_11);
        add_via_to_response(&mut fields, Version::HTTP_2);
        let values: Vec<_> = fields.get_all("via").iter().collect();
        assert_eq!(values, ["1.0 fred", "1.1 tidegate", "2 tidegate"]);
        assert!(!is_loop(&fields));
    }

    #[test]
    fn request_id_is_taken_from_a_trusted_proxy_only_if_sane() {
        let longest = "x".repeat(128);
        for id in ["abc-123", "!~", &longest] {
            let fields = headers(&[("x-request-id", id)]);
            assert_eq!(RequestId::of(&fields, true).as_str(), id);
            assert_ne!(RequestId::of(&fields, false).as_str(), id);
        }
        for id in ["", "a b", "a\tb", "\u{e9}", &"x".repeat(129)] {
            let fields = headers(&[("x-request-id", id)]);
            assert_eq!(RequestId::of(&fields, true).as_str().len(), 32, "{id}");
        }
        let twice = headers(&[("x-request-id", "a"), ("x-request-id", "b")]);
        assert_eq!(RequestId::of(&twice, true).as_str().len(), 32);
    }

    #[test]
    fn random_request_ids_differ_within_and_between_threads() {
        let make = || (0..1000).map(|_| RequestId::random().to_string()).collect::<Vec<_>>();
        let mut ids = make();
        ids.extend(std::thread::spawn(make).join().unwrap());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2000);
    }
}
