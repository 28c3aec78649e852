//! `/health/live` and `/health/ready`. Asking never touches a dependency: whoever works with one writes down how it
//! went, the answer reads that.

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "HealthStatus")]
pub enum Status {
    Ok,
    Degraded,
    Down,
}

/// How a dependency was when it was last heard of.
#[derive(Debug, Clone)]
pub struct Reading {
    pub status: Status,
    pub detail: String,
    pub at: Instant,
}

impl Reading {
    pub fn now(status: Status, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), at: Instant::now() }
    }
}

/// What a dependency's failure means for the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Without it the daemon is not ready.
    Essential,
    /// Without it the daemon works on, degraded.
    Helpful,
}

type Source = Box<dyn Fn() -> Reading + Send + Sync>;

struct Dependency {
    name: &'static str,
    weight: Weight,
    /// No word for longer than this counts as down.
    max_age: Option<Duration>,
    read: Source,
}

/// The dependencies of one daemon.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<Vec<Dependency>>>);

/// Where a worker writes down how its dependency is.
#[derive(Clone)]
pub struct HealthSlot(Arc<Mutex<Reading>>);

impl HealthSlot {
    pub fn set(&self, status: Status, detail: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Reading::now(status, detail);
    }

    pub fn ok(&self) {
        self.set(Status::Ok, "");
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct DependencyReport {
    pub name: &'static str,
    pub status: Status,
    pub age_ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct HealthReport {
    pub status: Status,
    pub dependencies: Vec<DependencyReport>,
}

impl Health {
    /// A dependency whose worker writes its state down; down until it first does.
    pub fn slot(&self, name: &'static str, weight: Weight, max_age: Option<Duration>) -> HealthSlot {
        let slot = HealthSlot(Arc::new(Mutex::new(Reading::now(Status::Down, "not heard of yet"))));
        let read = slot.clone();
        self.add(name, weight, max_age, move || {
            read.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        slot
    }

    /// A dependency whose last known state can be asked for without waiting.
    pub fn source(
        &self,
        name: &'static str,
        weight: Weight,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) {
        self.add(name, weight, None, read);
    }

    fn add(
        &self,
        name: &'static str,
        weight: Weight,
        max_age: Option<Duration>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) {
        let dependency = Dependency { name, weight, max_age, read: Box::new(read) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(dependency);
    }

    pub fn report(&self) -> HealthReport {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut overall = Status::Ok;
        let dependencies = known
            .iter()
            .map(|dependency| {
                let Reading { mut status, mut detail, at } = (dependency.read)();
                let age = at.elapsed();
                if dependency.max_age.is_some_and(|max| age > max) {
                    status = Status::Down;
                    detail = format!("not heard of for {} s; last: {detail}", age.as_secs());
                }
                overall = overall.max(match dependency.weight {
                    Weight::Essential => status,
                    Weight::Helpful => status.min(Status::Degraded),
                });
                DependencyReport { name: dependency.name, status, age_ms: age.as_millis() as u64, detail }
            })
            .collect();
        HealthReport { status: overall, dependencies }
    }

    /// `/health/live` and `/health/ready`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .with_state(self.clone())
    }
}

async fn live() -> impl IntoResponse {
    Json(serde_json::json!({ "status": "ok" }))
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let report = health.report();
    let code = if report.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_helpful_degrades_and_what_is_essential_decides() {
        let health = Health::default();
        let postgres = health.slot("postgres", Weight::Essential, Some(Duration::from_secs(60)));
        let pulsar = health.slot("pulsar", Weight::Helpful, None);
        assert_eq!(health.report().status, Status::Down);
        postgres.ok();
        assert_eq!(health.report().status, Status::Degraded);
        pulsar.ok();
        assert_eq!(health.report().status, Status::Ok);
        tokio::time::advance(Duration::from_secs(61)).await;
        let report = health.report();
        assert_eq!(report.status, Status::Down);
        assert_eq!(report.dependencies[0].age_ms, 61_000);
        assert_eq!(report.dependencies[1].status, Status::Ok);
    }
}
