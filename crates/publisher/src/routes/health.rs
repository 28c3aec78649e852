//! `GET /health/live` and `GET /health/ready`: answered from what is known, never by asking a dependency.

use axum::Json;
use axum::extract::State;
use bridge_service::health::{HealthReport, Status};
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::AppState;

pub async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub async fn ready(State(app): State<AppState>) -> (StatusCode, Json<HealthReport>) {
    let report = app.health.report();
    let code = if report.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(report))
}
