//! `GET /pulsar/executions/{id}/result?wait=N`: what came of an execution, waited for if it has to be.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::{ExecutionId, State as Stage, TenantId};
use bridge_service::Problem;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::answer::{Links, no_such_execution};
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::results::{self, Outcome, Standing};
use crate::routes::execution::short;
use crate::wait;

/// An execution that has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ResultView {
    pub execution_id: ExecutionId,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// One that has not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotYet {
    pub execution_id: ExecutionId,
    pub state: Stage,
    pub links: Links,
}

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let wait = wait::wanted(&uri, &headers, app.limits.result_wait)?;
    let deadline = Instant::now() + wait.unwrap_or_default();
    let mut waiter = wait.map(|_| app.waiters.place()).transpose()?.map(|place| place.at(&tenant, id));
    // Looks lie on the heap while they last: a caller who waits does not carry them along.
    let mut answer = Box::pin(look(&app, &tenant, id)).await?;
    if let (Looked::NotYet(_), Some(waiter)) = (&answer, &mut waiter)
        && waiter.wait(deadline).await
    {
        answer = Box::pin(look(&app, &tenant, id)).await?;
    }
    let response = match answer {
        Looked::Ended(response) => response,
        Looked::NotYet(state) => {
            let body = NotYet { execution_id: id, state, links: Links::new(&app, id) };
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
    };
    Ok((wait::applied(&headers, wait), [(CACHE_CONTROL, "no-store")], response).into_response())
}

enum Looked {
    Ended(Response),
    NotYet(Stage),
}

/// One look. It holds a share of the memory in its turn, which a caller who waits does not.
async fn look(app: &AppState, tenant: &TenantId, id: ExecutionId) -> Result<Looked, Problem> {
    let read = async {
        let mut share = app.budget.take(0)?;
        results::read(app, tenant, id, &mut share).await
    };
    match app.waiters.in_turn(read).await? {
        None => Err(no_such_execution(id)),
        Some(Standing::Expired) => Err(gone(id)),
        Some(Standing::Live(state)) => Ok(Looked::NotYet(state)),
        Some(Standing::Ended(outcome)) => {
            Ok(Looked::Ended(Json(ResultView { execution_id: id, outcome: *outcome }).into_response()))
        }
    }
}

/// The tenant's time to live, or retention, has taken it.
fn gone(id: ExecutionId) -> Problem {
    let detail =
        format!("the result of execution {id} is kept no longer; replay the execution for a new one");
    Problem::new(StatusCode::GONE, "result-gone", "Result gone", detail).about(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, E, F: Future>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of callers wait in it: what is only needed before and after lies elsewhere.
    #[test]
    fn a_waiting_caller_costs_little_memory() {
        let bytes = size(handle);
        assert!(bytes < 4096, "{bytes} bytes");
    }
}
