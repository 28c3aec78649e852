//! Provisioning: what `pulsar/topics.yml` asks for is compared with what the broker has, and the rest is done.

mod apply;
mod change;
mod file;
mod plan;

pub use apply::{ApplyError, apply};
pub use change::Change;
pub use file::{TopicsFile, TopicsFileError};
