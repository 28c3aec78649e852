//! `bridgectl dlq`: what was given up, why, and once more.

use bridge_protocol::ExecutionId;

use super::execution::{self, Page};
use crate::client::Client;
use crate::{Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Dead-lettered executions, newest first
    List(Page),
    /// One of them with its timeline
    Show { id: ExecutionId },
    /// Publish it again as a new execution; the old one keeps its state
    Replay { id: ExecutionId },
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::List(page) => {
            execution::list(client, Some("dead_lettered"), &page, "bridgectl dlq list", json).await
        }
        Verb::Show { id } => execution::show(client, id, json).await,
        Verb::Replay { id } => {
            let path = format!("/pulsar/executions/{id}/replay");
            let answer = client.post(&path, "{}".to_owned()).await?;
            Ok(if json { answer.text } else { human::published::text(&answer.read) })
        }
    }
}
