//! What the daemons share: configuration, telemetry, lifecycle, health, problems.

pub mod clock;
pub mod config;
pub mod daemon;
pub mod failpoint;
pub mod health;
pub mod keyring;
pub mod lifecycle;
pub mod problem;
pub mod serve;
pub mod suggest;
pub mod telemetry;
pub mod trace;

pub use config::{Config, ConfigFaults};
pub use lifecycle::Lifecycle;
pub use problem::Problem;
