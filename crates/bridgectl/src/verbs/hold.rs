//! `bridgectl hold`, `release` and `holds`: nothing is fired while a hold stands, nothing is lost, no attempt is spent.

use bridge_protocol::{Lane, WorkflowId};
use serde_json::{Map, json};

use super::of::Of;
use crate::answers::holds::{Hold, Holds, Released};
use crate::client::{Client, segment};
use crate::{Failure, human};

#[derive(clap::Args)]
pub struct Set {
    /// A name for it, e.g. crm-is-down
    id: String,
    /// Of this workflow
    #[arg(long)]
    workflow: Option<WorkflowId>,
    /// Of this lane: short, long, ai or analytics
    #[arg(long)]
    lane: Option<Lane>,
    /// Whose webhook is at this host
    #[arg(long)]
    host: Option<String>,
    /// Why; whoever asks what an execution waits for reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args)]
pub struct Release {
    id: String,
    #[command(flatten)]
    of: Of,
}

pub async fn set(client: &Client, args: Set, json: bool) -> Result<String, Failure> {
    let mut body = Map::new();
    body.extend(args.workflow.map(|id| ("workflow_id".to_owned(), json!(id))));
    body.extend(args.lane.map(|lane| ("lane".to_owned(), json!(lane))));
    body.extend(args.host.map(|host| ("host".to_owned(), json!(host))));
    body.insert("reason".to_owned(), json!(args.reason));
    let body = serde_json::Value::Object(body).to_string();
    let path = format!("/pulsar/holds/{}", segment(&args.id));
    let answer = client.put::<Hold>(&path, &args.of.query(), body).await?;
    Ok(if json { answer.text } else { human::holds::set(&answer.read) })
}

pub async fn release(client: &Client, args: Release, json: bool) -> Result<String, Failure> {
    let path = format!("/pulsar/holds/{}", segment(&args.id));
    let answer = client.delete::<Released>(&path, &args.of.query()).await?;
    Ok(if json { answer.text } else { human::holds::released(&args.id, &answer.read) })
}

pub async fn list(client: &Client, of: Of, json: bool) -> Result<String, Failure> {
    let answer = client.get::<Holds>("/pulsar/holds", &of.query()).await?;
    Ok(if json { answer.text } else { human::holds::list(&answer.read.holds) })
}
