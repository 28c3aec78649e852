//! `GET|PUT|DELETE /pulsar/default-route`: what holds for a tenant's workflows without a route of their own.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use bridge_protocol::RouteName;
use bridge_service::Problem;
use serde_json::Value;

use super::admin::By;
use super::route;
use crate::app::AppState;
use crate::auth::ActsFor;

pub async fn put(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    request: Request,
) -> Result<Response, Problem> {
    route::put(&app, &actor, &tenant, Ok(RouteName::Default), request).await
}

pub async fn get(State(app): State<AppState>, ActsFor(tenant): ActsFor) -> Result<Json<Value>, Problem> {
    route::get(&app, &tenant, &RouteName::Default).await
}

pub async fn delete(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
) -> Result<Json<Value>, Problem> {
    route::delete(&app, &actor, &tenant, &RouteName::Default).await
}
