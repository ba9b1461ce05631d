//! Credentials: what is put into requests that go up, and what clients must show.

use std::fmt;

use http::request::Parts;

/// Puts a credential into a request that goes up.
pub trait Injector: fmt::Debug + Send + Sync {
    /// Changes `head`; values are marked sensitive.
    ///
    /// # Errors
    /// The secret cannot be read now, or does not fit into a header or a URL.
    fn inject(&self, head: &mut Parts) -> Result<(), Error>;

    /// The byte strings that must never be seen by anybody: as they are in the request, encodings included.
    /// Empty if the secret cannot be read now.
    fn secrets(&self) -> Vec<Vec<u8>>;
}

/// A credential could not be injected. Says which reference failed and why, never its value.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// Which reference, and why.
    pub what: String,
}
