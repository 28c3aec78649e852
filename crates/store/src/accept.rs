//! Accept: execution, payload, timer and idempotency key in one statement, one round trip.
//!
//! It is also the fence of a tenant's end: what the database does not call active gets no row, whatever a daemon's
//! memory says. No row is locked for it, so a statement that began before a tenant was closed may still commit:
//! `Store::accepts_are_over` waits for those.

use std::collections::HashMap;
use std::time::Duration;

use bridge_protocol::{
    Completion, ExecutionId, Lane, Mode, PayloadHash, TenantId, Time, TimerPolicy, WorkflowId,
};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::batch::Statement;
use crate::day::Day;
use crate::error::WriteError;

/// An execution as the publisher accepts it.
#[derive(Clone, Debug)]
pub struct NewExecution {
    pub id: ExecutionId,
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub mode: Mode,
    pub completion: Completion,
    pub kind: Option<String>,
    /// As it is stored: plain, or sealed by `data_key`.
    pub payload: Bytes,
    pub data_key: Option<Uuid>,
    pub psh: PayloadHash,
    /// JSON text.
    pub metadata: Option<String>,
    pub traceparent: Option<String>,
    pub idempotency: Option<Idempotency>,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    /// From Postgres's now(); `deliver_at` wins where it is set.
    pub due_in: Duration,
    /// Whether the direct hand-off to the topic follows at once.
    pub handed_off: bool,
    pub decided_by: &'static str,
    pub decided_because: String,
    /// The workflow that is told of a bad end. What tells of one itself (`caused_by`) tells nobody.
    pub on_failure: Option<WorkflowId>,
    /// The execution whose bad end this one tells of.
    pub caused_by: Option<Uuid>,
    /// Set when whoever accepts fires it too: it is born running.
    pub native: Option<NativeClaim>,
}

/// The first and only attempt of a native execution, claimed by its accept. `deliver_at`, `due_in` and `handed_off`
/// mean nothing beside it: the timer stands at the lease's end and the grace after it.
#[derive(Clone, Debug)]
pub struct NativeClaim {
    pub claim_id: Uuid,
    pub lease: Duration,
}

#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    pub digest: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    New,
    /// The key was used before for the same request; it became this execution.
    Replayed(ExecutionId),
    /// The key was used before for another request.
    KeyConflict(ExecutionId),
    /// Nothing was written: in the database the tenant is not active, or not there.
    TenantClosed,
}

pub(crate) struct Accept;

/// `{day}` is the partition of the ids in the batch.
pub(crate) fn sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT r.* FROM unnest($1::text[], $2::uuid[], $3::text[], $4::int2[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::text[],
              $10::text[], $11::bytea[], $12::timestamptz[], $13::timestamptz[], $14::int8[], $15::bool[], $16::text[], $17::text[], $18::uuid[],
              $19::int2[], $20::int2[], $21::text[], $22::uuid[], $23::uuid[], $24::int8[])
            AS r(tenant_id, id, workflow_id, lane, kind, body, psh, metadata, traceparent, key, digest, deliver_at, expires_at, due_in_ms, handed_off, by, because, data_key,
              mode, completion, on_failure, caused_by, claim_id, lease_ms)
            JOIN tenants t ON t.id = r.tenant_id AND t.state = 0),
          k AS (INSERT INTO idempotency_keys (tenant_id, key, digest, execution_id)
            SELECT tenant_id, key, digest, id FROM r WHERE key IS NOT NULL ORDER BY tenant_id, key
            ON CONFLICT DO NOTHING RETURNING execution_id),
          go AS (SELECT r.*, now() + r.lease_ms * interval '1 ms' AS lease_until,
              CASE WHEN r.claim_id IS NULL THEN COALESCE(r.deliver_at, now() + r.due_in_ms * interval '1 ms') ELSE now() + (r.lease_ms + {grace}) * interval '1 ms' END AS due_at
            FROM r
            WHERE r.key IS NULL OR EXISTS (SELECT FROM k WHERE k.execution_id = r.id)),
          e AS (INSERT INTO executions_{day} (tenant_id, id, workflow_id, lane, kind, psh, metadata, traceparent, deliver_at, expires_at, due_at, published_at, decided_by, decided_because,
              mode, completion, on_failure, caused_by, state, attempt, claim_id, claimed_at, lease_until)
            SELECT tenant_id, id, workflow_id, lane, kind, psh, metadata::jsonb, traceparent, deliver_at, expires_at, due_at,
              CASE WHEN handed_off AND claim_id IS NULL THEN now() END, by, because,
              mode, completion, CASE WHEN caused_by IS NULL THEN on_failure END, caused_by, (claim_id IS NOT NULL)::int, (claim_id IS NOT NULL)::int, claim_id,
              CASE WHEN claim_id IS NOT NULL THEN now() END, lease_until FROM go
            ON CONFLICT DO NOTHING RETURNING tenant_id, id, due_at),
          p AS (INSERT INTO payloads_{day} (tenant_id, id, body, data_key) SELECT go.tenant_id, go.id, go.body, go.data_key FROM go JOIN e USING (id)),
          t AS (INSERT INTO timers (due_at, tenant_id, execution_id) SELECT due_at, tenant_id, id FROM e)
        SELECT id FROM e",
        day = day.suffix(),
        grace = TimerPolicy::default().takeover_grace.as_millis()
    )
}

const OWNERS: &str = "SELECT r.id, k.execution_id, k.digest = r.digest AS same, EXISTS (SELECT FROM executions e WHERE e.tenant_id = r.tenant_id AND e.id = r.id) AS own,
      COALESCE(t.state = 0, false) AS open
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[]) AS r(tenant_id, id, key, digest)
    LEFT JOIN idempotency_keys k ON k.tenant_id = r.tenant_id AND k.key = r.key
    LEFT JOIN tenants t ON t.id = r.tenant_id";

impl Statement for Accept {
    const NAME: &'static str = "accept";
    type Row = NewExecution;
    type Out = Accepted;

    fn key(row: &NewExecution) -> (&TenantId, ExecutionId) {
        (&row.tenant, row.id)
    }

    fn bytes(row: &NewExecution) -> usize {
        row.payload.len() + row.metadata.as_ref().map_or(0, String::len)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        day: Day,
        rows: &[&NewExecution],
    ) -> Result<Vec<Accepted>, sqlx::Error> {
        accept(connection, day, rows).await
    }

    fn gone(row: &NewExecution) -> Result<Accepted, WriteError> {
        Err(WriteError::NoPartition { id: row.id.to_string() })
    }
}

pub(crate) async fn accept(
    connection: &mut PgConnection,
    day: Day,
    rows: &[&NewExecution],
) -> Result<Vec<Accepted>, sqlx::Error> {
    let column = |f: fn(&NewExecution) -> Option<&str>| rows.iter().map(|r| f(r)).collect::<Vec<_>>();
    let tenants: Vec<&str> = rows.iter().map(|r| r.tenant.as_str()).collect();
    let ids: Vec<Uuid> = rows.iter().map(|r| r.id.uuid()).collect();
    let keys = column(|r| r.idempotency.as_ref().map(|i| i.key.as_str()));
    let digests: Vec<Option<&[u8]>> =
        rows.iter().map(|r| r.idempotency.as_ref().map(|i| i.digest.as_slice())).collect();
    let written = sqlx::query(AssertSqlSafe(sql(day)))
        .bind(&tenants)
        .bind(&ids)
        .bind(rows.iter().map(|r| r.workflow.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.lane.code()).collect::<Vec<i16>>())
        .bind(column(|r| r.kind.as_deref()))
        .bind(rows.iter().map(|r| r.payload.as_ref()).collect::<Vec<&[u8]>>())
        .bind(rows.iter().map(|r| r.psh.0.as_slice()).collect::<Vec<&[u8]>>())
        .bind(column(|r| r.metadata.as_deref()))
        .bind(column(|r| r.traceparent.as_deref()))
        .bind(&keys)
        .bind(&digests)
        .bind(rows.iter().map(|r| r.deliver_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.expires_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.due_in.as_millis() as i64).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.handed_off).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.decided_by).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.decided_because.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.data_key).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.mode.code()).collect::<Vec<i16>>())
        .bind(rows.iter().map(|r| r.completion.code()).collect::<Vec<i16>>())
        .bind(column(|r| r.on_failure.as_ref().map(WorkflowId::as_str)))
        .bind(rows.iter().map(|r| r.caused_by).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.native.as_ref().map(|n| n.claim_id)).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.native.as_ref().map(|n| n.lease.as_millis() as i64)).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    if written.len() == rows.len() {
        return Ok(vec![Accepted::New; rows.len()]);
    }
    // Seldom: a key was used before, the tenant is closed, or this very statement was committed before and its answer
    // got lost.
    let written: std::collections::HashSet<Uuid> =
        written.iter().map(|row| row.try_get::<Uuid, _>("id")).collect::<Result<_, _>>()?;
    let owners = sqlx::query(OWNERS)
        .bind(&tenants)
        .bind(&ids)
        .bind(&keys)
        .bind(&digests)
        .fetch_all(connection)
        .await?;
    let mut settled: HashMap<Uuid, Accepted> = HashMap::with_capacity(rows.len());
    for row in owners {
        let id: Uuid = row.try_get("id")?;
        let owner: Option<Uuid> = row.try_get("execution_id")?;
        let own: bool = row.try_get("own")?;
        let same: Option<bool> = row.try_get("same")?;
        let open: bool = row.try_get("open")?;
        let accepted = match owner.and_then(ExecutionId::from_uuid) {
            _ if own || written.contains(&id) => Accepted::New,
            Some(owner) if same == Some(true) => Accepted::Replayed(owner),
            Some(owner) => Accepted::KeyConflict(owner),
            None if !open => Accepted::TenantClosed,
            // Neither written nor in the way of another: in this very moment the key was cleaned away or the tenant
            // opened.
            None => return Err(again()),
        };
        settled.insert(id, accepted);
    }
    ids.iter().map(|id| settled.get(id).copied().ok_or_else(again)).collect()
}

fn again() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(
        "an idempotency key vanished, or its tenant opened, while it was looked at",
    ))
}
