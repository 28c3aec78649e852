//! Letting parked executions go: nothing holds them any more, so their timers become due now.

use bridge_protocol::{Lane, TenantId, Time, WorkflowId};

use crate::{Store, StoreError};

/// Executions moved in one statement.
const BATCH: i64 = 500;

/// `published_at` is null from the parking until a timer has published again; a retry or a delay was never parked. Who
/// moves an execution at this moment is not waited for. The timers are walked in the order of their index, from $2 on.
const RELEASE: &str = "WITH p AS MATERIALIZED (
        SELECT e.tenant_id, e.id, e.due_at FROM timers t
          JOIN executions e ON e.tenant_id = t.tenant_id AND e.id = t.execution_id AND e.due_at = t.due_at
        WHERE t.tenant_id = $1 AND t.due_at > now() AND t.due_at >= coalesce($2, now())
          AND e.state IN (0, 3) AND e.parks > 0 AND e.published_at IS NULL
          AND ($4::text IS NULL OR e.workflow_id = $4) AND ($5::int2 IS NULL OR e.lane = $5)
        ORDER BY t.due_at LIMIT $3 FOR UPDATE OF e SKIP LOCKED),
      d AS (DELETE FROM timers t USING p WHERE t.due_at = p.due_at AND t.tenant_id = p.tenant_id AND t.execution_id = p.id),
      i AS (INSERT INTO timers (due_at, tenant_id, execution_id) SELECT now(), tenant_id, id FROM p ON CONFLICT DO NOTHING),
      u AS (UPDATE executions e SET due_at = now(), parks = 0 FROM p WHERE e.tenant_id = p.tenant_id AND e.id = p.id)
    SELECT count(*), max(due_at) FROM p";

impl Store {
    /// All of the tenant's, or those of one workflow, of one lane. How many became due; what is parked while this runs is
    /// not among them. Whatever holds one of them still, parks it again.
    pub async fn release_held(
        &self,
        tenant: &TenantId,
        workflow: Option<&WorkflowId>,
        lane: Option<Lane>,
    ) -> Result<u64, StoreError> {
        let (mut released, mut from) = (0, None::<Time>);
        loop {
            let (count, last): (i64, Option<Time>) = sqlx::query_as(RELEASE)
                .bind(tenant.as_str())
                .bind(from)
                .bind(BATCH)
                .bind(workflow.map(WorkflowId::as_str))
                .bind(lane.map(Lane::code))
                .fetch_one(&self.pool)
                .await
                .map_err(|source| StoreError::Statement { name: "release_held", source })?;
            released += count.unsigned_abs();
            if count < BATCH {
                return Ok(released);
            }
            from = last;
        }
    }
}
