//! What publishing, replaying and a batch's items answer with.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bridge_protocol::{ExecutionId, Lane, State, TenantId, WorkflowId};
use bridge_service::Problem;
use bridge_store::StoreError;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::accept::{Candidate, Fate, closed, unavailable};
use crate::app::App;
use crate::results::Outcome;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Published {
    pub execution_id: ExecutionId,
    pub status: State,
    pub tenant_id: TenantId,
    pub workflow_id: WorkflowId,
    pub lane: Lane,
    pub topic: String,
    pub route: RouteTaken,
    pub links: Links,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<ExecutionId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When it was waited for, or fired at once.
    #[serde(flatten)]
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct RouteTaken {
    pub mode: &'static str,
    pub decided_by: String,
    pub reason: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub execution: String,
    pub result: String,
    pub replay: String,
}

impl Links {
    pub fn new(app: &App, id: ExecutionId) -> Self {
        let execution = format!("{}/pulsar/executions/{id}", app.public_url);
        Self { result: format!("{execution}/result"), replay: format!("{execution}/replay"), execution }
    }
}

impl Published {
    pub async fn new(app: &App, candidate: Candidate, fate: Fate) -> Result<Self, Problem> {
        match fate {
            Fate::New => Ok(Self::accepted(app, candidate)),
            Fate::Replayed(id) => Self::replayed(app, candidate, id).await,
            Fate::KeyConflict(id) => Err(conflict(id)),
            Fate::TenantClosed => Err(closed(&candidate.publish.tenant, None)),
        }
    }

    fn accepted(app: &App, candidate: Candidate) -> Self {
        let Candidate { publish, decision, id, .. } = candidate;
        tracing::record_all!(
            tracing::Span::current(),
            execution.id = %id,
            tenant.id = publish.tenant.as_str(),
            workflow.id = publish.workflow.as_str(),
            lane = decision.lane.as_str(),
            attempt = 1,
            route.mode = decision.mode.as_str(),
            route.decided_by = decision.decided_by,
            route.reason = decision.reason.as_str(),
        );
        Self {
            execution_id: id,
            status: State::Accepted,
            topic: app.names.topic(&publish.tenant, decision.lane),
            tenant_id: publish.tenant,
            workflow_id: publish.workflow,
            lane: decision.lane,
            route: RouteTaken {
                mode: decision.mode.as_str(),
                decided_by: decision.decided_by.to_owned(),
                reason: decision.reason,
            },
            links: Links::new(app, id),
            replayed: false,
            replay_of: None,
            warnings: publish.warnings,
            outcome: None,
        }
    }

    /// The execution of the first request, as it stands now; a route may have changed since.
    async fn replayed(app: &App, candidate: Candidate, id: ExecutionId) -> Result<Self, Problem> {
        let found =
            app.store.execution(&candidate.publish.tenant, id).await.map_err(|error| failed(&error))?;
        let mut answer = Self::accepted(app, candidate);
        answer.execution_id = id;
        answer.links = Links::new(app, id);
        answer.replayed = true;
        // Without a row retention has taken it; the key alone remembers it.
        if let Some(first) = found {
            answer.status = first.state;
            answer.lane = first.lane;
            answer.topic = app.names.topic(&first.tenant, first.lane);
            answer.route.mode = first.mode.as_str();
            answer.route.decided_by = first.decided_by;
            answer.route.reason = first.decided_because;
        }
        Ok(answer)
    }

    /// The execution has ended, and so.
    pub fn end(&mut self, outcome: Outcome) {
        self.status = outcome.state;
        self.outcome = Some(outcome);
    }

    pub fn code(&self) -> StatusCode {
        if self.replayed || self.outcome.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

impl IntoResponse for Published {
    fn into_response(self) -> Response {
        let location = HeaderValue::try_from(&self.links.execution);
        let mut response = (self.code(), Json(self)).into_response();
        if let Ok(location) = location {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

fn conflict(id: ExecutionId) -> Problem {
    let detail = format!(
        "the idempotency key was used for execution {id} with another tenant, workflow, lane, schedule, metadata or \
         payload; use a new key for a new request"
    );
    Problem::new(StatusCode::CONFLICT, "idempotency-conflict", "Idempotency key conflict", detail).about(id)
}

/// A failed read.
pub fn failed(error: &StoreError) -> Problem {
    tracing::warn!(error = error as &dyn std::error::Error, "a request could not be answered");
    if error.is_out_of_reach() { unavailable() } else { Problem::internal() }
}

/// The same answer for an id that does not exist and one of another tenant.
pub fn no_such_execution(id: impl std::fmt::Display) -> Problem {
    Problem::not_found(format!("there is no execution {id} of this tenant; check the id and the token"))
}
