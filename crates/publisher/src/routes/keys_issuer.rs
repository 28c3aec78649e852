//! The built-in issuer's key: the new one is published at once and signs a little later, when everybody knows it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bridge_service::directory::IssuerKey;
use bridge_service::key_pair::KeyPair;
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::{Actor, SealedIssuerKey};

use super::admin::{DAY, LONGEST_OVERLAP, in_effect, random, refused};
use super::fields::Fields;
use crate::app::App;

/// Every replica reads the directory each second; those who keep our JWKS ask again for an unknown kid.
const PUBLISHED_BEFORE_IT_SIGNS: Duration = Duration::from_secs(30);

/// The old key signs until the new one does, and what it signed last must be good to its end.
pub fn overlap(fields: &mut Fields, app: &App) -> Duration {
    let least = (PUBLISHED_BEFORE_IT_SIGNS + app.limits.token_lifetime).as_secs() + 60;
    Duration::from_secs(fields.whole("overlap_seconds", least..=LONGEST_OVERLAP).unwrap_or(DAY.max(least)))
}

pub async fn rotate(app: &App, actor: &Actor, overlap: Duration) -> Result<Response, Problem> {
    let now = app.clock.now();
    let signs = |key: &Arc<IssuerKey>| key.signs_from <= now && key.verifies(now);
    let first = !app.directory.snapshot().issuer_keys.iter().any(signs);
    let signs_from = if first { now } else { now + PUBLISHED_BEFORE_IT_SIGNS };
    let kid = format!("{}-{:08x}", now.format("%Y-%m-%d"), u32::from_be_bytes(random()));
    let pair = KeyPair::generate(clock::entropy());
    let key = SealedIssuerKey {
        sealed: app.vault.seal(&Purpose::IssuerKey(&kid), pair.pkcs8(), clock::entropy()),
        public_jwk: pair.jwk(&kid),
        kid,
        created_at: now,
        signs_from,
        retires_at: None,
    };
    let done =
        app.store.add_issuer_key(actor, &key, overlap).await.map_err(|error| refused(error, "issuer key"))?;
    let in_effect = in_effect(app, done.revision).await;
    let body = serde_json::json!({
        "key": "issuer", "kid": key.kid, "changed": true, "signs_from": signs_from,
        "old_verifies_until": (!first).then(|| now + overlap), "in_effect": in_effect,
    });
    Ok(Json(body).into_response())
}
