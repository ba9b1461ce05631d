//! The manual's reference pages, made from the tables that the program itself runs on.
//!
//! `docs/config.md` is [`config::text`], `docs/errors.md` is [`errors::text`]. A test compares the checked-in files
//! with them, so they are never edited by hand: a sentence is changed where the key or the cause stands.
//! Nothing of the running program calls this.

pub mod config;
pub mod errors;

/// The name that GitHub gives to a heading, to link to it: lower case, letters, digits, `-` and `_` only.
pub fn anchor(heading: &str) -> String {
    let characters = heading.to_lowercase();
    let kept = characters.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A heading of this depth, between blank lines.
fn heading(out: &mut String, depth: usize, text: &str) {
    let gap = if out.is_empty() { "" } else { "\n" };
    out.push_str(&format!("{gap}{} {text}\n\n", "#".repeat(depth)));
}

/// A paragraph, broken into lines.
fn paragraph(out: &mut String, text: &str) {
    wrapped(out, "", text);
}

/// A bullet, broken into lines; nothing if there is nothing to say.
fn bullet(out: &mut String, label: &str, text: &str) {
    if !text.is_empty() {
        wrapped(out, "- ", &format!("**{label}**: {text}"));
    }
}

fn wrapped(out: &mut String, start: &str, text: &str) {
    let mut line = start.to_owned();
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(start.len());
        } else if index > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// A block of code.
fn block(out: &mut String, language: &str, text: &str) {
    out.push_str(&format!("\n```{language}\n{}\n```\n", text.trim_end()));
}

/// A table; a cell holds no line break, and a `|` in it is escaped.
fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    };
    row(&head.map(str::to_owned));
    row(&head.map(|_| "---".to_owned()));
    for cells in rows {
        row(&cells);
    }
}

/// First line of a generated page, for whoever is about to edit it.
const GENERATED: &str =
    "<!-- Generated from the source: run TIDEGATE_BLESS=1 cargo test --test tests manual -->\n";

/// Longest line of prose.
const WIDTH: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_is_that_of_github() {
        assert_eq!(anchor("upstream.NAME.max_idle"), "upstreamnamemax_idle");
        assert_eq!(anchor("`[[route]]`"), "route");
        assert_eq!(anchor("Who is at fault: the client"), "who-is-at-fault-the-client");
    }

    #[test]
    fn prose_is_broken_at_words_and_hangs_below_its_bullet() {
        let mut out = String::new();
        bullet(&mut out, "Takes", &"word ".repeat(40));
        assert!(out.lines().count() == 2 && out.lines().nth(1).unwrap().starts_with("  word"), "{out}");
        bullet(&mut out, "Default", "");
        assert!(!out.contains("Default"));
    }

    #[test]
    fn cell_of_a_table_keeps_its_bars() {
        let mut out = String::new();
        table(&mut out, ["a", "b"], [["x|y".to_owned(), "z".to_owned()]]);
        assert_eq!(out, "| a | b |\n| --- | --- |\n| x\\|y | z |\n");
    }
}
