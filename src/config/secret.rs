//! Secrets by reference: `env:NAME`, `file:PATH`, `cred:NAME`.

use std::fmt;
use std::sync::Arc;

/// A secret that is named, not shown. `Debug` and `Display` show the reference only.
#[derive(Clone)]
pub struct Secret {
    reference: String,
}

impl Secret {
    /// The value now. `file:` is read again when the file has changed.
    ///
    /// # Errors
    /// The reference cannot be read; the text names the reference, never the value.
    pub fn reveal(&self) -> Result<Arc<str>, String> {
        Err(self.reference.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}
