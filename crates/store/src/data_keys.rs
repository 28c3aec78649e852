//! A tenant's data keys: one seals new payloads, the others open what they sealed, until they are destroyed.

use bridge_protocol::{TenantId, Time};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Store;
use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, step, unchanged};
use crate::tenants::{lock, lock_kept};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedDataKey {
    pub tenant: TenantId,
    pub id: Uuid,
    /// None: destroyed.
    pub sealed: Option<Vec<u8>>,
    /// None: this one seals.
    pub retired_at: Option<Time>,
}

impl Store {
    /// The new key seals from now on; the one before only opens.
    pub async fn add_data_key(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: Uuid,
        sealed: Vec<u8>,
    ) -> Result<Done<()>, AdminError> {
        let sealed = &sealed;
        self.administer("data_key.add", |connection, _| Box::pin(add(connection, actor, tenant, id, sealed)))
            .await
    }

    /// All of the tenant's keys: what they sealed is unreadable for ever. Returns how many.
    pub async fn destroy_data_keys(&self, actor: &Actor, tenant: &TenantId) -> Result<Done<u64>, AdminError> {
        self.administer("data_key.destroy", |connection, _| Box::pin(destroy(connection, actor, tenant)))
            .await
    }
}

async fn add(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    id: Uuid,
    sealed: &[u8],
) -> Answer<()> {
    if let Err(refused) = lock_kept(connection, tenant).await? {
        return Ok(Err(refused));
    }
    // Also when it is destroyed: no key comes back.
    let there = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM data_keys WHERE tenant_id = $1 AND id = $2) AS "there!""#,
        tenant.as_str(),
        id
    )
    .fetch_one(&mut *connection)
    .await?;
    if there {
        return unchanged(connection, ()).await;
    }
    let before = sqlx::query_scalar!(
        "UPDATE data_keys SET retired_at = now() WHERE tenant_id = $1 AND retired_at IS NULL RETURNING id",
        tenant.as_str()
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO data_keys (tenant_id, id, sealed) VALUES ($1, $2, $3)",
        tenant.as_str(),
        id,
        sealed
    )
    .execute(&mut *connection)
    .await?;
    let note = Note {
        action: "key.rotate",
        tenant: Some(tenant),
        target: "data",
        before: before.map(|id| json!({ "id": id })),
        after: Some(json!({ "id": id })),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Created, revision, value: () }))
}

async fn destroy(connection: &mut PgConnection, actor: &Actor, tenant: &TenantId) -> Answer<u64> {
    if lock(connection, tenant).await?.is_none() {
        return Ok(Err(AdminError::NotFound));
    }
    let destroyed = sqlx::query_scalar!(
        "UPDATE data_keys SET sealed = NULL, destroyed_at = now(), retired_at = COALESCE(retired_at, now())
         WHERE tenant_id = $1 AND destroyed_at IS NULL RETURNING id",
        tenant.as_str()
    )
    .fetch_all(&mut *connection)
    .await?;
    if destroyed.is_empty() {
        return unchanged(connection, 0).await;
    }
    let note = Note {
        action: "key.destroy",
        tenant: Some(tenant),
        target: "data",
        before: Some(json!({ "ids": destroyed })),
        after: None,
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: destroyed.len() as u64 }))
}
