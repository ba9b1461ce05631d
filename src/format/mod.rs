//! What an upstream sends.

/// One format.
#[derive(Debug)]
pub struct Format {
    /// Its name in the config and in the log.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
    /// Media types that announce it.
    pub media_types: &'static [&'static str],
}

/// Every format.
pub static FORMATS: &[&Format] = &[];
