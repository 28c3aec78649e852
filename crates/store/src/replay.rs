//! Replay: a new execution with the old one's payload; the old one keeps its state.

use bridge_protocol::{ExecutionId, PayloadHash, State, TenantId};

use crate::{Store, StoreError, StoredPayload, rows};

/// What a replay copies.
#[derive(Clone, Debug)]
pub struct Replayable {
    pub state: State,
    /// None: retention has taken the payload.
    pub payload: Option<StoredPayload>,
    pub psh: PayloadHash,
}

impl Store {
    pub async fn replayable(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
    ) -> Result<Option<Replayable>, StoreError> {
        let named = |source| StoreError::Statement { name: "replayable", source };
        let found = sqlx::query!(
            r#"SELECT e.state, e.psh, p.body AS "body?", p.data_key FROM executions e LEFT JOIN payloads p ON p.tenant_id = e.tenant_id AND p.id = e.id
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
                        .body
                        .map(|body| StoredPayload { bytes: body.into(), data_key: row.data_key }),
                    psh: rows::payload_hash(&row.psh)?,
                })
            })
            .transpose()
            .map_err(named)
    }

    /// The payload of a claimed execution that was too large for its claim to bring along.
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
}
