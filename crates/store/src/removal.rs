//! The end of a tenant: what lives is cancelled, then its rows go. Both work in chunks, each a short transaction of
//! its own, and a call that was interrupted is simply made again.

use std::collections::BTreeMap;

use bridge_protocol::{TenantId, Time};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, conflict, step, unchanged};
use crate::day::Day;
use crate::partitions::partitions_of;
use crate::tenants::lock;
use crate::timers::partition_exists;
use crate::{Store, StoreError, TenantState, rows, tx};

/// How many rows went with this call; of one that was interrupted the earlier call knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub executions: u64,
    pub payloads: u64,
    pub results: u64,
    /// Removed with the tenant, having been for it alone. The others only lost it.
    pub credentials: u64,
    pub data_keys: u64,
}

/// Ids that are looked up at a time; all timers are read for it.
const PAGE: i64 = 10_000;
/// Executions that are cancelled in one transaction.
const CANCELLED_AT_ONCE: usize = 500;
/// A payload may be 15 MiB, which is thousands of rows beneath.
const LARGE_ROWS: i64 = 100;
const SMALL_ROWS: i64 = 1_000;

/// What belongs to executions, by day, with the rows that go at once.
const BY_DAY: [(&str, i64); 3] =
    [("payloads", LARGE_ROWS), ("results", LARGE_ROWS), ("attempts", SMALL_ROWS)];
/// What has no day, with its key.
const FLAT: [(&str, &str); 6] = [
    ("timers", "due_at, tenant_id, execution_id"),
    ("idempotency_keys", "tenant_id, key"),
    ("dead_letters", "tenant_id, execution_id"),
    ("notices", "id"),
    ("rejected_messages", "id"),
    ("usage", "tenant_id, day"),
];

pub(crate) fn cancel_sql(day: Day) -> String {
    format!(
        "WITH o AS MATERIALIZED (SELECT id FROM executions_{day} WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND state < 4 ORDER BY id FOR UPDATE)
         UPDATE executions_{day} e SET state = 7, lease_until = NULL, finished_at = now(), error = 'cancelled: its tenant is being removed'
           FROM o WHERE e.tenant_id = $1 AND e.id = o.id RETURNING e.due_at, e.id",
        day = day.suffix()
    )
}

impl Store {
    /// Cancels what lives, also what is running: its consumer finds its fence lost. Returns how many.
    pub async fn cancel_live(&self, actor: &Actor, tenant: &TenantId) -> Result<u64, AdminError> {
        if self.tenant(tenant).await?.is_none() {
            return Err(AdminError::NotFound);
        }
        let live = self.live_count(tenant).await?;
        if live == 0 {
            return Ok(0);
        }
        // Said before it is done, so that no cancellation goes unsaid.
        let after = json!({ "cancels": live });
        self.write_audit(actor, "tenant.delete", Some(tenant), tenant.as_str(), None, Some(after)).await?;
        let mut cancelled = 0;
        let mut last = Uuid::nil();
        loop {
            let page = sqlx::query_scalar!(
                "SELECT execution_id FROM timers WHERE tenant_id = $1 AND execution_id > $2 ORDER BY execution_id LIMIT $3",
                tenant.as_str(),
                last,
                PAGE
            )
            .fetch_all(&self.batch_pool)
            .await
            .map_err(|source| StoreError::Statement { name: "cancel_live.page", source })?;
            let Some(end) = page.last() else { return Ok(cancelled) };
            last = *end;
            let mut by_day: BTreeMap<Day, Vec<Uuid>> = BTreeMap::new();
            for id in page {
                let execution = rows::execution_id(id)
                    .map_err(|source| StoreError::Statement { name: "cancel_live.page", source })?;
                by_day.entry(Day::of(execution)).or_default().push(id);
            }
            for (day, ids) in &by_day {
                for ids in ids.chunks(CANCELLED_AT_ONCE) {
                    cancelled += tx::transaction(
                        &self.batch_pool,
                        "cancel_live",
                        self.transaction_limit(),
                        |connection, _| Box::pin(cancel(connection, *day, tenant, ids)),
                    )
                    .await?;
                }
            }
        }
    }

    /// Removes a tenant that is being deleted and has nothing live: all its rows but the audit log's. A tenant that is
    /// not there (any more) is Unchanged.
    pub async fn remove_tenant(&self, actor: &Actor, tenant: &TenantId) -> Result<Done<Removed>, AdminError> {
        let mut removed = Removed::default();
        match self.tenant(tenant).await? {
            Some(record) if record.state == TenantState::Deleting => {}
            Some(_) => return Err(AdminError::Conflict(not_deleting(tenant))),
            None => {
                let revision = self.directory_revision().await?;
                return Ok(Done { outcome: Outcome::Unchanged, revision, value: removed });
            }
        }
        let live = self.live_count(tenant).await?;
        if live > 0 {
            return Err(AdminError::Conflict(format!(
                "tenant {tenant} has {live} live executions; wait for their end or cancel them"
            )));
        }
        removed.executions = self.sweep_days(tenant, "executions", "state >= 4", SMALL_ROWS).await?;
        // What is left lives: a publisher that did not know yet took it. Nothing of it may be touched.
        if self.has_executions(tenant).await? {
            return Err(AdminError::Conflict(accepted_late(tenant)));
        }
        for (table, at_once) in BY_DAY {
            let gone = self.sweep_days(tenant, table, "true", at_once).await?;
            match table {
                "payloads" => removed.payloads = gone,
                "results" => removed.results = gone,
                _ => {}
            }
        }
        for (table, key) in FLAT {
            self.sweep_flat(tenant, table, key).await?;
        }
        self.administer("tenant.remove", |connection, _| Box::pin(remove(connection, actor, tenant, removed)))
            .await
    }

    /// Partition by partition, by id: rows that went are not passed again.
    async fn sweep_days(
        &self,
        tenant: &TenantId,
        table: &'static str,
        condition: &'static str,
        at_once: i64,
    ) -> Result<u64, StoreError> {
        let partitions =
            tx::transaction(&self.pool, "sweep.partitions", self.transaction_limit(), |connection, _| {
                Box::pin(partitions_of(connection, table))
            })
            .await?;
        let mut gone = 0;
        for partition in partitions {
            let sql = format!(
                "DELETE FROM {partition} WHERE tenant_id = $1 AND id IN
                   (SELECT DISTINCT id FROM {partition} WHERE tenant_id = $1 AND id > $2 AND {condition} ORDER BY id LIMIT $3) RETURNING id"
            );
            let mut last = Uuid::nil();
            loop {
                let sql = sql.as_str();
                let ids: Vec<Uuid> =
                    tx::transaction(&self.batch_pool, "sweep", self.transaction_limit(), |connection, _| {
                        Box::pin(async move {
                            let gone = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
                                .bind(tenant.as_str())
                                .bind(last)
                                .bind(at_once)
                                .fetch_all(connection)
                                .await;
                            // Retention took the whole day meanwhile.
                            if gone.as_ref().is_err_and(undefined_table) { Ok(Vec::new()) } else { gone }
                        })
                    })
                    .await?;
                let Some(greatest) = ids.iter().max() else { break };
                last = *greatest;
                gone += ids.len() as u64;
            }
        }
        Ok(gone)
    }

    async fn sweep_flat(
        &self,
        tenant: &TenantId,
        table: &'static str,
        key: &'static str,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE tenant_id = $1 LIMIT $2)"
        );
        let sql = sql.as_str();
        loop {
            let gone = tx::transaction(&self.pool, "sweep", self.transaction_limit(), |connection, _| {
                Box::pin(async move {
                    sqlx::query(AssertSqlSafe(sql.to_owned()))
                        .bind(tenant.as_str())
                        .bind(SMALL_ROWS)
                        .execute(connection)
                        .await
                })
            })
            .await?;
            if gone.rows_affected() == 0 {
                return Ok(());
            }
        }
    }

    async fn has_executions(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        tx::transaction(&self.pool, "has_executions", self.transaction_limit(), |connection, _| {
            Box::pin(has_executions(connection, tenant))
        })
        .await
    }
}

/// Locks as finish does, executions by key and then their timers. The timers are looked for by a second statement:
/// one that the relay re-armed while the first waited is invisible to that one.
async fn cancel(
    connection: &mut PgConnection,
    day: Day,
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<u64, sqlx::Error> {
    if !partition_exists(connection, day).await? {
        return Ok(0);
    }
    let ended = sqlx::query(AssertSqlSafe(cancel_sql(day)))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(&mut *connection)
        .await?;
    let mut due: Vec<Option<Time>> = Vec::with_capacity(ended.len());
    let mut ids: Vec<Uuid> = Vec::with_capacity(ended.len());
    for row in &ended {
        due.push(row.try_get("due_at")?);
        ids.push(row.try_get("id")?);
    }
    sqlx::query!(
        "DELETE FROM timers t USING unnest($2::timestamptz[], $3::uuid[]) AS r(due_at, id)
          WHERE t.due_at = r.due_at AND t.tenant_id = $1 AND t.execution_id = r.id",
        tenant.as_str(),
        &due as &[Option<Time>],
        &ids
    )
    .execute(connection)
    .await?;
    Ok(ended.len() as u64)
}

async fn has_executions(connection: &mut PgConnection, tenant: &TenantId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM executions WHERE tenant_id = $1) OR EXISTS (SELECT FROM timers WHERE tenant_id = $1) AS "any!""#,
        tenant.as_str()
    )
    .fetch_one(connection)
    .await
}

/// The last transaction: who could act for the tenant, its secrets, and the tenant itself.
async fn remove(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    mut removed: Removed,
) -> Answer<Removed> {
    match lock(connection, tenant).await? {
        Some(record) if record.state == TenantState::Deleting => {}
        Some(_) => return conflict(not_deleting(tenant)),
        // The answer to its own COMMIT was lost, or another call was faster.
        None => return unchanged(connection, removed).await,
    }
    if has_executions(connection, tenant).await? {
        return conflict(accepted_late(tenant));
    }
    let id = tenant.as_str();
    let credentials = sqlx::query_scalar!(
        "DELETE FROM credentials WHERE tenants <@ ARRAY[$1::text] AND cardinality(tenants) > 0 RETURNING id",
        id
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!("UPDATE credentials SET tenants = array_remove(tenants, $1) WHERE $1 = ANY (tenants)", id)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM webhook_secrets WHERE tenant_id = $1", id).execute(&mut *connection).await?;
    removed.data_keys = sqlx::query!("DELETE FROM data_keys WHERE tenant_id = $1", id)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    sqlx::query!("DELETE FROM webhook_credentials WHERE tenant_id = $1", id)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM usage WHERE tenant_id = $1", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM tenants WHERE id = $1", id).execute(&mut *connection).await?;
    removed.credentials = credentials.len() as u64;
    let note = Note {
        action: "tenant.removed",
        tenant: Some(tenant),
        target: id,
        before: Some(json!({ "credentials": credentials })),
        after: Some(json!(removed)),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: removed }))
}

fn not_deleting(tenant: &TenantId) -> String {
    format!("tenant {tenant} is not being deleted; mark it so first")
}

fn accepted_late(tenant: &TenantId) -> String {
    format!(
        "tenant {tenant} got a new execution in the last moment; wait for its end or cancel it, then run this again"
    )
}

fn undefined_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("42P01"))
}
