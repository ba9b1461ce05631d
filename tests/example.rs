//! `config.toml.example` is what the key table says, works as it is, and shows the true defaults.

use std::fs;

use tidegate::config::{self, Source, example, table};

const PATH: &str = "config.toml.example";

/// The resolved configuration that a text stands for.
fn resolved(text: &str) -> String {
    match config::read(&Source::file(PATH, text)) {
        Ok((file, _)) => file.to_toml().expect("it is TOML"),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

#[test]
fn example_is_generated_from_the_key_table() {
    let generated = example::text();
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(PATH, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(PATH).unwrap();
    assert!(checked_in == generated, "{PATH} is stale: run TIDEGATE_BLESS=1 cargo test --test tests example");
}

#[test]
fn example_means_the_same_when_every_default_is_uncommented() {
    let text = example::text();
    let mut uncommented = 0;
    let active: String = text
        .lines()
        .map(|line| {
            match line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
                Some(rest) => {
                    uncommented += 1;
                    format!("{rest}\n")
                }
                None => format!("{line}\n"),
            }
        })
        .collect();
    let defaults = table::KEYS.iter().filter(|key| {
        let is_line = !matches!(key.kind, table::Kind::Own(_)) && !key.section().is_empty();
        is_line && matches!(key.presence, table::Presence::Default(_) | table::Presence::Profile(_))
    });
    assert_eq!(uncommented, defaults.count());
    assert!(uncommented > 30, "{uncommented}");
    assert_eq!(resolved(&text), resolved(&active));
}

#[test]
fn example_shows_every_key() {
    let text = example::text();
    for key in table::KEYS {
        let name = key.name();
        let shown = |line: &str| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', ':', '.', ']']))
        };
        assert!(text.lines().any(shown), "{} is not in {PATH}", key.path);
    }
}

#[test]
fn line_of_the_example_fits_a_terminal() {
    let text = example::text();
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}
