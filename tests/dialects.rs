//! Every dialect: recorded streams in `tests/data/DIALECT/`, cut at every byte and ended in every way, with errors of
//! the upstream, and through the real program. `docs/dialects.md` is made from the table and the same captures.

pub mod capture;
mod page;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tidegate::config::StreamSettings;
use tidegate::dialect::{DIALECTS, Dialect, Told};
use tidegate::profile::PROFILES;
use tidegate::stream::{Cause, End, Failure, Out, Plan, Session};

use crate::support::client::{Call, Request, Rest};
use crate::support::session::{self, Ending, Said};
use crate::support::sse;
use crate::support::tidegate::Tidegate;
use crate::support::upstream::{Exchange, Upstream};
use capture::{Capture, complete};

/// What must come of a stream that had `events` complete events and then ended so: the outcome, and whether the
/// client is told of a break.
fn expected(capture: &Capture, events: usize, ending: Ending, open: bool) -> (&'static str, bool) {
    let reached = |index: Option<usize>| index.is_some_and(|index| events > index);
    if reached(capture.last) && !capture.is_bracketed() {
        return ("done", false);
    }
    let known = capture.hint().is_some() || events > 0;
    let tells = known && capture.dialect.told.is_some();
    match ending {
        Ending::Reset => ("upstream:truncated", tells),
        Ending::Silence => ("upstream:timeout_event_gap", tells),
        Ending::Clean if open => ("upstream:truncated", tells),
        Ending::Clean if events == 0 && tells => ("upstream:empty", true),
        Ending::Clean if events == 0 || capture.finish.is_none() || reached(capture.finish) => {
            ("done", false)
        }
        Ending::Clean => ("upstream:truncated", tells),
    }
}

/// Everything that is wrong with what came out of a stream that ended too early, or not.
fn faults(capture: &Capture, said: &Said, want: (&str, bool)) -> Vec<String> {
    let (outcome, tells) = want;
    let mut faults = Vec::new();
    if said.outcome != outcome {
        faults.push(format!("outcome {} and not {outcome}", said.outcome));
    }
    let told = said.told().map(String::from_utf8_lossy);
    if told.is_some() != tells {
        faults.push(format!("told: {told:?}"));
    }
    if let (Some(told), Some(form)) = (told, capture.dialect.told.map(Told::as_event)) {
        let json = told.strip_prefix(form.before).and_then(|rest| rest.strip_suffix(form.after));
        if json.is_none_or(|json| serde_json::from_str::<serde_json::Value>(json).is_err()) {
            faults.push(format!("not in its form: {told:?}"));
        }
    }
    let cuts = outcome != "done" && !tells;
    if said.end != Some(if cuts { End::Abort } else { End::Clean }) {
        faults.push(format!("ends {:?}", said.end));
    }
    let events = complete(said);
    if !capture.events.starts_with(&events) {
        faults.push(format!("events that never were: {events:?}"));
    }
    faults.extend(sse::faults(said.theirs().iter().map(Vec::as_slice)));
    faults
}

/// How a route treats clients of this profile.
fn settings_for(profile: &str) -> StreamSettings {
    let text = format!(
        "upstream.a.url = 'http://127.0.0.1:1'\n[[route]]\nupstream = 'a'\nstream = {{ profile = '{profile}' }}"
    );
    let config = tidegate::config::parse(&text, "config.toml").expect("a configuration");
    config.routes[0].stream(0).clone()
}

#[test]
fn stream_of_every_dialect_stays_what_it_is_in_every_profile() {
    let mut played = 0;
    for profile in PROFILES {
        let settings = settings_for(profile.name);
        let shapes = settings.shapes.clone();
        let (is_ascii, largest) =
            shapes.as_deref().map_or((false, None), |shapes| (shapes.ascii, shapes.split));
        for mut capture in capture::load() {
            let plan =
                Plan { shapes: shapes.clone(), heartbeat_form: settings.heartbeat_form, ..capture.plan() };
            let said = session::said(plan, [capture.body.as_slice()]);
            assert_eq!((said.outcome.as_str(), said.end), ("done", Some(End::Clean)), "{}", capture.name);
            assert!(!is_ascii || said.body().is_ascii(), "{}", capture.name);
            assert!(said.units.iter().all(|unit| largest.is_none_or(|largest| unit.len() <= largest)));
            let is_json = |event: &sse::Event| serde_json::from_str::<serde_json::Value>(&event.data).is_ok();
            let events = sse::parse(&said.body());
            let (json, others): (Vec<_>, Vec<_>) = events.into_iter().partition(is_json);
            // An end marker, and an id to resume at.
            let is_known = |event: &sse::Event| matches!(event.data.as_str(), "[DONE]" | "");
            assert!(others.iter().all(is_known), "{}: {others:?}", capture.name);
            capture.events = json;
            // Names tell what an event is in some dialects, and naive readers have none.
            if profile.name != "naive" {
                assert_eq!(capture.text(), capture.said, "{} for {}", capture.name, profile.name);
            }
            played += 1;
        }
    }
    assert!(played >= 6 * 20, "{played}");
}

#[test]
fn a_stream_that_ends_at_any_byte_in_any_way_is_told_honestly_and_once() {
    let captures = capture::load();
    assert!(captures.len() >= 17, "{} captures", captures.len());
    let mut cuts = 0;
    for capture in &captures {
        let mut last = 0;
        for cut in 0..=capture.body.len() {
            for ending in [Ending::Clean, Ending::Reset, Ending::Silence] {
                let said = capture.play(&capture.body[..cut], ending);
                let events = complete(&said).len();
                let whole = cut == 0 || capture.body[cut..].trim_ascii().is_empty();
                let open = capture.is_bracketed() && !whole || capture.is_open(&capture.body[..cut]);
                let (outcome, tells) = expected(capture, events, ending, open);
                // A body that has not begun has no gaps.
                let is_mute = cut == 0 && ending == Ending::Silence;
                let want = (if is_mute { "upstream:timeout_first_event" } else { outcome }, tells);
                assert_eq!(
                    faults(capture, &said, want),
                    [""; 0],
                    "{} {ending:?} at {cut}: {:?}",
                    capture.name,
                    String::from_utf8_lossy(&said.body())
                );
                if ending == Ending::Reset {
                    assert!(events >= last, "{} at {cut}", capture.name);
                    last = events;
                }
                cuts += 1;
            }
        }
        assert_eq!(last, capture.events.len(), "{}", capture.name);
    }
    assert!(cuts > 25_000, "{cuts} cuts");
}

#[test]
fn a_whole_stream_is_done() {
    for capture in capture::load() {
        let said = capture.play(&capture.body, Ending::Clean);
        assert_eq!((said.outcome.as_str(), said.told()), ("done", None), "{}", capture.name);
        assert!(!capture.events.is_empty(), "{}", capture.name);
    }
}

#[test]
fn an_error_of_the_upstream_is_the_outcome_and_is_told_once() {
    let mut played = HashSet::new();
    for capture in capture::load() {
        let Some(error) = &capture.error else { continue };
        let boundaries = capture.boundaries();
        let own = sse::parse(&capture.play(error, Ending::Clean).body());
        assert!(!own.is_empty(), "{}", capture.name);
        let until = capture.finish.or(capture.last).unwrap_or(0);
        // Where nothing hints, the first event must be one that can be nothing else.
        let from = usize::from(capture.hint().is_none());
        for events in from..=until.min(boundaries.len() - 1) {
            let before = if events == 0 { 0 } else { boundaries[events - 1] };
            let mut bytes = capture.body[..before].to_vec();
            if !bytes.is_empty() && capture.format.name == "sse" {
                while !bytes.ends_with(b"\n\n") && !bytes.ends_with(b"\n\r\n") {
                    bytes.push(capture.body[bytes.len()]);
                }
            }
            bytes.extend_from_slice(error);
            for ending in [Ending::Clean, Ending::Reset, Ending::Silence] {
                let said = capture.play(&bytes, ending);
                let name = format!("{} after {events} events, {ending:?}", capture.name);
                assert_eq!((said.outcome.as_str(), said.end), ("upstream:error", Some(End::Clean)), "{name}");
                let want = [&capture.events[..events], &own].concat();
                assert_eq!(sse::parse(&said.body()), want, "{name}");
            }
        }
        played.insert(capture.dialect.name);
    }
    assert_eq!(played.len(), DIALECTS.len(), "{played:?}");
}

#[test]
fn the_first_content_is_the_first_text_and_not_a_comment_role_or_ping() {
    for capture in capture::load() {
        let start = Instant::now();
        let mut session = Session::new(capture.plan(), start);
        let mut out = Out::default();
        let mut first = None;
        for (at, byte) in capture.body.iter().enumerate() {
            let now = start + Duration::from_millis(at as u64);
            session.input(&[*byte], now, &mut out);
            let content = session.stats().first_content;
            if content.is_some() && first.is_none() {
                assert_eq!(content, Some(now), "{}", capture.name);
                first = Some(sse::parse(&out.bytes).len() - 1);
            }
        }
        assert_eq!(first, capture.content, "{}", capture.name);
    }
}

#[test]
fn text_reasons_and_usage_stand_where_the_table_says() {
    let captures = capture::load();
    for capture in &captures {
        assert_eq!(capture.text(), capture.said, "{}", capture.name);
    }
    for dialect in DIALECTS {
        for places in [dialect.places.finish, dialect.places.usage] {
            let mine = captures.iter().filter(|capture| capture.dialect == *dialect);
            let found: usize = mine.map(|capture| capture.at(places).len()).sum();
            assert_eq!(found > 0, !places.is_empty(), "{}: {places:?}", dialect.name);
        }
    }
}

#[test]
fn what_a_break_is_told_by_names_it_in_json_of_one_line() {
    let failure = Failure::new(Cause::UpstreamTruncated, "line\nbreak");
    let mut forms = HashSet::new();
    for dialect in DIALECTS {
        let Some(event) = dialect.told(&failure) else { continue };
        assert!(event.contains("upstream_truncated") && !event.contains("[DONE]"), "{event}");
        forms.insert(event);
    }
    assert!(forms.len() >= 9, "{forms:#?}");
}

/// A request for the capture through the real program; the upstream has answered with a head.
async fn begun(capture: &Capture, proxy: &Tidegate, upstream: &mut Upstream) -> (Call, Exchange) {
    let mut request = Request::stream(&capture.path);
    for (name, value) in &capture.request {
        request = request.field(name, value);
    }
    let call = Call::start(&proxy.http(), &request).await;
    let mut exchange = upstream.request().await;
    exchange.body().await;
    let label = capture.format.media_types.first().copied().unwrap_or("application/json");
    let mut head = vec![("content-type", label)];
    head.extend(capture.response.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    exchange.respond(200, &head).await;
    (call, exchange)
}

fn units(rest: &Rest) -> Said {
    let units = rest.pieces.iter().map(|piece| piece.data.clone()).collect();
    let end = Some(if rest.cut.is_some() { End::Abort } else { End::Clean });
    Said { units, outcome: String::new(), end, repaired: Default::default() }
}

#[tokio::test]
async fn streams_of_every_dialect_end_honestly_through_the_program() {
    let mut seen = HashSet::new();
    for capture in capture::load() {
        if !seen.insert(capture.dialect.name) {
            continue;
        }
        let route = format!("stream = {{ dialect = \"{}\" }}", capture.setting.as_deref().unwrap_or("auto"));
        let boundary = capture.boundaries()[0] + 3;
        for (ending, sent) in
            [(Ending::Clean, capture.body.len()), (Ending::Clean, boundary), (Ending::Reset, boundary)]
        {
            let mut upstream = Upstream::start().await;
            let proxy = Tidegate::before(&upstream, &route).await;
            let (mut call, mut exchange) = begun(&capture, &proxy, &mut upstream).await;
            exchange.chunk(&capture.body[..sent]).await;
            let first = call.piece().await;
            if ending == Ending::Clean {
                exchange.end().await
            } else {
                exchange.reset()
            }
            let mut rest = call.rest().await;
            rest.pieces.insert(0, first);
            let mut said = units(&rest);
            let line = proxy.access(&capture.path).await;
            said.outcome = line.need("outcome").to_owned();
            let events = complete(&said).len();
            let open =
                capture.is_bracketed() && sent < capture.body.len() || capture.is_open(&capture.body[..sent]);
            let want = expected(&capture, events, ending, open);
            assert_eq!(faults(&capture, &said, want), [""; 0], "{} {ending:?} after {sent}", capture.name);
            let known = capture.dialect.told.is_some() || events > 0;
            assert_eq!(line.get("dialect"), known.then_some(capture.dialect.name), "{}", capture.name);
            let content = capture.content.is_some_and(|content| events > content);
            assert_eq!(line.get("first_content_ms").is_some(), content, "{}", capture.name);
        }
    }
    assert_eq!(seen.len(), DIALECTS.len());
}

#[tokio::test]
async fn a_dialect_that_the_route_sets_is_judged_by_and_one_that_a_path_hints_at_is_not() {
    for (route, path, outcome) in [
        ("stream = { dialect = \"openai-chat\" }", "/x", "upstream:truncated"),
        ("", "/v1/chat/completions", "done"),
    ] {
        let mut upstream = Upstream::start().await;
        let proxy = Tidegate::before(&upstream, route).await;
        let mut call = Call::start(&proxy.http(), &Request::stream(path)).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        exchange.answer(200, &[("content-type", "text/event-stream")], b"data: {\"t\":1}\n\n").await;
        let events = call.rest().await.events();
        assert_eq!(events.len(), if outcome == "done" { 1 } else { 2 }, "{path}: {events:?}");
        assert_eq!(proxy.access(path).await.need("outcome"), outcome, "{path}");
    }
}

#[tokio::test]
async fn break_is_told_to_googles_own_clients_in_bare_json_and_to_all_others_in_an_event() {
    for (fields, is_bare) in
        [(&[("x-goog-api-client", "google-genai-sdk/1.30.0 gl-node/v22.0.0")][..], true), (&[], false)]
    {
        let mut upstream = Upstream::start().await;
        let proxy = Tidegate::before(&upstream, "").await;
        let request = fields.iter().fold(
            Request::stream("/v1beta/models/m:streamGenerateContent?alt=sse"),
            |request, (name, value)| request.field(name, value),
        );
        let mut call = Call::start(&proxy.http(), &request).await;
        let mut exchange = upstream.request().await;
        exchange.body().await;
        exchange.respond(200, &[("content-type", "text/event-stream")]).await;
        exchange.chunk(b"data: {\"candidates\":[{}],\"usageMetadata\":{}}\n\n").await;
        call.piece().await;
        exchange.reset();
        let told: Vec<String> = units(&call.rest().await)
            .units
            .iter()
            .map(|unit| String::from_utf8_lossy(unit).into_owned())
            .collect();
        let begin = if is_bare { "{\"error\":{\"code\":502," } else { "data: {\"error\":{\"code\":502," };
        assert!(told.len() == 1 && told[0].starts_with(begin), "{fields:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_as_the_dialect_of_the_request_wants_it() {
    let upstream = Upstream::start().await;
    let proxy = Tidegate::before(&upstream, "methods = [\"GET\"]").await;
    for (path, field, pointer) in [
        ("/v1/chat/completions", None, "/error/code"),
        ("/v1beta/models/m:streamGenerateContent", None, "/error/details/0/reason"),
        ("/v1/chat-messages", None, "/code"),
        ("/api/chat", None, "/code"),
        ("/x", Some(("mcp-protocol-version", "2025-11-25")), "/error/data/code"),
        ("/x", Some(("x-dashscope-sse", "enable")), "/code"),
    ] {
        let mut request = Request::stream(path);
        if let Some((name, value)) = field {
            request = request.field(name, value);
        }
        let body = Call::start(&proxy.http(), &request).await.json().await;
        let code = body.pointer(pointer).and_then(|code| code.as_str());
        assert_eq!(code, Some("method_not_allowed"), "{path} {field:?}: {body}");
    }
}

#[test]
fn a_header_says_more_than_a_path() {
    let vercel =
        capture::load().into_iter().find(|capture| capture.dialect.name == "vercel-ui").expect("one");
    assert_eq!(Dialect::hinted(&vercel.path).map(|dialect| dialect.name), Some("ollama"));
    assert_eq!(vercel.hint(), Some(vercel.dialect));
}
