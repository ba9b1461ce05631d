//! `docs/dialects.md`: its tables are made from the table of the program.

use std::fmt::Write as _;

use tidegate::dialect::{DIALECTS, Dialect, Place};
use tidegate::stream::{Cause, Failure};

use crate::support::pages;

const PATH: &str = "docs/dialects.md";

#[test]
fn dialects_page_is_made_from_the_table() {
    pages::keep(PATH, &[("dialects", dialects()), ("places", places()), ("errors", errors())]);
}

fn dialects() -> String {
    let mut table = "| `dialect` | hinted by | first event | ends with | errors of the upstream |\n\
                     | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for dialect in DIALECTS {
        let Dialect { name, paths, headers, manual, .. } = dialect;
        let paths = paths.iter().map(|path| format!("`…{path}`"));
        let hints: Vec<String> = paths.chain(headers.iter().map(|name| format!("`{name}:`"))).collect();
        let hints = if hints.is_empty() { "–".to_owned() } else { hints.join(" ") };
        let _ = writeln!(
            table,
            "| `{name}` | {hints} | {} | {} | {} |",
            manual.first, manual.ends, manual.errors
        );
    }
    table
}

fn places() -> String {
    let mut table =
        "| `dialect` | text | other text that grows | other content | why it ended | usage |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for dialect in DIALECTS {
        let places = &dialect.places;
        let cells = [places.text, places.growing, places.other, places.finish, places.usage].map(listed);
        let _ = writeln!(table, "| `{}` | {} |", dialect.name, cells.join(" | "));
    }
    table
}

/// Pointers, each with the kind of event that it counts for.
fn listed(places: &[Place]) -> String {
    let mut of = None;
    let mut cell = String::new();
    for place in places {
        let space = if cell.is_empty() { "" } else { " " };
        let _ = match place.of.filter(|kind| of != Some(*kind)) {
            Some(kind) => write!(cell, "{space}{kind}: `{}`", place.at),
            None => write!(cell, "{space}`{}`", place.at),
        };
        of = place.of;
    }
    if cell.is_empty() { "–".to_owned() } else { cell }
}

fn errors() -> String {
    let failure = Failure::new(Cause::UpstreamTruncated, "the upstream closed the connection");
    let mut text = String::new();
    for dialect in DIALECTS {
        let event =
            dialect.told(&failure).unwrap_or_else(|| "(the connection or stream is cut)\n".to_owned());
        let _ = write!(text, "`{}`\n\n```text\n{}\n```\n\n", dialect.name, event.trim_end());
    }
    text.trim_end().to_owned() + "\n"
}
