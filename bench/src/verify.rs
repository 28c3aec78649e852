//! Accounts for every accepted id: delivered once, n times, or found in the bridge.

mod account;
mod lookup;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use url::Url;

use crate::loopback::Target;
use crate::record::Tail;
use account::Account;
pub use summary::Summary;

const POLL: Duration = Duration::from_millis(200);

/// Phase 1 compares two files written at the two ends; phase 2 asks the bridge for each id that
/// did not arrive. Exit code 1 when an id is unaccounted for: the bridge does not know it, or
/// calls it succeeded although it never arrived, or could not be asked.
#[derive(clap::Args)]
pub struct Args {
    /// What `load --ids` wrote
    #[arg(long, required = true)]
    accepted: Vec<PathBuf>,
    /// What `endpoint --ids` wrote
    #[arg(long)]
    seen: PathBuf,
    /// Base URL of the publisher, for the ids that did not arrive
    #[arg(long, env = "BRIDGE_URL")]
    url: Option<Url>,
    #[arg(long, env = "BRIDGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Wait up to this many seconds for the last deliveries
    #[arg(long, default_value_t = 0)]
    wait: u64,
    /// Also write the summary to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut account = Account::default();
    for path in &args.accepted {
        account.accept(&Tail::open(path)?.read()?);
    }
    let mut seen = Tail::open(&args.seen)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    account.deliver(&seen.read()?);
    while account.missing() > 0 && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
        account.deliver(&seen.read()?);
    }
    let undelivered = account.undelivered();
    let mut found = match &args.url {
        Some(url) if !undelivered.is_empty() => {
            lookup::all(&Target::resolve(url, args.token.as_deref().as_slice()).await?, &undelivered).await
        }
        _ => lookup::not_asked(&undelivered),
    };
    // What arrived while the bridge was asked is in its answers a success that nobody has seen.
    account.deliver(&seen.read()?);
    let still: std::collections::HashSet<_> = account.undelivered().into_iter().collect();
    found.retain(|(id, _)| still.contains(id));
    let summary = account.summary(found);
    println!("{summary}");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if summary.unaccounted == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
