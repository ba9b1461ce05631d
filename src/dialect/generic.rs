//! Any other stream of an AI upstream: nothing is known of its events, so nothing is judged by them.

use super::{Dialect, Sign, common_error};

/// No finish sign: a clean end is complete. Errors are told in the common form.
pub static GENERIC: Dialect = Dialect {
    name: "generic",
    doc: "anything else: a clean end counts as complete, a broken one ends with an error event",
    paths: &[],
    confirms: |_| true,
    sign: |event| if event.name == Some(b"error") { Sign::Error } else { Sign::Plain },
    has_finish: false,
    error: common_error,
};
