//! A recorded stream of a dialect: what its servers send, in bytes of our own making after the form that its source
//! describes.

use std::path::Path;
use std::time::Duration;

use tidegate::codec;
use tidegate::dialect::{DIALECTS, Dialect, Place};
use tidegate::format::{AWS_EVENTSTREAM, FORMATS, Format, JSON_ARRAY, NDJSON, SSE};
use tidegate::stream::Plan;
use toml::{Table, Value};

use crate::support::session::{self, Ending, Said};
use crate::support::sse::{self, Event};
use crate::support::unhex;

/// One file of `tests/data/DIALECT/`.
#[derive(Debug)]
pub struct Capture {
    /// Dialect and file, for failures.
    pub name: String,
    pub dialect: &'static Dialect,
    pub format: &'static Format,
    pub path: String,
    /// Header fields of the request, and of the response.
    pub request: Vec<(String, String)>,
    pub response: Vec<(String, String)>,
    /// `stream.dialect`, where nothing else tells.
    pub setting: Option<String>,
    pub body: Vec<u8>,
    /// An error that the upstream tells.
    pub error: Option<Vec<u8>>,
    /// Which event is the first with content.
    pub content: Option<usize>,
    /// After which event a clean end is complete.
    pub finish: Option<usize>,
    /// After which event nothing can go wrong any more.
    pub last: Option<usize>,
    /// The text of the whole answer.
    pub said: String,
    /// Its events.
    pub events: Vec<Event>,
}

/// Every capture, in the order of the dialects and of the files.
pub fn load() -> Vec<Capture> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut captures = Vec::new();
    for dialect in DIALECTS {
        let folder = std::fs::read_dir(data.join(dialect.name)).expect("each dialect has captures");
        let mut files: Vec<_> = folder.map(|file| file.expect("readable").path()).collect();
        files.sort();
        captures.extend(files.iter().map(|file| read(file, dialect)));
    }
    captures
}

fn read(file: &Path, dialect: &'static Dialect) -> Capture {
    let text = std::fs::read_to_string(file).expect("a capture can be read");
    let table: Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let word = |key: &str| table.get(key).and_then(Value::as_str);
    let number = |key: &str| {
        let number = table.get(key).and_then(Value::as_integer);
        number.map(|number| usize::try_from(number).expect("not below 0"))
    };
    let fields = |key: &str| {
        let fields = table.get(key).and_then(Value::as_table).into_iter().flatten();
        let value = |value: &Value| value.as_str().expect("a field is a string").to_owned();
        fields.map(|(name, field)| (name.clone(), value(field))).collect()
    };
    assert!(word("source").is_some_and(|source| source.contains("seen 20")), "{}", file.display());
    let wire = |key: &str, hex: &str| {
        if let Some(hex) = word(hex) {
            return Some(unhex(hex));
        }
        let lines = word(key)?;
        let crlf = word("line_end") == Some("crlf");
        Some(if crlf { lines.replace('\n', "\r\n") } else { lines.to_owned() }.into_bytes())
    };
    let format = word("format").unwrap_or(SSE.name);
    let mut capture = Capture {
        name: format!("{}/{}", dialect.name, file.file_stem().expect("a name").display()),
        dialect,
        format: FORMATS.iter().find(|entry| entry.name == format).expect("a format"),
        path: word("path").expect("a path").to_owned(),
        request: fields("request"),
        response: fields("response"),
        setting: word("setting").map(str::to_owned),
        body: wire("text", "hex").expect("a text"),
        error: wire("error", "error_hex"),
        content: number("content"),
        finish: number("finish"),
        last: number("last"),
        said: word("said").unwrap_or_default().to_owned(),
        events: Vec::new(),
    };
    capture.events = sse::parse(&capture.play(&capture.body, Ending::Clean).body());
    capture
}

impl Capture {
    /// What anything but the events says of the dialect.
    pub fn hint(&self) -> Option<&'static Dialect> {
        let announced = |fields: &[(String, String)]| {
            let mut headers = http::HeaderMap::new();
            for (name, value) in fields {
                let name: http::HeaderName = name.parse().expect("a field name");
                headers.insert(name, value.parse().expect("a field value"));
            }
            Dialect::announced(&headers)
        };
        let set = self.setting.as_deref().and_then(Dialect::named);
        set.or_else(|| announced(&self.response))
            .or_else(|| announced(&self.request))
            .or_else(|| Dialect::hinted(&self.path))
    }

    /// What a route with default settings plans for it.
    pub fn plan(&self) -> Plan {
        let dialect = self.hint();
        Plan {
            dialect,
            is_set: self.setting.as_deref().and_then(Dialect::named).is_some(),
            known_ai: dialect.is_some_and(|dialect| dialect.told.is_some()),
            heartbeat: None,
            event_gap: Some(Duration::from_secs(300)),
            ..session::plan(self.format, &self.path)
        }
    }

    /// What comes out of these bytes of it, if they end so.
    pub fn play(&self, bytes: &[u8], ending: Ending) -> Said {
        session::played(self.plan(), [bytes], ending)
    }

    /// Where each event is complete: as many bytes as it needs to come out.
    pub fn boundaries(&self) -> Vec<usize> {
        let mut boundaries = Vec::new();
        for cut in 0..=self.body.len() {
            let events = complete(&self.play(&self.body[..cut], Ending::Reset)).len();
            boundaries.resize(boundaries.len().max(events), cut);
        }
        boundaries
    }

    /// What stands at these places in all of its events.
    pub fn at(&self, places: &[Place]) -> Vec<String> {
        let mut found = Vec::new();
        for event in &self.events {
            let name = (event.event != "message").then_some(event.event.as_bytes());
            let data = codec::Data::Line(event.data.as_bytes());
            let event = codec::Event { name, data, ..codec::Event::default() };
            let Some(json) = event.data.line() else { continue };
            let kind = (self.dialect.kind)(&event).map(|kind| String::from_utf8_lossy(kind).into_owned());
            let mine = places.iter().filter(|place| place.of.is_none_or(|of| kind.as_deref() == Some(of)));
            let values = mine.filter_map(|place| tidegate::dialect::pointer::find(json, place.at, |_| true));
            found.extend(values.map(|value| String::from_utf8_lossy(value).into_owned()));
        }
        found
    }

    /// The text of the answer, in all of its events.
    pub fn text(&self) -> String {
        let texts = self.at(self.dialect.places.text);
        texts.iter().map(|value| serde_json::from_str::<String>(value).unwrap_or_default()).collect()
    }

    /// Whether only the end of the format shows that the stream is whole.
    pub fn is_bracketed(&self) -> bool {
        *self.format == JSON_ARRAY
    }

    /// Whether what stands at the end of these bytes shows that something is missing.
    pub fn is_open(&self, bytes: &[u8]) -> bool {
        if *self.format == AWS_EVENTSTREAM {
            return ends_inside_a_message(bytes);
        }
        if self.format.name == "sse" {
            return ends_inside_json(bytes);
        }
        let line = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        *self.format == NDJSON
            && !line.is_empty()
            && serde_json::from_slice::<serde_json::Value>(line).is_err()
    }
}

/// Whether events end inside the data of one that is a JSON object.
fn ends_inside_json(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let block = text.rsplit("\n\n").next().unwrap_or_default();
    let mut data = block.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start);
    data.any(|data| data.starts_with('{') && serde_json::from_str::<serde_json::Value>(data).is_err())
}

/// Whether binary messages, each with its length in front, end before the last is complete.
fn ends_inside_a_message(mut bytes: &[u8]) -> bool {
    while let Some(length) = bytes.first_chunk() {
        match bytes.split_at_checked(u32::from_be_bytes(*length) as usize) {
            Some((_, rest)) => bytes = rest,
            None => return true,
        }
    }
    !bytes.is_empty()
}

/// The upstream's events that came out.
pub fn complete(said: &Said) -> Vec<Event> {
    sse::parse(&said.theirs().concat())
}
