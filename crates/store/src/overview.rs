//! The whole on one screen: who is there, and how much waits.

use std::time::Duration;

use bridge_protocol::{TenantId, Time};
use uuid::Uuid;

use crate::{Store, StoreError, rows};

/// A daemon's heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberRow {
    pub id: Uuid,
    pub kind: String,
    pub version: String,
    pub host: String,
    pub started_at: Time,
    pub seen_at: Time,
    pub detail: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    pub now: Time,
    /// Live executions, by their timers; a few left-over timers may be among them.
    pub live: u64,
    /// There are more than were counted.
    pub live_more: bool,
    /// None: no timer is due.
    pub oldest_due: Option<Time>,
    /// Of the last 24 hours, without those that were put away.
    pub dead_letters: u64,
    pub notices_waiting: u64,
    pub follow_ups_waiting: u64,
    pub jobs_running: u64,
    pub holds: u64,
}

/// Above as many nobody waits for the exact number.
const COUNTED: i64 = 100_000;

impl Store {
    /// The daemons that beat within the last `within`, the oldest first.
    pub async fn members(&self, within: Duration) -> Result<Vec<MemberRow>, StoreError> {
        sqlx::query_as!(
            MemberRow,
            "SELECT id, kind, version, host, started_at, seen_at, detail FROM members
             WHERE seen_at > now() - make_interval(secs => $1) ORDER BY kind, started_at, id",
            rows::seconds(within)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "members", source })
    }

    /// Of one tenant, or of all.
    pub async fn overview(&self, tenant: Option<&TenantId>) -> Result<Overview, StoreError> {
        let row = sqlx::query!(
            r#"SELECT now() AS "now!",
                 (SELECT count(*) FROM (SELECT FROM timers WHERE $1::text IS NULL OR tenant_id = $1 LIMIT $2::int8 + 1) t) AS "live!",
                 (SELECT due_at FROM timers WHERE due_at <= now() AND ($1::text IS NULL OR tenant_id = $1) ORDER BY due_at LIMIT 1) AS oldest_due,
                 (SELECT count(*) FROM dead_letters WHERE at > now() - interval '24 hours' AND discarded_at IS NULL AND ($1::text IS NULL OR tenant_id = $1)) AS "dead_letters!",
                 (SELECT count(*) FROM notices WHERE $1::text IS NULL OR tenant_id = $1) AS "notices!",
                 (SELECT count(*) FROM follow_ups WHERE $1::text IS NULL OR tenant_id = $1) AS "follow_ups!",
                 (SELECT count(*) FROM jobs WHERE state = 0 AND ($1::text IS NULL OR tenant_id = $1)) AS "jobs!",
                 (SELECT count(*) FROM holds WHERE $1::text IS NULL OR tenant_id = $1) AS "holds!""#,
            tenant.map(TenantId::as_str),
            COUNTED
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "overview", source })?;
        Ok(Overview {
            now: row.now,
            live: rows::unsigned(row.live.min(COUNTED)),
            live_more: row.live > COUNTED,
            oldest_due: row.oldest_due,
            dead_letters: rows::unsigned(row.dead_letters),
            notices_waiting: rows::unsigned(row.notices),
            follow_ups_waiting: rows::unsigned(row.follow_ups),
            jobs_running: rows::unsigned(row.jobs),
            holds: rows::unsigned(row.holds),
        })
    }
}
