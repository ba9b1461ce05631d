//! From a source to a sink: moves bytes and keeps time, and knows no format, dialect or timeout.
//!
//! [`Relay`] reads the upstream's body, lets the [session](crate::stream) say what to write, and sleeps until
//! the session's next deadline. [`Body`] is the sink for hyper: HTTP/1.1 chunks and HTTP/2 DATA frames.

mod body;
mod relay;

pub use body::{Aborted, Body};
pub use relay::Relay;
