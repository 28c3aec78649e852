//! What the endpoints of one route share, whether it is a workflow's, a type's or the tenant's default.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bridge_protocol::{Route, RouteName, TenantId, Time};
use bridge_service::Problem;
use bridge_store::{Actor, Outcome, RouteRow};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::admin::{may_change, outcome, refused, routes_in_effect};
use super::execution::short;
use super::fields::Fields;
use super::{route_check, route_fields, route_overrides};
use crate::answer::failed;
use crate::app::App;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoredRoute")]
pub struct Shown {
    /// `workflow_id` or `type`; the default has none.
    #[serde(flatten)]
    name: Map<String, Value>,
    route: Route,
    revision: i64,
    changed_at: Time,
}

impl Shown {
    /// None: it was deleted.
    pub fn of(row: RouteRow) -> Option<Self> {
        let RouteRow { name, route, revision, changed_at, .. } = row;
        route.map(|route| Self { name: named(&name), route, revision, changed_at })
    }
}

fn named(name: &RouteName) -> Map<String, Value> {
    let mut map = Map::new();
    match name {
        RouteName::Workflow(_) => _ = map.insert("workflow_id".to_owned(), json!(name.name())),
        RouteName::Type(_) => _ = map.insert("type".to_owned(), json!(name.name())),
        RouteName::Default => {}
    }
    map
}

/// Its place in a document of routes: `workflows.crm`, `types.crm_sync`, `default`.
pub fn place(name: &RouteName) -> String {
    match name {
        RouteName::Workflow(workflow) => format!("workflows.{workflow}"),
        RouteName::Type(kind) => format!("types.{kind}"),
        RouteName::Default => "default".to_owned(),
    }
}

pub async fn put(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    name: Result<RouteName, (&'static str, String)>,
    request: Request,
) -> Result<Response, Problem> {
    may_change(&app.route_changes, tenant, "routes")?;
    let mut fields = Fields::body(app, request, Route::FIELDS).await?;
    let name = name.map_err(|(field, fault)| fields.fault(field, fault)).ok();
    let route = route_fields::read(&mut fields, name.as_ref());
    let (Some(name), Some(route)) = (name, route) else { return Err(fields.refuse()) };
    fields.check()?;
    route_check::check(app, tenant, &[(String::new(), &route)]).await?;
    route_overrides::check_one(&app.routes.load(), tenant, &name, &route)?;
    let held = holds(app, tenant, &name);
    let done = app
        .store
        .put_route(actor, tenant, &name, &route)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = routes_in_effect(app, done.revision).await;
    if held && route.is_active {
        let_go(app, tenant, &name).await;
    }
    let created = done.outcome == Outcome::Created;
    let mut body = json!({
        "tenant_id": tenant, "route": route, "revision": done.value.revision, "changed_at": done.value.changed_at,
        "outcome": outcome(done.outcome), "changed": done.outcome != Outcome::Unchanged, "in_effect": in_effect,
    });
    add(&mut body, named(&name));
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response())
}

pub async fn get(app: &App, tenant: &TenantId, name: &RouteName) -> Result<Json<Value>, Problem> {
    let found = app.store.route(tenant, name).await.map_err(|error| failed(&error))?;
    let shown = found.and_then(Shown::of).ok_or_else(|| none(&name.to_string()))?;
    let mut body = serde_json::to_value(shown).map_err(|_| Problem::internal())?;
    add(&mut body, Map::from_iter([("tenant_id".to_owned(), json!(tenant))]));
    Ok(Json(body))
}

/// Deleting what is not there is well.
pub async fn delete(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    name: &RouteName,
) -> Result<Json<Value>, Problem> {
    may_change(&app.route_changes, tenant, "routes")?;
    let held = holds(app, tenant, name);
    let done = app
        .store
        .delete_route(actor, tenant, name)
        .await
        .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
    let in_effect = routes_in_effect(app, done.revision).await;
    if held {
        let_go(app, tenant, name).await;
    }
    let mut body = json!({
        "tenant_id": tenant, "deleted": true, "changed": done.outcome != Outcome::Unchanged, "in_effect": in_effect,
    });
    add(&mut body, named(name));
    Ok(Json(body))
}

/// Whether the route, as it is now, holds what it is for.
pub fn holds(app: &App, tenant: &TenantId, name: &RouteName) -> bool {
    app.routes.load().route(tenant, name).is_some_and(|route| !route.is_active)
}

/// What an inactive route has parked becomes due; else it would sleep for minutes more.
pub async fn let_go(app: &App, tenant: &TenantId, name: &RouteName) {
    let workflow = match name {
        RouteName::Workflow(workflow) => Some(workflow),
        RouteName::Type(_) | RouteName::Default => None,
    };
    if let Err(error) = app.store.release_held(tenant, workflow, None).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, tenant_id = %tenant, "what was held waits for its timers; it is fired a little later");
    }
}

fn add(body: &mut Value, fields: Map<String, Value>) {
    if let Value::Object(body) = body {
        body.extend(fields);
    }
}

pub fn none(what: &str) -> Problem {
    let what = short(what);
    Problem::not_found(format!(
        "this tenant has no route for {what}; GET /pulsar/workflows lists what it has"
    ))
}
