//! The operators' command: tenants, callers, keys and executions over the bridge's HTTP API; sets up the database, the
//! first operator and the broker.
#![forbid(unsafe_code)]

mod answers;
mod args;
mod broker;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod canned;
mod client;
mod failure;
mod human;
mod live;
mod n8n;
mod progress;
mod routes;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use client::Connection;
use failure::{Exit, Failure};
use verbs::{
    Of, Setup, admin, audit, bulk, clients, completions, credential, dlq, doctor, execution, hold, job, key,
    migrate, publish, roles, route, status, tenant, topics, trace,
};

/// Speaks to the bridge for its operators.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 unauthorized, 5 unavailable (try again),
/// 6 conflict; all of them: bridgectl help exit-codes.
#[derive(Parser)]
#[command(version, name = "bridgectl")]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    setup: Setup,
    /// Print the answer as JSON
    #[arg(long, global = true, help_heading = "Bridge")]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The whole on one screen: daemons, breakers, what is overdue, given up, held
    Status(Of),
    /// Looks at everything the bridge stands on and says how to mend what it finds
    Doctor(doctor::Args),
    /// Bring the database's schema up to date (reads the configuration, not the HTTP API)
    Migrate,
    /// The first operator (reads the configuration, not the HTTP API)
    #[command(subcommand)]
    Admin(admin::Verb),
    /// Pulsar's tenants, namespaces, topics and subscriptions
    #[command(subcommand)]
    Topics(topics::Verb),
    /// The daemons' and tenants' own tokens at the broker
    #[command(subcommand)]
    Roles(roles::Verb),
    /// Tenants, from nothing to a credential for n8n
    #[command(subcommand)]
    Tenant(tenant::Verb),
    /// Who may call: service accounts and API keys
    #[command(subcommand)]
    Client(clients::Verb),
    /// What the bridge shows to a tenant's webhooks
    #[command(subcommand)]
    Credential(credential::Verb),
    /// Keys and secrets: rotate and destroy
    #[command(subcommand)]
    Key(key::Verb),
    /// Who did what
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Where workflows are fired and by which rules
    #[command(subcommand)]
    Route(route::Verb),
    /// Publish one execution
    Publish(publish::Args),
    /// Find executions, follow them, wait for one, end or repeat one
    #[command(subcommand)]
    Execution(execution::Verb),
    /// An execution's trace, drawn as a tree; fetched from Jaeger
    Trace(trace::Args),
    /// Publish many again, as a job
    Replay(bulk::Args),
    /// End many, as a job
    Cancel(bulk::Args),
    /// Replays and cancellations of many: how far they are
    #[command(subcommand)]
    Job(job::Verb),
    /// Executions that were given up
    #[command(subcommand)]
    Dlq(dlq::Verb),
    /// Fire nothing of a workflow, lane or host for now; what is published is accepted as ever
    Hold(hold::Set),
    /// Take a hold away; what it held is due at once
    Release(hold::Release),
    /// The holds that stand
    Holds(Of),
    /// What a shell needs to complete verbs and flags
    Completions(completions::Args),
    /// What the exit codes mean
    #[command(long_about = failure::EXIT_CODES)]
    ExitCodes,
    /// Which routes of the bridge each verb asks
    #[command(hide = true)]
    Routes,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // The broker's admin API and the bridge may both be behind TLS; ring is the one provider here.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    match run(cli).await {
        Ok(answer) => failure::print(&answer),
        Err(failure) => {
            eprintln!("bridgectl: {}", human::plain(&failure.to_string()));
            failure.exit.into()
        }
    }
}

/// What a verb has to say: the text to print.
async fn run(cli: Cli) -> Result<String, Failure> {
    let json = cli.json;
    match cli.verb {
        Verb::Status(of) => status::run(&cli.connection.open()?, of, json).await,
        Verb::Doctor(args) => doctor::run(&cli.setup, cli.connection, args, json).await,
        Verb::Migrate => migrate::run(&cli.setup, json).await,
        Verb::Admin(verb) => admin::run(&cli.setup, verb, json).await,
        Verb::Topics(verb) => topics::run(&cli.setup, cli.connection, verb, json).await,
        Verb::Roles(verb) => roles::run(&cli.setup, verb, json),
        Verb::Tenant(verb) => tenant::run(&cli.connection.open()?, &cli.setup, verb, json).await,
        Verb::Client(verb) => clients::run(&cli.connection.open()?, verb, json).await,
        Verb::Credential(verb) => credential::run(&cli.connection.open()?, verb, json).await,
        Verb::Key(verb) => key::run(cli.connection, verb, json).await,
        Verb::Audit(verb) => audit::run(&cli.connection.open()?, verb, json).await,
        Verb::Publish(args) => publish::run(&cli.connection.open()?, args, json).await,
        Verb::Execution(verb) => execution::run(&cli.connection.open()?, verb, json).await,
        Verb::Trace(args) => trace::run(args, json).await,
        Verb::Route(verb) => route::run(&cli.connection.open()?, verb, json).await,
        Verb::Replay(args) => bulk::run(&cli.connection.open()?, bulk::Kind::Replay, args, json).await,
        Verb::Cancel(args) => bulk::run(&cli.connection.open()?, bulk::Kind::Cancel, args, json).await,
        Verb::Job(verb) => job::run(&cli.connection.open()?, verb, json).await,
        Verb::Dlq(verb) => dlq::run(&cli.connection.open()?, verb, json).await,
        Verb::Hold(args) => hold::set(&cli.connection.open()?, args, json).await,
        Verb::Release(args) => hold::release(&cli.connection.open()?, args, json).await,
        Verb::Holds(of) => hold::list(&cli.connection.open()?, of, json).await,
        Verb::Completions(args) => completions::run(Cli::command(), &args, json),
        Verb::ExitCodes if json => Ok(failure::exit_codes_json()),
        Verb::ExitCodes => Ok(failure::EXIT_CODES.to_owned()),
        Verb::Routes => Ok(routes::as_json()),
    }
}

#[cfg(test)]
mod tests;
