//! What a person asks of the bridge: one execution's status, and lists by tenant, workflow, time and dead letters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::clock::micros;
use crate::latency::{Latencies, Summary};
use crate::loopback::Target;

/// Not measured: connections, prepared statements and caches come to be.
const WARM_UP: usize = 30;

/// One request at a time, the kinds in turn, so that what else the machine does hits all alike.
#[derive(clap::Args)]
pub struct Args {
    /// Base URL of the publisher; loopback addresses only
    #[arg(long, env = "BRIDGE_URL")]
    url: Url,
    #[arg(long, env = "BRIDGE_TOKEN", hide_env_values = true)]
    token: String,
    /// Ids of executions to look up, one a line
    #[arg(long)]
    ids: PathBuf,
    /// Requests of each kind
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// Where the summary of each kind is written, JSON
    #[arg(long)]
    json: PathBuf,
}

/// By kind of question.
pub type Summaries = BTreeMap<String, Summary>;

pub async fn run(args: Args) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(&args.ids).with_context(|| format!("cannot read {}", args.ids.display()))?;
    let ids = text.lines().map(str::parse).collect::<Result<Vec<Uuid>, _>>().context("a line is no id")?;
    let mut connection = Target::resolve(&args.url, &[&args.token]).await?.connect().await?;
    let mut kinds: BTreeMap<&str, Latencies> = BTreeMap::new();
    for (round, id) in ids.iter().cycle().take(WARM_UP + usize::from(args.rounds)).enumerate() {
        for (kind, path) in questions(round, *id) {
            let asked = Instant::now();
            let (status, body) = connection.get(&path).await?;
            let took = micros(asked.elapsed());
            if status != StatusCode::OK {
                bail!("{path} was answered {status}: {}", String::from_utf8_lossy(&body));
            }
            if round >= WARM_UP {
                kinds.entry(kind).or_default().record(took);
            }
        }
    }
    if kinds.is_empty() {
        bail!("{} names no execution", args.ids.display());
    }
    let summaries: Summaries =
        kinds.iter().map(|(kind, latencies)| ((*kind).to_owned(), latencies.summary())).collect();
    for (kind, summary) in &summaries {
        println!("{kind}: {summary}");
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&summaries)?)
        .with_context(|| format!("cannot write {}", args.json.display()))
}

/// `id` gives the times as well: lists begin anywhere in the past.
fn questions(round: usize, id: Uuid) -> [(&'static str, String); 6] {
    let workflow = round % 20;
    let until = time_of(id);
    [
        ("status", format!("/pulsar/executions/{id}")),
        ("list", "/pulsar/executions".to_owned()),
        ("list by time", format!("/pulsar/executions?until={until}")),
        ("list by workflow", format!("/pulsar/executions?workflow_id=workflow-{workflow}")),
        (
            "list by workflow and time",
            format!("/pulsar/executions?workflow_id=workflow-{workflow}&until={until}"),
        ),
        ("list of dead letters", format!("/pulsar/executions?state=dead_lettered&until={until}")),
    ]
}

fn time_of(id: Uuid) -> String {
    let millis = (id.as_u128() >> 80) as i64;
    chrono::DateTime::from_timestamp_millis(millis)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_time() {
        let id = Uuid::from_u128(0x01a1_fb67_1800_7000_8000_0000_0000_0000);
        assert_eq!(time_of(id), "2026-11-21T00:00:00.000Z");
        assert!(questions(21, id).iter().any(|(_, path)| path.ends_with("workflow-1")));
    }
}
