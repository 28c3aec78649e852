//! `bridgectl tenant create`: the broker's half, the record, and a service account for n8n.

use std::path::PathBuf;

use bridge_protocol::TenantId;
use bridge_service::clock::{Clock, SystemClock};
use serde_json::json;

use super::{LimitFlags, path};
use crate::answers::admin::{Client, Clients, Tenant};
use crate::args::write_private;
use crate::broker::Broker;
use crate::client::Client as Api;
use crate::n8n::Credential;
use crate::verbs::Setup;
use crate::{Exit, Failure, human};

/// What a workflow needs: to publish, to look, to fetch the result.
pub const N8N_SCOPES: [&str; 3] = ["publish", "read", "result"];

#[derive(clap::Args)]
pub struct Args {
    tenant: TenantId,
    /// Leave the broker alone: its half is made elsewhere
    #[arg(long)]
    no_topics: bool,
    /// Other rules for the topics than the built-in ones (pulsar/topics.yml)
    #[arg(long)]
    topics_file: Option<PathBuf>,
    /// Make no service account
    #[arg(long)]
    no_client: bool,
    /// Write the n8n credential to this file, for its owner only, instead of printing it
    #[arg(long)]
    out: Option<PathBuf>,
    // Last: its heading would stand over the others.
    #[command(flatten)]
    limits: LimitFlags,
}

pub async fn run(api: &Api, setup: &Setup, args: Args, json: bool) -> Result<String, Failure> {
    let tenant = &args.tenant;
    // Before anything is made: may this token do it, and is the name free?
    let clients = match api.get::<Tenant>(&path(tenant), &[]).await {
        Ok(present) if present.read.state == "deleting" => return Err(leaving(tenant)),
        Ok(_) => {
            let query = [("tenant_id", tenant.to_string())];
            api.get::<Clients>("/pulsar/clients", &query).await?.read.clients
        }
        Err(failure) if failure.exit == Exit::NotFound => Vec::new(),
        Err(failure) => return Err(failure),
    };
    // The topics come first: consumers subscribe as soon as the record is there.
    let topics = match args.no_topics {
        true => Vec::new(),
        false => {
            let config = setup.load()?;
            let broker = Broker::open(&config, args.topics_file.as_deref())?;
            broker.apply(std::slice::from_ref(tenant), false).await?
        }
    };
    let mut body = json!({});
    if let Some(limits) = args.limits.limits() {
        body["limits"] = json!(limits);
    }
    let record = api.put::<Tenant>(&path(tenant), &[], body.to_string()).await?;
    let now = SystemClock.now();
    let there = clients.into_iter().find(|client| client.name == "n8n" && client.is_good(now));
    let client = match there.is_some() || args.no_client {
        true => None,
        false => Some(n8n_client(api, tenant).await.map_err(|failure| unseen(failure, &record.read))?),
    };
    let there = there.map(|client| client.client_id);
    let made = Made {
        tenant,
        record: &record.read,
        topics: &topics,
        client: client.as_ref(),
        there: there.as_deref(),
    };
    let credential = client.as_ref().and_then(|client| Credential::of(client, api));
    if let (Some(path), Some(credential)) = (&args.out, &credential) {
        write_private(path, &format!("{:#}\n", credential.import()))
            .map_err(|failure| unseen(lost(failure, client.as_ref()), &record.read))?;
    }
    if json {
        let mut answer: serde_json::Value = serde_json::from_str(&record.text).unwrap_or_default();
        answer["topics"] = json!(topics);
        answer["client_id"] = json!(client.as_ref().map(|client| &client.client_id).or(there.as_ref()));
        answer["notes"] = json!(Vec::from_iter(made.shown_before()));
        if args.out.is_none() {
            answer["n8n_credential"] = json!(credential.as_ref().map(Credential::import));
        }
        return Ok(answer.to_string());
    }
    Ok(made.text(credential.as_ref(), args.out.as_deref()))
}

/// Its topics would be made anew while they are removed.
pub fn leaving(tenant: &TenantId) -> Failure {
    let what = format!(
        "tenant {tenant} is being deleted; make it anew once `bridgectl tenant delete {tenant}` is through"
    );
    Failure::new(Exit::Failed, what)
}

/// The account is there, its secret is not.
pub fn lost(failure: Failure, client: Option<&Client>) -> Failure {
    let id = client.map(|client| client.client_id.as_str()).unwrap_or_default();
    let what = format!(
        "{failure}; client {id} is made, and `bridgectl client rotate {id}` makes a new secret for it"
    );
    Failure::new(failure.exit, what)
}

/// What was made goes unseen with the answer that holds it.
fn unseen(failure: Failure, record: &Tenant) -> Failure {
    let Some(_) = record.webhook_secret else { return failure };
    let tenant = &record.tenant_id;
    let what = format!(
        "{failure}\nTenant {tenant} is made, and its webhook secret was not shown: `bridgectl key rotate webhook --tenant \
         {tenant}` makes a new one"
    );
    Failure::new(failure.exit, what)
}

async fn n8n_client(api: &Api, tenant: &TenantId) -> Result<Client, Failure> {
    let body = json!({ "name": "n8n", "kind": "service_account", "tenants": [tenant], "scopes": N8N_SCOPES });
    Ok(api.post::<Client>("/pulsar/clients", &[], body.to_string()).await?.read)
}

struct Made<'a> {
    tenant: &'a TenantId,
    record: &'a Tenant,
    topics: &'a [String],
    client: Option<&'a Client>,
    /// The service account that an earlier run made.
    there: Option<&'a str>,
}

impl Made<'_> {
    /// An earlier run may have been cut off before anybody saw its secrets.
    fn shown_before(&self) -> Option<String> {
        let client = self.there.map(|id| format!("bridgectl client rotate {id}"));
        let webhook = self.record.webhook_secret.is_none();
        let webhook = webhook.then(|| format!("bridgectl key rotate webhook --tenant {}", self.tenant));
        let commands: Vec<_> = client.into_iter().chain(webhook).collect();
        (!commands.is_empty())
            .then(|| format!("secrets were shown when they were made; new ones: {}", commands.join(", ")))
    }

    fn text(&self, credential: Option<&Credential>, out: Option<&std::path::Path>) -> String {
        let Self { tenant, record, topics, client, .. } = self;
        let before = self.shown_before();
        let outcome = record.outcome.as_deref().unwrap_or("unchanged");
        if outcome == "unchanged" && topics.is_empty() && client.is_none() {
            let mut lines = vec![format!("nothing to change for tenant {tenant}")];
            lines.extend(before);
            return lines.join("\n");
        }
        let mut lines = vec![
            format!("tenant {tenant} {outcome}"),
            format!("  limits   {}", human::tenants::limits(&record.limits)),
        ];
        if !topics.is_empty() {
            lines.push(format!("  broker   changed, {} in all", topics.len()));
            lines.extend(topics.iter().map(|change| format!("    {change}")));
        }
        if let Some(secret) = &record.webhook_secret {
            lines.push(format!("  webhooks are signed with {secret}"));
        }
        if let Some(client) = client {
            lines.push(format!("  account  {} \"n8n\": {}", client.client_id, client.scopes.join(" ")));
        }
        match (credential, out) {
            (Some(_), Some(path)) => {
                lines.push(format!("\nn8n: n8n import:credentials --input={}", path.display()));
            }
            (Some(credential), None) => {
                lines.push(format!(
                    "\nn8n: a file for n8n import:credentials --input=FILE\n{:#}",
                    credential.import()
                ));
                lines.push(format!(
                    "\nor the same by hand, as a credential \"OAuth2 API\":\n{}",
                    credential.form()
                ));
            }
            (None, _) => {}
        }
        if client.is_some() || record.webhook_secret.is_some() {
            lines.push("\nThe secrets are shown this once.".to_owned());
        }
        lines.extend(before.map(|line| format!("\nof an earlier run: {line}")));
        lines.join("\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(record: &str, topics: &[&str], client: Option<&str>) -> String {
        let tenant = TenantId::parse("acme").unwrap();
        let record: Tenant = serde_json::from_str(record).unwrap();
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let client: Option<Client> = client.map(|client| serde_json::from_str(client).unwrap());
        let api = Api::at("http://127.0.0.1:8000");
        let credential = client.as_ref().and_then(|client| Credential::of(client, &api));
        let there = (client.is_none()).then_some("svc_abcdefghij12");
        Made { tenant: &tenant, record: &record, topics: &topics, client: client.as_ref(), there }
            .text(credential.as_ref(), None)
    }

    #[test]
    fn a_new_tenant_with_all_that_n8n_needs() {
        insta::assert_snapshot!(shown(
            r#"{"tenant_id":"acme","state":"active","limits":{"requests_per_second":10.0,"burst":20},"outcome":"created",
                "created_at":"2026-11-21T10:00:00Z","changed":true,"in_effect":false,"webhook_secret":"whsec_AAAA"}"#,
            &["create tenant acme on standalone", "create namespace acme/workflows"],
            Some(
                r#"{"client_id":"svc_abcdefghij12","client_secret":"nps_SECRET","kind":"service_account","name":"n8n",
                "tenants":["acme"],"scopes":["publish","read","result"],"token_url":"/oauth2/token"}"#
            ),
        ));
    }

    #[test]
    fn a_second_run_says_that_nothing_changed() {
        let record = r#"{"tenant_id":"acme","state":"active","outcome":"unchanged","in_effect":true}"#;
        insta::assert_snapshot!(shown(record, &[], None), @"
        nothing to change for tenant acme
        secrets were shown when they were made; new ones: bridgectl client rotate svc_abcdefghij12, bridgectl key rotate webhook --tenant acme
        ");
    }

    #[test]
    fn a_failure_tells_of_the_secret_that_nobody_saw() {
        let record =
            r#"{"tenant_id":"acme","state":"active","outcome":"created","webhook_secret":"whsec_AAAA"}"#;
        let record: Tenant = serde_json::from_str(record).unwrap();
        let failure = unseen(Failure::new(Exit::Unavailable, "the bridge did not answer"), &record);
        assert_eq!(failure.exit, Exit::Unavailable);
        insta::assert_snapshot!(failure, @"
        the bridge did not answer
        Tenant acme is made, and its webhook secret was not shown: `bridgectl key rotate webhook --tenant acme` makes a new one
        ");
    }

    #[test]
    fn only_what_was_missing_is_told() {
        let record = r#"{"tenant_id":"acme","state":"active","outcome":"unchanged","in_effect":true}"#;
        insta::assert_snapshot!(shown(record, &["let role bridge-publisher produce on acme/workflows"], None), @"
        tenant acme unchanged
          limits   none
          broker   changed, 1 in all
            let role bridge-publisher produce on acme/workflows

        of an earlier run: secrets were shown when they were made; new ones: bridgectl client rotate svc_abcdefghij12, bridgectl key rotate webhook --tenant acme
        ");
    }
}
