//! `docs/security.md` says what the tests send and what the key table says, and nothing else.

use std::fs;

use tidegate::config::table::{KEYS, Presence};

use crate::support::attempt::table;
use crate::{malformed, malformed_h2};

const PATH: &str = "docs/security.md";

/// The keys that bound what clients may take, in the order of the page.
const BOUNDS: [&str; 12] = [
    "limits.max_connections",
    "limits.max_connections_per_client",
    "timeouts.tls_handshake",
    "timeouts.request_head",
    "limits.max_head_bytes",
    "limits.max_headers",
    "route.max_request_body",
    "timeouts.request_body_idle",
    "limits.min_body_rate",
    "timeouts.client_write_stall",
    "timeouts.total",
    "limits.max_carry_total",
];

fn bounds() -> String {
    let mut rows = "| Key | Default | What it bounds | At the edge |\n| --- | --- | --- | --- |\n".to_owned();
    for path in BOUNDS {
        let key = KEYS.iter().find(|key| key.path == path).unwrap_or_else(|| panic!("no key {path}"));
        let Presence::Default(default) = key.presence else { panic!("{path} has no default") };
        rows += &format!("| `{path}` | `{default}` | {} | {} |\n", key.meaning, key.edges);
    }
    rows
}

/// Each table stands between the line `<!-- NAME -->` and the next `<!-- end -->`.
#[test]
fn security_page_says_what_is_tested() {
    let tables = [
        ("h1-refused", table(&malformed::refusals())),
        ("h1-accepted", table(&malformed::acceptances())),
        ("h2-refused", table(&malformed_h2::refusals())),
        ("h2-accepted", table(&malformed_h2::acceptances())),
        ("bounds", bounds()),
    ];
    let checked_in = fs::read_to_string(PATH).expect("the page is there");
    let mut text = checked_in.clone();
    for (name, table) in tables {
        let mark = format!("<!-- {name} -->\n");
        let begin = text.find(&mark).unwrap_or_else(|| panic!("no table {name} in {PATH}")) + mark.len();
        let end = begin + text[begin..].find("<!-- end -->").expect("a table ends");
        text.replace_range(begin..end, &format!("\n{table}\n"));
    }
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(PATH, &text).expect("the page can be written");
    }
    assert!(
        text == checked_in || std::env::var_os("TIDEGATE_BLESS").is_some(),
        "{PATH} is stale: run TIDEGATE_BLESS=1 cargo test --test tests security"
    );
}

/// Words that are only in prose: the outcomes that the page names must be outcomes.
#[test]
fn security_page_names_outcomes_and_keys_that_exist() {
    let text = fs::read_to_string(PATH).expect("the page is there");
    let sources: String = ["src/server", "src/proxy", "src/upstream", "src/auth", "src/stream"]
        .iter()
        .map(|dir| read(dir))
        .collect();
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let outcomes: Vec<_> = quoted.iter().filter_map(|word| word.strip_prefix("client:")).collect();
    assert!(outcomes.len() > 100, "{}", outcomes.len());
    for outcome in outcomes {
        let told = sources.contains(&format!("\"{outcome}\""));
        assert!(told || outcome.starts_with("timeout_"), "client:{outcome} is no outcome");
    }
    let sections = ["limits.", "timeouts.", "route.", "server."];
    let keys: Vec<_> =
        quoted.iter().filter(|word| sections.iter().any(|section| word.starts_with(section))).collect();
    assert!(keys.len() >= BOUNDS.len(), "{}", keys.len());
    for path in keys {
        assert!(KEYS.iter().any(|key| key.path == *path), "{path} is no key");
    }
}

fn read(dir: &str) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => text += &read(path.to_str().expect("a path in ASCII")),
            false => text += &fs::read_to_string(&path).expect("a source file"),
        }
    }
    text
}
