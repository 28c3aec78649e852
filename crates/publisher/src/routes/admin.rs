//! What the administrative routes share: who acts, how an act is refused, when it is in force.

use std::time::Duration;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bridge_protocol::TenantId;
use bridge_service::heartbeat::HEARD_WITHIN;
use bridge_service::{Problem, clock};
use bridge_store::{Actor, AdminError, LiveMember, Outcome, StoreError};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use rand::Rng;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::allowance::Throttle;
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::auth::{Source, Who};

/// How long an answer waits for the daemons.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// How long an old secret stays good when the caller does not say.
pub const DAY: u64 = 86_400;
/// A secret that is good for longer was not rotated.
pub const LONGEST_OVERLAP: u64 = 90 * DAY;

/// Who acts and from where, as the audit keeps it.
pub struct By(pub Actor);

impl FromRequestParts<AppState> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let who = Who::from_request_parts(parts, app).await?;
        let Source(source) = Source::from_request_parts(parts, app).await.map_err(|_| Problem::internal())?;
        Ok(Self(Actor { who: who.0.subject.to_string(), source: source.map(|address| address.to_string()) }))
    }
}

/// `what` names the object for a 404: "tenant acme".
pub fn refused(error: AdminError, what: impl std::fmt::Display) -> Problem {
    match error {
        AdminError::Store(error) => failed(&error),
        AdminError::NotFound => Problem::not_found(format!("there is no {what}; check the name")),
        AdminError::Conflict(why) => conflict(why),
        AdminError::NotNow { why, state, allowed } => conflict(why).with_state(state, allowed),
    }
}

/// Every change is loaded by every daemon, and costs looks at names: a tenant may make so many a minute.
pub fn may_change(throttle: &Throttle, tenant: &TenantId, what: &str) -> Result<(), Problem> {
    throttle.pass(tenant).map_err(|wait| {
        let detail = format!(
            "tenant {tenant} changes its {what} too often; repeat the request after the Retry-After time"
        );
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", detail)
            .retry_after(wait)
    })
}

pub fn conflict(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", "Conflict", why)
}

/// An answer with a secret in it: nobody on the way may keep it.
pub fn once(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One load of our own directory at a time: whoever waited finds that it was loaded for him too.
static LOADING: Semaphore = Semaphore::const_new(1);

/// Loads `revision` here, so that what was just made can be used here at once.
pub async fn take_over(app: &App, revision: i64) {
    let load = async {
        // Never closed.
        let Ok(_turn) = LOADING.acquire().await else { return };
        if app.directory.snapshot().revision >= revision {
            return;
        }
        if let Err(error) = app.directory.refresh().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the directory could not be read again");
        }
    };
    if timeout(PATIENCE, load).await.is_err() {
        tracing::warn!(revision, "the directory was not read again in time; its next look takes it over");
    }
}

/// Whether every daemon has loaded `revision`; waits a little for those that have not.
pub async fn in_effect(app: &App, revision: i64) -> bool {
    let asking = async {
        take_over(app, revision).await;
        while !is_in_effect(app, revision).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, asking).await.is_ok()
}

/// The same, without the wait.
pub async fn is_in_effect(app: &App, revision: i64) -> bool {
    match members(app).await {
        Ok(members) => members.iter().all(|member| member.directory >= revision),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the daemons could not be asked whether an act is in force");
            false
        }
    }
}

/// Every daemon whose word counts: one that fell silent lately may still do what it did.
pub async fn members(app: &App) -> Result<Vec<LiveMember>, StoreError> {
    let limit = StoreError::TimedOut { name: "live_members", after: LOOK_LIMIT };
    timeout(LOOK_LIMIT, app.store.live_members(HEARD_WITHIN)).await.unwrap_or(Err(limit))
}

/// Whether every daemon fires by this revision of the routes and holds; waits a little for those that do not.
pub async fn routes_in_effect(app: &App, revision: i64) -> bool {
    let asking = async {
        if let Err(error) = app.routing.refresh().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the routes could not be read again; the next look takes them over");
        }
        while !are_routes_in_effect(app, revision).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, asking).await.is_ok()
}

async fn are_routes_in_effect(app: &App, revision: i64) -> bool {
    match timeout(LOOK_LIMIT, app.store.members(HEARD_WITHIN)).await {
        Ok(Ok(members)) => {
            members.iter().all(|member| member.detail["routes"].as_i64().is_some_and(|has| has >= revision))
        }
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the daemons could not be asked which routes they have");
            false
        }
        Err(_) => false,
    }
}

pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
    }
}

/// A new id of a secret or a key.
pub fn new_id() -> Uuid {
    uuid::Builder::from_random_bytes(random()).into_uuid()
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    clock::entropy().fill_bytes(&mut bytes);
    bytes
}

pub fn tenant_in_path(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).map_err(|error| {
        let name = super::execution::short(text);
        Problem::not_found(format!("there is no tenant {name}: {error}"))
    })
}
