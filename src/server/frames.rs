//! What passes on an HTTP/2 connection, by the heads of its frames (RFC 9113 4.1): seen, never touched.
//!
//! hyper and h2 read HTTP/2; this only counts what they tell nobody. Two things are known here alone:
//!
//! - **Requests that h2 refused.** A malformed head, or one stream too many, is reset before the handler hears of it.
//!   The client opened more streams than the handler was called for, and the difference gets its access lines. h2
//!   does not say which stream it refused, but what it wrote does say why.
//! - **Floods.** A client may send frames that cost it nothing and get it nothing for ever: PING, SETTINGS, empty DATA,
//!   streams that are opened and reset (CVE-2023-44487, CVE-2019-9512 and its kin). h2 bounds what they keep in memory
//!   and the resets that it sees before a stream is accepted; what they cost per second is bounded by [`Allowance`].
//!
//! Pure: bytes and time in, counts out. Fed by [`super::tap`], asked by [`super::driver`] and [`super::connection`].

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::stream::Cause;

/// Both directions of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    inbound: Walker,
    outbound: Walker,
    /// The highest stream that the client opened.
    newest: u32,
    /// Inside a header block that goes on in another frame: whether it opens a stream.
    block: Option<bool>,
    /// Streams whose header block is complete.
    opened: u64,
    /// Streams that the handler was called for.
    handled: u64,
    /// Streams that [`Frames::refused`] told of.
    told: u64,
    /// Why h2 reset streams, since the last time that it was asked.
    resets: VecDeque<Cause>,
    allowance: Allowance,
    flooded: bool,
}

/// What a client may send for nothing. Spent by frames that carry no request and no part of one, earned by time, by
/// requests, and by what the client is sent, which it must acknowledge.
#[derive(Debug)]
struct Allowance {
    level: u64,
    /// Until when time was counted.
    counted: Instant,
    /// Bytes written that were not counted yet.
    bytes: u64,
}

/// Finds the frames in a stream of bytes that is cut anywhere.
#[derive(Debug)]
struct Walker {
    head: [u8; HEAD],
    /// How much of `head` is there.
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// The first bytes of the payload.
    code: [u8; 4],
}

/// A frame that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    /// The first four bytes of the payload, which in RST_STREAM are the reason.
    code: u32,
}

impl Frames {
    /// A connection on which nothing was read; it begins with the preface of the client.
    pub(super) fn new() -> Self {
        Frames {
            inbound: Walker::after(PREFACE_LENGTH),
            outbound: Walker::after(0),
            newest: 0,
            block: None,
            opened: 0,
            handled: 0,
            told: 0,
            resets: VecDeque::new(),
            allowance: Allowance { level: FULL, counted: Instant::now(), bytes: 0 },
            flooded: false,
        }
    }

    /// Bytes from the client. `false` once it has sent more than it may for nothing; then the connection must end.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let Frames { inbound, newest, block, opened, allowance, .. } = self;
        let mut within = true;
        allowance.pass_time();
        inbound.feed(bytes, |frame| {
            let ends = frame.flags & END_HEADERS != 0;
            let opens = match frame.kind {
                HEADERS => {
                    let opens = frame.stream > *newest;
                    *newest = frame.stream.max(*newest);
                    *block = (!ends).then_some(opens);
                    opens && ends
                }
                CONTINUATION if ends => block.take() == Some(true),
                _ => false,
            };
            if opens {
                *opened += 1;
                allowance.earn(REQUEST);
            }
            within &= match frame.kind {
                HEADERS => true,
                DATA => frame.length > 0 || frame.flags & END_STREAM != 0 || allowance.spend(ANY),
                RST_STREAM => allowance.spend(RESET),
                _ => allowance.spend(ANY),
            };
        });
        self.flooded |= !within;
        !self.flooded
    }

    /// Bytes to the client.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.allowance.earn_bytes(bytes.len());
        let resets = &mut self.resets;
        self.outbound.feed(bytes, |frame| match (frame.kind, frame.code) {
            (RST_STREAM, PROTOCOL_ERROR) => resets.push_back(Cause::ClientMalformed),
            (RST_STREAM, REFUSED_STREAM) => resets.push_back(Cause::ClientTooManyStreams),
            _ => {}
        });
    }

    /// The handler is called.
    pub(super) fn handle(&mut self) {
        self.handled += 1;
    }

    /// The streams that were refused and not told of yet: for each of them why h2 reset it, `None` if it did not. To be
    /// asked when h2 has seen to everything that it has read and has written what it had to say, or when it will do
    /// nothing any more.
    pub(super) fn refused(&mut self) -> impl Iterator<Item = Option<Cause>> + use<> {
        let count = self.opened.saturating_sub(self.handled + self.told);
        self.told += count;
        let mut resets = std::mem::take(&mut self.resets);
        // A reset that is about no refused stream is about one that the handler has, which has its line.
        (0..count).map(move |_| resets.pop_front())
    }

    /// Whether the head of a request has begun and not ended.
    pub(super) fn is_inside_head(&self) -> bool {
        self.block == Some(true)
    }

    /// Whether the client sent more than it may for nothing.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded
    }
}

impl Allowance {
    fn pass_time(&mut self) {
        if self.level < FULL {
            let now = Instant::now();
            let passed = now.duration_since(self.counted);
            let earned =
                u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(PER_SECOND) / 1000;
            if earned > 0 {
                self.counted = now;
                self.earn(earned);
            }
        } else {
            self.counted = Instant::now();
        }
    }

    fn earn(&mut self, amount: u64) {
        self.level = self.level.saturating_add(amount).min(FULL);
    }

    fn earn_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.earn(self.bytes / BYTES);
        self.bytes %= BYTES;
    }

    /// `false` if there is not enough.
    fn spend(&mut self, amount: u64) -> bool {
        let enough = self.level >= amount;
        self.level = self.level.saturating_sub(amount);
        enough
    }
}

impl Walker {
    /// A walker that lets `bytes` go by before the first frame.
    fn after(bytes: usize) -> Self {
        let have = if bytes > 0 { HEAD } else { 0 };
        Walker { head: SKIPPED, have, left: bytes, code: [0; 4] }
    }

    /// Calls `seen` for each frame whose last byte is in `bytes`.
    fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let taken = match self.have {
                HEAD => self.take_payload(bytes),
                _ => self.take_head(bytes),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.have == HEAD && self.left == 0 {
                if self.head != SKIPPED {
                    seen(self.frame());
                }
                self.have = 0;
            }
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> usize {
        let room = &mut self.head[self.have..];
        let taken = room.len().min(bytes.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have == HEAD {
            self.left = self.length();
            self.code = [0; 4];
        }
        taken
    }

    fn take_payload(&mut self, bytes: &[u8]) -> usize {
        let taken = self.left.min(bytes.len());
        let passed = self.length().saturating_sub(self.left);
        for (slot, byte) in self.code.iter_mut().skip(passed).zip(&bytes[..taken]) {
            *slot = *byte;
        }
        self.left -= taken;
        taken
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.head;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    fn frame(&self) -> Frame {
        let [_, _, _, kind, flags, stream @ ..] = self.head;
        Frame {
            length: self.length(),
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            code: u32::from_be_bytes(self.code),
        }
    }
}

/// Length of the head of a frame.
const HEAD: usize = 9;

/// Stands for what is no frame; no frame has a type and a reserved bit like that.
const SKIPPED: [u8; HEAD] = [0xff; HEAD];

/// RFC 9113 3.4.
const PREFACE_LENGTH: usize = 24;

/// Types of frames (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// Flags.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Reasons (RFC 9113 7).
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;

/// What a client has at first, and at most.
const FULL: u64 = 10_000;

/// What it earns by waiting: more PING, SETTINGS and WINDOW_UPDATE frames than any client has use for.
const PER_SECOND: u64 = 1_000;

/// Bytes that it is sent for each one that it earns: a large download is acknowledged in pieces of some KiB.
const BYTES: u64 = 1 << 10;

/// What a request earns: half of what it costs to reset one. Whoever takes back fewer than every second request, as a
/// proxy with many users behind it, never runs out; whoever takes back all runs out after 400.
const REQUEST: u64 = 25;

/// What it costs to reset a stream: the upstream may have been asked already.
const RESET: u64 = 50;

/// What any other frame costs.
const ANY: u64 = 1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.read(&[b'x'; PREFACE_LENGTH]));
        frames
    }

    fn refused(frames: &mut Frames) -> Vec<Option<Cause>> {
        frames.refused().collect()
    }

    #[test]
    fn frames_are_found_at_any_split() {
        let all = [
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, b"head"),
            frame(RST_STREAM, 0, 1 | 1 << 31, &[0, 0, 0, 8]),
            frame(DATA, END_STREAM, 3, &[7; 300]),
        ]
        .concat();
        for size in [1, 2, 3, 8, 9, 10, 13, all.len()] {
            let mut walker = Walker::after(2);
            let mut seen = Vec::new();
            for piece in [b"..".as_slice(), &all].concat().chunks(size) {
                walker.feed(piece, |frame| seen.push(frame));
            }
            let heads: Vec<_> = seen.iter().map(|frame| (frame.kind, frame.stream, frame.length)).collect();
            assert_eq!(heads, [(4, 0, 0), (HEADERS, 1, 4), (RST_STREAM, 1, 4), (DATA, 3, 300)], "{size}");
            assert_eq!((seen[2].code, seen[3].flags), (8, END_STREAM));
        }
    }

    #[test]
    fn stream_that_the_handler_never_saw_is_told_once_with_its_reason() {
        let mut frames = begun();
        for stream in [1, 3, 5] {
            frames.read(&frame(HEADERS, END_HEADERS, stream, b"head"));
        }
        frames.handle();
        frames.wrote(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 1]));
        frames.wrote(&frame(RST_STREAM, 0, 5, &[0, 0, 0, 7]));
        assert_eq!(refused(&mut frames), [Some(Cause::ClientMalformed), Some(Cause::ClientTooManyStreams)]);
        assert_eq!(refused(&mut frames), [None; 0]);
        // A stream that the handler has may be reset too.
        frames.wrote(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 1]));
        assert_eq!(refused(&mut frames), [None; 0]);
        // Trailers open nothing.
        frames.read(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"trailers"));
        assert_eq!(refused(&mut frames), [None; 0]);
    }

    #[test]
    fn head_in_pieces_counts_when_it_is_complete() {
        let mut frames = begun();
        frames.read(&frame(HEADERS, 0, 1, b"he"));
        assert!(frames.is_inside_head());
        frames.read(&frame(CONTINUATION, 0, 1, b"a"));
        assert_eq!(refused(&mut frames), [None; 0]);
        frames.read(&frame(CONTINUATION, END_HEADERS, 1, b"d"));
        assert!(!frames.is_inside_head());
        assert_eq!(refused(&mut frames), [None]);
    }

    /// Feeds `flood` again and again; how often it was taken.
    fn taken(frames: &mut Frames, mut flood: impl FnMut(u32) -> Vec<u8>, most: u32) -> u32 {
        (0..most).find(|number| !frames.read(&flood(*number))).unwrap_or(most)
    }

    #[tokio::test(start_paused = true)]
    async fn frames_for_nothing_are_taken_until_the_allowance_is_spent_and_time_fills_it() {
        for kind in [DATA, 2, 4, 6, 8, CONTINUATION, 0xee] {
            let mut frames = begun();
            assert_eq!(taken(&mut frames, |_| frame(kind, 0, 1, &[]), 100_000), 10_000, "{kind}");
            assert!(frames.is_flooded());
        }
        let mut frames = begun();
        for _ in 0..100 {
            assert_eq!(taken(&mut frames, |_| frame(6, 0, 0, &[0; 8]), 900), 900);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[test]
    fn acknowledged_download_and_upload_are_no_flood() {
        let mut frames = begun();
        for _ in 0..100_000 {
            frames.wrote(&frame(DATA, 0, 1, &[0; 4 << 10]));
            assert!(frames.read(&frame(8, 0, 0, &[0; 4])) && frames.read(&frame(8, 0, 1, &[0; 4])));
            assert!(frames.read(&frame(DATA, 0, 1, &[0; 100])));
        }
    }

    #[test]
    fn requests_that_are_all_taken_back_are_a_flood_and_every_second_one_is_none() {
        let open = |stream| frame(HEADERS, END_HEADERS, stream, b"head");
        let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        let mut frames = begun();
        let pair = |number: u32| [open(2 * number + 1), reset(2 * number + 1)].concat();
        assert!((390..410).contains(&taken(&mut frames, pair, 10_000)));
        let mut frames = begun();
        let three =
            |number: u32| [open(4 * number + 1), open(4 * number + 3), reset(4 * number + 1)].concat();
        assert_eq!(taken(&mut frames, three, 10_000), 10_000);
    }
}
