//! Works on the jobs that replay and cancel many executions: in pages, at the job's pace, from the newest execution
//! down. Whoever holds a job's lease works on it; when a daemon stops or dies, another goes on where it stood.

use std::time::Duration;

use bridge_protocol::ExecutionId;
use bridge_service::Problem;
use bridge_store::{CancelOutcome, Job, JobKind, JobProgress};
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::AppState;
use crate::routes::{new_id, replay};

/// Jobs that one publisher works on at a time; the others wait for a place or for another publisher.
const AT_ONCE: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who has not said anything for so long has lost the job.
const LEASE: Duration = Duration::from_secs(15);
/// How often progress is written down, and a pause or a cancellation noticed.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// After a refusal that passes: a used-up rate, a full quota, a database that is away.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub async fn run(app: AppState, stop: CancellationToken) {
    let mut working = JoinSet::new();
    while !stop.is_cancelled() {
        while working.try_join_next().is_some() {}
        metrics::gauge!("bridge_jobs_at_work").set(working.len() as f64);
        let taken = if working.len() < AT_ONCE { take(&app).await } else { None };
        match taken {
            Some((job, holder)) => {
                let work = Work::new(app.clone(), job, holder, stop.clone());
                working.spawn(work.run());
            }
            None => _ = stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await,
        }
    }
    // Each notes how far it came and gives its lease back.
    while working.join_next().await.is_some() {}
}

/// Under a name of its own each time: who took it before, here too, finds it lost.
async fn take(app: &AppState) -> Option<(Job, Uuid)> {
    let holder = new_id();
    match app.store.take_job(holder, LEASE).await {
        Ok(job) => job.map(|job| (job, holder)),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no job could be taken; the next look tries again"
            );
            None
        }
    }
}

/// Why no more is done on a job here.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    /// Paused, cancelled, or another's: there is nothing to give back.
    Lost,
    /// The daemon stops, or the list cannot be read: whoever comes next goes on.
    GiveBack,
}

/// What became of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Skipped,
    Failed,
}

struct Work {
    app: AppState,
    job: Job,
    holder: Uuid,
    stop: CancellationToken,
    at: JobProgress,
    said: Instant,
    next: Instant,
}

impl Work {
    fn new(app: AppState, job: Job, holder: Uuid, stop: CancellationToken) -> Self {
        let at = JobProgress {
            position: job.position,
            done: job.done,
            skipped: job.skipped,
            failed: job.failed,
            ..JobProgress::default()
        };
        let now = Instant::now();
        Self { app, job, holder, stop, at, said: now, next: now }
    }

    async fn run(mut self) {
        let (job, tenant, kind) = (self.job.id, self.job.tenant.clone(), self.job.kind.as_str());
        tracing::info!(job_id = %job, tenant_id = %tenant, kind, position = ?self.at.position, "a job goes on");
        let left = self.pages().await;
        let (done, skipped, failed) = (self.at.done, self.at.skipped, self.at.failed);
        tracing::info!(job_id = %job, tenant_id = %tenant, kind, done, skipped, failed, ?left, "a job is left");
        if let Err(Leave::GiveBack) = left {
            // What is not written down is done again, and finds that it is done.
            let _noted = self.say().await;
            if let Err(error) = self.app.store.release_job(&self.job, self.holder).await {
                tracing::warn!(error = &error as &dyn std::error::Error, job_id = %job, "a job waits for the end of its lease");
            }
        }
    }

    async fn pages(&mut self) -> Result<(), Leave> {
        loop {
            // Also where page after page holds nothing that fits.
            self.rest_until(Instant::now()).await?;
            let (tenant, filter) = (&self.job.tenant, &self.job.filter);
            let page = self.app.store.list(tenant, filter, self.at.position, self.app.limits.job_page).await;
            let page = page.map_err(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, job_id = %self.job.id, "a job's executions could not be read; it is tried again");
                Leave::GiveBack
            })?;
            for row in page.rows {
                self.rest_until(self.next).await?;
                // Time that was lost is made up for, but not in one rush.
                let earliest = Instant::now().checked_sub(SAY_EVERY).unwrap_or(self.next);
                self.next = self.next.max(earliest) + pause_of(self.job.per_second);
                let outcome = self.one(row.id).await?;
                self.count(outcome);
                self.at.position = Some(row.id);
            }
            self.at.position = page.next.or(self.at.position);
            self.at.finished = page.next.is_none();
            while !self.say().await? {
                self.rest_until(Instant::now() + AGAIN_AFTER).await?;
            }
            if self.at.finished {
                return Ok(());
            }
        }
    }

    fn count(&mut self, outcome: Outcome) {
        let (number, label) = match outcome {
            Outcome::Done => (&mut self.at.done, "done"),
            Outcome::Skipped => (&mut self.at.skipped, "skipped"),
            Outcome::Failed => (&mut self.at.failed, "failed"),
        };
        *number += 1;
        metrics::counter!("bridge_job_executions_total", "kind" => self.job.kind.as_str(), "outcome" => label)
            .increment(1);
    }

    /// As long as it takes: what passes by itself is waited for.
    async fn one(&mut self, id: ExecutionId) -> Result<Outcome, Leave> {
        loop {
            let outcome = match self.job.kind {
                JobKind::Replay => self.replay(id).await,
                JobKind::Cancel => self.cancel(id).await,
            };
            match outcome {
                Some(outcome) => return Ok(outcome),
                None => self.rest_until(Instant::now() + AGAIN_AFTER).await?,
            }
        }
    }

    /// None: not now.
    async fn replay(&self, id: ExecutionId) -> Option<Outcome> {
        // The same execution is replayed once by this job, however often it is tried.
        let key = format!("job:{}:{id}", self.job.id);
        // A trace of its own: thousands in one would be of no use to anybody.
        let span = tracing::info_span!(parent: None, "replay", job.id = %self.job.id, execution.id = %id);
        let done = replay::one(&self.app, &self.job.tenant, id, Some(key), None).instrument(span).await;
        match done {
            Ok(_) => Some(Outcome::Done),
            Err(refusal) => {
                let outcome = outcome_of(&refusal.problem);
                tracing::debug!(job_id = %self.job.id, execution_id = %id, ?outcome, detail = refusal.problem.detail(), "not replayed");
                outcome
            }
        }
    }

    async fn cancel(&self, id: ExecutionId) -> Option<Outcome> {
        let why = format!("by job {}", self.job.id);
        match self.app.store.cancel_one(&self.job.created_by, &self.job.tenant, id, Some(&why)).await {
            Ok(Some(CancelOutcome::Cancelled { .. })) => Some(Outcome::Done),
            Ok(Some(CancelOutcome::Ended(_)) | None) => Some(Outcome::Skipped),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, job_id = %self.job.id, execution_id = %id, "not cancelled yet; it is tried again");
                None
            }
        }
    }

    /// Waits, and says now and then how far it has come.
    async fn rest_until(&mut self, until: Instant) -> Result<(), Leave> {
        loop {
            if self.stop.is_cancelled() {
                return Err(Leave::GiveBack);
            }
            if self.said.elapsed() >= SAY_EVERY {
                self.say().await?;
            }
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let slice = until.min(now + SAY_EVERY);
            self.stop.run_until_cancelled(sleep_until(slice)).await;
        }
    }

    /// False: it could not be written down now, and the lease still holds.
    async fn say(&mut self) -> Result<bool, Leave> {
        match self.app.store.advance_job(&self.job, self.holder, &self.at, LEASE).await {
            Ok(true) => {
                self.said = Instant::now();
                Ok(true)
            }
            Ok(false) => Err(Leave::Lost),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, job_id = %self.job.id, "a job's progress could not be written down");
                if self.said.elapsed() < LEASE { Ok(false) } else { Err(Leave::Lost) }
            }
        }
    }
}

fn pause_of(per_second: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(AGAIN_AFTER)
}

/// None: it passes by itself. A tenant's rate, its quotas and its suspension hold a job up; they do not fail it.
fn outcome_of(problem: &Problem) -> Option<Outcome> {
    match problem.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => None,
        StatusCode::FORBIDDEN if matches!(problem.slug(), "tenant-suspended" | "quota-exceeded") => None,
        // It is gone, or lives again.
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Some(Outcome::Skipped),
        _ => Some(Outcome::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        let of = |status| outcome_of(&Problem::new(status, "x", "X", "x"));
        let suspended = Problem::new(StatusCode::FORBIDDEN, "tenant-suspended", "X", "x");
        assert_eq!(outcome_of(&suspended), None);
        assert_eq!(of(StatusCode::TOO_MANY_REQUESTS), None);
        assert_eq!(of(StatusCode::FORBIDDEN), Some(Outcome::Failed));
        assert_eq!(of(StatusCode::SERVICE_UNAVAILABLE), None);
        assert_eq!(of(StatusCode::CONFLICT), Some(Outcome::Skipped));
        assert_eq!(of(StatusCode::GONE), Some(Outcome::Failed));
    }

    #[test]
    fn the_pace_is_the_jobs() {
        assert_eq!(pause_of(50.0), Duration::from_millis(20));
        assert_eq!(pause_of(0.01), Duration::from_secs(100));
        assert_eq!(pause_of(0.0), AGAIN_AFTER);
    }
}
