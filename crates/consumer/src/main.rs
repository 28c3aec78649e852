//! The consumer: receives messages, claims their executions, fires the webhooks, records what came back.

mod attempt;
mod claim;
mod cli;
mod daemon;
mod fire;
mod heal;
mod intake;
mod job;
mod measures;
mod outcome;
mod probe;
mod readiness;
mod record;
mod rejected;
mod schedule;
mod vitals;
mod works;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    cli::run().await
}
