//! `bridgectl topics apply`: what the tenants need at the broker. Safe to repeat.

use std::path::PathBuf;

use anyhow::Context;
use bridge_bus::admin::Problem;
use bridge_bus::{Admin, AdminError, TopicsFile, topics};
use bridge_protocol::TenantId;
use bridge_service::Config;

use super::Setup;
use crate::{Exit, Failure};

/// What every installation starts from.
const SHIPPED: &str = include_str!("../../../../pulsar/topics.yml");

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Create what is missing and change what differs
    Apply(Apply),
}

#[derive(clap::Args)]
pub struct Apply {
    /// Only this tenant, again for several; otherwise every tenant of the configuration
    #[arg(long)]
    tenant: Vec<TenantId>,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Rules to apply instead of the built-in ones (pulsar/topics.yml)
    #[arg(long)]
    file: Option<PathBuf>,
}

pub async fn run(setup: &Setup, verb: Verb, json: bool) -> Result<String, Failure> {
    let Verb::Apply(args) = verb;
    let config = setup.load()?;
    let file = rules(&args, &config).map_err(|error| Failure::because(Exit::Usage, error))?;
    let tenants = tenants(args.tenant, &config)?;
    let limit = config.pulsar.operation_timeout_ms.get();
    let admin = Admin::new(&config.pulsar.http_url, config.admin_auth(), limit).map_err(failed)?;
    let changes =
        topics::apply(&admin, &file, &config.topic_names(), &tenants, args.dry_run).await.map_err(failed)?;
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    if json {
        return Ok(serde_json::json!({ "dry_run": args.dry_run, "changes": changes }).to_string());
    }
    Ok(summary(&changes, tenants.len(), args.dry_run))
}

fn rules(args: &Apply, config: &Config) -> anyhow::Result<TopicsFile> {
    let text = match &args.file {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => SHIPPED.to_owned(),
    };
    let mut rules = TopicsFile::parse(&text)?;
    let subscription = &config.pulsar.subscription;
    if args.file.is_some() && rules.subscription != *subscription {
        let file = &rules.subscription;
        anyhow::bail!(
            "the file creates the subscription {file}, but the consumers use {subscription}: \
             messages would pile up unread; make both the same (pulsar.subscription)"
        );
    }
    rules.subscription.clone_from(subscription);
    Ok(rules)
}

fn tenants(asked: Vec<TenantId>, config: &Config) -> Result<Vec<TenantId>, Failure> {
    if !asked.is_empty() {
        return Ok(asked);
    }
    let mut tenants: Vec<_> = config.tenants.iter().map(|tenant| tenant.id.clone()).collect();
    if tenants.is_empty() {
        let default = TenantId::parse(&config.pulsar.tenant);
        tenants.push(default.map_err(|error| Failure::new(Exit::Usage, format!("pulsar.tenant: {error}")))?);
    }
    Ok(tenants)
}

fn summary(changes: &[String], tenants: usize, dry_run: bool) -> String {
    let of = if tenants == 1 { "1 tenant".to_owned() } else { format!("{tenants} tenants") };
    let last = match (changes.len(), dry_run) {
        (0, _) => format!("nothing to change for {of}"),
        (count, true) => format!("to do for {of}: {count}; nothing was changed"),
        (count, false) => format!("done for {of}: {count}"),
    };
    changes.iter().cloned().chain([last]).collect::<Vec<_>>().join("\n")
}

fn failed(error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    let broker = error.chain().find_map(|cause| cause.downcast_ref::<AdminError>());
    let exit = match broker.map(|error| &error.problem) {
        Some(Problem::BadUrl | Problem::BadName(_)) => Exit::Usage,
        Some(Problem::Status { status: 401 | 403, .. } | Problem::Credential(_)) => Exit::Unauthorized,
        Some(Problem::Transport(_) | Problem::Timeout(_) | Problem::Status { status: 502..=504, .. }) => {
            Exit::Unavailable
        }
        _ => Exit::Failed,
    };
    Failure::because(exit, error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_rules_are_usable() {
        assert_eq!(TopicsFile::parse(SHIPPED).unwrap().subscription, "bridge-consumer");
    }

    #[test]
    fn the_last_line_counts() {
        assert_eq!(summary(&[], 1, false), "nothing to change for 1 tenant");
        let changes = ["create tenant acme on standalone".to_owned()];
        assert_eq!(
            summary(&changes, 2, true),
            "create tenant acme on standalone\nto do for 2 tenants: 1; nothing was changed"
        );
    }
}
