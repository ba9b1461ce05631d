//! JSON values one after another: newline-delimited, concatenated, or as the elements of one array.
//!
//! A value leaves with its closing bracket; nobody waits for the line end or the comma behind it. A value that lies on
//! one line leaves with its bytes unchanged; one over several lines loses the white space between its tokens.
//!
//! In a sequence (newline-delimited JSON, JSON lines, RFC 7464) what is no object or array is taken by the line: an
//! error message in plain text is an event too. A value that breaks off is given up at the line on which that shows:
//! what follows is read anew. An array has no lines to hold on to: what is no JSON there ends the stream.

use super::bom::Bom;
use super::json::{self, Step, Value};
use super::lines::split;
use super::repair::{Repair, Repairs, Tally};
use super::{DONE, Data, Decode, Error, Event, Item, Options, Sink, is_done, release};

/// The decoder.
#[derive(Debug)]
pub struct Values {
    form: Form,
    place: Place,
    /// Where the value or line that is being read leads to.
    next: Place,
    value: Value,
    /// The beginning of the value or line that is being read.
    held: Vec<u8>,
    /// A value made to fit one line.
    compact: Vec<u8>,
    bom: Bom,
    limit: usize,
    /// The array is complete.
    whole: bool,
    /// What stands behind it and is none of it is dropped.
    drops: bool,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Sequence,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the array.
    Start,
    /// Between values.
    Between,
    /// In an object or array.
    InValue,
    /// In a line that is something else.
    InLine,
    /// After the array.
    After,
    /// Behind a bracket after the array.
    Again,
    /// In a line after the array that is dropped.
    InRest,
}

impl Place {
    /// Where a byte leads that says nothing but where in an array it stands.
    fn past(self, byte: u8) -> Option<Place> {
        match (self, byte) {
            (Place::Start, b'[') | (Place::Between, b',') => Some(Place::Between),
            (Place::Between | Place::Again, b']') => Some(Place::After),
            (Place::After, b'[') => Some(Place::Again),
            _ => None,
        }
    }
}

impl Values {
    /// Values that follow each other, of at most `limit` bytes each.
    pub fn sequence(limit: usize) -> Self {
        Values::new(Form::Sequence, Place::Between, limit)
    }

    /// The elements of one array, of at most `limit` bytes each; or one object in its place. Behind it may stand more of
    /// the same, and `[DONE]`, which gateways add.
    pub fn array(options: Options) -> Self {
        let drops = options.repairs.has(Repair::Trailing);
        Values { drops, ..Values::new(Form::Array, Place::Start, options.limit) }
    }

    fn new(form: Form, place: Place, limit: usize) -> Self {
        let (value, bom) = (Value::default(), Bom::default());
        let (held, compact) = (Vec::new(), Vec::new());
        let (next, whole, drops, tally) = (place, false, false, Tally::default());
        Values { form, place, next, value, held, compact, bom, limit, whole, drops, tally }
    }

    /// Reads on where an earlier input ended inside of a value or a line. Returns where the next one can begin;
    /// `None` if all was taken.
    fn resume(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<Option<usize>, Error> {
        let end = if self.place == Place::InLine {
            memchr::memchr2(b'\n', b'\r', input)
        } else {
            match self.value.step(input) {
                Step::More => None,
                Step::End(end) => Some(end),
                Step::Broken(at) => return self.resume_broken(input, at, sink).map(|()| None),
            }
        };
        self.hold(&input[..end.unwrap_or(input.len())])?;
        if end.is_some() {
            let mut held = std::mem::take(&mut self.held);
            self.closed(&held, sink)?;
            release(&mut held);
            self.held = held;
        }
        Ok(end)
    }

    /// The value that is held breaks in `input`: all of it is read anew, in one piece.
    fn resume_broken(&mut self, input: &[u8], at: usize, sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut all = std::mem::take(&mut self.held);
        let broken = all.len() + at;
        all.extend_from_slice(input);
        let from = self.recover(&all, broken, sink)?;
        let rest = from + self.run(&all[from..], sink)?;
        self.hold(&all[rest..])
    }

    /// Reads while nothing is held: values are slices of `input`. Returns where the unfinished one begins.
    fn run(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<usize, Error> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let end = match self.place {
                Place::InLine => memchr::memchr2(b'\n', b'\r', rest),
                Place::InValue => match self.value.step(rest) {
                    Step::More => None,
                    Step::End(end) => Some(end),
                    Step::Broken(broken) => {
                        at += self.recover(rest, broken, sink)?;
                        continue;
                    }
                },
                Place::InRest => {
                    let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { return Ok(input.len()) };
                    self.place = Place::After;
                    at += end;
                    continue;
                }
                Place::Start | Place::Between | Place::After | Place::Again => match self.seek(rest)? {
                    Some(begin) => {
                        at += begin;
                        continue;
                    }
                    None => return Ok(input.len()),
                },
            };
            let Some(end) = end else { return Ok(at) };
            self.fits(end)?;
            self.closed(&rest[..end], sink)?;
            at += end;
        }
    }

    /// Goes on to where something begins, and notes what.
    fn seek(&mut self, input: &[u8]) -> Result<Option<usize>, Error> {
        for (at, byte) in input.iter().enumerate() {
            if let Some(place) = self.place.past(*byte).filter(|_| self.form == Form::Array) {
                self.place = place;
                self.whole |= place == Place::After;
                continue;
            }
            match (self.form, self.place, byte) {
                (_, _, b' ' | b'\t' | b'\n' | b'\r') => continue,
                // RFC 7464 2.1: a record separator before each value.
                (Form::Sequence, _, 0x1e) => continue,
                (Form::Array, Place::Again, b'D') => (self.place, self.next) = (Place::InLine, Place::After),
                // One object in the place of the array is its only element.
                (Form::Array, Place::Start | Place::After, b'{') => {
                    (self.place, self.next) = (Place::InValue, Place::After)
                }
                (_, Place::Between, b'{' | b'[') | (_, Place::Again, b'{') => {
                    (self.place, self.next) = (Place::InValue, Place::Between)
                }
                (Form::Sequence, ..) => (self.place, self.next) = (Place::InLine, Place::Between),
                (Form::Array, Place::Start, _) => self.not_so("not a JSON array")?,
                (Form::Array, ..) => self.not_so("an element of the JSON array is no object")?,
            }
            self.value = Value::default();
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// Something cannot stand where it does. Behind a whole array it is no part of the answer: the rest of its line is
    /// dropped, and counted.
    fn not_so(&mut self, what: &'static str) -> Result<(), Error> {
        match (self.whole, self.drops) {
            (false, _) => Err(Error::Malformed { what }),
            (true, false) => Err(Error::Malformed { what: "something follows the JSON array" }),
            (true, true) => {
                self.place = Place::InRest;
                self.tally.add(Repairs::NONE.with(Repair::Trailing));
                Ok(())
            }
        }
    }

    /// The value at the start of `text` cannot go on at `broken`. Returns where to read on.
    fn recover(&mut self, text: &[u8], broken: usize, sink: &mut Sink<'_>) -> Result<usize, Error> {
        // All of it would be held if it came byte by byte.
        self.fits(broken)?;
        if self.form == Form::Array {
            return self.not_so("an element of the JSON array is not JSON").map(|()| broken);
        }
        let Some(line) = memchr::memrchr2(b'\n', b'\r', &text[..broken]) else {
            self.place = Place::InLine;
            return Ok(0);
        };
        self.place = Place::Between;
        split(&text[..line]).for_each(|line| emit(line, true, sink));
        Ok(line + 1)
    }

    /// Hands out a whole value, or a whole line.
    fn closed(&mut self, item: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let is_value = self.place == Place::InValue;
        self.place = self.next;
        self.whole |= self.place == Place::After;
        if self.form == Form::Array && !is_value {
            return self.line_behind(item, sink);
        }
        if is_value && memchr::memchr2(b'\n', b'\r', item).is_some() {
            json::compact(item, &mut self.compact);
            emit(&self.compact, true, sink);
            release(&mut self.compact);
        } else {
            emit(item, true, sink);
        }
        Ok(())
    }

    /// Takes a line behind the array, without its bracket: the end marker, or nothing.
    fn line_behind(&mut self, line: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        if is_done(&[b"[", line].concat()) {
            emit(DONE.as_bytes(), true, sink);
            return Ok(());
        }
        self.not_so("not a JSON array")?;
        self.place = Place::After;
        Ok(())
    }

    fn fits(&self, length: usize) -> Result<(), Error> {
        if length > self.limit { Err(Error::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fits(self.held.len() + bytes.len())?;
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

impl Decode for Values {
    fn decode(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let (lost, input) = self.bom.strip(input);
        if !lost.is_empty() {
            self.decode(lost, sink)?;
        }
        let from = if self.held.is_empty() { Some(0) } else { self.resume(input, sink)? };
        let Some(from) = from else { return Ok(()) };
        let rest = from + self.run(&input[from..], sink)?;
        self.hold(&input[rest..])
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut held = std::mem::take(&mut self.held);
        let is_open = self.form == Form::Array && matches!(self.place, Place::Between | Place::Again);
        if is_open || self.place == Place::InValue {
            return Err(Error::Truncated);
        }
        if self.form == Form::Array && self.place == Place::InLine {
            self.line_behind(&held, sink)?;
        } else {
            emit(&held, false, sink);
        }
        release(&mut held);
        self.held = held;
        Ok(())
    }

    fn held(&self) -> usize {
        self.held.len()
    }

    fn repaired(&self) -> Tally {
        self.tally
    }
}

fn emit(text: &[u8], closed: bool, sink: &mut Sink<'_>) {
    let text = text.trim_ascii();
    if !text.is_empty() {
        let is_line = memchr::memchr2(b'\n', b'\r', text).is_none();
        let data = if is_line { Data::Line(text) } else { Data::Text(text) };
        sink(Item::Event(Event { data, closed, ..Event::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Owned, assert_any_split, feed, whole};
    use super::*;

    fn sequence() -> Box<dyn Decode> {
        Box::new(Values::sequence(1 << 20))
    }

    fn array() -> Box<dyn Decode> {
        Box::new(array_of(1 << 20))
    }

    fn array_of(limit: usize) -> Values {
        Values::array(Options { limit, repairs: Repairs::auto(false), literal: false })
    }

    /// What was given up as broken was not counted where it came in one piece.
    #[test]
    fn limit_is_the_same_for_every_split_also_of_what_is_broken() {
        for text in [&b"\n [ \",\x10a  \r\r\r\r\r  \n"[..], b"{\"a\n\"b\": {\r\n{\"c\":1}x\n"] {
            for limit in 0..text.len() {
                let fits = |piece: usize| {
                    let mut values = Values::sequence(limit);
                    text.chunks(piece).all(|part| values.decode(part, &mut |_| ()).is_ok())
                };
                let bytewise = fits(1);
                for piece in 2..=text.len() {
                    assert_eq!(fits(piece), bytewise, "limit {limit}, pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn values_of_a_sequence_are_events_however_they_are_set_apart() {
        let want = ["{\"a\":1}", "{\"b\":\"你\"}", "[3]", "{\"d\":{}}"].map(Owned::data);
        for input in [
            "{\"a\":1}\n{\"b\":\"你\"}\r\n\r\n\n  [3]  \r{\"d\":{}}\n",
            "{\"a\":1}{\"b\":\"你\"}[3]{\"d\":{}}",
            "\u{feff}\u{1e}{\"a\":1}\n\u{1e}{\"b\":\"你\"}\n\u{1e}[3]\n\u{1e}{\"d\":{}}\n",
            "{\n  \"a\" : 1\n}\n{\"b\":\n\"你\"}\r\n[\t3\n]{ \"d\":{\r\n}}",
        ] {
            assert_eq!(assert_any_split(sequence, input.as_bytes()), want, "{input:?}");
        }
    }

    #[test]
    fn a_value_on_one_line_keeps_its_bytes() {
        let input = b"{ \"a\" : 1.0 , \"b\":\"\\u4f60\" }\n";
        assert_eq!(whole(sequence(), input), [Owned::data(r#"{ "a" : 1.0 , "b":"\u4f60" }"#)]);
    }

    #[test]
    fn a_value_leaves_with_its_closing_bracket() {
        let mut values = Values::sequence(1 << 20);
        assert_eq!(feed(&mut values, b"{\"a\":"), []);
        assert_eq!(feed(&mut values, b"1}"), [Owned::data("{\"a\":1}")]);
        assert_eq!((feed(&mut values, b"\n").len(), values.held()), (0, 0));
        let mut values = array_of(1 << 20);
        assert_eq!(feed(&mut values, b"[{\n}"), [Owned::data("{}")]);
        assert_eq!(feed(&mut values, b"\n,{}"), [Owned::data("{}")]);
    }

    #[test]
    fn what_is_no_value_is_taken_by_the_line() {
        let got = assert_any_split(sequence, b"{\"a\":1}\noops: no\r\n\"text\"\n7\n{not json}\n{\"b\":2}\n");
        let want = ["{\"a\":1}", "oops: no", "\"text\"", "7", "{not json}", "{\"b\":2}"];
        assert_eq!(got, want.map(Owned::data));
    }

    #[test]
    fn a_value_that_breaks_off_costs_no_value_behind_it() {
        for cut in ["{\"a\":1,", "{\"a\":{\"b\":1}", "{\"a\":\"x", "[1,{", "{\"a\":1,\r\n\"b\""] {
            let input = format!("{cut}\n{{\"c\":3}}\n");
            let got = assert_any_split(sequence, input.as_bytes());
            let lines = cut.split("\r\n").map(Owned::data);
            assert_eq!(got, lines.chain([Owned::data("{\"c\":3}")]).collect::<Vec<_>>(), "{cut:?}");
        }
    }

    #[test]
    fn elements_of_an_array_are_events() {
        let input = b"[{\n  \"t\": \"a [b] {c}, \\\"d\\\"\"\n}\n,\r\n{\"u\":[1,\n2]},[]]\n";
        let want = ["{\"t\":\"a [b] {c}, \\\"d\\\"\"}", "{\"u\":[1,2]}", "[]"].map(Owned::data);
        for piece in [1, 2, 7, 1000] {
            let mut values = array();
            let got: Vec<Owned> = input.chunks(piece).flat_map(|part| feed(&mut *values, part)).collect();
            assert_eq!(got, want, "pieces of {piece}");
            assert_eq!(values.finish(&mut |_| ()), Ok(()));
        }
        assert_eq!(whole(array(), b" [ ] "), []);
        assert_eq!(whole(array(), b"{\"error\":{}}\n"), [Owned::data("{\"error\":{}}")]);
    }

    #[test]
    fn an_array_that_is_none_or_ends_early_is_told_after_its_elements() {
        for (input, count, what) in [
            (&b"[{},1]"[..], 1, "an element of the JSON array is no object"),
            (b"[{},{]", 1, "an element of the JSON array is not JSON"),
            (b"hello", 0, "not a JSON array"),
        ] {
            let (mut values, mut seen) = (array(), 0);
            let result = values.decode(input, &mut |_| seen += 1);
            assert_eq!((result, seen), (Err(Error::Malformed { what }), count));
        }
        for input in [&b"[{}"[..], b"[{},", b"[{},{\"a\":", b"[{}]{", b"[{}]\n["] {
            let mut values = array();
            assert_eq!(feed(&mut *values, input), [Owned::data("{}")]);
            assert_eq!(values.finish(&mut |_| ()), Err(Error::Truncated));
        }
    }

    /// A line end too much, or a gateway's `[DONE]`, made an error of an answer that was whole.
    #[test]
    fn what_stands_behind_an_array_is_more_of_it_or_dropped() {
        for (behind, want, dropped) in [
            ("\r\n \n", &[][..], 0),
            ("\n[DONE]", &["[DONE]"], 0),
            ("[DONE] \n\n", &["[DONE]"], 0),
            ("[{\"b\":1},\n{}]\n[ ]", &["{\"b\":1}", "{}"], 0),
            ("{\"error\":{}}\n[DONE]\n", &["{\"error\":{}}", "[DONE]"], 0),
            ("]\n", &[], 1),
            ("\ndata: [DONE]\r\n{\"b\":2}", &["{\"b\":2}"], 1),
            ("[DONT]\n,\n[7]\n{not}\n{}", &["{}"], 4),
        ] {
            let input = format!("[{{\"a\":1}}]{behind}");
            for piece in [1, 2, 5, 1000] {
                let (mut values, mut items) = (array(), Vec::new());
                for part in input.as_bytes().chunks(piece) {
                    items.extend(feed(&mut *values, part));
                }
                values.finish(&mut |item| items.push(Owned::from(item))).unwrap();
                let want: Vec<_> = ["{\"a\":1}"].iter().chain(want).map(|data| Owned::data(data)).collect();
                assert_eq!(
                    (items, values.repaired().count),
                    (want, dropped),
                    "{input:?} in pieces of {piece}"
                );
            }
        }
        let mut strict = Values::array(Options { limit: 100, repairs: Repairs::NONE, literal: false });
        assert_eq!(feed(&mut strict, b"[{}][DONE]\n").len(), 2);
        let what = "something follows the JSON array";
        assert_eq!(strict.decode(b"x", &mut |_| ()), Err(Error::Malformed { what }));
    }

    #[test]
    fn an_unclosed_last_value_is_a_truncation_and_an_unclosed_line_is_handed_out_as_such() {
        for cut in ["{\"a\":1}\n{\"b\":", "{\"a\":1}[\"b\"\n"] {
            let (mut values, mut items) = (Values::sequence(100), Vec::new());
            values.decode(cut.as_bytes(), &mut |item| items.push(Owned::from(item))).unwrap();
            let end = values.finish(&mut |item| items.push(Owned::from(item)));
            assert_eq!((items, end), (vec![Owned::data("{\"a\":1}")], Err(Error::Truncated)), "{cut}");
        }
        let got = whole(sequence(), b"{\"a\":1}\nno");
        assert_eq!(got, [Owned::data("{\"a\":1}"), Owned { closed: false, ..Owned::data("no") }]);
    }

    #[test]
    fn a_value_past_the_limit_is_refused_however_it_comes() {
        for make in [Values::sequence, array_of] {
            for (input, fits) in
                [(&b"[{\"a\":12}]"[..], true), (b"[{\"a\":123456}]", false), (b"xxxxxxxxxxxxxxxxxx", false)]
            {
                for piece in [1, 3, 20] {
                    let mut values = make(if fits { 10 } else { 9 });
                    let result = input.chunks(piece).try_for_each(|part| values.decode(part, &mut |_| ()));
                    assert_eq!(result.is_ok(), fits, "{input:?} in pieces of {piece}");
                }
            }
        }
    }
}
