//! What the bridge shows to a tenant's webhooks, by name.

use bridge_protocol::{TenantId, Time};
use serde_json::json;
use sqlx::PgConnection;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, step, unchanged};
use crate::tenants::{lock, lock_kept};
use crate::{Store, StoreError, rows};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedWebhookCredential {
    pub tenant: TenantId,
    pub name: String,
    pub kind: String,
    pub sealed: Vec<u8>,
    pub created_at: Time,
    pub changed_at: Time,
}

pub(crate) struct Row {
    pub tenant_id: String,
    pub name: String,
    pub kind: String,
    pub sealed: Vec<u8>,
    pub created_at: Time,
    pub changed_at: Time,
}

impl Row {
    pub fn record(self) -> Result<SealedWebhookCredential, sqlx::Error> {
        Ok(SealedWebhookCredential {
            tenant: rows::tenant(&self.tenant_id)?,
            name: self.name,
            kind: self.kind,
            sealed: self.sealed,
            created_at: self.created_at,
            changed_at: self.changed_at,
        })
    }
}

impl Store {
    /// The same bytes again are Unchanged; the same secret sealed anew is not the same bytes.
    pub async fn put_webhook_credential(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &str,
        kind: &str,
        sealed: Vec<u8>,
    ) -> Result<Done<()>, AdminError> {
        let sealed = &sealed;
        self.administer("webhook_credential.put", |connection, _| {
            Box::pin(put(connection, actor, tenant, name, kind, sealed))
        })
        .await
    }

    /// Unchanged when there is none of this name.
    pub async fn delete_webhook_credential(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Done<()>, AdminError> {
        self.administer("webhook_credential.delete", |connection, _| {
            Box::pin(delete(connection, actor, tenant, name))
        })
        .await
    }

    /// By name.
    pub async fn webhook_credentials(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<SealedWebhookCredential>, StoreError> {
        let named = |source| StoreError::Statement { name: "webhook_credentials", source };
        let found = sqlx::query_as!(
            Row,
            "SELECT * FROM webhook_credentials WHERE tenant_id = $1 ORDER BY name",
            tenant.as_str()
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found.into_iter().map(Row::record).collect::<Result<_, _>>().map_err(named)
    }
}

async fn put(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    name: &str,
    kind: &str,
    sealed: &[u8],
) -> Answer<()> {
    if let Err(refused) = lock_kept(connection, tenant).await? {
        return Ok(Err(refused));
    }
    let before = sqlx::query!(
        "SELECT kind, sealed FROM webhook_credentials WHERE tenant_id = $1 AND name = $2 FOR UPDATE",
        tenant.as_str(),
        name
    )
    .fetch_optional(&mut *connection)
    .await?;
    if before.as_ref().is_some_and(|row| row.kind == kind && row.sealed == sealed) {
        return unchanged(connection, ()).await;
    }
    sqlx::query!(
        "INSERT INTO webhook_credentials (tenant_id, name, kind, sealed) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, name) DO UPDATE SET kind = excluded.kind, sealed = excluded.sealed, changed_at = now()",
        tenant.as_str(),
        name,
        kind,
        sealed
    )
    .execute(&mut *connection)
    .await?;
    let outcome = if before.is_some() { Outcome::Changed } else { Outcome::Created };
    let note = Note {
        action: "credential.put",
        tenant: Some(tenant),
        target: name,
        before: before.map(|row| json!({ "kind": row.kind })),
        after: Some(json!({ "kind": kind })),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome, revision, value: () }))
}

async fn delete(connection: &mut PgConnection, actor: &Actor, tenant: &TenantId, name: &str) -> Answer<()> {
    if lock(connection, tenant).await?.is_none() {
        return Ok(Err(AdminError::NotFound));
    }
    let before = sqlx::query_scalar!(
        "DELETE FROM webhook_credentials WHERE tenant_id = $1 AND name = $2 RETURNING kind",
        tenant.as_str(),
        name
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(kind) = before else { return unchanged(connection, ()).await };
    let note = Note {
        action: "credential.delete",
        tenant: Some(tenant),
        target: name,
        before: Some(json!({ "kind": kind })),
        after: None,
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: () }))
}
