//! The pure core stays pure: bytes and time in, bytes out. What decides about streams and routes knows no
//! socket, no clock, no runtime and no log, so that all of it can be tested without any.

use std::path::{Path, PathBuf};

/// Folders and files, below `src`, that must stay pure.
const PURE: [&str; 11] = [
    "stream",
    "codec",
    "format",
    "dialect",
    "shape",
    "bridge",
    "route.rs",
    "profile.rs",
    "profile",
    "proxy/intent.rs",
    "proxy/plan.rs",
];

/// What they must not name outside their tests.
const FORBIDDEN: [&str; 10] = [
    "tokio",
    "hyper",
    "std::io",
    "std::net",
    "std::fs",
    "std::thread",
    "tracing",
    "Instant::now",
    "SystemTime",
    "rustls",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_below(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in path.read_dir().expect("a folder can be read") {
            files_below(&entry.expect("an entry can be read").path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs")
        && !path.to_string_lossy().ends_with("tests.rs")
    {
        files.push(path.to_owned());
    }
}

/// The code of a file: without comments, and without its tests, which stand at the end in modules of their own.
fn code(text: &str) -> String {
    let mut tests = text.match_indices("#[cfg(test)]\n").filter(|(at, _)| {
        let item = text[*at..].lines().nth(1).unwrap_or_default();
        item.contains("mod ") && item.contains('{')
    });
    let code = &text[..tests.next().map_or(text.len(), |(at, _)| at)];
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every name that is forbidden there, grouped imports (`use std::{fs, io}`) included.
fn forbidden_in(code: &str) -> Vec<&'static str> {
    let packed: String = code.split_whitespace().collect();
    let grouped = packed.split("std::{").skip(1).filter_map(|rest| rest.split('}').next());
    let grouped: Vec<&str> = grouped.flat_map(|group| group.split(',')).collect();
    let found = |name: &&str| {
        let inner = name.strip_prefix("std::");
        let is_word = |text: &str| {
            text.match_indices(*name).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + name.len()..].chars().next();
                let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !word(before) && !word(after)
            })
        };
        is_word(code)
            || inner.is_some_and(|inner| grouped.iter().any(|g| g.split("::").next() == Some(inner)))
    };
    FORBIDDEN.iter().copied().filter(|name| found(name)).collect()
}

#[test]
fn pure_code_names_nothing_that_acts() {
    let mut files = Vec::new();
    for path in PURE {
        let path = source().join(path);
        if path.exists() {
            files_below(&path, &mut files);
        }
    }
    assert!(files.len() >= 10, "only {} files were seen: {files:?}", files.len());
    let mut faults = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("source can be read");
        faults
            .extend(forbidden_in(&code(&text)).into_iter().map(|name| format!("{}: {name}", file.display())));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn forbidden_names_are_found_wherever_they_hide() {
    for (text, found) in [
        ("use tokio::time::Sleep;", vec!["tokio"]),
        ("use std::{\n    fmt,\n    io::Read,\n};", vec!["std::io"]),
        ("fn f() -> std::io::Result<()> {}", vec!["std::io"]),
        ("let now = Instant::now();", vec!["Instant::now"]),
        ("// tokio is not here\n//! nor std::fs\nlet tokiometer = 1;", vec![]),
        ("fn f() {}\n#[cfg(test)]\nmod tests { use tokio::time; }", vec![]),
        ("#[cfg(test)]\nmod testing;\nuse std::io;", vec!["std::io"]),
        ("use std::{fmt, iter};", vec![]),
    ] {
        assert_eq!(forbidden_in(&code(text)), found, "{text}");
    }
}
