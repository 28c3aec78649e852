//! After a new master key was put first: what older ones sealed is sealed again. Safe to repeat.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::{Actor, SealedAt, SealedBlob};

use super::admin::refused;
use crate::answer::failed;
use crate::app::App;

/// Told by name; the log has them all.
const TOLD: usize = 20;

pub async fn rewrap(app: &App, actor: &Actor) -> Result<Response, Problem> {
    let all = app.store.sealed().await.map_err(|error| failed(&error))?;
    let total = all.len();
    let mut again: Vec<(SealedBlob, Vec<u8>)> = Vec::new();
    let mut unreadable = Vec::new();
    for blob in all.into_iter().filter(|blob| !app.vault.is_current(&blob.sealed)) {
        let purpose = purpose(&blob.at);
        match app.vault.open(&purpose, &blob.sealed) {
            Ok(secret) => {
                let sealed = app.vault.seal(&purpose, &secret, clock::entropy());
                again.push((blob, sealed));
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a secret could not be sealed again"
                );
                unreadable.push(error.to_string());
            }
        }
    }
    let resealed = match again.is_empty() {
        true => 0,
        false => {
            app.store.reseal(actor, &again).await.map_err(|error| refused(error, "sealed secret"))?.value
        }
    };
    let failed = unreadable.len();
    unreadable.truncate(TOLD);
    let body = serde_json::json!({
        "key": "master", "current": app.vault.ids().next(), "sealed": total, "resealed": resealed,
        "changed": resealed > 0, "unreadable": failed, "unreadable_because": unreadable,
    });
    Ok(Json(body).into_response())
}

fn purpose(at: &SealedAt) -> Purpose<'_> {
    match at {
        SealedAt::WebhookSecret(tenant, id) => Purpose::WebhookSecret(tenant, *id),
        SealedAt::DataKey(tenant, id) => Purpose::DataKey(tenant, *id),
        SealedAt::WebhookCredential(tenant, name) => Purpose::WebhookCredential(tenant, name),
        SealedAt::IssuerKey(kid) => Purpose::IssuerKey(kid),
    }
}
