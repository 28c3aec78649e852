//! `POST /pulsar/publish`: 202 once the execution is durable.

use std::sync::Arc;

use axum::extract::{Request, State};
use bridge_access::Caller;
use bridge_service::{Problem, failpoint};
use bytes::Bytes;
use http::HeaderMap;

use crate::accept::{self, Candidate};
use crate::allowance::{Metered, Refusal};
use crate::answer::Published;
use crate::app::AppState;
use crate::auth::{Who, tenant_of};
use crate::body::{self, JsonBody};
use crate::data_keys::LARGE;
use crate::observe::traceparent;
use crate::parse::{self, Context, Publish};

pub async fn handle(
    State(app): State<AppState>,
    Who(caller): Who,
    request: Request,
) -> Result<(Metered, Published), Refusal> {
    let headers = request.headers().clone();
    let key = header_key(&headers)?.map(str::to_owned);
    let JsonBody { bytes, share } = body::read(&app, request).await?;
    let publish = parse(&app, caller, key, bytes).await?;
    failpoint::hit("publisher.parsed");
    let tenant = accept::open_tenant(&app, &publish.tenant)?;
    let metered = app.allowances.pass(&tenant, 1)?;
    let done = async {
        let candidate = Candidate::new(&app, &tenant, publish, traceparent(&headers))?;
        let (candidate, fate) = accept::one(&app, candidate, share).await?;
        failpoint::hit("publisher.handed_off");
        Published::new(&app, candidate, fate).await
    };
    match done.await {
        Ok(published) => Ok((metered, published)),
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

async fn parse(
    app: &AppState,
    caller: Arc<Caller>,
    key: Option<String>,
    bytes: Bytes,
) -> Result<Publish, Problem> {
    let app = app.clone();
    let large = bytes.len() > LARGE;
    let work = move || {
        let (limits, now) = (&app.limits, app.clock.now());
        let context =
            Context { tenant: &|named| tenant_of(&caller, named), limits, now, header_key: key.as_deref() };
        parse::publish(&bytes, &bytes, &context)
    };
    if !large {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a request failed in an unforeseen way");
        Err(Problem::internal())
    })
}

/// The `Idempotency-Key` header; one that is no text is told like any other bad one.
pub fn header_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) => Ok(Some(key)),
        Err(_) => Err(parse::bad_header_key()),
    }
}
