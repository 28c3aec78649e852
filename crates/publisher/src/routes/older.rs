//! The routes of the older bridge, in its shapes: `POST /api/v2/n8n/queue` and `GET /api/v2/n8n/result/{id}`.
//! An answer of 200 says by `success` how it went; errors have the shape that all routes have.

use axum::Json;
use axum::extract::{Path, Request, State};
use bridge_protocol::{ExecutionId, State as Stage, Time};
use bridge_service::Problem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::accept::{self, Candidate};
use crate::allowance::{Metered, Refusal};
use crate::answer::{Published, no_such_execution};
use crate::app::AppState;
use crate::auth::{ActsFor, Who, acts_for};
use crate::body::{self, JsonBody};
use crate::observe::traceparent;
use crate::parse;
use crate::results::{self, Standing};
use crate::routes::execution::short;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Queued {
    success: bool,
    /// `queued`
    status: &'static str,
    execution_id: ExecutionId,
    /// The same id, under the name that some callers read.
    job_id: ExecutionId,
    queued_at: Time,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Told {
    /// Whether there is a result of a success.
    success: bool,
    execution_id: ExecutionId,
    /// `pending`, `completed` or `failed`.
    status: &'static str,
    #[schemars(with = "serde_json::Value")]
    result: Option<Box<RawValue>>,
    error: Option<String>,
    retrieved_at: Time,
}

pub async fn queue(
    State(app): State<AppState>,
    Who(caller): Who,
    request: Request,
) -> Result<(Metered, Json<Queued>), Refusal> {
    let headers = request.headers().clone();
    let JsonBody { bytes, share } = body::read(&app, request).await?;
    let asked = parse::older(&bytes, app.limits.payload_bytes)?;
    let tenant = acts_for(&app, &caller, asked.tenant.as_ref())?;
    let tenant = accept::open_tenant(&app, &tenant)?;
    let metered = app.allowances.pass(&tenant, 1)?;
    let done = async {
        let candidate =
            Candidate::new(&app, &tenant, asked.publish(tenant.id.clone()), traceparent(&headers))?;
        let (candidate, fate) = accept::one(&app, candidate, share).await?;
        Published::new(&app, candidate, fate).await
    };
    match done.await {
        Ok(Published { execution_id, warnings, .. }) => {
            let queued_at = app.clock.now();
            let queued = Queued {
                success: true,
                status: "queued",
                execution_id,
                job_id: execution_id,
                queued_at,
                warnings,
            };
            Ok((metered, Json(queued)))
        }
        Err(problem) => Err(Refusal { metered, problem }),
    }
}

pub async fn result(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    let id: ExecutionId = id.parse().map_err(|_| no_such_execution(short(&id)))?;
    let mut share = app.budget.take(0)?;
    let found = results::read(&app, &tenant, id, &mut share).await?;
    let (status, result, error) = match found.ok_or_else(|| no_such_execution(id))? {
        Standing::Live(_) => ("pending", None, None),
        Standing::Expired => ("failed", None, Some("Result not found or expired".to_owned())),
        Standing::Ended(outcome) if outcome.state == Stage::Succeeded => ("completed", outcome.result, None),
        Standing::Ended(outcome) => {
            let why = outcome.error.or(outcome.reason).unwrap_or_else(|| outcome.state.to_string());
            ("failed", outcome.result, Some(why))
        }
    };
    let success = status == "completed";
    Ok(Json(Told { success, execution_id: id, status, result, error, retrieved_at: app.clock.now() }))
}
