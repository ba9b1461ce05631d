//! A case file, read.

use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use crate::support::unhex;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub group: String,
    /// The knobs that the expectation assumes.
    pub config: Table,
    pub request: Sent,
    pub upstream: Script,
    /// The `expect` table, as it stands.
    pub expect: Table,
}

/// What the client sends.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: String,
    pub path: String,
    pub fields: Vec<(String, String)>,
    pub body: Option<String>,
}

/// What the upstream does.
#[derive(Debug, Clone)]
pub struct Script {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub framing: String,
    pub end: String,
    pub header_delay: Duration,
    pub end_delay: Duration,
    pub chunks: Vec<Chunk>,
}

/// One write of the upstream, to be made `repeat` times.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub delay: Duration,
    pub bytes: Vec<u8>,
    pub repeat: usize,
}

impl Script {
    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.chunks.iter().flat_map(|chunk| chunk.bytes.repeat(chunk.repeat)).collect()
    }
}

/// Every case, by file name.
pub fn load() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zoo");
    let files =
        std::fs::read_dir(&folder).expect("the zoo is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).expect("a case can be read");
    let case: Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let request = table(&case, "request");
    let mut fields = Vec::new();
    for (key, name) in [("accept", "accept"), ("content_type", "content-type")] {
        fields.extend(request.get(key).map(|value| (name.to_owned(), string(value))));
    }
    for line in list(request, "headers") {
        let line = string(line);
        let (name, value) = line.split_once(": ").expect("a header has a colon");
        fields.push((name.to_owned(), value.to_owned()));
    }
    let upstream = table(&case, "upstream");
    Case {
        name: string(&case["name"]),
        group: string(&case["group"]),
        config: table(&case, "config").clone(),
        request: Sent {
            method: string(&request["method"]),
            path: string(&request["path"]),
            fields,
            body: request.get("body").map(string),
        },
        upstream: Script {
            status: number(upstream, "status").unwrap_or(200) as u16,
            headers: list(upstream, "headers").map(pair).collect(),
            framing: string(&upstream["framing"]),
            end: string(&upstream["end"]),
            header_delay: millis(upstream, "header_delay_ms"),
            end_delay: millis(upstream, "end_delay_ms"),
            chunks: list(upstream, "chunks").map(chunk).collect(),
        },
        expect: table(&case, "expect").clone(),
    }
}

fn chunk(value: &Value) -> Chunk {
    let chunk = value.as_table().expect("a chunk is a table");
    let bytes = match (chunk.get("text"), chunk.get("hex")) {
        (Some(text), None) => string(text).into_bytes(),
        (None, Some(hex)) => unhex(&string(hex)),
        _ => panic!("a chunk has either text or hex"),
    };
    Chunk { delay: millis(chunk, "delay_ms"), bytes, repeat: number(chunk, "repeat").unwrap_or(1) as usize }
}

fn pair(value: &Value) -> (String, String) {
    let pair = value.as_array().expect("a header is a pair");
    (string(&pair[0]), string(&pair[1]))
}

fn table<'a>(table: &'a Table, key: &str) -> &'a Table {
    table[key].as_table().unwrap_or_else(|| panic!("{key} is a table"))
}

/// The elements of a list; none if it is not there.
pub fn list<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Value> {
    table.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A string.
pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

/// A number, if it is there.
pub fn number(table: &Table, key: &str) -> Option<i64> {
    table.get(key).and_then(Value::as_integer)
}

/// A switch; off if it is not there.
pub fn flag(table: &Table, key: &str) -> bool {
    table.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn millis(table: &Table, key: &str) -> Duration {
    Duration::from_millis(number(table, key).unwrap_or(0).unsigned_abs())
}
