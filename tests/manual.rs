//! The manual: generated, its links lead somewhere, its examples work, its words are those of the program.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use tidegate::config::table::KEYS;
use tidegate::{log, manual};

use crate::support::Dir;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request};
use crate::support::pages::{certificates, completed};
use crate::support::tidegate::{Launch, Tidegate};
use crate::support::upstream::Upstream;

/// The generated pages.
fn pages() -> [(&'static str, String); 2] {
    [("docs/config.md", manual::config::text()), ("docs/errors.md", manual::errors::text())]
}

#[test]
fn pages_are_generated_from_the_tables() {
    for (path, generated) in pages() {
        if std::env::var_os("TIDEGATE_BLESS").is_some() {
            fs::write(path, &generated).unwrap();
        }
        let checked_in = fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "{path} is stale: run TIDEGATE_BLESS=1 cargo test --test tests manual"
        );
    }
}

#[test]
fn links_of_the_manual_lead_somewhere() {
    let pages = pages();
    let anchors = |text: &str| -> HashSet<String> {
        let headings = text.lines().filter(|line| line.starts_with('#') && !line.starts_with("#!"));
        headings.map(|line| manual::anchor(line.trim_start_matches('#').trim())).collect()
    };
    let mut links = 0;
    for (path, text) in &pages {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { (*path).to_owned() } else { format!("docs/{file}") };
            assert!(Path::new(&file).exists(), "{path}: {target} leads nowhere");
            let page = pages.iter().find(|(path, _)| *path == file);
            assert!(
                anchor.is_empty() || page.is_some_and(|(_, text)| anchors(text).contains(anchor)),
                "{path}: {target} leads nowhere"
            );
        }
    }
    assert!(links > 150, "{links}");
}

#[test]
fn heading_of_the_manual_can_be_linked_to() {
    for (path, text) in pages() {
        let mut seen = HashSet::new();
        for line in text.lines().filter(|line| line.starts_with("##")) {
            let heading = line.trim_start_matches('#').trim();
            assert!(seen.insert(manual::anchor(heading)), "{path}: two headings become {heading}");
        }
        assert!(seen.len() > 40, "{path}: {}", seen.len());
    }
}

#[tokio::test]
async fn example_of_every_key_is_a_valid_configuration() {
    let certs = Certs::new();
    let mut checked = 0;
    for key in KEYS.iter().filter(|key| !key.section().is_empty()) {
        let example = manual::config::example(key);
        assert!(example.contains(&format!("{} = ", key.name())), "{}:\n{example}", key.path);
        let mut text = completed(&example);
        for (path, file) in certificates(&text.clone(), &certs) {
            text = text.replace(&path, &file.display().to_string());
        }
        let dir = Dir::new();
        let file = dir.write("config.toml", text.as_bytes()).display().to_string();
        let mut check = Launch::flags(&["check", "--config", &file]);
        for reference in example.split("\"env:").skip(1) {
            check = check.env(reference.split('"').next().expect("a name"), "for-the-test");
        }
        let output = check.run().await;
        assert_eq!(output.code, 0, "{}: {}\n{text}", key.path, output.stderr);
        checked += 1;
    }
    assert!(checked > 55, "{checked}");
}

#[tokio::test]
async fn access_line_of_a_stream_has_the_fields_of_the_manual_and_no_other() {
    let mut upstream = Upstream::start().await;
    let tidegate = Tidegate::before(&upstream, "").await;
    let mut call = Call::start(&tidegate.http(), &Request::stream("/v1/chat/completions")).await;
    let mut exchange = upstream.request().await;
    exchange.respond_sse().await;
    exchange.chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n").await;
    exchange.end().await;
    assert!(call.rest().await.cut.is_none());
    let line = tidegate.access("/v1/chat/completions").await;
    let of_every_line = ["ts", "level", "target", "message"];
    let fields: HashSet<&str> = line.names().filter(|name| !of_every_line.contains(name)).collect();
    let listed = log::FIELDS.iter().map(|(name, _)| *name);
    let of_others = ["told", "bytes_up", "label", "repaired", "repairs", "rewrites", "error"];
    assert_eq!(fields, listed.filter(|name| !of_others.contains(name)).collect());
}
