//! `bridgectl execution list`: a page of them, or all pages.

use serde_json::Value;

use crate::answers::{Listed, Listing};
use crate::client::Client;
use crate::verbs::filter::Filter;
use crate::verbs::of::Of;
use crate::{Exit, Failure, human};

/// As many as an answer may hold.
const LONGEST_PAGE: u16 = 1000;
/// More than anybody reads: what is listed is held in memory.
const ALL_AT_MOST: usize = 100_000;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    page: Page,
    /// All pages, not one
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    all: bool,
    #[command(flatten)]
    of: Of,
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

impl Page {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        query
    }
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    let Args { filter, page, all, of } = args;
    let mut query = filter.query();
    query.extend(of.query());
    if all {
        return every(client, &query, json).await;
    }
    query.extend(page.query());
    let answer = client.get::<Listing>("/pulsar/executions", &query).await?;
    let again = format!("bridgectl execution list{}{}", filter.flags(), of.flag());
    Ok(if json { answer.text } else { human::list::text(&answer.read, &again) })
}

async fn every(client: &Client, query: &[(&str, String)], json: bool) -> Result<String, Failure> {
    let (rows, partial) = pages(client, query, ALL_AT_MOST).await?;
    if json {
        let rows: Vec<_> = rows.into_iter().map(|(row, _)| row).collect();
        return Ok(serde_json::json!({ "executions": rows, "partial": partial }).to_string());
    }
    let executions = rows.into_iter().map(|(_, listed)| listed).collect();
    Ok(human::list::text(&Listing { executions, partial, next_cursor: None }, ""))
}

/// All that a filter finds, newest first, as it came and as it was read. `true`: there are more than `at_most`.
pub async fn pages(
    client: &Client,
    query: &[(&str, String)],
    at_most: usize,
) -> Result<(Vec<(Value, Listed)>, bool), Failure> {
    let mut rows = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", LONGEST_PAGE.to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get::<Value>("/pulsar/executions", &query).await?.read;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        if let Value::Array(executions) = page["executions"].take() {
            for execution in executions {
                let listed = serde::Deserialize::deserialize(&execution).map_err(|error| {
                    let what = format!("the bridge answered an execution of another shape: {error}");
                    Failure::new(Exit::Failed, what)
                })?;
                rows.push((execution, listed));
            }
        }
        match next {
            None => return Ok((rows, false)),
            Some(_) if rows.len() >= at_most => return Ok((rows, true)),
            Some(next) => cursor = Some(next),
        }
    }
}
