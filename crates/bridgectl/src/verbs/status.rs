//! `bridgectl status`: the whole on one screen for an operator, its own numbers for a tenant.

use super::of::Of;
use crate::answers::status::Status;
use crate::client::Client;
use crate::{Exit, Failure, human};

pub async fn run(client: &Client, of: Of, json: bool) -> Result<String, Failure> {
    let own = async || client.get::<Status>("/pulsar/status", &of.query()).await;
    let answer = match of.tenant {
        Some(_) => own().await?,
        None => match client.get::<Status>("/pulsar/admin/status", &[]).await {
            // A tenant's credential.
            Err(failure) if failure.exit == Exit::Unauthorized => own().await?,
            answer => answer?,
        },
    };
    Ok(if json { answer.text } else { human::status::text(&answer.read) })
}
