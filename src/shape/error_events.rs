//! `error_events`: an upstream's error that has no name gets the name `error`, for clients that look for that.
//!
//! uni-app x on Android sees neither the end of a stream nor a broken one: its code closes the connection on an end marker or
//! on an event `error`. An OpenAI error is `data: {"error":…}` and no more, and no marker follows one.

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::Event;
use crate::dialect::{Dialect, GENERIC, Sign, pointer};
use crate::stream::is_error_line;

/// Name errors.
pub static ERROR_EVENTS: Shape = Shape {
    name: "error_events",
    keys: &["error_events"],
    doc: "an upstream's error event that has no name gets the name `error`; its data stays",
    harm: "readers that know only `data:` at the beginning of an event do not see it any more",
    make: |Settings { names_errors, .. }| {
        names_errors.then(|| Box::new(ErrorEvents { confirmed: false }) as _)
    },
};

#[derive(Debug)]
struct ErrorEvents {
    /// An event of the known dialect was seen.
    confirmed: bool,
}

impl Reshape for ErrorEvents {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let confirms = |dialect: &Dialect| *dialect != GENERIC && (dialect.confirms)(event);
        let is_known = seen.dialect.is_some_and(confirms);
        self.confirmed |= is_known;
        if event.name.is_none() && is_error(event, seen, is_known, self.confirmed) {
            let named = Event { name: Some(b"error"), canonical: None, ..*event };
            return sink(&named, Seen { sign: Sign::Error, ..seen });
        }
        sink(event, seen);
    }
}

/// By its dialect; an event of none, or of another than was hinted at, by its data. Once the dialect is confirmed, others
/// put in such events of their own, with a `code` and a `message` that are no error: there only an `error` is one. Where a
/// dialect tells no errors in streams (an answer of JSON-RPC may be one), nothing is.
fn is_error(event: &Event<'_>, seen: Seen, is_known: bool, confirmed: bool) -> bool {
    if seen.dialect.is_some_and(|dialect| dialect.told.is_none()) {
        return false;
    }
    let says_so = |line| pointer::find(line, "/error", pointer::is_something).is_some();
    let by_data = |line| (!confirmed || says_so(line)) && is_error_line(line, seen.dialect);
    event.error || seen.sign == Sign::Error || !is_known && event.data.line().is_some_and(by_data)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Shapes;
    use super::super::testing::{Rig, chat};
    use super::*;
    use crate::codec::Data;
    use crate::dialect::{DIFY, MCP};

    #[test]
    fn error_without_a_name_gets_one_and_nothing_else_does() {
        let mut rig = Rig::new(Settings { names_errors: true, ..Settings::default() });
        for error in [
            r#"{"error":{"message":"x"}}"#,
            r#"{"object":"error","message":"x","code":400}"#,
            r#"{"code":"Arrearage","message":"Access denied"}"#,
        ] {
            assert_eq!(
                rig.wire(&format!("id: 1\ndata: {error}\n\n")),
                format!("event: error\nid: 1\ndata: {error}\n\n")
            );
        }
        let about = chat(r#"an \"error\" has {\"error\":{}}"#);
        for other in [
            format!("data: {about}\n\n"),
            "data: [DONE]\n\n".to_owned(),
            "event: warning\ndata: {\"error\":{\"message\":\"x\"}}\n\n".to_owned(),
            "data: {\"usage\":{}}\n\n".to_owned(),
        ] {
            assert_eq!(rig.wire(&other), other);
        }
    }

    #[test]
    fn only_an_error_gets_the_name_once_the_dialect_is_confirmed() {
        let mut rig = Rig::new(Settings { names_errors: true, ..Settings::default() });
        rig.data(&chat("hi"));
        for other in [
            r#"{"code":1000,"message":"searching the web"}"#,
            r#"{"code":"SEARCHING","message":"searching the web"}"#,
            r#"{"type":"status","code":20001,"message":"searching"}"#,
        ] {
            assert_eq!(rig.wire(&format!("data: {other}\n\n")), format!("data: {other}\n\n"));
        }
        let error = "data: {\"error\":{\"message\":\"x\"}}\n\n";
        assert_eq!(rig.wire(error), format!("event: error\n{error}"));
    }

    #[test]
    fn error_is_known_by_the_dialect_or_by_its_data() {
        let name = |dialect: Option<&'static Dialect>, data: &str| {
            let mut shapes = Shapes::new(&Settings { names_errors: true, ..Settings::default() }).unwrap();
            let event = Event { data: Data::Line(data.as_bytes()), ..Event::default() };
            let mut name = None;
            shapes.event(&event, dialect, Instant::now(), &mut |event, _| {
                name = event.name.map(|name| String::from_utf8(name.to_vec()).unwrap());
            });
            name
        };
        let error = Some("error".to_owned());
        for dialect in [None, Some(&GENERIC)] {
            assert_eq!(name(dialect, r#"{"error":"no"}"#), error);
            assert_eq!(name(dialect, r#"{"text":"error"}"#), None);
            assert_eq!(name(dialect, "error"), None);
        }
        assert_eq!(name(Some(&DIFY), r#"{"event":"error","code":"x","message":"no"}"#), error);
        assert_eq!(
            name(Some(&MCP), r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}"#),
            None
        );
    }
}
