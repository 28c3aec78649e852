//! `POST /pulsar/publish/batch`: many publish requests in one transaction, an outcome for each in input order.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use bridge_access::Caller;
use bridge_protocol::ExecutionId;
use bridge_service::directory::Tenant;
use bridge_service::{Problem, failpoint};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use crate::accept::{self, Candidate, open_tenant};
use crate::allowance::{Metered, Refusal};
use crate::answer::Published;
use crate::app::{App, AppState};
use crate::auth::{Who, acts_for};
use crate::body::{self, JsonBody};
use crate::budget::Share;
use crate::observe::traceparent;
use crate::parse::{self, Context, Publish};

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchOutcome")]
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
    Who(caller): Who,
    request: Request,
) -> Result<(Metered, Json<Vec<Outcome>>), Refusal> {
    let headers = request.headers().clone();
    if headers.contains_key("idempotency-key") {
        return Err(parse::header_key_on_a_batch().into());
    }
    let JsonBody { bytes, share } = body::read(&app, request).await?;
    let parsed = parse_all(&app, caller, bytes).await?;
    failpoint::hit("publisher.parsed");
    let (metered, parsed) = pass(&app, parsed)?;
    match accept_all(&app, parsed, share, traceparent(&headers)).await {
        Ok(outcomes) => Ok((metered, Json(outcomes))),
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

type Item = Result<(Arc<Tenant>, Publish), Problem>;

/// Each good row is a request of its tenant's rate. A batch passes whole or not at all: it is repeated as it is.
fn pass(app: &App, parsed: Vec<Result<Publish, Problem>>) -> Result<(Metered, Vec<Item>), Refusal> {
    let mut tenants: Vec<(Arc<Tenant>, u64)> = Vec::new();
    let items = parsed
        .into_iter()
        .map(|item| {
            let publish = item?;
            let seen = tenants.iter_mut().find(|(tenant, _)| tenant.id == publish.tenant);
            let tenant = match seen {
                Some((tenant, rows)) => {
                    *rows += 1;
                    tenant.clone()
                }
                None => {
                    let tenant = open_tenant(app, &publish.tenant)?;
                    tenants.push((tenant.clone(), 1));
                    tenant
                }
            };
            Ok((tenant, publish))
        })
        .collect();
    let mut metered = Metered(None);
    for (at, (tenant, rows)) in tenants.iter().enumerate() {
        match app.allowances.pass(tenant, *rows) {
            // A batch of several tenants tells how the first stands.
            Ok(standing) if at == 0 => metered = standing,
            Ok(_) => {}
            Err(refusal) => {
                tenants[..at].iter().for_each(|(tenant, rows)| app.allowances.give_back(tenant, *rows));
                return Err(refusal);
            }
        }
    }
    Ok((metered, items))
}

async fn accept_all(
    app: &AppState,
    parsed: Vec<Item>,
    share: Share,
    traceparent: Option<&str>,
) -> Result<Vec<Outcome>, Problem> {
    let mut problems: Vec<Option<Problem>> = Vec::with_capacity(parsed.len());
    let mut candidates = Vec::new();
    for item in parsed {
        match item.and_then(|(tenant, publish)| Candidate::new(app, &tenant, publish, traceparent)) {
            Ok(candidate) => {
                candidates.push(candidate);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let mut accepted =
        if candidates.is_empty() { Vec::new() } else { accept::all(app, candidates, share).await? }
            .into_iter();
    failpoint::hit("publisher.handed_off");

    let mut outcomes = Vec::with_capacity(problems.len());
    for (index, problem) in problems.into_iter().enumerate() {
        let answer = match (problem, &mut accepted) {
            (Some(problem), _) => Err(problem),
            (None, accepted) => match accepted.next() {
                Some((candidate, fate)) => Published::new(app, candidate, fate).await,
                None => Err(Problem::internal()),
            },
        };
        outcomes.push(outcome(index, answer));
    }
    Ok(outcomes)
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
    caller: Arc<Caller>,
    bytes: Bytes,
) -> Result<Vec<Result<Publish, Problem>>, Problem> {
    let app = app.clone();
    let work = move || {
        let context = Context {
            tenant: &|named| acts_for(&app, &caller, named),
            limits: &app.limits,
            now: app.clock.now(),
            header_key: None,
        };
        let items = parse::items(&bytes, app.limits.batch_rows)?;
        Ok(items.into_iter().map(|item| parse::publish(&bytes, item.get().as_bytes(), &context)).collect())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a batch failed in an unforeseen way");
        Err(Problem::internal())
    })
}
