//! Accepts connections and hands them to workers.

pub mod client;
pub mod registry;
pub mod worker;
