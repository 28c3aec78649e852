//! A tenant's executions as a whole, page by page.

use std::collections::HashMap;

use bridge_protocol::{ExecutionId, TenantId};
use sqlx::Row;
use uuid::Uuid;

use crate::executions::{AttemptRow, ExecutionRow};
use crate::{Execution, ResultBody, Store, StoreError, StoredPayload};

#[derive(Clone, Debug)]
pub struct ExportedRow {
    pub execution: Execution,
    /// None: retention has taken it.
    pub payload: Option<StoredPayload>,
    pub result: Option<ResultBody>,
}

impl Store {
    /// By id. The caller bounds the memory by `limit`: each row may have a payload of the largest size.
    pub async fn export(
        &self,
        tenant: &TenantId,
        after: Option<ExecutionId>,
        limit: u16,
    ) -> Result<Vec<ExportedRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "export", source };
        let found = sqlx::query_as!(
            ExecutionRow,
            r#"SELECT e.id, e.workflow_id, e.lane, e.mode, e.completion, e.kind, e.state, e.evidence, e.attempt, e.accepted_at, e.deliver_at, e.expires_at, e.due_at, e.published_at, e.claimed_at,
                 e.lease_until, e.finished_at, e.parks, e.decided_by, e.decided_because, e.message_id, e.http_status, e.reason, e.error, e.n8n_execution_id, e.traceparent,
                 e.metadata::text AS metadata, e.on_failure, e.caused_by, e.replay_of, d.replayed_as AS "replayed_as?"
               FROM executions e LEFT JOIN dead_letters d ON d.tenant_id = e.tenant_id AND d.execution_id = e.id
               WHERE e.tenant_id = $1 AND e.id > $2 ORDER BY e.id LIMIT $3"#,
            tenant.as_str(),
            after.map_or(Uuid::nil(), ExecutionId::uuid),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        let ids: Vec<Uuid> = found.iter().map(|row| row.id).collect();
        let payloads = sqlx::query!(
            "SELECT id, body, data_key FROM payloads WHERE tenant_id = $1 AND id = ANY ($2)",
            tenant.as_str(),
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        let results = sqlx::query(
            "SELECT id, content_type, body, truncated, data_key FROM results WHERE tenant_id = $1 AND id = ANY ($2) AND octet_length(body) > 0",
        )
        .bind(tenant.as_str())
        .bind(&ids)
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        let attempts = sqlx::query_as!(
            AttemptRow,
            "SELECT id, attempt, claimed_at, finished_at, http_status, outcome, error, message_id FROM attempts
             WHERE tenant_id = $1 AND id = ANY ($2) ORDER BY id, attempt",
            tenant.as_str(),
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        let mut payloads: HashMap<Uuid, StoredPayload> = payloads
            .into_iter()
            .map(|row| (row.id, StoredPayload { bytes: row.body.into(), data_key: row.data_key }))
            .collect();
        let mut results: HashMap<Uuid, ResultBody> = results
            .into_iter()
            .map(|row| {
                let body = ResultBody {
                    content_type: row.try_get("content_type")?,
                    body: row.try_get::<Vec<u8>, _>("body")?.into(),
                    truncated: row.try_get("truncated")?,
                    data_key: row.try_get("data_key")?,
                };
                Ok((row.try_get("id")?, body))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)?;
        let mut timelines: HashMap<Uuid, Vec<AttemptRow>> = HashMap::new();
        for row in attempts {
            timelines.entry(row.id).or_default().push(row);
        }
        found
            .into_iter()
            .map(|row| {
                let id = row.id;
                Ok(ExportedRow {
                    execution: row.execution(tenant, timelines.remove(&id).unwrap_or_default())?,
                    payload: payloads.remove(&id),
                    result: results.remove(&id),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }
}
