//! `/pulsar/jobs`: how far the replays and cancellations of many have come; pausing, resuming and stopping them.

use axum::Json;
use axum::extract::{Path, Query, State};
use bridge_protocol::{TenantId, Time};
use bridge_service::Problem;
use bridge_store::{Actor, Filter, Job, JobState};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::admin::{By, refused};
use super::execution::short;
use super::executions::page;
use super::fields::Fields;
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::auth::ActsFor;
use crate::cursor::Bound;

const LIMIT: u64 = 20;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub struct Shown {
    job_id: Uuid,
    tenant_id: TenantId,
    kind: &'static str,
    state: &'static str,
    filter: Map<String, Value>,
    per_second: f64,
    /// As many as were counted when it was made, with those that it will skip.
    total: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    /// The last execution that it looked at; it goes from the newest to the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// Why it does not go on right now. It is tried again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_up: Option<String>,
    /// Why it failed. Resumed, it goes on where it stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    created_by: String,
    created_at: Time,
    changed_at: Time,
    links: Links,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobLinks")]
struct Links {
    #[serde(rename = "self")]
    job: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobPage")]
pub struct Page {
    jobs: Vec<Shown>,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl Shown {
    pub fn new(app: &App, job: Job) -> Self {
        Self {
            links: Links { job: format!("{}/pulsar/jobs/{}", app.public_url, job.id) },
            job_id: job.id,
            filter: job.filter().map_or_else(
                |_| job.stored_filter.as_object().cloned().unwrap_or_default(),
                |filter| asked(&filter),
            ),
            tenant_id: job.tenant,
            kind: job.kind.as_str(),
            state: job.state.as_str(),
            per_second: job.per_second,
            total: job.total,
            done: job.done,
            skipped: job.skipped,
            failed: job.failed,
            position: job.position.map(|id| id.to_string()),
            held_up: job.held_up,
            error: job.error,
            created_by: job.created_by,
            created_at: job.created_at,
            changed_at: job.changed_at,
        }
    }

    pub fn link(&self) -> &str {
        &self.links.job
    }
}

/// As the request named it.
fn asked(filter: &Filter) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("state", (!filter.states.is_empty()).then(|| json!(filter.states)));
    put("workflow_id", filter.workflow.as_ref().map(|workflow| json!(workflow)));
    put("lane", filter.lane.map(|lane| json!(lane)));
    put("since", filter.since.map(|since| json!(since)));
    put("until", filter.until.map(|until| json!(until)));
    put("reason", filter.reason.map(|reason| json!(reason)));
    put("metadata", filter.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()));
    map
}

pub async fn list(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let mut fields = Fields::query(query, &["limit", "cursor", "tenant_id"]);
    let (limit, cursor) = page(&mut fields, LIMIT);
    fields.check()?;
    let bound = Bound::new(&app.vault, "jobs", &tenant, "");
    let before = cursor.map(|text| bound.take_id(&text)).transpose()?;
    let jobs = app.store.jobs(&tenant, before, limit).await.map_err(|error| failed(&error))?;
    let full = jobs.len() == usize::from(limit);
    let next_cursor = jobs.last().filter(|_| full).map(|last| bound.give_id(last.id));
    Ok(Json(Page { jobs: jobs.into_iter().map(|job| Shown::new(&app, job)).collect(), next_cursor }))
}

pub async fn get(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let job = app.store.job(&tenant, known(&id)?).await.map_err(|error| failed(&error))?;
    job.map(|job| Json(Shown::new(&app, job))).ok_or_else(|| none(&id))
}

pub async fn pause(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    set(&app, &actor, &tenant, &id, JobState::Paused).await
}

pub async fn resume(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    set(&app, &actor, &tenant, &id, JobState::Running).await
}

/// What it has done stays done.
pub async fn cancel(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    set(&app, &actor, &tenant, &id, JobState::Cancelled).await
}

async fn set(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    id: &str,
    state: JobState,
) -> Result<Json<Shown>, Problem> {
    let job = app.store.set_job_state(actor, tenant, known(id)?, state).await;
    let job = job.map_err(|error| refused(error, format_args!("job {}", short(id))))?;
    job.map(|job| Json(Shown::new(app, job))).ok_or_else(|| none(id))
}

fn known(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| none(id))
}

/// The same for a job that does not exist and one of another tenant.
fn none(id: &str) -> Problem {
    Problem::not_found(format!("there is no job {} of this tenant; GET /pulsar/jobs lists them", short(id)))
}
