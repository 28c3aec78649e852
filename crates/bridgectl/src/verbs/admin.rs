//! `bridgectl admin bootstrap`: the first operator's credential, and the key that signs access tokens. Straight into the
//! database: nobody could log in yet.

use std::path::PathBuf;
use std::time::Duration;

use bridge_protocol::{ApiKey, Scope, Scopes};
use bridge_service::Config;
use bridge_service::clock::{Clock, SystemClock, entropy};
use bridge_service::key_pair::KeyPair;
use bridge_service::vault::{Purpose, Vault};
use bridge_store::{Actor, AdminError, CredentialKind, CredentialRecord, SealedIssuerKey, Store, StoreError};
use serde_json::json;

use super::Setup;
use crate::args::write_private;
use crate::{Exit, Failure};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Make the first API key of an operator, and the first key that signs access tokens
    Bootstrap(Bootstrap),
}

#[derive(clap::Args)]
pub struct Bootstrap {
    /// Make another one although one is there: the first was lost
    #[arg(long)]
    force: bool,
    /// What people call it
    #[arg(long, default_value = "bootstrap")]
    name: String,
    /// Write the API key to this file, for its owner only, instead of printing it
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What was made; `None` was there already.
struct Made {
    issuer_kid: Option<String>,
    key: Option<ApiKey>,
}

pub async fn run(setup: &Setup, verb: Verb, json: bool) -> Result<String, Failure> {
    let Verb::Bootstrap(args) = verb;
    let config = setup.load()?;
    let vault = vault(&config)?;
    let store = super::migrate::open(&config)?;
    let made = bootstrap(&store, &vault, &args).await;
    store.close().await;
    let made = made?;
    if let (Some(path), Some(key)) = (&args.out, &made.key)
        && let Err(failure) = write_private(path, &format!("{}\n", key.expose()))
    {
        let what = format!(
            "{failure}; the key {} is in force all the same: revoke it, or make another with --force",
            key.id()
        );
        return Err(Failure::new(failure.exit, what));
    }
    Ok(if json { made.json(&args) } else { made.text(&args) })
}

fn vault(config: &Config) -> Result<Vault, Failure> {
    config.vault().map_err(|error| {
        let what = format!(
            "{error}. The daemons need the same: encryption.master_keys_file (BRIDGE_MASTER_KEYS_FILE), a file with \
             id:key, the key from `openssl rand -base64 32`"
        );
        Failure::new(Exit::Usage, what)
    })
}

async fn bootstrap(store: &Store, vault: &Vault, args: &Bootstrap) -> Result<Made, Failure> {
    let now = SystemClock.now();
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let actor = Actor { who: format!("bridgectl admin bootstrap by {user}"), source: None };
    let mut made = Made { issuer_kid: None, key: None };
    if store.directory().await.map_err(unread)?.issuer_keys.is_empty() {
        let kid = format!("{}-first", now.format("%Y-%m-%d"));
        let pair = KeyPair::generate(entropy());
        let key = SealedIssuerKey {
            sealed: vault.seal(&Purpose::IssuerKey(&kid), pair.pkcs8(), entropy()),
            public_jwk: pair.jwk(&kid),
            kid: kid.clone(),
            created_at: now,
            signs_from: now,
            retires_at: None,
        };
        // There is no older key that an overlap could keep.
        store.add_issuer_key(&actor, &key, Duration::ZERO).await.map_err(failed)?;
        made.issuer_kid = Some(kid);
    }
    if args.force || !store.has_admin().await.map_err(unread)? {
        let key = ApiKey::generate(entropy());
        let record = CredentialRecord {
            id: key.id().to_owned(),
            kind: CredentialKind::ApiKey,
            name: args.name.clone(),
            tenants: Vec::new(),
            scopes: Scopes::from(Scope::Admin),
            digest: key.digest(),
            old: None,
            expires_at: None,
            revoked_at: None,
            created_at: now,
        };
        store.create_credential(&actor, &record).await.map_err(failed)?;
        made.key = Some(key);
    }
    Ok(made)
}

impl Made {
    fn text(&self, args: &Bootstrap) -> String {
        let mut lines = Vec::new();
        if let Some(kid) = &self.issuer_kid {
            lines.push(format!("access tokens are signed by the new issuer key {kid}"));
        }
        match (&self.key, &args.out) {
            (None, _) if self.issuer_kid.is_none() => lines.push(
                "an operator's credential is there already; nothing was changed (--force makes another)".to_owned(),
            ),
            (None, _) => lines.push("an operator's credential is there already (--force makes another)".to_owned()),
            (Some(key), Some(path)) => lines.push(format!(
                "operator {} \"{}\": its API key is in a file; export BRIDGE_TOKEN_FILE={}",
                key.id(),
                args.name,
                path.display()
            )),
            (Some(key), None) => lines.push(format!(
                "operator {} \"{}\": its API key, shown this once:\n\n{}\n\nGive it to bridgectl as BRIDGE_TOKEN or in \
                 BRIDGE_TOKEN_FILE. Next: bridgectl tenant create NAME",
                key.id(),
                args.name,
                key.expose()
            )),
        }
        lines.join("\n")
    }

    fn json(&self, args: &Bootstrap) -> String {
        let key = self.key.as_ref();
        json!({
            "changed": key.is_some() || self.issuer_kid.is_some(),
            "issuer_kid": self.issuer_kid,
            "client_id": key.map(ApiKey::id),
            "api_key": key.filter(|_| args.out.is_none()).map(ApiKey::expose),
            "out": args.out,
        })
        .to_string()
    }
}

fn failed(error: AdminError) -> Failure {
    match error {
        AdminError::Store(error) => unread(error),
        error => Failure::because(Exit::Failed, error),
    }
}

fn unread(error: StoreError) -> Failure {
    super::migrate::failed(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn args(out: Option<&str>) -> Bootstrap {
        Bootstrap { force: false, name: "bootstrap".to_owned(), out: out.map(PathBuf::from) }
    }

    #[test]
    fn what_is_there_already_is_said() {
        let made = Made { issuer_kid: None, key: None };
        insta::assert_snapshot!(made.text(&args(None)), @"an operator's credential is there already; nothing was changed (--force makes another)");
        assert!(made.json(&args(None)).contains(r#""changed":false"#));
    }

    #[test]
    fn the_key_is_printed_or_written_never_both() {
        let key = ApiKey::generate(entropy());
        let (id, text) = (key.id().to_owned(), key.expose().to_owned());
        let made = Made { issuer_kid: Some("2026-11-21-first".to_owned()), key: Some(key) };
        insta::assert_snapshot!(made.text(&args(None)).replace(&text, "[KEY]").replace(&id, "[ID]"));
        let told = made.text(&args(Some("token")));
        assert!(!told.contains(&text) && told.ends_with("export BRIDGE_TOKEN_FILE=token"), "{told}");
        assert!(!made.json(&args(Some("token"))).contains(&text));
    }
}
