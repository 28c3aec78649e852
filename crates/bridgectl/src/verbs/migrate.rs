//! `bridgectl migrate`: the schema, and the partitions ahead. Safe to repeat and to run twice at once.

use bridge_service::clock::{Clock, SystemClock};
use bridge_store::{Store, StoreError};

use super::Setup;
use crate::{Exit, Failure};

pub async fn run(setup: &Setup, json: bool) -> Result<String, Failure> {
    let config = setup.load()?;
    if config.database.url.is_none() {
        let fix = "database.url is not set: give it in the configuration file or in DATABASE_URL";
        return Err(Failure::new(Exit::Usage, fix));
    }
    let store = Store::open(config.store("bridgectl")).map_err(failed)?;
    let migrated = store.migrate(SystemClock.now()).await;
    store.close().await;
    migrated.map_err(failed)?;
    Ok(if json { r#"{"migrated":true}"# } else { "the schema is up to date" }.to_owned())
}

fn failed(error: StoreError) -> Failure {
    let exit = match error {
        StoreError::Unavailable(_) => Exit::Unavailable,
        StoreError::Url(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::because(exit, error)
}
