//! Beginning a job, and pausing, resuming or stopping one: each is on the record.

use bridge_protocol::TenantId;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Job, JobState, NewJob, read};
use crate::admin::{Actor, AdminError, Note};
use crate::tenants::lock_kept;
use crate::{Store, audit, rows, tx};

impl Store {
    /// Refused when `most_open` jobs of the tenant have not ended.
    pub async fn create_job(&self, actor: &Actor, new: &NewJob, most_open: u32) -> Result<Job, AdminError> {
        tx::transaction(&self.pool, "job.create", self.transaction_limit(), |connection, _| {
            Box::pin(create(connection, actor, new, most_open))
        })
        .await?
    }

    /// Pauses, resumes (Running; a failed one, too) or cancels; the state that it has already changes nothing. None: there is no such job.
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
}

async fn create(
    connection: &mut PgConnection,
    actor: &Actor,
    new: &NewJob,
    most_open: u32,
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
    if open >= i64::from(most_open) {
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
        (JobState::Paused | JobState::Failed, JobState::Running) => "job.resume",
        (JobState::Running | JobState::Paused, JobState::Cancelled) => "job.cancel",
        (now, _) => {
            let why = format!(
                "job {id} is {}; a running job can be paused or cancelled, a paused one resumed or cancelled, a failed one resumed",
                now.as_str()
            );
            return Ok(Err(AdminError::NotNow { why, state: now.as_str(), allowed: now.allowed() }));
        }
    };
    // Without its holder: who works on it finds that out with the next step. What held it up, or failed it, is over
    // when a person says so.
    sqlx::query!(
        "UPDATE jobs SET state = $3, changed_at = now(), holder = NULL, leased_until = NULL, error = CASE WHEN $3 = 0::int2 THEN NULL ELSE error END WHERE tenant_id = $1 AND id = $2",
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
