//! `/pulsar/clients`: the callers' credentials. A secret is shown once, when it is made.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use bridge_protocol::{ApiKey, ClientId, ClientSecret, Scope, Scopes, TenantId, Time};
use bridge_service::{Problem, clock};
use bridge_store::{CredentialKind, CredentialRecord, Outcome};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::admin::{By, DAY, LONGEST_OVERLAP, in_effect, is_in_effect, once, refused, take_over};
use super::fields::Fields;
use crate::answer::failed;
use crate::app::{App, AppState};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewClient")]
pub struct Made {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    kind: &'static str,
    name: String,
    tenants: Vec<TenantId>,
    scopes: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
    /// Where a service account gets its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_url: Option<String>,
    /// Until when the secret before this one is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_valid_until: Option<Time>,
    in_effect: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Client")]
pub struct Shown {
    client_id: String,
    kind: &'static str,
    name: String,
    tenants: Vec<TenantId>,
    scopes: Scopes,
    created_at: Time,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    old_valid_until: Option<Time>,
}

impl From<CredentialRecord> for Shown {
    fn from(record: CredentialRecord) -> Self {
        Self {
            client_id: record.id,
            kind: record.kind.as_str(),
            name: record.name,
            tenants: record.tenants,
            scopes: record.scopes,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            old_valid_until: record.old.map(|(_, until)| until),
        }
    }
}

/// A new secret in the form of its kind.
struct NewSecret {
    id: String,
    text: String,
    digest: [u8; 32],
}

impl NewSecret {
    fn account(id: String) -> Self {
        let secret = ClientSecret::generate(clock::entropy());
        Self { id, digest: secret.digest(), text: secret.expose().to_owned() }
    }

    fn key(key: &ApiKey) -> Self {
        Self { id: key.id().to_owned(), digest: key.digest(), text: key.expose().to_owned() }
    }

    /// With an id of its own.
    fn of(kind: CredentialKind) -> Self {
        match kind {
            CredentialKind::ServiceAccount => Self::account(ClientId::generate(clock::entropy()).to_string()),
            CredentialKind::ApiKey => Self::key(&ApiKey::generate(clock::entropy())),
        }
    }

    /// For an id that is there; its kind is in the id. `None` when no credential has ids like this.
    fn again(id: &str) -> Option<Self> {
        if ClientId::looks_like(id) {
            return Some(Self::account(id.to_owned()));
        }
        ApiKey::renew(id, clock::entropy()).map(|key| Self::key(&key))
    }
}

impl Made {
    fn new(app: &App, record: CredentialRecord, secret: NewSecret, in_effect: bool) -> Self {
        let account = record.kind == CredentialKind::ServiceAccount;
        let (client_secret, api_key) =
            if account { (Some(secret.text), None) } else { (None, Some(secret.text)) };
        Self {
            token_url: account.then(|| format!("{}/oauth2/token", app.issuer)),
            old_valid_until: record.old.map(|(_, until)| until),
            client_id: record.id,
            client_secret,
            api_key,
            kind: record.kind.as_str(),
            name: record.name,
            tenants: record.tenants,
            scopes: record.scopes,
            expires_at: record.expires_at,
            in_effect,
        }
    }
}

pub async fn create(
    State(app): State<AppState>,
    By(actor): By,
    request: Request,
) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &["name", "kind", "tenants", "scopes", "expires_at"];
    let mut fields = Fields::body(&app, request, KNOWN).await?;
    let now = app.clock.now();
    let wanted = wanted(&mut fields, now);
    let Some((name, kind, tenants, scopes, expires_at)) = wanted else { return Err(fields.refuse()) };
    fields.check()?;
    let secret = NewSecret::of(kind);
    let record = CredentialRecord {
        id: secret.id.clone(),
        kind,
        name,
        tenants,
        scopes,
        digest: secret.digest,
        old: None,
        expires_at,
        revoked_at: None,
        created_at: now,
    };
    let done = app
        .store
        .create_credential(&actor, &record)
        .await
        .map_err(|error| refused(error, "tenant of one of the names in tenants"))?;
    take_over(&app, done.revision).await;
    let in_effect = is_in_effect(&app, done.revision).await;
    Ok(once(StatusCode::CREATED, Made::new(&app, record, secret, in_effect)))
}

type Wanted = (String, CredentialKind, Vec<TenantId>, Scopes, Option<Time>);

fn wanted(fields: &mut Fields, now: Time) -> Option<Wanted> {
    let name = fields.need("name", |text| {
        let fits = text.len() <= 100 && !text.chars().any(char::is_control) && !text.trim().is_empty();
        if fits { Ok(text.trim().to_owned()) } else { Err("must be 1 to 100 bytes of plain text".to_owned()) }
    });
    let kind = fields.need("kind", |text| match text {
        "service_account" => Ok(CredentialKind::ServiceAccount),
        "api_key" => Ok(CredentialKind::ApiKey),
        _ => Err("must be service_account or api_key".to_owned()),
    });
    let tenants = fields.list("tenants", |text| {
        TenantId::parse(text).map_err(|error| format!("{}: {error}", super::execution::short(text)))
    });
    let scopes = fields.list("scopes", |text| text.parse::<Scope>().map_err(|error| error.to_string()));
    let expires_at = fields.time("expires_at");
    if expires_at.is_some_and(|at| at <= now) {
        fields.fault("expires_at", "is in the past");
    }
    let mut tenants = tenants.unwrap_or_default();
    tenants.sort();
    tenants.dedup();
    let mut set = Scopes::NONE;
    scopes.iter().flatten().for_each(|scope| set.insert(*scope));
    if scopes.is_none_or(|scopes| scopes.is_empty()) {
        let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        fields.fault("scopes", format!("must name at least one of {}", all.join(", ")));
    } else if set.contains(Scope::Admin) {
        // One that could do both would be a way around the separation.
        if set.iter().count() > 1 {
            fields.fault("scopes", "admin stands alone: make a second credential for the tenants' work");
        }
        if !tenants.is_empty() {
            fields.fault("tenants", "an admin credential has no tenants; leave them out");
        }
    } else if tenants.is_empty() {
        fields.fault("tenants", "must name at least one tenant");
    }
    Some((name?, kind?, tenants, set, expires_at))
}

pub async fn list(
    State(app): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<serde_json::Value>, Problem> {
    let mut fields = Fields::query(query, &["tenant_id"]);
    let tenant: Option<TenantId> = fields.id("tenant_id");
    fields.check()?;
    let found = app.store.credentials(tenant.as_ref()).await.map_err(|error| failed(&error))?;
    let clients: Vec<Shown> = found.into_iter().map(Shown::from).collect();
    Ok(Json(serde_json::json!({ "clients": clients })))
}

pub async fn rotate(
    State(app): State<AppState>,
    By(actor): By,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::body(&app, request, &["overlap_seconds"]).await?;
    let overlap = fields.whole("overlap_seconds", 0..=LONGEST_OVERLAP).unwrap_or(DAY);
    fields.check()?;
    let secret = NewSecret::again(&id).ok_or_else(|| none(&id))?;
    let done = app
        .store
        .rotate_credential(&actor, &id, secret.digest, Duration::from_secs(overlap))
        .await
        .map_err(|error| refused(error, format_args!("client {id}")))?;
    let in_effect = in_effect(&app, done.revision).await;
    Ok(once(StatusCode::OK, Made::new(&app, done.value, secret, in_effect)))
}

pub async fn revoke(
    State(app): State<AppState>,
    By(actor): By,
    Path(id): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    if NewSecret::again(&id).is_none() {
        return Err(none(&id));
    }
    let what = format!("client {id}");
    let done = app.store.revoke_credential(&actor, &id).await.map_err(|error| refused(error, what))?;
    let in_effect = in_effect(&app, done.revision).await;
    Ok(Json(serde_json::json!({
        "client_id": id, "revoked": true, "changed": done.outcome != Outcome::Unchanged,
        "revoked_at": done.value.revoked_at, "in_effect": in_effect,
    })))
}

fn none(id: &str) -> Problem {
    let id = super::execution::short(id);
    Problem::not_found(format!("there is no client {id}; GET /pulsar/clients lists them"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["name", "kind", "tenants", "scopes", "expires_at"];

    fn faults(json: &str) -> Vec<String> {
        let mut fields = Fields::json(json, KNOWN);
        wanted(&mut fields, "2026-11-21T00:00:00Z".parse().unwrap());
        let Err(problem) = fields.check() else { return Vec::new() };
        problem.errors().iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn admin_and_tenants_are_apart() {
        let ok =
            r#"{"name": "n8n", "kind": "service_account", "tenants": ["acme"], "scopes": "publish read"}"#;
        assert!(faults(ok).is_empty());
        assert!(faults(r#"{"name": "op", "kind": "api_key", "scopes": ["admin"]}"#).is_empty());
        let both = r#"{"name": "op", "kind": "api_key", "tenants": ["acme"], "scopes": ["admin", "read"]}"#;
        assert_eq!(faults(both), ["scopes", "tenants"]);
        let bare = r#"{"name": " ", "kind": "robot", "expires_at": "2026-01-01T00:00:00Z"}"#;
        assert_eq!(faults(bare), ["name", "kind", "expires_at", "scopes"]);
    }

    #[test]
    fn a_rotated_key_keeps_its_id() {
        let first = NewSecret::of(CredentialKind::ApiKey);
        let second = NewSecret::again(&first.id).unwrap();
        assert!(second.id == first.id && second.digest != first.digest && second.text.starts_with(&first.id));
        assert!(NewSecret::again("svc_../../x").is_none());
    }
}
