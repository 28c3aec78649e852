//! One file a group of verbs.

pub mod admin;
pub mod audit;
pub mod bulk;
pub mod clients;
pub mod completions;
pub mod credential;
pub mod dlq;
pub mod doctor;
pub mod execution;
mod filter;
pub mod hold;
pub mod job;
pub mod key;
pub mod migrate;
mod of;
pub mod publish;
pub mod roles;
pub mod route;
pub mod status;
pub mod tenant;
pub mod topics;
pub mod trace;

pub use of::Of;

use std::path::PathBuf;

use bridge_service::config::{Config, ConfigFaults, Role, Warning};

use crate::{Exit, Failure};

/// What the verbs need that speak to the database or the broker; the others know only the HTTP API.
#[derive(clap::Args)]
#[command(next_help_heading = "Bridge")]
pub struct Setup {
    /// The daemons' configuration file
    #[arg(long, global = true, env = "BRIDGE_CONFIG")]
    config: Option<PathBuf>,
}

impl Setup {
    pub fn load(&self) -> Result<Config, Failure> {
        match self.load_as(Role::Operator) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| eprintln!("bridgectl: {warning}"));
                Ok(config)
            }
            Err(faults) => Err(Failure::new(Exit::Usage, faults.to_string())),
        }
    }

    fn load_as(&self, role: Role) -> Result<(Config, Vec<Warning>), ConfigFaults> {
        Config::load_for(role, self.config.clone(), std::env::vars())
    }
}
