//! What upstreams in the field really send, one case per file in `tests/data/zoo`: the bytes of the upstream,
//! and what a client must see. Its README is the schema; the checks here are that schema.

mod case;
mod check;
mod cuts;
mod play;

use case::Case;

use crate::support::tidegate::{Launch, config};
use crate::support::upstream::Upstream;

/// Groups in which every case that needs no setting must hold.
const GROUPS: [&str; 4] = ["framing", "content-type", "passthrough", "transport"];

/// Backends that must be right as they come; the others are reported.
const BACKENDS: [&str; 17] = [
    "openai-chat-clean",
    "anthropic-messages-clean",
    "anthropic-error-midstream",
    "gemini-sse-crlf",
    "ollama-ndjson-to-sse",
    "ollama-ndjson-passthrough",
    "ollama-ndjson-error-line",
    "llamacpp-done-without-blank-line",
    "llamacpp-error-field",
    "zhipu-v3-meta-field",
    "tgi-no-space-keepalive",
    "bedrock-eventstream-passthrough",
    "dashscope-native",
    "baidu-json-error-200",
    "dify-bare-ping",
    "fastgpt-split-writes-after-done",
    "spring-flux-string-spec",
];

/// What was only wished for and is not so, or everything that is wrong.
type Verdict = Result<Vec<String>, Vec<String>>;

/// Runs a case through a proxy of its own.
async fn run(case: Case, route: &str) -> Verdict {
    let upstream = Upstream::start().await;
    let proxy = Launch::config(config(&upstream, route)).start().await;
    let seen = play::play(&case, &proxy.http(), upstream).await;
    check::check(&case, &seen)
}

/// Runs each case as a task of its own, so that a failed expectation inside the support code is one failure too.
async fn run_all(cases: Vec<(Case, &str)>) -> Vec<(String, Verdict)> {
    let mut results = Vec::new();
    for (case, route) in cases {
        let (name, route) = (case.name.clone(), route.to_owned());
        let result = tokio::spawn(async move { run(case, &route).await }).await;
        results.push((name, result.unwrap_or_else(|panic| Err(vec![panic.to_string()]))));
    }
    results
}

fn report(results: &[(String, Verdict)]) -> String {
    let mut report = String::new();
    for (name, result) in results {
        match result {
            Ok(wishes) if wishes.is_empty() => report += &format!("ok    {name}\n"),
            Ok(wishes) => report += &format!("ok    {name}, but {}\n", wishes.join("; ")),
            Err(faults) => report += &format!("WRONG {name}\n        {}\n", faults.join("\n        ")),
        }
    }
    report
}

#[tokio::test]
async fn every_case_without_settings_holds() {
    let cases = case::load();
    assert_eq!(cases.len(), 56, "the zoo is not all there");
    let chosen =
        cases.into_iter().filter(|case| GROUPS.contains(&case.group.as_str()) && case.config.is_empty());
    let chosen: Vec<_> = chosen.map(|case| (case, "")).collect();
    assert_eq!(chosen.len(), 24);
    let results = run_all(chosen).await;
    let report = report(&results);
    let wrong = results.iter().filter(|(_, result)| result.is_err()).count();
    assert_eq!(wrong, 0, "{wrong} of {} are wrong:\n{report}", results.len());
}

/// With the head held back, what must be right stays right, and what is no answer has a true status.
#[tokio::test]
async fn cases_hold_with_the_head_held_back() {
    let names = ["html-200", "empty-stream", "baidu-json-error-200"];
    let chosen = case::load().into_iter().filter(|case| {
        GROUPS.contains(&case.group.as_str()) && case.config.is_empty() || names.contains(&case.name.as_str())
    });
    let mut cases = Vec::new();
    for mut case in chosen {
        if names.contains(&case.name.as_str()) {
            // Nothing but a status is right now.
            let error = case.expect.get_mut("error").and_then(toml::Value::as_table_mut).expect("an error");
            error.remove("in_stream");
        }
        cases.push((case, "stream = { commit = \"first-content\" }"));
    }
    assert_eq!(cases.len(), 25);
    let results = run_all(cases).await;
    let report = report(&results);
    assert!(results.iter().all(|(_, result)| result.is_ok()), "{report}");
}

/// The settings that a case's knobs stand for; `None` if it needs what there is not.
fn route(case: &Case) -> Option<String> {
    let mut keys = Vec::new();
    for (knob, value) in &case.config {
        keys.push(match (knob.as_str(), value.as_str()) {
            ("decode", Some("raw-text")) => "format = \"text\"".to_owned(),
            ("decode", Some(format)) => format!("format = {format:?}"),
            // What can do no harm is on; gluing must be asked for.
            ("json_repair", Some("auto")) => "repair = [\"auto\", \"glued\"]".to_owned(),
            ("heartbeat_ms", _) => format!("heartbeat = \"{value}ms\""),
            ("early_headers", _) => "early_head = \"500ms\"".to_owned(),
            ("transcode", _) => "charset = \"declared\"".to_owned(),
            ("done", Some(word)) => format!("done = {word:?}"),
            ("cumulative", Some(pointer)) => format!("to_delta = {pointer:?}"),
            ("data_space", Some(word)) => format!("data_space = {word:?}"),
            ("sentinels", None) => sentinels(value)?,
            _ => return None,
        });
    }
    Some(format!("stream = {{ {} }}", keys.join(", ")))
}

/// What the upstream sends as end markers, and the one thing that the client gets for them.
fn sentinels(map: &toml::Value) -> Option<String> {
    let map = map.as_table()?;
    let from: Vec<&String> = map.keys().collect();
    let to = map.values().next()?.as_str()?;
    let is_one = map.values().all(|value| value.as_str() == Some(to));
    is_one.then(|| format!("done_from = {from:?}, done_to = {to:?}"))
}

#[tokio::test]
async fn cases_hold_with_their_knobs_as_settings() {
    let with_knobs = case::load().into_iter().filter(|case| !case.config.is_empty());
    let (known, unknown): (Vec<_>, Vec<_>) = with_knobs.partition(|case| route(case).is_some());
    let unknown: Vec<String> = unknown.into_iter().map(|case| case.name).collect();
    assert_eq!(unknown, Vec::<String>::new());
    let mut results = Vec::new();
    for case in known {
        let route = route(&case).expect("its knobs are known");
        results.extend(run_all(vec![(case, route.as_str())]).await);
    }
    assert_eq!(results.len(), 15);
    let report = report(&results);
    let wrong = results.iter().filter(|(_, result)| result.is_err()).count();
    assert_eq!(wrong, 0, "{wrong} of {} are wrong:\n{report}", results.len());
}

/// What needs no setting where the path says that events are JSON, or where the client accepts events.
#[tokio::test]
async fn knobs_are_not_needed_where_nothing_can_go_wrong() {
    let names = [
        "gemini-json-array-to-sse",
        "bedrock-eventstream-decode",
        "single-newline-json",
        "pretty-json-without-prefix",
        "data-data-double-prefix",
        "gbk-charset",
    ];
    let chosen = case::load().into_iter().filter(|case| names.contains(&case.name.as_str()));
    let chosen: Vec<_> = chosen.map(|case| (case, "")).collect();
    assert_eq!(chosen.len(), names.len());
    let results = run_all(chosen).await;
    let report = report(&results);
    assert!(results.iter().all(|(_, result)| result.is_ok()), "{report}");
}

#[tokio::test]
async fn backends_hold_as_they_come() {
    let chosen = case::load().into_iter().filter(|case| case.group == "backend" && case.config.is_empty());
    let chosen: Vec<_> = chosen.map(|case| (case, "")).collect();
    assert_eq!(chosen.len(), 17);
    assert!(BACKENDS.iter().all(|name| chosen.iter().any(|(case, _)| case.name == *name)));
    let results = run_all(chosen).await;
    let report = report(&results);
    println!("{report}");
    let must = |name: &str| BACKENDS.contains(&name);
    let wrong = results.iter().filter(|(name, result)| must(name) && result.is_err()).count();
    assert_eq!(wrong, 0, "{wrong} that must be right are wrong:\n{report}");
}

/// The checks themselves, with nothing between the two ends: they see that nobody did tidegate's work.
#[tokio::test]
async fn checks_find_what_an_untouched_stream_lacks() {
    for case in case::load() {
        let (needs_work, fault) = match case.name.as_str() {
            "json-nonstream-exact" | "error-json-4xx" => (false, ""),
            "openai-chat-clean" => (true, "cache-control"),
            "crlf-split-across-chunks" => (true, "CR"),
            "bom-split" => (true, "BOM"),
            "one-byte-chunks" => (true, "ends inside a line"),
            "cut-mid-event" => (true, "cut short"),
            "ct-text-plain" => (true, "content-type"),
            "gzip-sse" => (true, "content-encoding"),
            "html-200" => (true, "no event named error"),
            _ => continue,
        };
        let upstream = Upstream::start().await;
        let address = upstream.url.strip_prefix("http://").and_then(|address| address.parse().ok());
        let endpoint = crate::support::wire::Endpoint::Tcp(address.expect("an address"));
        let seen = play::play(&case, &endpoint, upstream).await;
        match check::check(&case, &seen) {
            Ok(_) => assert!(!needs_work, "{} passes untouched", case.name),
            Err(faults) => {
                assert!(needs_work, "{}: {faults:?}", case.name);
                assert!(faults.iter().any(|found| found.contains(fault)), "{}: {faults:?}", case.name);
            }
        }
    }
}
