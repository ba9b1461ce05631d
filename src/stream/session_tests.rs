//! Sessions without a socket or a clock: every policy, by bytes and instants.

use std::sync::Arc;

use std::time::Duration;

use http::StatusCode;

use super::super::{Budget, End, HeartbeatForm, Phase};
use super::body::{PIECE_BYTES, TURN_BYTES};
use super::*;
use crate::codec::charset::Charset;
use crate::codec::coding::Codings;
use crate::codec::repair::Repairs;
use crate::dialect::{ANTHROPIC, GEMINI, GENERIC, MCP, OLLAMA, OPENAI_CHAT};
use crate::format::{AWS_EVENTSTREAM, JSON_ARRAY, NDJSON, SSE, TEXT};
use crate::shape::{Ending, Marker, Markers, Pick, Settings};

#[path = "session_held_tests.rs"]
mod held;

#[path = "session_tail_tests.rs"]
mod tail;

/// A session, the time, and all that a client has been sent.
struct Rig {
    session: Session,
    now: Instant,
    sent: Vec<u8>,
    units: Vec<String>,
    end: Option<End>,
}

fn plan(mode: Mode) -> Plan {
    Plan {
        repairs: Repairs::auto(false),
        heartbeat: Some(Duration::from_secs(15)),
        first_event: Some(Duration::from_secs(600)),
        event_gap: Some(Duration::from_secs(300)),
        ..Plan::plain(mode)
    }
}

fn codings(names: &str) -> Option<Codings> {
    Codings::from_fields([names].into_iter()).unwrap()
}

fn openai() -> Plan {
    let repairs = Repairs::auto(true);
    Plan { dialect: Some(&OPENAI_CHAT), known_ai: true, repairs, ..plan(Mode::Reframe(&SSE)) }
}

impl Rig {
    fn new(plan: Plan) -> Self {
        let now = Instant::now();
        Rig { session: Session::new(plan, now), now, sent: Vec::new(), units: Vec::new(), end: None }
    }

    /// All that a client reads of a stream that ends behind this, which the end of its body shows to be whole.
    fn told(plan: Plan, before: &str) -> String {
        let mut rig = Rig::new(plan);
        rig.input(before);
        rig.ended();
        assert_eq!(rig.end, Some(End::Clean));
        String::from_utf8(rig.sent).unwrap()
    }

    fn call(&mut self, call: impl FnOnce(&mut Session, Instant, &mut Out)) -> String {
        let mut out = Out::default();
        call(&mut self.session, self.now, &mut out);
        let mut from = 0;
        for end in &out.ends {
            self.units.push(String::from_utf8(out.bytes[from..*end].to_vec()).unwrap());
            from = *end;
        }
        assert_eq!(from, out.bytes.len(), "every byte belongs to a unit");
        assert!(self.end.is_none() || out.bytes.is_empty(), "nothing follows the end");
        self.sent.extend_from_slice(&out.bytes);
        self.end = self.end.or(out.end);
        String::from_utf8(out.bytes).unwrap()
    }

    fn input(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let mut sent = self.call(|session, now, out| session.input(bytes.as_ref(), now, out));
        while self.session.is_behind() {
            sent += &self.call(|session, now, out| session.go_on(now, out));
        }
        sent
    }

    fn ended(&mut self) -> String {
        self.call(|session, now, out| session.upstream_ended(now, out))
    }

    fn failed(&mut self, cause: Cause) -> String {
        self.call(|session, now, out| {
            session.upstream_failed(Failure::new(cause, "it broke"), now, out);
        })
    }

    /// Lets time pass as the sink would: it sleeps until the deadline that the session names.
    fn pass(&mut self, seconds: u64) -> String {
        let until = self.now + Duration::from_secs(seconds);
        let mut sent = String::new();
        loop {
            let mut next = None;
            sent += &self.call(|session, now, out| next = session.tick(now, out));
            match next {
                Some(deadline) if deadline <= until => self.now = deadline.max(self.now),
                _ => break,
            }
        }
        self.now = until;
        sent
    }

    fn outcome(&self) -> String {
        self.session
            .outcome()
            .map(|outcome| format!("{outcome}@{}", outcome.phase.name()))
            .unwrap_or_default()
    }
}

const CONTENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"你\"},\"finish_reason\":null}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE_EVENT: &str = "data: [DONE]\n\n";

#[test]
fn session_sends_events_as_units_and_nothing_of_an_unfinished_one() {
    let mut rig = Rig::new(openai());
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
    let bytes = [CONTENT, FINISH].concat();
    assert_eq!(rig.input(&bytes.as_bytes()[..40]), "");
    assert_eq!(rig.input(&bytes.as_bytes()[40..]), bytes);
    assert_eq!(rig.units, [CONTENT, FINISH]);
    rig.input(DONE_EVENT);
    rig.ended();
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "done@end"));
    assert_eq!(rig.session.stats().events, 3);
    assert_eq!(rig.session.stats().bytes as usize, rig.sent.len());
}

#[test]
fn session_tells_a_truncation_in_the_dialect_and_never_done() {
    for plan in [openai(), Plan { dialect: Some(&ANTHROPIC), ..openai() }, Plan { dialect: None, ..openai() }]
    {
        let mut rig = Rig::new(plan);
        rig.input(CONTENT);
        rig.input("data: {\"cho");
        let error = rig.failed(Cause::UpstreamTruncated);
        let data = error.strip_prefix("event: error\ndata: ").unwrap().trim_end();
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["error"]["code"], "upstream_truncated");
        assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:truncated@body"));
        assert_eq!(rig.units.len(), 2);
    }
}

#[test]
fn session_cuts_a_stream_that_no_dialect_can_end() {
    let mut rig = Rig::new(plan(Mode::Reframe(&SSE)));
    rig.input("data: a\n\n");
    assert_eq!(rig.failed(Cause::UpstreamTruncated), "");
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Abort), "upstream:truncated@body"));
    let mut rig = Rig::new(plan(Mode::PassThrough));
    rig.input("abc");
    assert_eq!(rig.failed(Cause::UpstreamTruncated), "");
    assert_eq!(rig.end, Some(End::Abort));
}

#[test]
fn a_clean_end_is_judged_only_in_a_confirmed_dialect() {
    for (events, outcome) in [
        (vec![CONTENT], "upstream:truncated@body"),
        (vec![CONTENT, FINISH], "done@end"),
        (vec![CONTENT, DONE_EVENT], "done@end"),
        (vec!["data: {\"t\":1}\n\n"], "done@end"),
        (vec!["data: {\"error\":{\"message\":\"m\"}}\n\n"], "upstream:error@end"),
        (vec![CONTENT, "data: {\"error\":{\"message\":\"m\"}}\n\n"], "upstream:error@end"),
        (vec![], "upstream:empty@first_event"),
        (vec![": only a comment\n\n"], "upstream:empty@first_event"),
    ] {
        let mut rig = Rig::new(openai());
        events.iter().for_each(|event| drop(rig.input(event)));
        let told = rig.ended();
        assert_eq!(rig.outcome(), outcome, "{events:?}");
        assert_eq!(
            !told.is_empty(),
            matches!(outcome.split('@').next(), Some("upstream:truncated" | "upstream:empty"))
        );
        assert_eq!(rig.end, Some(End::Clean));
    }
    let mut unknown = Rig::new(plan(Mode::Reframe(&SSE)));
    assert_eq!(unknown.ended(), "");
    assert_eq!(unknown.outcome(), "done@end", "an event source may end without a word");
}

/// One of two answers was cut, and the stream was done.
#[test]
fn a_clean_end_is_complete_only_with_every_answer_that_began() {
    let chunk = |index: u8, reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"x\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let both = [chunk(0, "null"), chunk(1, "null"), chunk(0, "null"), chunk(1, "null")].concat();
    let (first, second) = (chunk(0, "\"stop\""), chunk(1, "\"length\""));
    for (text, outcome) in [
        ([&*both, &first].concat(), "upstream:truncated@body"),
        ([&*both, &first, &second].concat(), "done@end"),
        ([&*both, &first, DONE_EVENT].concat(), "done@end"),
        ([&*both, &chunk(0, "null").repeat(20), &first].concat(), "upstream:truncated@body"),
        (
            [&*chunk(0, "null").repeat(20), &first, &chunk(1, "null").repeat(2)].concat(),
            "upstream:truncated@body",
        ),
        ([&*chunk(0, "null").repeat(20), &first].concat(), "done@end"),
    ] {
        let mut rig = Rig::new(openai());
        rig.input(&text);
        rig.ended();
        assert_eq!(rig.outcome(), outcome, "{text}");
    }
}

#[test]
fn what_was_already_complete_or_told_is_not_told_again() {
    let mut rig = Rig::new(openai());
    rig.input([CONTENT, FINISH, DONE_EVENT].concat());
    assert_eq!(rig.failed(Cause::UpstreamTruncated), "");
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "done@end"));
    let mut rig = Rig::new(openai());
    rig.input("event: error\ndata: {\"error\":{}}\n\n");
    assert_eq!(rig.failed(Cause::UpstreamTruncated), "");
    assert_eq!(rig.outcome(), "upstream:error@end");
}

#[test]
fn done_is_sent_exact_and_once_and_later_events_flow() {
    let mut rig = Rig::new(openai());
    assert_eq!(
        rig.input("data:  [DONE] \n\ndata: [DONE]\n\nevent: more\ndata: [1]\n\n"),
        "data: [DONE]\n\nevent: more\ndata: [1]\n\n"
    );
}

/// A feed of many answers lost the end of each but the first.
#[test]
fn done_of_a_later_answer_in_the_same_stream_is_kept() {
    let answers = ["data: a\n\n", DONE_EVENT, "data: b\n\n", DONE_EVENT].concat();
    for plan in [openai(), plan(Mode::Reframe(&SSE))] {
        assert_eq!(Rig::new(plan).input(&answers), answers);
    }
}

/// An agent's tool failed, the answer went on and then broke: that was a clean end without a word.
#[test]
fn a_break_is_told_although_an_error_was_told_long_before() {
    let generic = Plan { dialect: None, ..openai() };
    let mut rig = Rig::new(generic);
    rig.input("event: error\ndata: {\"tool\":\"failed\"}\n\ndata: more\n\n");
    assert!(rig.failed(Cause::UpstreamTruncated).contains("upstream_truncated"));
    assert_eq!(rig.outcome(), "upstream:truncated@body");
    // A ping is no more of the answer.
    let mut rig = Rig::new(openai());
    rig.input([CONTENT, "event: error\ndata: overloaded\n\n", "event: ping\n\ndata: {}\n\n"].concat());
    assert_eq!(rig.failed(Cause::UpstreamTruncated), "");
    assert_eq!(rig.outcome(), "upstream:error@end");
}

#[test]
fn the_clients_own_fault_before_the_head_has_the_clients_status() {
    for (cause, status) in [
        (Cause::ClientTimeoutRequestBodyIdle, 408),
        (Cause::ClientRequestBodyTooLarge, 413),
        (Cause::ClientRequestBody, 400),
    ] {
        let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
        rig.call(|session, now, out| {
            session.upstream_failed(Failure::new(cause, "its upload"), now, out);
        });
        let Some(Commit::Refuse(failure)) = rig.session.commit() else { panic!("{cause} is not refused") };
        assert_eq!(failure.status(), status, "{cause}");
    }
}

#[test]
fn an_unclosed_tail_is_closed_only_if_it_is_whole() {
    for (tail, want) in [
        ("data: [DONE]\n", DONE_EVENT),
        ("data: {\"a\":1}", "data: {\"a\":1}\n\n"),
        ("data: {\"a\":", ""),
        ("data: half an answ", ""),
        ("data: {\"a\":1}\nid: 4", "data: {\"a\":1}\n\n"),
        ("event: x\n", ""),
    ] {
        let mut rig = Rig::new(plan(Mode::Reframe(&SSE)));
        rig.input(["data: a\n\n", tail].concat());
        assert_eq!(rig.ended(), want, "{tail:?}");
    }
}

#[test]
fn ndjson_lines_become_events_with_their_bytes_unchanged() {
    let mut rig = Rig::new(Plan { dialect: Some(&OLLAMA), known_ai: true, ..plan(Mode::Reframe(&NDJSON)) });
    assert_eq!(
        rig.input("{\"response\":\"a\",\"done\":false}\n{\"resp"),
        "data: {\"response\":\"a\",\"done\":false}\n\n"
    );
    assert_eq!(rig.input("onse\":\"\",\"done\":true}"), "data: {\"response\":\"\",\"done\":true}\n\n");
    assert_eq!(rig.ended(), "", "a value leaves with its last bracket");
    assert_eq!(rig.outcome(), "done@end");
    let mut cut = Rig::new(Plan { dialect: Some(&OLLAMA), known_ai: true, ..plan(Mode::Reframe(&NDJSON)) });
    cut.input("{\"response\":\"a\",\"done\":false}\n{\"resp");
    assert!(cut.ended().contains("upstream_truncated"));
}

/// What is handed out when nothing comes for so long.
fn wait(rig: &mut Rig, milliseconds: u64) -> String {
    rig.now += Duration::from_millis(milliseconds);
    rig.call(|session, now, out| {
        let _ = session.tick(now, out);
    })
}

/// A server that stalled between two lines of its first event had the event cut in two.
#[test]
fn a_first_event_waits_for_its_other_lines_and_later_ones_are_never_cut() {
    let (data, id) = ("data: {\"t\":1}\n", "id: 7\n\n");
    let mut rig = Rig::new(openai());
    assert_eq!(rig.input(data) + &wait(&mut rig, 199) + &rig.input(id), "id: 7\ndata: {\"t\":1}\n\n");
    for _ in 0..2 {
        assert_eq!(rig.input(data) + &wait(&mut rig, 10_000), "");
        assert_eq!(rig.input(id), "id: 7\ndata: {\"t\":1}\n\n");
    }
    // The blank line was late: the others have one too.
    let mut late = Rig::new(openai());
    assert_eq!(late.input(data) + &wait(&mut late, 200), "data: {\"t\":1}\n\n");
    assert_eq!(late.input("\n") + &late.input(data) + &wait(&mut late, 10_000), "");
    // Another event follows at once: there are none.
    let mut lacks = Rig::new(openai());
    lacks.input(data);
    wait(&mut lacks, 200);
    assert_eq!(lacks.input(data) + &wait(&mut lacks, 49), "");
    assert_eq!(wait(&mut lacks, 1), "data: {\"t\":1}\n\n");
    // A comment says nothing of it.
    let mut beats = Rig::new(openai());
    beats.input(data);
    wait(&mut beats, 200);
    assert_eq!(beats.input(": ping\n\n").as_str(), ": ping\n");
    assert_eq!(beats.input(data) + &wait(&mut beats, 200), "data: {\"t\":1}\n\n");
}

/// The stream of a server whose events end in one line end came out at its very end, if at all.
#[test]
fn an_event_that_lacks_only_its_blank_line_leaves_when_nothing_follows() {
    let mut rig = Rig::new(openai());
    assert_eq!(rig.input("data: {\"t\":1}\n"), "");
    assert!(rig.session.wants_tick());
    assert_eq!(
        (wait(&mut rig, 199), wait(&mut rig, 1).as_str(), wait(&mut rig, 50).as_str()),
        (String::new(), "data: {\"t\":1}\n\n", "")
    );
    assert_eq!(rig.input("data: {\"t\":2}\ndata: {\"t\":3}\n"), "data: {\"t\":2}\n\n");
    assert_eq!(
        rig.failed(Cause::UpstreamTruncated).split_inclusive("\n\n").next(),
        Some("data: {\"t\":3}\n\n")
    );
    let repaired = rig.session.stats().repaired;
    assert_eq!((repaired.count, repaired.kinds.names().collect::<Vec<_>>()), (3, vec!["single-newline"]));

    for (text, ripens) in [
        ("data: {\"t\":1}\n", true),
        ("data: [DONE]\n", true),
        ("data: {\"t\":", false),
        ("data: {\"t\":1}", false),
        ("data: {\n", false),
        ("data: text\n", false),
        ("event: x\n", false),
        ("data: {}\nmeta: 1\n", false),
        ("data: {}\n\n", false),
    ] {
        let mut rig = Rig::new(openai());
        rig.input(text);
        assert_eq!(rig.session.wants_tick(), ripens, "{text:?}");
    }
    let mut unknown = Rig::new(plan(Mode::Reframe(&SSE)));
    unknown.input("data: {\"t\":1}\n");
    assert!(!unknown.session.wants_tick(), "of an unknown stream nobody knows that events are JSON");
}

#[test]
fn the_bytes_of_a_promised_stream_tell_its_format_and_a_label_that_lies_is_noted() {
    let events = |bytes: &str, label| {
        let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Format(label), Wanted::Events), ..openai() });
        assert_eq!(rig.session.commit(), Some(Commit::Reframe(label)), "the head does not wait");
        bytes.bytes().for_each(|byte| drop(rig.input([byte])));
        let stats = rig.session.stats();
        let format = rig.session.format().map(|format| format.name);
        (String::from_utf8(rig.sent.clone()).unwrap(), format.unwrap(), stats.lying_label.map(Label::name))
    };
    let json = "data: {\"a\":1}\n\n".to_owned();
    assert_eq!(events("data: {\"a\":1}\n\n", &SSE), (json.clone(), "sse", None));
    assert_eq!(events("{\"a\":1}", &SSE), (json.clone(), "ndjson", Some("sse")));
    assert_eq!(events("\n[{\"a\":1},", &SSE), (json.clone(), "json-array", Some("sse")));
    assert_eq!(events("data: {\"a\":1}\n\n", &NDJSON), (json.clone(), "sse", Some("ndjson")));
    assert_eq!(events("{\"a\":1}\n", &NDJSON), (json, "ndjson", None));
    assert_eq!(events("meta: 1\ndata: x\n\n", &SSE), ("meta: 1\ndata: x\n\n".into(), "sse", None));

    let mut page = Rig::new(Plan { mode: Mode::Sniff(Label::Format(&SSE), Wanted::Events), ..openai() });
    assert!(page.input("<!doctype html><p>Sign in").starts_with("event: error\ndata: "));
    assert_eq!((page.end, page.outcome().as_str()), (Some(End::Clean), "upstream:html@first_event"));
    let mut silent = Rig::new(Plan { mode: Mode::Sniff(Label::Format(&SSE), Wanted::Events), ..openai() });
    assert_eq!(silent.pass(15), ":\n", "the head is out, so is the heartbeat");
    assert!(silent.ended().contains("upstream_empty"));
}

#[test]
fn a_format_that_ends_early_or_is_broken_ends_the_stream_after_what_was_whole() {
    let message = crate::codec::aws_eventstream::testing::event("e", b"{}");
    let mut broken = message.clone();
    broken[20] ^= 1;
    let mut rig = Rig::new(Plan { known_ai: true, ..plan(Mode::Reframe(&AWS_EVENTSTREAM)) });
    let sent = rig.input([&message[..], &broken].concat());
    assert!(
        sent.starts_with("event: e\ndata: {}\n\nevent: error\n") && sent.contains("upstream_malformed"),
        "{sent}"
    );
    assert_eq!(rig.outcome(), "upstream:malformed@body");
    for (format, bytes) in [(&JSON_ARRAY, &b"[{},"[..]), (&AWS_EVENTSTREAM, &message[..20])] {
        let mut rig = Rig::new(Plan { known_ai: true, ..plan(Mode::Reframe(format)) });
        rig.input(bytes);
        assert!(rig.ended().contains("upstream_truncated"), "{}", format.name);
    }
    let mut whole = Rig::new(Plan { known_ai: true, ..plan(Mode::Reframe(&JSON_ARRAY)) });
    assert_eq!((whole.input("[{}]"), whole.ended().as_str()), ("data: {}\n\n".into(), ""));
}

#[test]
fn an_exception_of_the_format_is_the_upstreams_error_in_any_dialect() {
    let exception = [(":exception-type", "throttlingException"), (":message-type", "exception")];
    let exception = crate::codec::aws_eventstream::testing::message(&exception, br#"{"message":"slow"}"#);
    for known_ai in [false, true] {
        let mut rig = Rig::new(Plan { known_ai, ..plan(Mode::Reframe(&AWS_EVENTSTREAM)) });
        assert_eq!(rig.input(&exception), "event: throttlingException\ndata: {\"message\":\"slow\"}\n\n");
        rig.ended();
        assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:error@end"));
    }
}

#[test]
fn a_declared_charset_is_converted() {
    let charset = Charset::declared("text/event-stream; charset=gbk");
    let mut rig = Rig::new(Plan { charset, ..openai() });
    assert_eq!(
        (rig.input(b"data: \xc4\xe3"), rig.input(b"\xba\xc3\n\n")),
        (String::new(), "data: 你好\n\n".into())
    );
    let mut text = Rig::new(Plan { charset, ..plan(Mode::Reframe(&TEXT)) });
    assert_eq!((text.input(b"\xc4"), text.input(b"\xe3\n")), (String::new(), "data: 你\ndata: \n\n".into()));
}

#[test]
fn the_end_marker_is_taken_out_of_quotes_only_where_nothing_else_is_meant() {
    let quoted = "data: \"[DONE]\"\n\n";
    let named = "event: done\ndata: \"[DONE]\"\n\n";
    assert_eq!(Rig::new(openai()).input([quoted, DONE_EVENT].concat()), DONE_EVENT);
    assert_eq!(Rig::new(openai()).input(named), named);
    assert_eq!(Rig::new(plan(Mode::Reframe(&SSE))).input(quoted), quoted);
    let mut off = Rig::new(Plan { repairs: Repairs::NONE, ..openai() });
    let as_sent = ["data:  [DONE] \n\n", DONE_EVENT, quoted].concat();
    assert_eq!(off.input(&as_sent), as_sent);
    off.input("data: [DONE]\n");
    assert_eq!((off.ended().as_str(), off.session.stats().repaired.count), ("", 0));
}

#[test]
fn empty_events_become_comments_only_where_that_is_asked_for() {
    let beats = "data: \n\nid: 1\ndata: \n\n";
    assert_eq!(Rig::new(openai()).input(beats), beats);
    let mut rig = Rig::new(Plan { repairs: Repairs::all(), ..openai() });
    assert_eq!(rig.input(beats), ":\nid: 1\ndata: \n\n");
    assert_eq!(rig.session.stats().repaired.count, 1);
}

#[test]
fn heartbeat_that_shapes_leave_out_is_a_block_and_time_goes_on() {
    let pick = Pick { pointer: "/choices/*/delta/content".to_owned(), plain: true };
    let shapes = Settings { pick: Some(pick), ..Settings::default() };
    let form = HeartbeatForm::Delta;
    let mut rig = Rig::new(Plan { shapes: Some(Arc::new(shapes)), heartbeat_form: form, ..openai() });
    assert_eq!(rig.input(CONTENT), "data: 你\n\n");
    assert_eq!(rig.pass(45), ":\n\n:\n\n:\n\n", "not one more, and not for ever");
}

#[test]
fn heartbeat_of_a_dialect_waits_for_one_of_its_events() {
    let delta = |plan: Plan| Rig::new(Plan { heartbeat_form: HeartbeatForm::Delta, ..plan });
    let mut hinted = delta(Plan { dialect: Some(&ANTHROPIC), ..openai() });
    assert_eq!(hinted.pass(15), ":\n\n", "what splits at blank lines must not see it in the next event");
    hinted.input("event: message_start\ndata: {\"message\":{}}\n\n");
    assert_eq!(hinted.pass(15), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    let mut set = delta(Plan { dialect: Some(&ANTHROPIC), is_set: true, ..openai() });
    assert_eq!(set.pass(15), ":\n\n", "nor before the first event of a route that sets it");
    let mut other = delta(Plan { dialect: Some(&GENERIC), ..openai() });
    other.input("data: x\n\n");
    assert_eq!(other.pass(15), ":\n\n", "there is no event that says nothing");
}

#[test]
fn comments_go_the_way_of_heartbeats() {
    for (form, want) in [
        (HeartbeatForm::Comment, ": up\ndata: {}\n\n"),
        (HeartbeatForm::Block, ": up\n\ndata: {}\n\n"),
        (HeartbeatForm::Delta, "data: {}\n\n"),
        (HeartbeatForm::Off, "data: {}\n\n"),
    ] {
        for cut in 0..14 {
            let mut rig = Rig::new(Plan { heartbeat_form: form, ..openai() });
            let wire = b": up\n\ndata: {}\n\n";
            let sent = rig.input(&wire[..cut]) + &rig.input(&wire[cut..]);
            assert_eq!(sent, want, "{form:?} cut at {cut}");
        }
    }
}

#[test]
fn response_that_is_to_be_told_promises_nothing_until_it_was_read() {
    let told = |pieces: &[&[u8]], broken: bool| {
        let mut rig = Rig::new(Plan { is_error: true, ..plan(Mode::Tell(StatusCode::TOO_MANY_REQUESTS)) });
        for piece in pieces {
            rig.input(piece);
            assert_eq!(rig.session.commit().is_some(), rig.end.is_some());
        }
        if rig.end.is_none() {
            if broken {
                rig.failed(Cause::UpstreamTruncated)
            } else {
                rig.ended()
            };
        }
        assert_eq!(rig.sent, b"");
        match rig.session.commit() {
            Some(Commit::Refuse(failure)) => (failure.status().as_u16(), failure.message().to_owned()),
            other => panic!("{other:?}"),
        }
    };
    let body: &[u8] = br#"{"error":{"message":"slow down"}}"#;
    assert_eq!(told(&[body], false), (429, "slow down".to_owned()));
    assert_eq!(told(&[&body[..9], &body[9..]], true), (429, "slow down".to_owned()));
    let cut = (429, "the upstream answered 429 Too Many Requests, and its words broke off".to_owned());
    assert_eq!(told(&[&body[..20]], true), cut, "half an object is no word of it");
    assert_eq!(told(&[b"slow do"], true), cut);
    let event: &[u8] =
        b"id:1\nevent:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling\",\"message\":\"slow down\"}\n\n";
    for (text, broken, want) in [
        (event, false, (429, "slow down".to_owned())),
        (event, true, (429, "slow down".to_owned())),
        (&event[..event.len() - 1], false, (429, "slow down".to_owned())),
        (&event[..event.len() - 9], true, cut.clone()),
        (b"data: slow\n\ndata: [DONE]\n\n", false, (429, "slow".to_owned())),
        (b": nothing\n\n", false, (429, ": nothing".to_owned())),
        (b"too fast: data: x", false, (429, "too fast: data: x".to_owned())),
    ] {
        assert_eq!(told(&[text], broken), want);
    }
    let unsaid = (429, "the upstream answered 429 Too Many Requests".to_owned());
    assert_eq!(told(&[], false), unsaid);
    for early in [false, true] {
        let slow = Plan { is_error: true, ..plan(Mode::Tell(StatusCode::TOO_MANY_REQUESTS)) };
        let mut rig = if early { Rig::new(plan(Mode::Await)) } else { Rig::new(slow) };
        if early {
            rig.call(|session, now, out| {
                session.answered(plan(Mode::PassThrough), StatusCode::TOO_MANY_REQUESTS, now, out);
            });
        }
        rig.input(&body[..20]);
        rig.pass(0);
        assert_eq!(rig.end, None);
        rig.pass(1);
        assert!(rig.end.is_some(), "a client that has no head waits no longer for the words");
        assert_eq!(rig.session.failure().unwrap().message(), cut.1);
    }
    assert_eq!(told(&[&[b'x'; 40 << 10], &[b'y'; 40 << 10]], false), unsaid);
}

#[test]
fn error_that_is_all_of_a_stream_is_told_as_a_refusal_is() {
    let shapes = || Settings {
        markers: Markers { ending: Ending::Auto, ..Markers::default() },
        ..Settings::default()
    };
    let told =
        |plan: Plan, before: &str| Rig::told(Plan { shapes: Some(Arc::new(shapes())), ..plan }, before);
    let in_band = |retry| Plan { in_band: Some(InBand { retry }), ..openai() };
    let empty = told(in_band(None), ": hi\n\n");
    assert!(empty.starts_with(":") && empty.contains("event: error\ndata: {"), "{empty}");
    assert!(empty.contains(r#""status":502"#) && empty.ends_with("}\n\ndata: [DONE]\n\n"), "{empty}");
    let day = Some(Duration::from_secs(86_400));
    assert!(told(in_band(day), "").starts_with("event: error\nretry: 86400000\ndata: {"));
    assert!(told(Plan { dialect: Some(&GEMINI), ..in_band(None) }, "").starts_with("event: error\ndata: {"));
    let begun = told(in_band(day), CONTENT);
    assert!(begun.contains("upstream_truncated") && !begun.contains("status"), "{begun}");
    assert!(
        !begun.contains("[DONE]") && !begun.contains("retry"),
        "what was cut must not look whole: {begun}"
    );
    let unshown = Settings { pick: Some(Pick { pointer: "/x".to_owned(), plain: true }), ..shapes() };
    let plain = Rig::told(Plan { shapes: Some(Arc::new(unshown)), ..in_band(day) }, CONTENT);
    assert!(plain.contains("upstream_truncated") && !plain.contains("status"), "{plain}");
    assert!(!plain.contains("[DONE]"), "the answer had begun, though nothing of it was sent: {plain}");
    let usual = told(openai(), "");
    assert!(usual.contains("upstream_empty") && !usual.contains("status") && !usual.contains("[DONE]"));
}

#[test]
fn break_before_any_event_is_told_in_band_whatever_the_api_and_the_log_says_so_only_then() {
    let broken = |in_band, heard: &str| {
        let mut rig = Rig::new(Plan { in_band, ..plan(Mode::Reframe(&SSE)) });
        rig.input(heard);
        rig.call(|session, now, out| {
            session.upstream_failed(Failure::new(Cause::UpstreamTruncated, "it broke"), now, out);
        });
        let status = rig.session.failure().and_then(Failure::told_status).map(|status| status.as_u16());
        (String::from_utf8(rig.sent).unwrap(), rig.end, status)
    };
    let in_band = Some(InBand { retry: None });
    for heard in ["", ": hi\n\n", "data: hel"] {
        let (sent, end, status) = broken(in_band, heard);
        assert!(sent.contains("event: error\ndata: {") && sent.contains("\"status\":502"), "{sent}");
        assert_eq!((end, status), (Some(End::Clean), Some(502)));
        assert_eq!(broken(None, heard).1, Some(End::Abort));
    }
    assert_eq!(broken(in_band, "data: x\n\n"), ("data: x\n\n".to_owned(), Some(End::Abort), None));
    let mcp = Plan { dialect: Some(&MCP), is_set: true, in_band, ..plan(Mode::Reframe(&SSE)) };
    let mut rig = Rig::new(mcp);
    rig.call(|session, now, out| session.drain(now, out));
    assert_eq!((rig.sent.len(), rig.end), (0, Some(End::Abort)));
    assert_eq!(rig.session.failure().and_then(Failure::told_status), None, "nothing was told");
}

#[test]
fn heartbeat_is_one_comment_line_after_silence_also_inside_an_event() {
    let mut rig = Rig::new(openai());
    assert_eq!(rig.pass(14), "");
    assert_eq!(rig.pass(1), ":\n");
    rig.input(&CONTENT[..20]);
    assert_eq!(rig.pass(30), ":\n:\n");
    assert_eq!(rig.input(&CONTENT[20..]), CONTENT);
    assert_eq!(rig.pass(14), "", "a write to the client starts the silence anew");
    assert_eq!(rig.pass(1), ":\n");
    let mut passing = Rig::new(plan(Mode::PassThrough));
    assert_eq!(passing.pass(100), "");
}

#[test]
fn timeouts_end_the_stream_by_name() {
    let mut rig = Rig::new(Plan { heartbeat: None, ..openai() });
    rig.input(CONTENT);
    rig.pass(299);
    rig.input(":\n");
    assert_eq!(rig.pass(299), "", "any byte of the upstream counts");
    assert!(rig.pass(1).contains("upstream_timeout_event_gap"));
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:timeout_event_gap@body"));

    let mut rig = Rig::new(Plan { heartbeat: None, event_gap: None, ..openai() });
    rig.pass(599);
    rig.input(":\n");
    assert!(rig.pass(1).contains("timeout_first_event"));
    assert_eq!(rig.outcome(), "upstream:timeout_first_event@first_event");

    let total = Some((Instant::now() + Duration::from_secs(5), Duration::from_secs(5)));
    let mut rig = Rig::new(Plan { total, ..plan(Mode::PassThrough) });
    rig.input("x");
    rig.pass(6);
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Abort), "tidegate:timeout_total@body"));
}

#[test]
fn first_content_is_bounded_until_it_is_there_and_only_where_it_would_be_known() {
    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let bounded = |plan| Plan { heartbeat: None, first_content: Some(Duration::from_secs(20)), ..plan };
    let mut rig = Rig::new(bounded(openai()));
    rig.input([ROLE, ":\n"].concat());
    assert_eq!(rig.pass(19), "");
    assert!(rig.pass(1).contains("upstream_timeout_first_content"));
    assert_eq!(rig.outcome(), "upstream:timeout_first_content@body");
    assert_eq!(rig.session.stats().first_content, None);
    for events in [vec![ROLE, CONTENT], vec![FINISH], vec!["data: {\"error\":{}}\n\n"]] {
        let mut rig = Rig::new(bounded(openai()));
        rig.input(events.concat());
        assert_eq!(rig.pass(250), "", "{events:?}");
    }
    // A stream of which nothing is known may be silent, and may turn out to be known.
    let mut feed = Rig::new(bounded(plan(Mode::Reframe(&SSE))));
    feed.input("data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n");
    assert_eq!((feed.session.dialect(), feed.pass(250).as_str()), (Some(&OPENAI_CHAT), ""));
    assert!(
        Rig::new(bounded(Plan { dialect: Some(&GENERIC), ..openai() })).pass(20).contains("first_content")
    );
}

#[test]
fn a_dialect_is_found_by_its_first_event_where_nothing_or_the_wrong_one_was_hinted() {
    let started = "data: {\"type\":\"RUN_STARTED\",\"threadId\":\"t\",\"runId\":\"r\"}\n\n";
    for hinted in [None, Some(&OLLAMA)] {
        let mut rig = Rig::new(Plan { dialect: hinted, ..plan(Mode::Reframe(&SSE)) });
        rig.input("event: ping\n\n");
        rig.input(started);
        assert!(rig.ended().starts_with("data: {\"code\":\"upstream_truncated\""));
        assert_eq!(rig.session.dialect().map(|dialect| dialect.name), Some("ag-ui"));
    }
    let mut fixed = Rig::new(Plan { dialect: Some(&GENERIC), is_set: true, ..openai() });
    fixed.input(started);
    fixed.ended();
    assert_eq!((fixed.session.dialect(), fixed.outcome().as_str()), (Some(&GENERIC), "done@end"));
    let mut late = Rig::new(plan(Mode::Reframe(&SSE)));
    late.input(["data: hello\n\n", started].concat());
    late.ended();
    assert_eq!((late.session.dialect(), late.outcome().as_str()), (None, "done@end"));
}

/// A gateway's greeting switched the dialect off for the whole stream.
#[test]
fn what_was_hinted_at_is_given_up_only_after_some_events_of_another_kind() {
    const FOREIGN: &str = "data: {\"status\":\"queued\"}\n\n";
    for (before, after, outcome) in [
        ("data: {}\n\n".repeat(40), CONTENT, "upstream:truncated@body"),
        (FOREIGN.repeat(15), CONTENT, "upstream:truncated@body"),
        (FOREIGN.repeat(16), CONTENT, "done@end"),
        (FOREIGN.to_owned(), "data: {\"id\":\"1\",\"error\":\"overloaded\"}\n\n", "upstream:error@end"),
        (FOREIGN.repeat(15), "", "done@end"),
    ] {
        let mut rig = Rig::new(openai());
        rig.input(before + after);
        rig.ended();
        assert_eq!(rig.outcome(), outcome, "{} events, {after}", rig.session.stats().events);
    }
    let mut rig = Rig::new(openai());
    rig.input("data: {}\n\n");
    assert_eq!(rig.session.stats().first_content, None);
    rig.input(FOREIGN);
    assert!(rig.session.stats().first_content.is_some(), "nothing is known of it");
    assert_eq!(rig.session.dialect(), Some(&OPENAI_CHAT));
    rig.input(FOREIGN.repeat(15));
    assert_eq!(rig.session.dialect(), Some(&GENERIC));
}

#[test]
fn a_dialect_that_the_route_sets_needs_no_event_to_confirm_it() {
    let set = || Rig::new(Plan { is_set: true, ..openai() });
    for (events, outcome) in [
        ("data: {\"t\":1}\n\n".to_owned(), "upstream:truncated@body"),
        ("data: {\"t\":1}\n\n".repeat(20) + DONE_EVENT, "done@end"),
        ("data: {\"type\":\"RUN_STARTED\"}\n\n".to_owned(), "upstream:truncated@body"),
        (String::new(), "upstream:empty@first_event"),
    ] {
        let mut rig = set();
        rig.input(&events);
        rig.ended();
        assert_eq!(
            (rig.outcome().as_str(), rig.session.dialect()),
            (outcome, Some(&OPENAI_CHAT)),
            "{events}"
        );
    }
}

#[test]
fn gemini_is_judged_by_its_reason_where_the_route_sets_it() {
    let (part, end) = (
        "data: {\"candidates\":[{\"content\":{}}]}\n\n",
        "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n",
    );
    for (is_set, text, outcome) in [
        (false, part.to_owned(), "done@end"),
        (true, part.to_owned(), "upstream:truncated@body"),
        (true, [part, end].concat(), "done@end"),
    ] {
        let mut rig = Rig::new(Plan { dialect: Some(&GEMINI), is_set, ..openai() });
        rig.input(&text);
        rig.ended();
        assert_eq!(rig.outcome(), outcome, "{text}");
    }
    let generic = Plan { dialect: Some(&GENERIC), is_set: true, ..openai() };
    let mut rig = Rig::new(generic);
    rig.input(part);
    rig.ended();
    assert_eq!(rig.outcome(), "done@end", "no end is known");
}

/// Google's packages look for bare JSON that is all of a read, everybody else for an event.
#[test]
fn gemini_is_told_of_a_break_in_one_form() {
    let told = |finds_bare, shapes| {
        let plan = Plan { dialect: Some(&GEMINI), is_set: true, finds_bare, ..openai() };
        let mut rig = Rig::new(Plan { shapes: Some(Arc::new(shapes)), ..plan });
        rig.input("data: {\"candidates\":[{\"content\":{}}]}\n\n");
        rig.failed(Cause::UpstreamTruncated);
        assert_eq!(rig.end, Some(End::Clean));
        let [_, told] = &rig.units[..] else { panic!("{:?}", rig.units) };
        told.clone()
    };
    let bare = told(true, Settings::default());
    assert!(bare.starts_with("{\"error\":{\"code\":502,") && bare.ends_with("}\n"), "{bare}");
    let event = format!("data: {bare}\n");
    assert_eq!(told(false, Settings::default()), event);
    assert_eq!(told(true, Settings { data_only: true, ..Settings::default() }), event, "lines of data alone");
}

#[test]
fn pings_behind_an_error_leave_it_the_last_word() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let named = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    for (ping, dialect) in
        [(named, &ANTHROPIC), ("data: {\"type\":\"ping\"}\n\n", &ANTHROPIC), (named, &GENERIC)]
    {
        let mut rig = Rig::new(Plan { dialect: Some(dialect), is_set: true, ..openai() });
        rig.input([error, ping].concat());
        assert_eq!(rig.failed(Cause::UpstreamTruncated), "", "{ping}");
        assert_eq!(rig.outcome(), "upstream:error@end", "{ping}");
    }
}

#[test]
fn pings_alone_are_no_answer() {
    let mut rig = Rig::new(openai());
    rig.input("event: ping\n\nid: 1\ndata:\n\n");
    assert!(rig.ended().contains("upstream_empty"));
}

/// A comment line ended every stream of Google's Go client that was silent for 15 s.
#[test]
fn silence_and_errors_are_filled_in_as_the_clients_of_the_dialect_bear_it() {
    let gemini = Plan { dialect: Dialect::named("gemini"), ..openai() };
    assert_eq!(Rig::new(gemini).pass(15), "data: {}\n\n");
    let failed = "event:error\ndata:{\"code\":\"c\",\"message\":\"m\"}\n\n";
    let mut dashscope = Rig::new(Plan { dialect: Dialect::named("dashscope"), ..openai() });
    assert_eq!(dashscope.input(failed), failed.replace("data:", "data: "));
    dashscope.ended();
    assert_eq!(dashscope.outcome(), "upstream:error@end");
    assert!(Rig::new(openai()).input(failed).starts_with("event: error\n"));
}

#[test]
fn tick_never_asks_to_be_called_earlier_than_it_said() {
    let mut rig = Rig::new(openai());
    let mut last = None;
    for step in 0..50 {
        let mut next = None;
        rig.call(|session, now, out| next = session.tick(now, out));
        assert!(next >= last, "step {step}");
        last = next;
        rig.now += Duration::from_secs(3);
        rig.input(CONTENT);
    }
}

#[test]
fn an_event_past_the_bound_ends_the_stream_and_names_the_bound() {
    let mut rig = Rig::new(Plan { max_event_bytes: 100, ..openai() });
    rig.input(CONTENT);
    assert_eq!(rig.input([b'x'; 90]), "");
    let error = rig.input([b'x'; 90]);
    assert!(error.contains("max_event_bytes (100 bytes)"), "{error}");
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:event_too_large@body"));
    assert_eq!(rig.input(CONTENT), "");
}

#[test]
fn unfinished_events_are_bounded_over_all_streams() {
    let budget = Arc::new(Budget::new(300 << 10));
    let mut rigs: Vec<Rig> = (0..2).map(|_| Rig::new(Plan { share: budget.share(), ..openai() })).collect();
    assert_eq!(rigs[0].input(vec![b'x'; 200 << 10]), "");
    assert!(rigs[1].input(vec![b'x'; 200 << 10]).contains("max_carry_total"));
    assert_eq!(rigs[1].outcome(), "tidegate:carry_exhausted@first_event");
    drop(rigs);
    assert_eq!(budget.held(), 0);
}

#[test]
fn the_head_waits_for_the_bytes_of_an_unlabelled_stream() {
    let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
    assert_eq!((rig.input("\n\nda"), rig.session.commit()), (String::new(), None));
    assert_eq!(rig.input("ta: x\n\n"), "data: x\n\n");
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));

    for (wanted, commit) in
        [(Wanted::Events, Commit::Reframe(&NDJSON)), (Wanted::AsSent, Commit::PassThrough)]
    {
        let mut lines = Rig::new(Plan { mode: Mode::Sniff(Label::Other, wanted), ..openai() });
        lines.input("{\"done\":false}\n");
        assert_eq!(lines.session.commit(), Some(commit));
    }

    let mut json = Rig::new(Plan { mode: Mode::Sniff(Label::Json, Wanted::Events), ..openai() });
    assert_eq!((json.input("{\"id\":1}"), json.session.commit()), (String::new(), None));
    assert_eq!(json.ended(), "{\"id\":1}");
    assert_eq!(json.session.commit(), Some(Commit::PassThrough));
    assert_eq!(json.outcome(), "done@end");

    let mut short = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
    short.input("dat");
    assert_eq!((short.ended().as_str(), short.session.commit()), ("dat", Some(Commit::PassThrough)));
}

/// A server that answers JSON after all may send blank lines while it thinks. They were dropped, and the body was
/// shorter than the Content-Length that passed with it.
#[test]
fn a_body_that_passes_after_the_gate_keeps_its_blank_runs() {
    let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Json, Wanted::Events), ..openai() });
    rig.input("\n");
    rig.input(" \r\n");
    rig.input("{\"id\":1}\n");
    rig.ended();
    assert_eq!(rig.session.commit(), Some(Commit::PassThrough));
    assert_eq!(String::from_utf8_lossy(&rig.sent), "\n \r\n{\"id\":1}\n");
}

/// Padding that is to defeat buffers (kilobytes of spaces) made an event stream pass as it was.
#[test]
fn padding_in_front_of_a_stream_is_not_its_content() {
    let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
    assert_eq!((rig.input([b' '; 4096]), rig.session.commit()), (String::new(), None));
    assert_eq!(rig.input("data: x\n\n"), "data: x\n\n");
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
}

#[test]
fn nothing_is_promised_for_a_page_an_empty_body_or_a_break_before_the_first_bytes() {
    let refusal = |rig: &Rig| match rig.session.commit() {
        Some(Commit::Refuse(failure)) => (failure.status().as_u16(), failure.code()),
        other => panic!("{other:?}"),
    };
    let sniff = || Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
    let mut rig = sniff();
    assert_eq!(rig.input("<!doctype html><p>Sign in"), "");
    assert_eq!(refusal(&rig), (502, "upstream_html".into()));
    let mut rig = sniff();
    assert_eq!((rig.input(" \n"), rig.ended()), (String::new(), String::new()));
    assert_eq!(refusal(&rig), (502, "upstream_empty".into()));
    let mut rig = sniff();
    rig.failed(Cause::UpstreamTruncated);
    assert_eq!(refusal(&rig), (502, "upstream_truncated".into()));
    let mut rig = sniff();
    assert_eq!(rig.pass(600), "");
    assert_eq!(refusal(&rig), (504, "upstream_timeout_first_event".into()));
    let mut rig = sniff();
    rig.call(Session::drain);
    assert_eq!(refusal(&rig), (503, "tidegate_drain".into()));
}

/// A route that sets the format took a page for its first event, and nothing at all for an answer.
#[test]
fn a_page_or_nothing_in_a_format_that_the_route_sets_is_told() {
    let fixed = |label, format| {
        let plan = Plan { mode: Mode::Sniff(label, Wanted::In(format)), ..openai() };
        Rig::new(plan)
    };
    let refusal = |rig: &Rig| match rig.session.commit() {
        Some(Commit::Refuse(failure)) => (failure.status().as_u16(), failure.code()),
        other => panic!("{other:?}"),
    };
    let page = "\n<!doctype html><p>Sign in";
    for format in [&SSE, &NDJSON, &JSON_ARRAY] {
        let mut rig = fixed(Label::Other, format);
        assert_eq!(rig.input(page), "");
        assert_eq!(refusal(&rig), (502, "upstream_html".into()));
        let mut rig = fixed(Label::Other, format);
        assert_eq!(rig.ended(), "");
        assert_eq!(refusal(&rig), (502, "upstream_empty".into()));
        let mut rig = fixed(Label::Format(&SSE), format);
        assert_eq!(rig.session.commit(), Some(Commit::Reframe(format)), "a stream is promised");
        assert!(rig.input(page).contains("upstream_html"));
        let mut rig = fixed(Label::Format(&SSE), format);
        assert!(rig.ended().contains("upstream_empty"));
        // Silence is filled: whatever comes, the client gets events.
        let mut rig = fixed(Label::Other, format);
        assert_eq!((rig.pass(14), rig.session.commit()), (String::new(), None));
        assert_eq!((rig.pass(16), rig.session.commit()), (":\n".into(), Some(Commit::Reframe(&SSE))));
        assert!(rig.input(page).contains("upstream_html"));
    }
    let mut rig = fixed(Label::Json, &NDJSON);
    assert_eq!(rig.session.commit(), None);
    assert_eq!(rig.input("{\"a\":1}"), "data: {\"a\":1}\n\n", "in this format, whatever it is");
    assert_eq!(
        (rig.session.commit(), rig.session.stats().lying_label),
        (Some(Commit::Reframe(&NDJSON)), None)
    );
}

/// An error in place of the stream lost its status where the route sets the format.
#[test]
fn an_error_alone_in_a_format_that_the_route_sets_keeps_its_status_and_words() {
    for (format, label, body, status, words) in [
        (&SSE, Label::Json, "{\"error\":{\"message\":\"over\",\"code\":429}}", 429, "over"),
        (&NDJSON, Label::Json, "{\"error\":{\"message\":\"over\",\"code\":429}}\n", 429, "over"),
        (&NDJSON, Label::Other, "Internal Server Error", 500, "Internal Server Error"),
        (&AWS_EVENTSTREAM, Label::Json, "{\"message\":\"no\"}", 502, "no"),
    ] {
        let mut rig = Rig::new(Plan { mode: Mode::Sniff(label, Wanted::In(format)), ..openai() });
        assert_eq!(rig.input(body) + &rig.ended(), "");
        let Some(Commit::Refuse(failure)) = rig.session.commit() else { panic!("{body}") };
        assert_eq!((failure.status().as_u16(), failure.message()), (status, words), "{body}");
    }
}

#[test]
fn a_body_that_is_known_to_be_empty_is_refused_while_no_head_is_out() {
    let empty = |plan| {
        let mut rig = Rig::new(plan);
        rig.call(Session::upstream_empty);
        (rig.session.commit().map(|commit| matches!(commit, Commit::Refuse(_))), rig.outcome())
    };
    let promised = Mode::Sniff(Label::Format(&SSE), Wanted::Events);
    let refused = (Some(true), "upstream:empty@first_event".to_owned());
    assert_eq!(empty(openai()), refused);
    assert_eq!(empty(Plan { mode: promised, ..openai() }), refused);
    assert_eq!(empty(plan(promised)), (Some(false), "done@end".into()), "an event source may be empty");
    assert_eq!(empty(plan(Mode::PassThrough)), (Some(false), "done@end".into()));
}

#[test]
fn an_error_response_that_passes_whole_is_the_upstreams_outcome() {
    let mut rig = Rig::new(Plan { is_error: true, ..plan(Mode::PassThrough) });
    rig.input("{}");
    rig.ended();
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:status@end"));
}

#[test]
fn drain_ends_a_stream_in_its_dialect() {
    let mut rig = Rig::new(openai());
    rig.input(CONTENT);
    assert!(rig.call(Session::drain).starts_with("event: error\n"));
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "tidegate:drain@body"));
}

#[test]
fn a_client_that_leaves_is_the_outcome_unless_there_is_one() {
    let mut rig = Rig::new(openai());
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.outcome(), "client:gone@first_event");
    let mut rig = Rig::new(openai());
    rig.input([FINISH, DONE_EVENT].concat());
    rig.ended();
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.outcome(), "done@end");
}

#[test]
fn a_coded_stream_is_decoded_and_a_corrupt_one_fails() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut rig = Rig::new(Plan { coding: codings("gzip"), ..openai() });
    for event in [CONTENT, FINISH, DONE_EVENT] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        assert_eq!(rig.input(std::mem::take(encoder.get_mut())), event);
    }
    rig.input(encoder.finish().unwrap());
    rig.ended();
    assert_eq!(rig.outcome(), "done@end");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut cut = Rig::new(Plan { coding: codings("gzip"), ..plan(Mode::Reframe(&SSE)) });
    encoder.write_all(b"data: x\n\n").unwrap();
    encoder.flush().unwrap();
    cut.input(std::mem::take(encoder.get_mut()));
    cut.ended();
    assert_eq!((cut.end, cut.outcome().as_str()), (Some(End::Abort), "upstream:truncated@body"));
    let mut json = Rig::new(Plan {
        coding: codings("gzip"),
        mode: Mode::Sniff(Label::Json, Wanted::Events),
        ..openai()
    });
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"{\n\"half\":").unwrap();
    encoder.flush().unwrap();
    json.input(std::mem::take(encoder.get_mut()));
    json.ended();
    assert_eq!((json.end, json.outcome().as_str()), (Some(End::Abort), "upstream:truncated@body"));
    let mut rig = Rig::new(Plan { coding: codings("gzip"), ..openai() });
    assert!(rig.input("data: plain\n\n").contains("upstream_malformed"));
}

/// What a 64 KiB read of a bomb blew up to was 64 MiB for the stream, and as much kept by the worker for ever.
#[test]
fn a_bomb_comes_out_in_small_pieces_and_ends_at_its_bound() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&b"data: \n\n".repeat(1 << 19)).unwrap();
    let bomb = encoder.finish().unwrap();
    let now = Instant::now();
    let mut session = Session::new(Plan { coding: codings("gzip"), ..plan(Mode::Reframe(&SSE)) }, now);
    let (mut out, mut total) = (Out::default(), 0);
    for bite in bomb.chunks(session.bite()) {
        session.input(bite, now, &mut out);
        loop {
            assert!(out.bytes.len() <= TURN_BYTES + PIECE_BYTES, "{} bytes at once", out.bytes.len());
            total += out.bytes.len();
            out.clear();
            if !session.is_behind() {
                break;
            }
            session.go_on(now, &mut out);
        }
    }
    assert_eq!(session.outcome().unwrap().to_string(), "upstream:coding_ratio");
    assert!((1 << 20..4 << 20).contains(&total), "{total}");
    assert_eq!(Session::new(plan(Mode::PassThrough), now).bite(), usize::MAX);
}

#[test]
fn the_end_of_a_coded_body_waits_until_all_of_it_is_decoded() {
    use std::io::Write;
    let text = b"data: 0123456789\n\n".repeat(20_000);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&text).unwrap();
    let coded = encoder.finish().unwrap();
    let mut session =
        Session::new(Plan { coding: codings("gzip"), ..plan(Mode::Reframe(&SSE)) }, Instant::now());
    let (mut out, mut sent, now) = (Out::default(), Vec::new(), Instant::now());
    session.input(&coded, now, &mut out);
    session.upstream_ended(now, &mut out);
    while session.is_behind() {
        assert_eq!(out.end, None);
        sent.append(&mut out.bytes);
        out.clear();
        session.go_on(now, &mut out);
    }
    sent.append(&mut out.bytes);
    assert_eq!((sent, out.end), (text, Some(End::Clean)));
}

/// Ticks come only when the upstream pauses: one that sent comments without end had no bound.
#[test]
fn bounds_hold_also_for_an_upstream_that_never_pauses() {
    for (total, name) in [(None, "timeout_first_event"), (Some(60), "timeout_total")] {
        let now = Instant::now();
        let total = total.map(|seconds| (now + Duration::from_secs(seconds), Duration::from_secs(seconds)));
        let mut rig = Rig::new(Plan { total, ..openai() });
        rig.now = now;
        while rig.end.is_none() && rig.now < now + Duration::from_secs(3600) {
            rig.now += Duration::from_secs(1);
            rig.input(": still here\n");
        }
        assert!(rig.outcome().contains(name), "{} and not {name}", rig.outcome());
    }
}

#[test]
fn memory_of_a_coding_counts_as_held_back() {
    use std::io::Write;
    let budget = Arc::new(Budget::new(256 << 10));
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    let text: Vec<u8> =
        (0..60_000_u32).flat_map(|number| format!("data: {number}\n\n").into_bytes()).collect();
    encoder.write_all(&text).unwrap();
    encoder.flush().unwrap();
    let plan = Plan { coding: codings("br"), share: budget.share(), ..plan(Mode::Reframe(&SSE)) };
    let mut rig = Rig::new(plan);
    for bite in encoder.into_inner().chunks(4096) {
        rig.input(bite);
    }
    assert_eq!(rig.outcome(), "tidegate:carry_exhausted@body");
    assert!(rig.session.failure().unwrap().message().contains("max_carry_total"));
}

#[test]
fn every_cut_of_a_stream_gives_the_same_bytes_and_one_outcome() {
    let text = [": hi\r\n\r\n", CONTENT, "id:1\r\rdata:x\r\n\r\n", FINISH, DONE_EVENT].concat();
    let mut whole = Rig::new(openai());
    whole.input(&text);
    whole.ended();
    for at in 0..=text.len() {
        let mut rig = Rig::new(openai());
        rig.input(&text.as_bytes()[..at]);
        rig.input(&text.as_bytes()[at..]);
        rig.ended();
        assert_eq!((&rig.sent, &rig.units), (&whole.sent, &whole.units), "cut at {at}");
    }
    for at in 0..text.len() {
        let mut rig = Rig::new(openai());
        rig.input(&text.as_bytes()[..at]);
        rig.failed(Cause::UpstreamTruncated);
        let sent = String::from_utf8(rig.sent).unwrap();
        let (complete, _) = sent.split_once("event: error").unwrap_or((&sent, ""));
        assert!(std::str::from_utf8(&whole.sent).unwrap().starts_with(complete), "cut at {at}");
        assert!(
            sent.ends_with("\n\n") && (!sent.contains("[DONE]") || at + 2 > text.len()),
            "cut at {at}: {sent:?}"
        );
    }
}

fn shaped(settings: Settings) -> Plan {
    Plan { shapes: Some(Arc::new(settings)), heartbeat: None, event_gap: None, ..openai() }
}

fn token(text: &str) -> String {
    CONTENT.replace('你', text)
}

#[test]
fn merged_text_leaves_when_its_time_comes_and_other_timers_stay() {
    let merge = Some(Duration::from_millis(40));
    let mut rig = Rig::new(shaped(Settings { merge, ..Settings::default() }));
    let begun = rig.now;
    assert_eq!(rig.input(token("a")), token("a"), "the first at once");
    assert!(!rig.session.wants_tick());
    rig.now += Duration::from_millis(10);
    assert_eq!(rig.input(token("b")) + &rig.input(token("c")), "");
    assert!(rig.session.wants_tick(), "the sink has to wake up earlier than it was told");
    let mut next = None;
    rig.call(|session, now, out| next = session.tick(now, out));
    assert_eq!(next, Some(begun + Duration::from_millis(40)));
    rig.now = begun + Duration::from_millis(40);
    assert_eq!(rig.pass(0), token("bc"));
    assert!(!rig.session.wants_tick());
    assert_eq!(rig.session.stats().events, 2, "what was written counts");
}

#[test]
fn merged_text_is_not_late_where_the_upstream_never_pauses() {
    let merge = Some(Duration::from_millis(40));
    let mut rig = Rig::new(shaped(Settings { merge, ..Settings::default() }));
    let mut sent = String::new();
    for _ in 0..10 {
        sent += &rig.input(token("x"));
        rig.now += Duration::from_millis(10);
    }
    // No tick at all.
    assert_eq!(sent, [token("x"), token("xxxx"), token("xxxx")].concat());
}

#[test]
fn what_shapes_hold_leaves_before_the_end_and_before_an_error() {
    let settings = || Settings { merge: Some(Duration::from_secs(9)), ..Settings::default() };
    let mut clean = Rig::new(shaped(settings()));
    clean.input([token("a"), token("b")].concat());
    assert_eq!(clean.input([FINISH, DONE_EVENT].concat()), [&token("b"), FINISH, DONE_EVENT].concat());
    clean.ended();
    assert_eq!(clean.outcome(), "done@end");
    let mut cut = Rig::new(shaped(settings()));
    cut.input([token("a"), token("b"), token("c")].concat());
    let said = cut.failed(Cause::UpstreamTruncated);
    assert!(said.starts_with(&(token("bc") + "event: error\n")), "{said}");
    let mut drained = Rig::new(shaped(settings()));
    drained.input([token("a"), token("b")].concat());
    let said = drained.call(|session, now, out| session.drain(now, out));
    assert!(said.starts_with(&(token("b") + "event: error\n")), "{said}");
    let mut generic = Rig::new(Plan { dialect: None, known_ai: false, ..shaped(settings()) });
    generic.input([token("a"), token("b")].concat());
    assert_eq!(generic.failed(Cause::UpstreamTruncated), "", "nothing is held of what nobody knows");
    assert_eq!(generic.end, Some(End::Abort));
}

fn markers(ending: Ending, to: &str) -> Settings {
    let close = Some(Duration::from_millis(50));
    let markers = Markers { ending, to: Marker::read(to), close, ..Markers::default() };
    Settings { markers, ..Settings::default() }
}

#[test]
fn marker_is_added_to_complete_answers_alone() {
    let ensured = |input: &str| {
        let mut rig = Rig::new(shaped(markers(Ending::Ensure, "AIQA_EOF")));
        rig.input(input);
        rig
    };
    let marker = "data: AIQA_EOF\n\n";
    let complete = [CONTENT, FINISH].concat();
    let mut rig = ensured(&complete);
    assert_eq!((rig.ended().as_str(), rig.outcome().as_str()), (marker, "done@end"));
    assert_eq!(rig.session.stats().events, 3);

    let mut unfinished = ensured(CONTENT);
    assert!(!unfinished.ended().contains("EOF"));
    assert_eq!(unfinished.outcome(), "upstream:truncated@body");
    let mut broken = ensured(&complete);
    assert!(!broken.failed(Cause::UpstreamTruncated).contains("EOF"));
    let mut told = ensured(&[CONTENT, "data: {\"error\":{\"message\":\"x\"}}\n\n"].concat());
    assert_eq!((told.ended().as_str(), told.outcome().as_str()), ("", "upstream:error@end"));
    let mut drained = ensured(&complete);
    assert!(!drained.call(|session, now, out| session.drain(now, out)).contains("EOF"));

    let mut text = Rig::new(Plan {
        dialect: None,
        mode: Mode::Reframe(&TEXT),
        ..shaped(markers(Ending::Ensure, "AIQA_EOF"))
    });
    text.input("hello");
    assert_eq!(text.ended(), marker, "a dialect without an end: a clean one is complete");
}

#[test]
fn stream_is_closed_behind_a_marker_that_the_upstream_does_not_follow_with_its_end() {
    let mut rig = Rig::new(shaped(markers(Ending::Keep, "AIQA_EOF")));
    assert_eq!(
        rig.input([CONTENT, FINISH, DONE_EVENT].concat()),
        [CONTENT, FINISH, "data: AIQA_EOF\n\n"].concat()
    );
    assert!(rig.session.wants_tick());
    rig.now += Duration::from_millis(49);
    assert_eq!(rig.input(": what belongs to it\n\n"), ": what belongs to it\n");
    assert_eq!(rig.end, None);
    rig.now += Duration::from_millis(1);
    rig.pass(0);
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "done@end"));

    let mut busy = Rig::new(shaped(markers(Ending::Strip, "AIQA_EOF")));
    busy.input([CONTENT, DONE_EVENT].concat());
    busy.now += Duration::from_millis(50);
    busy.input(":\n");
    assert_eq!((busy.end, busy.outcome().as_str()), (Some(End::Clean), "done@end"), "without a pause too");
    assert!(!String::from_utf8_lossy(&busy.sent).contains("DONE"));

    let mut cut = Rig::new(shaped(markers(Ending::Keep, "AIQA_EOF")));
    cut.input("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: AIQA_EOF\n\n");
    cut.failed(Cause::UpstreamTruncated);
    assert_eq!(cut.outcome(), "done@end", "the answer was over before it broke");
}

#[test]
fn texts_that_shapes_keep_are_bounded_and_accounted() {
    let to_full = || Settings { to_full: Some("/choices/*/delta/content".into()), ..Settings::default() };
    let mut rig = Rig::new(Plan { max_event_bytes: 1000, ..shaped(to_full()) });
    while rig.end.is_none() {
        rig.input(token("twenty bytes of text"));
        assert!(rig.sent.len() < 100_000, "it goes on for ever");
    }
    assert_eq!(rig.outcome(), "upstream:event_too_large@body");
    let budget = Arc::new(Budget::new(100_000));
    let mut held = Rig::new(Plan { share: budget.share(), ..shaped(to_full()) });
    held.input(token(&"x".repeat(80_000)));
    assert!(budget.held() >= 80_000);
    held.input(token(&"x".repeat(30_000)));
    assert_eq!(held.outcome(), "tidegate:carry_exhausted@body");
}

#[test]
fn stream_of_which_a_shape_leaves_nothing_was_no_empty_one() {
    let pick = Some(Pick { pointer: "/nowhere".into(), plain: false });
    let mut rig = Rig::new(shaped(Settings { pick, ..Settings::default() }));
    rig.input([CONTENT, FINISH].concat());
    rig.ended();
    assert_eq!((rig.sent.len(), rig.outcome().as_str()), (0, "done@end"));
}
