//! `POST /pulsar/keys/rotate` and `/pulsar/keys/destroy`.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::TenantId;
use bridge_service::payload_key::DataKey;
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::{Actor, AdminError, TenantState};
use http::StatusCode;

use super::admin::{By, conflict, in_effect, new_id, refused};
use super::fields::Fields;
use super::{keys_issuer, keys_master, keys_webhook};
use crate::answer::failed;
use crate::app::{App, AppState};

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Webhook,
    Data,
    Issuer,
    Master,
}

pub async fn rotate(
    State(app): State<AppState>,
    By(actor): By,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::body(&app, request, &["key", "tenant_id", "overlap_seconds"]).await?;
    let key = fields.need("key", |text| match text {
        "webhook" => Ok(Key::Webhook),
        "data" => Ok(Key::Data),
        "issuer" => Ok(Key::Issuer),
        "master" => Ok(Key::Master),
        _ => Err("must be webhook, data, issuer or master".to_owned()),
    });
    let Some(key) = key else { return Err(fields.refuse()) };
    let of_a_tenant = matches!(key, Key::Webhook | Key::Data);
    if !of_a_tenant && fields.has("tenant_id") {
        fields.fault("tenant_id", "this key belongs to no tenant; leave it out");
    }
    let overlap = match key {
        Key::Webhook => keys_webhook::overlap(&mut fields),
        Key::Issuer => keys_issuer::overlap(&mut fields, &app),
        Key::Data | Key::Master => {
            if fields.has("overlap_seconds") {
                fields.fault(
                    "overlap_seconds",
                    "old keys of this kind go on opening what they sealed; leave it out",
                );
            }
            std::time::Duration::ZERO
        }
    };
    let tenant: Option<TenantId> = if of_a_tenant { fields.need("tenant_id", tenant_id) } else { None };
    match (key, tenant) {
        (Key::Webhook, Some(tenant)) => {
            fields.check()?;
            keys_webhook::rotate(&app, &actor, &tenant, overlap).await
        }
        (Key::Data, Some(tenant)) => {
            fields.check()?;
            data(&app, &actor, &tenant).await
        }
        (Key::Webhook | Key::Data, None) => Err(fields.refuse()),
        (Key::Issuer, _) => {
            fields.check()?;
            keys_issuer::rotate(&app, &actor, overlap).await
        }
        (Key::Master, _) => {
            fields.check()?;
            keys_master::rewrap(&app, &actor).await
        }
    }
}

fn tenant_id(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

/// The new key seals from now on; those before it still open what they sealed.
async fn data(app: &AppState, actor: &Actor, tenant: &TenantId) -> Result<Response, Problem> {
    let (id, key) = (new_id(), DataKey::generate(clock::entropy()));
    let purpose = Purpose::DataKey(tenant, id);
    let sealed = app.vault.seal(&purpose, key.as_slice(), clock::entropy());
    let done = app
        .store
        .add_data_key(actor, tenant, id, sealed)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = in_effect(app, done.revision).await;
    let body = serde_json::json!({
        "key": "data", "tenant_id": tenant, "id": id, "changed": true, "in_effect": in_effect,
    });
    Ok(Json(body).into_response())
}

/// A publisher goes on sealing with the key it has in memory until it takes note. So nothing may be accepted any more.
async fn may_destroy(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    let found = app.store.tenant(tenant).await.map_err(|error| failed(&error))?;
    let Some(record) = found else {
        return Err(refused(AdminError::NotFound, format_args!("tenant {tenant}")));
    };
    if record.state == TenantState::Active {
        return Err(active(tenant));
    }
    match app.store.accepts_are_over(tenant).await.map_err(|error| failed(&error))? {
        true => Ok(()),
        false => Err(conflict(format!(
            "tenant {tenant} is {}, but requests that began before are still being written; repeat in a moment",
            record.state.as_str()
        ))),
    }
}

fn active(tenant: &TenantId) -> Problem {
    let detail = format!(
        "tenant {tenant} is active, and what it publishes now would be lost with the keys; suspend it first, or \
         delete it"
    );
    Problem::new(StatusCode::CONFLICT, "tenant-active", "Tenant is active", detail)
}

pub async fn destroy(
    State(app): State<AppState>,
    By(actor): By,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::body(&app, request, &["key", "tenant_id", "confirm"]).await?;
    fields.need("key", |text| if text == "data" { Ok(()) } else { Err("must be data".to_owned()) });
    let tenant = fields.need("tenant_id", tenant_id);
    let Some(tenant) = tenant else { return Err(fields.refuse()) };
    fields.need("confirm", |text| {
        let what =
            "must be the tenant's id: every payload sealed by its data keys becomes unreadable for ever";
        if text == tenant.as_str() { Ok(()) } else { Err(what.to_owned()) }
    });
    fields.check()?;
    may_destroy(&app, &tenant).await?;
    let done = app
        .store
        .destroy_data_keys(&actor, &tenant)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = in_effect(&app, done.revision).await;
    let destroyed = done.value;
    let detail = format!(
        "{destroyed} data keys of tenant {tenant} are destroyed; every payload they sealed is unreadable for ever, \
         also in backups of the payloads. A backup of the database from before still holds the keys, sealed. What was \
         never sealed stays: metadata, workflow ids, idempotency keys, errors, and the SHA-256 of each payload"
    );
    let body = serde_json::json!({
        "key": "data", "tenant_id": tenant, "destroyed": destroyed, "changed": destroyed > 0, "in_effect": in_effect,
        "detail": detail,
    });
    Ok(Json(body).into_response())
}
