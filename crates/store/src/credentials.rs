//! Who may log in. Of a secret only its digest is kept.

use std::time::Duration;

use bridge_protocol::{Scope, Scopes, TenantId, Time};
use serde_json::json;
use sqlx::PgConnection;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, conflict, step, unchanged};
use crate::tenants::deleting;
use crate::{Store, StoreError, TenantState, rows};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    ServiceAccount,
    ApiKey,
}

impl CredentialKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service_account",
            Self::ApiKey => "api_key",
        }
    }

    pub fn code(self) -> i16 {
        match self {
            Self::ServiceAccount => 0,
            Self::ApiKey => 1,
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        [Self::ServiceAccount, Self::ApiKey].into_iter().find(|kind| kind.code() == code)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRecord {
    pub id: String,
    pub kind: CredentialKind,
    pub name: String,
    /// None for an admin, one or more for everybody else.
    pub tenants: Vec<TenantId>,
    pub scopes: Scopes,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// The secret before this one, and until when it is taken.
    pub old: Option<([u8; 32], Time)>,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub created_at: Time,
}

pub(crate) struct CredentialRow {
    pub id: String,
    pub kind: i16,
    pub name: String,
    pub tenants: Vec<String>,
    pub scopes: i16,
    pub digest: Vec<u8>,
    pub old_digest: Option<Vec<u8>>,
    pub old_until: Option<Time>,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub created_at: Time,
}

impl CredentialRow {
    pub fn record(self) -> Result<CredentialRecord, sqlx::Error> {
        let old = self.old_digest.as_deref().map(rows::digest).transpose()?.zip(self.old_until);
        Ok(CredentialRecord {
            kind: CredentialKind::from_code(self.kind)
                .ok_or_else(|| rows::bad("credential kind", self.kind))?,
            tenants: self.tenants.iter().map(|id| rows::tenant(id)).collect::<Result<_, _>>()?,
            scopes: Scopes::from_code(self.scopes).ok_or_else(|| rows::bad("scopes", self.scopes))?,
            digest: rows::digest(&self.digest)?,
            old,
            id: self.id,
            name: self.name,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            created_at: self.created_at,
        })
    }
}

impl Store {
    /// An unknown tenant among its tenants is NotFound. The same record again is Unchanged.
    pub async fn create_credential(
        &self,
        actor: &Actor,
        record: &CredentialRecord,
    ) -> Result<Done<()>, AdminError> {
        self.administer("credential.create", |connection, _| Box::pin(create(connection, actor, record)))
            .await
    }

    /// A new secret; the present one is taken for `overlap` longer.
    pub async fn rotate_credential(
        &self,
        actor: &Actor,
        id: &str,
        digest: [u8; 32],
        overlap: Duration,
    ) -> Result<Done<CredentialRecord>, AdminError> {
        self.administer("credential.rotate", |connection, _| {
            Box::pin(rotate(connection, actor, id, digest, overlap))
        })
        .await
    }

    /// For good.
    pub async fn revoke_credential(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<Done<CredentialRecord>, AdminError> {
        self.administer("credential.revoke", |connection, _| Box::pin(revoke(connection, actor, id))).await
    }

    /// All of them or those that may act for `tenant`, also what is revoked or expired; newest first.
    pub async fn credentials(&self, tenant: Option<&TenantId>) -> Result<Vec<CredentialRecord>, StoreError> {
        let named = |source| StoreError::Statement { name: "credentials", source };
        let found = sqlx::query_as!(
            CredentialRow,
            "SELECT * FROM credentials WHERE $1::text IS NULL OR $1 = ANY (tenants) ORDER BY created_at DESC, id",
            tenant.map(TenantId::as_str)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found.into_iter().map(CredentialRow::record).collect::<Result<_, _>>().map_err(named)
    }

    /// Whether an admin's credential lives.
    pub async fn has_admin(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM credentials WHERE scopes = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS "live!""#,
            Scopes::from(Scope::Admin).code()
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "has_admin", source })
    }
}

async fn create(connection: &mut PgConnection, actor: &Actor, record: &CredentialRecord) -> Answer<()> {
    let is_admin = record.scopes.contains(Scope::Admin);
    if is_admin && (record.scopes != Scopes::from(Scope::Admin) || !record.tenants.is_empty()) {
        return conflict("an admin's credential has the scope admin alone and no tenants");
    }
    if !is_admin && record.tenants.is_empty() {
        return conflict("a credential needs a tenant to act for");
    }
    if let Some(there) = lock(connection, &record.id).await? {
        if there.digest == record.digest {
            return unchanged(connection, ()).await;
        }
        return conflict(format!("there is a credential {} already", record.id));
    }
    let names: Vec<&str> = record.tenants.iter().map(TenantId::as_str).collect();
    // Shared locks: none of them is removed before the credential stands.
    let found = sqlx::query!(
        "SELECT id, state FROM tenants WHERE id = ANY ($1::text[]) ORDER BY id FOR SHARE",
        &names as &[&str]
    )
    .fetch_all(&mut *connection)
    .await?;
    for tenant in &record.tenants {
        match found.iter().find(|row| row.id == tenant.as_str()) {
            None => return Ok(Err(AdminError::NotFound)),
            Some(row) if row.state == TenantState::Deleting.code() => return conflict(deleting(tenant)),
            Some(_) => {}
        }
    }
    let first_admin = is_admin
        && !sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM credentials WHERE scopes = $1 AND revoked_at IS NULL) AS "live!""#,
            record.scopes.code()
        )
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query!(
        "INSERT INTO credentials (id, kind, name, tenants, scopes, digest, old_digest, old_until, expires_at, revoked_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        record.id,
        record.kind.code(),
        record.name,
        &names as &[&str],
        record.scopes.code(),
        &record.digest,
        record.old.as_ref().map(|(digest, _)| digest.as_slice()),
        record.old.map(|(_, until)| until),
        record.expires_at,
        record.revoked_at,
        record.created_at
    )
    .execute(&mut *connection)
    .await?;
    let action = if first_admin { "admin.bootstrap" } else { "client.create" };
    let revision = step(connection, actor, note(action, record, None, Some(record))).await?;
    Ok(Ok(Done { outcome: Outcome::Created, revision, value: () }))
}

async fn rotate(
    connection: &mut PgConnection,
    actor: &Actor,
    id: &str,
    digest: [u8; 32],
    overlap: Duration,
) -> Answer<CredentialRecord> {
    let Some(before) = lock(connection, id).await? else { return Ok(Err(AdminError::NotFound)) };
    if before.digest == digest {
        return unchanged(connection, before).await;
    }
    if before.revoked_at.is_some() {
        return conflict(format!("credential {id} is revoked; make a new one"));
    }
    let after = sqlx::query_as!(
        CredentialRow,
        "UPDATE credentials SET digest = $2, old_digest = CASE WHEN $3::float8 > 0 THEN digest END,
           old_until = CASE WHEN $3 > 0 THEN now() + make_interval(secs => $3) END WHERE id = $1 RETURNING *",
        id,
        &digest,
        rows::seconds(overlap)
    )
    .fetch_one(&mut *connection)
    .await?
    .record()?;
    let revision =
        step(connection, actor, note("client.rotate", &after, Some(&before), Some(&after))).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: after }))
}

async fn revoke(connection: &mut PgConnection, actor: &Actor, id: &str) -> Answer<CredentialRecord> {
    let Some(before) = lock(connection, id).await? else { return Ok(Err(AdminError::NotFound)) };
    if before.revoked_at.is_some() {
        return unchanged(connection, before).await;
    }
    let after = sqlx::query_as!(
        CredentialRow,
        "UPDATE credentials SET revoked_at = now(), old_digest = NULL, old_until = NULL WHERE id = $1 RETURNING *",
        id
    )
    .fetch_one(&mut *connection)
    .await?
    .record()?;
    let revision =
        step(connection, actor, note("client.revoke", &after, Some(&before), Some(&after))).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: after }))
}

async fn lock(connection: &mut PgConnection, id: &str) -> Result<Option<CredentialRecord>, sqlx::Error> {
    sqlx::query_as!(CredentialRow, "SELECT * FROM credentials WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(connection)
        .await?
        .map(CredentialRow::record)
        .transpose()
}

fn note<'a>(
    action: &'a str,
    record: &'a CredentialRecord,
    before: Option<&CredentialRecord>,
    after: Option<&CredentialRecord>,
) -> Note<'a> {
    let shown = |record: &CredentialRecord| {
        json!({
            "kind": record.kind.as_str(), "name": record.name, "tenants": record.tenants, "scopes": record.scopes,
            "expires_at": record.expires_at, "revoked_at": record.revoked_at,
            "old_until": record.old.map(|(_, until)| until),
        })
    };
    // Of several tenants none is the one that it concerns.
    let tenant = record.tenants.first().filter(|_| record.tenants.len() == 1);
    Note { action, tenant, target: &record.id, before: before.map(shown), after: after.map(shown) }
}
