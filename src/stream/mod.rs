//! The pure core: one [`Session`](session) per response. See each module.

mod budget;
mod outcome;

pub use budget::Budget;
pub use outcome::{Outcome, Phase, Who};
