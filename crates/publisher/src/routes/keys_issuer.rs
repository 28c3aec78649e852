//! The built-in issuer's key: the new one is published at once and signs a little later, when everybody knows it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bridge_protocol::Time;
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

/// The old key signs until the new one does, and what it signed last must be good to its end. 0 is for a key that
/// leaked: the new one signs at once, and what older ones signed is void.
pub fn overlap(fields: &mut Fields, app: &App) -> Duration {
    let least = (PUBLISHED_BEFORE_IT_SIGNS + app.limits.token_lifetime).as_secs() + 60;
    let asked = fields.whole("overlap_seconds", 0..=LONGEST_OVERLAP);
    if asked.is_some_and(|asked| (1..least).contains(&asked)) {
        let what = format!(
            "must be {least} to {LONGEST_OVERLAP}, so that no token ends early; or 0 for a key that leaked: all tokens \
             end at once"
        );
        fields.fault("overlap_seconds", what);
    }
    Duration::from_secs(asked.unwrap_or(DAY.max(least)))
}

/// From when the new key signs. Without an old one, or with one that nobody may trust any more, there is no wait.
fn signs_from(now: Time, first: bool, overlap: Duration) -> Time {
    if first || overlap.is_zero() { now } else { now + PUBLISHED_BEFORE_IT_SIGNS }
}

pub async fn rotate(app: &App, actor: &Actor, overlap: Duration) -> Result<Response, Problem> {
    let now = app.clock.now();
    let signs = |key: &Arc<IssuerKey>| key.signs_from <= now && key.verifies(now);
    let first = !app.directory.snapshot().issuer_keys.iter().any(signs);
    let signs_from = signs_from(now, first, overlap);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_key_after_a_leaked_one_signs_at_once() {
        let now: Time = "2026-01-31T09:00:00Z".parse().unwrap();
        assert_eq!(signs_from(now, false, Duration::ZERO), now);
        assert_eq!(signs_from(now, true, Duration::from_secs(DAY)), now);
        assert_eq!(signs_from(now, false, Duration::from_secs(DAY)), now + PUBLISHED_BEFORE_IT_SIGNS);
    }
}
