//! The frame of a daemon: flags, configuration, telemetry, lifecycle, exit codes.

use crate::config::{Config, ConfigFaults, Role};
use crate::lifecycle::Lifecycle;
use crate::telemetry::{self, TelemetryGuard};
use clap::{Parser, Subcommand};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long `health` waits for the daemon's answer.
const HEALTH_LIMIT: Duration = Duration::from_secs(3);

#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The configuration file; without it the defaults and the environment are used.
    #[arg(long, env = "BRIDGE_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Print the effective configuration, secrets masked, and leave.
    #[arg(long)]
    check_config: bool,
    /// Publisher only: ask nobody for a credential. For a machine of your own, on a loopback address.
    #[arg(long)]
    insecure_dev: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the running daemon whether it is ready: exit code 0 or 1.
    Health,
    /// Publisher only: print the HTTP API's routes and what each asks for, as JSON.
    Routes,
    /// Publisher only: print the HTTP API's description (OpenAPI 3.1).
    Openapi,
    /// Publisher only: write the reference of the HTTP API into a directory.
    Reference { directory: PathBuf },
}

/// What a daemon starts from.
pub struct Started {
    pub config: Config,
    pub lifecycle: Lifecycle,
    pub telemetry: TelemetryGuard,
    /// No caller needs a credential: asked for by a flag, and only on a loopback address.
    pub insecure_dev: bool,
}

/// The descriptions of an HTTP API.
#[derive(Clone, Copy)]
pub struct ApiTexts {
    pub routes: fn() -> String,
    pub openapi: fn() -> String,
    /// Files by name.
    pub reference: fn() -> Vec<(&'static str, String)>,
}

/// What only the publisher has.
#[derive(Clone, Copy, Default)]
pub struct Extras {
    pub insecure_dev: bool,
    /// What describes its HTTP API.
    pub api: Option<ApiTexts>,
}

/// Runs a daemon to its end. `bind` picks its HTTP address; `run` returns when everything is stopped and hands the
/// telemetry back, so that its last spans leave last.
pub fn main<R, F>(name: &'static str, bind: fn(&Config) -> SocketAddr, run: R) -> ExitCode
where
    R: FnOnce(Started) -> F,
    F: Future<Output = anyhow::Result<TelemetryGuard>>,
{
    main_with(name, bind, Extras::default(), run)
}

/// [`main`] for a daemon with more flags and commands.
pub fn main_with<R, F>(
    name: &'static str,
    bind: fn(&Config) -> SocketAddr,
    extras: Extras,
    run: R,
) -> ExitCode
where
    R: FnOnce(Started) -> F,
    F: Future<Output = anyhow::Result<TelemetryGuard>>,
{
    let flags = Flags::parse();
    let mut faults = ConfigFaults::default();
    if let Some(command @ (Command::Routes | Command::Openapi | Command::Reference { .. })) = &flags.command {
        match extras.api {
            Some(api) => return describe(name, command, api),
            None => faults.add("command", format!("{name} has no HTTP API to describe")),
        }
    }
    if flags.insecure_dev && !extras.insecure_dev {
        faults.add("--insecure-dev", format!("{name} takes no callers; the flag is the publisher's"));
    }
    if !faults.is_empty() {
        return at_fault(name, &faults);
    }
    // A container's check must not need what only the daemon itself may read.
    if let Some(Command::Health) = flags.command {
        return match Config::load_for(Role::Operator, flags.config, environment()) {
            Ok((config, _)) => health(bind(&config)),
            Err(faults) => at_fault(name, &faults),
        };
    }
    let file = flags.config.clone();
    let again = move || {
        Config::load_for(Role::Operator, file.clone(), environment()).map(|(config, _)| config.telemetry)
    };
    let (config, warnings) = match Config::load(flags.config, environment()) {
        Ok(loaded) => loaded,
        Err(faults) => return at_fault(name, &faults),
    };
    if flags.insecure_dev && !bind(&config).ip().is_loopback() {
        let what = format!("only on a loopback address, not on {}; set publisher.bind", bind(&config));
        faults.add("--insecure-dev", what);
        return at_fault(name, &faults);
    }
    if flags.check_config {
        warnings.iter().for_each(|warning| eprintln!("{name}: {warning}"));
        print!("{}", config.masked());
        return ExitCode::SUCCESS;
    }
    // One TLS provider for every client in the process; an Err only says that there is one already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let work = async {
        let telemetry = telemetry::init(&config.telemetry, Box::new(again), name)?;
        warnings.iter().for_each(|warning| tracing::warn!(key = warning.place, "{}", warning.what));
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "{name} starts");
        let insecure_dev = flags.insecure_dev;
        if insecure_dev {
            tracing::warn!(
                "--insecure-dev: EVERYBODY who reaches this address may do EVERYTHING, without a credential"
            );
        }
        let lifecycle = Lifecycle::install()?;
        let telemetry = run(Started { config, lifecycle, telemetry, insecure_dev }).await?;
        tracing::info!("{name} has stopped");
        telemetry.shutdown().await;
        Ok(())
    };
    let ended: anyhow::Result<()> = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(work);
            // What ignored the hard stop is not waited for.
            runtime.shutdown_timeout(Duration::from_secs(1));
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn describe(name: &str, command: &Command, api: ApiTexts) -> ExitCode {
    match command {
        Command::Routes => println!("{}", (api.routes)()),
        Command::Openapi => println!("{}", (api.openapi)()),
        Command::Reference { directory } => {
            let write = |(file, text): (&str, String)| std::fs::write(directory.join(file), text);
            let written = std::fs::create_dir_all(directory)
                .and_then(|()| (api.reference)().into_iter().try_for_each(write));
            if let Err(error) = written {
                eprintln!("{name}: the reference cannot be written to {}: {error}", directory.display());
                return ExitCode::FAILURE;
            }
        }
        Command::Health => {}
    }
    ExitCode::SUCCESS
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // A name that is not UTF-8 is none of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn at_fault(name: &str, faults: &ConfigFaults) -> ExitCode {
    eprintln!("{name}: {faults}");
    ExitCode::from(ConfigFaults::EXIT_CODE as u8)
}

fn health(bind: SocketAddr) -> ExitCode {
    let mut address = bind;
    if bind.ip().is_unspecified() {
        address.set_ip(if bind.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    match ready(address) {
        Ok((true, answer)) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok((false, answer)) => {
            eprintln!("{answer}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("no answer from {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One plain request: a check that runs every few seconds should not start a runtime and a client.
fn ready(address: SocketAddr) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_LIMIT)?;
    stream.set_read_timeout(Some(HEALTH_LIMIT))?;
    stream.set_write_timeout(Some(HEALTH_LIMIT))?;
    write!(stream, "GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(65_536).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim().to_owned();
    Ok((answer.starts_with("HTTP/1.1 200"), body))
}
