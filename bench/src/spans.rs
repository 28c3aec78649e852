//! What the spans of one publish cost while nobody collects traces: the same kinds of span, as many fields and records,
//! under a subscriber as the daemons have it then.

use std::hint::black_box;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{Instrument, field::Empty};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

const ROUNDS: u32 = 200_000;
/// How often the futures under the spans are polled.
const POLLS: usize = 4;

#[derive(clap::Args)]
pub struct Args {
    /// Where the figure is written, JSON
    #[arg(long)]
    json: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub struct Figure {
    /// Nanoseconds an execution.
    pub nanos: f64,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::new("info").and(filter_fn(|metadata| metadata.is_event()));
    let logs = tracing_subscriber::fmt::layer().json().with_writer(std::io::sink).with_filter(filter);
    tracing_subscriber::registry().with(logs).try_init()?;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        publish(black_box("acme"), black_box("/pulsar/publish")).await;
    }
    let nanos = began.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
    let figure = Figure { nanos };
    println!("{:.0} ns an execution", figure.nanos);
    std::fs::write(&args.json, serde_json::to_vec_pretty(&figure)?)
        .with_context(|| format!("cannot write {}", args.json.display()))
}

async fn publish(tenant: &str, path: &str) {
    let request = tracing::debug_span!(
        "request",
        otel.name = format_args!("POST {path}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = "POST",
        http.route = path,
        url.scheme = "http",
        url.path = path,
        error.type = Empty,
        http.response.status_code = Empty,
        execution.id = Empty,
        tenant.id = Empty,
        workflow.id = Empty,
        lane = Empty,
        attempt = Empty,
        route.mode = Empty,
        route.decided_by = Empty,
        route.reason = Empty,
    );
    polled(&request).await;
    tracing::record_all!(
        request,
        execution.id = tenant,
        tenant.id = tenant,
        workflow.id = tenant,
        lane = tenant,
        attempt = 1,
        route.mode = tenant,
        route.decided_by = tenant,
        route.reason = tenant,
    );
    request.record("http.response.status_code", 202);
    let send = tracing::info_span!(
        parent: None,
        "send",
        otel.name = format_args!("send {tenant}"),
        otel.kind = "producer",
        messaging.system = "pulsar",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = path,
        messaging.message.id = Empty,
        execution.id = tenant,
        tenant.id = tenant,
        workflow.id = tenant,
        lane = tenant,
        attempt = 1,
        error.type = Empty,
        otel.status_code = Empty,
    );
    polled(&send).await;
    send.record("messaging.message.id", path);
}

/// Ready at once: only what is around it costs something.
async fn polled(span: &tracing::Span) {
    for _ in 0..POLLS {
        black_box(std::future::ready(0_u8).instrument(span.clone()).await);
    }
}
