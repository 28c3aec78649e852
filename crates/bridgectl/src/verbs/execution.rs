//! `bridgectl execution`: one with its timeline, or many by state.

use bridge_protocol::{ExecutionId, State};

use crate::answers::{Execution, Listing};
use crate::client::Client;
use crate::{Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// One execution with its timeline
    Show { id: ExecutionId },
    /// Executions, newest first
    List {
        /// Only those in this state, e.g. retrying or dead_lettered
        #[arg(long)]
        state: Option<State>,
        #[command(flatten)]
        page: Page,
    },
}

#[derive(clap::Args)]
pub struct Page {
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Where the last page ended
    #[arg(long)]
    cursor: Option<String>,
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Show { id } => show(client, id, json).await,
        Verb::List { state, page } => {
            let state = state.map(|state| state.as_str());
            let again = state.map(|state| format!("bridgectl execution list --state {state}"));
            let again = again.as_deref().unwrap_or("bridgectl execution list");
            list(client, state, &page, again, json).await
        }
    }
}

pub async fn show(client: &Client, id: ExecutionId, json: bool) -> Result<String, Failure> {
    let answer = client.get::<Execution>(&format!("/pulsar/executions/{id}"), &[]).await?;
    Ok(if json { answer.text } else { human::timeline::text(&answer.read) })
}

pub async fn list(
    client: &Client,
    state: Option<&str>,
    page: &Page,
    again: &str,
    json: bool,
) -> Result<String, Failure> {
    let mut query = vec![("limit", page.limit.to_string())];
    query.extend(state.map(|state| ("state", state.to_owned())));
    query.extend(page.cursor.clone().map(|cursor| ("cursor", cursor)));
    let answer = client.get::<Listing>("/pulsar/executions", &query).await?;
    Ok(if json { answer.text } else { human::list::text(&answer.read, again) })
}
