//! `POST /internal/canary`: the end of a canary's way, its webhook. It changes nothing. Whoever cannot show the signature
//! that the consumer gives to webhooks of the canary's tenant learns nothing either.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use bridge_protocol::{TenantId, verify_webhook_signature};
use bridge_service::Problem;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::app::{App, AppState};
use crate::body::{self, JsonBody};
use crate::parse;

/// Clocks may differ, and a webhook may be slow.
const TOLERANCE: Duration = Duration::from_secs(300);

pub async fn handle(State(app): State<AppState>, request: Request) -> Result<Json<Value>, Problem> {
    if !app.canary.enabled {
        return Err(nothing());
    }
    let headers = request.headers().clone();
    // What is read beside the part that may be large is enough.
    let JsonBody { bytes, share } = body::read_up_to(&app, request, 0, parse::result_too_large).await?;
    let genuine = is_ours(&app, &headers, &bytes);
    drop((bytes, share));
    if genuine { Ok(Json(json!({ "canary": "ok" }))) } else { Err(nothing()) }
}

fn is_ours(app: &App, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let snapshot = app.directory.snapshot();
    let tenant = TenantId::parse(&app.canary.tenant).ok();
    let Some(tenant) = tenant.and_then(|tenant| snapshot.tenant(&tenant).cloned()) else { return false };
    let timestamp = header("webhook-timestamp").and_then(|text| text.parse().ok());
    let (Some(id), Some(timestamp), Some(signature)) =
        (header("webhook-id"), timestamp, header("webhook-signature"))
    else {
        return false;
    };
    let now = app.clock.now().timestamp();
    verify_webhook_signature(&tenant.webhook_secrets, id, timestamp, body, signature, now, TOLERANCE)
}

fn nothing() -> Problem {
    Problem::not_found(
        "there is nothing here for callers: it is where the bridge's own canary arrives".to_owned(),
    )
}
