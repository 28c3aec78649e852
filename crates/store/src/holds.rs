//! Holds: what they name is accepted as ever and not fired.

use bridge_protocol::{Hold, TenantId, Time};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome};
use crate::routing::{record, step_routing, unchanged_routing};
use crate::tenants::{lock, lock_kept};
use crate::{Store, StoreError, rows};

#[derive(Clone, Debug, PartialEq)]
pub struct HoldRow {
    pub hold: Hold,
    pub created_by: String,
    pub created_at: Time,
}

pub(crate) struct Row {
    pub tenant_id: String,
    pub id: String,
    pub workflow_id: Option<String>,
    pub lane: Option<i16>,
    pub host: Option<String>,
    pub reason: String,
    pub created_by: String,
    pub created_at: Time,
}

impl Row {
    pub fn record(self) -> Result<HoldRow, sqlx::Error> {
        Ok(HoldRow {
            hold: Hold {
                tenant: rows::tenant(&self.tenant_id)?,
                id: self.id,
                workflow: self.workflow_id.as_deref().map(rows::workflow).transpose()?,
                lane: self.lane.map(rows::lane).transpose()?,
                host: self.host,
                reason: self.reason,
            },
            created_by: self.created_by,
            created_at: self.created_at,
        })
    }
}

impl Store {
    /// Makes the hold, or changes what the one of this id holds. The outcome's revision is the routing's.
    pub async fn put_hold(&self, actor: &Actor, hold: &Hold) -> Result<Done<HoldRow>, AdminError> {
        self.administer("hold.put", |connection, _| Box::pin(put(connection, actor, hold))).await
    }

    /// None: there is no such hold.
    pub async fn delete_hold(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &str,
    ) -> Result<Option<HoldRow>, AdminError> {
        let done = self
            .administer("hold.delete", |connection, _| Box::pin(delete(connection, actor, tenant, id)))
            .await?;
        Ok(done.value)
    }

    /// By id.
    pub async fn holds(&self, tenant: &TenantId) -> Result<Vec<HoldRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "holds", source };
        let found =
            sqlx::query_as!(Row, "SELECT * FROM holds WHERE tenant_id = $1 ORDER BY id", tenant.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(named)?;
        found.into_iter().map(Row::record).collect::<Result<_, _>>().map_err(named)
    }
}

async fn put(connection: &mut PgConnection, actor: &Actor, hold: &Hold) -> Answer<HoldRow> {
    if let Err(refused) = lock_kept(connection, &hold.tenant).await? {
        return Ok(Err(refused));
    }
    let before = sqlx::query_as!(
        Row,
        "SELECT * FROM holds WHERE tenant_id = $1 AND id = $2",
        hold.tenant.as_str(),
        hold.id
    )
    .fetch_optional(&mut *connection)
    .await?
    .map(Row::record)
    .transpose()?;
    let before = match before {
        Some(row) if row.hold == *hold => return unchanged_routing(connection, row).await,
        before => before,
    };
    let revision = step_routing(connection).await?;
    let after = sqlx::query_as!(
        Row,
        "INSERT INTO holds (tenant_id, id, workflow_id, lane, host, reason, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, id) DO UPDATE SET workflow_id = excluded.workflow_id, lane = excluded.lane, host = excluded.host,
           reason = excluded.reason RETURNING *",
        hold.tenant.as_str(),
        hold.id,
        hold.workflow.as_ref().map(|workflow| workflow.as_str()),
        hold.lane.map(|lane| lane.code()),
        hold.host,
        hold.reason,
        actor.who
    )
    .fetch_one(&mut *connection)
    .await?
    .record()?;
    let outcome = if before.is_some() { Outcome::Changed } else { Outcome::Created };
    let note = Note {
        action: "hold.put",
        tenant: Some(&hold.tenant),
        target: &hold.id,
        before: before.as_ref().map(|row| shown(&row.hold)),
        after: Some(shown(hold)),
    };
    record(connection, actor, revision, &[note]).await?;
    Ok(Ok(Done { outcome, revision, value: after }))
}

async fn delete(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Answer<Option<HoldRow>> {
    if lock(connection, tenant).await?.is_none() {
        return unchanged_routing(connection, None).await;
    }
    let found = sqlx::query_as!(
        Row,
        "DELETE FROM holds WHERE tenant_id = $1 AND id = $2 RETURNING *",
        tenant.as_str(),
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = found.map(Row::record).transpose()? else {
        return unchanged_routing(connection, None).await;
    };
    let revision = step_routing(connection).await?;
    let note = Note {
        action: "hold.delete",
        tenant: Some(tenant),
        target: id,
        before: Some(shown(&row.hold)),
        after: None,
    };
    record(connection, actor, revision, &[note]).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: Some(row) }))
}

fn shown(hold: &Hold) -> Value {
    json!({ "workflow_id": hold.workflow, "lane": hold.lane, "host": hold.host, "reason": hold.reason })
}
