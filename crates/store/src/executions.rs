//! Reading an execution: the whole of it, with its timeline.

use bridge_protocol::{Completion, Evidence, ExecutionId, Lane, Mode, State, TenantId, Time, WorkflowId};
use uuid::Uuid;

use crate::{Store, StoreError, rows};

/// An execution as its reader sees it.
#[derive(Clone, Debug)]
pub struct Execution {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub mode: Mode,
    pub completion: Completion,
    pub kind: Option<String>,
    pub state: State,
    pub evidence: Option<Evidence>,
    pub attempt: u16,
    pub accepted_at: Time,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    /// When its timer rings; None once it ended.
    pub due_at: Option<Time>,
    pub published_at: Option<Time>,
    pub claimed_at: Option<Time>,
    pub lease_until: Option<Time>,
    pub finished_at: Option<Time>,
    pub parks: u16,
    pub decided_by: String,
    pub decided_because: String,
    pub message_id: Option<String>,
    pub http_status: Option<u16>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
    pub traceparent: Option<String>,
    /// JSON text.
    pub metadata: Option<String>,
    pub replay_of: Option<Uuid>,
    pub replayed_as: Option<Uuid>,
    /// The workflow that is told when this ends badly.
    pub on_failure: Option<WorkflowId>,
    /// The execution whose bad end this one tells of.
    pub caused_by: Option<Uuid>,
    /// Attempts that ended before the last one, oldest first.
    pub attempts: Vec<Attempt>,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub attempt: u16,
    pub claimed_at: Option<Time>,
    pub finished_at: Time,
    pub http_status: Option<u16>,
    pub outcome: String,
    pub error: Option<String>,
    pub message_id: Option<String>,
}

pub(crate) struct ExecutionRow {
    pub id: Uuid,
    pub workflow_id: String,
    pub lane: i16,
    pub mode: i16,
    pub completion: i16,
    pub kind: Option<String>,
    pub state: i16,
    pub evidence: Option<i16>,
    pub attempt: i16,
    pub accepted_at: Time,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub due_at: Option<Time>,
    pub published_at: Option<Time>,
    pub claimed_at: Option<Time>,
    pub lease_until: Option<Time>,
    pub finished_at: Option<Time>,
    pub parks: i16,
    pub decided_by: String,
    pub decided_because: String,
    pub message_id: Option<String>,
    pub http_status: Option<i16>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
    pub traceparent: Option<String>,
    pub metadata: Option<String>,
    pub replay_of: Option<Uuid>,
    pub replayed_as: Option<Uuid>,
    pub on_failure: Option<String>,
    pub caused_by: Option<Uuid>,
}

pub(crate) struct AttemptRow {
    pub id: Uuid,
    pub attempt: i16,
    pub claimed_at: Option<Time>,
    pub finished_at: Time,
    pub http_status: Option<i16>,
    pub outcome: String,
    pub error: Option<String>,
    pub message_id: Option<String>,
}

impl ExecutionRow {
    pub fn execution(self, tenant: &TenantId, attempts: Vec<AttemptRow>) -> Result<Execution, sqlx::Error> {
        let state = rows::state(self.state)?;
        Ok(Execution {
            tenant: tenant.clone(),
            id: rows::execution_id(self.id)?,
            workflow: rows::workflow(&self.workflow_id)?,
            lane: rows::lane(self.lane)?,
            mode: rows::mode(self.mode)?,
            completion: rows::completion(self.completion)?,
            kind: self.kind,
            state,
            evidence: self.evidence.and_then(Evidence::from_code),
            attempt: self.attempt as u16,
            accepted_at: self.accepted_at,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            due_at: self.due_at.filter(|_| !state.is_terminal()),
            published_at: self.published_at,
            claimed_at: self.claimed_at,
            lease_until: self.lease_until,
            finished_at: self.finished_at,
            parks: self.parks as u16,
            decided_by: self.decided_by,
            decided_because: self.decided_because,
            message_id: self.message_id,
            http_status: self.http_status.map(|status| status as u16),
            reason: self.reason,
            error: self.error,
            n8n_execution_id: self.n8n_execution_id,
            traceparent: self.traceparent,
            metadata: self.metadata,
            replay_of: self.replay_of,
            replayed_as: self.replayed_as,
            on_failure: self.on_failure.as_deref().map(rows::workflow).transpose()?,
            caused_by: self.caused_by,
            attempts: attempts
                .into_iter()
                .map(|a| Attempt {
                    attempt: a.attempt as u16,
                    claimed_at: a.claimed_at,
                    finished_at: a.finished_at,
                    http_status: a.http_status.map(|status| status as u16),
                    outcome: a.outcome,
                    error: a.error,
                    message_id: a.message_id,
                })
                .collect(),
        })
    }
}

impl Store {
    pub async fn execution(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
    ) -> Result<Option<Execution>, StoreError> {
        let named = |source| StoreError::Statement { name: "execution", source };
        let found = sqlx::query_as!(
            ExecutionRow,
            r#"SELECT e.id, e.workflow_id, e.lane, e.mode, e.completion, e.kind, e.state, e.evidence, e.attempt, e.accepted_at, e.deliver_at, e.expires_at, e.due_at, e.published_at, e.claimed_at,
                 e.lease_until, e.finished_at, e.parks, e.decided_by, e.decided_because, e.message_id, e.http_status, e.reason, e.error, e.n8n_execution_id, e.traceparent,
                 e.metadata::text AS metadata, e.on_failure, e.caused_by, e.replay_of, d.replayed_as AS "replayed_as?"
               FROM executions e LEFT JOIN dead_letters d ON d.tenant_id = e.tenant_id AND d.execution_id = e.id
               WHERE e.tenant_id = $1 AND e.id = $2"#,
            tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(named)?;
        let Some(row) = found else { return Ok(None) };
        let attempts = sqlx::query_as!(
            AttemptRow,
            "SELECT id, attempt, claimed_at, finished_at, http_status, outcome, error, message_id FROM attempts
             WHERE tenant_id = $1 AND id = $2 ORDER BY attempt",
            tenant.as_str(),
            id.uuid()
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "execution.attempts", source })?;
        row.execution(tenant, attempts).map(Some).map_err(named)
    }
}
