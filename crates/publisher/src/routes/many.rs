//! `POST /pulsar/replay` and `POST /pulsar/cancel`: the same for many executions, as a job that goes on by itself.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::{ExecutionId, State as Stage, TenantId, Time};
use bridge_service::Problem;
use bridge_service::clock::entropy;
use bridge_store::{Actor, Filter, JobKind, NewJob};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::admin::{By, conflict, refused};
use super::fields::Fields;
use super::filter;
use super::jobs::Shown;
use crate::accept::open_tenant;
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::auth::ActsFor;

/// Counting ends there and says so.
const COUNTED: u64 = 1_000_000;
const FASTEST: f64 = 10_000.0;

struct Asked {
    filter: Filter,
    dry_run: bool,
    per_second: Option<f64>,
    /// So many, as the dry run said: another number stops it.
    expect: Option<u64>,
}

pub async fn replay(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    request: Request,
) -> Result<Response, Problem> {
    // A closed tenant would get a job that cannot do anything.
    open_tenant(&app, &tenant)?;
    begin(&app, &actor, tenant, JobKind::Replay, request).await
}

pub async fn cancel(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    request: Request,
) -> Result<Response, Problem> {
    begin(&app, &actor, tenant, JobKind::Cancel, request).await
}

async fn begin(
    app: &App,
    actor: &Actor,
    tenant: TenantId,
    kind: JobKind,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::body(app, request, &["filter", "dry_run", "per_second", "expect"]).await?;
    let now = app.clock.now();
    let Asked { filter, dry_run, per_second, expect } = read(&mut fields, kind, now);
    fields.check()?;
    let (total, more) = app.store.count(&tenant, &filter, COUNTED).await.map_err(|error| failed(&error))?;
    // Dead letters that a person has seen to already: a replay of them would do their work twice.
    let skipped = match kind {
        JobKind::Replay => {
            app.store.count_settled(&tenant, &filter, COUNTED).await.map_err(|error| failed(&error))?
        }
        JobKind::Cancel => 0,
    };
    let count = total.saturating_sub(skipped);
    if dry_run {
        let counted = json!({ "dry_run": true, "count": count, "skipped": skipped, "partial": more });
        return Ok(Json(counted).into_response());
    }
    if let Some(expect) = expect.filter(|expect| *expect != count || more) {
        let more = if more { " or more" } else { "" };
        return Err(conflict(format!(
            "expect is {expect}, and the filter finds {count}{more} executions; look at them and ask again with the \
             number that is meant"
        )));
    }
    let new = NewJob {
        // As executions' ids: the newest is the largest.
        id: ExecutionId::new(now, &mut entropy()).uuid(),
        tenant,
        kind,
        filter,
        per_second: per_second.unwrap_or(app.limits.jobs.per_second),
        total,
    };
    let job = app.store.create_job(actor, &new, app.limits.jobs.open).await;
    let job = job.map_err(|error| refused(error, format_args!("tenant {}", new.tenant)))?;
    let shown = Shown::new(app, job);
    let location = HeaderValue::try_from(shown.link());
    let mut response = (StatusCode::ACCEPTED, Json(shown)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn read(fields: &mut Fields, kind: JobKind, now: Time) -> Asked {
    let mut filter = match fields.object("filter", filter::KNOWN, "filter.") {
        Some(mut inner) => {
            let filter = filter::read(&mut inner);
            fields.absorb(inner);
            filter
        }
        None => Filter::default(),
    };
    let fits = |state: &Stage| state.is_terminal() == (kind == JobKind::Replay);
    let fitting: Vec<&str> =
        Stage::ALL.iter().filter(|state| fits(state)).map(|state| state.as_str()).collect();
    match kind {
        JobKind::Replay if filter.states.is_empty() => {
            let message = format!("names what shall be replayed: one or more of {}", fitting.join(", "));
            fields.fault("filter.state", message);
        }
        JobKind::Cancel if filter.states.is_empty() => {
            filter.states = Stage::ALL.iter().copied().filter(|state| fits(state)).collect();
        }
        _ if filter.states.iter().all(fits) => {}
        JobKind::Replay => {
            fields.fault(
                "filter.state",
                format!("only what has ended can be replayed: {}", fitting.join(", ")),
            );
        }
        JobKind::Cancel => {
            fields.fault("filter.state", format!("only what lives can be cancelled: {}", fitting.join(", ")));
        }
    }
    // What comes later is not meant: a replay never meets what it made itself.
    filter.until = Some(filter.until.map_or(now, |until| until.min(now)));
    let per_second = fields.parse("per_second", |text| match text.parse::<f64>() {
        Ok(rate) if (0.01..=FASTEST).contains(&rate) => Ok(rate),
        _ => Err(format!("must be a number from 0.01 to {FASTEST}")),
    });
    let dry_run = fields.flag("dry_run").unwrap_or(false);
    Asked { filter, dry_run, per_second, expect: fields.whole("expect", 0..=COUNTED) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn asked(kind: JobKind, json: &str) -> Result<Asked, Vec<String>> {
        let mut fields = Fields::json(json, &["filter", "dry_run", "per_second", "expect"]);
        let asked = read(&mut fields, kind, "2026-01-31T09:00:00Z".parse().unwrap());
        match fields.check() {
            Ok(()) => Ok(asked),
            Err(problem) => Err(problem.errors().iter().map(|fault| fault.field.to_string()).collect()),
        }
    }

    #[test]
    fn a_job_is_about_what_it_can_change_and_about_the_past() {
        let all = asked(JobKind::Cancel, "{}").ok().unwrap();
        assert_eq!(all.filter.states, [Stage::Accepted, Stage::Running, Stage::Waiting, Stage::Retrying]);
        assert_eq!(all.filter.until, "2026-01-31T09:00:00Z".parse().ok());
        let some =
            asked(JobKind::Replay, r#"{"filter": {"state": ["failed"], "until": "2026-01-01T00:00:00Z"}}"#);
        assert_eq!(some.ok().unwrap().filter.until, "2026-01-01T00:00:00Z".parse().ok());
        assert_eq!(asked(JobKind::Replay, "{}").err().unwrap(), ["filter.state"]);
        let faults =
            asked(JobKind::Replay, r#"{"filter": {"state": "running", "lanes": "ai"}, "per_second": 0}"#);
        assert_eq!(faults.err().unwrap(), ["filter.lanes", "filter.state", "per_second"]);
        assert_eq!(
            asked(JobKind::Cancel, r#"{"filter": {"state": "failed"}}"#).err().unwrap(),
            ["filter.state"]
        );
    }
}
