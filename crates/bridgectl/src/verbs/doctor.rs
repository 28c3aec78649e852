//! `bridgectl doctor`: looks at everything the bridge stands on and says how to mend what it finds. It changes nothing.

mod broker;
mod daemons;
mod postgres;
mod secrets;
mod webhooks;

use std::time::Duration;

use bridge_protocol::TenantId;
use bridge_service::Config;
use bridge_service::config::Role;
use bridge_store::LiveMember;
use serde::Serialize;
use url::Url;

use super::{Setup, tenant};
use crate::client::{Client, Connection};
use crate::{Exit, Failure, human};

/// Of one question over HTTP.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// The consumer's health address; without it the port of consumer.bind on this machine
    #[arg(long)]
    consumer_url: Option<Url>,
    /// Only the topics of this tenant, again for several; otherwise of every tenant when an operator's API token is
    /// given, else of the default tenant
    #[arg(long)]
    tenant: Vec<TenantId>,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub grade: Grade,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    Ok,
    /// Worth knowing; nothing needs to be done.
    Note,
    /// Something is wrong.
    Finding,
}

/// All that was looked at.
#[derive(Default)]
pub struct Report(pub Vec<Check>);

impl Report {
    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.0.push(Check { check, grade: Grade::Ok, what: what.into(), mend: None });
    }

    fn note(&mut self, check: &'static str, what: impl Into<String>) {
        self.0.push(Check { check, grade: Grade::Note, what: what.into(), mend: None });
    }

    fn finding(&mut self, check: &'static str, what: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Check { check, grade: Grade::Finding, what: what.into(), mend: Some(mend.into()) });
    }

    pub fn findings(&self) -> usize {
        self.0.iter().filter(|check| check.grade == Grade::Finding).count()
    }
}

pub async fn run(setup: &Setup, connection: Connection, args: Args, json: bool) -> Result<String, Failure> {
    let mut report = Report::default();
    let config = config(setup, &mut report);
    let http = http()?;
    let bridge = connection.url();
    let client = match connection.has_token() {
        true => Some(connection.open()?),
        false => None,
    };
    let everybody = tenants(client.as_ref(), &mut report).await;
    let mut members = None;
    if let Some(config) = &config {
        members = postgres::check(config, &mut report).await;
        secrets::check(config, members.as_deref(), &mut report);
    }
    daemons::publisher(&http, &bridge, &mut report).await;
    let consumer = args.consumer_url.or_else(|| {
        let port = config.as_ref()?.consumer.bind.port();
        Url::parse(&format!("http://127.0.0.1:{port}")).ok()
    });
    match consumer {
        Some(url) => daemons::consumer(&http, &url, alive(members.as_deref(), "consumer"), &mut report).await,
        None => report.note("consumer", "not asked: its address is not known; give --consumer-url"),
    }
    if let Some(config) = &config {
        let tenants = match (args.tenant.is_empty(), everybody) {
            (false, _) => args.tenant,
            (true, Some(all)) => all,
            (true, None) => TenantId::parse(&config.pulsar.tenant).into_iter().collect(),
        };
        broker::check(config, &tenants, &mut report).await;
        webhooks::check(&http, config, &mut report).await;
    }
    let findings = report.findings();
    let text = match json {
        true => serde_json::json!({ "findings": findings, "checks": report.0 }).to_string(),
        false => human::doctor::text(&report),
    };
    if findings == 0 {
        return Ok(text);
    }
    // The report is whole although the exit code says that something is wrong.
    crate::failure::print(&text);
    let what = if findings == 1 { "1 finding".to_owned() } else { format!("{findings} findings") };
    Err(Failure::new(Exit::Failed, what))
}

fn config(setup: &Setup, report: &mut Report) -> Option<Config> {
    const MEND: &str = "correct the configuration file (--config, BRIDGE_CONFIG) or the environment; \
                        bridge-publisher --check-config prints the effective values";
    match setup.load() {
        Err(failure) => {
            report.finding("config", failure.to_string(), MEND);
            None
        }
        Ok(config) => {
            match setup.load_as(Role::Daemon) {
                Ok(_) => report.ok("config", "usable, for the daemons too"),
                Err(faults) => report.note(
                    "config",
                    format!("usable for bridgectl; a daemon would need more of it: {faults}"),
                ),
            }
            Some(config)
        }
    }
}

/// Every tenant, where an operator's token is given. The token is checked by it.
async fn tenants(client: Option<&Client>, report: &mut Report) -> Option<Vec<TenantId>> {
    let Some(client) = client else {
        report.note(
            "token",
            "none is given (BRIDGE_TOKEN_FILE): only the default tenant's topics are looked at",
        );
        return None;
    };
    match tenant::all(client).await {
        Ok(all) => {
            let tenants = if all.len() == 1 { "tenant" } else { "tenants" };
            report.ok("token", format!("an operator's; {} {tenants}", all.len()));
            // One that is being deleted loses its topics soon.
            let staying = all.into_iter().filter(|tenant| tenant.state != "deleting");
            Some(staying.filter_map(|tenant| TenantId::parse(&tenant.tenant_id).ok()).collect())
        }
        Err(failure) if failure.exit == Exit::Unauthorized => {
            let mend =
                "give an operator's API key (BRIDGE_TOKEN_FILE); bridgectl admin bootstrap --force makes one";
            report.finding("token", format!("it is no operator's: {failure}"), mend);
            None
        }
        // That the bridge is away is the publisher's finding.
        Err(failure) => {
            report.note("token", format!("not checked: {failure}"));
            None
        }
    }
}

/// None: nobody knows.
fn alive(members: Option<&[LiveMember]>, kind: &str) -> Option<usize> {
    Some(members?.iter().filter(|member| member.kind == kind).count())
}

fn http() -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder().connect_timeout(LIMIT).timeout(LIMIT);
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| Failure::because(Exit::Failed, error))
}

/// An error with its causes, without the URL, which may hold a password.
fn said(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error.without_url()))
}
