//! `POST /pulsar/publish`: 202 once the execution is durable; 200 with its result when the route is native, or when the
//! caller waits for it (`?wait=N`, `Prefer: wait=N`).

use std::sync::Arc;

use axum::extract::{Request, State};
use bridge_access::Caller;
use bridge_protocol::Mode;
use bridge_service::{Problem, failpoint};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::accept::{self, Candidate};
use crate::allowance::{Metered, Refusal};
use crate::answer::Published;
use crate::app::{App, AppState};
use crate::auth::{Who, acts_for};
use crate::body::{self, JsonBody};
use crate::data_keys::LARGE;
use crate::observe::traceparent;
use crate::parse::{self, Context, Publish};
use crate::results::{self, Standing};
use crate::waiters::Place;
use crate::{native, wait};

pub async fn handle(
    State(app): State<AppState>,
    Who(caller): Who,
    request: Request,
) -> Result<(Metered, Option<[(HeaderName, HeaderValue); 1]>, Published), Refusal> {
    let headers = request.headers().clone();
    let wait = wait::wanted(request.uri(), &headers, app.limits.result_wait)?;
    let key = header_key(&headers)?.map(str::to_owned);
    let JsonBody { bytes, share } = body::read(&app, request).await?;
    let publish = parse(&app, caller, key, bytes).await?;
    failpoint::hit("publisher.parsed");
    let tenant = accept::open_tenant(&app, &publish.tenant)?;
    let metered = app.allowances.pass(&tenant, 1)?;
    let done = async {
        // Taken first: who may not wait is told so before anything is written.
        let place = wait.map(|wait| Ok((app.waiters.place()?, Instant::now() + wait))).transpose()?;
        let candidate = Candidate::single(&app, &tenant, publish, traceparent(&headers))?;
        if candidate.decision.mode == Mode::Native {
            return Box::pin(native::publish(&app, candidate, share, place)).await;
        }
        // On the heap while it lasts, as what follows the waiting: a caller who waits does not carry them along.
        let (candidate, fate) = Box::pin(accept::one(&app, candidate, share)).await?;
        failpoint::hit("publisher.handed_off");
        let published = Published::new(&app, candidate, fate).await?;
        Ok(waited(&app, published, place).await)
    };
    match done.await {
        Ok(published) => Ok((metered, wait::applied(&headers, wait), published)),
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

/// Holds an answer until its execution has ended, or the time is over. It was accepted: whatever goes wrong here takes
/// nothing from that.
pub async fn waited(app: &App, mut published: Published, place: Option<(Place, Instant)>) -> Published {
    let Some((place, deadline)) = place else { return published };
    let (tenant, id) = (published.tenant_id.clone(), published.execution_id);
    if !published.status.is_terminal() && !place.at(&tenant, id).wait(deadline).await {
        return published;
    }
    let read = Box::pin(async {
        let mut share = app.budget.take(0)?;
        results::read(app, &tenant, id, &mut share).await
    });
    match app.waiters.in_turn(read).await {
        Ok(Some(Standing::Ended(outcome))) => published.end(*outcome),
        Ok(Some(Standing::Live(state))) => published.status = state,
        Ok(Some(Standing::Expired) | None) => {}
        Err(problem) => published.warnings.push(format!(
            "its result could not be read now, ask for it at links.result: {}",
            problem.detail()
        )),
    }
    published
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
        let context = Context {
            tenant: &|named| acts_for(&app, &caller, named),
            limits,
            now,
            header_key: key.as_deref(),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_waiting_caller_costs_little_memory() {
        let bytes = size(handle);
        assert!(bytes < 8192, "{bytes} bytes");
    }
}
