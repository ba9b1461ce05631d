//! `docs/bridges.md`: its tables are made from the tables of the program.

use std::fmt::Write as _;

use tidegate::bridge::BRIDGES;
use tidegate::bridge::answer::ANSWERS;

use crate::support::pages;

const PATH: &str = "docs/bridges.md";

#[test]
fn bridges_page_is_made_from_the_tables() {
    pages::keep(PATH, &[("bridges", bridges()), ("answers", answers())]);
}

fn bridges() -> String {
    let mut table = "| `bridge` | media types | an event becomes | a stream that breaks ends with |\n\
                     | --- | --- | --- | --- |\n"
        .to_owned();
    for bridge in BRIDGES {
        let types: Vec<String> =
            bridge.media_types.iter().map(|media_type| format!("`{media_type}`")).collect();
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            bridge.name,
            types.join(", "),
            bridge.manual.event,
            bridge.manual.breaks
        );
    }
    table
}

fn answers() -> String {
    let mut table = "| `dialect` | paths |\n| --- | --- |\n".to_owned();
    for answers in ANSWERS {
        let paths: Vec<String> = answers.dialect.paths.iter().map(|path| format!("`…{path}`")).collect();
        let _ = writeln!(table, "| `{}` | {} |", answers.dialect.name, paths.join(" "));
    }
    table
}
