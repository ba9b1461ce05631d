//! docs/security.md: its tables are those of the tests.

use std::path::Path;

/// Fails unless the page has exactly these rows below the line `header`; with `TIDEGATE_BLESS=1` it is given them.
pub fn assert_rows(header: &str, rows: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = std::fs::read_to_string(&path).expect("docs/security.md is there");
    let lines: Vec<&str> = page.lines().collect();
    let at = lines.iter().position(|line| *line == header);
    // Behind the header and its dashes.
    let begin = at.unwrap_or_else(|| panic!("no table in docs/security.md begins {header:?}")) + 2;
    let shown = lines[begin..].iter().take_while(|line| line.starts_with('|')).count();
    if lines[begin..begin + shown] == *rows {
        return;
    }
    assert!(
        std::env::var_os("TIDEGATE_BLESS").is_some(),
        "docs/security.md does not show what is tested; TIDEGATE_BLESS=1 rewrites it. It should be:\n{}",
        rows.join("\n")
    );
    let rows = rows.iter().map(String::as_str);
    let whole: Vec<&str> =
        lines[..begin].iter().copied().chain(rows).chain(lines[begin + shown..].iter().copied()).collect();
    std::fs::write(&path, whole.join("\n") + "\n").expect("docs/security.md can be written");
}

/// A section of an RFC as a link; nothing for none.
pub fn rfc(section: &str) -> String {
    match section.split_once(' ') {
        Some((number, section)) => {
            format!("[{number} {section}](https://www.rfc-editor.org/rfc/rfc{number}#section-{section})")
        }
        None => String::new(),
    }
}
