//! Publishes executions and records each id at its 202.

mod body;
mod pace;
mod tally;

pub use tally::Summary;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use crate::clock::{Clock, micros};
use crate::loopback::{Connection, Target};
use body::Body;
use pace::Pace;
use tally::Tally;

const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// After a failure a connection pauses, so that a refusing daemon is not beaten by its meter.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub struct Args {
    /// Base URL of the publisher; loopback addresses only
    #[arg(long, env = "BRIDGE_URL")]
    url: Url,
    /// API token of the tenant
    #[arg(long, env = "BRIDGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with an API token a line, used in turn instead of --token: a load spread over that many tenants
    #[arg(long)]
    tokens: Option<PathBuf>,
    #[arg(long, default_value = "ok")]
    workflow: String,
    #[arg(long, default_value = "short")]
    lane: String,
    #[arg(long, default_value_t = 1024)]
    payload_bytes: usize,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Seconds
    #[arg(long, default_value_t = 20)]
    duration: u64,
    /// Requests a second, each due at its own time and measured from it; without this every
    /// connection sends its next request as soon as it has its answer
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Stop after this many requests
    #[arg(long)]
    count: Option<u64>,
    /// Where to record the accepted ids
    #[arg(long)]
    ids: PathBuf,
    /// Also write the summary to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Run {
    target: Target,
    body: RefCell<Body>,
    pace: Pace,
    tally: RefCell<Tally>,
    clock: Clock,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let tokens = tokens(&args)?;
    let target = Target::resolve(&args.url, &tokens.lines().collect::<Vec<_>>()).await?;
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(target.connect().await?);
    }
    let limit = Duration::from_secs(args.duration);
    let clock = Clock::start();
    let run = Rc::new(Run {
        body: RefCell::new(Body::new(&args.workflow, &args.lane, args.payload_bytes)),
        pace: Pace::start(limit, args.rate, args.count),
        tally: RefCell::new(Tally::create(&args.ids)?),
        target,
        clock,
    });
    let workers: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::task::spawn_local(worker(run.clone(), connection)))
        .collect();
    let flusher = tokio::task::spawn_local(flush(run.clone()));
    for worker in workers {
        worker.await.context("a connection's task died")??;
    }
    flusher.abort();
    let summary = run.tally.borrow_mut().summary(args.rate, run.pace.started().elapsed())?;
    println!("{summary}");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if summary.accepted == 0 {
        bail!("no request was accepted; first failure: {}", summary.first_failure.unwrap_or_default());
    }
    Ok(())
}

/// One a line.
fn tokens(args: &Args) -> anyhow::Result<String> {
    match (&args.tokens, &args.token) {
        (Some(file), _) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        (None, Some(token)) => Ok(token.clone()),
        (None, None) => bail!("no credential: give --token, BRIDGE_TOKEN or --tokens"),
    }
}

async fn flush(run: Rc<Run>) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        run.tally.borrow_mut().flush()?;
    }
}

/// One connection: a request, its answer, the next request.
async fn worker(run: Rc<Run>, first: Connection) -> anyhow::Result<()> {
    let mut connection = Some(first);
    while let Some(due) = run.pace.next().await {
        let answer = request(&run, &mut connection).await;
        let answered = Instant::now();
        let latency = micros(answered.saturating_duration_since(due));
        let accepted = match answer {
            Ok((status, answer)) => {
                let times = (run.clock.at(due), run.clock.at(answered));
                run.tally.borrow_mut().answer(status, &answer, times, latency)?;
                status == StatusCode::ACCEPTED
            }
            Err(error) => {
                run.tally.borrow_mut().failure(&format!("{error:#}"));
                connection = None;
                false
            }
        };
        if !accepted {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
    Ok(())
}

async fn request(
    run: &Run,
    connection: &mut Option<Connection>,
) -> anyhow::Result<(StatusCode, bytes::Bytes)> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(run.target.connect().await?),
    };
    let body = run.body.borrow_mut().next();
    connection.post_json("/pulsar/publish", body).await
}
