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
        let mut connection = self.duty_pool.acquire().await.map_err(named)?;
        revision(&mut connection).await.map_err(named)
    }

    pub async fn directory(&self) -> Result<DirectoryRows, StoreError> {
        tx::transaction(&self.duty_pool, "directory", self.transaction_limit(), |connection, _| {
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
        tenants: readable("tenant", tenants, |row| row.id.clone(), TenantRow::record),
        credentials: readable("credential", credentials, |row| row.id.clone(), CredentialRow::record),
        webhook_secrets: readable(
            "webhook_secret",
            webhook_secrets,
            |row| format!("{} of {}", row.id, row.tenant_id),
            |row| {
                Ok(SealedRow {
                    tenant: rows::tenant(&row.tenant_id)?,
                    id: row.id,
                    sealed: row.sealed,
                    created_at: row.created_at,
                    ends_at: row.expires_at,
                })
            },
        ),
        data_keys: readable(
            "data_key",
            data_keys,
            |row| format!("{} of {}", row.id, row.tenant_id),
            |row| {
                Ok(SealedDataKey {
                    tenant: rows::tenant(&row.tenant_id)?,
                    id: row.id,
                    sealed: row.sealed,
                    retired_at: row.retired_at,
                })
            },
        ),
        webhook_credentials: readable(
            "webhook_credential",
            outgoing,
            |row| format!("{} of {}", row.name, row.tenant_id),
            webhook_credentials::Row::record,
        ),
        issuer_keys,
    })
}

/// A row that a newer version wrote in its own way must not keep the others, and their revocations, from being read.
pub(crate) fn readable<R, T>(
    what: &'static str,
    rows: Vec<R>,
    which: impl Fn(&R) -> String,
    record: impl Fn(R) -> Result<T, sqlx::Error>,
) -> Vec<T> {
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let which = which(&row);
        match record(row) {
            Ok(record) => records.push(record),
            Err(error) => {
                metrics::counter!("bridge_directory_rows_unreadable_total", "what" => what).increment(1);
                tracing::error!(%error, what, which, "a row is left out; another version may have written it");
            }
        }
    }
    records
}
