//! The whole on one screen.

use serde::Deserialize;

use super::Time;

#[derive(Deserialize)]
pub struct Status {
    /// None: of all tenants.
    pub tenant_id: Option<String>,
    pub now: Time,
    pub live: u64,
    /// There are more than were counted.
    #[serde(default)]
    pub live_more: bool,
    /// None: nothing is overdue.
    pub oldest_due: Option<Time>,
    #[serde(default)]
    pub dead_letters_24h: u64,
    #[serde(default)]
    pub notices_waiting: u64,
    #[serde(default)]
    pub follow_ups_waiting: u64,
    #[serde(default)]
    pub jobs_running: u64,
    #[serde(default)]
    pub holds: u64,
    pub routes_revision: Option<i64>,
    pub tenants: Option<u64>,
    /// Only an operator is told.
    pub members: Option<Vec<Member>>,
}

#[derive(Deserialize)]
pub struct Member {
    pub kind: String,
    pub version: String,
    pub host: String,
    pub started_at: Time,
    pub seen_at: Time,
    #[serde(default)]
    pub alive: bool,
    #[serde(default)]
    pub detail: Detail,
}

/// What a daemon says of itself, as far as it is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Detail {
    pub breakers: Vec<Breaker>,
    pub slots_free: Option<u64>,
    pub topics_lost_count: u64,
    pub routes: Option<i64>,
}

#[derive(Deserialize)]
pub struct Breaker {
    pub endpoint: String,
    #[serde(default)]
    pub failures: u64,
    pub retry_after_ms: Option<u64>,
    pub until: Option<Time>,
}
