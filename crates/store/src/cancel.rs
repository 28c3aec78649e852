//! Cancelling what a closed tenant has live, in chunks: a call that was interrupted is simply made again.

use std::collections::BTreeMap;

use bridge_protocol::{TenantId, Time};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::admin::{Actor, AdminError};
use crate::day::Day;
use crate::removal::{PAGE, changed_meanwhile, stands};
use crate::timers::partition_exists;
use crate::{Store, StoreError, TenantRecord, TenantState, rows, tx};

/// Executions that are cancelled in one transaction.
const CANCELLED_AT_ONCE: usize = 500;

pub(crate) fn cancel_sql(day: Day) -> String {
    format!(
        "WITH o AS MATERIALIZED (SELECT id FROM executions_{day} WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND state < 4 ORDER BY id FOR UPDATE)
         UPDATE executions_{day} e SET state = 7, lease_until = NULL, finished_at = now(), error = 'cancelled with all that its tenant had live'
           FROM o WHERE e.tenant_id = $1 AND e.id = o.id RETURNING e.due_at, e.id",
        day = day.suffix()
    )
}

impl Store {
    /// Cancels what lives of a suspended or deleting tenant, also what is running: its consumer finds its fence lost.
    /// Returns how many.
    pub async fn cancel_live(&self, actor: &Actor, tenant: &TenantId) -> Result<u64, AdminError> {
        let Some(record) = self.tenant(tenant).await? else { return Err(AdminError::NotFound) };
        if record.state == TenantState::Active {
            return Err(AdminError::Conflict(format!(
                "tenant {tenant} is active; suspend or delete it before what lives is cancelled"
            )));
        }
        self.refuse_while_accepting(tenant).await?;
        let live = self.live_count(tenant).await?;
        let mut cancelled = 0;
        if live > 0 {
            self.say_cancels(actor, tenant, live).await?;
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
                let Some(end) = page.last() else { break };
                last = *end;
                cancelled += self.cancel_these(&record, page).await?;
            }
        }
        // By the invariant nothing is left; what broke it must not outlive its tenant.
        let left = self.live_ids(tenant).await?;
        if !left.is_empty() {
            tracing::warn!(tenant_id = %tenant, executions = left.len(), "live executions without a timer are cancelled");
            self.say_cancels(actor, tenant, left.len() as u64).await?;
            cancelled += self.cancel_these(&record, left).await?;
        }
        Ok(cancelled)
    }

    /// Said before it is done, so that no cancellation goes unsaid.
    async fn say_cancels(&self, actor: &Actor, tenant: &TenantId, live: u64) -> Result<(), StoreError> {
        let after = json!({ "cancels": live });
        self.write_audit(actor, "tenant.delete", Some(tenant), tenant.as_str(), None, Some(after)).await
    }

    async fn cancel_these(&self, seen: &TenantRecord, ids: Vec<Uuid>) -> Result<u64, AdminError> {
        let mut by_day: BTreeMap<Day, Vec<Uuid>> = BTreeMap::new();
        for id in ids {
            let execution = rows::execution_id(id)
                .map_err(|source| StoreError::Statement { name: "cancel_live.page", source })?;
            by_day.entry(Day::of(execution)).or_default().push(id);
        }
        let mut cancelled = 0;
        for (day, ids) in &by_day {
            for ids in ids.chunks(CANCELLED_AT_ONCE) {
                let done = tx::transaction(
                    &self.batch_pool,
                    "cancel_live",
                    self.transaction_limit(),
                    |connection, _| {
                        Box::pin(async move {
                            if !stands(connection, seen).await? {
                                return Ok(None);
                            }
                            cancel(connection, *day, &seen.id, ids).await.map(Some)
                        })
                    },
                )
                .await?;
                cancelled += done.ok_or_else(|| changed_meanwhile(&seen.id))?;
            }
        }
        Ok(cancelled)
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
