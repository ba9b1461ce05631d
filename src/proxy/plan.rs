//! The one decision about a response: does it pass, is it reframed, or must its first bytes tell?
//!
//! Pure. Made when the response head is there; by then the request body has usually gone up, and what it says
//! (`"stream": true`) is known. From the most explicit sign of intent to the least: the route's setting,
//! `Accept: text/event-stream`, the body's flag, the response's media type.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, response};

use super::{headers, request};
use crate::codec::coding::{Codings, Unknown};
use crate::config::{FormatSetting, StreamSettings};
use crate::dialect::Dialect;
use crate::format::{Format, SSE, essence};
use crate::stream::{Label, Mode, Wanted};

/// What the request says about the response it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    head_only: bool,
    accept: Accept,
    /// The dialect that the route sets or the path hints at.
    pub(super) dialect: Option<&'static Dialect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    /// Names `text/event-stream`.
    Events,
    /// Names newline-delimited JSON, and no events.
    Lines,
    Other,
}

/// What is to happen to the response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decision {
    pub(super) mode: Mode,
    pub(super) coding: Option<Codings>,
    /// By path, body flag or setting, this is the stream of an AI upstream.
    pub(super) known_ai: bool,
}

impl Ask {
    /// `path` is the path that the upstream sees.
    pub(super) fn new(settings: &StreamSettings, method: &Method, path: &str, headers: &HeaderMap) -> Self {
        let names_lines =
            || headers::tokens(headers, &ACCEPT).any(|range| Format::announced(range).is_some());
        let accept = if request::accepts_event_stream(headers) {
            Accept::Events
        } else if names_lines() {
            Accept::Lines
        } else {
            Accept::Other
        };
        let dialect = settings.dialect.or_else(|| Dialect::hinted(path));
        Ask { head_only: method == Method::HEAD, accept, dialect }
    }

    /// Whether the client wants a stream, as far as anybody has said; `body` is the request body's flag.
    fn intent(&self, settings: &StreamSettings, body: Option<bool>) -> Option<bool> {
        settings.intent.or((self.accept == Accept::Events).then_some(true)).or(body)
    }
}

/// Decides. `body` is what the request body says at its top level under `stream`.
pub(super) fn decide(
    settings: &StreamSettings,
    ask: &Ask,
    body: Option<bool>,
    head: &response::Parts,
) -> Decision {
    let intent = ask.intent(settings, body);
    let known_ai = ask.dialect.is_some() || settings.intent == Some(true) || body == Some(true);
    let pass = Decision { mode: Mode::PassThrough, coding: None, known_ai };
    let bodiless = ask.head_only || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if bodiless || !head.status.is_success() || intent == Some(false) {
        return pass;
    }
    let Ok(coding) = coding(&head.headers) else { return pass };
    match mode(settings, ask, intent, &head.headers) {
        Mode::PassThrough => pass,
        mode => Decision { mode, coding, known_ai },
    }
}

fn mode(settings: &StreamSettings, ask: &Ask, intent: Option<bool>, headers: &HeaderMap) -> Mode {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let announced = Format::announced(content_type);
    let wanted = match ask.accept {
        Accept::Events => Wanted::Events,
        Accept::Lines => Wanted::AsSent,
        Accept::Other if settings.intent == Some(true) => Wanted::Events,
        Accept::Other => Wanted::AsSent,
    };
    match (settings.format, announced) {
        (FormatSetting::Off, _) => Mode::PassThrough,
        (FormatSetting::Fixed(format), Some(_)) => Mode::Reframe(format),
        (FormatSetting::Fixed(format), None) if intent == Some(true) => Mode::Reframe(format),
        (FormatSetting::Fixed(_), None) => Mode::PassThrough,
        (FormatSetting::Auto, Some(format)) if *format == SSE || wanted == Wanted::Events => {
            Mode::Reframe(format)
        }
        (FormatSetting::Auto, Some(_)) => Mode::PassThrough,
        (FormatSetting::Auto, None) if intent == Some(true) && may_be_text(essence(content_type)) => {
            Mode::Sniff(label(essence(content_type)), wanted)
        }
        (FormatSetting::Auto, None) => Mode::PassThrough,
    }
}

/// The codings that the body has, if any; an error for what cannot be taken off.
fn coding(headers: &HeaderMap) -> Result<Option<Codings>, Unknown> {
    let fields = headers.get_all(CONTENT_ENCODING).into_iter();
    Codings::from_fields(fields.map(|value| value.to_str().unwrap_or("?")))
}

/// Whether a body with this media type may be a mislabelled text stream. Pictures, sound, archives and binary
/// event streams are what they say; `application/octet-stream` says nothing.
fn may_be_text(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    let (top, sub) = essence.split_once('/').unwrap_or((&essence, ""));
    match top {
        "" | "text" => true,
        "application" => {
            sub == "octet-stream" || sub.contains("json") || sub.contains("stream+") || sub == "stream"
        }
        _ => false,
    }
}

fn label(essence: &str) -> Label {
    if request::is_json(essence) { Label::Json } else { Label::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::NDJSON;

    fn settings() -> StreamSettings {
        StreamSettings {
            format: FormatSetting::Auto,
            dialect: None,
            intent: None,
            heartbeat: None,
            max_event_bytes: 1 << 20,
        }
    }

    fn decided(
        settings: &StreamSettings,
        accept: &str,
        body: Option<bool>,
        head: &[(&str, &str)],
    ) -> Decision {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let ask = Ask::new(settings, &Method::POST, "/v1/x", &headers);
        let mut response = http::Response::builder().status(200);
        for (name, value) in head {
            response = response.header(*name, *value);
        }
        decide(settings, &ask, body, &response.body(()).unwrap().into_parts().0)
    }

    fn mode_of(accept: &str, body: Option<bool>, content_type: &str) -> Mode {
        decided(&settings(), accept, body, &[("content-type", content_type)]).mode
    }

    #[test]
    fn labelled_events_are_reframed_unless_the_request_said_no_stream() {
        assert_eq!(mode_of("*/*", None, "Text/Event-Stream; charset=utf-8"), Mode::Reframe(&SSE));
        assert_eq!(mode_of("application/json", Some(true), "text/event-stream"), Mode::Reframe(&SSE));
        assert_eq!(mode_of("application/json", Some(false), "text/event-stream"), Mode::PassThrough);
        assert_eq!(mode_of("text/event-stream", Some(false), "text/event-stream"), Mode::Reframe(&SSE));
    }

    #[test]
    fn lines_become_events_only_for_clients_that_accept_events() {
        assert_eq!(mode_of("text/event-stream", None, "application/x-ndjson"), Mode::Reframe(&NDJSON));
        assert_eq!(mode_of("application/x-ndjson", Some(true), "application/x-ndjson"), Mode::PassThrough);
        assert_eq!(mode_of("*/*", Some(true), "application/x-ndjson"), Mode::PassThrough);
        let wished = StreamSettings { intent: Some(true), ..settings() };
        let decision = decided(&wished, "*/*", None, &[("content-type", "application/x-ndjson")]);
        assert_eq!(decision.mode, Mode::Reframe(&NDJSON));
    }

    #[test]
    fn other_labels_are_sniffed_only_where_a_stream_is_wanted() {
        let sniff = Mode::Sniff(Label::Other, Wanted::Events);
        for media_type in ["text/plain", "text/html", "application/octet-stream", ""] {
            assert_eq!(mode_of("text/event-stream", None, media_type), sniff, "{media_type}");
            assert_eq!(mode_of("*/*", None, media_type), Mode::PassThrough, "{media_type}");
        }
        assert_eq!(mode_of("*/*", Some(true), "application/json"), Mode::Sniff(Label::Json, Wanted::AsSent));
        for media_type in ["image/png", "application/vnd.amazon.eventstream", "audio/mpeg", "application/zip"]
        {
            assert_eq!(
                mode_of("text/event-stream", Some(true), media_type),
                Mode::PassThrough,
                "{media_type}"
            );
        }
    }

    #[test]
    fn settings_win() {
        let sse = [("content-type", "text/event-stream")];
        let off = StreamSettings { format: FormatSetting::Off, ..settings() };
        assert_eq!(decided(&off, "text/event-stream", Some(true), &sse).mode, Mode::PassThrough);
        let fixed = StreamSettings { format: FormatSetting::Fixed(&NDJSON), ..settings() };
        assert_eq!(decided(&fixed, "*/*", Some(true), &[]).mode, Mode::Reframe(&NDJSON));
        assert_eq!(
            decided(&fixed, "*/*", None, &[("content-type", "application/json")]).mode,
            Mode::PassThrough
        );
        let never = StreamSettings { intent: Some(false), ..settings() };
        assert_eq!(decided(&never, "text/event-stream", Some(true), &sse).mode, Mode::PassThrough);
    }

    #[test]
    fn a_known_coding_is_taken_off_and_an_unknown_one_passes() {
        let of = |value| {
            decided(
                &settings(),
                "*/*",
                None,
                &[("content-type", "text/event-stream"), ("content-encoding", value)],
            )
        };
        for known in ["gzip", "br", "deflate, zstd", "identity, GZIP"] {
            assert_eq!((of(known).mode, of(known).coding.is_some()), (Mode::Reframe(&SSE), true), "{known}");
        }
        assert_eq!((of("identity").mode, of("identity").coding), (Mode::Reframe(&SSE), None));
        for unknown in ["compress", "gzip, x-own", "gzip, br, zstd", "\u{e4}"] {
            assert_eq!((of(unknown).mode, of(unknown).coding), (Mode::PassThrough, None), "{unknown}");
        }
    }

    #[test]
    fn errors_pass() {
        let headers = HeaderMap::new();
        let ask = Ask::new(&settings(), &Method::POST, "/v1/chat/completions", &headers);
        let response = http::Response::builder().status(429).header("content-type", "text/event-stream");
        let decision = decide(&settings(), &ask, Some(true), &response.body(()).unwrap().into_parts().0);
        assert_eq!(decision, Decision { mode: Mode::PassThrough, coding: None, known_ai: true });
    }
}
