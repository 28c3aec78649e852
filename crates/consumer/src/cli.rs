//! The command line of the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use bridge_service::{Config, ConfigFaults, telemetry};
use clap::{Parser, Subcommand};

use crate::{daemon, probe};

#[derive(Parser)]
#[command(
    name = "bridge-consumer",
    version,
    about = "Fires n8n webhooks for executions that Pulsar announces"
)]
struct Args {
    /// The configuration file; the environment overrides it.
    #[arg(long, env = "BRIDGE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the effective configuration, secrets masked, and leave.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the running consumer whether it is ready; for container checks.
    Health,
}

pub async fn run() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let (config, warnings) = match Config::load(args.config, std::env::vars()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            std::process::exit(ConfigFaults::EXIT_CODE);
        }
    };
    if args.check_config {
        println!("{}", config.masked());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Health) = args.command {
        return probe::ask(config.consumer.bind).await;
    }
    // Fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let telemetry = telemetry::init(&config.telemetry, "bridge-consumer")?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let ended = daemon::run(config, &telemetry).await;
    telemetry.shutdown().await;
    ended.map(|()| ExitCode::SUCCESS)
}
