//! `config.toml.example`, made from the key table.
//!
//! A line of the example is one of four: prose (`# text`), a default (`#key = value`, no space: without the
//! `#` nothing changes), a section, or one of the few keys that a configuration cannot do without. The checked-in
//! file is compared with [`text`] by a test, so it is never edited by hand.

use super::table::{self, KEYS, Key, Kind, Presence};
use crate::profile::AUTO;

/// The whole file.
pub fn text() -> String {
    let mut out = Example(String::new());
    out.prose("", HEAD);
    for key in KEYS.iter().filter(|key| key.section().is_empty()) {
        out.section(key);
    }
    out.0
}

struct Example(String);

impl Example {
    /// A section with its keys.
    fn section(&mut self, key: &Key) {
        self.0.push('\n');
        self.prose("", &join(key.meaning, key.edges));
        let (path, header) = match key.kind {
            Kind::Named => (format!("{}.*", key.path), format!("[{}.ollama]", key.path)),
            Kind::Profiles(_) => return self.profile(key),
            _ => (key.path.to_owned(), table::written(key.path)),
        };
        self.0.push_str(&header);
        self.0.push('\n');
        for key in table::keys_of(&path) {
            self.key(key);
        }
    }

    /// The profile that the others stand on, which has the defaults of its keys, and what else a profile may have.
    fn profile(&mut self, key: &Key) {
        self.line(&format!("[{}.{}]", key.path, AUTO.name));
        for key in table::switches() {
            self.line(&format!("#{} = {}", key.name(), key.sample()));
        }
        for key in KEYS.iter().filter(|own| own.section() == format!("{}.*", key.path)) {
            self.key(key);
        }
    }

    /// A key as a line, after what it means.
    fn key(&mut self, key: &Key) {
        let (name, sample) = (key.name(), key.sample());
        self.0.push('\n');
        let about = match key.presence {
            _ if matches!(key.kind, Kind::Own(_)) => format!("{name}: {} [one of {}]", key.meaning, own(key)),
            Presence::Default(_) => format!("{} [{}]", join(key.meaning, key.edges), key.kind.describe()),
            Presence::Required(_) => {
                format!("{} [{}; required]", join(key.meaning, key.edges), key.kind.describe())
            }
            Presence::Optional(example) => {
                let about = format!("{} [{}]", join(key.meaning, key.edges), key.kind.describe());
                format!("{name}: {about}\nExample: {name} = {example}")
            }
            Presence::Profile(usual) => {
                let about = format!("{} [{}]", join(key.meaning, key.edges), key.kind.describe());
                format!("{name}: {about}\nBy the profile; without one: {name} = {usual}")
            }
        };
        self.prose("", &about);
        for key in table::keys_of(key.path).into_iter().filter(|below| below.path.starts_with(key.path)) {
            self.nested(key);
        }
        match key.presence {
            Presence::Default(_) if matches!(key.kind, Kind::Own(_)) => {}
            Presence::Default(_) => self.line(&format!("#{name} = {sample}")),
            Presence::Required(_) => self.line(&format!("{name} = {sample}")),
            Presence::Optional(_) | Presence::Profile(_) => {}
        }
    }

    /// A key of a table that is written inline: prose alone.
    fn nested(&mut self, key: &Key) {
        let about = format!("{}: {} [{}]", key.name(), join(key.meaning, key.edges), key.kind.describe());
        self.prose("  ", &about);
        for key in table::keys_of(key.path) {
            self.prose("    ", &format!("{}: {} [{}]", key.name(), key.meaning, key.kind.describe()));
        }
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A comment, broken into lines, below its first line indented by two more.
    fn prose(&mut self, indent: &str, text: &str) {
        for paragraph in text.split('\n') {
            let mut line = format!("#{indent}");
            for word in paragraph.split(' ') {
                if line.len() + 1 + word.len() > WIDTH {
                    self.line(&line);
                    line = format!("#{indent}");
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(line.trim_end());
        }
    }
}

fn join(meaning: &str, edges: &str) -> String {
    format!("{meaning} {edges}").trim_end().to_owned()
}

fn own(key: &Key) -> String {
    table::keys_of(key.path).iter().map(|key| key.name()).collect::<Vec<_>>().join(", ")
}

const HEAD: &str = "\
tidegate: every key, its default and what it means.

A line that begins with #name shows a default: it changes nothing until you edit it. Durations and sizes carry \
their unit: \"1500ms\", \"15s\", \"5m\", \"24h\"; \"512B\", \"64KiB\", \"64MiB\". Look at the result with
  tidegate check --config FILE";

/// Longest line.
const WIDTH: usize = 100;
