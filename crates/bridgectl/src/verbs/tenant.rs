//! `bridgectl tenant`: from nothing to a credential for n8n, and back.

mod apply;
mod create;
mod delete;
mod file;

pub use create::{N8N_SCOPES, lost};

use bridge_protocol::TenantId;

use super::Setup;
use crate::answers::admin::{Limits, Tenant, Tenants};
use crate::client::Client;
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// A tenant with its topics and a service account for n8n; again: what is missing or differs
    Create(create::Args),
    /// Many tenants from a file, as often as you like
    Apply(apply::Args),
    /// One tenant: its state, limits and use
    Show { tenant: TenantId },
    /// All tenants
    List,
    /// Stop accepting and firing at once; nothing is lost
    Suspend { tenant: TenantId },
    /// Go on where a suspension stopped
    Resume { tenant: TenantId },
    /// Drain, remove its records and its half at the broker
    Delete(delete::Args),
}

#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Limits (none until set; those given replace all of the tenant's)")]
pub struct LimitFlags {
    /// Requests a second
    #[arg(long)]
    rate: Option<f64>,
    /// Requests that may come at once
    #[arg(long, requires = "rate")]
    burst: Option<u64>,
    /// Executions that have not ended
    #[arg(long)]
    open_executions: Option<u64>,
    /// Payload bytes a day
    #[arg(long)]
    bytes_per_day: Option<u64>,
    /// How long results are kept: 90, 15m, 2h or 7d
    #[arg(long, value_parser = crate::args::seconds)]
    result_ttl: Option<u64>,
}

impl LimitFlags {
    fn limits(&self) -> Option<Limits> {
        let limits = Limits {
            requests_per_second: self.rate,
            burst: self.burst,
            open_executions: self.open_executions,
            payload_bytes_per_day: self.bytes_per_day,
            result_ttl_s: self.result_ttl,
        };
        (limits != Limits::default()).then_some(limits)
    }
}

pub async fn run(client: &Client, setup: &Setup, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Create(args) => create::run(client, setup, args, json).await,
        Verb::Apply(args) => apply::run(client, setup, args, json).await,
        Verb::Show { tenant } => {
            let answer = client.get::<Tenant>(&path(&tenant), &[]).await?;
            Ok(if json { answer.text } else { human::tenants::one(&answer.read) })
        }
        Verb::List if json => Ok(serde_json::json!({ "tenants": all_as_json(client).await? }).to_string()),
        Verb::List => Ok(human::tenants::list(&all(client).await?)),
        Verb::Suspend { tenant } => turn(client, &tenant, "suspended", json).await,
        Verb::Resume { tenant } => turn(client, &tenant, "active", json).await,
        Verb::Delete(args) => delete::run(client, setup, args, json).await,
    }
}

fn path(tenant: &TenantId) -> String {
    format!("/pulsar/tenants/{tenant}")
}

/// An id of an answer.
pub fn id(text: &str) -> Result<TenantId, Failure> {
    TenantId::parse(text)
        .map_err(|error| Failure::new(Exit::Failed, format!("the bridge answered tenant {text:?}: {error}")))
}

pub async fn all(client: &Client) -> Result<Vec<Tenant>, Failure> {
    pages::<Tenants>(client).await.map(|pages| pages.into_iter().flat_map(|page| page.tenants).collect())
}

async fn all_as_json(client: &Client) -> Result<Vec<serde_json::Value>, Failure> {
    let mut all = Vec::new();
    for mut page in pages::<serde_json::Value>(client).await? {
        if let Some(serde_json::Value::Array(tenants)) = page.get_mut("tenants").map(serde_json::Value::take)
        {
            all.extend(tenants);
        }
    }
    Ok(all)
}

/// What says where the next page begins.
trait Page: serde::de::DeserializeOwned {
    fn next(&self) -> Option<String>;
}

impl Page for Tenants {
    fn next(&self) -> Option<String> {
        self.next_after.clone()
    }
}

impl Page for serde_json::Value {
    fn next(&self) -> Option<String> {
        self.get("next_after")?.as_str().map(str::to_owned)
    }
}

async fn pages<T: Page>(client: &Client) -> Result<Vec<T>, Failure> {
    let mut pages = Vec::new();
    let mut query = vec![("limit", "1000".to_owned())];
    loop {
        let page = client.get::<T>("/pulsar/tenants", &query).await?.read;
        let next = page.next();
        pages.push(page);
        let Some(next) = next else { return Ok(pages) };
        query.truncate(1);
        query.push(("after", next));
    }
}

async fn turn(client: &Client, tenant: &TenantId, state: &str, json: bool) -> Result<String, Failure> {
    // A PUT would make a tenant that was only mistyped.
    client.get::<Tenant>(&path(tenant), &[]).await?;
    let body = serde_json::json!({ "state": state }).to_string();
    let answer = client.put::<Tenant>(&path(tenant), &[], body).await?;
    if json {
        return Ok(answer.text);
    }
    let already = if answer.read.outcome.as_deref() == Some("unchanged") { " already" } else { "" };
    let force = human::tenants::in_force(answer.read.in_effect);
    Ok(format!("tenant {tenant} is{already} {state}; {force}"))
}
