//! docs/clients.md and its Chinese edition: they say the same, their code is the code that tests/clients runs, and
//! their configurations are valid. (That their tables are what was seen, tests/clients/run checks.)

use std::path::{Path, PathBuf};

use crate::support::Dir;
use crate::support::tidegate::Launch;

const EDITIONS: [&str; 2] = ["docs/clients.md", "docs/clients.zh-CN.md"];

/// What the editions have in common, in the order of the page.
#[derive(Debug, PartialEq)]
enum Part {
    /// A heading of this level.
    Heading(usize),
    /// A fenced block: its language, the snippet that it shows, its text.
    Code { language: String, snippet: Option<String>, text: String },
    /// A row of a table: its cells, which only generated tables need to share.
    Row(usize),
    /// A generated table, without its head.
    Generated(Vec<String>),
    /// An entry of a list.
    Entry,
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root(name)).expect("a page of the documentation")
}

fn marker(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = text.lines();
    let mut snippet = None;
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = code.iter().map(|line| format!("{line}\n")).collect();
            parts.push(Part::Code { language: language.to_owned(), snippet: snippet.take(), text });
        } else if let Some(name) = marker(line).and_then(|name| name.strip_prefix("snippet ")) {
            snippet = Some(name.to_owned());
        } else if let Some(name) = marker(line) {
            let end = format!("<!-- /{name} -->");
            // The head and the line under it are in the language of the page.
            let rows = lines.by_ref().take_while(|line| *line != end).skip(2);
            parts.push(Part::Generated(
                rows.map(|row| row.replace("缺了一截，没有报错", "short, no error")).collect(),
            ));
        } else if line.starts_with('#') {
            parts.push(Part::Heading(line.bytes().take_while(|byte| *byte == b'#').count()));
        } else if line.starts_with("| ") {
            parts.push(Part::Row(line.matches(" |").count()));
        } else if line.starts_with("- ") {
            parts.push(Part::Entry);
        }
    }
    parts
}

#[test]
fn the_editions_say_the_same() {
    let [english, chinese] = EDITIONS.map(|name| parts(&text(name)));
    let generated =
        english.iter().filter(|part| matches!(part, Part::Generated(rows) if rows.len() >= 6)).count();
    assert_eq!(generated, 4, "grid, matrix, direct and versions");
    assert!(english.len() >= 80, "only {} parts were found", english.len());
    for (english, chinese) in english.iter().zip(&chinese) {
        assert_eq!(english, chinese);
    }
    assert_eq!(english.len(), chinese.len());
}

#[test]
fn their_code_is_the_code_of_the_tests() {
    let mut files: Vec<String> = std::fs::read_dir(root("tests/clients/snippets"))
        .expect("the snippets")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains('.'))
        .collect();
    files.sort();
    assert!(files.len() >= 12, "only {files:?}");
    for name in EDITIONS {
        let mut shown = Vec::new();
        for part in parts(&text(name)) {
            let Part::Code { language, snippet, text: code } = part else { continue };
            match snippet {
                Some(file) => {
                    assert_eq!(
                        code,
                        text(&format!("tests/clients/snippets/{file}")),
                        "{name} shows another {file}"
                    );
                    shown.push(file);
                }
                None => assert_eq!(language, "toml", "{name} shows code that nobody runs:\n{code}"),
            }
        }
        shown.sort();
        assert_eq!(shown, files, "{name}");
    }
}

#[tokio::test]
async fn their_configurations_are_valid() {
    for part in parts(&text(EDITIONS[0])) {
        let Part::Code { language, text: configuration, .. } = part else { continue };
        if language == "toml" {
            let dir = Dir::new();
            let file = dir.write("config.toml", configuration.as_bytes());
            let check = Launch::flags(&["check", "--config", &file.display().to_string()]);
            let output = check.env("TG_KEY", "key-for-the-test").run().await;
            assert_eq!(output.code, 0, "{}\n{configuration}", output.stderr);
        }
    }
}
