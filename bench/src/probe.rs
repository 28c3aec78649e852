//! What a supervisor and a scraper ask of a daemon, at a steady pace, while others load it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use crate::clock::micros;
use crate::latency::{Latencies, Summary};
use crate::loopback::Target;

const PATHS: [&str; 3] = ["/metrics", "/health/live", "/health/ready"];

#[derive(clap::Args)]
pub struct Args {
    /// Base URL of the daemon; loopback addresses only
    #[arg(long)]
    url: Url,
    /// Seconds to ask for
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    duration: u64,
    /// Milliseconds between two rounds; in each round every path is asked once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every_ms: u64,
    /// Where the summary is written, JSON
    #[arg(long)]
    json: PathBuf,
}

/// Each question over a connection of its own, as a probe asks it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let target = Target::resolve(&args.url, &[]).await?;
    let end = Instant::now() + Duration::from_secs(args.duration);
    let mut ticks = tokio::time::interval(Duration::from_millis(args.every_ms));
    let mut latencies = Latencies::default();
    while Instant::now() < end {
        ticks.tick().await;
        for path in PATHS {
            let asked = Instant::now();
            let (status, body) = target.connect().await?.get(path).await?;
            latencies.record(micros(asked.elapsed()));
            if status != StatusCode::OK {
                bail!("{path} was answered {status}: {}", String::from_utf8_lossy(&body));
            }
        }
    }
    let summary: Summary = latencies.summary();
    println!("{} answers: {summary}", summary.count);
    std::fs::write(&args.json, serde_json::to_vec_pretty(&summary)?)
        .with_context(|| format!("cannot write {}", args.json.display()))
}
