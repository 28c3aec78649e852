//! The operators' command: tenants, callers, keys and executions over the bridge's HTTP API; sets up the database, the
//! first operator and the broker.
#![forbid(unsafe_code)]

mod answers;
mod args;
mod broker;
mod client;
mod failure;
mod human;
mod n8n;
mod progress;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::Connection;
use failure::{Exit, Failure};
use verbs::{
    Setup, admin, audit, clients, credential, dlq, execution, key, migrate, publish, roles, tenant, topics,
};

/// Speaks to the bridge for its operators.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 unauthorized,
/// 5 unavailable (try again).
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
    /// Publish one execution
    Publish(publish::Args),
    /// Look at executions
    #[command(subcommand)]
    Execution(execution::Verb),
    /// Executions that were given up
    #[command(subcommand)]
    Dlq(dlq::Verb),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // The broker's admin API and the bridge may both be behind TLS; ring is the one provider here.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    match run(cli).await {
        Ok(answer) => failure::print(&answer),
        Err(failure) => {
            eprintln!("bridgectl: {failure}");
            failure.exit.into()
        }
    }
}

/// What a verb has to say: the text to print.
async fn run(cli: Cli) -> Result<String, Failure> {
    let json = cli.json;
    match cli.verb {
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
        Verb::Dlq(verb) => dlq::run(&cli.connection.open()?, verb, json).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
