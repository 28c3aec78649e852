//! The directory as it is used: opened, and found by what a request brings.

use crate::outgoing::OutgoingCredential;
use crate::payload_key::DataKey;
use bridge_protocol::{Scopes, TenantId, Time, WebhookSecret};
use bridge_store::{CredentialKind, TenantLimits, TenantState};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The directory at one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub revision: i64,
    pub tenants: HashMap<TenantId, Arc<Tenant>>,
    /// By SHA-256 of the secret; an old secret has the time until which it is taken beside the new one.
    pub by_digest: HashMap<[u8; 32], (Arc<Credential>, Option<Time>)>,
    pub by_id: HashMap<String, Arc<Credential>>,
    /// The newest first.
    pub issuer_keys: Vec<Arc<IssuerKey>>,
}

impl Snapshot {
    pub(super) fn empty(revision: i64) -> Self {
        Self { revision, ..Self::default() }
    }

    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }
}

#[derive(Debug)]
pub struct Tenant {
    pub id: TenantId,
    pub state: TenantState,
    pub limits: TenantLimits,
    /// The newest first; one that has ended is gone from here within a poll.
    pub webhook_secrets: Vec<WebhookSecret>,
    /// The outgoing credentials its routes may name.
    pub credentials: HashMap<String, Arc<OutgoingCredential>>,
    pub(super) keys: HashMap<Uuid, Result<Arc<DataKey>, KeyGone>>,
    pub(super) seals: Option<Uuid>,
}

impl Tenant {
    pub fn new(id: TenantId, state: TenantState, limits: TenantLimits) -> Self {
        Self {
            id,
            state,
            limits,
            webhook_secrets: Vec::new(),
            credentials: HashMap::new(),
            keys: HashMap::new(),
            seals: None,
        }
    }

    /// Adds a data key; `seals` makes it the one for new payloads.
    #[must_use]
    pub fn with_data_key(mut self, key: DataKey, seals: bool) -> Self {
        if seals {
            self.seals = Some(key.id);
        }
        self.keys.insert(key.id, Ok(Arc::new(key)));
        self
    }

    /// The key for new payloads. With encryption on, a tenant without one must not store anything:
    /// [`Tenant::sealing_key_gone`] says whether there is none yet or whether it cannot be used.
    pub fn sealing_key(&self) -> Option<&Arc<DataKey>> {
        self.keys.get(&self.seals?)?.as_ref().ok()
    }

    /// Why the key that should seal does not; None when it does, or when no key was made yet.
    pub fn sealing_key_gone(&self) -> Option<&KeyGone> {
        self.keys.get(&self.seals?)?.as_ref().err()
    }

    /// # Errors
    /// Why the payloads it sealed cannot be read.
    pub fn data_key(&self, id: Uuid) -> Result<&Arc<DataKey>, KeyGone> {
        match self.keys.get(&id) {
            Some(key) => key.as_ref().map_err(Clone::clone),
            None => Err(KeyGone::Unknown { tenant: self.id.clone(), key: id }),
        }
    }
}

/// Why a data key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyGone {
    #[error("data key {key} of tenant {tenant} was destroyed; what it sealed cannot be read any more")]
    Destroyed { tenant: TenantId, key: Uuid },
    /// Made a moment ago by another process, or of a database that was restored to an earlier time.
    #[error("data key {key} of tenant {tenant} is not known")]
    Unknown { tenant: TenantId, key: Uuid },
    /// The vault does not open it: the text names the master key.
    #[error("{why}")]
    Sealed { tenant: TenantId, key: Uuid, why: String },
}

/// One login: a service account or an API key.
#[derive(Clone)]
pub struct Credential {
    pub id: String,
    pub kind: CredentialKind,
    pub name: String,
    /// Empty only for administrators.
    pub tenants: Vec<TenantId>,
    pub scopes: Scopes,
    pub digest: [u8; 32],
    /// The secret before, and until when it is taken.
    pub old: Option<([u8; 32], Time)>,
    pub expires_at: Option<Time>,
}

impl Credential {
    pub fn is_live(&self, now: Time) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("tenants", &self.tenants)
            .finish_non_exhaustive()
    }
}

/// A key of the built-in issuer.
pub struct IssuerKey {
    pub kid: String,
    pub pkcs8: Zeroizing<Vec<u8>>,
    pub public_jwk: Value,
    pub signs_from: Time,
    pub retires_at: Option<Time>,
}

impl IssuerKey {
    /// Whether tokens it signed are still taken.
    pub fn verifies(&self, now: Time) -> bool {
        self.retires_at.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IssuerKey").field(&self.kid).finish()
    }
}
