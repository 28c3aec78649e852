//! `GET|PUT|DELETE /pulsar/types/{type}`: the rule for what is published with a type.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bridge_protocol::RouteName;
use bridge_service::Problem;
use serde_json::Value;

use super::admin::By;
use super::route;
use crate::app::AppState;
use crate::auth::ActsFor;

/// What no type is called cannot have a rule.
fn named(kind: &str) -> Result<RouteName, Problem> {
    RouteName::of_type(kind).map_err(|_| route::none(&format!("type {kind}")))
}

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(kind): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let name = RouteName::of_type(&kind).map_err(|error| ("type", error.to_string()));
    route::put(&app, &actor, &tenant, name, request).await
}

pub async fn get(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(kind): Path<String>,
) -> Result<Json<Value>, Problem> {
    route::get(&app, &tenant, &named(&kind)?).await
}

pub async fn delete(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(kind): Path<String>,
) -> Result<Json<Value>, Problem> {
    route::delete(&app, &actor, &tenant, &named(&kind)?).await
}
