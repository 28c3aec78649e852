//! The built-in token issuer's keys.

use std::time::Duration;

use bridge_protocol::Time;
use serde_json::json;
use sqlx::PgConnection;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, step, unchanged};
use crate::{Store, rows};

#[derive(Clone, Debug, PartialEq)]
pub struct SealedIssuerKey {
    pub kid: String,
    /// PKCS#8.
    pub sealed: Vec<u8>,
    pub public_jwk: serde_json::Value,
    pub created_at: Time,
    pub signs_from: Time,
    /// None: not retired.
    pub retires_at: Option<Time>,
}

impl Store {
    /// The keys before it verify for `overlap` longer; without one all of them end now, also those that had an end.
    pub async fn add_issuer_key(
        &self,
        actor: &Actor,
        key: &SealedIssuerKey,
        overlap: Duration,
    ) -> Result<Done<()>, AdminError> {
        self.administer("issuer_key.add", |connection, _| Box::pin(add(connection, actor, key, overlap)))
            .await
    }
}

async fn add(
    connection: &mut PgConnection,
    actor: &Actor,
    key: &SealedIssuerKey,
    overlap: Duration,
) -> Answer<()> {
    // Two rotations at once would each not see the other's key and leave it unretired.
    sqlx::query!("LOCK TABLE issuer_keys IN SHARE ROW EXCLUSIVE MODE").execute(&mut *connection).await?;
    let there =
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM issuer_keys WHERE kid = $1) AS "there!""#, key.kid)
            .fetch_one(&mut *connection)
            .await?;
    if there {
        return unchanged(connection, ()).await;
    }
    let before = sqlx::query!(
        "UPDATE issuer_keys SET retires_at = now() + make_interval(secs => $1) WHERE retires_at IS NULL OR ($1::float8 = 0 AND retires_at > now()) RETURNING kid, retires_at",
        rows::seconds(overlap)
    )
    .fetch_all(&mut *connection)
    .await?
    .pop();
    sqlx::query!(
        "INSERT INTO issuer_keys (kid, sealed, public_jwk, created_at, signs_from, retires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        key.kid,
        key.sealed,
        key.public_jwk,
        key.created_at,
        key.signs_from,
        key.retires_at
    )
    .execute(&mut *connection)
    .await?;
    let note = Note {
        action: "key.rotate",
        tenant: None,
        target: "issuer",
        before: before.map(|row| json!({ "kid": row.kid, "retires_at": row.retires_at })),
        after: Some(json!({ "kid": key.kid, "signs_from": key.signs_from })),
    };
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Created, revision, value: () }))
}
