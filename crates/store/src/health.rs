//! What health checks, metrics and the invariant's watchers ask.

use std::time::Duration;

use bridge_protocol::{ExecutionId, TenantId, Time};
use uuid::Uuid;

use crate::{Store, StoreError, rows};

#[derive(Clone, Debug)]
pub struct Pulse {
    pub now: Time,
    /// None: no timer is due.
    pub oldest_due: Option<Time>,
    /// Whether a commit waits for a synchronous standby: without one a failover may lose the last commits.
    pub synchronous_standby: bool,
    pub notices_waiting: bool,
}

/// A running daemon's heartbeat.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: Uuid,
    pub kind: &'static str,
    pub version: &'static str,
    pub host: String,
    pub detail: serde_json::Value,
}

/// A daemon that beat lately, and what it has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveMember {
    pub kind: String,
    pub host: String,
    pub keys: Vec<String>,
    /// The ids of its master keys, the one that seals first.
    pub masters: Vec<String>,
    pub directory: i64,
}

impl Store {
    /// The daemons that beat within the last `within`.
    pub async fn live_members(&self, within: Duration) -> Result<Vec<LiveMember>, StoreError> {
        let found = sqlx::query!(
            "SELECT kind, host, detail FROM members WHERE seen_at > now() - make_interval(secs => $1)",
            rows::seconds(within)
        )
        .fetch_all(&self.duty_pool)
        .await
        .map_err(|source| StoreError::Statement { name: "live_members", source })?;
        Ok(found
            .into_iter()
            .map(|row| LiveMember {
                // One that says nothing of keys or directory has none.
                keys: texts(&row.detail["keys"]),
                masters: texts(&row.detail["masters"]),
                kind: row.kind,
                host: row.host,
                directory: row.detail["directory"].as_i64().unwrap_or_default(),
            })
            .collect())
    }

    /// Takes back a daemon's heartbeat, so that nobody waits for it any more.
    pub async fn leave(&self, member: Uuid) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM members WHERE id = $1", member)
            .execute(&self.duty_pool)
            .await
            .map(drop)
            .map_err(|source| StoreError::Statement { name: "leave", source })
    }

    pub async fn pulse(&self) -> Result<Pulse, StoreError> {
        let row = sqlx::query!(
            r#"SELECT now() AS "now!", (SELECT due_at FROM timers WHERE due_at <= now() ORDER BY due_at LIMIT 1) AS oldest_due,
                 EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS "synchronous_standby!",
                 EXISTS (SELECT FROM notices) AS "notices_waiting!""#
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "pulse", source })?;
        Ok(Pulse {
            now: row.now,
            oldest_due: row.oldest_due,
            synchronous_standby: row.synchronous_standby,
            notices_waiting: row.notices_waiting,
        })
    }

    /// Writes the heartbeat and forgets members that have been silent for a day.
    pub async fn beat(&self, member: &Member) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH old AS (DELETE FROM members WHERE seen_at < now() - interval '1 day')
             INSERT INTO members (id, kind, version, host, detail) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET seen_at = now(), detail = excluded.detail",
            member.id,
            member.kind,
            member.version,
            member.host,
            member.detail
        )
        .execute(&self.duty_pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "beat", source })
    }

    /// The invariant: every live execution has its timer. Returns those that have none; scans everything.
    pub async fn live_without_timer(&self) -> Result<Vec<(TenantId, ExecutionId)>, StoreError> {
        let named = |source| StoreError::Statement { name: "live_without_timer", source };
        let found = sqlx::query!(
            "SELECT e.tenant_id, e.id FROM executions e WHERE e.state < 4 AND NOT EXISTS
               (SELECT FROM timers t WHERE t.due_at = e.due_at AND t.tenant_id = e.tenant_id AND t.execution_id = e.id)"
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found
            .into_iter()
            .map(|row| Ok((rows::tenant(&row.tenant_id)?, rows::execution_id(row.id)?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }
}

fn texts(list: &serde_json::Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
