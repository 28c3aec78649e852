//! A tenant's webhook secret: the new one and the one before sign together for a while.

use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::TenantId;
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::Actor;
use http::StatusCode;

use super::admin::{DAY, LONGEST_OVERLAP, in_effect, new_id, once, random, refused};
use super::fields::Fields;
use crate::app::App;

/// As Standard Webhooks writes it.
pub fn generate() -> String {
    format!("whsec_{}", STANDARD.encode(random::<32>()))
}

pub fn overlap(fields: &mut Fields) -> Duration {
    Duration::from_secs(fields.whole("overlap_seconds", 0..=LONGEST_OVERLAP).unwrap_or(DAY))
}

pub async fn rotate(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    overlap: Duration,
) -> Result<Response, Problem> {
    let (id, secret) = (new_id(), generate());
    let sealed = app.vault.seal(&Purpose::WebhookSecret(tenant, id), secret.as_bytes(), clock::entropy());
    let done = app
        .store
        .add_webhook_secret(actor, tenant, id, sealed, overlap)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = in_effect(app, done.revision).await;
    let body = serde_json::json!({
        "key": "webhook", "tenant_id": tenant, "id": id, "webhook_secret": secret, "changed": true,
        "old_valid_until": app.clock.now() + overlap, "in_effect": in_effect,
    });
    Ok(once(StatusCode::OK, body))
}
