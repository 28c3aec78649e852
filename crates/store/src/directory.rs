//! The directory: all that a daemon must know of tenants and their callers, read as one consistent whole.

use bridge_protocol::Time;
use sqlx::PgConnection;

use crate::admin::revision;
use crate::credentials::CredentialRow;
use crate::tenants::TenantRow;
use crate::{
    CredentialRecord, SealedDataKey, SealedIssuerKey, SealedRow, SealedWebhookCredential, Store, StoreError,
    TenantRecord, rows, tx, webhook_credentials,
};

#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryRows {
    pub revision: i64,
    /// Postgres's clock.
    pub now: Time,
    pub tenants: Vec<TenantRecord>,
    /// Neither revoked nor expired.
    pub credentials: Vec<CredentialRecord>,
    pub webhook_secrets: Vec<SealedRow>,
    /// Destroyed ones too: whoever meets their payloads can say why.
    pub data_keys: Vec<SealedDataKey>,
    pub webhook_credentials: Vec<SealedWebhookCredential>,
    pub issuer_keys: Vec<SealedIssuerKey>,
}

impl Store {
    /// Steps with every change of the directory.
    pub async fn directory_revision(&self) -> Result<i64, StoreError> {
        let named = |source| StoreError::Statement { name: "directory_revision", source };
        let mut connection = self.pool.acquire().await.map_err(named)?;
        revision(&mut connection).await.map_err(named)
    }

    pub async fn directory(&self) -> Result<DirectoryRows, StoreError> {
        tx::transaction(&self.pool, "directory", self.transaction_limit(), |connection, _| {
            Box::pin(read(connection))
        })
        .await
    }
}

async fn read(connection: &mut PgConnection) -> Result<DirectoryRows, sqlx::Error> {
    // One snapshot: a tenant is never seen without its keys, nor the rows without their revision.
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *connection)
        .await?;
    let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *connection).await?;
    let revision = revision(&mut *connection).await?;
    let tenants =
        sqlx::query_as!(TenantRow, "SELECT * FROM tenants ORDER BY id").fetch_all(&mut *connection).await?;
    let credentials = sqlx::query_as!(
        CredentialRow,
        "SELECT * FROM credentials WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
    )
    .fetch_all(&mut *connection)
    .await?;
    let webhook_secrets = sqlx::query!(
        "SELECT tenant_id, id, sealed, created_at, expires_at FROM webhook_secrets WHERE expires_at IS NULL OR expires_at > now()"
    )
    .fetch_all(&mut *connection)
    .await?;
    let data_keys = sqlx::query!("SELECT tenant_id, id, sealed, retired_at FROM data_keys")
        .fetch_all(&mut *connection)
        .await?;
    let outgoing = sqlx::query_as!(webhook_credentials::Row, "SELECT * FROM webhook_credentials")
        .fetch_all(&mut *connection)
        .await?;
    let issuer_keys = sqlx::query_as!(
        SealedIssuerKey,
        "SELECT * FROM issuer_keys WHERE retires_at IS NULL OR retires_at > now() ORDER BY signs_from DESC"
    )
    .fetch_all(connection)
    .await?;
    Ok(DirectoryRows {
        revision,
        now,
        tenants: tenants.into_iter().map(TenantRow::record).collect::<Result<_, _>>()?,
        credentials: credentials.into_iter().map(CredentialRow::record).collect::<Result<_, _>>()?,
        webhook_secrets: webhook_secrets
            .into_iter()
            .map(|row| {
                Ok(SealedRow {
                    tenant: rows::tenant(&row.tenant_id)?,
                    id: row.id,
                    sealed: row.sealed,
                    created_at: row.created_at,
                    ends_at: row.expires_at,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?,
        data_keys: data_keys
            .into_iter()
            .map(|row| {
                Ok(SealedDataKey {
                    tenant: rows::tenant(&row.tenant_id)?,
                    id: row.id,
                    sealed: row.sealed,
                    retired_at: row.retired_at,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?,
        webhook_credentials: outgoing
            .into_iter()
            .map(webhook_credentials::Row::record)
            .collect::<Result<_, _>>()?,
        issuer_keys,
    })
}
