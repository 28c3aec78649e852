//! What the daemons share: configuration, telemetry, lifecycle, health, problems.

pub mod catalogue;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod expiry;
pub mod failpoint;
pub mod health;
pub mod heartbeat;
pub mod key_pair;
pub mod keyring;
pub mod lifecycle;
mod looks;
pub mod measures;
pub mod outgoing;
pub mod payload_key;
pub mod problem;
pub mod routing;
pub mod serve;
pub mod signing_gate;
pub mod steps;
pub mod suggest;
pub mod tally;
pub mod telemetry;
pub mod trace;
pub mod vault;

pub use config::{Config, ConfigFaults};
pub use directory::Directory;
pub use lifecycle::Lifecycle;
pub use outgoing::OutgoingCredential;
pub use problem::Problem;
pub use routing::Routing;
pub use vault::Vault;
