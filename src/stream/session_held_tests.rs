//! Heads that are held back, and heads that go before there is an answer.

use http::StatusCode;

use super::super::super::{Hold, Until};
use super::*;
use crate::dialect::{COZE, DASHSCOPE, GENERIC, MCP};

const WITHIN: u64 = 20;
const ERROR: &str = "data: {\"error\":{\"message\":\"boom\",\"type\":\"rate_limit_error\"}}\n\n";
const ROLE: &str =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";

/// An event stream with the right label, held back.
fn held(until: Until) -> Rig {
    Rig::new(held_plan(until))
}

fn held_plan(until: Until) -> Plan {
    let hold = Some(Hold { until, within: Duration::from_secs(WITHIN) });
    Plan { hold, mode: Mode::Sniff(Label::Format(&SSE), Wanted::Events), ..openai() }
}

fn refused(rig: &Rig) -> (u16, String, String) {
    let Some(Commit::Refuse(failure)) = rig.session.commit() else { panic!("{:?}", rig.session.commit()) };
    assert_eq!((rig.sent.len(), rig.session.stats().bytes, rig.session.stats().events), (0, 0, 0));
    assert!(rig.outcome().ends_with("@first_event"), "{}", rig.outcome());
    (failure.status().as_u16(), failure.code(), failure.message().to_owned())
}

fn refusal(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[test]
fn head_waits_for_the_first_event_and_leaves_with_it() {
    let mut rig = held(Until::Event);
    assert_eq!((rig.session.commit(), rig.input(": thinking\n\n")), (None, String::new()));
    assert_eq!(rig.pass(WITHIN - 1), "", "there is no place for a heartbeat before the head");
    assert_eq!(rig.input(&ROLE[..20]), "");
    assert_eq!(rig.session.commit(), None);
    assert_eq!(rig.input(&ROLE[20..]), format!(": thinking\n{ROLE}"));
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
    assert_eq!(rig.units, [": thinking\n", ROLE]);
    assert_eq!(rig.input(CONTENT), CONTENT);
    rig.input([FINISH, DONE_EVENT].concat());
    rig.ended();
    assert_eq!((rig.outcome().as_str(), rig.session.stats().events), ("done@end", 4));
}

#[test]
fn head_that_waits_for_content_holds_roles_and_pings() {
    let mut rig = held(Until::Content);
    assert_eq!((rig.input(ROLE), rig.session.commit()), (String::new(), None));
    assert_eq!(rig.input(CONTENT), [ROLE, CONTENT].concat());
    let mut rig = held(Until::Content);
    rig.input(ROLE);
    rig.input(ERROR);
    assert_eq!(refused(&rig), refusal(429, "upstream_error", "boom"));
    let mut rig = held(Until::Content);
    assert_eq!(rig.input("data: token\n\n"), "data: token\n\n", "of an unknown stream any event is one");
}

#[test]
fn head_is_held_no_longer_than_it_may_be() {
    let mut rig = held(Until::Event);
    rig.input(": one\n\n");
    let mut next = None;
    rig.call(|session, now, out| next = session.tick(now, out));
    assert_eq!(next, Some(rig.now + Duration::from_secs(WITHIN)));
    assert_eq!(rig.pass(WITHIN), ": one\n");
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
    assert_eq!(rig.pass(15), ":\n", "from here on there are heartbeats");
    assert!(rig.input(ERROR).starts_with("data: "), "and an error is an event");

    let comment = format!(":{}\n\n", "x".repeat(64 << 10));
    let mut rig = held(Until::Event);
    assert_eq!(
        (1..=4).map(|_| rig.input(&comment).len()).collect::<Vec<_>>(),
        [0, 0, 0, 4 * (comment.len() - 1)]
    );
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
}

/// A server that was silent under a label that says nothing held the head until `first_event`, 10 minutes by default.
#[test]
fn head_of_a_silent_upstream_leaves_in_time_if_the_client_takes_events() {
    let silent =
        |label, wanted| Rig::new(Plan { mode: Mode::Sniff(label, wanted), ..held_plan(Until::Event) });
    for label in [Label::Json, Label::Other] {
        for (body, told) in [
            (CONTENT, CONTENT),
            ("{\"choices\":[]}", "data: {\"choices\":[]}\n\n"),
            ("<!doctype html>", "upstream_html"),
            ("Internal Server Error", "\"message\":\"Internal Server Error\""),
            ("hello", "upstream_malformed"),
            ("", "upstream_empty"),
        ] {
            let mut rig = silent(label, Wanted::Events);
            assert_eq!((rig.pass(WITHIN - 1), rig.session.commit()), (String::new(), None));
            assert_eq!(rig.pass(1), "");
            assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
            assert_eq!(rig.pass(15), ":\n", "from here on there are heartbeats");
            let said = rig.input(body) + &rig.ended();
            assert!(said.contains(told), "{body}: {said}");
            assert_eq!(rig.end, Some(End::Clean), "{body}");
        }
        let mut open = silent(label, Wanted::AsSent);
        assert_eq!((open.pass(599), open.session.commit()), (String::new(), None), "nobody knows what head");
        open.pass(1);
        assert_eq!(refused(&open).0, 504);
    }
    let feed = Plan { dialect: None, known_ai: false, ..held_plan(Until::Event) };
    let mut feed = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..feed });
    feed.pass(WITHIN);
    assert_eq!((feed.ended().as_str(), feed.outcome().as_str()), ("", "done@end"), "a source may be empty");
}

/// A proxy's own words, with status 200, passed as an answer.
#[test]
fn error_in_plain_text_becomes_the_status_that_it_stands_for() {
    let (json, other, promised) = (Label::Json, Label::Other, Label::Format(&SSE));
    for (text, status) in
        [("Internal Server Error", 500), ("rate limit exceeded\n", 429), ("no healthy upstream", 503)]
    {
        for (label, wanted) in [(json, Wanted::AsSent), (other, Wanted::Events), (promised, Wanted::Events)] {
            let mut rig = Rig::new(Plan { mode: Mode::Sniff(label, wanted), ..held_plan(Until::Event) });
            let (first, second) = text.split_at(7);
            assert_eq!(rig.input(first) + &rig.input(second) + &rig.ended(), "");
            assert_eq!(refused(&rig), refusal(status, "upstream_error", text.trim()));
            let mut open = Rig::new(Plan { mode: Mode::Sniff(label, wanted), ..openai() });
            let said = open.input(text) + &open.ended();
            assert_eq!(said.contains(text.trim()), label == promised, "{said}");
            assert!(open.outcome().starts_with("upstream:error"), "{}", open.outcome());
        }
    }
    for (plan, text) in [
        (openai(), "Internal Server Error is what servers say"),
        (Plan { dialect: None, ..openai() }, "Internal Server Error"),
        (Plan { dialect: None, known_ai: false, ..openai() }, "no healthy upstream"),
    ] {
        let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..plan });
        assert_eq!(rig.input(text) + &rig.ended(), text, "what is not sure passes");
        assert_eq!(rig.outcome(), "done@end");
    }
}

#[test]
fn stream_that_was_refused_tells_what_it_was() {
    let mut rig = held(Until::Event);
    rig.input(ERROR);
    let told = |rig: &Rig| {
        let (format, dialect) = (rig.session.format(), rig.session.dialect());
        (format.map(|format| format.name), dialect.map(|dialect| dialect.name))
    };
    assert_eq!(told(&rig), (Some("sse"), Some("openai-chat")));
    let mut rig = held(Until::Event);
    rig.input("{\"error\":{\"message\":\"x\"}}");
    assert_eq!(told(&rig), (Some("ndjson"), Some("openai-chat")));
    let mut rig = Rig::new(Plan { mode: Mode::Sniff(Label::Other, Wanted::Events), ..openai() });
    rig.input("<html>");
    assert_eq!(told(&rig), (None, Some("openai-chat")), "no format was found");
}

#[test]
fn error_in_place_of_an_answer_becomes_its_own_status() {
    let own = |status, message: &str| refusal(status, "upstream_error", message);
    let anthropic = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let dashscope = "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"X\",\"message\":\"bad\"}\n\n";
    let baidu = "data: {\"error_code\":17,\"error_msg\":\"daily limit\"}\n\n";
    let unclosed = "data: {\"error\":{\"message\":\"boom\",\"code\":503}}";
    for (dialect, stream, wanted) in [
        (&OPENAI_CHAT, ERROR, own(429, "boom")),
        (&OPENAI_CHAT, unclosed, own(503, "boom")),
        (&ANTHROPIC, anthropic, own(529, "busy")),
        (&GENERIC, dashscope, own(400, "bad")),
        (&GENERIC, baidu, own(502, "daily limit")),
        (&GENERIC, "{\"code\":500,\"msg\":\"no bot_id\"}\n", own(500, "no bot_id")),
        (&COZE, "{\"code\":4000,\"msg\":\"no bot_id\"}\n", own(502, "no bot_id")),
        (
            &DASHSCOPE,
            "{\"code\":\"Throttling\",\"message\":\"slow down\",\"request_id\":\"r\"}",
            own(429, "slow down"),
        ),
        (&GENERIC, "event: error\ndata: plain words\n\n", own(502, "plain words")),
        (&OPENAI_CHAT, "{\"error\":{\"message\":\"boom\",\"code\":404}}", own(404, "boom")),
    ] {
        let mut rig = held(Until::Event);
        rig.session = Session::new(Plan { dialect: Some(dialect), ..held_plan(Until::Event) }, rig.now);
        rig.input(stream);
        rig.ended();
        assert_eq!(refused(&rig), wanted, "{stream}");
        assert_eq!((rig.outcome().as_str(), rig.end), ("upstream:error@first_event", Some(End::Abort)));
    }
}

/// A call that failed is an answer of MCP; its status is 200.
#[test]
fn error_of_json_rpc_is_an_answer() {
    let event = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32600,\"message\":\"x\"}}\n\n";
    let hold = held_plan(Until::Event).hold;
    let plan = |mode| Plan { dialect: Some(&MCP), known_ai: false, hold, ..plan(mode) };
    let mut rig = Rig::new(plan(Mode::Sniff(Label::Format(&SSE), Wanted::Events)));
    assert_eq!(rig.input(event), event);
    assert_eq!(rig.session.commit(), Some(Commit::Reframe(&SSE)));
    let mut rig = Rig::new(plan(Mode::Sniff(Label::Json, Wanted::AsSent)));
    let body = event.split_once("data: ").unwrap().1;
    assert_eq!(rig.input(body) + &rig.ended(), body);
    assert_eq!(rig.session.commit(), Some(Commit::PassThrough));
}

#[test]
fn own_error_object_is_kept_for_clients_that_read_it_and_never_for_the_log() {
    let mut rig = held(Until::Event);
    rig.input(ERROR);
    let failure = rig.session.failure().unwrap();
    let own = ERROR.trim_start_matches("data: ").trim_end();
    assert_eq!(failure.own_body(), Some(own.as_bytes()));
    assert!(!failure.for_the_log().contains("boom"), "{}", failure.for_the_log());
    let mut rig = held(Until::Event);
    rig.session.injects = true;
    rig.input("data: {\"error\":{\"message\":\"bad key sk-1\",\"code\":401}}\n\n");
    let hidden = refusal(502, "upstream_auth", "the upstream refused the proxy's credential");
    assert_eq!(refused(&rig), hidden);
}

#[test]
fn page_or_nothing_or_a_break_in_place_of_an_answer_is_a_true_status() {
    let code = |rig: &Rig| {
        let (status, code, _) = refused(rig);
        (status, code)
    };
    let mut rig = held(Until::Event);
    rig.input("<!doctype html><p>Sign in");
    assert_eq!(code(&rig), (502, "upstream_html".into()));
    for nothing in ["", ": ping\n\n", "event: ping\n\n"] {
        let mut rig = held(Until::Event);
        rig.input(nothing);
        rig.ended();
        let (status, code) = if nothing.starts_with("event") { continue } else { code(&rig) };
        assert_eq!((status, code.as_str()), (502, "upstream_empty"), "{nothing:?}");
    }
    let mut rig = held(Until::Event);
    rig.input("data: {\"cho");
    rig.failed(Cause::UpstreamTruncated);
    assert_eq!(code(&rig), (502, "upstream_truncated".into()));
    let mut rig = held(Until::Event);
    rig.call(Session::drain);
    assert_eq!(code(&rig), (503, "tidegate_drain".into()));
    let mut rig = held(Until::Event);
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.outcome(), "client:gone@first_event");
}

#[test]
fn error_in_json_under_another_label_is_refused_when_it_is_whole() {
    let long = format!("{{\n  \"error\": {{\"message\": \"{}\", \"code\": 400}}}}", "m".repeat(2000));
    for (label, wanted) in
        [(Label::Json, Wanted::Events), (Label::Json, Wanted::AsSent), (Label::Other, Wanted::Events)]
    {
        for text in [&long, "{\"error_code\":17,\"error_msg\":\"limit\",\"id\":\"as-1\"}"] {
            let mut rig = Rig::new(Plan { mode: Mode::Sniff(label, wanted), ..openai() });
            for piece in text.as_bytes().chunks(700) {
                assert!(rig.session.commit().is_none());
                rig.input(piece);
            }
            let (status, code, _) = refused(&rig);
            assert_eq!((status, code.as_str()), (if text.len() > 700 { 400 } else { 502 }, "upstream_error"));
        }
        let mut rig = Rig::new(Plan { mode: Mode::Sniff(label, wanted), ..openai() });
        let answer = format!("{{\"error\":null,\"choices\":[],\"x\":\"{}\"}}", "y".repeat(1000));
        assert_eq!(rig.input(&answer), answer, "an answer passes");
        assert_eq!(rig.session.commit(), Some(Commit::PassThrough));
    }
}

/// A session whose client was given a head before there is an answer.
fn waiting() -> Rig {
    Rig::new(Plan { mode: Mode::Await, ..openai() })
}

fn answer(rig: &mut Rig, plan: Plan, status: u16) -> String {
    let status = StatusCode::from_u16(status).unwrap();
    rig.call(|session, now, out| session.answered(plan, status, now, out))
}

fn error_of(told: &str) -> serde_json::Value {
    let data = told.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{told:?}"));
    serde_json::from_str::<serde_json::Value>(data.trim_end()).unwrap()["error"].take()
}

#[test]
fn stream_that_waits_for_its_answer_beats_at_once_and_in_silence() {
    let mut rig = waiting();
    assert_eq!(rig.pass(0), ":\n");
    assert_eq!(rig.pass(30), ":\n:\n");
    assert_eq!(rig.pass(900), ":\n".repeat(60), "bounds of a response do not count yet");
    assert_eq!(answer(&mut rig, openai(), 200), "");
    assert_eq!(rig.input(CONTENT), CONTENT);
    rig.input([FINISH, DONE_EVENT].concat());
    rig.ended();
    assert_eq!((rig.outcome().as_str(), rig.session.stats().events), ("done@end", 3));
    assert_eq!(rig.session.stats().bytes as usize, rig.sent.len());
    assert_eq!(rig.session.stats().longest_gap, Duration::ZERO, "the wait was none inside the body");
    assert!(answer(&mut rig, openai(), 200).is_empty());

    let mut rig = waiting();
    answer(&mut rig, openai(), 200);
    assert!(rig.pass(600).contains("upstream_timeout_first_event"), "counted from the answer on");
}

#[test]
fn failure_before_the_answer_is_told_in_the_open_stream() {
    let mut rig = waiting();
    rig.session.reached(Phase::Head);
    let told = rig.failed(Cause::UpstreamConnectFailed);
    assert_eq!(error_of(&told)["code"], "upstream_connect_failed");
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:connect_failed@head"));
    let mut rig = waiting();
    assert_eq!(error_of(&rig.call(Session::drain))["code"], "tidegate_drain");
    let mut rig = waiting();
    rig.session.client_gone(Cause::ClientGone, rig.now);
    assert_eq!(rig.outcome(), "client:gone@connect");
    let total = Some((rig.now + Duration::from_secs(60), Duration::from_secs(60)));
    let mut rig = Rig::new(Plan { mode: Mode::Await, total, ..openai() });
    assert!(rig.pass(60).contains("tidegate_timeout_total"));
}

#[test]
fn answer_that_is_an_error_is_told_in_the_upstreams_words_and_stays_the_outcome() {
    let plan = || Plan { is_error: true, ..plan(Mode::PassThrough) };
    let dialect = || Plan { dialect: Some(&OPENAI_CHAT), known_ai: true, ..plan() };
    let mut rig = waiting();
    assert_eq!(answer(&mut rig, dialect(), 429), "");
    assert_eq!(rig.input("{\"error\":{\"message\":\"slow "), "");
    rig.input("down\"}}");
    let error = error_of(&rig.ended());
    assert_eq!((&error["message"], &error["code"]), (&"slow down".into(), &"upstream_status".into()));
    assert_eq!((rig.end, rig.outcome().as_str()), (Some(End::Clean), "upstream:status@first_event"));
    assert_eq!(rig.session.failure().unwrap().for_the_log(), "the upstream answered 429 Too Many Requests");

    let page = || ("<html>".to_owned(), "the upstream answered 503 Service Unavailable".to_owned());
    let long = "m".repeat(20 << 10);
    for (body, words) in [page(), (long.clone(), long[..4 << 10].to_owned()), (String::new(), page().1)] {
        let mut rig = waiting();
        answer(&mut rig, dialect(), 503);
        let told = rig.input(&body) + &rig.ended();
        assert_eq!(error_of(&told)["message"], words);
        assert_eq!(rig.outcome(), "upstream:status@first_event");
    }
    let cut = "the upstream answered 500 Internal Server Error, and its words broke off";
    for (body, is_cut, words) in
        [("bad key sk-canary", false, "bad key *********"), ("bad key sk-can", true, cut)]
    {
        let mut rig = waiting();
        answer(&mut rig, Plan { secrets: Secrets::new(vec![b"sk-canary".to_vec()]), ..dialect() }, 500);
        rig.input(body);
        let told = if is_cut { rig.failed(Cause::UpstreamTruncated) } else { rig.ended() };
        assert_eq!(error_of(&told)["message"], words);
        assert_eq!(rig.outcome(), "upstream:status@first_event");
    }
}

#[test]
fn answer_that_is_no_stream_is_told_or_becomes_one_event() {
    let sniff = |label| Plan { mode: Mode::Sniff(label, Wanted::AsSent), ..openai() };
    let whole = format!("{{\"choices\":[{{\"finish_reason\":\"stop\",\"x\":\"{}\"}}]}}", "y".repeat(1000));
    let mut rig = waiting();
    answer(&mut rig, sniff(Label::Json), 200);
    assert_eq!(rig.input(&whole), format!("data: {whole}\n\n"));
    rig.ended();
    assert_eq!(rig.outcome(), "done@end");

    for (label, body, outcome) in [
        (Label::Json, "{\"error\":{\"message\":\"boom\"}}", "upstream:error@first_event"),
        (Label::Other, "<!doctype html><p>x", "upstream:html@first_event"),
        (Label::Other, "hello", "upstream:malformed@first_event"),
        (Label::Other, "", "upstream:empty@first_event"),
        (Label::Format(&SSE), "", "upstream:empty@first_event"),
    ] {
        let mut rig = waiting();
        answer(&mut rig, sniff(label), 200);
        let told = rig.input(body) + &rig.ended();
        assert!(error_of(&told)["message"].is_string());
        assert_eq!((rig.outcome().as_str(), rig.end), (outcome, Some(End::Clean)), "{body}");
    }
    let mut rig = waiting();
    let told = answer(&mut rig, Plan { known_ai: true, ..plan(Mode::PassThrough) }, 200);
    assert_eq!(error_of(&told)["code"], "upstream_malformed");
}

/// `event_gap` was reached before `first_event`, always, so that the second was of no use.
#[test]
fn silence_counts_as_a_gap_from_the_first_byte_on() {
    let mut rig = Rig::new(Plan { heartbeat: None, ..openai() });
    rig.pass(599);
    assert_eq!(rig.outcome(), "");
    assert!(!rig.session.wants_tick());
    rig.input(": x\n\n");
    assert!(!rig.session.wants_tick(), "the first event is still awaited, and that runs out before");
    rig.pass(1);
    assert_eq!(rig.outcome(), "upstream:timeout_first_event@first_event");

    let mut rig = Rig::new(Plan { heartbeat: None, ..openai() });
    rig.pass(10);
    rig.input(CONTENT);
    assert!(rig.session.wants_tick(), "the last tick said 10 minutes");
    rig.pass(299);
    assert!(!rig.session.wants_tick() && rig.outcome().is_empty());
    rig.pass(1);
    assert_eq!(rig.outcome(), "upstream:timeout_event_gap@body");

    let mut rig = Rig::new(plan(Mode::PassThrough));
    rig.pass(300);
    assert_eq!(
        rig.outcome(),
        "upstream:timeout_event_gap@first_event",
        "a body that passes has no first event"
    );
}

/// An upstream that quoted the key in an error in place of an answer, status 200, had it passed on in tidegate's words.
#[test]
fn secret_is_in_no_words_that_are_quoted_of_a_success() {
    let secrets = || Secrets::new(vec![b"sk-canary".to_vec()]);
    let label = |label, wanted| Plan { mode: Mode::Sniff(label, wanted), secrets: secrets(), ..openai() };
    let body = "{\"error\":{\"message\":\"bad key sk-canary\",\"code\":429}}";
    for (plan, body) in [
        (label(Label::Json, Wanted::AsSent), body),
        (
            label(Label::Format(&SSE), Wanted::Events),
            "upstream connect error or disconnect/reset before headers sk-canary",
        ),
    ] {
        let mut rig = waiting();
        answer(&mut rig, plan, 200);
        let told = rig.input(body) + &rig.ended();
        assert!(told.contains("*********") && !told.contains("sk-canary"), "{told}");
        assert!(!format!("{:?}", rig.session).contains("sk-canary"));
    }
}
