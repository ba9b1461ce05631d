//! Compares what a client saw with what a case expects.

use std::time::Duration;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::case::{Case, flag, list, number, string};
use super::play::Seen;
use crate::support::sse::{self, Event};

/// `Ok` with the wishes that were not met, or `Err` with everything that is wrong.
pub fn check(case: &Case, seen: &Seen) -> Result<Vec<String>, Vec<String>> {
    let expect = &case.expect;
    let body: Vec<u8> = seen.pieces.iter().flat_map(|piece| piece.data.iter().copied()).collect();
    if is_alternative(case, seen, &body) {
        return Ok(Vec::new());
    }
    let mut faults = Vec::new();
    if let Some(why) = &seen.cut {
        faults.push(format!("the response was cut short: {why}"));
    }
    let status = number(expect, "status").unwrap_or(i64::from(case.upstream.status));
    if i64::from(seen.head.status()) != status {
        faults.push(format!("status {} instead of {status}", seen.head.status()));
    }
    if flag(expect, "passthrough") {
        faults.extend(passthrough(case, seen, &body));
    } else {
        faults.extend(stream_head(seen));
        faults.extend(sse::faults(seen.pieces.iter().map(|piece| piece.data.as_slice())));
        faults.extend(events(expect, &sse::parse(&body)));
        faults.extend(timing(expect, seen));
    }
    faults.extend(switches(expect, seen));
    if faults.is_empty() { Ok(wishes(expect, &body)) } else { Err(faults) }
}

/// The answers that are also right.
fn is_alternative(case: &Case, seen: &Seen, body: &[u8]) -> bool {
    let minimum = |table: &Table| {
        number(table, "alt_http_status_min").is_some_and(|least| i64::from(seen.head.status()) >= least)
    };
    let error = case.expect.get("error").and_then(Value::as_table);
    if seen.cut.is_none() && (minimum(&case.expect) || error.is_some_and(minimum)) {
        let must = error.and_then(|error| error.get("must_contain")).map(string);
        let text = String::from_utf8_lossy(body);
        return must.is_none_or(|must| text.contains(&must));
    }
    if flag(&case.expect, "alt_passthrough") && passthrough(case, seen, body).is_empty() {
        return true;
    }
    match case.expect.get("alt_body_json") {
        Some(wanted) => {
            serde_json::from_slice::<Json>(body).ok() == serde_json::from_str(&string(wanted)).ok()
        }
        None => false,
    }
}

fn passthrough(case: &Case, seen: &Seen, body: &[u8]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in &case.upstream.headers {
        let framing = ["content-length", "transfer-encoding", "connection", "keep-alive"];
        if !framing.contains(&name.to_ascii_lowercase().as_str())
            && !seen.head.all(name).contains(&value.as_str())
        {
            faults.push(format!("{name}: {value} is missing from {:?}", seen.head.fields));
        }
    }
    let had_type = case.upstream.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !had_type && !seen.head.all("content-type").is_empty() {
        faults.push("a content-type was invented".into());
    }
    if body != case.upstream.body() {
        faults.push(format!("the body was changed: {:?}", String::from_utf8_lossy(body)));
    }
    faults
}

/// What the head of every stream must say.
fn stream_head(seen: &Seen) -> Vec<String> {
    let head = &seen.head;
    let mut faults = Vec::new();
    let kind = head.one("content-type").unwrap_or_default().to_ascii_lowercase();
    if !matches!(kind.as_str(), "text/event-stream" | "text/event-stream; charset=utf-8") {
        faults.push(format!("content-type is {kind:?}"));
    }
    let cache = head.all("cache-control").join(",");
    if !(cache.contains("no-cache") && cache.contains("no-transform")) {
        faults.push(format!("cache-control is {cache:?}"));
    }
    if head.one("x-accel-buffering") != Some("no") {
        faults.push("x-accel-buffering is not no".into());
    }
    for name in ["content-length", "content-encoding"] {
        if !head.all(name).is_empty() {
            faults.push(format!("there is a {name}"));
        }
    }
    faults
}

fn events(expect: &Table, found: &[Event]) -> Vec<String> {
    if let Some(wanted) = expect.get("data_concat").map(string) {
        let all: String = found.iter().map(|event| event.data.as_str()).collect();
        return if all == wanted { Vec::new() } else { vec![format!("all data is {all:?}")] };
    }
    let wanted: Vec<&Table> = list(expect, "sse").filter_map(Value::as_table).collect();
    let mut faults = Vec::new();
    let json_equal = flag(expect, "json_equal");
    for (number, wanted) in wanted.iter().enumerate() {
        match found.get(number) {
            None => faults.push(format!("event {number} is missing: {wanted:?}")),
            Some(event) if !is_event(event, wanted, json_equal) => {
                let shown: String = format!("{event:?}").chars().take(400).collect();
                faults.push(format!("event {number} is {shown}, not {wanted:?}"));
            }
            Some(_) => {}
        }
    }
    let more = found.get(wanted.len()..).unwrap_or_default();
    match expect.get("error").and_then(Value::as_table) {
        Some(error) => faults.extend(error_event(error, found, more)),
        None if !more.is_empty() => faults.push(format!("events that nobody sent: {more:?}")),
        None => {}
    }
    faults
}

fn is_event(event: &Event, wanted: &Table, json_equal: bool) -> bool {
    let named = match (wanted.get("event"), wanted.get("event_in")) {
        (Some(name), _) => event.event == string(name),
        (None, Some(names)) => names.as_array().into_iter().flatten().any(|name| event.event == string(name)),
        (None, None) => event.event == "message",
    };
    let data = match (wanted.get("data").map(string), number(wanted, "data_len")) {
        (Some(data), _) if json_equal || flag(wanted, "json_equal") => same_json(&event.data, &data),
        (Some(data), _) => event.data == data,
        (None, Some(length)) => {
            event.data.len() as i64 == length
                && wanted.get("data_sha256").map(string) == Some(sha256(event.data.as_bytes()))
        }
        (None, None) => true,
    };
    let retry = wanted.get("retry").and_then(Value::as_integer).map(i64::unsigned_abs);
    named && data && event.id == wanted.get("id").map(string) && event.retry == retry
}

/// JSON where both are JSON (then white space may differ), text otherwise.
fn same_json(found: &str, wanted: &str) -> bool {
    match (serde_json::from_str::<Json>(found), serde_json::from_str::<Json>(wanted)) {
        (Ok(found), Ok(wanted)) => found == wanted,
        _ => found == wanted,
    }
}

/// The hash that the TLS library brings; one case needs one.
fn sha256(bytes: &[u8]) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.expect("a TLS 1.3 suite").common.hash_provider.hash(bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error_event(error: &Table, found: &[Event], more: &[Event]) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(text) = error.get("must_not_contain_as_data").map(string)
        && found.iter().any(|event| event.data.contains(&text))
    {
        faults.push(format!("{text:?} came as data"));
    }
    if !flag(error, "in_stream") {
        return faults;
    }
    let [event] = more else {
        faults.push(format!("no event named error, and only that, at the end: {more:?}"));
        return faults;
    };
    let data: Json = serde_json::from_str(&event.data).unwrap_or_default();
    if event.event != "error" || !data["error"]["message"].is_string() {
        faults.push(format!("no event named error with an error.message: {event:?}"));
    }
    if let Some(text) = error.get("must_contain").map(string)
        && !event.data.contains(&text)
    {
        faults.push(format!("{text:?} is not in the error"));
    }
    if flag(error, "no_done") && found.iter().any(|event| event.data == "[DONE]") {
        faults.push("[DONE] came with an error".into());
    }
    faults
}

/// Order instead of clocks: an event that must be there within so many milliseconds must have arrived before
/// the first write that the upstream planned for later than that.
fn timing(expect: &Table, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    let with_data = seen.pieces.iter().filter(|piece| !sse::parse(&piece.data).is_empty());
    for (number, (limit, piece)) in list(expect, "event_within_ms").zip(with_data).enumerate() {
        let limit = Duration::from_millis(limit.as_integer().unwrap_or_default().unsigned_abs());
        let later = seen.sent.iter().find(|(planned, _)| *planned > limit);
        if later.is_some_and(|(_, sent)| piece.at > *sent) {
            faults.push(format!("event {number} came only after later bytes were sent"));
        }
    }
    faults
}

fn switches(expect: &Table, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(writes) = number(expect, "writes")
        && seen.pieces.len() as i64 != writes
    {
        faults.push(format!("{} writes instead of {writes}", seen.pieces.len()));
    }
    let beats = seen.pieces.iter().filter(|piece| sse::is_heartbeat(&piece.data)).count();
    if number(expect, "heartbeats_min").is_some_and(|least| (beats as i64) < least) {
        faults.push(format!("only {beats} heartbeats"));
    }
    for line in list(expect, "keep_headers").map(string) {
        let (name, value) = line.split_once(": ").expect("a header has a colon");
        if seen.head.one(name) != Some(value) {
            faults.push(format!("{line} was not kept"));
        }
    }
    if let Some(kind) = expect.get("content_type").map(string)
        && !seen.head.one("content-type").is_some_and(|found| found.starts_with(&kind))
    {
        faults.push(format!("content-type is not {kind}"));
    }
    faults
}

fn wishes(expect: &Table, body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let wished = list(expect, "wire_should_contain").map(string);
    wished
        .filter(|wish| !text.contains(wish.as_str()))
        .map(|wish| format!("{wish:?} is not on the wire"))
        .collect()
}
