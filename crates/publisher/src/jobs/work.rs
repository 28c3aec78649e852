//! One job at work.

use std::time::Duration;

use bridge_protocol::{ExecutionId, State};
use bridge_service::Directory;
use bridge_store::{CancelOutcome, Filter, Job, JobKind, JobProgress, Listing, StoreError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::outcome::{self, HeldUp, Outcome, Verdict};
use crate::app::AppState;
use crate::observe::job_span;
use crate::parse::own_key;
use crate::routes::replay;

/// How often progress is written down, and a pause or a cancellation noticed.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Between two tries of what passes soon.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What has not passed by then takes no place from other jobs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lists that fail in a row although the database is there: the next one would, too.
const LISTS: u32 = 5;

/// Why no more is done on a job here.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    /// Paused, cancelled, or another's: there is nothing to give back.
    Lost,
    /// The daemon stops: whoever comes next goes on.
    GiveBack,
    /// It is held up, and taken again after a pause. Others have its place meanwhile.
    PutOff(String),
    /// It cannot go on until a person has seen to it.
    Fail(String),
}

pub struct Work {
    app: AppState,
    job: Job,
    holder: Uuid,
    stop: CancellationToken,
    at: JobProgress,
    said: Instant,
    next: Instant,
}

impl Work {
    pub fn new(app: AppState, job: Job, holder: Uuid, stop: CancellationToken) -> Self {
        let at = JobProgress {
            position: job.position,
            done: job.done,
            skipped: job.skipped,
            failed: job.failed,
            // Until it has moved.
            held_up: job.held_up.clone(),
            ..JobProgress::default()
        };
        let now = Instant::now();
        Self { app, job, holder, stop, at, said: now, next: now }
    }

    pub async fn run(mut self) {
        let (job, tenant, kind) = (self.job.id, self.job.tenant.clone(), self.job.kind.as_str());
        tracing::info!(job_id = %job, tenant_id = %tenant, kind, position = ?self.at.position, "a job goes on");
        let left = self.pages().await;
        let (done, skipped, failed) = (self.at.done, self.at.skipped, self.at.failed);
        tracing::info!(job_id = %job, tenant_id = %tenant, kind, done, skipped, failed, ?left, "a job is left");
        // What is not written down here is done again, and finds that it is done.
        let store = &self.app.store;
        let given_back = match left {
            Ok(()) | Err(Leave::Lost) => Ok(()),
            Err(Leave::GiveBack) => {
                let _noted = self.say().await;
                self.app.store.release_job(&self.job, self.holder).await
            }
            Err(Leave::PutOff(why)) => {
                self.at.held_up = Some(why);
                store.put_off_job(&self.job, self.holder, &self.at, self.app.limits.jobs.pause).await
            }
            Err(Leave::Fail(why)) => {
                self.at.error = Some(why);
                let noted = store.advance_job(&self.job, self.holder, &self.at, self.app.limits.jobs.lease);
                noted.await.map(drop)
            }
        };
        if let Err(error) = given_back {
            tracing::warn!(error = &error as &dyn std::error::Error, job_id = %job, "a job waits for the end of its lease");
        }
    }

    async fn pages(&mut self) -> Result<(), Leave> {
        let filter = self.job.filter().map_err(|error| {
            Leave::Fail(format!(
                "its filter does not read ({error}); begin another, or resume it when the publishers have the version that wrote it"
            ))
        })?;
        loop {
            // Also where page after page holds nothing that fits.
            self.rest_until(Instant::now()).await?;
            let page = self.list(&filter).await?;
            for row in page.rows {
                self.rest_until(self.next).await?;
                // Time that was lost is made up for, but not in one rush.
                let earliest = Instant::now().checked_sub(SAY_EVERY).unwrap_or(self.next);
                self.next = self.next.max(earliest) + pause_of(self.job.per_second);
                let outcome = self.one(row.id, &filter.states).await?;
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

    async fn list(&mut self, filter: &Filter) -> Result<Listing, Leave> {
        let patient_until = Instant::now() + PATIENCE;
        let mut failed = 0;
        loop {
            let listed =
                self.app.store.list(&self.job.tenant, filter, self.at.position, self.app.limits.jobs.page);
            let error = match listed.await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            tracing::warn!(error = &error as &dyn std::error::Error, job_id = %self.job.id, "a job's executions could not be listed; it is tried again");
            if error.is_out_of_reach() {
                if Instant::now() >= patient_until {
                    return Err(Leave::PutOff(out_of_reach(&error)));
                }
            } else {
                failed += 1;
                if failed == LISTS {
                    return Err(Leave::Fail(format!(
                        "its executions could not be listed, {LISTS} times in a row: {error}, and the publisher's log says \
                         why. Mend that and resume the job"
                    )));
                }
            }
            self.rest_until(Instant::now() + AGAIN_AFTER).await?;
        }
    }

    fn count(&mut self, outcome: Outcome) {
        let number = match outcome {
            Outcome::Done => &mut self.at.done,
            Outcome::Skipped => &mut self.at.skipped,
            Outcome::Failed => &mut self.at.failed,
        };
        *number += 1;
        self.at.held_up = None;
        metrics::counter!("bridge_job_executions_total", "kind" => self.job.kind.as_str(), "outcome" => outcome.as_str())
            .increment(1);
    }

    /// What passes soon is waited for here; for the rest the job is put off.
    async fn one(&mut self, id: ExecutionId, states: &[State]) -> Result<Outcome, Leave> {
        let patient_until = Instant::now() + PATIENCE;
        loop {
            if let Some(why) = may_not(&self.app.directory, &self.job.created_by) {
                return Err(Leave::PutOff(why));
            }
            let verdict = match self.job.kind {
                JobKind::Replay => self.replay(id).await,
                JobKind::Cancel => self.cancel(id, states).await,
            };
            let HeldUp { why, soon } = match verdict {
                Verdict::Over(outcome) => return Ok(outcome),
                Verdict::Later(held_up) => held_up,
            };
            if !soon || Instant::now() >= patient_until {
                return Err(Leave::PutOff(why));
            }
            self.rest_until(Instant::now() + AGAIN_AFTER).await?;
        }
    }

    async fn replay(&self, id: ExecutionId) -> Verdict {
        // The same execution is replayed once by this job, however often it is tried.
        let key = own_key(format_args!("job:{}:{id}", self.job.id));
        match self.app.store.is_settled(&self.job.tenant, id, &key).await {
            Ok(false) => {}
            Ok(true) => return Verdict::Over(Outcome::Skipped),
            Err(error) => return self.unread(id, &error),
        }
        // A trace of its own: thousands in one would be of no use to anybody.
        let span = job_span("replay", self.job.id);
        let by = replay::By::Job { key };
        match replay::one(&self.app, &self.job.tenant, id, by).instrument(span).await {
            Ok(_) => Verdict::Over(Outcome::Done),
            Err(refusal) => {
                let verdict = outcome::of(&refusal.problem);
                tracing::debug!(job_id = %self.job.id, execution_id = %id, ?verdict, "not replayed");
                verdict
            }
        }
    }

    /// Since it was listed it may have begun: what was asked for is asked again under its lock.
    async fn cancel(&self, id: ExecutionId, states: &[State]) -> Verdict {
        let (job, why) = (&self.job, format!("by job {}", self.job.id));
        match self.app.store.cancel_one(&job.created_by, &job.tenant, id, states, Some(&why)).await {
            Ok(Some(CancelOutcome::Cancelled { .. })) => Verdict::Over(Outcome::Done),
            Ok(Some(CancelOutcome::Ended(_) | CancelOutcome::Spared(_)) | None) => {
                Verdict::Over(Outcome::Skipped)
            }
            Err(error) => self.unread(id, &error),
        }
    }

    fn unread(&self, id: ExecutionId, error: &StoreError) -> Verdict {
        tracing::warn!(error = error as &dyn std::error::Error, job_id = %self.job.id, execution_id = %id, "a step of a job failed in the database");
        if error.is_out_of_reach() {
            Verdict::Later(HeldUp { why: out_of_reach(error), soon: true })
        } else {
            Verdict::Over(Outcome::Failed)
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
        let lease = self.app.limits.jobs.lease;
        match self.app.store.advance_job(&self.job, self.holder, &self.at, lease).await {
            Ok(true) => {
                self.said = Instant::now();
                Ok(true)
            }
            Ok(false) => Err(Leave::Lost),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, job_id = %self.job.id, "a job's progress could not be written down");
                if self.said.elapsed() < lease { Ok(false) } else { Err(Leave::Lost) }
            }
        }
    }
}

/// A job acts as whoever began it. Revoked, he does nothing more; who is another issuer's, that one knows.
fn may_not(directory: &Directory, created_by: &str) -> Option<String> {
    let ours = OUR_CLIENTS.iter().any(|prefix| created_by.starts_with(prefix)) && !created_by.contains('|');
    if !ours {
        return None;
    }
    if !directory.is_loaded() {
        return Some("the credentials were not read yet".to_owned());
    }
    let gone = !directory.snapshot().by_id.contains_key(created_by);
    gone.then(|| {
        format!("{created_by}, who began it, was revoked or has expired: cancel it, and begin another with a credential that is good")
    })
}

/// How the ids of API keys and service accounts begin.
const OUR_CLIENTS: [&str; 2] = ["npb_", "svc_"];

fn out_of_reach(error: &StoreError) -> String {
    format!("the database was out of reach for more than {} s: {error}", PATIENCE.as_secs())
}

fn pause_of(per_second: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(AGAIN_AFTER)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use bridge_service::Vault;
    use bridge_service::directory::{Credential, CredentialKind, Snapshot};
    use std::sync::Arc;

    #[test]
    fn whoever_was_revoked_goes_on_with_nothing() {
        let credential = Credential {
            id: "npb_0a1b2c3d4e5f".to_owned(),
            kind: CredentialKind::ApiKey,
            name: "operator".to_owned(),
            tenants: Vec::new(),
            scopes: bridge_protocol::Scope::Admin.into(),
            digest: [7; 32],
            old: None,
            expires_at: None,
        };
        let by_id = [(credential.id.clone(), Arc::new(credential))].into();
        let vault = Vault::from_text(&format!("test:{}=", "A".repeat(43))).unwrap();
        let directory = Directory::still(vault, Snapshot { revision: 1, by_id, ..Snapshot::default() });
        for goes_on in ["npb_0a1b2c3d4e5f", "https://login.example|npb_x", "insecure-dev"] {
            assert_eq!(may_not(&directory, goes_on), None);
        }
        assert!(may_not(&directory, "npb_revoked").unwrap().contains("npb_revoked"));
        assert!(may_not(&directory, "svc_revoked").is_some());
    }

    #[test]
    fn the_pace_is_the_jobs() {
        assert_eq!(pause_of(50.0), Duration::from_millis(20));
        assert_eq!(pause_of(0.01), Duration::from_secs(100));
        assert_eq!(pause_of(0.0), AGAIN_AFTER);
    }
}
