//! The program's allocator: jemalloc, told to give memory back to the system soon.
//!
//! It is set up here and not by options at build time, so that every build of the program has it, also one of
//! `cargo install`. Only the program has it: the library and its tests run on what they are given.

use tikv_jemalloc_ctl::{Access, AsName, Error};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Has pages that were freed go back to the system after [`DECAY_MS`], by a thread of jemalloc's own where it has one:
/// what a burst of streams took is otherwise kept until somebody allocates.
///
/// # Errors
/// jemalloc was built without background threads (with musl). Pages go back all the same, but only while there is work.
pub(crate) fn give_back_soon() -> Result<(), Error> {
    for name in [NEW_ARENAS, FIRST_ARENA] {
        AsName::name(name).write(DECAY_MS)?;
    }
    tikv_jemalloc_ctl::background_thread::write(true)
}

/// How long freed pages are kept for the next allocation: long enough that a busy worker does not ask the system for
/// them again and again.
const DECAY_MS: isize = 1_000;

/// jemalloc(3), `arenas.dirty_decay_ms`.
const NEW_ARENAS: &[u8] = b"arenas.dirty_decay_ms\0";
/// jemalloc(3), `arena.<i>.dirty_decay_ms`: the one that is there when the program begins.
const FIRST_ARENA: &[u8] = b"arena.0.dirty_decay_ms\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_soon_once_it_is_set_up() {
        give_back_soon().expect("set up");
        let decay: isize = AsName::name(NEW_ARENAS).read().expect("known");
        let first: isize = AsName::name(FIRST_ARENA).read().expect("known");
        assert_eq!((decay, first), (DECAY_MS, DECAY_MS));
        assert!(tikv_jemalloc_ctl::background_thread::read().expect("known"));
        // The allocations of this program are jemalloc's: its count moves with them.
        let allocated = || {
            tikv_jemalloc_ctl::epoch::advance().expect("known");
            tikv_jemalloc_ctl::stats::allocated::read().expect("known")
        };
        let before = allocated();
        let block = vec![1_u8; 64 << 20];
        // Less what others give back meanwhile.
        assert!(allocated() >= before + block.len() / 2);
    }
}
