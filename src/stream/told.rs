//! How tidegate's own error events are written: in the form of the dialect, as the client's shapes want it.
//!
//! One event for a stream that breaks, by the [session](super::Session); and [`refusal`], a whole stream of one for a
//! request that got none, by [`crate::proxy`]. Shapes see neither of them, so what of the shapes concerns every byte that a
//! client reads is done here: ASCII alone, no fields but data, no event above a size.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::Failure;
use crate::bridge::sse as bridge;
use crate::dialect::{Dialect, GENERIC, Told};
use crate::shape::{Own, Settings, Shapes};

/// A stream that consists of an error, unit by unit: the event, and the end marker where the shapes ensure one. `retry` is after what time
/// an `EventSource` is to ask again, which it does after any end of a stream (HTML 9.2.3). `None` where the dialect tells no
/// errors in streams.
pub fn refusal(
    failure: &Failure,
    dialect: Option<&'static Dialect>,
    shapes: Option<&Settings>,
    retry: Option<Duration>,
    now: Instant,
) -> Option<Vec<Vec<u8>>> {
    let dialect = dialect.unwrap_or(&GENERIC);
    let told = dialect.told.map(alone)?;
    let own = shapes.map(Own::of).unwrap_or_default();
    let mut units = vec![event(dialect, told, failure, &own, retry)];
    if let Some(mut shapes) = shapes.and_then(Shapes::new) {
        shapes.finish(Some(dialect), now, &mut |event, _| {
            let mut unit = Vec::new();
            bridge::event(event, &mut unit);
            units.push(unit);
        });
    }
    Some(units)
}

/// The form of an error in a stream that consists of it. What is no event (Gemini's bare JSON) is only found by those who look
/// for it behind a status of 200: official clients, which are not told of statuses in streams.
pub(super) fn alone(told: Told) -> Told {
    if told.is_event() { told } else { Told::NAMED }
}

/// The event that tells of a failure in this form.
pub(super) fn event(
    dialect: &Dialect,
    told: Told,
    failure: &Failure,
    own: &Own,
    retry: Option<Duration>,
) -> Vec<u8> {
    let told = match told.is_event() {
        true if own.data_only => Told::UNNAMED,
        true if own.names_errors && told == Told::UNNAMED => Told::NAMED,
        _ => told,
    };
    let mut failure = Cow::Borrowed(failure);
    loop {
        let mut json = (dialect.error)(&failure).into_bytes();
        if own.ascii {
            json = crate::shape::escaped(&json);
        }
        let bytes = written(told, &json, retry);
        let words = failure.message().len();
        if own.largest.is_none_or(|largest| bytes.len() <= largest) || words == 0 {
            return bytes;
        }
        failure = Cow::Owned(failure.clipped(words / 2));
    }
}

/// Fields in the order event, retry, data: some readers take an event for complete at its data.
fn written(told: Told, json: &[u8], retry: Option<Duration>) -> Vec<u8> {
    let (name, data) = told.before.split_at(told.before.find("data:").unwrap_or(0));
    let retry = retry.map(|after| format!("retry: {}\n", after.as_millis())).unwrap_or_default();
    [name.as_bytes(), retry.as_bytes(), data.as_bytes(), json, told.after.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::dialect::{ANTHROPIC, DASHSCOPE, DIALECTS, GEMINI, MCP, OPENAI_CHAT};
    use crate::shape::{Ending, Markers};
    use crate::stream::Cause;

    fn failure(message: &str) -> Failure {
        Failure::new(Cause::UpstreamTimeoutConnect, message.to_owned())
            .in_place_of(StatusCode::GATEWAY_TIMEOUT)
    }

    fn text(dialect: &'static Dialect, shapes: &Settings, retry: Option<Duration>) -> String {
        let units = refusal(&failure("zu spät"), Some(dialect), Some(shapes), retry, Instant::now()).unwrap();
        assert!(units.iter().all(|unit| unit.ends_with(b"\n\n") && unit.len() > 2), "one event each");
        String::from_utf8(units.concat()).unwrap()
    }

    fn with_marker(ending: Ending) -> Settings {
        Settings { markers: Markers { ending, ..Markers::default() }, ..Settings::default() }
    }

    #[test]
    fn refusal_is_one_event_that_names_the_status() {
        for dialect in DIALECTS {
            let Some(units) = refusal(&failure("x"), Some(dialect), None, None, Instant::now()) else {
                assert_eq!(**dialect, MCP, "{}", dialect.name);
                continue;
            };
            let text = String::from_utf8(units.concat()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert!(
                text.ends_with("\n\n") && lines.iter().filter(|line| line.is_empty()).count() == 1,
                "{text}"
            );
            let data = lines.iter().find_map(|line| line.strip_prefix("data:")).unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(data).unwrap().is_object());
            assert!(data.contains("504"), "{}: {data}", dialect.name);
        }
    }

    #[test]
    fn end_marker_follows_where_it_is_ensured_and_the_dialect_has_one() {
        assert!(text(&OPENAI_CHAT, &with_marker(Ending::Auto), None).ends_with("}\n\ndata: [DONE]\n\n"));
        assert!(!text(&ANTHROPIC, &with_marker(Ending::Auto), None).contains("[DONE]"));
        assert!(text(&ANTHROPIC, &with_marker(Ending::Ensure), None).ends_with("}\n\ndata: [DONE]\n\n"));
        assert!(!text(&OPENAI_CHAT, &with_marker(Ending::Keep), None).contains("[DONE]"));
    }

    #[test]
    fn event_is_as_the_shapes_of_the_client_want_every_event() {
        let shapes = Settings { ascii: true, data_only: true, split: Some(300), ..Settings::default() };
        let long = failure(&"词\u{1f30d}\u{1}".repeat(500));
        for dialect in DIALECTS.iter().filter(|dialect| dialect.told.is_some()) {
            let bytes = refusal(&long, Some(dialect), Some(&shapes), None, Instant::now()).unwrap().concat();
            assert!(bytes.is_ascii() && bytes.starts_with(b"data: {"), "{}", dialect.name);
            assert!(bytes.len() <= 300 || *dialect == &GEMINI, "{}: {}", dialect.name, bytes.len());
        }
    }

    #[test]
    fn retry_stands_in_the_block_of_the_event() {
        let day = Some(Duration::from_secs(86_400));
        let shapes = Settings::default();
        assert!(text(&OPENAI_CHAT, &shapes, day).starts_with("event: error\nretry: 86400000\ndata: {"));
        assert!(text(&DASHSCOPE, &shapes, day).starts_with("event:error\nretry: 86400000\ndata:{"));
        assert!(text(&GEMINI, &shapes, day).starts_with("event: error\nretry: 86400000\ndata: {"));
    }
}
