//! Replay: a new execution with the old one's payload; the old one keeps its state.

use bridge_protocol::{ExecutionId, Lane, PayloadHash, Reason, State, TenantId, WorkflowId};

use crate::{Filter, Store, StoreError, StoredPayload, rows};

/// What a replay would copy, without the payload itself: whether it may is decided first.
#[derive(Clone, Debug)]
pub struct Replayable {
    pub state: State,
    /// None: retention has taken the payload.
    pub payload: Option<PayloadSize>,
    pub psh: PayloadHash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadSize {
    /// As it is stored.
    pub bytes: usize,
    pub sealed: bool,
}

impl Store {
    pub async fn replayable(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
    ) -> Result<Option<Replayable>, StoreError> {
        let named = |source| StoreError::Statement { name: "replayable", source };
        let found = sqlx::query!(
            r#"SELECT e.state, e.psh, octet_length(p.body) AS "size?", p.data_key AS "data_key?" FROM executions e LEFT JOIN payloads p ON p.tenant_id = e.tenant_id AND p.id = e.id
               WHERE e.tenant_id = $1 AND e.id = $2"#,
            tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(named)?;
        found
            .map(|row| {
                Ok(Replayable {
                    state: rows::state(row.state)?,
                    payload: row
                        .size
                        .map(|size| PayloadSize { bytes: size as usize, sealed: row.data_key.is_some() }),
                    psh: rows::payload_hash(&row.psh)?,
                })
            })
            .transpose()
            .map_err(named)
    }

    /// The payload alone; of a claimed execution, one that was too large for its claim to bring along.
    pub async fn payload(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
    ) -> Result<Option<StoredPayload>, StoreError> {
        sqlx::query!(
            "SELECT body, data_key FROM payloads WHERE tenant_id = $1 AND id = $2",
            tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .map(|found| found.map(|row| StoredPayload { bytes: row.body.into(), data_key: row.data_key }))
        .map_err(|source| StoreError::Statement { name: "payload", source })
    }

    /// Notes on both sides where a replay came from and went to. The new execution is accepted already, so a crash in
    /// between costs the note and nothing else.
    pub async fn link_replay(
        &self,
        tenant: &TenantId,
        old: ExecutionId,
        new: ExecutionId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH l AS (UPDATE dead_letters SET replayed_as = $3 WHERE tenant_id = $1 AND execution_id = $2)
             UPDATE executions SET replay_of = $2 WHERE tenant_id = $1 AND id = $3",
            tenant.as_str(),
            old.uuid(),
            new.uuid()
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "link_replay", source })
    }

    /// Whether a dead letter needs no replay: it was put away, or replayed already. One that was replayed under `key`
    /// was so by whoever asks, and is not meant.
    pub async fn is_settled(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
        key: &str,
    ) -> Result<bool, StoreError> {
        let settled = sqlx::query_scalar!(
            r#"SELECT d.discarded_at IS NOT NULL OR (d.replayed_as IS NOT NULL AND NOT EXISTS
                 (SELECT FROM idempotency_keys k WHERE k.tenant_id = $1 AND k.key = $3 AND k.execution_id = d.replayed_as)) AS "settled!"
               FROM dead_letters d WHERE d.tenant_id = $1 AND d.execution_id = $2"#,
            tenant.as_str(),
            id.uuid(),
            key
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "dead_letter.settled", source })?;
        Ok(settled.unwrap_or(false))
    }

    /// How many of the executions that the filter finds are such dead letters, counted up to `at_most`.
    pub async fn count_settled(
        &self,
        tenant: &TenantId,
        filter: &Filter,
        at_most: u64,
    ) -> Result<u64, StoreError> {
        if !filter.states.is_empty() && !filter.states.contains(&State::DeadLettered) {
            return Ok(0);
        }
        let (before, from) = filter.range(None);
        let found = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM dead_letters d WHERE d.tenant_id = $1 AND d.execution_id < $2 AND d.execution_id >= $3
                 AND (d.discarded_at IS NOT NULL OR d.replayed_as IS NOT NULL)
                 AND ($5::int2 IS NULL OR d.lane = $5) AND ($6::text IS NULL OR d.workflow_id = $6) AND ($7::text IS NULL OR d.reason = $7)
                 AND ($8::text IS NULL OR EXISTS (SELECT FROM executions e WHERE e.tenant_id = $1 AND e.id = d.execution_id AND e.metadata @> $8::jsonb))
                 LIMIT $4) s"#,
            tenant.as_str(),
            before,
            from,
            rows::signed(at_most),
            filter.lane.map(Lane::code),
            filter.workflow.as_ref().map(WorkflowId::as_str),
            filter.reason.map(Reason::as_str),
            filter.metadata.as_deref()
        )
        .fetch_one(&self.list_pool)
        .await
        .map_err(|source| StoreError::Statement { name: "dead_letters.count_settled", source })?;
        Ok(rows::unsigned(found))
    }
}
