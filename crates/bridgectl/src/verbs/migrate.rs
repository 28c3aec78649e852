//! `bridgectl migrate`: the schema, and the partitions ahead. Safe to repeat and to run twice at once.

use bridge_service::Config;
use bridge_service::clock::{Clock, SystemClock};
use bridge_store::{Store, StoreError};

use super::Setup;
use crate::{Exit, Failure};

pub async fn run(setup: &Setup, json: bool) -> Result<String, Failure> {
    let config = setup.load()?;
    let store = open(&config)?;
    let migrated = store.migrate(SystemClock.now()).await;
    store.close().await;
    migrated.map_err(failed)?;
    Ok(if json { r#"{"migrated":true}"# } else { "the schema is up to date" }.to_owned())
}

pub fn open(config: &Config) -> Result<Store, Failure> {
    if config.database.url.is_none() {
        let fix = "database.url is not set: give it in the configuration file or in DATABASE_URL";
        return Err(Failure::new(Exit::Usage, fix));
    }
    Store::open(config.store("bridgectl")).map_err(failed)
}

pub fn failed(error: StoreError) -> Failure {
    let exit = match error {
        StoreError::Unavailable(_) => Exit::Unavailable,
        StoreError::Url(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::because(exit, error)
}
