//! The outbox of the dead-letter topics, and the record of messages that were refused.

use bridge_protocol::{ExecutionId, Lane, TenantId, Time};
use serde_json::json;

use crate::{Store, StoreError, rows};

/// Something the dead-letter topic must be told.
#[derive(Clone, Debug)]
pub struct Notice {
    pub number: i64,
    pub tenant: TenantId,
    pub lane: Lane,
    pub execution: Option<ExecutionId>,
    /// dead_lettered | forged
    pub kind: String,
    pub reason: String,
    pub detail: serde_json::Value,
    pub created_at: Time,
}

/// A message that must not be believed.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The topic's tenant and lane; what the message says of itself counts for nothing.
    pub tenant: TenantId,
    pub lane: Lane,
    pub topic: String,
    pub message_id: String,
    pub reason: &'static str,
    pub head: Vec<u8>,
}

impl Store {
    pub async fn record_rejected(&self, rejected: &Rejected) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH r AS (INSERT INTO rejected_messages (tenant_id, topic, message_id, reason, head) VALUES ($1, $2, $3, $4, $5))
             INSERT INTO notices (tenant_id, lane, kind, reason, detail) VALUES ($1, $6, 'forged', $4, $7)",
            rejected.tenant.as_str(),
            rejected.topic,
            rejected.message_id,
            rejected.reason,
            rejected.head,
            rejected.lane.code(),
            json!({ "topic": rejected.topic, "message_id": rejected.message_id })
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "record_rejected", source })
    }

    /// The oldest notices. They are deleted by `notices_sent` once the broker has them: announced at least once.
    pub async fn notices(&self, limit: u16) -> Result<Vec<Notice>, StoreError> {
        let named = |source| StoreError::Statement { name: "notices", source };
        let found = sqlx::query!(
            "SELECT id, tenant_id, lane, execution_id, kind, reason, detail, created_at FROM notices ORDER BY id LIMIT $1",
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found
            .into_iter()
            .map(|row| {
                Ok(Notice {
                    number: row.id,
                    tenant: rows::tenant(&row.tenant_id)?,
                    lane: rows::lane(row.lane)?,
                    execution: row.execution_id.map(rows::execution_id).transpose()?,
                    kind: row.kind,
                    reason: row.reason,
                    detail: row.detail,
                    created_at: row.created_at,
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }

    pub async fn notices_sent(&self, numbers: &[i64]) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM notices WHERE id = ANY($1)", numbers)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|source| StoreError::Statement { name: "notices_sent", source })
    }
}
