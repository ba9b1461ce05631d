//! What clients are sent: one file and one line in [`BRIDGES`] per wire form.

pub mod sse;

/// One client wire form.
#[derive(Debug)]
pub struct Bridge {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
}

/// Every bridge, in the order of `tidegate formats`.
pub static BRIDGES: &[&Bridge] = &[&sse::SSE];
