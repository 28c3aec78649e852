//! Rows to snapshot. What cannot be opened is counted, named and left out: one bad row never stops the others.

use super::snapshot::{Credential, IssuerKey, KeyGone, Snapshot, Tenant};
use crate::outgoing::OutgoingCredential;
use crate::payload_key::DataKey;
use crate::vault::{Purpose, Vault};
use bridge_protocol::{TenantId, Time, WebhookSecret};
use bridge_store::{CredentialRecord, DirectoryRows, SealedDataKey, SealedIssuerKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// More are only counted: a lost master key takes everything at once.
const SAID: usize = 20;

/// How many secrets cannot be read, by kind, also of those kinds with none.
pub(super) type Unreadable = [(&'static str, u64); 4];

pub(super) struct Built {
    pub snapshot: Snapshot,
    /// How long until the first of the webhook secrets ends.
    pub next_end: Option<Duration>,
    pub unreadable: Unreadable,
    /// Of which tenant, and what is wrong.
    pub said: Vec<(Option<TenantId>, String)>,
}

struct Builder<'a> {
    vault: &'a Vault,
    now: Time,
    tenants: HashMap<TenantId, Tenant>,
    next_end: Option<Duration>,
    unreadable: Unreadable,
    said: Vec<(Option<TenantId>, String)>,
}

pub(super) fn snapshot(rows: DirectoryRows, vault: &Vault) -> Built {
    let tenants = rows
        .tenants
        .into_iter()
        .map(|row| (row.id.clone(), Tenant::new(row.id, row.state, row.limits)))
        .collect();
    let unreadable = [("webhook_secret", 0), ("data_key", 0), ("webhook_credential", 0), ("issuer_key", 0)];
    let mut builder = Builder { vault, now: rows.now, tenants, next_end: None, unreadable, said: Vec::new() };
    let mut secrets = rows.webhook_secrets;
    secrets.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    for row in secrets {
        builder.webhook_secret(&row.tenant, row.id, &row.sealed, row.ends_at);
    }
    for row in rows.data_keys {
        builder.data_key(row);
    }
    for row in rows.webhook_credentials {
        builder.outgoing(&row.tenant, row.name, &row.sealed);
    }
    let mut issuer_keys: Vec<_> =
        rows.issuer_keys.into_iter().filter_map(|row| builder.issuer_key(row)).collect();
    issuer_keys.sort_by_key(|key| std::cmp::Reverse(key.signs_from));
    let (by_digest, by_id) = credentials(rows.credentials);
    let Builder { tenants, next_end, unreadable, said, .. } = builder;
    let tenants = tenants.into_iter().map(|(id, tenant)| (id, Arc::new(tenant))).collect();
    let snapshot = Snapshot { revision: rows.revision, tenants, by_digest, by_id, issuer_keys };
    Built { snapshot, next_end, unreadable, said }
}

type ByDigest = HashMap<[u8; 32], (Arc<Credential>, Option<Time>)>;

fn credentials(rows: Vec<CredentialRecord>) -> (ByDigest, HashMap<String, Arc<Credential>>) {
    let (mut by_digest, mut by_id) = (HashMap::new(), HashMap::new());
    for row in rows {
        let credential = Arc::new(Credential {
            id: row.id,
            kind: row.kind,
            name: row.name,
            tenants: row.tenants,
            scopes: row.scopes,
            digest: row.digest,
            old: row.old,
            expires_at: row.expires_at,
        });
        if let Some((digest, until)) = credential.old {
            by_digest.insert(digest, (credential.clone(), Some(until)));
        }
        by_digest.insert(credential.digest, (credential.clone(), None));
        by_id.insert(credential.id.clone(), credential);
    }
    (by_digest, by_id)
}

impl Builder<'_> {
    fn webhook_secret(&mut self, tenant: &TenantId, id: uuid::Uuid, sealed: &[u8], ends_at: Option<Time>) {
        if let Some(end) = ends_at {
            // It has ended: receivers were given the new one.
            let Ok(after) = (end - self.now).to_std() else { return };
            self.next_end = Some(self.next_end.map_or(after, |next| next.min(after)));
        }
        let purpose = Purpose::WebhookSecret(tenant, id);
        let Some(opened) = self.open(&purpose, sealed) else { return };
        let secret = std::str::from_utf8(&opened).ok().and_then(|text| WebhookSecret::parse(text).ok());
        match (secret, self.tenants.get_mut(tenant)) {
            (Some(secret), Some(tenant)) => tenant.webhook_secrets.push(secret),
            (Some(_), None) => {}
            (None, _) => self.unusable(&purpose),
        }
    }

    fn data_key(&mut self, row: SealedDataKey) {
        let SealedDataKey { tenant, id, sealed, retired_at, .. } = row;
        let purpose = Purpose::DataKey(&tenant, id);
        let key = match sealed {
            None => Err(KeyGone::Destroyed { tenant: tenant.clone(), key: id }),
            Some(sealed) => match self.vault.open(&purpose, &sealed) {
                Ok(opened) => match <&[u8; 32]>::try_from(opened.as_slice()) {
                    Ok(bytes) => Ok(Arc::new(DataKey::new(id, bytes))),
                    Err(_) => {
                        self.unusable(&purpose);
                        let why = format!("the {purpose} has {} bytes, not 32", opened.len());
                        Err(KeyGone::Sealed { tenant: tenant.clone(), key: id, why })
                    }
                },
                Err(error) => {
                    self.bad(&purpose, error.to_string());
                    Err(KeyGone::Sealed { tenant: tenant.clone(), key: id, why: error.to_string() })
                }
            },
        };
        let Some(tenant) = self.tenants.get_mut(&tenant) else { return };
        if retired_at.is_none() && !matches!(key, Err(KeyGone::Destroyed { .. })) {
            tenant.seals = Some(id);
        }
        tenant.keys.insert(id, key);
    }

    fn outgoing(&mut self, tenant: &TenantId, name: String, sealed: &[u8]) {
        let purpose = Purpose::WebhookCredential(tenant, &name);
        let Some(opened) = self.open(&purpose, sealed) else { return };
        match (OutgoingCredential::from_secret(&opened), self.tenants.get_mut(tenant)) {
            (Some(credential), Some(tenant)) => {
                tenant.credentials.insert(name, Arc::new(credential));
            }
            (Some(_), None) => {}
            (None, _) => self.unusable(&purpose),
        }
    }

    fn issuer_key(&mut self, row: SealedIssuerKey) -> Option<Arc<IssuerKey>> {
        let SealedIssuerKey { kid, sealed, public_jwk, signs_from, retires_at, .. } = row;
        let pkcs8 = self.open(&Purpose::IssuerKey(&kid), &sealed)?;
        Some(Arc::new(IssuerKey { kid, pkcs8, public_jwk, signs_from, retires_at }))
    }

    fn open(&mut self, purpose: &Purpose<'_>, sealed: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        match self.vault.open(purpose, sealed) {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.bad(purpose, error.to_string());
                None
            }
        }
    }

    fn unusable(&mut self, purpose: &Purpose<'_>) {
        self.bad(purpose, format!("the {purpose} opens, but is not what it should be: replace it"));
    }

    fn bad(&mut self, purpose: &Purpose<'_>, what: String) {
        let at = match purpose {
            Purpose::WebhookSecret(..) => 0,
            Purpose::DataKey(..) => 1,
            Purpose::WebhookCredential(..) => 2,
            Purpose::IssuerKey(_) => 3,
        };
        self.unreadable[at].1 += 1;
        if self.said.len() < SAID {
            self.said.push((tenant_of(purpose).cloned(), what));
        }
    }
}

fn tenant_of<'a>(purpose: &Purpose<'a>) -> Option<&'a TenantId> {
    match purpose {
        Purpose::WebhookSecret(tenant, _)
        | Purpose::DataKey(tenant, _)
        | Purpose::WebhookCredential(tenant, _) => Some(tenant),
        Purpose::IssuerKey(_) => None,
    }
}
