//! What a tenant's webhooks are signed with. At most two live: the newest, and for a while the one before.

use std::time::Duration;

use bridge_protocol::{TenantId, Time};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, step, unchanged};
use crate::tenants::lock_kept;
use crate::{Store, rows};

/// A webhook secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRow {
    pub tenant: TenantId,
    pub id: Uuid,
    pub sealed: Vec<u8>,
    pub created_at: Time,
    pub ends_at: Option<Time>,
}

impl Store {
    /// The present secret ends after `overlap`, an older one at once.
    pub async fn add_webhook_secret(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: Uuid,
        sealed: Vec<u8>,
        overlap: Duration,
    ) -> Result<Done<()>, AdminError> {
        let sealed = &sealed;
        self.administer("webhook_secret.add", |connection, _| {
            Box::pin(add(connection, actor, tenant, id, sealed, overlap))
        })
        .await
    }
}

async fn add(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    id: Uuid,
    sealed: &[u8],
    overlap: Duration,
) -> Answer<()> {
    if let Err(refused) = lock_kept(connection, tenant).await? {
        return Ok(Err(refused));
    }
    if secret_exists(connection, tenant, id).await? {
        return unchanged(connection, ()).await;
    }
    sqlx::query!(
        "DELETE FROM webhook_secrets WHERE tenant_id = $1 AND expires_at IS NOT NULL",
        tenant.as_str()
    )
    .execute(&mut *connection)
    .await?;
    let before = sqlx::query!(
        "UPDATE webhook_secrets SET expires_at = now() + make_interval(secs => $2) WHERE tenant_id = $1 RETURNING id, expires_at",
        tenant.as_str(),
        rows::seconds(overlap)
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO webhook_secrets (tenant_id, id, sealed) VALUES ($1, $2, $3)",
        tenant.as_str(),
        id,
        sealed
    )
    .execute(&mut *connection)
    .await?;
    let note = Note {
        action: "key.rotate",
        tenant: Some(tenant),
        target: "webhook",
        before: before.map(|row| json!({ "id": row.id, "ends_at": row.expires_at })),
        after: Some(json!({ "id": id })),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Created, revision, value: () }))
}

pub(crate) async fn secret_exists(
    connection: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM webhook_secrets WHERE tenant_id = $1 AND id = $2) AS "there!""#,
        tenant.as_str(),
        id
    )
    .fetch_one(connection)
    .await
}
