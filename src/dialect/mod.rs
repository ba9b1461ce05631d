//! What the events of a stream mean.

/// One dialect.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
}

/// Every dialect.
pub static DIALECTS: &[&Dialect] = &[];
