//! Tokens that were verified, by their digest.

use std::sync::{Arc, Weak};

use bridge_protocol::{Scopes, TenantId, Time};
use bridge_service::directory::Snapshot;

use crate::caller::Caller;

pub(crate) type Digest = [u8; 32];

/// What a verified credential says for ever. What it is worth is judged against the present state.
#[derive(Debug)]
pub(crate) enum Basis {
    ApiKey {
        digest: Digest,
    },
    Own {
        client: String,
        scopes: Scopes,
        kid: String,
        /// Of the secret that got it; the token dies with that.
        secret: String,
        expires: Time,
    },
    Outside {
        /// Its place in the configuration.
        issuer: usize,
        subject: Arc<str>,
        tenants: Vec<TenantId>,
        scopes: Scopes,
        /// The key that verified it; when the issuer withdraws the key, the token goes with it.
        key: Digest,
        expires: Time,
    },
}

/// A judgement, and how long it holds.
pub(crate) struct Entry {
    pub(crate) basis: Arc<Basis>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) until: Option<Time>,
    /// The state it was judged against. A weak reference keeps the address from being used again, and nothing more.
    pub(crate) snapshot: Weak<Snapshot>,
    /// The same for an outside issuer's keys.
    pub(crate) generation: u64,
}

impl Entry {
    pub(crate) fn holds(&self, snapshot: &Arc<Snapshot>, generation: u64, now: Time) -> bool {
        std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot))
            && self.generation == generation
            && self.until.is_none_or(|until| now < until)
    }
}

/// Bounded; what is seldom used goes first.
pub(crate) type Cache = quick_cache::sync::Cache<Digest, Arc<Entry>>;
