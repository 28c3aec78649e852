//! Answers of the administrative routes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Time;

/// Fields that are not set are off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub requests_per_second: Option<f64>,
    pub burst: Option<u64>,
    pub open_executions: Option<u64>,
    pub payload_bytes_per_day: Option<u64>,
    #[serde(default)]
    pub result_ttl_s: Option<u64>,
}

#[derive(Deserialize)]
pub struct Tenant {
    pub tenant_id: String,
    pub state: String,
    #[serde(default)]
    pub limits: Limits,
    pub created_at: Option<Time>,
    pub live: Option<u64>,
    pub usage: Option<Usage>,
    /// `created`, `changed` or `unchanged`, after a PUT.
    pub outcome: Option<String>,
    #[serde(default)]
    pub in_effect: bool,
    pub webhook_secret: Option<String>,
}

#[derive(Deserialize)]
pub struct Usage {
    pub payload_bytes_today: u64,
    pub executions_today: u64,
}

#[derive(Deserialize)]
pub struct Tenants {
    pub tenants: Vec<Tenant>,
    pub next_after: Option<String>,
}

#[derive(Deserialize)]
pub struct Deletion {
    #[serde(default)]
    pub live: u64,
    pub removed: Option<Value>,
    #[serde(default)]
    pub in_effect: bool,
}

#[derive(Deserialize)]
pub struct Clients {
    pub clients: Vec<Client>,
}

/// In a list, and when it was just made: only then it has its secret.
#[derive(Clone, Deserialize)]
pub struct Client {
    pub client_id: String,
    pub client_secret: Option<String>,
    pub api_key: Option<String>,
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub tenants: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub token_url: Option<String>,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub old_valid_until: Option<Time>,
}

impl Client {
    /// Its secret still opens something.
    pub fn is_good(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

#[derive(Deserialize)]
pub struct Revoked {
    pub client_id: String,
    pub changed: bool,
    pub in_effect: bool,
}

#[derive(Deserialize)]
pub struct Credentials {
    pub credentials: Vec<Credential>,
}

#[derive(Deserialize)]
pub struct Credential {
    pub name: String,
    pub kind: String,
    pub created_at: Time,
    pub changed_at: Time,
}

/// What a PUT or DELETE of an outgoing credential says.
#[derive(Deserialize)]
pub struct Acted {
    pub name: String,
    pub tenant_id: String,
    pub kind: Option<String>,
    pub outcome: Option<String>,
    pub changed: bool,
    pub in_effect: bool,
}

#[derive(Deserialize)]
pub struct Rotated {
    pub key: String,
    pub tenant_id: Option<String>,
    pub kid: Option<String>,
    pub id: Option<String>,
    pub webhook_secret: Option<String>,
    pub old_valid_until: Option<Time>,
    pub old_verifies_until: Option<Time>,
    pub signs_from: Option<Time>,
    pub in_effect: Option<bool>,
    pub current: Option<String>,
    pub sealed: Option<u64>,
    pub resealed: Option<u64>,
    #[serde(default)]
    pub unreadable: u64,
    #[serde(default)]
    pub unreadable_because: Vec<String>,
}

#[derive(Deserialize)]
pub struct Destroyed {
    pub detail: String,
    pub in_effect: bool,
}

#[derive(Deserialize)]
pub struct Audit {
    pub entries: Vec<Entry>,
    pub next_after: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub struct Entry {
    pub id: i64,
    pub at: Time,
    pub actor: String,
    pub action: String,
    pub tenant_id: Option<String>,
    pub target: Option<String>,
    pub source: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Deserialize)]
pub struct Refusals {
    pub refusals: Vec<Refusal>,
}

#[derive(Deserialize)]
pub struct Refusal {
    pub minute: Time,
    pub kind: String,
    pub subject: String,
    pub reason: String,
    pub count: u64,
}
