//! What stands at the end of a stream, cut or not closed, and what is made of it.

use super::*;
use crate::dialect::MCP;

/// A clean end after these bytes, where an end marker is ensured: what was sent, and the outcome.
fn ensured(dialect: Option<&'static Dialect>, bytes: &str) -> (String, String) {
    let markers = Markers { ending: Ending::Ensure, ..Markers::default() };
    let shapes = Some(Arc::new(Settings { markers, ..Settings::default() }));
    let repairs = Repairs::auto(dialect.is_some());
    let mut rig = Rig::new(Plan { dialect, known_ai: true, shapes, repairs, ..plan(Mode::Reframe(&SSE)) });
    let sent = rig.input(bytes) + &rig.ended();
    (sent, rig.outcome())
}

fn chat(text: &str) -> String {
    format!("{{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}")
}

/// The first half of an event at a clean end was dropped without a word, and `[DONE]` was added to what was left.
#[test]
fn half_an_event_in_json_is_a_truncation_and_nothing_is_added_behind_what_was_dropped() {
    let whole = "data: {\"text\":\"a\"}\n\n";
    for tail in ["data: {\"text\":\"b", "data: {\"text\":\"b\n", "data: [{", "data: {\ndata: 1"] {
        for dialect in [None, Some(&GENERIC), Some(&OPENAI_CHAT)] {
            let (sent, outcome) = ensured(dialect, &(whole.to_owned() + tail));
            assert!(sent.starts_with(whole) && !sent.contains("[DONE]"), "{tail}: {sent}");
            assert!(sent.contains("upstream_truncated"), "{tail}: {sent}");
            assert_eq!(outcome, "upstream:truncated@body", "{tail}");
        }
    }
    for tail in ["dat", "event: e", "data: some words", "data: [DON"] {
        assert_eq!(
            ensured(None, &(whole.to_owned() + tail)),
            (whole.to_owned(), "done@end".to_owned()),
            "{tail}"
        );
    }
    for tail in ["", ": hi", ": hi\n"] {
        let (sent, outcome) = ensured(None, &(whole.to_owned() + tail));
        assert!(sent.ends_with(DONE_EVENT) && outcome == "done@end", "{tail}: {sent}");
    }
    let (sent, outcome) = ensured(Some(&OPENAI_CHAT), &[FINISH, DONE_EVENT, "data: {\"x\":"].concat());
    assert_eq!((sent, outcome.as_str()), ([FINISH, DONE_EVENT].concat(), "done@end"), "the answer was whole");
}

/// An error of an upstream that nobody knows the words of was followed by `[DONE]`, and counted as an answer.
#[test]
fn end_marker_does_not_follow_an_error_that_no_dialect_tells() {
    let error = "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n";
    let other = "data: {\"code\":500,\"message\":\"boom\"}\n\n";
    let text = "data: {\"text\":\"a\"}\n\n";
    for (dialect, events) in [
        (None, [text, error].concat()),
        (None, error.to_owned()),
        (Some(&OPENAI_CHAT), [text, other].concat()),
        (None, [text, error, ": ping\n", "event: ping\ndata:\n\n"].concat()),
    ] {
        let (sent, outcome) = ensured(dialect, &events);
        assert!(!sent.contains("[DONE]"), "{sent}");
        assert_eq!(outcome, "upstream:error@end", "{events}");
    }
    let (sent, outcome) = ensured(None, &[error, text].concat());
    assert!(
        sent.ends_with(DONE_EVENT) && outcome == "done@end",
        "an error that was not the last word: {sent}"
    );
}

/// A whole event was lost since the next one was cut.
#[test]
fn event_with_one_line_end_is_not_lost_where_the_next_is_cut() {
    let lines: String = ["a", "b", "c", "d"].map(|text| format!("data: {}\n", chat(text))).concat();
    let sent_by = |end: fn(&mut Rig) -> String, next: &str| {
        let mut rig = Rig::new(openai());
        let sent = rig.input(lines.clone() + next) + &end(&mut rig);
        assert_eq!(rig.outcome(), "upstream:truncated@body", "{next}");
        sent
    };
    for next in ["data: {\"choices\":[{\"in", "data: ", "da", "data"] {
        for end in [Rig::ended, |rig: &mut Rig| rig.failed(Cause::UpstreamTruncated)] {
            let sent = sent_by(end, next);
            assert!(["a", "b", "c", "d"].iter().all(|text| sent.contains(&chat(text))), "{next}: {sent}");
        }
    }
    let mut first = Rig::new(openai());
    first.input(format!("data: {}\ndata: {{\"choi", chat("a")));
    first.ended();
    assert_eq!(first.outcome(), "upstream:truncated@first_event", "not empty");
}

/// The beginning of the next event held back the one before for ever.
#[test]
fn event_with_one_line_end_does_not_wait_for_the_rest_of_the_next() {
    let mut rig = Rig::new(openai());
    rig.input(format!("data: {}\ndata: {}\ndata: ", chat("a"), chat("b")));
    assert!(rig.session.wants_tick());
    assert_eq!(rig.pass(1), format!("data: {}\n\n", chat("b")));
    let next = chat("c");
    assert_eq!(rig.input(format!("{next}\n\n")), format!("data: {next}\n\n"));
    let mut fields = Rig::new(openai());
    fields.input(format!("data: {}\ndata: {}\nid: 1", chat("a"), chat("b")));
    assert_eq!(fields.pass(1), "", "a field may be its own");
}

/// The stream went on behind an error and was cut, and nobody was told of that.
#[test]
fn truncation_behind_an_earlier_error_is_told() {
    let error = "data: {\"error\":{\"message\":\"glitch\"}}\n\n";
    for (events, outcome) in [
        ([CONTENT, error, CONTENT].concat(), "upstream:truncated@body"),
        ([CONTENT, error, CONTENT, FINISH].concat(), "upstream:error@end"),
        ([CONTENT, error].concat(), "upstream:error@end"),
    ] {
        let mut rig = Rig::new(openai());
        rig.input(&events);
        let told = rig.ended();
        assert_eq!(rig.outcome(), outcome, "{events}");
        assert_eq!(told.contains("upstream_truncated"), outcome.contains("truncated"), "{told}");
    }
    let mut calls = Rig::new(Plan { dialect: Some(&MCP), ..plan(Mode::Reframe(&SSE)) });
    calls.input("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":null,\"result\":{}}\n\n");
    calls.ended();
    assert_eq!(calls.outcome(), "done@end");
}

#[test]
fn event_that_is_mended_and_closed_is_counted_once() {
    for (tail, count) in [
        ("{\"a\":1}", 1),
        ("data: {\"a\":1}", 1),
        ("data: {\"a\":1}\ndata: {\"b\":2}", 2),
        ("data: {\"a\":1}\ndata: {\"b\":2}\ndata: {\"c\":3}", 3),
        ("data: {\"a\":1}\n\n", 0),
        ("data: {\"a\":", 0),
    ] {
        let mut rig = Rig::new(openai());
        rig.input([FINISH, tail].concat());
        rig.ended();
        assert_eq!(rig.session.stats().repaired.count, count, "{tail}");
    }
}
