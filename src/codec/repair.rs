//! What upstreams get wrong, and which of it is put right: one line in [`REPAIRS`] per repair.
//!
//! A repair changes only what by the letter of the standard would be lost, or would reach a client as something that
//! no client of such a stream can read. It never guesses at what a text means. Each is a word of `stream.repair`, and
//! each use is [counted](Tally). Where they are made: [`super::sse`], and [`crate::stream`] for what needs to know
//! how the stream went on.

/// A fault that can be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// `[DONE]` in white space, in quotes, or twice in a row.
    Done,
    /// The last event lacks its blank line.
    UnclosedTail,
    /// JSON over several lines, of which only the first has `data:`.
    PrettyJson,
    /// One line end between events.
    SingleNewline,
    /// `data: data: …`
    DoublePrefix,
    /// JSON without `data:`.
    MissingPrefix,
    /// A field named `error`.
    ErrorField,
    /// `data: {…}data: {…}`
    Glued,
    /// Events with empty data as keep-alives.
    EmptyData,
    /// Something behind a JSON array that is complete.
    Trailing,
}

/// What is said about a repair.
#[derive(Debug)]
pub struct Entry {
    /// Which one.
    pub repair: Repair,
    /// Its word in the config and in the log.
    pub name: &'static str,
    /// When it is made without being asked for.
    pub auto: Auto,
    /// What it does, in one line.
    pub doc: &'static str,
    /// What it could harm, in one line.
    pub harm: &'static str,
}

/// When `repair = ["auto"]` makes a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// On every stream.
    Always,
    /// Where the path or `stream.dialect` says that every event is JSON.
    ForJson,
    /// Not at all.
    Never,
}

/// Every repair, in the order of `tidegate formats`.
pub static REPAIRS: &[Entry] = &[
    Entry {
        repair: Repair::Done,
        name: "done",
        auto: Auto::Always,
        doc: "[DONE] in white space is sent exact, and once in a row; in quotes only where the dialect ends with it",
        harm: "nothing: clients compare the whole data, and stop at the first",
    },
    Entry {
        repair: Repair::UnclosedTail,
        name: "unclosed-tail",
        auto: Auto::Always,
        doc: "a last event without its blank line is sent after a clean end, if it is [DONE] or whole JSON",
        harm: "nothing: by the standard it would be lost; half an event is never sent",
    },
    Entry {
        repair: Repair::PrettyJson,
        name: "pretty-json",
        auto: Auto::Always,
        doc: "JSON over several lines, each with data: or only the first, leaves on one line",
        harm: "nothing: only white space between tokens goes",
    },
    Entry {
        repair: Repair::SingleNewline,
        name: "single-newline",
        auto: Auto::ForJson,
        doc: "a data line that is whole JSON or [DONE] ends its event if the next line begins another; or if nothing follows for 50 ms (a first event: for 200 ms), unless blank lines end the others",
        harm: "an event of several data lines, each of them whole JSON, is split; a first event that stalls inside for 200 ms is, too",
    },
    Entry {
        repair: Repair::DoublePrefix,
        name: "double-prefix",
        auto: Auto::ForJson,
        doc: "\"data: data: X\" is X if that is whole JSON or [DONE]; \"data: : X\" is the comment X",
        harm: "text that quotes an event stream line by line loses its \"data: \"",
    },
    Entry {
        repair: Repair::MissingPrefix,
        name: "missing-prefix",
        auto: Auto::ForJson,
        doc: "lines without data: that are whole JSON are events",
        harm: "a line that the standard ignores is seen",
    },
    Entry {
        repair: Repair::ErrorField,
        name: "error-field",
        auto: Auto::ForJson,
        doc: "a line \"error: {…}\" without data is the event {\"error\":{…}}; the line stays",
        harm: "a line that the standard ignores is seen",
    },
    Entry {
        repair: Repair::Glued,
        name: "glued",
        auto: Auto::Never,
        doc: "\"data: {…}data: {…}\" on one line is two events",
        harm: "nothing in JSON, but every event is searched for it, and it is rarely seen",
    },
    Entry {
        repair: Repair::EmptyData,
        name: "empty-data",
        auto: Auto::Never,
        doc: "an event that has nothing but empty data is sent as a comment",
        harm: "an empty event can mean something: a line break of a text, the start of an MCP stream",
    },
    Entry {
        repair: Repair::Trailing,
        name: "trailing",
        auto: Auto::Always,
        doc: "lines behind a complete JSON array are dropped, unless they are JSON objects, another array, or [DONE]",
        harm: "nothing: the answer was whole; without it the stream ends as malformed",
    },
];

/// A set of repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs(u16);

impl Repairs {
    /// No repair.
    pub const NONE: Repairs = Repairs(0);

    /// Every repair.
    pub fn all() -> Self {
        REPAIRS.iter().fold(Repairs::NONE, |set, entry| set.with(entry.repair))
    }

    /// The repairs that can do no harm: on any stream, or on one whose events are all JSON.
    pub fn auto(json: bool) -> Self {
        let harmless = REPAIRS.iter().filter(|entry| match entry.auto {
            Auto::Always => true,
            Auto::ForJson => json,
            Auto::Never => false,
        });
        harmless.fold(Repairs::NONE, |set, entry| set.with(entry.repair))
    }

    /// The repair with this name, alone.
    pub fn named(name: &str) -> Option<Self> {
        REPAIRS.iter().find(|entry| entry.name == name).map(|entry| Repairs::NONE.with(entry.repair))
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, repair: Repair) -> Self {
        Repairs(self.0 | 1 << repair as u16)
    }

    /// The repairs of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Repairs(self.0 | other.0)
    }

    /// Whether this one is among them.
    pub const fn has(self, repair: Repair) -> bool {
        self.0 & 1 << repair as u16 != 0
    }

    /// Whether all of the other set are among them.
    pub const fn cover(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Their names, in the order of the table.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        REPAIRS.iter().filter(move |entry| self.has(entry.repair)).map(|entry| entry.name)
    }
}

/// How many events of a stream were repaired, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Events that were changed, added or taken out.
    pub count: u64,
    /// Every repair that was made at least once.
    pub kinds: Repairs,
}

impl Tally {
    /// Counts one event that needed these repairs; nothing if it needed none.
    pub fn add(&mut self, repairs: Repairs) {
        if repairs != Repairs::NONE {
            self.count += 1;
            self.kinds = self.kinds.union(repairs);
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Tally) -> Tally {
        Tally { count: self.count + other.count, kinds: self.kinds.union(other.kinds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repair_has_a_line_of_its_own() {
        let mut seen = Repairs::NONE;
        for entry in REPAIRS {
            assert!(!seen.has(entry.repair) && !entry.doc.is_empty() && !entry.harm.is_empty());
            seen = seen.with(entry.repair);
            assert_eq!(Repairs::named(entry.name).unwrap().names().collect::<Vec<_>>(), [entry.name]);
        }
        assert_eq!((seen, Repairs::all().names().count()), (Repairs::all(), REPAIRS.len()));
        assert_eq!(Repairs::named("nonesuch"), None);
    }

    #[test]
    fn auto_leaves_out_what_can_do_harm() {
        let (any, json) = (Repairs::auto(false), Repairs::auto(true));
        assert!(json.cover(any) && !any.cover(json) && Repairs::all().cover(json));
        assert!(any.has(Repair::Done) && !any.has(Repair::SingleNewline));
        assert!(json.has(Repair::SingleNewline) && !json.has(Repair::Glued) && !json.has(Repair::EmptyData));
    }

    #[test]
    fn tally_counts_events_not_repairs() {
        let mut tally = Tally::default();
        tally.add(Repairs::NONE);
        assert_eq!(tally, Tally::default());
        tally.add(Repairs::NONE.with(Repair::Done).with(Repair::UnclosedTail));
        let both = tally.plus(Tally { count: 2, kinds: Repairs::NONE.with(Repair::Glued) });
        assert_eq!(both.count, 3);
        assert_eq!(both.kinds.names().collect::<Vec<_>>(), ["done", "unclosed-tail", "glued"]);
    }
}
