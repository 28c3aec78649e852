//! `GET /pulsar/executions?state=&limit=&cursor=&tenant_id=`: the tenant's executions, newest first.

use axum::Json;
use axum::extract::{Query, State};
use bridge_protocol::{ExecutionId, Lane, State as Stage, Time, WorkflowId};
use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bridge_service::suggest::did_you_mean;
use bridge_store::Listed;
use serde::Serialize;

use crate::answer::failed;
use crate::app::AppState;
use crate::auth::ActsFor;
use crate::parse::invalid;

const LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 1000;
const PARAMETERS: [&str; 4] = ["state", "limit", "cursor", "tenant_id"];

#[derive(Debug, Serialize)]
pub struct Page {
    executions: Vec<Line>,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<ExecutionId>,
    /// Only the newest part was searched; there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    execution_id: ExecutionId,
    workflow_id: WorkflowId,
    lane: Lane,
    state: Stage,
    attempt: u16,
    accepted_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed_as: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Wanted {
    state: Option<Stage>,
    limit: Option<u16>,
    cursor: Option<ExecutionId>,
}

pub async fn handle(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let Wanted { state, limit, cursor } = wanted(&query).map_err(invalid)?;
    let limit = limit.unwrap_or(LIMIT);
    let (listed, partial) =
        app.store.list(&tenant, state, cursor, limit).await.map_err(|error| failed(&error))?;
    let full = listed.len() == usize::from(limit);
    let next_cursor = listed.last().filter(|_| full).map(|last| last.id);
    Ok(Json(Page { executions: listed.into_iter().map(Line::from).collect(), next_cursor, partial }))
}

fn wanted(query: &[(String, String)]) -> Result<Wanted, Vec<FieldError>> {
    let mut wanted = Wanted::default();
    let mut faults = Vec::new();
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        let fault = match name.as_str() {
            // Read by `ActsFor`.
            "tenant_id" => continue,
            "state" => match value.parse() {
                Ok(state) => {
                    wanted.state = Some(state);
                    continue;
                }
                Err(_) => {
                    let all: Vec<&str> = Stage::ALL.iter().map(|state| state.as_str()).collect();
                    format!("must be one of {}", all.join(", "))
                }
            },
            "limit" => match value.parse() {
                Ok(limit @ 1..=MAX_LIMIT) => {
                    wanted.limit = Some(limit);
                    continue;
                }
                _ => format!("must be 1 to {MAX_LIMIT}"),
            },
            "cursor" => match value.parse() {
                Ok(cursor) => {
                    wanted.cursor = Some(cursor);
                    continue;
                }
                Err(_) => "must be the next_cursor of an earlier answer".to_owned(),
            },
            other => format!("is not a parameter of this list{}", did_you_mean(other, PARAMETERS)),
        };
        faults.push(FieldError { field: super::execution::short(name).into(), message: fault });
    }
    if faults.is_empty() { Ok(wanted) } else { Err(faults) }
}

impl From<Listed> for Line {
    fn from(listed: Listed) -> Self {
        Self {
            execution_id: listed.id,
            workflow_id: listed.workflow,
            lane: listed.lane,
            state: listed.state,
            attempt: listed.attempt,
            accepted_at: listed.accepted_at,
            reason: listed.reason,
            replayed_as: listed.replayed_as.map(|id| id.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_are_checked_together() {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let good = wanted(&pairs(&[("state", "dead_lettered"), ("limit", "1000"), ("cursor", "")])).unwrap();
        assert_eq!(good, Wanted { state: Some(Stage::DeadLettered), limit: Some(1000), cursor: None });
        let faults =
            wanted(&pairs(&[("state", "dead"), ("limit", "0"), ("cursor", "x"), ("limt", "1")])).unwrap_err();
        assert_eq!(faults.len(), 4);
        assert!(faults[3].message.ends_with("(did you mean limit?)"), "{faults:?}");
    }
}
