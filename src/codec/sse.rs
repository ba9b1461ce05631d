//! Server-Sent Events, decoded as the HTML standard says (9.2.5, 9.2.6) and told apart from the canonical form.
//!
//! Three things go beyond the standard's parser, since a proxy passes on and does not only consume:
//! a block without `data` but with a name or unknown fields is an event without data (some upstreams end their
//! streams so); `id` and `retry` of a block that has nothing else travel in the next event (a block without
//! data breaks real clients); comments are items, handed out at once, also from the middle of a block.

use super::lines::{LineEnds, split};
use super::{Data, Decode, Event, Item, Sink, TooLarge, release};

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
    limit: usize,
}

/// What is known about the block so far. Positions count from the block's first byte.
#[derive(Debug, Default, Clone, Copy)]
struct Block {
    /// Where the line begins that is being read.
    line: usize,
    name: Option<Span>,
    id: Option<Span>,
    retry: Option<Span>,
    /// The first `data` value.
    data: Option<Span>,
    data_lines: usize,
    unknown: bool,
    /// Some line is not as the canonical form wants it.
    irregular: bool,
    /// The highest field so far, in canonical order.
    rank: Rank,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    #[default]
    Start,
    Event,
    Id,
    Retry,
    Data,
}

#[derive(Debug, Default)]
struct Carried {
    id: Option<Vec<u8>>,
    retry: Option<Vec<u8>>,
}

/// How much of a byte order mark has been seen at the start of the stream.
#[derive(Debug, Clone, Copy)]
enum Bom {
    Seen(usize),
    Done,
}

impl Sse {
    /// A decoder for events of at most `limit` bytes, line ends included.
    pub fn new(limit: usize) -> Self {
        Sse {
            ends: LineEnds::default(),
            held: Vec::new(),
            block: Block::default(),
            bom: Bom::Seen(0),
            carried: None,
            limit,
        }
    }

    /// Decodes while nothing is held back: blocks are slices of `input`. Returns where the unfinished one starts.
    fn decode_borrowed(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<usize, TooLarge> {
        let mut start = self.ends.start(input, 0);
        let mut at = start;
        while let Some(end) = self.ends.find(input, at) {
            let block = &input[start..end.at];
            if block.len() > self.limit {
                return Err(TooLarge { limit: self.limit });
            }
            let wire = if end.lf { Some(&input[start..end.next]) } else { None };
            let boundary = self.line(block, wire, sink);
            at = self.ends.start(input, end.next);
            if boundary {
                start = at;
            } else {
                self.block.line = at - start;
            }
        }
        Ok(start)
    }

    /// Decodes the lines of `input` that belong to a block which began in an earlier input. Returns where the
    /// first new block begins, or `None` if this one is still unfinished.
    fn decode_held(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<Option<usize>, TooLarge> {
        let mut at = self.hold_swallowed(input, 0)?;
        while let Some(end) = self.ends.find(input, at) {
            self.hold(&input[at..end.at])?;
            let mut held = std::mem::take(&mut self.held);
            let content = held.len();
            held.push(input[end.at]);
            let wire = if end.lf { Some(&held[..]) } else { None };
            let boundary = self.line(&held[..content], wire, sink);
            if boundary {
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
    fn hold_swallowed(&mut self, input: &[u8], from: usize) -> Result<usize, TooLarge> {
        let start = self.ends.start(input, from);
        self.block.line += start - from;
        self.hold(&input[from..start])?;
        Ok(start)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.held.len() + bytes.len() > self.limit {
            return Err(TooLarge { limit: self.limit });
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the line that ends at the end of `block` (its line end excluded; `wire` is the block with it, if it
    /// is a single LF). `true`: a new block begins after it.
    fn line(&mut self, block: &[u8], wire: Option<&[u8]>, sink: &mut Sink<'_>) -> bool {
        let line = &block[self.block.line..];
        if line.is_empty() {
            self.dispatch(block, wire, true, sink);
            return true;
        }
        if line[0] == b':' {
            sink(Item::Comment(&line[1..]));
            self.block.irregular = true;
            // A comment before the first field belongs to no block.
            let alone = self.block.line == 0;
            if alone {
                self.block = Block::default();
            }
            return alone;
        }
        self.block.irregular |= wire.is_none();
        self.block.field(line);
        false
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
        let data = match (fields.data, fields.data_lines) {
            (Some(span), 1) => Data::Line(value(span)),
            (Some(_), _) => Data::Block(block),
            (None, _) => Data::None,
        };
        let mut event = Event {
            name,
            id,
            retry,
            data,
            unknown: fields.unknown.then_some(block),
            canonical: wire.filter(|_| !fields.irregular && fields.data_lines == 1),
            closed,
        };
        match self.carried.take() {
            // An event without data carries nothing: it waits for the next one with data.
            Some(carried) if fields.data_lines == 0 => self.carried = Some(carried),
            Some(carried) => {
                event.id = event.id.or(carried.id.as_deref());
                event.retry = event.retry.or(carried.retry.as_deref());
                event.canonical = None;
                sink(Item::Event(event));
                return;
            }
            None => {}
        }
        sink(Item::Event(event));
    }

    /// Removes one byte order mark from the start of the stream, in any split (HTML standard 9.2.5).
    fn strip_bom<'i>(&mut self, input: &'i [u8], sink: &mut Sink<'_>) -> Result<&'i [u8], TooLarge> {
        let mut rest = input;
        while let (Bom::Seen(seen), Some(byte)) = (self.bom, rest.first()) {
            if *byte == BOM[seen] {
                rest = &rest[1..];
                self.bom = if seen + 1 == BOM.len() { Bom::Done } else { Bom::Seen(seen + 1) };
            } else {
                // Not a mark after all: what looked like one is the beginning of the first line.
                self.bom = Bom::Done;
                self.decode(&BOM[..seen], sink)?;
            }
        }
        Ok(rest)
    }
}

impl Decode for Sse {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), TooLarge> {
        let input = if matches!(self.bom, Bom::Done) { input } else { self.strip_bom(input, sink)? };
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

    fn finish(&mut self, sink: &mut Sink<'_>) {
        let mut held = std::mem::take(&mut self.held);
        let line = &held[self.block.line..];
        // Half a field cannot be told from a whole one; data can, by whoever takes the event.
        let mut end = self.block.line;
        if parse_field(line).0 == b"data" {
            self.block.irregular = true;
            self.block.field(line);
            end = held.len();
        }
        self.dispatch(&held[..end], None, false, sink);
        release(&mut held);
        self.held = held;
    }

    fn held(&self) -> usize {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let carried = self.carried.as_ref().map_or(0, |carried| length(&carried.id) + length(&carried.retry));
        self.held.len() + carried
    }
}

impl Block {
    /// Takes a field line (HTML standard 9.2.6: field name up to the first colon, one space after it removed).
    fn field(&mut self, line: &[u8]) {
        let (name, value, spaced) = parse_field(line);
        let to = self.line + line.len();
        let span = Span { from: to - value.len(), to };
        self.irregular |= !spaced;
        let rank = match name {
            b"data" => {
                self.data_lines += 1;
                self.data.get_or_insert(span);
                Rank::Data
            }
            b"event" => {
                self.name = Some(span);
                self.irregular |= value.is_empty();
                Rank::Event
            }
            b"id" => {
                // An id with NUL is ignored.
                if memchr::memchr(0, value).is_none() {
                    self.id = Some(span);
                } else {
                    self.irregular = true;
                }
                Rank::Id
            }
            b"retry" => {
                // Anything but digits is ignored.
                if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
                    self.retry = Some(span);
                } else {
                    self.irregular = true;
                }
                Rank::Retry
            }
            _ => {
                self.unknown = true;
                self.irregular = true;
                return;
            }
        };
        self.irregular |= rank <= self.rank;
        self.rank = rank;
    }
}

/// Name, value, and whether exactly the canonical `name: value` separates them.
fn parse_field(line: &[u8]) -> (&[u8], &[u8], bool) {
    if let Some(value) = line.strip_prefix(b"data: ") {
        return (b"data", value, true);
    }
    match memchr::memchr(b':', line) {
        None => (line, &[], false),
        Some(colon) => match &line[colon + 1..] {
            [b' ', value @ ..] => (&line[..colon], value, true),
            value => (&line[..colon], value, false),
        },
    }
}

/// The `data` values of a block, in order.
pub fn data_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(block).filter_map(|line| {
        let (name, value, _) = parse_field(line);
        (name == b"data").then_some(value)
    })
}

/// The lines of a block that are neither comments nor fields of the standard, as they came.
pub fn unknown_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(block).filter(|line| {
        let known = matches!(parse_field(line).0, b"data" | b"event" | b"id" | b"retry");
        !line.is_empty() && line[0] != b':' && !known
    })
}

const BOM: &[u8; 3] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Owned, assert_any_split, cut, feed, whole};
    use super::*;

    fn decoder() -> Box<dyn Decode> {
        Box::new(Sse::new(1 << 20))
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
    fn bom_is_stripped_once_in_any_split_and_kept_later() {
        let got = assert_any_split(decoder, "\u{feff}data: a\n\ndata: \u{feff}b\n\n".as_bytes());
        assert_eq!(got, [Owned::data("a").canonical(), Owned::data("\u{feff}b").canonical()]);
        let not_a_bom = assert_any_split(decoder, b"\xef\xbbdata: a\ndata: b\n\n");
        assert_eq!(not_a_bom[0].data.as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn comments_leave_at_once_also_from_inside_a_block() {
        let mut sse = Sse::new(1 << 20);
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
        let mut sse = Sse::new(1 << 20);
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
                let mut sse = Sse::new(limit);
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
            let mut sse = Sse::new(64);
            let result = text.chunks(piece).try_for_each(|part| sse.decode(part, &mut |_| ()));
            assert_eq!(result, Err(TooLarge { limit: 64 }), "pieces of {piece}");
        }
        let mut sse = Sse::new(64);
        assert!((0..100).try_for_each(|_| sse.decode(b"data: x\n\n", &mut |_| ())).is_ok());
    }

    #[test]
    fn a_megabyte_in_one_line_fed_bytewise_is_linear() {
        let mut sse = Sse::new(4 << 20);
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

    proptest! {
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
