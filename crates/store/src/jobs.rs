//! Jobs: the replay or the cancellation of many executions, worked on page by page by whoever holds the lease.

mod change;
mod work;

use bridge_protocol::{ExecutionId, TenantId, Time};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Filter, Store, StoreError, rows};

pub use work::JobProgress;

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
    /// As it is stored: a later version may have written what this one does not know.
    pub stored_filter: Value,
    pub state: JobState,
    pub per_second: f64,
    /// The last execution that was looked at, from the newest down.
    pub position: Option<ExecutionId>,
    pub total: u64,
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
    /// Why it does not go on right now; it is tried again by itself.
    pub held_up: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    pub created_by: String,
    pub created_at: Time,
    pub changed_at: Time,
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

    /// What a person may do with it, by the names of the API's routes.
    pub fn allowed(self) -> &'static [&'static str] {
        match self {
            Self::Running => &["pause", "cancel"],
            Self::Paused => &["resume", "cancel"],
            Self::Failed => &["resume"],
            Self::Done | Self::Cancelled => &[],
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

impl Job {
    /// # Errors
    /// When this version cannot read it. It must not be taken for a filter that admits all.
    pub fn filter(&self) -> Result<Filter, serde_json::Error> {
        Filter::deserialize(&self.stored_filter)
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
        let state = state.ok_or_else(|| rows::bad("state of a job", self.state))?;
        // One column: what is said there of a job that lives is why it waits.
        let (held_up, error) = match state {
            JobState::Running | JobState::Paused => (self.error, None),
            JobState::Failed => (None, self.error),
            JobState::Done | JobState::Cancelled => (None, None),
        };
        Ok(Job {
            id: self.id,
            tenant: rows::tenant(&self.tenant_id)?,
            kind: kind.ok_or_else(|| rows::bad("kind of job", &self.kind))?,
            stored_filter: self.filter,
            state,
            per_second: self.per_second,
            position: self.position.map(rows::execution_id).transpose()?,
            total: rows::unsigned(self.total),
            done: rows::unsigned(self.done),
            skipped: rows::unsigned(self.skipped),
            failed: rows::unsigned(self.failed),
            held_up,
            error,
            created_by: self.created_by,
            created_at: self.created_at,
            changed_at: self.changed_at,
        })
    }
}

impl Store {
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
