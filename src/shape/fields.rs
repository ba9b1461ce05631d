//! `fields`: nothing but data, for readers that know only `data:` lines.

use super::{Reshape, Seen, Settings, Shape, Sink};
use crate::codec::{Data, Event};

/// Only data.
pub static FIELDS: Shape = Shape {
    name: "fields",
    keys: &["fields"],
    doc: "events are sent without name, id, retry time and unknown fields; those without data are left out",
    harm: "names tell events apart in Anthropic's streams; without ids nothing can be resumed",
    make: |Settings { data_only, .. }| data_only.then(|| Box::new(Fields) as _),
};

#[derive(Debug)]
struct Fields;

impl Reshape for Fields {
    fn event(&mut self, event: &Event<'_>, seen: Seen, sink: &mut Sink<'_>) {
        let has_fields =
            event.name.is_some() || event.id.is_some() || event.retry.is_some() || event.unknown.is_some();
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
}
