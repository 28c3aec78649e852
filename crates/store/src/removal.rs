//! The end of a tenant: its rows go when nothing of it lives any more. The work is done in chunks, each a short
//! transaction of its own, and a call that was interrupted is simply made again.

use bridge_protocol::TenantId;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, conflict, step, unchanged};
use crate::partitions::partitions_of;
use crate::tenants::lock;
use crate::{Store, StoreError, TenantRecord, TenantState, routing, tx};

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
pub(crate) const PAGE: i64 = 10_000;
/// A payload may be 15 MiB, which is thousands of rows beneath.
const LARGE_ROWS: i64 = 100;
const SMALL_ROWS: i64 = 1_000;

/// What belongs to executions, by day, with the rows that go at once.
const BY_DAY: [(&str, i64); 3] =
    [("payloads", LARGE_ROWS), ("results", LARGE_ROWS), ("attempts", SMALL_ROWS)];
/// What has no day, with its key.
const FLAT: [(&str, &str); 8] = [
    ("timers", "due_at, tenant_id, execution_id"),
    ("idempotency_keys", "tenant_id, key"),
    ("dead_letters", "tenant_id, execution_id"),
    ("follow_ups", "tenant_id, execution_id"),
    ("jobs", "id"),
    ("notices", "id"),
    ("rejected_messages", "id"),
    ("usage", "tenant_id, day"),
];

impl Store {
    /// Neither may anything be cancelled nor removed beside an accept that is still on its way.
    pub(crate) async fn refuse_while_accepting(&self, tenant: &TenantId) -> Result<(), AdminError> {
        if self.accepts_are_over(tenant).await? {
            return Ok(());
        }
        Err(AdminError::Conflict(format!(
            "tenant {tenant} was closed a moment ago, and what was accepted just before may still come; run the call \
             again in {} seconds",
            self.config.statement_timeout.as_secs() + 2
        )))
    }

    /// The live executions by the executions themselves, whatever the timers say. Reads all that the tenant has.
    pub(crate) async fn live_ids(&self, tenant: &TenantId) -> Result<Vec<Uuid>, StoreError> {
        let mut live = Vec::new();
        for partition in self.partitions("executions").await? {
            let sql = format!(
                "WITH s AS (SELECT id, state FROM {partition} WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3)
                 SELECT (SELECT id FROM s ORDER BY id DESC LIMIT 1) AS last, ARRAY(SELECT id FROM s WHERE state < 4) AS live"
            );
            let sql = sql.as_str();
            let mut last = Uuid::nil();
            loop {
                let found: (Option<Uuid>, Vec<Uuid>) = tx::transaction(
                    &self.batch_pool,
                    "live_ids",
                    self.transaction_limit(),
                    |connection, _| {
                        Box::pin(async move {
                            let found = sqlx::query_as(AssertSqlSafe(sql.to_owned()))
                                .bind(tenant.as_str())
                                .bind(last)
                                .bind(PAGE)
                                .fetch_one(connection)
                                .await;
                            // Retention took the whole day meanwhile.
                            if found.as_ref().is_err_and(undefined_table) {
                                Ok((None, Vec::new()))
                            } else {
                                found
                            }
                        })
                    },
                )
                .await?;
                live.extend(found.1);
                let Some(end) = found.0 else { break };
                last = end;
            }
        }
        Ok(live)
    }

    async fn partitions(&self, table: &'static str) -> Result<Vec<String>, StoreError> {
        tx::transaction(&self.pool, "sweep.partitions", self.transaction_limit(), |connection, _| {
            Box::pin(partitions_of(connection, table))
        })
        .await
    }

    /// Removes a tenant that is being deleted and has nothing live: all its rows but the audit log's. A tenant that is
    /// not there (any more) is Unchanged.
    pub async fn remove_tenant(&self, actor: &Actor, tenant: &TenantId) -> Result<Done<Removed>, AdminError> {
        let mut removed = Removed::default();
        let seen = match self.tenant(tenant).await? {
            Some(record) if record.state == TenantState::Deleting => record,
            Some(_) => return Err(AdminError::Conflict(not_deleting(tenant))),
            None => {
                let revision = self.directory_revision().await?;
                return Ok(Done { outcome: Outcome::Unchanged, revision, value: removed });
            }
        };
        self.refuse_while_accepting(tenant).await?;
        // After that fence nothing new can come. A live execution keeps all that the tenant has in its place.
        let live = self.live_ids(tenant).await?.len();
        if live > 0 {
            return Err(AdminError::Conflict(format!(
                "tenant {tenant} has {live} live executions; wait for their end or cancel them"
            )));
        }
        removed.executions = self.sweep_days(&seen, "executions", "state >= 4", SMALL_ROWS).await?;
        if self.has_executions(tenant).await? {
            return Err(AdminError::Conflict(still_live(tenant)));
        }
        for (table, at_once) in BY_DAY {
            let gone = self.sweep_days(&seen, table, "true", at_once).await?;
            match table {
                "payloads" => removed.payloads = gone,
                "results" => removed.results = gone,
                _ => {}
            }
        }
        for (table, key) in FLAT {
            self.sweep_flat(&seen, table, key).await?;
        }
        self.administer("tenant.remove", |connection, _| Box::pin(remove(connection, actor, tenant, removed)))
            .await
    }

    /// Partition by partition, by id: rows that went are not passed again.
    async fn sweep_days(
        &self,
        seen: &TenantRecord,
        table: &'static str,
        condition: &'static str,
        at_once: i64,
    ) -> Result<u64, AdminError> {
        let mut gone = 0;
        for partition in self.partitions(table).await? {
            let sql = format!(
                "DELETE FROM {partition} WHERE tenant_id = $1 AND id IN
                   (SELECT DISTINCT id FROM {partition} WHERE tenant_id = $1 AND id > $2 AND {condition} ORDER BY id LIMIT $3) RETURNING id"
            );
            let mut last = Uuid::nil();
            loop {
                let sql = sql.as_str();
                let ids: Option<Vec<Uuid>> =
                    tx::transaction(&self.batch_pool, "sweep", self.transaction_limit(), |connection, _| {
                        Box::pin(async move {
                            if !stands(connection, seen).await? {
                                return Ok(None);
                            }
                            let gone = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
                                .bind(seen.id.as_str())
                                .bind(last)
                                .bind(at_once)
                                .fetch_all(connection)
                                .await;
                            // Retention took the whole day meanwhile.
                            if gone.as_ref().is_err_and(undefined_table) {
                                Ok(Some(Vec::new()))
                            } else {
                                gone.map(Some)
                            }
                        })
                    })
                    .await?;
                let ids = ids.ok_or_else(|| changed_meanwhile(&seen.id))?;
                let Some(greatest) = ids.iter().max() else { break };
                last = *greatest;
                gone += ids.len() as u64;
            }
        }
        Ok(gone)
    }

    async fn sweep_flat(
        &self,
        seen: &TenantRecord,
        table: &'static str,
        key: &'static str,
    ) -> Result<(), AdminError> {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE tenant_id = $1 LIMIT $2)"
        );
        let sql = sql.as_str();
        loop {
            let gone = tx::transaction(&self.pool, "sweep", self.transaction_limit(), |connection, _| {
                Box::pin(async move {
                    if !stands(connection, seen).await? {
                        return Ok(None);
                    }
                    sqlx::query(AssertSqlSafe(sql.to_owned()))
                        .bind(seen.id.as_str())
                        .bind(SMALL_ROWS)
                        .execute(connection)
                        .await
                        .map(|done| Some(done.rows_affected()))
                })
            })
            .await?;
            if gone.ok_or_else(|| changed_meanwhile(&seen.id))? == 0 {
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

/// Whether it is still the tenant that was seen, in its state: another call may have removed it meanwhile and somebody
/// made a new one of its name, or it was resumed. The lock holds that off until the transaction ends.
pub(crate) async fn stands(connection: &mut PgConnection, seen: &TenantRecord) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT id FROM tenants WHERE id = $1 AND created_at = $2 AND state = $3 FOR SHARE",
        seen.id.as_str(),
        seen.created_at,
        seen.state.code()
    )
    .fetch_optional(connection)
    .await
    .map(|found| found.is_some())
}

async fn has_executions(connection: &mut PgConnection, tenant: &TenantId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM executions WHERE tenant_id = $1) AS "any!""#,
        tenant.as_str()
    )
    .fetch_one(connection)
    .await
}

/// The last transaction: who could act for the tenant, its routing, its secrets, and the tenant itself.
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
        return conflict(still_live(tenant));
    }
    let id = tenant.as_str();
    routing::drop_tenant(connection, tenant).await?;
    let credentials = sqlx::query_scalar!(
        "DELETE FROM credentials WHERE tenants <@ ARRAY[$1::text] AND cardinality(tenants) > 0 RETURNING id",
        id
    )
    .fetch_all(&mut *connection)
    .await?;
    // They go on for their other tenants.
    let shared = sqlx::query_scalar!(
        "UPDATE credentials SET tenants = array_remove(tenants, $1) WHERE $1 = ANY (tenants) RETURNING id",
        id
    )
    .fetch_all(&mut *connection)
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
        before: Some(json!({ "credentials": credentials, "shared_credentials": shared })),
        after: Some(json!(removed)),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: removed }))
}

fn not_deleting(tenant: &TenantId) -> String {
    format!("tenant {tenant} is not being deleted; mark it so first")
}

fn still_live(tenant: &TenantId) -> String {
    format!("tenant {tenant} has executions yet; wait for their end or cancel them, then run this again")
}

pub(crate) fn changed_meanwhile(tenant: &TenantId) -> AdminError {
    AdminError::Conflict(format!(
        "tenant {tenant} was changed or removed meanwhile; look at it and run this again"
    ))
}

fn undefined_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("42P01"))
}
