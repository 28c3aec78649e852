//! `bridgectl dlq`: what was given up, why, and once more.

use bridge_protocol::{ExecutionId, Lane, Reason, WorkflowId};
use serde_json::json;

use super::execution::list::Page;
use super::execution::{self, Again, One};
use super::of::Of;
use crate::answers::dead_letters::{DeadLetter, DeadLetters, Discarded};
use crate::client::Client;
use crate::{Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Dead letters, newest first
    List(List),
    /// One of them: why, and what was done about it
    Show(One),
    /// Publish it again as a new execution; the old one keeps its state. Many: bridgectl replay --state dead_lettered
    Replay(Again),
    /// Nothing will be done about it: it leaves the list, its note stays
    Discard(Discard),
}

#[derive(clap::Args)]
pub struct List {
    /// Of this lane: short, long, ai or analytics
    #[arg(long)]
    lane: Option<Lane>,
    /// Of this workflow
    #[arg(long)]
    workflow: Option<WorkflowId>,
    /// Given up for this reason, e.g. attempts_exhausted
    #[arg(long)]
    reason: Option<Reason>,
    /// Those that were discarded too
    #[arg(long)]
    discarded: bool,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args)]
pub struct Discard {
    id: ExecutionId,
    /// Why nothing is to be done
    #[arg(long)]
    note: String,
    #[command(flatten)]
    of: Of,
}

impl List {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.of.query();
        query.extend(self.lane.map(|lane| ("lane", lane.to_string())));
        query.extend(self.workflow.as_ref().map(|id| ("workflow_id", id.to_string())));
        query.extend(self.reason.map(|reason| ("reason", reason.to_string())));
        query.extend(self.discarded.then(|| ("discarded", "true".to_owned())));
        query.extend(self.page.query());
        query
    }

    fn again(&self) -> String {
        let mut flags: Vec<String> = self.lane.iter().map(|lane| format!(" --lane {lane}")).collect();
        flags.extend(self.workflow.iter().map(|id| format!(" --workflow {id}")));
        flags.extend(self.reason.iter().map(|reason| format!(" --reason {reason}")));
        flags.extend(self.discarded.then(|| " --discarded".to_owned()));
        format!("bridgectl dlq list{}{}", flags.concat(), self.of.flag())
    }
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::List(list) => {
            let answer = client.get::<DeadLetters>("/pulsar/dead-letters", &list.query()).await?;
            Ok(if json { answer.text } else { human::dead_letters::list(&answer.read, &list.again()) })
        }
        Verb::Show(one) => {
            let path = format!("/pulsar/dead-letters/{}", one.id);
            let answer = client.get::<DeadLetter>(&path, &one.of.query()).await?;
            Ok(if json { answer.text } else { human::dead_letters::one(&answer.read) })
        }
        Verb::Replay(again) => execution::replay(client, &again, "dlq", json).await,
        Verb::Discard(Discard { id, note, of }) => {
            let path = format!("/pulsar/dead-letters/{id}/discard");
            let body = json!({ "note": note }).to_string();
            let answer = client.post::<Discarded>(&path, &of.query(), body).await?;
            Ok(if json { answer.text } else { human::dead_letters::discarded(&answer.read) })
        }
    }
}
