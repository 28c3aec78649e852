//! Measures the bridge and accounts for every execution it accepted.
#![forbid(unsafe_code)]

mod clock;
mod endpoint;
mod latency;
mod load;
mod look;
mod loopback;
mod probe;
mod record;
mod report;
mod sample;
mod spans;
mod verify;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load generator, receiving endpoint and verifier of the bridge.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive webhooks: answers by path, remembers what arrived
    Endpoint(endpoint::Args),
    /// Publish executions to a bridge on this machine and record every id it accepted
    Load(load::Args),
    /// Find each accepted id among the delivered ones, or in the bridge itself
    Verify(verify::Args),
    /// Ask for statuses and lists, one at a time, and measure each kind
    Look(look::Args),
    /// Let thousands of callers wait for results, and measure the publisher meanwhile
    Wait(wait::Args),
    /// Ask for metrics and health at a steady pace, beside a load
    Probe(probe::Args),
    /// Write down memory and processor time of named processes
    Sample(sample::Args),
    /// Measure what spans cost that nobody collects
    Spans(spans::Args),
    /// Print one table from the files that a run left behind
    Report(report::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // One thread each: the measured daemons share the machine with this process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match cli.command {
            Command::Endpoint(args) => endpoint::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Load(args) => load::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Verify(args) => verify::run(args).await,
            Command::Look(args) => look::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Wait(args) => wait::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Probe(args) => probe::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Sample(args) => sample::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Spans(args) => spans::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Report(args) => report::run(&args),
        }
    })
}
