//! Provisioning: what `pulsar/topics.yml` asks for is compared with what the broker has, and the rest is done.

mod apply;
mod change;
mod file;
mod plan;
mod remove;
mod rights;

pub use apply::{ApplyError, apply, apply_each};
pub use change::Change;
pub use file::{Roles, TopicsFile, TopicsFileError};
pub use remove::{RemoveError, remove};
