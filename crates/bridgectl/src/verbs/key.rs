//! `bridgectl key`: rotation of every kind of key.

mod signing;

use std::path::PathBuf;

use bridge_protocol::TenantId;
use serde_json::json;

use crate::answers::admin::{Destroyed, Rotated};
use crate::args::{confirm, write_private};
use crate::client::{Client, Connection};
use crate::{Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// A new key beside the old one
    #[command(subcommand)]
    Rotate(Rotate),
    /// For ever
    #[command(subcommand)]
    Destroy(Destroy),
}

#[derive(clap::Subcommand)]
pub enum Rotate {
    /// A tenant's webhook secret; both sign while the receiver changes over
    Webhook {
        #[arg(long)]
        tenant: TenantId,
        /// How long the old one signs too: seconds, or 90s, 15m, 2h, 1d
        #[arg(long, default_value = "1d", value_parser = crate::args::seconds)]
        overlap: u64,
        /// Write the secret to this file, for its owner only, instead of printing it
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The key that seals a tenant's payloads; older ones still open theirs
    Data {
        #[arg(long)]
        tenant: TenantId,
    },
    /// The key that signs access tokens; it is published before it signs
    Issuer {
        /// How long tokens of the old one are good: seconds, or 90s, 15m, 2h, 1d
        #[arg(long, default_value = "1d", value_parser = crate::args::seconds)]
        overlap: u64,
    },
    /// Seal every secret again by the first of the master keys; safe to repeat
    Master,
    /// The keyring's key that signs messages (edits the file, not the bridge)
    Signing(signing::Args),
}

#[derive(clap::Subcommand)]
pub enum Destroy {
    /// All data keys of a tenant: the payloads they sealed become unreadable for ever
    Data {
        #[arg(long)]
        tenant: TenantId,
        /// The tenant's name once more, where there is no terminal to type it on
        #[arg(long)]
        confirm: Option<String>,
    },
}

pub async fn run(connection: Connection, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Rotate(Rotate::Signing(args)) => signing::run(&args, json),
        Verb::Rotate(Rotate::Webhook { tenant, overlap, out }) => {
            let body = json!({ "key": "webhook", "tenant_id": tenant, "overlap_seconds": overlap });
            rotate(&connection.open()?, &body, out, json).await
        }
        Verb::Rotate(Rotate::Data { tenant }) => {
            let body = json!({ "key": "data", "tenant_id": tenant });
            rotate(&connection.open()?, &body, None, json).await
        }
        Verb::Rotate(Rotate::Issuer { overlap }) => {
            let body = json!({ "key": "issuer", "overlap_seconds": overlap });
            rotate(&connection.open()?, &body, None, json).await
        }
        Verb::Rotate(Rotate::Master) => {
            rotate(&connection.open()?, &json!({ "key": "master" }), None, json).await
        }
        Verb::Destroy(Destroy::Data { tenant, confirm: flag }) => {
            let client = connection.open()?;
            let what =
                format!("Every payload sealed by tenant {tenant}'s data keys becomes unreadable for ever.");
            confirm(tenant.as_str(), flag.as_deref(), &what)?;
            let body = json!({ "key": "data", "tenant_id": tenant, "confirm": tenant });
            let answer = client.post::<Destroyed>("/pulsar/keys/destroy", &[], body.to_string()).await?;
            let force = human::tenants::in_force(answer.read.in_effect);
            Ok(if json { answer.text } else { format!("{}\n  {force}", answer.read.detail) })
        }
    }
}

async fn rotate(
    client: &Client,
    body: &serde_json::Value,
    out: Option<PathBuf>,
    json: bool,
) -> Result<String, Failure> {
    let answer = client.post::<Rotated>("/pulsar/keys/rotate", &[], body.to_string()).await?;
    let secret = answer.read.webhook_secret.as_deref();
    if let (Some(path), Some(secret)) = (&out, secret) {
        write_private(path, &format!("{secret}\n"))?;
        if json {
            return Ok(json!({ "key": answer.read.key, "id": answer.read.id, "out": path }).to_string());
        }
    }
    if json {
        return Ok(answer.text);
    }
    let mut text = human::keys::rotated(&answer.read);
    match (secret, out) {
        (Some(_), Some(path)) => text.push_str(&format!("\n  it is in {}", path.display())),
        (Some(secret), None) => text.push_str(&format!("\n\n{secret}\n\nThe secret is shown this once.")),
        (None, _) => {}
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(answer: &str) -> String {
        let rotated: Rotated = serde_json::from_str(answer).unwrap();
        human::keys::rotated(&rotated)
    }

    #[test]
    fn each_kind_says_what_holds_from_when() {
        insta::assert_snapshot!([
            shown(r#"{"key":"webhook","tenant_id":"acme","id":"1","webhook_secret":"whsec_A","changed":true,
                "old_valid_until":"2026-11-22T10:00:00Z","in_effect":true}"#),
            shown(r#"{"key":"data","tenant_id":"acme","id":"1","changed":true,"in_effect":false}"#),
            shown(r#"{"key":"issuer","kid":"2026-11-21-0a1b2c3d","changed":true,"signs_from":"2026-11-21T10:00:30Z",
                "old_verifies_until":"2026-11-22T10:00:00Z","in_effect":true}"#),
            shown(r#"{"key":"master","current":"2026-b","sealed":12,"resealed":0,"changed":false,"unreadable":0}"#),
            shown(r#"{"key":"master","current":"2026-b","sealed":12,"resealed":11,"changed":true,"unreadable":1,
                "unreadable_because":["the issuer key \"k\" is sealed by master key \"x\", which is not loaded"]}"#),
        ].join("\n\n"));
    }
}
