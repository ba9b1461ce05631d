//! Feeds decoders in every way that a network can: whole, byte by byte, cut anywhere, with bytes behind it.

use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};

use super::sse::{data_lines, unknown_lines};
use super::{Data, Decode, Item};

/// An item with everything copied out, so that tests can compare it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owned {
    pub(crate) comment: Option<Vec<u8>>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) retry: Option<Vec<u8>>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) unknown: Vec<String>,
    pub(crate) canonical: bool,
    pub(crate) closed: bool,
    pub(crate) error: bool,
}

impl Owned {
    pub(crate) fn data(data: &str) -> Self {
        Owned { data: Some(data.into()), closed: true, ..Owned::default() }
    }

    pub(crate) fn comment(text: &str) -> Self {
        Owned { comment: Some(text.into()), ..Owned::default() }
    }

    pub(crate) fn canonical(self) -> Self {
        Owned { canonical: true, ..self }
    }

    /// Without the one thing that may depend on the cuts: whether the bytes could be borrowed as they are.
    pub(crate) fn without_form(self) -> Self {
        Owned { canonical: false, ..self }
    }

    pub(crate) fn from(item: Item<'_>) -> Self {
        let event = match item {
            Item::Comment(text) => return Owned { comment: Some(text.to_vec()), ..Owned::default() },
            Item::Event(event) => event,
        };
        Owned {
            comment: None,
            name: event.name.map(<[u8]>::to_vec),
            id: event.id.map(<[u8]>::to_vec),
            retry: event.retry.map(<[u8]>::to_vec),
            data: match event.data {
                Data::None => None,
                Data::Line(line) => Some(line.to_vec()),
                Data::Block(block) => Some(data_lines(block).collect::<Vec<_>>().join(&b'\n')),
                Data::Text(text) => Some(text.to_vec()),
            },
            unknown: event
                .unknown
                .map(|block| unknown_lines(block).map(|line| String::from_utf8_lossy(line).into()).collect())
                .unwrap_or_default(),
            canonical: event.canonical.is_some(),
            closed: event.closed,
            error: event.error,
        }
    }
}

/// One input; the items it completes.
pub(crate) fn feed(decoder: &mut dyn Decode, input: &[u8]) -> Vec<Owned> {
    let mut items = Vec::new();
    decoder.decode(input, &mut |item| items.push(Owned::from(item))).unwrap();
    items
}

fn finish(decoder: &mut dyn Decode) -> Vec<Owned> {
    let mut items = Vec::new();
    decoder.finish(&mut |item| items.push(Owned::from(item))).unwrap();
    items
}

/// The whole stream in one input, then its end.
pub(crate) fn whole(mut decoder: Box<dyn Decode>, input: &[u8]) -> Vec<Owned> {
    let mut items = feed(&mut *decoder, input);
    items.extend(finish(&mut *decoder));
    items
}

/// The stream cut at these places, then its end.
pub(crate) fn cut(
    mut decoder: Box<dyn Decode>,
    input: &[u8],
    cuts: &[proptest::sample::Index],
) -> Vec<Owned> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    let mut items = Vec::new();
    for pair in places.windows(2) {
        items.extend(feed(&mut *decoder, &input[pair[0]..pair[1]]));
    }
    items.extend(finish(&mut *decoder));
    items
}

/// Feeds a stream of complete items whole, byte by byte, in two, cut at random, and with bytes behind it, and
/// asserts that the items are the same each time. Returns them.
pub(crate) fn assert_any_split(decoder: fn() -> Box<dyn Decode>, input: &[u8]) -> Vec<Owned> {
    let want = whole(decoder(), input);
    let mut bytewise = decoder();
    let mut got = Vec::new();
    for byte in input {
        assert_eq!(feed(&mut *bytewise, &[]), [], "an empty input completes nothing");
        got.extend(feed(&mut *bytewise, &[*byte]));
    }
    got.extend(finish(&mut *bytewise));
    assert_eq!(got, want, "byte by byte");
    for at in 0..=input.len() {
        let mut decoder = decoder();
        let mut got = feed(&mut *decoder, &input[..at]);
        got.extend(feed(&mut *decoder, &input[at..]));
        got.extend(finish(&mut *decoder));
        assert_eq!(got, want, "cut at {at}");
    }
    let mut trailing = decoder();
    let got = feed(&mut *trailing, &[input, b"data: tai"].concat());
    assert_eq!(got, want, "with trailing bytes");
    assert!(trailing.held() > 0, "the trailing bytes are held");
    TestRunner::new(Config::with_cases(64))
        .run(&proptest::collection::vec(any::<proptest::sample::Index>(), 0..12), |cuts| {
            assert_eq!(cut(decoder(), input, &cuts), want, "cut at random");
            Ok(())
        })
        .unwrap();
    want
}
