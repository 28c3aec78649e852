//! `bridgectl execution`: find them, follow them, wait for one, end or repeat one.

pub mod list;
mod tail;
mod wait;

use bridge_protocol::ExecutionId;
use bridge_service::clock::{Clock, SystemClock, entropy};
use serde_json::json;
use url::Url;

use super::of::Of;
use super::trace::{Jaeger, link};
use crate::answers::{Cancelled, Execution};
use crate::client::Client;
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Executions, newest first
    List(list::Args),
    /// One execution: what it waits for, its timeline, and where its trace is
    Show(Show),
    /// Follow executions as they move, until Ctrl-C
    Tail(tail::Args),
    /// Until it has ended; the exit code says how (see bridgectl help exit-codes)
    Wait(wait::Args),
    /// End it; one that is running is ended here, but its workflow may go on
    Cancel(Cancel),
    /// Publish it again as a new execution; the old one keeps its state
    Replay(Again),
}

#[derive(clap::Args)]
pub struct One {
    pub id: ExecutionId,
    #[command(flatten)]
    pub of: Of,
}

#[derive(clap::Args)]
pub struct Again {
    #[command(flatten)]
    one: One,
    /// The key of an earlier try whose answer was lost: then it is not replayed a second time
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(clap::Args)]
pub struct Show {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    jaeger: Jaeger,
}

#[derive(clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    one: One,
    /// Why; it stands in the record
    #[arg(long)]
    reason: Option<String>,
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::List(args) => list::run(client, args, json).await,
        Verb::Show(Show { one, jaeger }) => show(client, &one, jaeger.url.as_ref(), json).await,
        Verb::Tail(args) => tail::run(client, args, json).await,
        Verb::Wait(args) => wait::run(client, args, json).await,
        Verb::Cancel(Cancel { one, reason }) => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            let path = format!("/pulsar/executions/{}/cancel", one.id);
            let answer = client.post::<Cancelled>(&path, &one.of.query(), body.to_string()).await?;
            Ok(if json { answer.text } else { cancelled(&answer.read) })
        }
        Verb::Replay(again) => replay(client, &again, "execution", json).await,
    }
}

async fn show(client: &Client, one: &One, jaeger: Option<&Url>, json: bool) -> Result<String, Failure> {
    let path = format!("/pulsar/executions/{}", one.id);
    let mut answer = client.get::<Execution>(&path, &one.of.query()).await?;
    if let (Some(trace), Some(jaeger)) = (&mut answer.read.trace, jaeger) {
        trace.url = Some(link(jaeger, &trace.id));
    }
    Ok(if json { answer.text } else { human::timeline::text(&answer.read) })
}

/// `noun`: as it was asked for, so that the line to repeat it is whole.
pub async fn replay(client: &Client, again: &Again, noun: &str, json: bool) -> Result<String, Failure> {
    let One { id, of } = &again.one;
    let key = again.idempotency_key.clone().unwrap_or_else(new_key);
    let path = format!("/pulsar/executions/{id}/replay");
    let answer = client.post_once(&path, &of.query(), "{}".to_owned(), &key).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::Unavailable => Failure::new(
            Exit::Unavailable,
            format!(
                "{failure}\nIt may have been replayed. To repeat it without replaying it twice: bridgectl {noun} replay {id}{} \
                 --idempotency-key {key}",
                of.flag()
            ),
        ),
        _ => failure,
    })?;
    Ok(if json { answer.text } else { human::published::text(&answer.read) })
}

/// No two invocations have the same.
fn new_key() -> String {
    format!("bridgectl-{}", ExecutionId::new(SystemClock.now(), &mut entropy()))
}

fn cancelled(cancelled: &Cancelled) -> String {
    let Cancelled { execution_id, state, was, note } = cancelled;
    let was = was.as_ref().map(|was| format!(", was {was}")).unwrap_or_default();
    let note = note.as_ref().map(|note| format!("\n  {note}")).unwrap_or_default();
    format!("{execution_id}  {state}{was}{note}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_one_says_what_it_was() {
        let answer = r#"{"execution_id":"019aa5c1-0000-7000-8000-000000000001","state":"cancelled","was":"running",
            "note":"the workflow may still be running in n8n; its result is not taken any more"}"#;
        insta::assert_snapshot!(cancelled(&serde_json::from_str(answer).unwrap()), @"
        019aa5c1-0000-7000-8000-000000000001  cancelled, was running
          the workflow may still be running in n8n; its result is not taken any more
        ");
    }
}
