//! `bridgectl client`: who may call. A secret is shown once, when it is made.

use std::path::{Path, PathBuf};

use bridge_protocol::{Scope, TenantId};
use serde_json::json;

use super::tenant::{N8N_SCOPES, lost};
use crate::answers::admin::{Client, Clients, Revoked};
use crate::args::write_private;
use crate::client::Client as Api;
use crate::n8n::Credential;
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// A service account (for OAuth2) or an API key
    Create(Create),
    /// A new secret; the old one is good for a while longer
    Rotate {
        client: String,
        /// How long the old secret is good: seconds, or 90s, 15m, 2h, 1d
        #[arg(long, default_value = "1d", value_parser = crate::args::seconds)]
        overlap: u64,
        #[command(flatten)]
        out: Out,
    },
    /// End it at once, everywhere
    Revoke { client: String },
    /// All of them, or those of a tenant
    List {
        #[arg(long)]
        tenant: Option<TenantId>,
    },
}

#[derive(clap::Args)]
pub struct Create {
    /// What people call it
    name: String,
    /// The tenant it is for, again for several; none for --admin
    #[arg(long, required_unless_present = "admin")]
    tenant: Vec<TenantId>,
    /// service-account or api-key
    #[arg(long, value_enum, default_value = "service-account")]
    kind: Kind,
    /// What it may do, several with commas: publish, read, payload, result, replay, routes
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// An operator's: administers, and reaches no tenant's data
    #[arg(long, conflicts_with_all = ["tenant", "scopes"])]
    admin: bool,
    /// When it ends, e.g. 2027-01-31T12:00:00Z
    #[arg(long)]
    expires: Option<String>,
    #[command(flatten)]
    out: Out,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    ServiceAccount,
    ApiKey,
}

#[derive(clap::Args)]
pub struct Out {
    /// Write the secret to this file, for its owner only, instead of printing it: an API key alone, a service
    /// account as n8n imports it
    #[arg(long)]
    out: Option<PathBuf>,
}

pub async fn run(api: &Api, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Create(args) => create(api, args, json).await,
        Verb::Rotate { client, overlap, out } => {
            let body = json!({ "overlap_seconds": overlap }).to_string();
            let answer = api.post::<Client>(&format!("{}/rotate", path(&client)?), &[], body).await?;
            show(api, &answer.read, "rotated", out.out.as_deref(), json.then_some(answer.text))
        }
        Verb::Revoke { client } => {
            let answer = api.delete::<Revoked>(&path(&client)?, &[]).await?;
            if json {
                return Ok(answer.text);
            }
            let already = if answer.read.changed { "" } else { " already" };
            let force = human::tenants::in_force(answer.read.in_effect);
            Ok(format!("client {} is{already} revoked; {force}", answer.read.client_id))
        }
        Verb::List { tenant } => {
            let query: Vec<_> = tenant.iter().map(|tenant| ("tenant_id", tenant.to_string())).collect();
            let answer = api.get::<Clients>("/pulsar/clients", &query).await?;
            Ok(if json { answer.text } else { human::clients::list(&answer.read.clients) })
        }
    }
}

/// An id is letters, digits and _; anything else would be another path.
fn path(client: &str) -> Result<String, Failure> {
    let plain = !client.is_empty() && client.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        return Ok(format!("/pulsar/clients/{client}"));
    }
    Err(Failure::new(Exit::Usage, format!("{client:?} is no client's id; bridgectl client list shows them")))
}

async fn create(api: &Api, args: Create, json: bool) -> Result<String, Failure> {
    let kind = match args.kind {
        Kind::ServiceAccount => "service_account",
        Kind::ApiKey => "api_key",
    };
    let scopes: Vec<&str> = match (args.admin, args.scopes.is_empty()) {
        (true, _) => vec![Scope::Admin.as_str()],
        (false, true) => N8N_SCOPES.to_vec(),
        (false, false) => args.scopes.iter().map(|scope| scope.as_str()).collect(),
    };
    let mut body = json!({ "name": args.name, "kind": kind, "tenants": args.tenant, "scopes": scopes });
    if let Some(expires) = &args.expires {
        body["expires_at"] = json!(expires);
    }
    let answer = api.post::<Client>("/pulsar/clients", &[], body.to_string()).await?;
    show(api, &answer.read, "created", args.out.out.as_deref(), json.then_some(answer.text))
}

fn show(
    api: &Api,
    client: &Client,
    what: &str,
    out: Option<&Path>,
    json: Option<String>,
) -> Result<String, Failure> {
    let credential = Credential::of(client, api);
    let secret = match (&client.api_key, &credential) {
        (Some(key), _) => format!("{key}\n"),
        (None, Some(credential)) => format!("{:#}\n", credential.import()),
        (None, None) => String::new(),
    };
    if let Some(path) = out {
        write_private(path, &secret).map_err(|failure| lost(failure, Some(client)))?;
    }
    if let Some(text) = json {
        return Ok(match out {
            None => text,
            Some(path) => json!({ "client_id": client.client_id, "out": path }).to_string(),
        });
    }
    let mut text = human::clients::made(client, what);
    match (out, &client.api_key, credential) {
        (Some(path), ..) => text.push_str(&format!("\n  its secret is in {}", path.display())),
        (None, Some(key), _) => text.push_str(&format!("\n\n{key}\n\nThe key is shown this once.")),
        (None, None, Some(credential)) => {
            text.push_str(&format!("\n\n{}\n\nThe secret is shown this once.", credential.form()));
        }
        (None, None, None) => {}
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ACCOUNT: &str = r#"{"client_id":"svc_abcdefghij12","client_secret":"nps_SECRET","kind":"service_account",
        "name":"n8n","tenants":["acme"],"scopes":["publish","read"],"token_url":"https://bridge.example/oauth2/token",
        "old_valid_until":"2026-11-22T10:00:00Z"}"#;

    #[test]
    fn a_rotated_account_is_ready_to_paste() {
        let client: Client = serde_json::from_str(ACCOUNT).unwrap();
        let text = show(&Api::at("http://127.0.0.1:8000"), &client, "rotated", None, None).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_secret_in_a_file_is_not_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n8n.json");
        let client: Client = serde_json::from_str(ACCOUNT).unwrap();
        let api = Api::at("http://127.0.0.1:8000");
        for json in [None, Some(ACCOUNT.to_owned())] {
            let text = show(&api, &client, "created", Some(&path), json).unwrap();
            assert!(!text.contains("nps_"), "{text}");
        }
        let import: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        insta::assert_json_snapshot!(import);
    }

    #[test]
    fn clients_are_listed_with_what_ends() {
        let clients: Vec<Client> = serde_json::from_str(&format!(
            "[{ACCOUNT},{}]",
            r#"{"client_id":"npb_abcdefghij12","kind":"api_key","name":"operator","tenants":[],"scopes":["admin"],
                "revoked_at":"2026-11-21T10:00:00Z"}"#
        ))
        .unwrap();
        insta::assert_snapshot!(human::clients::list(&clients));
    }

    #[test]
    fn an_id_stays_within_its_path() {
        assert!(path("svc_abcdefghij12").is_ok());
        assert!(path("../tenants/acme").is_err());
    }
}
