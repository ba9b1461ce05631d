//! Kinds of clients, and what each needs: one entry in [`PROFILES`] per profile.
//!
//! A profile is a set of defaults for keys of `[stream]`, written as they are in the configuration: the same keys that a
//! `[profile.NAME]` of the operator's may have. What the configuration says about a key wins over it. [`detected`] takes a
//! request for the kind of client that it shows to be. That is a hint and no authentication: every field can be
//! forged, and what a profile changes is the form of a stream, never who may have it.
//!
//! Invariant: what `auto` takes a client for must not harm a client that it mistakes, so only profiles with certain
//! [signs](Profile::signs) are ever detected; the others must be named, or given [signs of the operator's](Signs).
//! Resolved by [`crate::config`] to one set of settings for each route and profile; chosen by [`crate::proxy`] for each
//! request.

mod signs;

use http::header::{ACCEPT, HeaderMap, HeaderName, ORIGIN, REFERER, USER_AGENT};
use http::{Method, Uri};

pub use signs::{Signs, shown};

/// One kind of client.
#[derive(Debug)]
pub struct Profile {
    /// Its name in the config, in the log and in `Tidegate-Profile`.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// The keys of `[stream]` that it sets, and their values as TOML.
    pub keys: &'static [(&'static str, &'static str)],
    /// By what `auto` knows its clients, in words; empty: by nothing, it must be named.
    pub signs: &'static str,
    /// Whether a request shows those signs.
    shows: fn(&Shown<'_>) -> bool,
}

/// What a request shows of its client.
#[derive(Debug, Clone, Copy)]
struct Shown<'h> {
    method: &'h Method,
    headers: &'h HeaderMap,
}

/// Whoever is not known: the defaults, which every client of the standard bears.
pub static AUTO: Profile = Profile {
    name: "auto",
    doc: "any client: what is safe for all; by its signs it may be taken for another of these",
    keys: &[],
    signs: "",
    shows: |_| true,
};

/// Pages. `EventSource` gives a stream up for good on any status but 200, and shows the page no word of it (HTML 9.2.2).
pub static BROWSER: Profile = Profile {
    name: "browser",
    doc: "web pages: fetch and its libraries; a native EventSource is told of errors inside the stream",
    keys: &[("heartbeat_form", r#""comment""#), ("errors", r#""event-source""#)],
    signs: "`Sec-Fetch-Mode`; or a `User-Agent` that begins with `Mozilla/` and `Accept: text/event-stream`",
    shows: |shown| {
        let is_page = || shown.agent().starts_with("Mozilla/") && shown.accepts_events();
        shown.headers.contains_key(SEC_FETCH_MODE) || is_page()
    },
};

/// The official libraries of OpenAI, Anthropic and others: they parse as the standard has it, and read statuses.
pub static SDK: Profile = Profile {
    name: "sdk",
    doc: "official SDKs and HTTP libraries: nothing that they could stumble over, whatever other profiles stand on",
    keys: &[
        ("heartbeat_form", r#""comment""#),
        ("errors", r#""status""#),
        ("done", r#""keep""#),
        ("encode", r#""off""#),
        ("fields", r#""all""#),
        ("ids", r#""keep""#),
        ("error_events", r#""keep""#),
    ],
    signs: "`X-Stainless-Lang`; or a `User-Agent` such as `OpenAI/…`, `Anthropic/…`, `python-httpx/…`, `node`",
    shows: |shown| {
        let agent = shown.agent();
        shown.headers.contains_key(X_STAINLESS_LANG)
            || SDK_AGENTS.iter().any(|begin| agent.starts_with(begin))
    },
};

/// WeChat mini-programs: `wx.request` with `enableChunked`, decoded and parsed by hand, any status a success.
pub static MINIPROGRAM: Profile = Profile {
    name: "miniprogram",
    doc: "WeChat mini-programs: ASCII, small and few events, empty deltas for heartbeats, errors inside the stream",
    keys: &[
        ("heartbeat_form", r#""delta""#),
        ("errors", r#""in-band""#),
        ("done", r#""auto""#),
        ("merge", r#""40ms""#),
        ("split", r#""3900B""#),
        ("ascii", "true"),
    ],
    signs: "a `Referer` below `https://servicewechat.com/`, which WeChat sets itself; or a POST whose `User-Agent` has `MicroMessenger` and \
            `MiniProgramEnv`, without `Origin`, `Sec-Fetch-Mode` and `Accept: text/event-stream`, which pages in a web-view send",
    shows: |shown| shown.is_from_wechat() || shown.is_of_wechat(),
};

/// uni-app x: iOS drops every block that begins with a colon, Android shows no end of a stream and no other status.
pub static UNIAPPX: Profile = Profile {
    name: "uniappx",
    doc: "uni.connectEventSource: heartbeats in blocks of their own, errors inside the stream, a prompt end",
    keys: &[
        ("heartbeat_form", r#""block""#),
        ("errors", r#""in-band""#),
        ("done", r#""auto""#),
        ("done_close", r#""1s""#),
        ("error_events", r#""named""#),
    ],
    signs: "",
    shows: |_| false,
};

/// Code that takes a read for an event, and the first six bytes of it for `data: `.
pub static NAIVE: Profile = Profile {
    name: "naive",
    doc: "hand-written readers that take each read for one event: data lines alone, small, far apart, no comments",
    keys: &[
        ("heartbeat_form", r#""off""#),
        ("done", r#""auto""#),
        ("merge", r#""40ms""#),
        ("split", r#""3900B""#),
        ("ascii", "true"),
        ("fields", r#""data-only""#),
    ],
    signs: "",
    shows: |_| false,
};

/// Every profile, in the order of `tidegate formats`.
pub static PROFILES: &[&Profile] = &[&AUTO, &BROWSER, &SDK, &MINIPROGRAM, &UNIAPPX, &NAIVE];

/// What a request is taken for that no profile was named for, and that shows none of the operator's [signs](shown).
pub fn detected(method: &Method, headers: &HeaderMap) -> &'static Profile {
    let shown = Shown { method, headers };
    // An SDK may run in a page, and a mini-program calls itself Mozilla: the surer signs come first.
    let known = [&MINIPROGRAM, &SDK, &BROWSER].into_iter().find(|profile| (profile.shows)(&shown));
    known.unwrap_or(&AUTO)
}

/// What [`detected`] may find.
pub fn detectable() -> impl Iterator<Item = &'static Profile> {
    PROFILES.iter().copied().filter(|profile| **profile == AUTO || !profile.signs.is_empty())
}

/// Whether a native `EventSource` asks, or what asks like one: it can only GET, and accepts events and nothing else
/// (HTML 9.2.2).
pub fn is_event_source(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET && Shown { method, headers }.accepts_events()
}

impl Shown<'_> {
    fn field(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn agent(&self) -> &str {
        self.field(&USER_AGENT)
    }

    fn accepts_events(&self) -> bool {
        self.field(&ACCEPT).trim().eq_ignore_ascii_case("text/event-stream")
    }

    /// `https://servicewechat.com/{appid}/{version}/page-frame.html`: apps cannot set it (wx.request reference, 2026-11).
    fn is_from_wechat(&self) -> bool {
        let Ok(uri) = self.field(&REFERER).parse::<Uri>() else { return false };
        uri.scheme_str() == Some("https") && uri.authority().is_some_and(|authority| authority == WECHAT)
    }

    /// Pages in a web-view of a mini-program have the same agent, but are pages.
    fn is_of_wechat(&self) -> bool {
        let agent = self.agent();
        let is_page = || {
            [ORIGIN, SEC_FETCH_MODE].iter().any(|name| self.headers.contains_key(name))
                || self.accepts_events()
        };
        agent.contains("MicroMessenger/")
            && agent.contains("MiniProgramEnv/")
            && *self.method == Method::POST
            && !is_page()
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const WECHAT: &str = "servicewechat.com";

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the SDKs of OpenAI and Anthropic send, which Stainless generates.
const X_STAINLESS_LANG: HeaderName = HeaderName::from_static("x-stainless-lang");

/// How User-Agents of SDKs and of the HTTP libraries below them begin.
const SDK_AGENTS: [&str; 12] = [
    "OpenAI/",
    "AsyncOpenAI/",
    "Anthropic/",
    "AsyncAnthropic/",
    "ai/",
    "ai-sdk/",
    "google-genai-sdk/",
    "ollama-",
    "python-httpx/",
    "python-requests/",
    "Go-http-client/",
    "node",
];

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/142.0 Safari/537.36";
    const WX: &str = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 XWEB/1 MicroMessenger/8.0.50 MiniProgramEnv/android";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn taken_for(method: Method, fields: &[(&'static str, &str)]) -> &'static str {
        detected(&method, &headers(fields)).name
    }

    #[test]
    fn client_is_taken_for_what_it_shows_to_be() {
        let page_frame = "https://servicewechat.com/wx0123456789abcdef/17/page-frame.html";
        for (fields, name) in [
            (&[("referer", page_frame), ("user-agent", WX)][..], "miniprogram"),
            (&[("referer", page_frame)], "miniprogram"),
            (&[("user-agent", WX)], "miniprogram"),
            // A page in a web-view of a mini-program.
            (&[("user-agent", WX), ("origin", "https://h5.example")], "auto"),
            (&[("user-agent", WX), ("sec-fetch-mode", "cors")], "browser"),
            (&[("user-agent", WX), ("accept", "text/event-stream")], "browser"),
            // WeChat's own browser.
            (&[("user-agent", "Mozilla/5.0 MicroMessenger/8.0.50"), ("accept", "*/*")], "auto"),
            // The host is compared, not its letters.
            (&[("referer", "https://servicewechat.com.evil.example/wx/1/page-frame.html")], "auto"),
            (&[("referer", "https://evil.example/?https://servicewechat.com/")], "auto"),
            (&[("referer", "https://user@servicewechat.com/")], "auto"),
            (&[("referer", "http://servicewechat.com/wx/1/page-frame.html")], "auto"),
            (&[("user-agent", PAGE), ("accept", "text/event-stream")], "browser"),
            (&[("user-agent", PAGE), ("sec-fetch-mode", "cors"), ("accept", "*/*")], "browser"),
            (&[("user-agent", PAGE), ("accept", "text/html")], "auto"),
            (&[("user-agent", "OpenAI/Python 2.8.1")], "sdk"),
            (&[("user-agent", "Anthropic/JS 0.70.0")], "sdk"),
            (&[("user-agent", "node"), ("sec-fetch-mode", "cors")], "sdk"),
            (&[("user-agent", PAGE), ("sec-fetch-mode", "cors"), ("x-stainless-lang", "js")], "sdk"),
            (&[("user-agent", "curl/8.17.0")], "auto"),
            (&[], "auto"),
        ] {
            assert_eq!(taken_for(Method::POST, fields), name, "{fields:?}");
        }
        assert_eq!(taken_for(Method::GET, &[("user-agent", WX)]), "auto", "a page that is opened");
    }

    #[test]
    fn only_profiles_with_signs_are_detected() {
        let names: Vec<&str> = detectable().map(|profile| profile.name).collect();
        assert_eq!(names, ["auto", "browser", "sdk", "miniprogram"]);
        for profile in PROFILES {
            assert!(!profile.doc.is_empty() && (profile.name == "auto" || !profile.keys.is_empty()));
        }
    }

    #[test]
    fn event_source_gets_and_accepts_events_alone() {
        let events = headers(&[("accept", "text/event-stream")]);
        assert!(is_event_source(&Method::GET, &events));
        assert!(!is_event_source(&Method::POST, &events));
        for accept in ["*/*", "application/json, text/event-stream"] {
            assert!(!is_event_source(&Method::GET, &headers(&[("accept", accept)])), "{accept}");
        }
    }
}
