//! `/pulsar/credentials`: what the bridge shows to a tenant's webhooks. Sealed at rest and never shown again.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::{TenantId, Time};
use bridge_service::outgoing::OutgoingCredential;
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::{Outcome, SealedWebhookCredential};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::admin::{By, conflict, in_effect, may_change, refused};
use super::fields::Fields;
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::auth::ActsFor;

/// The fields of all kinds.
const KNOWN: &[&str] = &["kind", "name", "value", "user", "password", "token", "secret"];
/// More would make the directory of all tenants large.
const MOST: usize = 100;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OutgoingCredential")]
pub struct Shown {
    name: String,
    kind: String,
    created_at: Time,
    changed_at: Time,
}

impl From<SealedWebhookCredential> for Shown {
    fn from(row: SealedWebhookCredential) -> Self {
        Self { name: row.name, kind: row.kind, created_at: row.created_at, changed_at: row.changed_at }
    }
}

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    pass(&app, &tenant)?;
    let mut fields = Fields::body(&app, request, KNOWN).await?;
    if !is_name(&name) {
        fields.fault("name", "must be 1 to 64 lower case letters, digits and hyphens");
    }
    let Some(credential) = read(&mut fields) else { return Err(fields.refuse()) };
    fields.check()?;
    let there = all(&app, &tenant).await?;
    if there.len() >= MOST && there.iter().all(|row| row.name != name) {
        return Err(conflict(format!(
            "tenant {tenant} has {MOST} credentials; delete one that no route names"
        )));
    }
    let purpose = Purpose::WebhookCredential(&tenant, &name);
    let sealed = app.vault.seal(&purpose, &credential.to_secret(), clock::entropy());
    let done = app
        .store
        .put_webhook_credential(&actor, &tenant, &name, credential.kind(), sealed)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = in_effect(&app, done.revision).await;
    let created = done.outcome == Outcome::Created;
    let body = serde_json::json!({
        "name": name, "kind": credential.kind(), "tenant_id": tenant, "changed": true,
        "outcome": if created { "created" } else { "changed" }, "in_effect": in_effect,
    });
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response())
}

fn pass(app: &App, tenant: &TenantId) -> Result<(), Problem> {
    may_change(&app.credential_changes, tenant, "credentials")
}

/// Also the rule of the routes that name it.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn read(fields: &mut Fields) -> Option<OutgoingCredential> {
    let kind = fields.need("kind", |text| match text {
        "header" | "basic" | "bearer" | "jwt" => Ok(text.to_owned()),
        _ => Err("must be header, basic, bearer or jwt".to_owned()),
    })?;
    let own: &[&str] = match kind.as_str() {
        "header" => &["name", "value"],
        "basic" => &["user", "password"],
        "bearer" => &["token"],
        _ => &["secret"],
    };
    for other in &KNOWN[1..] {
        if fields.has(other) && !own.contains(other) {
            fields.fault(other, format!("does not belong to kind {kind}, which takes {}", own.join(" and ")));
        }
    }
    let mut text = |name: &'static str| {
        let value = fields.parse(name, |text| Ok(text.to_owned()));
        if value.is_none() && name != "password" {
            fields.fault(name, format!("is missing; kind {kind} needs it"));
        }
        value
    };
    let credential = match kind.as_str() {
        "header" => OutgoingCredential::Header { name: text("name")?, value: text("value")? },
        "basic" => {
            OutgoingCredential::Basic { user: text("user")?, password: text("password").unwrap_or_default() }
        }
        "bearer" => OutgoingCredential::Bearer { token: text("token")? },
        _ => OutgoingCredential::Jwt { secret: text("secret")? },
    };
    for (field, why) in credential.faults() {
        fields.fault(field, why);
    }
    Some(credential)
}

async fn all(app: &App, tenant: &TenantId) -> Result<Vec<SealedWebhookCredential>, Problem> {
    app.store.webhook_credentials(tenant).await.map_err(|error| failed(&error))
}

pub async fn list(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<serde_json::Value>, Problem> {
    Fields::query(query, &["tenant_id"]).check()?;
    let credentials: Vec<Shown> = all(&app, &tenant).await?.into_iter().map(Shown::from).collect();
    Ok(Json(serde_json::json!({ "tenant_id": tenant, "credentials": credentials })))
}

pub async fn get(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let found = all(&app, &tenant).await?.into_iter().find(|row| row.name == name);
    found.map(|row| Json(row.into())).ok_or_else(|| none(&name))
}

fn none(name: &str) -> Problem {
    let name = super::execution::short(name);
    Problem::not_found(format!("this tenant has no credential {name}; GET /pulsar/credentials lists them"))
}

pub async fn delete(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(name): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    if !is_name(&name) {
        return Err(none(&name));
    }
    pass(&app, &tenant)?;
    let done = app
        .store
        .delete_webhook_credential(&actor, &tenant, &name)
        .await
        .map_err(|error| refused(error, format_args!("credential {name} of tenant {tenant}")))?;
    let in_effect = in_effect(&app, done.revision).await;
    Ok(Json(serde_json::json!({
        "name": name, "tenant_id": tenant, "deleted": true, "changed": done.outcome != Outcome::Unchanged,
        "in_effect": in_effect,
    })))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        let mut fields = Fields::json(json, KNOWN);
        read(&mut fields);
        let Err(problem) = fields.check() else { return Vec::new() };
        problem.errors().iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn each_kind_takes_its_own_fields() {
        assert!(faults(r#"{"kind": "header", "name": "x-key", "value": "v"}"#).is_empty());
        assert!(faults(r#"{"kind": "basic", "user": "u"}"#).is_empty());
        assert_eq!(faults(r#"{"kind": "bearer", "secret": "s"}"#), ["secret", "token"]);
        assert_eq!(faults(r#"{"kind": "header", "name": "Host", "value": "v"}"#), ["name"]);
        assert_eq!(faults(r#"{"kind": "jwt", "secret": "short"}"#), ["secret"]);
        assert_eq!(faults(r#"{"kind": "oauth2"}"#), ["kind"]);
    }
}
