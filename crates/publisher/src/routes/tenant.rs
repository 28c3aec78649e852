//! `PUT` and `GET /pulsar/tenants/{id}`.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_service::vault::Purpose;
use bridge_store::{Outcome, TenantLimits, TenantState};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::admin::{By, in_effect, is_in_effect, new_id, once, outcome, refused, take_over, tenant_in_path};
use super::fields::Fields;
use super::keys_webhook;
use super::tenants::Shown;
use crate::answer::failed;
use crate::app::AppState;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChangedTenant")]
pub struct Put {
    #[serde(flatten)]
    tenant: Shown,
    outcome: &'static str,
    changed: bool,
    in_effect: bool,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TenantWithUsage")]
pub struct Whole {
    #[serde(flatten)]
    tenant: Shown,
    /// Executions that have not ended.
    live: u64,
    usage: Usage,
}

/// Of this day, UTC.
#[derive(Serialize, JsonSchema)]
struct Usage {
    payload_bytes_today: u64,
    executions_today: u64,
}

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::body(&app, request, &["state", "limits"]).await?;
    let tenant = match TenantId::parse(&id) {
        Ok(tenant) => Some(tenant),
        Err(error) => {
            fields.fault("tenant_id", error.to_string());
            None
        }
    };
    let state = fields.parse("state", |text| match text {
        "active" => Ok(TenantState::Active),
        "suspended" => Ok(TenantState::Suspended),
        _ => Err("must be active or suspended; DELETE removes a tenant".to_owned()),
    });
    let limits = limits(&mut fields);
    let Some(tenant) = tenant else { return Err(fields.refuse()) };
    fields.check()?;

    let before = app.directory.snapshot().tenants.get(&tenant).map(|known| known.state);
    let (secret_id, secret) = (new_id(), keys_webhook::generate());
    let sealed = app.vault.seal(
        &Purpose::WebhookSecret(&tenant, secret_id),
        secret.as_bytes(),
        bridge_service::clock::entropy(),
    );
    let done = app
        .store
        .put_tenant(&actor, &tenant, state, limits, Some((secret_id, sealed)))
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    // A stop that was asked for must be a stop. Whatever else changed is in force elsewhere within a look at the
    // directory.
    let stopped = state == Some(TenantState::Suspended) && done.outcome != Outcome::Created;
    let turned = done.outcome == Outcome::Changed && before != Some(done.value.state);
    let in_effect = match stopped || turned {
        true => in_effect(&app, done.revision).await,
        false => {
            take_over(&app, done.revision).await;
            is_in_effect(&app, done.revision).await
        }
    };
    let created = done.outcome == Outcome::Created;
    let answer = Put {
        tenant: done.value.into(),
        outcome: outcome(done.outcome),
        changed: done.outcome != Outcome::Unchanged,
        in_effect,
        webhook_secret: created.then_some(secret),
    };
    Ok(once(if created { StatusCode::CREATED } else { StatusCode::OK }, answer))
}

/// All of a tenant's limits together: one that is left out is off.
fn limits(fields: &mut Fields) -> Option<TenantLimits> {
    const KNOWN: &[&str] =
        &["requests_per_second", "burst", "open_executions", "payload_bytes_per_day", "result_ttl_s"];
    let mut inner = fields.object("limits", KNOWN, "limits.")?;
    let limits = TenantLimits {
        requests_per_second: inner.parse("requests_per_second", |text| match text.parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
            _ => Err("must be a number above 0, at most 1000000".to_owned()),
        }),
        // Within a u32.
        burst: inner.whole("burst", 1..=1_000_000).map(|burst| burst as u32),
        open_executions: inner.whole("open_executions", 1..=1_000_000_000_000),
        payload_bytes_per_day: inner.whole("payload_bytes_per_day", 1..=1_000_000_000_000_000),
        // Retention takes what is older than that in any case.
        result_ttl_s: inner.whole("result_ttl_s", 1..=31_536_000),
    };
    if limits.burst.is_some() && limits.requests_per_second.is_none() {
        inner.fault("burst", "needs requests_per_second beside it");
    }
    fields.absorb(inner);
    Some(limits)
}

pub async fn get(State(app): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let tenant = tenant_in_path(&id)?;
    let found = app.store.tenant(&tenant).await.map_err(|error| failed(&error))?;
    let Some(record) = found else { return Err(no_such_tenant(&tenant)) };
    let live = app.store.live_count(&tenant).await.map_err(|error| failed(&error))?;
    let used = app.store.add_usage(&[(tenant, 0, 0)]).await.map_err(|error| failed(&error))?;
    let (payload_bytes_today, executions_today) =
        used.first().map_or((0, 0), |(_, bytes, executions)| (*bytes, *executions));
    let usage = Usage { payload_bytes_today, executions_today };
    Ok(Json(Whole { tenant: record.into(), live, usage }).into_response())
}

fn no_such_tenant(tenant: &TenantId) -> Problem {
    Problem::not_found(format!("there is no tenant {tenant}; check the name"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<TenantLimits>, String> {
        let mut fields = Fields::json(&format!("{{\"limits\": {json}}}"), &["limits"]);
        let read = limits(&mut fields);
        fields.check().map(|()| read).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn limits_are_named_with_their_place() {
        let limits = read(r#"{"requests_per_second": 2.5, "burst": 10}"#).unwrap().unwrap();
        assert_eq!((limits.requests_per_second, limits.burst), (Some(2.5), Some(10)));
        assert!(read("{}").unwrap().is_some());
        let detail = read(r#"{"burst": 0, "payload_bytes": 1}"#).unwrap_err();
        assert!(detail.contains("limits.payload_bytes: ") && detail.contains("limits.burst: "), "{detail}");
        assert!(read(r#"{"burst": 3}"#).unwrap_err().contains("requests_per_second beside"));
        assert!(read("7").is_err());
    }
}
