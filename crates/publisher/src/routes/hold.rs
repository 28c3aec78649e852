//! `GET /pulsar/holds`, `PUT` and `DELETE /pulsar/holds/{id}`: what is accepted as ever and not fired.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::{Hold, Lane, TenantId, Time, WorkflowId};
use bridge_service::Problem;
use bridge_store::{HoldRow, Outcome};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::{By, conflict, may_change, outcome, refused, routes_in_effect};
use super::execution::short;
use super::fields::Fields;
use crate::answer::failed;
use crate::app::AppState;
use crate::auth::ActsFor;

/// Every daemon keeps all holds in memory and looks through its tenant's before each shot.
const MOST: usize = 100;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Hold")]
pub struct Shown {
    hold_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_id: Option<WorkflowId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<Lane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    reason: String,
    created_by: String,
    created_at: Time,
}

impl From<HoldRow> for Shown {
    fn from(row: HoldRow) -> Self {
        let HoldRow { hold, created_by, created_at } = row;
        Self {
            hold_id: hold.id,
            workflow_id: hold.workflow,
            lane: hold.lane,
            host: hold.host,
            reason: hold.reason,
            created_by,
            created_at,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChangedHold")]
pub struct Put {
    tenant_id: TenantId,
    #[serde(flatten)]
    hold: Shown,
    outcome: &'static str,
    changed: bool,
    in_effect: bool,
}

pub async fn list(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    Fields::query(query, &["tenant_id"]).check()?;
    let holds = app.store.holds(&tenant).await.map_err(|error| failed(&error))?;
    let holds: Vec<Shown> = holds.into_iter().map(Shown::from).collect();
    Ok(Json(json!({ "tenant_id": tenant, "holds": holds })))
}

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&app.route_changes, &tenant, "holds")?;
    let mut fields = Fields::body(&app, request, &["workflow_id", "lane", "host", "reason"]).await?;
    let hold = read(&mut fields, &tenant, &id);
    fields.check()?;
    let there = app.store.holds(&tenant).await.map_err(|error| failed(&error))?;
    if there.len() >= MOST && there.iter().all(|row| row.hold.id != id) {
        return Err(conflict(format!(
            "tenant {tenant} has {MOST} holds; release one, or hold a lane as a whole"
        )));
    }
    let done = app
        .store
        .put_hold(&actor, &hold)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = routes_in_effect(&app, done.revision).await;
    let created = done.outcome == Outcome::Created;
    let body = Put {
        tenant_id: tenant,
        hold: done.value.into(),
        outcome: outcome(done.outcome),
        changed: done.outcome != Outcome::Unchanged,
        in_effect,
    };
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response())
}

fn read(fields: &mut Fields, tenant: &TenantId, id: &str) -> Hold {
    let text = |text: &str| Ok(text.to_owned());
    let reason = fields.need("reason", text);
    let missing = reason.is_none();
    let hold = Hold {
        tenant: tenant.clone(),
        id: id.to_owned(),
        workflow: fields.id("workflow_id"),
        lane: fields.id("lane"),
        host: fields.parse("host", |text| Ok(text.to_ascii_lowercase())),
        reason: reason.unwrap_or_default(),
    };
    for (field, fault) in hold.faults() {
        if field != "reason" || !missing {
            fields.fault(&field, fault);
        }
    }
    hold
}

pub async fn delete(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    // The database has no place for it.
    if id.contains('\0') {
        return Err(none(&id));
    }
    may_change(&app.route_changes, &tenant, "holds")?;
    let gone = app.store.delete_hold(&actor, &tenant, &id).await;
    let gone = gone.map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let hold = gone.ok_or_else(|| none(&id))?.hold;
    let revision = app.store.routing_revision().await.map_err(|error| failed(&error))?;
    // First every daemon knows that nothing holds it any more: else what is let go is parked again.
    let in_effect = routes_in_effect(&app, revision).await;
    let released = app.store.release_held(&tenant, hold.workflow.as_ref(), hold.lane).await;
    let released = released.map_err(|error| failed(&error))?;
    Ok(Json(json!({
        "tenant_id": tenant, "hold_id": id, "deleted": true, "released": released, "in_effect": in_effect,
    })))
}

fn none(id: &str) -> Problem {
    let id = short(id);
    Problem::not_found(format!("this tenant has no hold {id}; GET /pulsar/holds lists them"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn faults(id: &str, json: &str) -> Vec<String> {
        let mut fields = Fields::json(json, &["workflow_id", "lane", "host", "reason"]);
        read(&mut fields, &TenantId::parse("acme").unwrap(), id);
        let Err(problem) = fields.check() else { return Vec::new() };
        problem.errors().iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn a_hold_says_what_and_why() {
        assert!(faults("nightly", r#"{"reason": "all of it"}"#).is_empty());
        assert!(
            faults(
                "nightly",
                r#"{"reason": "r", "lane": "ai", "workflow_id": "w", "host": "N8N.example:80"}"#
            )
            .is_empty()
        );
        assert_eq!(
            faults("a b", r#"{"lane": "fast", "host": "http://x/"}"#),
            ["reason", "lane", "id", "host"]
        );
    }
}
