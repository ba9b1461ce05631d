//! Access lines on their way to standard error.
//!
//! A worker holds them back for as long as it has something to do, and writes them before it sleeps: behind what its
//! clients are waiting for, since a write takes as long as whoever reads the log lets it, and many in few writes. One that
//! does not come to sleep writes them with the first line that comes [`MAX_AGE`] after the oldest, or behind
//! [`MAX_BYTES`]. A thread that does not hold writes each at once. Called by [`super`] and, through it, by
//! [`crate::server`].
//!
//! Invariant: a write ends with a line, and is larger than [`PIPE_BUF`] only if its one line is, so that in a pipe the
//! lines of several processes do not mix (POSIX.1-2024, `write`: atomic up to `PIPE_BUF`).

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The lines that a thread has not written yet.
#[derive(Debug, Default)]
struct Held {
    holds: bool,
    lines: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// While it lives, this thread holds lines back; then it writes what waits, and from then on every line at once.
#[derive(Debug)]
pub(crate) struct Hold(());

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// This thread calls [`write()`] from now on whenever it has nothing else to do; until then its lines wait.
pub(crate) fn hold() -> Hold {
    HELD.with_borrow_mut(|held| held.holds = true);
    Hold(())
}

/// Writes the lines that wait.
pub(crate) fn write() {
    HELD.with_borrow_mut(|held| held.write(&mut io::stderr()));
}

/// Takes one more line, which `put` appends.
pub(super) fn line(put: impl FnOnce(&mut Vec<u8>)) {
    HELD.with_borrow_mut(|held| held.line(put, Instant::now(), &mut io::stderr()));
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            held.holds = false;
            held.write(&mut io::stderr());
        });
    }
}

impl Held {
    fn line(&mut self, put: impl FnOnce(&mut Vec<u8>), now: Instant, out: &mut impl Write) {
        put(&mut self.lines);
        let since = *self.since.get_or_insert(now);
        if !self.holds || self.lines.len() > MAX_BYTES || now.duration_since(since) > MAX_AGE {
            self.write(out);
        }
    }

    fn write(&mut self, out: &mut impl Write) {
        let mut rest = self.lines.as_slice();
        while !rest.is_empty() {
            let (lines, behind) = rest.split_at(whole_lines(rest));
            // Nobody can be told that nobody can be told anything.
            let _ = out.write_all(lines);
            rest = behind;
        }
        self.lines.clear();
        self.lines.shrink_to(KEEP_BYTES);
        self.since = None;
    }
}

/// How long the lines are, of those that `lines` begins with, that fit a pipe; the first in any case.
fn whole_lines(lines: &[u8]) -> usize {
    let fitting = &lines[..lines.len().min(PIPE_BUF)];
    let end = memchr::memrchr(b'\n', fitting).or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

/// That of Linux.
const PIPE_BUF: usize = 4096;

/// Lines that wait at the most.
const MAX_BYTES: usize = 256 << 10;

/// How long a line waits at the most, if another comes.
const MAX_AGE: Duration = Duration::from_millis(100);

/// Room for lines that a thread may keep.
const KEEP_BYTES: usize = 2 * PIPE_BUF;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each write by itself.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn put(held: &mut Held, line: &str, out: &mut Writes) {
        held.line(|lines| lines.extend_from_slice(line.as_bytes()), Instant::now(), out);
    }

    #[test]
    fn line_is_written_at_once_where_none_are_held() {
        let (mut held, mut out) = (Held::default(), Writes::default());
        put(&mut held, "a\n", &mut out);
        put(&mut held, "b\n", &mut out);
        assert_eq!(out.0, ["a\n", "b\n"]);
    }

    #[test]
    fn held_lines_leave_in_one_write_and_once() {
        let (mut held, mut out) = (Held { holds: true, ..Held::default() }, Writes::default());
        put(&mut held, "a\n", &mut out);
        put(&mut held, "b\n", &mut out);
        assert!(out.0.is_empty(), "they wait");
        held.write(&mut out);
        held.write(&mut out);
        assert_eq!(out.0, ["a\nb\n"]);
    }

    #[test]
    fn line_that_comes_late_takes_all_along() {
        let (mut held, mut out) = (Held { holds: true, ..Held::default() }, Writes::default());
        let start = Instant::now();
        for (line, after) in [("a\n", 0), ("b\n", 100), ("c\n", 101), ("d\n", 102)] {
            let now = start + Duration::from_millis(after);
            held.line(|lines| lines.extend_from_slice(line.as_bytes()), now, &mut out);
        }
        assert_eq!(out.0, ["a\nb\nc\n"], "and the last begins anew");
    }

    #[test]
    fn lines_wait_up_to_a_bound() {
        let (mut held, mut out) = (Held { holds: true, ..Held::default() }, Writes::default());
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..MAX_BYTES / line.len() {
            put(&mut held, &line, &mut out);
        }
        assert!(out.0.is_empty(), "they fit");
        put(&mut held, &line, &mut out);
        assert_eq!(out.0.concat().len(), MAX_BYTES + line.len());
        assert!(out.0.iter().all(|write| write.len() <= PIPE_BUF && write.ends_with('\n')));
    }

    #[test]
    fn writes_are_whole_lines_and_fit_a_pipe() {
        let (mut held, mut out) = (Held { holds: true, ..Held::default() }, Writes::default());
        let line = |length: usize| format!("{}\n", "x".repeat(length - 1));
        for length in [2_000, 2_000, 96, 1, PIPE_BUF, 10, PIPE_BUF + 1, 5] {
            put(&mut held, &line(length), &mut out);
        }
        held.write(&mut out);
        let lengths: Vec<usize> = out.0.iter().map(String::len).collect();
        assert_eq!(lengths, [PIPE_BUF, 1, PIPE_BUF, 10, PIPE_BUF + 1, 5]);
        assert!(out.0.iter().all(|write| write.ends_with('\n')));
        assert!(held.lines.capacity() <= KEEP_BYTES, "{}", held.lines.capacity());
    }
}
