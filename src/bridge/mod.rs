//! What a client is sent.

/// One bridge.
#[derive(Debug)]
pub struct Bridge {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
}

/// Every bridge.
pub static BRIDGES: &[&Bridge] = &[];
