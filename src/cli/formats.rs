//! `tidegate formats`: the tables that the configuration can name.

use std::fmt::Write;

use crate::auth::INJECTORS;
use crate::bridge::BRIDGES;
use crate::codec::repair::{Auto, REPAIRS};
use crate::dialect::DIALECTS;
use crate::format::FORMATS;
use crate::profile::PROFILES;
use crate::shape::SHAPES;

/// Every format, dialect, shape, profile, bridge and injector with its line of explanation.
pub fn formats() -> String {
    let mut out = String::new();
    let formats = FORMATS.iter().map(|format| (format.name, format.doc));
    list(&mut out, "formats: what an upstream sends (stream.format)", formats);
    for (auto, title) in [
        (Auto::Always, "repairs: what is put right in event streams (stream.repair); \"auto\" makes these"),
        (
            Auto::ForJson,
            "repairs that \"auto\" makes where the path or stream.dialect says that every event is JSON",
        ),
        (Auto::Never, "repairs that are made only where they are named"),
    ] {
        let repairs = REPAIRS.iter().filter(|entry| entry.auto == auto);
        list(&mut out, title, repairs.map(|entry| (entry.name, entry.doc)));
    }
    let dialects = DIALECTS.iter().map(|dialect| (dialect.name, dialect.doc));
    list(&mut out, "dialects: what the events mean (stream.dialect)", dialects);
    let shapes = SHAPES.iter().map(|shape| (shape.name, shape.doc));
    list(&mut out, "shapes: what is changed in the events, in this order (keys in [stream])", shapes);
    let profiles = PROFILES.iter().map(|profile| (profile.name, profile.doc));
    list(
        &mut out,
        "profiles: kinds of clients, and what each needs (stream.profile; [profile.NAME] has the paths and user_agents of your own)",
        profiles,
    );
    let bridges = BRIDGES.iter().map(|bridge| (bridge.name, bridge.doc));
    list(&mut out, "bridges: what a client is sent", bridges);
    let injectors = INJECTORS.iter().map(|injector| (injector.name, injector.doc));
    list(&mut out, "injectors: what is put into requests that go up (route.inject)", injectors);
    out
}

fn list(out: &mut String, title: &str, entries: impl Iterator<Item = (&'static str, &'static str)>) {
    let gap = if out.is_empty() { "" } else { "\n" };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{gap}{title}");
    for (name, doc) in entries {
        let _ = writeln!(out, "  {name:<16} {doc}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_every_table_is_listed() {
        let text = formats();
        let names = FORMATS.iter().map(|entry| (entry.name, entry.doc));
        let names = names.chain(REPAIRS.iter().map(|entry| (entry.name, entry.doc)));
        let names = names.chain(DIALECTS.iter().map(|entry| (entry.name, entry.doc)));
        let names = names.chain(SHAPES.iter().map(|entry| (entry.name, entry.doc)));
        let names = names.chain(PROFILES.iter().map(|entry| (entry.name, entry.doc)));
        let names = names.chain(BRIDGES.iter().map(|entry| (entry.name, entry.doc)));
        let names = names.chain(INJECTORS.iter().map(|entry| (entry.name, entry.doc)));
        let mut count = 0;
        for (name, doc) in names {
            count += 1;
            let is_entry = |line: &str| line.split_whitespace().next() == Some(name) && line.ends_with(doc);
            assert!(text.lines().any(is_entry), "{name}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), count);
    }
}
