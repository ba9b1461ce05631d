//! Server-Sent Events, decoded as the HTML standard says (9.2.5, 9.2.6) and told apart from the canonical form.
//!
//! Three things go beyond the standard's parser, since a proxy passes on and does not only consume:
//! a block without `data` but with a name or unknown fields is an event without data (some upstreams end their
//! streams so); `id` and `retry` of a block that has nothing else travel in the next event (a block without
//! data breaks real clients); comments are items, handed out at once, also from the middle of a block.
//!
//! Where [repairs](super::repair) are wanted, `mend` looks at each block that shows a fault: a canonical event is
//! asked for the first byte of its data and nothing more.

mod block;
mod mend;

use std::time::Duration;

use super::bom::Bom;
use super::lines::LineEnds;
use super::repair::{Repair, Repairs, Tally};
use super::{Data, Decode, Error, Event, Item, Options, Sink, release};
use block::{Block, Span, parse_field};
pub use block::{data_lines, unknown_lines};

/// The decoder.
#[derive(Debug)]
pub struct Sse {
    ends: LineEnds,
    /// The unfinished block: its complete lines and the beginning of the next one.
    held: Vec<u8>,
    block: Block,
    bom: Bom,
    /// `id` and `retry` of blocks that had nothing else.
    carried: Option<Box<Carried>>,
    options: Options,
    tally: Tally,
    ends_by: EndsBy,
    /// The end has cut a line of which nobody can tell what it was.
    cut: bool,
}

/// What has ended the events of the stream so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndsBy {
    /// Nothing yet.
    Unknown,
    /// Silence: the next line tells whether it was the end, or a blank line was late.
    Silence,
    /// A blank line, as it should.
    Blank,
    /// One line end: nothing better is to be waited for.
    LineEnd,
}

/// What a line is to the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// It is part of the block.
    Inside,
    /// The next block begins after it.
    After,
    /// It begins the next block.
    Before,
}

#[derive(Debug, Default)]
struct Carried {
    id: Option<Vec<u8>>,
    retry: Option<Vec<u8>>,
}

impl Sse {
    /// A decoder for events of at most `limit` bytes, line ends included.
    pub fn new(options: Options) -> Self {
        Sse {
            ends: LineEnds::default(),
            held: Vec::new(),
            block: Block::default(),
            bom: Bom::default(),
            carried: None,
            options,
            tally: Tally::default(),
            ends_by: EndsBy::Unknown,
            cut: false,
        }
    }

    /// Decodes while nothing is held back: blocks are slices of `input`. Returns where the unfinished one starts.
    fn decode_borrowed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<usize, Error> {
        let mut start = self.ends.start(input, 0);
        let mut at = start;
        while let Some(end) = self.ends.find(input, at) {
            let block = &input[start..end.at];
            self.fits(block.len())?;
            if at == start && end.lf && self.usual(block, &input[start..], sink) {
                (start, at) = (end.next + 1, end.next + 1);
                self.ends_by = EndsBy::Blank;
                continue;
            }
            let wire = if end.lf { Some(&input[start..end.next]) } else { None };
            let line = self.block.line;
            let mut edge = self.line(block, wire, sink);
            if edge == Edge::Before {
                start += line;
                edge = self.line(&input[start..end.at], None, sink);
            }
            at = self.ends.start(input, end.next);
            if edge == Edge::After {
                start = at;
            } else {
                self.block.line = at - start;
            }
        }
        Ok(start)
    }

    /// Hands out the block that begins with this line, if it is the usual one: a `data: ` line and a blank line.
    fn usual(&self, line: &[u8], input: &[u8], sink: &mut Sink<'_>) -> bool {
        let Some(data) = line.strip_prefix(b"data: ").map(Data::Line) else { return false };
        let is_usual = input.get(line.len() + 1) == Some(&b'\n')
            && !self.options.literal
            && self.carried.is_none()
            && line.len() < self.options.limit
            && !mend::is_suspect(data, self.options.repairs);
        if is_usual {
            let canonical = Some(&input[..line.len() + 2]);
            sink(Item::Event(Event { data, canonical, closed: true, ..Event::default() }));
        }
        is_usual
    }

    /// Decodes the lines of `input` that belong to a block which began in an earlier input. Returns where the
    /// first new block begins, or `None` if this one is still unfinished.
    fn decode_held(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<Option<usize>, Error> {
        let mut at = self.hold_swallowed(input, 0)?;
        while let Some(end) = self.ends.find(input, at) {
            self.hold(&input[at..end.at])?;
            let mut held = std::mem::take(&mut self.held);
            let content = held.len();
            held.push(input[end.at]);
            let wire = if end.lf { Some(&held[..]) } else { None };
            let line = self.block.line;
            let mut edge = self.line(&held[..content], wire, sink);
            if edge == Edge::Before {
                held.drain(..line);
                edge = self.line(&held[..content - line], None, sink);
            }
            if edge == Edge::After {
                release(&mut held);
                self.held = held;
                return Ok(Some(end.next));
            }
            self.block.line = held.len();
            self.held = held;
            self.hold(&[])?;
            at = self.hold_swallowed(input, end.next)?;
        }
        self.hold(&input[at..])?;
        Ok(None)
    }

    /// Where the line at `from` really starts. The LF of a CRLF is held like its CR: what is held is what came, so that
    /// the limit does not depend on the cuts.
    fn hold_swallowed(&mut self, input: &[u8], from: usize) -> Result<usize, Error> {
        let start = self.ends.start(input, from);
        self.block.line += start - from;
        self.hold(&input[from..start])?;
        Ok(start)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fits(self.held.len() + bytes.len())?;
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn fits(&self, length: usize) -> Result<(), Error> {
        let limit = self.options.limit;
        if length > limit { Err(Error::TooLarge { limit }) } else { Ok(()) }
    }

    /// Takes the line that ends at the end of `block` (its line end excluded; `wire` is the block with it, if it
    /// is a single LF).
    fn line(&mut self, block: &[u8], wire: Option<&[u8]>, sink: &mut Sink<'_>) -> Edge {
        let line = &block[self.block.line..];
        if line.is_empty() {
            if self.block.line > 0 || self.ends_by == EndsBy::Silence {
                self.ends_by = EndsBy::Blank;
            }
            self.dispatch(block, wire, true, sink);
            return Edge::After;
        }
        if line[0] == b':' {
            sink(Item::Comment(&line[1..]));
            self.block.irregular = true;
            if self.ends_by == EndsBy::Silence {
                self.ends_by = EndsBy::Unknown;
            }
            // A comment before the first field belongs to no block.
            let alone = self.block.line == 0;
            if alone {
                self.block = Block::default();
            }
            return if alone { Edge::After } else { Edge::Inside };
        }
        if self.block.data_lines == 1 && self.begins_another(block, line) {
            let end = self.block.line;
            self.tally.add(Repairs::NONE.with(Repair::SingleNewline));
            self.ends_by = EndsBy::LineEnd;
            self.dispatch(&block[..end], None, true, sink);
            return Edge::Before;
        }
        if self.ends_by == EndsBy::Silence {
            self.ends_by = if line.starts_with(b"data:") { EndsBy::LineEnd } else { EndsBy::Unknown };
        }
        self.block.irregular |= wire.is_none();
        self.block.field(line, self.options.literal);
        Edge::Inside
    }

    /// Whether the block is a whole event by itself, and the line begins the next one: data that is whole too, or
    /// a field that the block already has.
    #[cold]
    fn begins_another(&mut self, block: &[u8], line: &[u8]) -> bool {
        if !self.options.repairs.has(Repair::SingleNewline) {
            return false;
        }
        let (name, value, _) = parse_field(line);
        let again = match name {
            b"data" => mend::is_complete(value),
            b"event" => self.block.name.is_some(),
            b"id" => self.block.id.is_some(),
            b"retry" => self.block.retry.is_some(),
            _ => false,
        };
        again && self.block.is_ripe(block)
    }

    /// Whether what is held back is a whole event that lacks nothing but its end. Where one line end is that, the next
    /// event may have begun behind it.
    fn is_ripe(&mut self) -> bool {
        if !self.options.repairs.has(Repair::SingleNewline) || self.block.data_lines != 1 {
            return false;
        }
        let (block, next) = self.held.split_at(self.block.line);
        let is_next =
            self.ends_by == EndsBy::LineEnd && (next.starts_with(b"data") || b"data".starts_with(next));
        (next.is_empty() || is_next) && self.block.is_ripe(block)
    }

    fn dispatch(&mut self, block: &[u8], wire: Option<&[u8]>, closed: bool, sink: &mut Sink<'_>) {
        let fields = std::mem::take(&mut self.block);
        let value = |span: Span| &block[span.from..span.to];
        let (id, retry) = (fields.id.map(value), fields.retry.map(value));
        // HTML standard 9.2.6: an empty name is none.
        let name = fields.name.map(value).filter(|name| !name.is_empty());
        if fields.data_lines == 0 && name.is_none() && !fields.unknown {
            if id.is_some() || retry.is_some() {
                let carried = self.carried.get_or_insert_default();
                carried.id = id.map(<[u8]>::to_vec).or(carried.id.take());
                carried.retry = retry.map(<[u8]>::to_vec).or(carried.retry.take());
            }
            return;
        }
        let literal;
        let data = match (fields.data, fields.data_lines) {
            (Some(span), 1) => Data::Line(value(span)),
            (Some(_), _) if self.options.literal => {
                literal = block::literal_text(block);
                Data::Text(&literal)
            }
            (Some(_), _) => Data::Block(block),
            (None, _) => Data::None,
        };
        let event = Event {
            name,
            id,
            retry,
            data,
            unknown: fields.unknown.then_some(block),
            canonical: wire.filter(|_| !fields.irregular && fields.data_lines == 1),
            closed,
            error: false,
        };
        if fields.unknown || self.carried.is_some() || mend::is_suspect(data, self.options.repairs) {
            self.dispatch_odd(event, block, sink);
        } else {
            sink(Item::Event(event));
        }
    }

    /// An event that others have to do with, or that may have to be put right.
    #[cold]
    fn dispatch_odd(&mut self, event: Event<'_>, block: &[u8], sink: &mut Sink<'_>) {
        // An event without data carries nothing: what is carried waits for the next one with data.
        let carried = if event.data == Data::None { None } else { self.carried.take() };
        let mut event = event;
        if let Some(carried) = &carried {
            event.id = event.id.or(carried.id.as_deref());
            event.retry = event.retry.or(carried.retry.as_deref());
            event.canonical = None;
        }
        let repairs = self.options.repairs;
        if repairs == Repairs::NONE || (event.unknown.is_none() && !mend::is_suspect(event.data, repairs)) {
            sink(Item::Event(event));
        } else {
            self.tally.add(mend::mend(event, block, repairs, sink));
        }
    }
}

impl Decode for Sse {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut input = input;
        if !self.bom.is_done() {
            let (lost, rest) = self.bom.strip(input);
            if !lost.is_empty() {
                self.decode(lost, sink)?;
            }
            input = rest;
        }
        let mut from = 0;
        if !self.held.is_empty() {
            match self.decode_held(input, sink)? {
                None => return Ok(()),
                Some(next) => from = next,
            }
        }
        let input = &input[from..];
        let unfinished = self.decode_borrowed(input, sink)?;
        self.hold(input.get(unfinished..).unwrap_or_default())
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.ends_by == EndsBy::LineEnd && self.block.line < self.held.len() && self.is_ripe() {
            self.flush(sink);
        }
        let mut held = std::mem::take(&mut self.held);
        let line = &held[self.block.line..];
        let is_taken = match parse_field(line).0 {
            // Half an id or a name cannot be told from a whole one; data can, by whoever takes the event.
            b"data" => true,
            b"event" | b"id" | b"retry" | b"" => false,
            _ => mend::is_whole(&held, self.options.repairs),
        };
        if is_taken {
            self.block.irregular = true;
            self.block.field(line, self.options.literal);
        } else {
            self.cut = !line.is_empty() && line[0] != b':';
            held.truncate(self.block.line);
        }
        self.dispatch(&held, None, false, sink);
        release(&mut held);
        self.held = held;
        Ok(())
    }

    fn held(&self) -> usize {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let carried = self.carried.as_ref().map_or(0, |carried| length(&carried.id) + length(&carried.retry));
        self.held.len() + carried
    }

    fn ripens_in(&mut self) -> Option<Duration> {
        let wait = match self.ends_by {
            EndsBy::Blank => return None,
            EndsBy::LineEnd => AFTER_LINE_END,
            EndsBy::Unknown | EndsBy::Silence => AFTER_FIRST,
        };
        self.is_ripe().then_some(wait)
    }

    fn flush(&mut self, sink: &mut Sink<'_>) {
        let mut held = std::mem::take(&mut self.held);
        self.tally.add(Repairs::NONE.with(Repair::SingleNewline));
        self.ends_by = if self.ends_by == EndsBy::LineEnd { EndsBy::LineEnd } else { EndsBy::Silence };
        let end = self.block.line;
        self.dispatch(&held[..end], None, true, sink);
        held.drain(..end);
        if held.is_empty() {
            release(&mut held);
        }
        self.held = held;
    }

    fn is_cut(&self) -> bool {
        self.cut
    }

    fn repaired(&self) -> Tally {
        self.tally
    }
}

/// How long an event waits for its blank line where no event has had one.
const AFTER_LINE_END: Duration = Duration::from_millis(50);

/// How long the first event waits for what may still belong to it. Writes of one event come milliseconds apart, but a
/// server that is busy may stall between them: what it then adds would be lost to the event.
const AFTER_FIRST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Owned, assert_any_split, cut, feed, whole};
    use super::*;

    fn sse(limit: usize, repairs: Repairs) -> Sse {
        Sse::new(Options { limit, repairs, literal: false })
    }

    fn decoder() -> Box<dyn Decode> {
        Box::new(sse(1 << 20, Repairs::NONE))
    }

    #[test]
    fn events_are_the_same_for_every_line_end_and_split() {
        for end in ["\n", "\r", "\r\n"] {
            let text = "event: a\nid: 7\nretry: 10\ndata: 你\n\ndata:one\ndata: two\n\n\n\ndata\n\n"
                .replace('\n', end);
            let got = assert_any_split(decoder, text.as_bytes());
            let first = Owned {
                name: Some("a".into()),
                id: Some("7".into()),
                retry: Some("10".into()),
                canonical: end == "\n",
                ..Owned::data("你")
            };
            assert_eq!(got, [first, Owned::data("one\ntwo"), Owned::data("")], "line end {end:?}");
        }
    }

    #[test]
    fn canonical_events_are_recognised_and_others_are_not() {
        let canonical = |text: &str| whole(decoder(), text.as_bytes())[0].canonical;
        for text in
            ["data: x\n\n", "event: e\nid: 1\nretry: 2\ndata: x\n\n", "id: \ndata: \n\n", "data:  x\n\n"]
        {
            assert!(canonical(text), "{text:?}");
        }
        for text in [
            "data:x\n\n",
            "data: x\r\n\r\n",
            "data: x\n\r\n",
            "data: x\r\n\n",
            "data: x\nevent: e\n\n",
            "event: e\nevent: f\ndata: x\n\n",
            "data: x\ndata: y\n\n",
            "retry: 5s\ndata: x\n\n",
            "meta: 1\ndata: x\n\n",
            "id: a\0b\ndata: x\n\n",
            "event: \ndata: x\n\n",
        ] {
            assert!(!canonical(text), "{text:?}");
        }
        let after_comment = whole(decoder(), b"event: e\n: hi\ndata: x\n\n");
        assert!(!after_comment[1].canonical, "a comment inside the block is not part of the event");
    }

    #[test]
    fn literal_data_keeps_its_space_in_any_split() {
        let literal = || -> Box<dyn Decode> {
            Box::new(Sse::new(Options { limit: 1 << 20, repairs: Repairs::NONE, literal: true }))
        };
        let got = assert_any_split(
            literal,
            b"data:La\n\ndata: frase\n\ndata:\n\nevent: e\ndata:  x\ndata: y\ndata:z\n\n",
        );
        let last = Owned { name: Some("e".into()), ..Owned::data("  x\n y\nz") };
        assert_eq!(got, [Owned::data("La"), Owned::data(" frase"), Owned::data(""), last]);
    }

    #[test]
    fn bom_is_stripped_once_in_any_split_and_kept_later() {
        let got = assert_any_split(decoder, "\u{feff}data: a\n\ndata: \u{feff}b\n\n".as_bytes());
        assert_eq!(got, [Owned::data("a").canonical(), Owned::data("\u{feff}b").canonical()]);
        let not_a_bom = assert_any_split(decoder, b"\xef\xbbdata: a\ndata: b\n\n");
        assert_eq!(not_a_bom[0].data.as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn comments_leave_at_once_also_from_inside_a_block() {
        let mut sse = sse(1 << 20, Repairs::NONE);
        let items = feed(&mut sse, b"data: x\n: ping\n");
        assert_eq!(items, [Owned::comment(" ping")]);
        assert_eq!(feed(&mut sse, b"\n"), [Owned::data("x")]);
        let got = assert_any_split(decoder, b":\n\n:a\r\n\r\ndata: x\n\n");
        assert_eq!(got, [Owned::comment(""), Owned::comment("a"), Owned::data("x").canonical()]);
    }

    #[test]
    fn id_and_retry_of_a_block_without_data_travel_in_the_next_event() {
        let got = assert_any_split(decoder, b"retry: 3000\n\nid: 9\n\ndata: a\n\ndata: b\n\n");
        let first = Owned { id: Some("9".into()), retry: Some("3000".into()), ..Owned::data("a") };
        assert_eq!(got, [first, Owned::data("b").canonical()]);
        let mut sse = sse(1 << 20, Repairs::NONE);
        feed(&mut sse, b"retry: 3000\nid: 9\n\n");
        assert_eq!(sse.held(), 5, "what travels is held too");
        let own = whole(decoder(), b"id: 1\n\nid: 2\ndata: a\n\n");
        assert_eq!(own[0].id.as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn a_block_without_data_is_kept_if_it_says_something() {
        let got = assert_any_split(decoder, b"event: ping\n\nmeta: 1\n\n\n\n");
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].name.as_deref(), &got[0].data), (Some(&b"ping"[..]), &None));
        assert_eq!(got[1].unknown, ["meta: 1"]);
    }

    /// What was left of such a block was a blank line alone, at which some clients dispatch an empty event.
    #[test]
    fn a_block_of_nothing_but_an_empty_name_says_nothing() {
        assert_eq!(whole(decoder(), b"event:\n\nevent: \nid: 1\n\n"), []);
        let got = whole(decoder(), b"event:\nid: 1\n\ndata: x\n\n");
        assert_eq!(got, [Owned { id: Some(b"1".to_vec()), ..Owned::data("x") }]);
    }

    /// The LF of a CRLF counted only where both came in one input.
    #[test]
    fn the_limit_is_the_same_for_every_split_also_with_crlf() {
        let text = b"x: 1\r\nx: 2\r\nx: 3\r\ndata: 4\r\n\r\n";
        for limit in 0..text.len() {
            let fits = |piece: usize| {
                let mut sse = sse(limit, Repairs::NONE);
                text.chunks(piece).all(|part| sse.decode(part, &mut |_| ()).is_ok())
            };
            let whole = fits(text.len());
            for piece in 1..text.len() {
                assert_eq!(fits(piece), whole, "limit {limit}, pieces of {piece}");
            }
        }
    }

    /// Half a line that the standard does not define was sent with an event whose data was whole.
    #[test]
    fn a_line_that_the_end_cut_is_not_handed_out() {
        for (text, unknown) in
            [("data: {}\nmeta: ha", &[][..]), ("meta: whole\ndata: {}\nx: ha", &["meta: whole"])]
        {
            let got = whole(decoder(), text.as_bytes());
            let unknown = unknown.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(got, [Owned { closed: false, unknown, ..Owned::data("{}") }], "{text:?}");
        }
        assert_eq!(whole(decoder(), b"meta: ha"), []);
    }

    #[test]
    fn an_unclosed_tail_is_handed_out_as_unclosed() {
        for text in ["data: a\n\ndata: b", "data: a\n\ndata: b\n"] {
            let got = whole(decoder(), text.as_bytes());
            assert_eq!(got[1], Owned { closed: false, ..Owned::data("b") }, "{text:?}");
            assert_eq!(got.len(), 2);
        }
        assert_eq!(whole(decoder(), b"data: a\n\n: comm").len(), 1);
        assert_eq!(whole(decoder(), b"").len(), 0);
    }

    #[test]
    fn an_event_past_the_limit_is_refused_however_it_comes() {
        let text = [&b"data: "[..], &[b'x'; 100], b"\n\n"].concat();
        for piece in [1, 7, 1000] {
            let mut sse = sse(64, Repairs::NONE);
            let result = text.chunks(piece).try_for_each(|part| sse.decode(part, &mut |_| ()));
            assert_eq!(result, Err(Error::TooLarge { limit: 64 }), "pieces of {piece}");
        }
        for (length, fits) in [(57, true), (58, false)] {
            let text = [&b"data: "[..], &vec![b'x'; length], b"\n\n"].concat();
            for piece in [1, 7, 1000] {
                let mut sse = sse(64, Repairs::NONE);
                let result = text.chunks(piece).try_for_each(|part| sse.decode(part, &mut |_| ()));
                assert_eq!(result.is_ok(), fits, "{length} bytes in pieces of {piece}");
            }
        }
        let mut sse = sse(64, Repairs::NONE);
        assert!((0..100).try_for_each(|_| sse.decode(b"data: x\n\n", &mut |_| ())).is_ok());
    }

    #[test]
    fn a_megabyte_in_one_line_fed_bytewise_is_linear() {
        let mut sse = sse(4 << 20, Repairs::NONE);
        sse.decode(b"data: ", &mut |_| ()).unwrap();
        for _ in 0..1 << 20 {
            sse.decode(b"x", &mut |_| ()).unwrap();
        }
        let mut length = 0;
        sse.decode(b"\n\n", &mut |item| {
            if let Item::Event(event) = item {
                length = event.data.line().unwrap().len();
            }
        })
        .unwrap();
        assert_eq!(length, 1 << 20);
        assert_eq!((sse.held(), sse.held.capacity()), (0, 0), "a large buffer is given back");
    }

    fn repairing() -> Box<dyn Decode> {
        Box::new(sse(1 << 20, Repairs::all()))
    }

    /// What comes of a stream with every repair, for every split, and how it was repaired.
    fn mended(text: &str) -> (Vec<Owned>, String) {
        let got: Vec<Owned> =
            whole(repairing(), text.as_bytes()).into_iter().map(Owned::without_form).collect();
        for piece in [1, 2, 5] {
            let mut decoder = repairing();
            let mut cut: Vec<Owned> =
                text.as_bytes().chunks(piece).flat_map(|part| feed(&mut *decoder, part)).collect();
            decoder.finish(&mut |item| cut.push(Owned::from(item))).unwrap();
            let cut: Vec<Owned> = cut.into_iter().map(Owned::without_form).collect();
            assert_eq!(cut, got, "{text:?} in pieces of {piece}");
        }
        let mut decoder = repairing();
        feed(&mut *decoder, text.as_bytes());
        decoder.finish(&mut |_| ()).unwrap();
        (got, decoder.repaired().kinds.names().collect::<Vec<_>>().join(","))
    }

    #[test]
    fn faults_are_mended_and_named() {
        let json = |texts: &[&str]| texts.iter().map(|text| Owned::data(text)).collect::<Vec<_>>();
        for (text, want, repairs) in [
            (
                "data: {\"t\":1}\ndata: {\"t\":2}\ndata: [DONE]\n\n",
                &["{\"t\":1}", "{\"t\":2}", "[DONE]"][..],
                "single-newline",
            ),
            ("data: {\ndata:   \"a\": [\ndata: 1]\ndata: }\n\n", &["{\"a\":[1]}"], ""),
            ("data: {\n  \"t\": \"a b\",\r\n  \"n\": 1\n}\n\n", &["{\"t\":\"a b\",\"n\":1}"], "pretty-json"),
            ("data: data: {\"t\":1}\n\ndata:data:data:[DONE]\n\n", &["{\"t\":1}", "[DONE]"], "double-prefix"),
            ("{\"t\":1}\n\n{\n\"t\":2\n}\n\n", &["{\"t\":1}", "{\"t\":2}"], "missing-prefix"),
            ("data: {\"t\":1}data: {\"t\":\"} data:\"}\n\n", &["{\"t\":1}", "{\"t\":\"} data:\"}"], "glued"),
            ("data: {\"t\":1} data: [DONE]\n\n", &["{\"t\":1}", "[DONE]"], "glued"),
        ] {
            let (got, kinds) = mended(text);
            let kinds = kinds.replace("pretty-json,missing-prefix", "missing-prefix");
            assert_eq!((got, kinds.as_str()), (json(want), repairs), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_fault_stays_as_it_is() {
        for (text, want) in [
            ("data: line1\ndata: line2\n\n", vec![Owned::data("line1\nline2")]),
            ("data: {}\ndata: text\n\n", vec![Owned::data("{}\ntext")]),
            ("data: {\ndata: let x = 1;\ndata: }\n\n", vec![Owned::data("{\nlet x = 1;\n}")]),
            ("data: [a\ndata: link](u)\n\n", vec![Owned::data("[a\nlink](u)")]),
            ("data: data: not json\n\n", vec![Owned::data("data: not json")]),
            ("data: {\"a\":\"data: {}data: {}\"}\n\n", vec![Owned::data("{\"a\":\"data: {}data: {}\"}")]),
            ("data: {} text\n\n", vec![Owned::data("{} text")]),
            ("data: hello data: {}\n\n", vec![Owned::data("hello data: {}")]),
            (
                "data: a\nmeta:{\"a\":1}\n\n",
                vec![Owned { unknown: vec!["meta:{\"a\":1}".into()], ..Owned::data("a") }],
            ),
        ] {
            assert_eq!(mended(text), (want, String::new()), "{text:?}");
        }
        assert_eq!(mended("data\n\ndata:\n\n").0, [Owned::data(""), Owned::data("")]);
    }

    #[test]
    fn events_of_one_line_end_keep_their_own_fields() {
        let (got, _) = mended("event: a\nid: 1\ndata: {}\nevent: b\ndata: {}\nid: 3\ndata: {}\n\n");
        let event = |name: Option<&str>, id: Option<&str>| Owned {
            name: name.map(Into::into),
            id: id.map(Into::into),
            ..Owned::data("{}")
        };
        assert_eq!(got, [event(Some("a"), Some("1")), event(Some("b"), Some("3")), event(None, None)]);
        let (named, _) = mended("event: a\nid: 1\nretry: 5\ndata: {}data: {}\n\n");
        assert_eq!(named[0], Owned { retry: Some("5".into()), ..event(Some("a"), Some("1")) });
        assert_eq!(named[1], event(Some("a"), None));
    }

    #[test]
    fn a_wrapped_comment_is_a_comment_and_an_error_field_is_data() {
        assert_eq!(mended("data: : OPENROUTER PROCESSING\n\n").0, [Owned::comment(" OPENROUTER PROCESSING")]);
        let (got, repairs) = mended("error: {\"code\":400}\n\n");
        let unknown = vec!["error: {\"code\":400}".to_owned()];
        assert_eq!(got, [Owned { unknown, ..Owned::data("{\"error\":{\"code\":400}}") }]);
        assert_eq!(repairs, "error-field");
        assert_eq!(mended("error: text\n\n").0[0].data, None);
    }

    #[test]
    fn bare_json_at_the_end_is_handed_out_as_unclosed() {
        for text in ["data: x\n\n{\"error\":1}", "data: x\n\n{\"error\":1}\n", "data: x\n\n{\n\"error\":1\n}"]
        {
            let got = mended(text).0;
            assert_eq!(
                got,
                [Owned::data("x"), Owned { closed: false, ..Owned::data("{\"error\":1}") }],
                "{text:?}"
            );
        }
        assert_eq!(mended("data: x\n\n{\"error\":").0.len(), 1);
        let half = mended("data: {}\nmeta: hal").0;
        assert_eq!(half, [Owned { closed: false, ..Owned::data("{}") }], "half a line is nothing");
    }

    #[test]
    fn without_repairs_nothing_is_mended() {
        let text = "data: {\ndata: }\n\ndata: data: {}\n\ndata: {}\ndata: {}\n\n";
        let got: Vec<_> = whole(decoder(), text.as_bytes()).into_iter().map(Owned::without_form).collect();
        assert_eq!(got, ["{\n}", "data: {}", "{}\n{}"].map(Owned::data));
    }

    proptest! {
        /// Repairs or none, whatever arrives: no panic, and the cuts do not matter.
        #[test]
        fn mended_items_do_not_depend_on_the_cuts(
            parts in prop::collection::vec(prop::sample::select(vec![
                "data:", "data: ", "{\"a\":", "1}", "{", "}", "[DONE]", "\n", "\r\n", "\n\n", "error: {}", "id: 1", ": c", "\"x\"",
            ]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let text = parts.concat();
            let want: Vec<Owned> = whole(repairing(), text.as_bytes()).into_iter().map(Owned::without_form).collect();
            let got: Vec<Owned> = cut(repairing(), text.as_bytes(), &cuts).into_iter().map(Owned::without_form).collect();
            prop_assert_eq!(got, want);
        }

        /// Any bytes, any cuts: the same items as in one piece, and nothing panics.
        #[test]
        fn items_do_not_depend_on_the_cuts(
            text in prop::collection::vec(prop::sample::select(b"data:event: id\r\n\r\n\n\xef\xbb\xbf\xe4\xbd\xa0 x".to_vec()), 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let want: Vec<Owned> = whole(decoder(), &text).into_iter().map(Owned::without_form).collect();
            let got: Vec<Owned> = cut(decoder(), &text, &cuts).into_iter().map(Owned::without_form).collect();
            prop_assert_eq!(got, want);
        }
    }
}
