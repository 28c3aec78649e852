//! `POST /pulsar/publish/batch`: many publish requests in one transaction, an outcome for each in input order.

use axum::Json;
use axum::extract::{Request, State};
use bridge_protocol::{ExecutionId, TenantId};
use bridge_service::{Problem, failpoint};
use bytes::Bytes;
use serde::Serialize;

use crate::accept::{self, Candidate};
use crate::answer::Published;
use crate::app::AppState;
use crate::auth::Caller;
use crate::body::{self, JsonBody};
use crate::observe::traceparent;
use crate::parse::{self, Context, Publish};

#[derive(Debug, Serialize)]
pub struct Outcome {
    index: usize,
    /// The status a request of its own would have had.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_id: Option<ExecutionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Published>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

pub async fn handle(
    State(app): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Json<Vec<Outcome>>, Problem> {
    let headers = request.headers().clone();
    if headers.contains_key("idempotency-key") {
        return Err(parse::header_key_on_a_batch());
    }
    let JsonBody { bytes, share } = body::read(&app, request).await?;
    let parsed = parse_all(&app, caller.tenant, bytes).await?;
    failpoint::hit("publisher.parsed");

    let mut problems: Vec<Option<Problem>> = Vec::with_capacity(parsed.len());
    let mut candidates = Vec::new();
    for item in parsed {
        match item.and_then(|publish| Candidate::new(&app, publish, traceparent(&headers))) {
            Ok(candidate) => {
                candidates.push(candidate);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let mut accepted =
        if candidates.is_empty() { Vec::new() } else { accept::all(&app, candidates, share).await? }
            .into_iter();
    failpoint::hit("publisher.handed_off");

    let mut outcomes = Vec::with_capacity(problems.len());
    for (index, problem) in problems.into_iter().enumerate() {
        let answer = match (problem, &mut accepted) {
            (Some(problem), _) => Err(problem),
            (None, accepted) => match accepted.next() {
                Some((candidate, fate)) => Published::new(&app, candidate, fate).await,
                None => Err(Problem::internal()),
            },
        };
        outcomes.push(outcome(index, answer));
    }
    Ok(Json(outcomes))
}

fn outcome(index: usize, answer: Result<Published, Problem>) -> Outcome {
    match answer {
        Ok(published) => Outcome {
            index,
            status: published.code().as_u16(),
            execution_id: Some(published.execution_id),
            execution: Some(published),
            problem: None,
        },
        Err(problem) => Outcome {
            index,
            status: problem.status().as_u16(),
            execution_id: None,
            execution: None,
            problem: Some(problem),
        },
    }
}

/// Off the runtime's threads: a batch is always large.
async fn parse_all(
    app: &AppState,
    tenant: TenantId,
    bytes: Bytes,
) -> Result<Vec<Result<Publish, Problem>>, Problem> {
    let app = app.clone();
    let work = move || {
        let context =
            Context { tenant: &tenant, limits: &app.limits, now: app.clock.now(), header_key: None };
        let items = parse::items(&bytes, app.limits.batch_rows)?;
        Ok(items.into_iter().map(|item| parse::publish(&bytes, item.get().as_bytes(), &context)).collect())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a batch failed in an unforeseen way");
        Err(Problem::internal())
    })
}
