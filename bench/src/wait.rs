//! Thousands of callers that wait for results: what they cost the publisher at rest, and that each gets its answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::loopback::Target;
use crate::record::Tail;
use crate::sample;

/// One caller after the other: a publisher refuses more at one time than it may have in flight.
const BETWEEN_CALLERS: Duration = Duration::from_millis(1);
/// The last caller has been let in for so long when the rest is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// Callers wait for executions that nobody fires yet; at rest the publisher is measured. Then `--measured` is written,
/// somebody starts the consumer, and every caller must get the result.
#[derive(clap::Args)]
pub struct Args {
    /// Base URL of the publisher; loopback addresses only
    #[arg(long, env = "BRIDGE_URL")]
    url: Url,
    #[arg(long, env = "BRIDGE_TOKEN", hide_env_values = true)]
    token: String,
    /// The executions that are waited for, as `load --ids` wrote them; shared by the callers
    #[arg(long)]
    accepted: PathBuf,
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    callers: u16,
    /// Seconds at rest
    #[arg(long, default_value_t = 20)]
    rest: u64,
    /// The publisher's pid
    #[arg(long)]
    pid: u32,
    /// Where what was measured at rest is written, JSON; it appears when the measurement is done
    #[arg(long)]
    measured: PathBuf,
    /// Where the answers are counted, JSON
    #[arg(long)]
    json: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub struct Rest {
    pub callers: u16,
    pub resident_mib: f64,
    /// Of one core, in percent.
    pub busy_percent: f64,
}

#[derive(Serialize, Deserialize)]
pub struct Answers {
    /// Callers that got the result.
    pub results: usize,
    /// Callers that were answered something else, or nothing.
    pub others: usize,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = Tail::open(&args.accepted)?.read()?.iter().map(|record| record.id).collect();
    if ids.is_empty() {
        bail!("{} holds no execution", args.accepted.display());
    }
    let target = Target::resolve(&args.url, &[&args.token]).await?;
    let callers: Vec<_> = (0..usize::from(args.callers))
        .map(|number| {
            let after = BETWEEN_CALLERS * number as u32;
            tokio::task::spawn_local(caller(target.clone(), ids[number % ids.len()], after))
        })
        .collect();
    tokio::time::sleep(BETWEEN_CALLERS * u32::from(args.callers) + SETTLE).await;
    if let Some(early) = callers.iter().position(tokio::task::JoinHandle::is_finished) {
        bail!(
            "caller {early} did not wait: is a consumer running, or is the publisher's limit of waiters lower?"
        );
    }
    let before = sample::of(args.pid)?;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.rest)).await;
    let after = sample::of(args.pid)?;
    let rest = Rest {
        callers: args.callers,
        resident_mib: after.resident_kib as f64 / 1024.0,
        busy_percent: (after.cpu_seconds - before.cpu_seconds) / began.elapsed().as_secs_f64() * 100.0,
    };
    println!("{} callers: {:.1} MiB, {:.1} % of a core", rest.callers, rest.resident_mib, rest.busy_percent);
    write(&args.measured, &rest)?;
    let mut answers = Answers { results: 0, others: 0 };
    for caller in callers {
        match caller.await.context("a caller's task died")? {
            Ok(StatusCode::OK) => answers.results += 1,
            _ => answers.others += 1,
        }
    }
    println!("{} got the result, {} did not", answers.results, answers.others);
    write(&args.json, &answers)
}

async fn caller(target: Target, id: Uuid, after: Duration) -> anyhow::Result<StatusCode> {
    tokio::time::sleep(after).await;
    let mut connection = target.connect().await?;
    let (status, _) = connection.get(&format!("/pulsar/executions/{id}/result?wait=60")).await?;
    Ok(status)
}

fn write(path: &PathBuf, value: &impl Serialize) -> anyhow::Result<()> {
    // By rename: whoever waits for the file finds it whole.
    let part = path.with_extension("part");
    std::fs::write(&part, serde_json::to_vec_pretty(value)?)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
