//! Jobs: the replay or the cancellation of many executions, worked on page by page by whoever holds the lease.

use std::time::Duration;

use bridge_protocol::{ExecutionId, TenantId, Time};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Note};
use crate::tenants::lock_kept;
use crate::{Filter, Store, StoreError, audit, rows, tx};

/// Jobs of one tenant that have not ended.
const MOST_OPEN: i64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    Replay,
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Running,
    Paused,
    Done,
    Cancelled,
    Failed,
}

#[derive(Clone, Debug)]
pub struct NewJob {
    /// Version 7: jobs are listed by it. The same id again is the same job.
    pub id: Uuid,
    pub tenant: TenantId,
    pub kind: JobKind,
    pub filter: Filter,
    pub per_second: f64,
    /// As many as were counted.
    pub total: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: Uuid,
    pub tenant: TenantId,
    pub kind: JobKind,
    pub filter: Filter,
    pub state: JobState,
    pub per_second: f64,
    /// The last execution that was looked at, from the newest down.
    pub position: Option<ExecutionId>,
    pub total: u64,
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
    pub error: Option<String>,
    pub created_by: String,
    pub created_at: Time,
    pub changed_at: Time,
}

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
    /// It cannot go on: the job ends as failed.
    pub error: Option<String>,
}

impl JobKind {
    pub const ALL: [Self; 2] = [Self::Replay, Self::Cancel];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Cancel => "cancel",
        }
    }
}

impl JobState {
    pub const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::Done, Self::Cancelled, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    pub fn code(self) -> i16 {
        match self {
            Self::Running => 0,
            Self::Paused => 1,
            Self::Done => 2,
            Self::Cancelled => 3,
            Self::Failed => 4,
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

struct Row {
    id: Uuid,
    tenant_id: String,
    kind: String,
    filter: Value,
    state: i16,
    per_second: f64,
    position: Option<Uuid>,
    total: i64,
    done: i64,
    skipped: i64,
    failed: i64,
    error: Option<String>,
    created_by: String,
    created_at: Time,
    changed_at: Time,
}

impl Row {
    fn record(self) -> Result<Job, sqlx::Error> {
        let kind = JobKind::ALL.into_iter().find(|kind| kind.as_str() == self.kind);
        let state = JobState::ALL.into_iter().find(|state| state.code() == self.state);
        let filter = serde_json::from_value(self.filter).map_err(|error| {
            rows::bad("filter", format!("what does not read ({error}), in job {}", self.id))
        })?;
        Ok(Job {
            id: self.id,
            tenant: rows::tenant(&self.tenant_id)?,
            kind: kind.ok_or_else(|| rows::bad("kind of job", &self.kind))?,
            filter,
            state: state.ok_or_else(|| rows::bad("state of a job", self.state))?,
            per_second: self.per_second,
            position: self.position.map(rows::execution_id).transpose()?,
            total: rows::unsigned(self.total),
            done: rows::unsigned(self.done),
            skipped: rows::unsigned(self.skipped),
            failed: rows::unsigned(self.failed),
            error: self.error,
            created_by: self.created_by,
            created_at: self.created_at,
            changed_at: self.changed_at,
        })
    }
}

impl Store {
    /// On the record, as are the changes of its state.
    pub async fn create_job(&self, actor: &Actor, new: &NewJob) -> Result<Job, AdminError> {
        tx::transaction(&self.pool, "job.create", self.transaction_limit(), |connection, _| {
            Box::pin(create(connection, actor, new))
        })
        .await?
    }

    pub async fn job(&self, tenant: &TenantId, id: Uuid) -> Result<Option<Job>, StoreError> {
        let named = |source| StoreError::Statement { name: "job", source };
        let mut connection = self.pool.acquire().await.map_err(named)?;
        read(&mut connection, tenant, id).await.map_err(named)
    }

    /// Newest first.
    pub async fn jobs(
        &self,
        tenant: &TenantId,
        before: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<Job>, StoreError> {
        let named = |source| StoreError::Statement { name: "jobs", source };
        let found = sqlx::query_as!(
            Row,
            "SELECT id, tenant_id, kind, filter, state, per_second, position, total, done, skipped, failed, error, created_by, created_at, changed_at
             FROM jobs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
            tenant.as_str(),
            before.unwrap_or(Uuid::max()),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found.into_iter().map(Row::record).collect::<Result<_, _>>().map_err(named)
    }

    /// Pauses, resumes (Running) or cancels; the state that it has already changes nothing. None: there is no such job.
    pub async fn set_job_state(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: Uuid,
        state: JobState,
    ) -> Result<Option<Job>, AdminError> {
        tx::transaction(&self.pool, "job.set_state", self.transaction_limit(), |connection, _| {
            Box::pin(set_state(connection, actor, tenant, id, state))
        })
        .await?
    }

    /// The oldest running job that nobody works on; it is the holder's until the lease ends.
    /// Of each tenant one at a time: whoever begins many waits for himself.
    pub async fn take_job(&self, holder: Uuid, lease: Duration) -> Result<Option<Job>, StoreError> {
        let named = |source| StoreError::Statement { name: "job.take", source };
        let found = sqlx::query_as!(
            Row,
            "UPDATE jobs SET holder = $1, leased_until = now() + make_interval(secs => $2)
             WHERE id = (SELECT j.id FROM jobs j WHERE j.state = 0 AND (j.leased_until IS NULL OR j.leased_until < now())
               AND NOT EXISTS (SELECT FROM jobs o WHERE o.tenant_id = j.tenant_id AND o.id <> j.id AND o.state = 0 AND o.leased_until > now())
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
            progress.error,
            state.code(),
            rows::seconds(lease)
        )
        .execute(&self.pool)
        .await
        .map(|updated| updated.rows_affected() == 1)
        .map_err(|source| StoreError::Statement { name: "job.advance", source })
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

async fn read(
    connection: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
) -> Result<Option<Job>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT id, tenant_id, kind, filter, state, per_second, position, total, done, skipped, failed, error, created_by, created_at, changed_at
         FROM jobs WHERE tenant_id = $1 AND id = $2",
        tenant.as_str(),
        id
    )
    .fetch_optional(connection)
    .await?
    .map(Row::record)
    .transpose()
}

async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    new: &NewJob,
) -> Result<Result<Job, AdminError>, sqlx::Error> {
    if let Err(refused) = lock_kept(connection, &new.tenant).await? {
        return Ok(Err(refused));
    }
    let open = sqlx::query_scalar!(
        r#"SELECT count(*) AS "open!" FROM jobs WHERE tenant_id = $1 AND state < 2 AND id <> $2"#,
        new.tenant.as_str(),
        new.id
    )
    .fetch_one(&mut *connection)
    .await?;
    if open >= MOST_OPEN {
        return Ok(Err(AdminError::Conflict(format!(
            "tenant {} has {open} jobs that have not ended; wait for them, or cancel some",
            new.tenant
        ))));
    }
    let filter = serde_json::to_value(&new.filter).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let created = sqlx::query!(
        "INSERT INTO jobs (id, tenant_id, kind, filter, per_second, total, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
        new.id,
        new.tenant.as_str(),
        new.kind.as_str(),
        filter,
        new.per_second,
        rows::signed(new.total),
        actor.who
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    // None was created when the answer to its own COMMIT was lost.
    if created == 1 {
        let target = new.id.to_string();
        let note = Note {
            action: "job.create",
            tenant: Some(&new.tenant),
            target: &target,
            before: None,
            after: Some(
                json!({ "kind": new.kind.as_str(), "filter": filter, "total": new.total, "per_second": new.per_second }),
            ),
        };
        audit::write(&mut *connection, actor, &[note]).await?;
    }
    let job = read(connection, &new.tenant, new.id).await?;
    Ok(job.ok_or_else(|| AdminError::Conflict(format!("the id {} is another job's; make a new one", new.id))))
}

async fn set_state(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    id: Uuid,
    state: JobState,
) -> Result<Result<Option<Job>, AdminError>, sqlx::Error> {
    sqlx::query!("SELECT FROM jobs WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant.as_str(), id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(before) = read(connection, tenant, id).await? else { return Ok(Ok(None)) };
    if before.state == state {
        return Ok(Ok(Some(before)));
    }
    let action = match (before.state, state) {
        (JobState::Running, JobState::Paused) => "job.pause",
        (JobState::Paused, JobState::Running) => "job.resume",
        (JobState::Running | JobState::Paused, JobState::Cancelled) => "job.cancel",
        (now, _) => {
            return Ok(Err(AdminError::Conflict(format!(
                "job {id} is {}; a running job can be paused or cancelled, a paused one resumed or cancelled",
                now.as_str()
            ))));
        }
    };
    // Without its holder: who works on it finds that out with the next step.
    sqlx::query!(
        "UPDATE jobs SET state = $3, changed_at = now(), holder = NULL, leased_until = NULL WHERE tenant_id = $1 AND id = $2",
        tenant.as_str(),
        id,
        state.code()
    )
    .execute(&mut *connection)
    .await?;
    let target = id.to_string();
    let note = Note {
        action,
        tenant: Some(tenant),
        target: &target,
        before: Some(json!({ "state": before.state.as_str() })),
        after: Some(json!({ "state": state.as_str() })),
    };
    audit::write(&mut *connection, actor, &[note]).await?;
    read(connection, tenant, id).await.map(Ok)
}
