//! `GET /pulsar/executions/{id}/payload`: the payload, byte for byte as it was published.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::ExecutionId;
use bridge_service::Problem;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::answer::{failed, no_such_execution};
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::budget::Share;
use crate::data_keys;
use crate::routes::execution::short;

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let mut share = app.budget.take(0)?;
    let found = app.store.replayable(&tenant, id).await.map_err(|error| failed(&error))?;
    let found = found.ok_or_else(|| no_such_execution(id))?;
    let size = found.payload.ok_or_else(|| data_keys::gone(id))?;
    // Before it is read.
    share.grow_to(size.bytes)?;
    let stored = app.store.payload(&tenant, id).await.map_err(|error| failed(&error))?;
    let stored = stored.ok_or_else(|| data_keys::gone(id))?;
    let payload = data_keys::open(&app, &tenant, id, stored).await?;
    let held = Bytes::from_owner(Held { payload, _share: share });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from(held)).into_response())
}

/// A payload that counts as memory in use until its last byte is sent.
struct Held {
    payload: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}
