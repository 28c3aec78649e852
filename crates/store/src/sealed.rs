//! Everything that a master key sealed, for the day on which there is a new master key.

use bridge_protocol::TenantId;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, step, unchanged};
use crate::{Store, StoreError, rows};

/// Where a sealed blob stands; with it the blob's associated data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedAt {
    WebhookSecret(TenantId, Uuid),
    DataKey(TenantId, Uuid),
    WebhookCredential(TenantId, String),
    IssuerKey(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBlob {
    pub at: SealedAt,
    pub sealed: Vec<u8>,
}

impl Store {
    pub async fn sealed(&self) -> Result<Vec<SealedBlob>, StoreError> {
        let named = |source| StoreError::Statement { name: "sealed", source };
        let found = sqlx::query!(
            r#"SELECT 0 AS "kind!", tenant_id AS "owner!", id, NULL AS name, sealed AS "sealed!" FROM webhook_secrets
               UNION ALL SELECT 1, tenant_id, id, NULL, sealed FROM data_keys WHERE sealed IS NOT NULL
               UNION ALL SELECT 2, tenant_id, NULL, name, sealed FROM webhook_credentials
               UNION ALL SELECT 3, kid, NULL, NULL, sealed FROM issuer_keys"#
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found
            .into_iter()
            .map(|row| {
                let at = match (row.kind, row.id, row.name) {
                    (0, Some(id), _) => SealedAt::WebhookSecret(rows::tenant(&row.owner)?, id),
                    (1, Some(id), _) => SealedAt::DataKey(rows::tenant(&row.owner)?, id),
                    (2, _, Some(name)) => SealedAt::WebhookCredential(rows::tenant(&row.owner)?, name),
                    _ => SealedAt::IssuerKey(row.owner),
                };
                Ok(SealedBlob { at, sealed: row.sealed })
            })
            .collect::<Result<_, _>>()
            .map_err(named)
    }

    /// Puts each new blob where the old one still stands; what was changed or destroyed meanwhile stays so. Returns
    /// how many were replaced.
    pub async fn reseal(
        &self,
        actor: &Actor,
        again: &[(SealedBlob, Vec<u8>)],
    ) -> Result<Done<u64>, AdminError> {
        self.administer("reseal", |connection, _| Box::pin(reseal(connection, actor, again))).await
    }
}

/// One table's blobs, as the arrays of its statement.
#[derive(Default)]
struct Blobs<'a> {
    owners: Vec<&'a str>,
    ids: Vec<Uuid>,
    names: Vec<&'a str>,
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
}

async fn reseal(
    connection: &mut PgConnection,
    actor: &Actor,
    again: &[(SealedBlob, Vec<u8>)],
) -> Answer<u64> {
    let [mut secrets, mut data, mut outgoing, mut issuer] = [(); 4].map(|()| Blobs::default());
    for (blob, new) in again {
        let blobs = match &blob.at {
            SealedAt::WebhookSecret(tenant, id) => secrets.of(tenant.as_str(), Some(*id), ""),
            SealedAt::DataKey(tenant, id) => data.of(tenant.as_str(), Some(*id), ""),
            SealedAt::WebhookCredential(tenant, name) => outgoing.of(tenant.as_str(), None, name),
            SealedAt::IssuerKey(kid) => issuer.of(kid, None, ""),
        };
        blobs.old.push(&blob.sealed);
        blobs.new.push(new);
    }
    let mut done = 0;
    done += sqlx::query!(
        "UPDATE webhook_secrets s SET sealed = r.new FROM unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[]) AS r(owner, id, old, new)
         WHERE s.tenant_id = r.owner AND s.id = r.id AND s.sealed = r.old",
        &secrets.owners as &[&str],
        &secrets.ids,
        &secrets.old as &[&[u8]],
        &secrets.new as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    done += sqlx::query!(
        "UPDATE data_keys s SET sealed = r.new FROM unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[]) AS r(owner, id, old, new)
         WHERE s.tenant_id = r.owner AND s.id = r.id AND s.sealed = r.old",
        &data.owners as &[&str],
        &data.ids,
        &data.old as &[&[u8]],
        &data.new as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    done += sqlx::query!(
        "UPDATE webhook_credentials s SET sealed = r.new FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) AS r(owner, name, old, new)
         WHERE s.tenant_id = r.owner AND s.name = r.name AND s.sealed = r.old",
        &outgoing.owners as &[&str],
        &outgoing.names as &[&str],
        &outgoing.old as &[&[u8]],
        &outgoing.new as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    done += sqlx::query!(
        "UPDATE issuer_keys s SET sealed = r.new FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS r(kid, old, new)
         WHERE s.kid = r.kid AND s.sealed = r.old",
        &issuer.owners as &[&str],
        &issuer.old as &[&[u8]],
        &issuer.new as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if done == 0 {
        return unchanged(connection, 0).await;
    }
    let note = Note {
        action: "key.rotate",
        tenant: None,
        target: "master",
        before: None,
        after: Some(json!({ "resealed": done })),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: done }))
}

impl<'a> Blobs<'a> {
    fn of(&mut self, owner: &'a str, id: Option<Uuid>, name: &'a str) -> &mut Self {
        self.owners.push(owner);
        self.ids.extend(id);
        self.names.push(name);
        self
    }
}
