//! The one decision about a response: does it pass, is it reframed, or must its first bytes tell?
//!
//! Pure. Made when the response head is there; by then the request body has usually gone up, and what it says
//! (`"stream": true`) is known. From the most explicit sign of intent to the least: the route's setting,
//! `Accept: text/event-stream`, the body's flag, the response's media type.
//!
//! The format comes from the route, else from the first bytes of a stream response, else from its media type.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, StatusCode, response};

use super::{headers, request};
use crate::bridge::{Bridge, JSON, NDJSON, SSE};
use crate::codec::charset::Charset;
use crate::codec::coding::{Codings, Unknown};
use crate::codec::repair::Repairs;
use crate::config::{FormatSetting, StreamSettings};
use crate::dialect::{Dialect, GENERIC, OLLAMA};
use crate::format::{self, Format, TEXT, TEXT_JSON, essence};
use crate::stream::{Label, Mode, Wanted};

/// What the request says about the response it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    head_only: bool,
    accept: Accept,
    /// `Accept` names `application/json`, so that an answer in JSON is understood.
    accepts_json: bool,
    /// The request body says to be JSON.
    pub(super) sends_json: bool,
    /// `Accept` says that these are not.
    refuses_events: bool,
    refuses_lines: bool,
    /// What the query asks to be written.
    bridge: Option<&'static Bridge>,
    /// The dialect that the route sets or the path hints at.
    pub(super) dialect: Option<&'static Dialect>,
    /// One of Google's own clients asks: what they send is no part of the API.
    pub(super) is_googles: bool,
}

/// The later ones say more than the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Accept {
    Other,
    /// Names another format of streams, and none of these.
    Format,
    /// Names newline-delimited JSON, and no events.
    Lines,
    /// Names `text/event-stream`.
    Events,
}

/// What is to happen to the response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decision {
    pub(super) mode: Mode,
    pub(super) coding: Option<Codings>,
    pub(super) charset: Option<Charset>,
    /// How the client is written to, where the body is written anew.
    pub(super) bridge: &'static Bridge,
    /// The dialect that the route sets, or that a header or the path hints at.
    pub(super) dialect: Option<&'static Dialect>,
    /// By dialect, body flag or setting, this is the stream of an AI upstream, and may be told of an error.
    pub(super) known_ai: bool,
}

impl Ask {
    /// `path` is the path that the upstream sees.
    pub(super) fn new(settings: &StreamSettings, method: &Method, path: &str, headers: &HeaderMap) -> Self {
        let (mut accept, mut accepts_json) = (Accept::Other, false);
        let (mut refuses_events, mut refuses_lines) = (false, false);
        for (range, is_accepted) in headers::media_ranges(headers) {
            let named = Accept::of(range);
            if is_accepted {
                accept = accept.max(named);
                accepts_json |= request::is_json(range);
            } else {
                refuses_events |= named == Accept::Events;
                refuses_lines |= named == Accept::Lines;
            }
        }
        let dialect = settings.dialect.or_else(|| hinted(path, headers));
        Ask {
            head_only: method == Method::HEAD,
            accept,
            accepts_json,
            sends_json: request::is_json(essence(content_type(headers))),
            refuses_events,
            refuses_lines,
            bridge: None,
            dialect,
            is_googles: headers.contains_key(X_GOOG_API_CLIENT),
        }
    }

    /// With the fields that were put in: they may hint at a dialect.
    pub(super) fn injected(self, settings: &StreamSettings, headers: &HeaderMap) -> Self {
        let dialect = settings.dialect.or_else(|| Dialect::announced(headers)).or(self.dialect);
        Ask { dialect, ..self }
    }

    /// With what the query asks to be written.
    pub(super) fn through(self, bridge: Option<&'static Bridge>) -> Self {
        Ask { bridge, ..self }
    }

    /// Whether the response may be a stream that tidegate reads, as far as the head tells.
    pub(super) fn may_stream(&self, settings: &StreamSettings, method: &Method) -> bool {
        let by_head = || (*method == Method::POST && self.sends_json) || self.accept == Accept::Events;
        !matches!(settings.format, FormatSetting::Off) && settings.intent.unwrap_or_else(by_head)
    }

    /// Whether the client wants a stream and can be promised events before there is a response: it accepts them, the route
    /// says that it gets them, or the API is one that streams nothing else.
    pub(super) fn can_be_promised_events(&self, settings: &StreamSettings, body: Option<bool>) -> bool {
        self.gets_events(settings, body, self.dialect.is_some_and(Dialect::streams_events))
    }

    /// Whether the client wants a stream and can be told inside one that there is none: the same, and also where nothing is
    /// known of the API; but not where its streams tell no errors.
    pub(super) fn can_be_told_in_events(&self, settings: &StreamSettings, body: Option<bool>) -> bool {
        let tells = self.dialect.is_none_or(|dialect| dialect.told.is_some());
        tells && self.gets_events(settings, body, self.dialect.is_none_or(Dialect::streams_events))
    }

    /// `usual`: whether those get events who say nothing of formats.
    fn gets_events(&self, settings: &StreamSettings, body: Option<bool>, usual: bool) -> bool {
        let may = !self.head_only && !matches!(settings.format, FormatSetting::Off);
        let gets_events = match self.chosen(settings, body) {
            Some(bridge) => *bridge == SSE,
            None if self.accept == Accept::Events => true,
            None if self.refuses_events => false,
            None if matches!(self.accept, Accept::Lines | Accept::Format) => false,
            None => settings.intent == Some(true) || usual,
        };
        may && gets_events && self.intent(settings, body) == Some(true)
    }

    /// The bridge that the query names, or the route: one that puts an answer together is not for who asks for a stream.
    fn chosen(&self, settings: &StreamSettings, body: Option<bool>) -> Option<&'static Bridge> {
        let asks = || self.intent(settings, body) == Some(true);
        self.bridge.or_else(|| settings.bridge.filter(|bridge| **bridge != JSON || !asks()))
    }

    /// Whether the client wants a stream, as far as anybody has said; `body` is the request body's flag.
    fn intent(&self, settings: &StreamSettings, body: Option<bool>) -> Option<bool> {
        settings.intent.or((self.accept == Accept::Events).then_some(true)).or(body)
    }
}

impl Accept {
    /// What one media range says; a wildcard is no sign of a stream.
    fn of(range: &str) -> Self {
        if range.eq_ignore_ascii_case("text/event-stream") {
            Accept::Events
        } else if is_lines(range) {
            Accept::Lines
        } else if Format::announced(range).is_some() {
            Accept::Format
        } else {
            Accept::Other
        }
    }
}

/// What the body of a message says to be; empty: nothing.
fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What Google's client libraries send of themselves, in all languages.
const X_GOOG_API_CLIENT: HeaderName = HeaderName::from_static("x-goog-api-client");

/// The dialect that a request hints at. A header says more than a path: many paths serve several dialects.
pub(super) fn hinted(path: &str, headers: &HeaderMap) -> Option<&'static Dialect> {
    Dialect::announced(headers).or_else(|| Dialect::hinted(path))
}

/// Decides. `body` is what the request body says at its top level under `stream`.
pub(super) fn decide(
    settings: &StreamSettings,
    ask: &Ask,
    body: Option<bool>,
    head: &response::Parts,
) -> Decision {
    let intent = ask.intent(settings, body);
    let dialect = settings.dialect.or_else(|| Dialect::announced(&head.headers)).or(ask.dialect);
    let known_ai = match dialect {
        Some(dialect) => dialect.told.is_some(),
        None => settings.intent == Some(true) || body == Some(true),
    };
    let content_type = content_type(&head.headers);
    let label = label(content_type);
    let (bridge, wanted) = bridge(settings, ask, body, dialect, label);
    let pass = Decision { mode: Mode::PassThrough, coding: None, charset: None, bridge, dialect, known_ai };
    let bodiless = ask.head_only || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let wants_none = intent == Some(false) && wanted != Wanted::Answer;
    if bodiless || !head.status.is_success() || wants_none {
        return pass;
    }
    let Ok(coding) = coding(&head.headers) else { return pass };
    let charset = Charset::declared(content_type).filter(|_| settings.transcode);
    match mode(settings, wanted, intent, (content_type, label)) {
        Mode::PassThrough => pass,
        // Bytes in a character set that does not begin with ASCII tell nothing.
        Mode::Sniff(Label::Format(format), Wanted::Events | Wanted::Answer)
        | Mode::Sniff(_, Wanted::In(format))
            if charset.is_some_and(|charset| !charset.begins_with_ascii()) =>
        {
            Decision { mode: Mode::Reframe(format), coding, charset, ..pass }
        }
        mode => Decision { mode, coding, charset, ..pass },
    }
}

/// What is decided before there is a response: events will be written, whatever comes.
pub(super) fn early(ask: &Ask) -> Decision {
    let dialect = ask.dialect;
    Decision { mode: Mode::Await, coding: None, charset: None, bridge: &SSE, dialect, known_ai: true }
}

/// The codings of a body that is read whatever its status is; one with unknown codings is read as it is.
pub(super) fn coding_of_error(headers: &HeaderMap) -> Option<Codings> {
    coding(headers).ok().flatten()
}

/// What is put right in the stream: what the route names, and what can do no harm. Where every event is JSON, as in all
/// dialects but the generic one, that is more.
pub(super) fn repairs(settings: &StreamSettings, dialect: Option<&'static Dialect>) -> Repairs {
    let is_json = dialect.is_some_and(|dialect| *dialect != GENERIC);
    let auto = if settings.repair.auto { Repairs::auto(is_json) } else { Repairs::NONE };
    settings.repair.named.union(auto)
}

/// How the client is written to, and what it can read. From the most explicit sign to the least: the query, the route's
/// setting, `Accept`, the dialect.
fn bridge(
    settings: &StreamSettings,
    ask: &Ask,
    body: Option<bool>,
    dialect: Option<&'static Dialect>,
    label: Label,
) -> (&'static Bridge, Wanted) {
    let set = ask.chosen(settings, body).filter(|bridge| bridge.writes(dialect));
    match (set, ask.accept) {
        (Some(bridge), _) if *bridge == JSON => (bridge, Wanted::Answer),
        (Some(bridge), _) => (bridge, Wanted::Events),
        (None, Accept::Events) if label == Label::Json && ask.accepts_json => (&SSE, Wanted::AsSent),
        (None, Accept::Events) => (&SSE, Wanted::Events),
        (None, Accept::Lines) => (&NDJSON, Wanted::Events),
        (None, Accept::Format) => (&SSE, Wanted::AsSent),
        (None, Accept::Other) if settings.intent == Some(true) => (&SSE, Wanted::Events),
        // Ollama's own clients say nothing, and read lines.
        (None, Accept::Other) if dialect == Some(&OLLAMA) => match label {
            Label::Format(_) if ask.refuses_lines && !ask.refuses_events => (&SSE, Wanted::Events),
            Label::Format(format) if *format == format::NDJSON => (&NDJSON, Wanted::Events),
            Label::Json if settings.fake_stream => (&NDJSON, Wanted::AsSent),
            _ => (&SSE, Wanted::AsSent),
        },
        (None, Accept::Other) => (&SSE, Wanted::AsSent),
    }
}

fn mode(
    settings: &StreamSettings,
    wanted: Wanted,
    intent: Option<bool>,
    (content_type, label): (&str, Label),
) -> Mode {
    match (settings.format, label) {
        (FormatSetting::Off, _) => Mode::PassThrough,
        (FormatSetting::Fixed(format), label) if is_stream(label) || intent == Some(true) => {
            // Text can be anything, a page too.
            let is_text = [&TEXT, &TEXT_JSON].contains(&format);
            if is_text { Mode::Reframe(format) } else { Mode::Sniff(label, Wanted::In(format)) }
        }
        (FormatSetting::Fixed(_), _) => Mode::PassThrough,
        (FormatSetting::Auto, Label::Format(_)) if wanted != Wanted::AsSent => Mode::Sniff(label, wanted),
        (FormatSetting::Auto, Label::Format(format)) if *format == format::SSE => {
            Mode::Sniff(label, Wanted::Events)
        }
        (FormatSetting::Auto, _) if intent.is_some() && may_be_text(essence(content_type)) => {
            Mode::Sniff(label, wanted)
        }
        (FormatSetting::Auto, _) => Mode::PassThrough,
    }
}

fn is_stream(label: Label) -> bool {
    matches!(label, Label::Format(_))
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
            // The usual ones first: a search costs more than all of these.
            matches!(sub, "json" | "octet-stream" | "stream")
                || sub.contains("json")
                || sub.contains("stream+")
        }
        _ => false,
    }
}

/// Whether this media type is one by which a client asks for lines.
fn is_lines(essence: &str) -> bool {
    NDJSON.media_types.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

fn label(content_type: &str) -> Label {
    match Format::announced(content_type) {
        Some(format) => Label::Format(format),
        None if request::is_json(essence(content_type)) => Label::Json,
        None => Label::Other,
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;
    use crate::bridge;
    use crate::codec::repair::Repair;
    use crate::config::{Errors, RepairSetting};
    use crate::dialect::OPENAI_CHAT;
    use crate::format::{AWS_EVENTSTREAM, NDJSON, SSE};
    use crate::stream::HeartbeatForm;

    fn settings() -> StreamSettings {
        StreamSettings {
            format: FormatSetting::Auto,
            transcode: true,
            repair: RepairSetting { auto: true, named: Repairs::NONE },
            dialect: None,
            intent: None,
            hold: None,
            early_head: None,
            heartbeat: None,
            heartbeat_form: HeartbeatForm::Comment,
            errors: Errors::Status,
            max_event_bytes: 1 << 20,
            literal_space: false,
            shapes: None,
            bridge: None,
            bridge_query: None,
            fake_stream: false,
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

    /// Events whatever the bytes are; they tell the format.
    fn promised(format: &'static Format) -> Mode {
        Mode::Sniff(Label::Format(format), Wanted::Events)
    }

    #[test]
    fn labelled_events_are_reframed_unless_the_request_said_no_stream() {
        assert_eq!(mode_of("*/*", None, "Text/Event-Stream; charset=utf-8"), promised(&SSE));
        assert_eq!(mode_of("application/json", Some(true), "text/event-stream"), promised(&SSE));
        assert_eq!(mode_of("application/json", Some(false), "text/event-stream"), Mode::PassThrough);
        assert_eq!(mode_of("text/event-stream", Some(false), "text/event-stream"), promised(&SSE));
    }

    /// What is decided for a request of this path, and how its client is written to.
    fn written(
        settings: &StreamSettings,
        (path, accept, query): (&str, &str, Option<&'static Bridge>),
        body: Option<bool>,
        content_type: &str,
    ) -> (Mode, &'static str) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let ask = Ask::new(settings, &Method::POST, path, &headers).through(query);
        let response = http::Response::builder().status(200).header("content-type", content_type);
        let decision = decide(settings, &ask, body, &response.body(()).unwrap().into_parts().0);
        (decision.mode, decision.bridge.name)
    }

    const CHAT: &str = "/v1/chat/completions";
    const EVENTS: &str = "text/event-stream";
    const LINES: &str = "application/x-ndjson";

    #[test]
    fn format_of_weight_zero_is_not_accepted() {
        let decided =
            |accept: &str| decided(&settings(), accept, Some(true), &[("content-type", "text/plain")]);
        assert_eq!(decided("text/event-stream").mode, Mode::Sniff(Label::Other, Wanted::Events));
        assert_eq!(decided("text/event-stream;q=0, */*").mode, Mode::Sniff(Label::Other, Wanted::AsSent));
        assert_eq!(*decided("text/event-stream;q=0, application/x-ndjson").bridge, bridge::NDJSON);
        assert_eq!(*decided("application/x-ndjson; q=0, text/event-stream").bridge, bridge::SSE);
        let native = |accept| written(&settings(), ("/api/chat", accept, None), Some(true), LINES);
        assert_eq!(native("application/x-ndjson;q=0, */*"), (promised(&NDJSON), "sse"));
        assert_eq!(native("application/x-ndjson;q=0, text/event-stream;q=0, */*").1, "ndjson");
    }

    #[test]
    fn who_refuses_events_is_told_nothing_in_them_but_where_the_query_or_the_route_chose_them() {
        let told = |accept: &str, query| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            let ask = Ask::new(&settings(), &Method::POST, CHAT, &headers).through(query);
            let (told, promised) = (Ask::can_be_told_in_events, Ask::can_be_promised_events);
            (told(&ask, &settings(), Some(true)), promised(&ask, &settings(), Some(true)))
        };
        assert_eq!(told("application/json", None), (true, true));
        assert_eq!(told("text/event-stream;q=0, application/json", None), (false, false));
        assert_eq!(told("*/*;q=0.5, text/event-stream;q=0.000", None), (false, false));
        assert_eq!(told("text/event-stream;q=0", Some(&bridge::SSE)), (true, true));
    }

    #[test]
    fn clients_that_accept_lines_get_lines_and_so_do_ollamas_own() {
        for accept in
            ["application/x-ndjson", "application/jsonl", "text/plain, Application/X-JSONLines;q=0.9"]
        {
            for label in [&SSE, &NDJSON] {
                let (mode, bridge) = written(&settings(), ("/x", accept, None), None, label.media_types[0]);
                assert_eq!((mode, bridge), (promised(label), "ndjson"), "{accept}");
            }
        }
        let both = "application/x-ndjson, text/event-stream";
        assert_eq!(written(&settings(), ("/x", both, None), None, LINES), (promised(&NDJSON), "sse"));
        for accept in ["*/*", "application/json"] {
            let native = ("/api/chat", accept, None);
            assert_eq!(written(&settings(), native, None, LINES), (promised(&NDJSON), "ndjson"));
            assert_eq!(written(&settings(), native, Some(true), EVENTS), (promised(&SSE), "sse"));
        }
        let pull = ("/api/pull", "*/*", None);
        assert_eq!(written(&settings(), pull, None, LINES).0, Mode::PassThrough);
        let sequence = ("/x", "application/json-seq", None);
        assert_eq!(written(&settings(), sequence, None, "application/json-seq").0, Mode::PassThrough);
    }

    #[test]
    fn stream_is_put_together_on_a_route_that_says_so_for_who_asks_for_none() {
        let set = StreamSettings { bridge: Some(&JSON), ..settings() };
        let asked = |path, accept, body, label| written(&set, (path, accept, None), body, label);
        let answer = |label| (Mode::Sniff(label, Wanted::Answer), "json");
        for body in [None, Some(false)] {
            assert_eq!(asked(CHAT, "*/*", body, EVENTS), answer(Label::Format(&SSE)));
            assert_eq!(asked("/api/generate", "*/*", body, LINES), answer(Label::Format(&NDJSON)));
            assert_eq!(asked(CHAT, EVENTS, body, EVENTS), (promised(&SSE), "sse"));
        }
        assert_eq!(
            asked(CHAT, "*/*", Some(false), "application/json"),
            answer(Label::Json),
            "unless it lies"
        );
        assert_eq!(asked(CHAT, "*/*", Some(true), EVENTS), (promised(&SSE), "sse"));
        assert_eq!(asked(CHAT, "*/*", Some(false), "image/png").0, Mode::PassThrough);
        assert_eq!(asked("/v1/responses", "*/*", Some(false), EVENTS).0, Mode::PassThrough);
        let untold = written(&settings(), (CHAT, "*/*", None), Some(false), EVENTS);
        assert_eq!(untold.0, Mode::PassThrough, "nothing is converted that nobody asked for");
    }

    #[test]
    fn query_wins_over_the_setting_and_that_over_all_else() {
        let set = StreamSettings { bridge: Some(&bridge::NDJSON), ..settings() };
        assert_eq!(written(&set, (CHAT, EVENTS, None), Some(true), EVENTS), (promised(&SSE), "ndjson"));
        assert_eq!(
            written(&set, (CHAT, EVENTS, Some(&bridge::SSE)), None, LINES),
            (promised(&NDJSON), "sse")
        );
        let (mode, name) = written(&set, (CHAT, EVENTS, Some(&JSON)), Some(true), EVENTS);
        assert_eq!((mode, name), (Mode::Sniff(Label::Format(&SSE), Wanted::Answer), "json"));
        let other = written(&settings(), ("/v1/responses", EVENTS, Some(&JSON)), Some(true), EVENTS);
        assert_eq!(other, (promised(&SSE), "sse"), "a dialect without whole answers");
        assert_eq!(written(&set, (CHAT, "*/*", None), None, "application/json").0, Mode::PassThrough);
        let asked = Ask::new(&set, &Method::POST, CHAT, &HeaderMap::new());
        assert!(!asked.can_be_promised_events(&set, Some(true)), "no head of events before there is one");
        assert!(asked.through(Some(&bridge::SSE)).can_be_promised_events(&set, Some(true)));
    }

    #[test]
    fn other_formats_become_events_only_for_clients_that_accept_events() {
        assert_eq!(mode_of("text/event-stream", None, "application/x-ndjson"), promised(&NDJSON));
        assert_eq!(mode_of("*/*", None, "application/x-ndjson"), Mode::PassThrough);
        let mode = mode_of("*/*", Some(true), "application/x-ndjson");
        assert_eq!(mode, Mode::Sniff(Label::Format(&NDJSON), Wanted::AsSent), "unless the label lies");
        let wished = StreamSettings { intent: Some(true), ..settings() };
        let decision = decided(&wished, "*/*", None, &[("content-type", "application/x-ndjson")]);
        assert_eq!(decision.mode, promised(&NDJSON));
        let aws = "application/vnd.amazon.eventstream";
        assert_eq!(mode_of("text/event-stream", None, aws), promised(&AWS_EVENTSTREAM));
        assert_eq!(
            mode_of(aws, Some(true), aws),
            Mode::PassThrough,
            "bytes that are no text are not held back"
        );
        assert_eq!(mode_of("*/*", Some(true), aws), Mode::PassThrough);
    }

    #[test]
    fn other_labels_are_sniffed_only_where_a_stream_is_wanted() {
        let sniff = Mode::Sniff(Label::Other, Wanted::Events);
        for media_type in ["text/plain", "text/html", "application/octet-stream", ""] {
            assert_eq!(mode_of("text/event-stream", None, media_type), sniff, "{media_type}");
            assert_eq!(mode_of("*/*", None, media_type), Mode::PassThrough, "{media_type}");
        }
        let json = |accept| mode_of(accept, Some(true), "application/json");
        assert_eq!(json("text/event-stream"), Mode::Sniff(Label::Json, Wanted::Events));
        for accept in ["*/*", "application/json, text/event-stream"] {
            assert_eq!(
                json(accept),
                Mode::Sniff(Label::Json, Wanted::AsSent),
                "{accept}: JSON is understood"
            );
        }
        for media_type in ["image/png", "audio/mpeg", "application/zip"] {
            let mode = mode_of("text/event-stream", Some(true), media_type);
            assert_eq!(mode, Mode::PassThrough, "{media_type}");
        }
    }

    #[test]
    fn a_declared_charset_is_converted_where_the_body_is_reframed() {
        let of = |settings: &StreamSettings, media_type| {
            let decision = decided(settings, "text/event-stream", None, &[("content-type", media_type)]);
            (decision.mode, decision.charset.map(Charset::name))
        };
        let gbk = "text/event-stream; charset=gbk";
        assert_eq!(of(&settings(), gbk), (promised(&SSE), Some("GBK")));
        let utf16 = "text/event-stream; charset=utf-16le";
        assert_eq!(of(&settings(), utf16), (Mode::Reframe(&SSE), Some("UTF-16LE")), "its bytes tell nothing");
        assert_eq!(of(&settings(), "text/event-stream; charset=UTF-8"), (promised(&SSE), None));
        assert_eq!(of(&settings(), "image/png; charset=gbk"), (Mode::PassThrough, None));
        let ignored = StreamSettings { transcode: false, ..settings() };
        assert_eq!(of(&ignored, gbk), (promised(&SSE), None));
    }

    #[test]
    fn repairs_are_those_that_are_named_and_those_that_can_do_no_harm() {
        let auto = settings();
        assert_eq!(repairs(&auto, None), Repairs::auto(false));
        assert_eq!(repairs(&auto, Some(&GENERIC)), Repairs::auto(false));
        assert_eq!(repairs(&auto, Some(&OPENAI_CHAT)), Repairs::auto(true));
        let glued = Repairs::NONE.with(Repair::Glued);
        let both = StreamSettings { repair: RepairSetting { auto: true, named: glued }, ..settings() };
        assert_eq!(repairs(&both, None), Repairs::auto(false).with(Repair::Glued));
        let named = StreamSettings { repair: RepairSetting { auto: false, named: glued }, ..settings() };
        assert_eq!(repairs(&named, Some(&OPENAI_CHAT)), glued);
    }

    #[test]
    fn settings_win() {
        let sse = [("content-type", "text/event-stream")];
        let off = StreamSettings { format: FormatSetting::Off, ..settings() };
        assert_eq!(decided(&off, "text/event-stream", Some(true), &sse).mode, Mode::PassThrough);
        let fixed = StreamSettings { format: FormatSetting::Fixed(&NDJSON), ..settings() };
        assert_eq!(
            decided(&fixed, "*/*", Some(true), &[]).mode,
            Mode::Sniff(Label::Other, Wanted::In(&NDJSON))
        );
        let labelled = decided(&fixed, "*/*", None, &sse).mode;
        assert_eq!(labelled, Mode::Sniff(Label::Format(&SSE), Wanted::In(&NDJSON)));
        let text = StreamSettings { format: FormatSetting::Fixed(&TEXT), ..settings() };
        assert_eq!(decided(&text, "*/*", None, &sse).mode, Mode::Reframe(&TEXT));
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
            assert_eq!((of(known).mode, of(known).coding.is_some()), (promised(&SSE), true), "{known}");
        }
        assert_eq!((of("identity").mode, of("identity").coding), (promised(&SSE), None));
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
        assert_eq!(
            decision,
            Decision {
                mode: Mode::PassThrough,
                coding: None,
                charset: None,
                bridge: &crate::bridge::SSE,
                dialect: ask.dialect,
                known_ai: true
            }
        );
    }

    type Fields<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn request_may_be_answered_by_a_stream_where_its_head_says_so() {
        let stream = ("accept", "text/html, Text/Event-Stream;q=0.5");
        let json = ("content-type", "Application/JSON; charset=utf-8");
        let cases: &[(Method, Fields<'_>, bool)] = &[
            (Method::GET, &[stream], true),
            (Method::POST, &[json], true),
            (Method::POST, &[("content-type", "application/vnd.api+json")], true),
            (Method::PUT, &[json], false),
            (Method::POST, &[("content-type", "application/x-ndjson")], false),
            (Method::POST, &[("content-type", "multipart/form-data; a=application/json")], false),
            (Method::GET, &[("accept", "*/*")], false),
            (Method::GET, &[("accept", "text/*, text/event-streams")], false),
            (Method::POST, &[], false),
        ];
        for (method, fields, expected) in cases {
            let headers = crate::auth::fixture::head("/", fields).headers;
            let may_stream =
                |set: &StreamSettings| Ask::new(set, method, CHAT, &headers).may_stream(set, method);
            assert_eq!(may_stream(&settings()), *expected, "{method} {fields:?}");
            for (intent, expected) in [(true, true), (false, false)] {
                let mut stream = settings();
                stream.intent = Some(intent);
                assert_eq!(may_stream(&stream), expected);
                stream.format = FormatSetting::Off;
                assert!(!may_stream(&stream));
            }
        }
    }
}
