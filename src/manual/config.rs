//! `docs/config.md`: every key in one form, made from the key table.

use super::{GENERATED, anchor, block, bullet, heading, paragraph};
use crate::cli;
use crate::config;
use crate::config::table::{self, KEYS, Key, Kind, Presence};
use crate::profile::MINIPROGRAM;

/// The whole page.
pub fn text() -> String {
    let mut out = GENERATED.to_owned();
    heading(&mut out, 1, "The configuration");
    introduction(&mut out);
    contents(&mut out);
    for top in KEYS.iter().filter(|key| key.section().is_empty()) {
        heading(&mut out, 2, &format!("`{}`", written(top)));
        entry(&mut out, top);
        below(&mut out, top);
    }
    out
}

/// How a key is called in the manual: `upstream.NAME.url`.
pub fn title(key: &Key) -> String {
    key.path.replace('*', "NAME")
}

/// A piece of configuration that shows the key: its table, and what else the table needs.
pub fn example(key: &Key) -> String {
    let value = if key.example.is_empty() { key.sample() } else { key.example };
    let around = ancestors(key);
    let Some((top, inner)) = around.split_first() else { return sample_table(key) };
    // From the inside out: the key, then each inline table around it, with what each cannot do without.
    let separator = |depth: usize| if depth == 0 { "\n" } else { ", " };
    let own = format!("{} = {value}", key.name());
    let own = if key.beside.is_empty() { own } else { [key.beside, &own].join(separator(inner.len())) };
    let mut lines = required(key.section(), &own, separator(inner.len()));
    for (depth, table) in inner.iter().enumerate().rev() {
        let line = match table.kind {
            Kind::Tables => format!("{} = [{{ {lines} }}]", table.name()),
            _ => format!("{} = {{ {lines} }}", table.name()),
        };
        lines = required(table.section(), &line, separator(depth));
    }
    format!("{}\n{lines}", section_header(top))
}

/// The entry of one key below its heading.
fn entry(out: &mut String, key: &Key) {
    paragraph(out, key.meaning);
    out.push('\n');
    bullet(out, "Takes", &takes(&key.kind));
    bullet(out, "Default", &default(key));
    bullet(out, "Stands in", &place(key));
    bullet(out, "At the edges", key.edges);
    let causes =
        key.causes.iter().map(|cause| format!("[`{cause}`](errors.md#{})", anchor(&cause.to_string())));
    bullet(out, "Outcome", &causes.collect::<Vec<_>>().join(", "));
    let see: Vec<&Key> = KEYS.iter().filter(|other| key.see.contains(&other.path)).collect();
    bullet(out, "See also", &links(&see));
    if !key.section().is_empty() {
        block(out, "toml", &example(key));
    }
}

/// The entries of all keys below this one.
fn below(out: &mut String, key: &Key) {
    for child in KEYS.iter().filter(|child| child.section().trim_end_matches(".*") == key.path) {
        heading(out, 3, &title(child));
        entry(out, child);
        below(out, child);
    }
}

fn introduction(out: &mut String) {
    let places: Vec<String> = cli::CONFIG_PATHS.iter().map(|path| format!("`{path}`")).collect();
    paragraph(
        out,
        &format!(
            "The configuration is one TOML file: the one that `--config` names, else {}. `tidegate check` prints \
             what it means, with every default filled in and secrets by reference; \
             [config.toml.example](../config.toml.example) is the same list as a file to start from. Without a \
             file, the flags of the quick mode (`tidegate --help`) stand for a small one.",
            places.join(", else ")
        ),
    );
    heading(out, 2, "Forms of values");
    for (label, text) in FORMS {
        bullet(out, label, text);
    }
    heading(out, 2, "Mistakes");
    paragraph(
        out,
        "All mistakes of a file are reported in one run, each with its line, the key, what is wrong and what to \
         write; then the exit code is 78 and nothing is started. A key that is not in this manual is a mistake.",
    );
    block(out, "text", WRONG);
    if let Err(mistakes) = config::parse(WRONG, "config.toml") {
        block(out, "text", &mistakes.to_string());
    }
}

fn contents(out: &mut String) {
    heading(out, 2, "Keys");
    for top in KEYS.iter().filter(|key| key.section().is_empty()) {
        let all: Vec<&Key> =
            KEYS.iter().filter(|key| key.path.starts_with(&format!("{}.", top.path))).collect();
        let heading = written(top);
        out.push_str(&format!("- [`{heading}`](#{}): {}\n", anchor(&heading), links(&all)));
    }
}

/// Links to the entries of keys, without the name of a table in front that is the same for all.
fn links(keys: &[&Key]) -> String {
    let links: Vec<String> =
        keys.iter().map(|key| format!("[{}](#{})", title(key), anchor(&heading_of(key)))).collect();
    links.join(", ")
}

/// The heading that an entry stands under.
fn heading_of(key: &Key) -> String {
    if key.section().is_empty() { written(key) } else { title(key) }
}

/// How a top-level table is written, in general: `[upstream.NAME]`.
fn written(top: &Key) -> String {
    match top.kind {
        Kind::Named | Kind::Profiles(_) => table::written(&format!("{}.*", top.path)),
        _ => table::written(top.path),
    }
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Word(words) => {
            words().iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
        }
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Own(names) => tables(names.iter().copied()),
        Kind::Profiles(_) => tables(table::keys_of("profile.*").into_iter().map(Key::name)),
        other => other.describe(),
    }
}

fn tables(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("table with {}", names.join(", "))
}

fn default(key: &Key) -> String {
    match key.presence {
        Presence::Default(_) if matches!(key.kind, Kind::Table | Kind::Own(_) | Kind::Profiles(_)) => {
            String::new()
        }
        Presence::Default("[{}]") => "one with the defaults of its keys".to_owned(),
        Presence::Default(value) => format!("`{value}`"),
        Presence::Required(_) if key.section().is_empty() => "none; at least one is required".to_owned(),
        Presence::Required(_) => "none; it is required".to_owned(),
        Presence::Optional(_) => "not set".to_owned(),
        Presence::Profile(value) => {
            format!("`{value}`, unless the client's [profile](#profilename) says otherwise")
        }
    }
}

/// Where a key may stand: its table, and the table of a route that takes it too.
fn place(key: &Key) -> String {
    let Some(within) = ancestors(key).last().copied() else { return String::new() };
    let own = KEYS.iter().find(|own| match own.kind {
        Kind::Own(names) => own.name() == key.section() && names.contains(&key.name()),
        _ => false,
    });
    let place = match ancestors(key).as_slice() {
        [top] => format!("`{}`", written(top)),
        _ => format!("`{}`", title(within)),
    };
    let profile =
        if matches!(key.presence, Presence::Profile(_)) { ", or for a profile `[profile.NAME]`" } else { "" };
    match own {
        Some(own) => format!("{place}, and for one route alone `[{}]`{profile}", own.path),
        None => place,
    }
}

/// The tables around a key, the outermost first.
fn ancestors(key: &Key) -> Vec<&'static Key> {
    KEYS.iter().filter(|other| key.path.starts_with(&format!("{}.", other.path))).collect()
}

/// How a top-level table begins in an example.
fn section_header(top: &Key) -> String {
    match top.kind {
        Kind::Named => format!("[{}.{UPSTREAM}]", top.path),
        Kind::Profiles(_) => format!("[{}.{}]", top.path, MINIPROGRAM.name),
        _ => table::written(top.path),
    }
}

/// A whole table, with what it cannot do without.
fn sample_table(top: &Key) -> String {
    format!("{}\n{}", section_header(top), required(top.path, "", "\n")).trim_end().to_owned()
}

/// `lines` after the required keys of the table that they do not set themselves.
fn required(section: &str, lines: &str, separator: &str) -> String {
    let keys =
        KEYS.iter().filter(|key| key.section().trim_end_matches(".*") == section.trim_end_matches(".*"));
    let missing = keys.filter_map(|key| match key.presence {
        Presence::Required(sample) => Some((key.name(), format!("{} = {sample}", key.name()))),
        _ => None,
    });
    let is_set = |name: &str| {
        lines
            .split(['\n', ','])
            .any(|line| line.trim().strip_prefix(name).is_some_and(|rest| rest.starts_with(" =")))
    };
    let mut all: Vec<String> = missing.filter(|(name, _)| !is_set(name)).map(|(_, line)| line).collect();
    all.extend((!lines.is_empty()).then(|| lines.to_owned()));
    all.join(separator)
}

/// The forms, once, before all keys that take them.
const FORMS: &[(&str, &str)] = &[
    (
        "Time",
        "text with a whole number and a unit, `ms`, `s`, `m` or `h`: `\"1500ms\"`, `\"15s\"`, `\"5m\"`, `\"24h\"`. \
         Where the entry says so, `\"off\"` switches the bound off.",
    ),
    (
        "Size",
        "text with a whole number and a unit, `B`, `KiB`, `MiB`, `GiB` or `TiB` (powers of 1024): `\"512B\"`, \
         `\"64KiB\"`, `\"64MiB\"`.",
    ),
    ("Number", "a whole number without quotes: `32`."),
    (
        "Reference to a secret",
        "a secret is named, not written. `\"env:NAME\"` is an environment variable, `\"file:PATH\"` a file that is \
         read again when it changes (replace it by a rename), `\"cred:NAME\"` a systemd credential. A line end \
         after the value does not count. `\"inline:VALUE\"` is the value itself, for who insists. No log and no \
         output of tidegate shows the value. A secret that cannot be read when tidegate starts is a mistake in \
         the configuration; one that cannot be read later fails the request.",
    ),
    (
        "Address",
        "`\"HOST:PORT\"`, with an IPv6 address in brackets (`\"[::1]:8080\"`), or `\"unix:PATH\"` for a Unix socket.",
    ),
    ("Path of a file", "relative to the directory that tidegate was started in."),
];

/// A file with mistakes of every usual kind, to show how they are told.
const WRONG: &str = r#"[upstream.ollama]
url = "127.0.0.1:11434"
connect_timout = "5s"

[[route]]
upstream = "olama"
max_request_body = "10 MB"

[timeouts]
event_gap = 300
"#;

/// What the upstream of examples is called.
const UPSTREAM: &str = "ollama";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        example(KEYS.iter().find(|key| key.path == path).unwrap())
    }

    #[test]
    fn example_has_the_table_and_what_it_needs() {
        assert_eq!(
            shown("upstream.*.connect_timeout"),
            "[upstream.ollama]\nurl = \"http://127.0.0.1:11434\"\nconnect_timeout = \"2s\""
        );
        assert_eq!(
            shown("upstream.*.ca"),
            "[upstream.ollama]\nurl = \"https://ai.internal\"\nca = \"/etc/tidegate/private-ca.pem\""
        );
        assert_eq!(shown("timeouts.drain"), "[timeouts]\ndrain = \"1m\"");
    }

    #[test]
    fn example_of_an_inner_key_is_inside_its_inline_table() {
        assert_eq!(
            shown("route.rewrite.to"),
            "[[route]]\nupstream = \"ollama\"\nrewrite = { from = \"/openai\", to = \"/v1\" }"
        );
        assert_eq!(
            shown("route.inject.basic.user"),
            "[[route]]\nupstream = \"ollama\"\ninject = [{ basic = { password = \"env:UPSTREAM_PASSWORD\", user = \
             \"proxy\" } }]"
        );
    }

    #[test]
    fn key_with_a_default_is_shown_with_another_value() {
        for key in KEYS.iter().filter(|key| !key.section().is_empty()) {
            if let Presence::Default(default) = key.presence {
                assert!(!key.example.is_empty(), "{}: add .example(…) to its entry", key.path);
                assert_ne!(key.example, default, "{}: the example is the default", key.path);
            }
        }
    }

    #[test]
    fn key_names_others_that_exist() {
        for key in KEYS {
            for other in key.see {
                assert!(KEYS.iter().any(|key| key.path == *other), "{}: {other} does not exist", key.path);
            }
        }
    }

    #[test]
    fn mistakes_of_the_introduction_are_mistakes() {
        assert_eq!(config::parse(WRONG, "config.toml").unwrap_err().count(), 5);
    }
}
