//! The pure core: bytes and time in, bytes and one outcome out.
//!
//! One [`Session`] stands between a source (an upstream body) and a sink (a client body). Every policy that time
//! or an ending drives lives here, once: the choice between passing and reframing, heartbeats, timeouts, honest
//! endings, drain. Nothing here does IO, reads a clock or logs, so a test needs no socket.

mod budget;
mod cause;
mod choices;
mod failure;
mod gate;
mod hold;
mod outcome;
mod plain;
mod plan;
mod quote;
mod session;
mod times;
mod told;
mod watch;
mod writer;

pub use budget::{Budget, Share};
pub use cause::{About, Answer, Cause};
pub use failure::{Failure, kind};
pub use gate::Label;
pub use outcome::{Outcome, Phase, Who};
pub use plan::{Commit, End, HeartbeatForm, Hold, InBand, Mode, Out, Plan, Stats, Until, Wanted};
pub(crate) use quote::is_error_line;
pub use session::Session;
pub use told::refusal;
