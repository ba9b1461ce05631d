//! Frames that carry nothing: SETTINGS, PING, RST_STREAM, GOAWAY, PRIORITY, WINDOW_UPDATE, interim responses, empty DATA.
//!
//! Each is legal, and h2 answers or drops each of them in constant memory; without end they are an attack on time that
//! no timeout of a request names (RFC 9113 10.5). So they are paid for: a connection has a credit, from which each such
//! frame takes its length; what the upstream is there for, requests and bodies both ways, fills it up again.
//! Pure: it is shown the bytes as they are read, in any split.

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Ledger {
    credit: u64,
    /// The head of a frame (RFC 9113 4.1), as far as it is there.
    head: [u8; HEAD_BYTES],
    seen: usize,
    /// What is still to come of the frame's payload.
    payload: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger { credit: CREDIT, head: [0; HEAD_BYTES], seen: 0, payload: 0 }
    }
}

impl Ledger {
    /// A request was sent: it may be answered with a head, and with more than one.
    pub(super) fn asked(&mut self) {
        self.earn(REQUEST_CREDIT);
    }

    /// A piece of a request body goes up: it is answered with WINDOW_UPDATEs.
    pub(super) fn uploaded(&mut self, bytes: usize) {
        self.earn(UPLOAD_CREDIT + bytes as u64 / UPLOAD_SHARE);
    }

    /// Takes what was read. `false` once there were too many frames that carry nothing.
    #[must_use]
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD_BYTES - self.seen).min(bytes.len());
            self.head[self.seen..self.seen + taken].copy_from_slice(&bytes[..taken]);
            self.seen += taken;
            bytes = &bytes[taken..];
            if self.seen == HEAD_BYTES {
                self.seen = 0;
                let [high, middle, low, kind, flags, ..] = self.head;
                self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if !self.frame(kind, flags) {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self, kind: u8, flags: u8) -> bool {
        let padding = if flags & PADDED != 0 { MAX_PADDING } else { 0 };
        if kind == DATA && self.payload > padding {
            self.earn((self.payload - padding) as u64 * BODY_FACTOR);
            return true;
        }
        let cost = (HEAD_BYTES + self.payload) as u64;
        self.credit.checked_sub(cost).map(|left| self.credit = left).is_some()
    }

    fn earn(&mut self, credit: u64) {
        self.credit = self.credit.saturating_add(credit).min(CREDIT);
    }
}

const HEAD_BYTES: usize = 9;

/// RFC 9113 6.1: the type and the flag of DATA; a length byte, and as much as it can say.
const DATA: u8 = 0;
const PADDED: u8 = 8;
const MAX_PADDING: usize = 256;

/// What a connection has at the beginning and at the most: a hundred thousand empty frames.
const CREDIT: u64 = 1 << 20;

/// For each request: the largest head that is taken.
const REQUEST_CREDIT: u64 = 64 << 10;

/// For each byte of a body: a byte in a frame of its own may come with a frame that carries nothing.
const BODY_FACTOR: u64 = 16;

/// For each piece of a request body, however small, two WINDOW_UPDATEs of 13 bytes and some; and for each KiB of it one more.
const UPLOAD_CREDIT: u64 = 64;
const UPLOAD_SHARE: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, _, _, _, _, high, middle, low] = (payload as u64).to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + payload, 0xff);
        frame
    }

    /// How many of these frames are taken, in pieces of `piece` bytes.
    fn taken(frame: &[u8], piece: usize) -> usize {
        let mut ledger = Ledger::default();
        (0..200_000).take_while(|_| frame.chunks(piece).all(|bytes| ledger.read(bytes))).count()
    }

    #[test]
    fn frames_that_carry_nothing_come_to_an_end_in_any_split() {
        for (name, frame) in [
            ("SETTINGS", frame(4, 0, 0)),
            ("PING", frame(6, 0, 8)),
            ("RST_STREAM", frame(3, 0, 4)),
            ("HEADERS", frame(1, 4, 1)),
            ("empty DATA", frame(DATA, 0, 0)),
            ("DATA that is padding", frame(DATA, PADDED, MAX_PADDING)),
        ] {
            let most = CREDIT as usize / frame.len();
            for piece in [1, 7, frame.len()] {
                assert_eq!(taken(&frame, piece), most, "{name} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn bodies_go_on_for_ever_also_in_small_frames_with_pings_between() {
        assert_eq!(taken(&frame(DATA, 0, 1), 4), 200_000);
        assert_eq!(taken(&[frame(DATA, 0, 2), frame(6, 0, 8)].concat(), 5), 200_000);
    }

    #[test]
    fn upload_in_small_pieces_may_be_answered_with_window_updates_for_each() {
        let updates = frame(8, 0, 4).repeat(2);
        let mut ledger = Ledger::default();
        for _ in 0..200_000 {
            ledger.uploaded(1);
            assert!(ledger.read(&updates));
        }
    }

    #[test]
    fn requests_and_uploads_fill_the_credit_up_but_not_over() {
        let (settings, mut ledger) = (frame(4, 0, 0), Ledger::default());
        let drain = |ledger: &mut Ledger| (0..).take_while(|_| ledger.read(&settings)).count();
        // What is left of the credit before may be most of a frame.
        let about = |taken: usize, credit: u64| taken.abs_diff(credit as usize / HEAD_BYTES) <= 1;
        drain(&mut ledger);
        ledger.asked();
        assert!(about(drain(&mut ledger), REQUEST_CREDIT));
        ledger.uploaded(16 << 10);
        assert!(about(drain(&mut ledger), 64 + 512));
        ledger.uploaded(usize::MAX);
        assert!(about(drain(&mut ledger), CREDIT));
    }
}
