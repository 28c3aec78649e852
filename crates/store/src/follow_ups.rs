//! The outbox of bad ends that a workflow wants to be told of.

use bridge_protocol::{ExecutionId, Lane, State, TenantId, Time, WorkflowId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Store, StoreError, rows};

/// A bad end, and the workflow that must be told.
#[derive(Clone, Debug)]
pub struct FollowUp {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub state: State,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub attempt: u16,
    pub on_failure: WorkflowId,
    pub http_status: Option<u16>,
    pub accepted_at: Time,
    pub finished_at: Option<Time>,
    pub traceparent: Option<String>,
}

/// For every row of `source` that ended badly and has somebody to tell. What tells of a bad end tells of no own.
pub(crate) fn follow_ups(source: &str) -> String {
    format!(
        "f AS (INSERT INTO follow_ups (tenant_id, execution_id)
            SELECT tenant_id, id FROM {source} WHERE state IN (5, 6, 8) AND on_failure IS NOT NULL AND caused_by IS NULL ON CONFLICT DO NOTHING)"
    )
}

/// A closed tenant's would be refused for ever and stand in the others' way; they wait until it is open again. Of each
/// tenant only the first few, without those that were put off: one that cannot be told holds up nobody else.
pub(crate) const FOLLOW_UPS: &str = "SELECT e.tenant_id, e.id, e.workflow_id, e.lane, e.state, e.reason, e.error, e.attempt, e.on_failure, e.http_status, e.accepted_at, e.finished_at, e.traceparent
      FROM (SELECT f.*, row_number() OVER (PARTITION BY f.tenant_id ORDER BY f.execution_id) AS number FROM follow_ups f
          WHERE f.not_before IS NULL OR f.not_before <= now()) f
        JOIN tenants t ON t.id = f.tenant_id AND t.state = 0
        JOIN executions e ON e.tenant_id = f.tenant_id AND e.id = f.execution_id
      WHERE e.on_failure IS NOT NULL AND f.number <= 8 ORDER BY f.number, f.tenant_id LIMIT $1";

impl Store {
    /// What the active tenants have to tell. They are deleted by `followed_up` once the telling execution is durable.
    pub async fn follow_ups(&self, limit: u16) -> Result<Vec<FollowUp>, StoreError> {
        let named = |source| StoreError::Statement { name: "follow_ups", source };
        let found = sqlx::query(FOLLOW_UPS)
            .bind(i64::from(limit))
            .fetch_all(&self.batch_pool)
            .await
            .map_err(named)?;
        found.iter().map(follow_up).collect::<Result<_, sqlx::Error>>().map_err(named)
    }

    pub async fn followed_up(&self, told: &[(TenantId, ExecutionId)]) -> Result<(), StoreError> {
        let mut told: Vec<(&str, Uuid)> = told.iter().map(|(t, id)| (t.as_str(), id.uuid())).collect();
        // Two publishers may have told the same; in one order neither waits for the other in a circle.
        told.sort_unstable();
        let (tenants, ids): (Vec<&str>, Vec<Uuid>) = told.into_iter().unzip();
        sqlx::query(
            "DELETE FROM follow_ups f USING unnest($1::text[], $2::uuid[]) AS r(tenant_id, id)
              WHERE f.tenant_id = r.tenant_id AND f.execution_id = r.id",
        )
        .bind(&tenants)
        .bind(&ids)
        .execute(&self.batch_pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "followed_up", source })
    }
}

/// The first pause of what cannot be told, in seconds; each further one is twice as long, up to the other.
const PAUSE: f64 = 5.0;
const LONGEST_PAUSE: f64 = 300.0;

impl Store {
    /// They cannot be told as the routes stand: tried again later, each time later, as long as their executions are kept.
    pub async fn put_off_follow_ups(&self, keys: &[(TenantId, ExecutionId)]) -> Result<(), StoreError> {
        let mut keys: Vec<(&str, Uuid)> = keys.iter().map(|(t, id)| (t.as_str(), id.uuid())).collect();
        keys.sort_unstable();
        let (tenants, ids): (Vec<&str>, Vec<Uuid>) = keys.into_iter().unzip();
        sqlx::query(
            "UPDATE follow_ups f SET tries = least(f.tries, 1000) + 1,
                 not_before = now() + make_interval(secs => least($3::float8 * power(2, least(f.tries, 20)), $4::float8))
               FROM unnest($1::text[], $2::uuid[]) AS r(tenant_id, id)
              WHERE f.tenant_id = r.tenant_id AND f.execution_id = r.id",
        )
        .bind(&tenants)
        .bind(&ids)
        .bind(PAUSE)
        .bind(LONGEST_PAUSE)
        .execute(&self.batch_pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "put_off_follow_ups", source })
    }
}

fn follow_up(row: &PgRow) -> Result<FollowUp, sqlx::Error> {
    Ok(FollowUp {
        tenant: rows::tenant(row.try_get("tenant_id")?)?,
        id: rows::execution_id(row.try_get("id")?)?,
        workflow: rows::workflow(row.try_get("workflow_id")?)?,
        lane: rows::lane(row.try_get("lane")?)?,
        state: rows::state(row.try_get("state")?)?,
        reason: row.try_get("reason")?,
        error: row.try_get("error")?,
        attempt: row.try_get::<i16, _>("attempt")? as u16,
        on_failure: rows::workflow(row.try_get("on_failure")?)?,
        http_status: row.try_get::<Option<i16>, _>("http_status")?.map(|status| status as u16),
        accepted_at: row.try_get("accepted_at")?,
        finished_at: row.try_get("finished_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}
