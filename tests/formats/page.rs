//! `docs/formats.md`: its tables are made from the tables of the program and from the captures.

use std::fmt::Write as _;

use tidegate::codec::repair::{Auto, REPAIRS};
use tidegate::format::FORMATS;

use super::capture::{self, Capture};
use crate::support::pages;
use crate::support::session::said;

const PATH: &str = "docs/formats.md";

#[test]
fn formats_page_is_made_from_the_tables_and_the_captures() {
    pages::keep(PATH, &[("formats", formats()), ("repairs", repairs()), ("backends", backends())]);
}

fn formats() -> String {
    let mut table = "| `format` | what it is | media types |\n| --- | --- | --- |\n".to_owned();
    for format in FORMATS {
        let types: Vec<String> =
            format.media_types.iter().map(|media_type| format!("`{media_type}`")).collect();
        let types = if types.is_empty() { "none".to_owned() } else { types.join(", ") };
        let _ = writeln!(table, "| `{}` | {} | {types} |", format.name, cell(format.doc));
    }
    table
}

fn repairs() -> String {
    let mut table =
        "| `repair` | what it does | what it could harm | with `auto` |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for entry in REPAIRS {
        let auto = match entry.auto {
            Auto::Always => "yes",
            Auto::ForJson => "where every event is JSON",
            Auto::Never => "no",
        };
        let _ = writeln!(table, "| `{}` | {} | {} | {auto} |", entry.name, cell(entry.doc), cell(entry.harm));
    }
    table
}

fn backends() -> String {
    let head = "| backend | format | what it sends | what comes out first | events | repairs | outcome |\n";
    let mut table = format!("{head}| --- | --- | --- | --- | ---: | --- | --- |\n");
    for capture in capture::load() {
        let Capture { backend, sends, format, .. } = &capture;
        let out = said(capture.plan(), [capture.body.as_slice()]);
        let first = out.units.iter().find(|unit| !unit.starts_with(b":")).expect("something comes out");
        let repairs: Vec<String> = out.repaired.kinds.names().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            table,
            "| {} | `{}` | {} | {} | {} | {} | `{}` |",
            cell(backend),
            format.name,
            cell(sends),
            code(&String::from_utf8_lossy(first)),
            capture.events.len(),
            repairs.join(", "),
            out.outcome
        );
    }
    table
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// An event in a cell of a table: line ends and what else is not to be seen shown, long ones cut.
fn code(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' => "⏎".to_owned(),
        '\u{2028}' | '\u{2029}' | '\u{feff}' => c.escape_unicode().to_string(),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    let text = text.trim_end_matches('\n');
    let short: String = text.chars().take(SHOWN).map(visible).collect();
    let end = if text.chars().count() > SHOWN { "…" } else { "" };
    format!("`` {}{end} ``", short.replace('|', "\\|"))
}

/// Characters of an event that are shown.
const SHOWN: usize = 60;
