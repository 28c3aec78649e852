//! One file a group of verbs.

pub mod admin;
pub mod audit;
pub mod clients;
pub mod credential;
pub mod dlq;
pub mod execution;
pub mod key;
pub mod migrate;
pub mod publish;
pub mod roles;
pub mod tenant;
pub mod topics;

use std::path::PathBuf;

use bridge_service::config::{Config, Role};

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
    fn load(&self) -> Result<Config, Failure> {
        match Config::load_for(Role::Operator, self.config.clone(), std::env::vars()) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| eprintln!("bridgectl: {warning}"));
                Ok(config)
            }
            Err(faults) => Err(Failure::new(Exit::Usage, faults.to_string())),
        }
    }
}
