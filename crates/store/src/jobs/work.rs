//! Working on a job: its lease, and how far it has come.

use std::time::Duration;

use bridge_protocol::ExecutionId;
use uuid::Uuid;

use super::{Job, JobState, Row};
use crate::{Store, StoreError, rows};

/// Where a job has come to: sums since it began, not since the last step, so that a step whose answer was lost may be
/// made again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobProgress {
    pub position: Option<ExecutionId>,
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
    /// Nothing is left to do.
    pub finished: bool,
    /// Why it does not go on right now.
    pub held_up: Option<String>,
    /// It cannot go on: the job ends as failed.
    pub error: Option<String>,
}

impl JobProgress {
    fn said(&self) -> Option<&str> {
        self.error.as_deref().or(self.held_up.as_deref().filter(|_| !self.finished))
    }
}

impl Store {
    /// The oldest running job that nobody works on; it is the holder's until the lease ends.
    /// Of each tenant one at a time: whoever begins many waits for himself, but not for one that is put off.
    pub async fn take_job(&self, holder: Uuid, lease: Duration) -> Result<Option<Job>, StoreError> {
        let named = |source| StoreError::Statement { name: "job.take", source };
        let found = sqlx::query_as!(
            Row,
            "UPDATE jobs SET holder = $1, leased_until = now() + make_interval(secs => $2)
             WHERE id = (SELECT j.id FROM jobs j WHERE j.state = 0 AND (j.leased_until IS NULL OR j.leased_until < now())
               AND NOT EXISTS (SELECT FROM jobs o WHERE o.tenant_id = j.tenant_id AND o.id <> j.id AND o.state = 0 AND o.holder IS NOT NULL AND o.leased_until > now())
               ORDER BY j.id LIMIT 1 FOR UPDATE OF j SKIP LOCKED)
             RETURNING id, tenant_id, kind, filter, state, per_second, position, total, done, skipped, failed, error, created_by, created_at, changed_at",
            holder,
            rows::seconds(lease)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(named)?;
        found.map(Row::record).transpose().map_err(named)
    }

    /// Notes the progress and renews the lease. False: it is this holder's no more (paused, cancelled, taken over, or
    /// removed), and nothing was noted. May be called again after a lost answer.
    pub async fn advance_job(
        &self,
        job: &Job,
        holder: Uuid,
        progress: &JobProgress,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let state = match (&progress.error, progress.finished) {
            (Some(_), _) => JobState::Failed,
            (None, true) => JobState::Done,
            (None, false) => JobState::Running,
        };
        // It keeps its holder when it is over, so that its last step knows itself again.
        sqlx::query!(
            "UPDATE jobs SET position = $4, done = $5, skipped = $6, failed = $7, error = $8, state = $9, changed_at = now(),
               leased_until = CASE WHEN $9 = 0::int2 THEN now() + make_interval(secs => $10) END
             WHERE tenant_id = $1 AND id = $2 AND holder = $3 AND (state = 0 OR state = $9)",
            job.tenant.as_str(),
            job.id,
            holder,
            progress.position.map(ExecutionId::uuid),
            rows::signed(progress.done),
            rows::signed(progress.skipped),
            rows::signed(progress.failed),
            progress.said(),
            state.code(),
            rows::seconds(lease)
        )
        .execute(&self.pool)
        .await
        .map(|updated| updated.rows_affected() == 1)
        .map_err(|source| StoreError::Statement { name: "job.advance", source })
    }

    /// Notes the progress and gives the lease back: nobody takes it before `pause` is over. It may be the holder's no
    /// more; then nothing changes.
    pub async fn put_off_job(
        &self,
        job: &Job,
        holder: Uuid,
        progress: &JobProgress,
        pause: Duration,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE jobs SET position = $4, done = $5, skipped = $6, failed = $7, error = $8, changed_at = now(),
               holder = NULL, leased_until = now() + make_interval(secs => $9)
             WHERE tenant_id = $1 AND id = $2 AND holder = $3 AND state = 0",
            job.tenant.as_str(),
            job.id,
            holder,
            progress.position.map(ExecutionId::uuid),
            rows::signed(progress.done),
            rows::signed(progress.skipped),
            rows::signed(progress.failed),
            progress.said(),
            rows::seconds(pause)
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "job.put_off", source })
    }

    /// Gives the lease back, so that another daemon goes on at once.
    pub async fn release_job(&self, job: &Job, holder: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE jobs SET holder = NULL, leased_until = NULL WHERE tenant_id = $1 AND id = $2 AND holder = $3 AND state = 0",
            job.tenant.as_str(),
            job.id,
            holder
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "job.release", source })
    }
}
