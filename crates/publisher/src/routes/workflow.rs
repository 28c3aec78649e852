//! `GET|PUT|DELETE /pulsar/workflows/{workflow_id}`: the route of one workflow.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bridge_protocol::{RouteName, WorkflowId};
use bridge_service::Problem;
use serde_json::Value;

use super::admin::By;
use super::route;
use crate::app::AppState;
use crate::auth::ActsFor;

/// What is no id of a workflow cannot have a route.
fn named(id: &str) -> Result<RouteName, Problem> {
    WorkflowId::parse(id).map(RouteName::Workflow).map_err(|_| route::none(&format!("workflow {id}")))
}

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let name = WorkflowId::parse(&id).map(RouteName::Workflow);
    let name = name.map_err(|error| ("workflow_id", error.to_string()));
    route::put(&app, &actor, &tenant, name, request).await
}

pub async fn get(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    route::get(&app, &tenant, &named(&id)?).await
}

pub async fn delete(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    route::delete(&app, &actor, &tenant, &named(&id)?).await
}
