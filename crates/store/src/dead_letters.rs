//! Dead letters: their list, and putting one away with a note.

use bridge_protocol::{ExecutionId, Lane, Reason, TenantId, Time, WorkflowId};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::admin::Note;
use crate::page::{Found, Page, WINDOW, page};
use crate::{Actor, Store, StoreError, audit, rows, tx};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadLetterFilter {
    pub lane: Option<Lane>,
    pub workflow: Option<WorkflowId>,
    pub reason: Option<Reason>,
    pub include_discarded: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub id: ExecutionId,
    pub lane: Lane,
    pub workflow: WorkflowId,
    pub reason: String,
    pub attempt: u16,
    pub at: Time,
    /// Of its last attempt, while the execution is kept.
    pub http_status: Option<u16>,
    pub error: Option<String>,
    pub replayed_as: Option<Uuid>,
    pub discarded: Option<Discarded>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Discarded {
    pub at: Time,
    pub by: String,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetters {
    pub rows: Vec<DeadLetter>,
    /// The search ended before the page was full; it goes on from `next`.
    pub partial: bool,
    pub next: Option<ExecutionId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    execution_id: Uuid,
    lane: i16,
    workflow_id: String,
    reason: String,
    attempt: i16,
    at: Time,
    replayed_as: Option<Uuid>,
    discarded_at: Option<Time>,
    discarded_by: Option<String>,
    note: Option<String>,
    number: i64,
    matches: bool,
}

impl Found for Row {
    fn id(&self) -> Uuid {
        self.execution_id
    }

    fn number(&self) -> i64 {
        self.number
    }

    fn matches(&self) -> bool {
        self.matches
    }
}

impl Row {
    fn record(self) -> Result<DeadLetter, sqlx::Error> {
        Ok(DeadLetter {
            id: rows::execution_id(self.execution_id)?,
            lane: rows::lane(self.lane)?,
            workflow: rows::workflow(&self.workflow_id)?,
            reason: self.reason,
            attempt: self.attempt as u16,
            at: self.at,
            http_status: None,
            error: None,
            replayed_as: self.replayed_as,
            discarded: self.discarded_at.map(|at| Discarded {
                at,
                by: self.discarded_by.unwrap_or_default(),
                note: self.note.unwrap_or_default(),
            }),
        })
    }
}

pub(crate) fn scan_sql() -> String {
    format!(
        "SELECT execution_id, lane, workflow_id, reason, attempt, at, replayed_as, discarded_at, discarded_by, note, number, matches
           FROM (SELECT d.*, row_number() OVER (ORDER BY d.execution_id DESC) AS number,
               ($4::int2 IS NULL OR d.lane = $4) AND ($5::text IS NULL OR d.workflow_id = $5) AND ($6::text IS NULL OR d.reason = $6)
                 AND ($7 OR d.discarded_at IS NULL) AS matches
             FROM (SELECT * FROM dead_letters WHERE tenant_id = $1 AND execution_id < $2 AND execution_id >= $3 ORDER BY execution_id DESC LIMIT {WINDOW}) d) w
         WHERE w.matches OR w.number = {WINDOW} ORDER BY w.execution_id DESC LIMIT $8"
    )
}

impl Store {
    /// The newest execution first.
    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadLetterFilter,
        before: Option<ExecutionId>,
        limit: u16,
    ) -> Result<DeadLetters, StoreError> {
        let range = (before.map_or(Uuid::max(), ExecutionId::uuid), Uuid::nil());
        let mut found = self.scan_dead_letters(tenant, filter, range, limit).await?;
        self.add_answers(tenant, &mut found.rows).await?;
        Ok(DeadLetters { rows: found.rows, partial: found.partial, next: found.next })
    }

    pub async fn dead_letter(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let named = |source| StoreError::Statement { name: "dead_letter", source };
        let found = sqlx::query_as!(
            Row,
            r#"SELECT execution_id, lane, workflow_id, reason, attempt, at, replayed_as, discarded_at, discarded_by, note, 0::int8 AS "number!", true AS "matches!"
               FROM dead_letters WHERE tenant_id = $1 AND execution_id = $2"#,
            tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(named)?;
        let Some(row) = found else { return Ok(None) };
        let mut found = [row.record().map_err(named)?];
        self.add_answers(tenant, &mut found).await?;
        let [dead] = found;
        Ok(Some(dead))
    }

    /// Puts it away, on the record. Some(false): it was already, and keeps its first note. None: there is no such dead
    /// letter.
    pub async fn discard(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: ExecutionId,
        note: &str,
    ) -> Result<Option<bool>, StoreError> {
        tx::transaction(&self.pool, "dead_letter.discard", self.transaction_limit(), |connection, _| {
            Box::pin(discard(connection, actor, tenant, id, note))
        })
        .await
    }

    /// Those whose execution is below the first id and not below the second; what the execution says is not among it.
    pub(crate) async fn scan_dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadLetterFilter,
        (before, from): (Uuid, Uuid),
        limit: u16,
    ) -> Result<Page<DeadLetter>, StoreError> {
        let named = |source| StoreError::Statement { name: "dead_letters", source };
        let found: Vec<Row> = sqlx::query_as(AssertSqlSafe(scan_sql()))
            .bind(tenant.as_str())
            .bind(before)
            .bind(from)
            .bind(filter.lane.map(Lane::code))
            .bind(filter.workflow.as_ref().map(WorkflowId::as_str))
            .bind(filter.reason.map(Reason::as_str))
            .bind(filter.include_discarded)
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.list_pool)
            .await
            .map_err(named)?;
        let found = page(found, limit).map_err(named)?;
        let rows = found.rows.into_iter().map(Row::record).collect::<Result<_, _>>().map_err(named)?;
        Ok(Page { rows, partial: found.partial, next: found.next })
    }

    pub(crate) async fn count_dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadLetterFilter,
        (before, from): (Uuid, Uuid),
        at_most: u64,
    ) -> Result<(u64, bool), StoreError> {
        let at_most = rows::signed(at_most).min(i64::MAX - 1);
        let found = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT FROM dead_letters WHERE tenant_id = $1 AND execution_id < $2 AND execution_id >= $3
                 AND ($5::int2 IS NULL OR lane = $5) AND ($6::text IS NULL OR workflow_id = $6) AND ($7::text IS NULL OR reason = $7)
                 AND ($8 OR discarded_at IS NULL) LIMIT $4) d"#,
            tenant.as_str(),
            before,
            from,
            at_most + 1,
            filter.lane.map(Lane::code),
            filter.workflow.as_ref().map(WorkflowId::as_str),
            filter.reason.map(Reason::as_str),
            filter.include_discarded
        )
        .fetch_one(&self.list_pool)
        .await
        .map_err(|source| StoreError::Statement { name: "dead_letters.count", source })?;
        Ok((rows::unsigned(found.min(at_most)), found > at_most))
    }

    /// What the webhook answered last stands in the execution.
    async fn add_answers(&self, tenant: &TenantId, dead: &mut [DeadLetter]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = dead.iter().map(|dead| dead.id.uuid()).collect();
        let found = sqlx::query!(
            "SELECT id, http_status, error FROM executions WHERE tenant_id = $1 AND id = ANY ($2)",
            tenant.as_str(),
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "dead_letters.answers", source })?;
        for row in found {
            if let Some(dead) = dead.iter_mut().find(|dead| dead.id.uuid() == row.id) {
                dead.http_status = row.http_status.map(|status| status as u16);
                dead.error = row.error;
            }
        }
        Ok(())
    }
}

async fn discard(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    id: ExecutionId,
    note: &str,
) -> Result<Option<bool>, sqlx::Error> {
    let discarded = sqlx::query!(
        "UPDATE dead_letters SET discarded_at = now(), discarded_by = $3, note = $4
         WHERE tenant_id = $1 AND execution_id = $2 AND discarded_at IS NULL",
        tenant.as_str(),
        id.uuid(),
        actor.who,
        note
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if discarded == 0 {
        let there = sqlx::query_scalar!(
            r#"SELECT true AS "there!" FROM dead_letters WHERE tenant_id = $1 AND execution_id = $2"#,
            tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(connection)
        .await?;
        return Ok(there.map(|_| false));
    }
    let target = id.to_string();
    let note = Note {
        action: "dead_letter.discard",
        tenant: Some(tenant),
        target: &target,
        before: None,
        after: Some(json!({ "note": note })),
    };
    audit::write(connection, actor, &[note]).await?;
    Ok(Some(true))
}
