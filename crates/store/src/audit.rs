//! The audit log: every administrative act, never changed, never removed.

use bridge_protocol::{TenantId, Time};
use serde_json::Value;
use sqlx::PgConnection;

use crate::admin::Note;
use crate::{Actor, Store, StoreError, rows, tx};

#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub tenant: Option<TenantId>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub after_id: Option<i64>,
    pub since: Option<Time>,
    /// Before this time.
    pub until: Option<Time>,
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub id: i64,
    pub at: Time,
    pub actor: String,
    /// A dotted name, such as `tenant.create`.
    pub action: String,
    pub tenant: Option<TenantId>,
    pub target: String,
    pub source: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Store {
    /// Oldest first. Of a tenant: also what was done to a credential that it shares with others.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "audit", source };
        let found = sqlx::query!(
            "SELECT id, at, actor, action, tenant_id, target, source, before, after FROM audit_log
             WHERE ($1::text IS NULL OR tenant_id = $1 OR before->'tenants' ? $1 OR after->'tenants' ? $1) AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
               AND id > $4 AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
             ORDER BY id LIMIT $7",
            filter.tenant.as_ref().map(TenantId::as_str),
            filter.actor,
            filter.action,
            filter.after_id.unwrap_or_default(),
            filter.since,
            filter.until,
            i64::from(filter.limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found
            .into_iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.id,
                    at: row.at,
                    actor: row.actor,
                    action: row.action,
                    tenant: row.tenant_id.as_deref().map(rows::tenant).transpose()?,
                    target: row.target,
                    source: row.source,
                    before: row.before,
                    after: row.after,
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }

    /// An act that changes nothing in the directory.
    pub async fn write_audit(
        &self,
        actor: &Actor,
        action: &str,
        tenant: Option<&TenantId>,
        target: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), StoreError> {
        let named = |source| StoreError::Statement { name: "write_audit", source };
        let mut connection = self.pool.acquire().await.map_err(named)?;
        let note = Note { action, tenant, target, before, after };
        write(&mut connection, actor, &[note]).await.map_err(named)
    }

    /// A change that many notice: whoever comes first writes it down, the others find its new state there. True: it was
    /// written.
    pub async fn write_audit_once(
        &self,
        actor: &Actor,
        action: &str,
        target: &str,
        before: &Value,
        after: &Value,
    ) -> Result<bool, StoreError> {
        tx::transaction(&self.pool, "write_audit_once", self.transaction_limit(), |connection, _| {
            Box::pin(async move {
                sqlx::query!("SELECT revision FROM directory_revision FOR UPDATE")
                    .fetch_one(&mut *connection)
                    .await?;
                let last = sqlx::query_scalar!(
                    "SELECT after FROM audit_log WHERE action = $1 AND target = $2 ORDER BY id DESC LIMIT 1",
                    action,
                    target
                )
                .fetch_optional(&mut *connection)
                .await?;
                if last.flatten().as_ref() == Some(after) {
                    return Ok(false);
                }
                let note = Note {
                    action,
                    tenant: None,
                    target,
                    before: Some(before.clone()),
                    after: Some(after.clone()),
                };
                write(connection, actor, &[note]).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// Under the row that all changes queue for: the log's numbers become visible in their order.
pub(crate) async fn write(
    connection: &mut PgConnection,
    actor: &Actor,
    notes: &[Note<'_>],
) -> Result<(), sqlx::Error> {
    let actions: Vec<&str> = notes.iter().map(|note| note.action).collect();
    let tenants: Vec<Option<&str>> = notes.iter().map(|note| note.tenant.map(TenantId::as_str)).collect();
    let targets: Vec<&str> = notes.iter().map(|note| note.target).collect();
    let befores: Vec<Option<Value>> = notes.iter().map(|note| note.before.clone()).collect();
    let afters: Vec<Option<Value>> = notes.iter().map(|note| note.after.clone()).collect();
    sqlx::query!(
        "WITH r AS MATERIALIZED (SELECT FROM directory_revision FOR UPDATE)
         INSERT INTO audit_log (actor, source, action, tenant_id, target, before, after)
         SELECT $1, $2, n.action, n.tenant_id, n.target, n.before, n.after
         FROM r, unnest($3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[]) AS n(action, tenant_id, target, before, after)",
        actor.who,
        actor.source,
        &actions as &[&str],
        &tenants as &[Option<&str>],
        &targets as &[&str],
        &befores as &[Option<Value>],
        &afters as &[Option<Value>]
    )
    .execute(connection)
    .await
    .map(drop)
}
