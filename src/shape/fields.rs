//! `fields`: nothing but data, for readers that know only `data:` lines; or all but the ids.
//!
//! Where nothing but data is sent, an error that only its name tells from content says so in its data then, in the words
//! of [`ndjson`].

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::bridge::ndjson;
use crate::codec::{Data, Event};

/// Only data.
pub static FIELDS: Shape = Shape {
    name: "fields",
    keys: &["fields", "ids"],
    doc: "events are sent without name, id, retry time and unknown fields; those without data are left out; text of an event `error` becomes `{\"error\":\"…\"}`; or without ids alone",
    harm: "names tell events apart in Anthropic's streams; without ids nothing can be resumed",
    make: |Settings { data_only, drops_ids, .. }| match (data_only, drops_ids) {
        (true, _) => Some(Box::new(Fields)),
        (false, true) => Some(Box::new(Ids)),
        (false, false) => None,
    },
};

/// Sends nothing but data.
#[derive(Debug)]
struct Fields;

/// Sends no ids.
#[derive(Debug)]
struct Ids;

impl Reshape for Ids {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        if event.id.is_none() {
            return sink(event, seen);
        }
        let has_more = event.name.is_some() || event.retry.is_some() || event.unknown.is_some();
        if has_more || event.data != Data::None {
            sink(&Event { id: None, canonical: None, ..*event }, seen);
        }
    }
}

impl Reshape for Fields {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let has_fields =
            event.name.is_some() || event.id.is_some() || event.retry.is_some() || event.unknown.is_some();
        if event.name == Some(b"error") && !event.data.text().trim_ascii_start().starts_with(b"{") {
            let mut line = Vec::new();
            if ndjson::event(event, &mut line) {
                let data = Data::Line(line.trim_ascii_end());
                return sink(&Event { data, closed: true, ..Event::default() }, seen);
            }
        }
        match event.data {
            Data::None => {}
            data if has_fields => sink(&Event { data, closed: true, ..Event::default() }, seen),
            _ => sink(event, seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    #[test]
    fn data_alone_is_sent() {
        let mut rig = Rig::new(Settings { data_only: true, ..Settings::default() });
        assert_eq!(
            rig.wire("event: e\nid: 1\nretry: 2\nmeta: x\ndata: a\ndata: b\n\n"),
            "data: a\ndata: b\n\n"
        );
        assert_eq!(rig.wire("event: ping\n\n"), "");
        assert_eq!(rig.wire("data: x\n\n"), "data: x\n\n");
    }

    #[test]
    fn ids_alone_are_left_out() {
        let mut rig = Rig::new(Settings { drops_ids: true, ..Settings::default() });
        assert_eq!(
            rig.wire("event: e\nid: 1\nretry: 2\nmeta: x\ndata: a\ndata: b\n\n"),
            "event: e\nretry: 2\nmeta: x\ndata: a\ndata: b\n\n"
        );
        assert_eq!(rig.wire("id: 1\n\nid\n\n"), "", "a block of nothing is none");
        assert_eq!(rig.wire("id: 1\nevent: ping\n\nid: 2\ndata:\n\n"), "event: ping\n\ndata: \n\n");
        assert_eq!(rig.wire("data: x\n\n"), "data: x\n\n");
        let mut both = Rig::new(Settings { drops_ids: true, data_only: true, ..Settings::default() });
        assert_eq!(both.wire("event: e\nid: 1\ndata: a\n\n"), "data: a\n\n");
    }

    #[test]
    fn error_without_its_name_is_told_from_text() {
        let mut rig = Rig::new(Settings { data_only: true, ..Settings::default() });
        for (data, want) in [
            ("data: over \"loaded\"\n", r#"{"error":"over \"loaded\""}"#),
            ("data: a\ndata: b\n", r#"{"error":"a\nb"}"#),
            ("data:\n", r#"{"error":""}"#),
            ("id: 7\n", r#"{"error":""}"#),
            ("data: [1]\n", r#"{"error":[1]}"#),
            ("data: {\"error\":{}}\n", r#"{"error":{}}"#),
            ("data: {\"event\":\"error\"}\n", r#"{"event":"error"}"#),
        ] {
            assert_eq!(rig.wire(&format!("event: error\n{data}\n")), format!("data: {want}\n\n"));
        }
    }
}
