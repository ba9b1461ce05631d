//! Sources and sinks.

pub mod body;
pub use body::Body;
