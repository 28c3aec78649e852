//! `bridgectl topics apply`: what the tenants need at the broker. Safe to repeat.

use std::path::PathBuf;

use bridge_protocol::TenantId;
use bridge_service::Config;

use super::{Setup, tenant};
use crate::broker::Broker;
use crate::client::Connection;
use crate::{Exit, Failure};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Create what is missing and change what differs
    Apply(Apply),
}

#[derive(clap::Args)]
pub struct Apply {
    /// Only this tenant, again for several; otherwise every tenant of the bridge when an API token is given, else
    /// the default tenant of the configuration (pulsar.tenant)
    #[arg(long)]
    tenant: Vec<TenantId>,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Rules to apply instead of the built-in ones (pulsar/topics.yml)
    #[arg(long)]
    file: Option<PathBuf>,
}

pub async fn run(setup: &Setup, connection: Connection, verb: Verb, json: bool) -> Result<String, Failure> {
    let Verb::Apply(args) = verb;
    let config = setup.load()?;
    let broker = Broker::open(&config, args.file.as_deref())?;
    let tenants = tenants(args.tenant, connection, &config).await?;
    let changes = broker.apply(&tenants, args.dry_run).await?;
    if json {
        return Ok(serde_json::json!({ "dry_run": args.dry_run, "changes": changes }).to_string());
    }
    Ok(summary(&changes, tenants.len(), args.dry_run))
}

async fn tenants(
    asked: Vec<TenantId>,
    connection: Connection,
    config: &Config,
) -> Result<Vec<TenantId>, Failure> {
    if !asked.is_empty() {
        return Ok(asked);
    }
    if connection.has_token() {
        let all = tenant::all(&connection.open()?).await?;
        // One that is being deleted loses its topics soon.
        let mut staying = Vec::new();
        for tenant in all.into_iter().filter(|tenant| tenant.state != "deleting") {
            staying.push(tenant::id(&tenant.tenant_id)?);
        }
        return Ok(staying);
    }
    let default = TenantId::parse(&config.pulsar.tenant);
    Ok(vec![default.map_err(|error| Failure::new(Exit::Usage, format!("pulsar.tenant: {error}")))?])
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

#[cfg(test)]
mod tests {
    use super::*;

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
