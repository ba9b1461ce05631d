//! A capture: what a backend sends, in bytes of our own making after the form that its sources describe, and what must
//! come out.

use std::path::Path;

use tidegate::codec::charset::Charset;
use tidegate::codec::repair::Repairs;
use tidegate::format::{FORMATS, Format, TEXT, TEXT_JSON};
use tidegate::stream::Plan;
use toml::{Table, Value};

use crate::support::session::{self, Said};
use crate::support::sse::{self, Event};
use crate::support::unhex;

/// One file of `tests/data/FORMAT/`.
#[derive(Debug)]
pub struct Capture {
    /// Format and file, for failures.
    pub name: String,
    pub format: &'static Format,
    pub backend: String,
    /// In which form it sends, in words.
    pub sends: String,
    pub body: Vec<u8>,
    pub events: Vec<Event>,
    /// The repairs that it needs.
    pub repairs: Vec<String>,
    pub outcome: String,
    path: String,
    content_type: String,
    /// The `repair` setting, where it is not the default.
    setting: Vec<String>,
}

/// Every capture, in the order of the formats and of the files.
pub fn load() -> Vec<Capture> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut captures = Vec::new();
    for format in FORMATS {
        let folder = std::fs::read_dir(data.join(format.name)).expect("each format has captures");
        let mut files: Vec<_> = folder.map(|file| file.expect("readable").path()).collect();
        files.sort();
        captures.extend(files.iter().map(|file| read(file, format)));
    }
    captures
}

fn read(file: &Path, format: &'static Format) -> Capture {
    let text = std::fs::read_to_string(file).expect("a capture can be read");
    let table: Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let word = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let words = |key: &str| -> Vec<String> {
        let words = table.get(key).and_then(Value::as_array).into_iter().flatten();
        words.map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let need = |key: &str| word(key).unwrap_or_else(|| panic!("{}: no {key}", file.display()));
    let events = table.get("event").and_then(Value::as_array).into_iter().flatten();
    assert!(!need("source").is_empty(), "{}", file.display());
    Capture {
        name: format!("{}/{}", format.name, file.file_stem().expect("a name").display()),
        format,
        backend: need("backend"),
        sends: need("sends"),
        body: word("text").map_or_else(|| unhex(&need("hex")), String::into_bytes),
        events: events.map(|event| event_of(event.as_table().expect("a table"))).collect(),
        repairs: words("repairs"),
        outcome: need("outcome"),
        path: need("path"),
        content_type: word("content_type").unwrap_or_default(),
        setting: words("repair"),
    }
}

fn event_of(table: &Table) -> Event {
    let word = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    Event {
        event: word("name").unwrap_or_else(|| "message".to_owned()),
        data: word("data").expect("an event has data"),
        id: word("id"),
        retry: word("retry").map(|retry| retry.parse().expect("digits")),
    }
}

impl Capture {
    /// What a route with default settings, or with the capture's own, plans for it.
    pub fn plan(&self) -> Plan {
        let plan = session::plan(self.format, &self.path);
        let named = self.setting.iter().filter_map(|name| Repairs::named(name));
        let repairs = named.fold(plan.repairs, Repairs::union);
        Plan { repairs, charset: Charset::declared(&self.content_type), ..plan }
    }

    /// Everything that is not as the capture says.
    pub fn faults(&self, said: &Said) -> Vec<String> {
        let mut faults = Vec::new();
        let events = sse::parse(&said.theirs().concat());
        let breaks = ["upstream:truncated", "upstream:malformed"].contains(&self.outcome.as_str());
        if said.told().is_some() != breaks {
            faults.push(format!("a break is told, or not: {:?}", said.told().map(String::from_utf8_lossy)));
        }
        if events != self.events {
            faults.push(format!("events {events:?}"));
        }
        let repairs: Vec<&str> = said.repaired.kinds.names().collect();
        if repairs != self.repairs {
            faults.push(format!("repairs {repairs:?}"));
        }
        if (said.repaired.count == 0) != self.repairs.is_empty() {
            faults.push(format!("{} repairs were counted", said.repaired.count));
        }
        if said.outcome != self.outcome {
            faults.push(format!("outcome {}", said.outcome));
        }
        faults
    }

    /// All the text of a stream without items of its own.
    pub fn text_of(&self, said: &Said) -> String {
        let events = sse::parse(&said.body());
        let text = |event: &Event| {
            if self.format == &TEXT {
                return event.data.clone();
            }
            assert_eq!(self.format, &TEXT_JSON);
            let json: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            json["text"].as_str().expect("a text").to_owned()
        };
        events.iter().map(text).collect()
    }
}
