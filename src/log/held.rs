//! Access lines on their way to standard error.
//!
//! A worker holds them back for as long as it has something to do, and writes them before it sleeps: behind what its
//! clients are waiting for, since a write takes as long as whoever reads the log lets it, and several in one write. A
//! thread that does not hold writes each at once. Called by [`super`] and, through it, by [`crate::server`].
//!
//! Invariant: a write ends with a line, and is larger than [`PIPE_BUF`] only if its one line is, so that in a pipe the
//! lines of several workers do not mix (POSIX.1-2024, `write`: atomic up to `PIPE_BUF`).

use std::cell::RefCell;
use std::io::{self, Write};

/// The lines that a thread has not written yet.
#[derive(Debug, Default)]
struct Held {
    holds: bool,
    lines: Vec<u8>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// This thread calls [`write`] from now on whenever it has nothing else to do; until then its lines wait.
pub(crate) fn hold() {
    HELD.with_borrow_mut(|held| held.holds = true);
}

/// Writes the lines that wait.
pub(crate) fn write() {
    HELD.with_borrow_mut(|held| held.write(&mut io::stderr()));
}

/// Writes what is waiting, and from now on every line at once.
pub(crate) fn release() {
    HELD.with_borrow_mut(|held| {
        held.holds = false;
        held.write(&mut io::stderr());
    });
}

/// Takes one more line, which `put` appends.
pub(super) fn line(put: impl FnOnce(&mut Vec<u8>)) {
    HELD.with_borrow_mut(|held| held.line(put, &mut io::stderr()));
}

impl Held {
    fn line(&mut self, put: impl FnOnce(&mut Vec<u8>), out: &mut impl Write) {
        let before = self.lines.len();
        put(&mut self.lines);
        if before > 0 && self.lines.len() > PIPE_BUF {
            let line = self.lines.split_off(before);
            self.write(out);
            self.lines = line;
        }
        if !self.holds || self.lines.len() > PIPE_BUF {
            self.write(out);
        }
    }

    fn write(&mut self, out: &mut impl Write) {
        if !self.lines.is_empty() {
            // Nobody can be told that nobody can be told anything.
            let _ = out.write_all(&self.lines);
            self.lines.clear();
            self.lines.shrink_to(KEEP_BYTES);
        }
    }
}

/// That of Linux.
const PIPE_BUF: usize = 4096;

/// Room for lines that a thread may keep: the one that did not fit comes behind a full pipe's worth.
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
        held.line(|lines| lines.extend_from_slice(line.as_bytes()), out);
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
