//! A workflow reports its result. One short transaction: who has the attempt's token gets the execution's lock, and the
//! end is written under it, in the order that finish locks: execution, then timer.

use bridge_protocol::{Completion, Evidence, ExecutionId, Reason, State, TenantId};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::day::Day;
use crate::error::{Fault, fault};
use crate::follow_ups::follow_ups;
use crate::{Ended, ResultBody, Store, StoreError, rows, tx};

#[derive(Clone, Debug)]
pub struct Report {
    pub tenant: TenantId,
    pub id: ExecutionId,
    /// The attempt that the token was made for.
    pub attempt: u16,
    pub token_digest: [u8; 32],
    /// SHA-256 of what was sent: its repeat is known by it.
    pub report_digest: [u8; 32],
    pub success: bool,
    pub result: Option<ResultBody>,
    /// Short; never a payload.
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The report ended the execution.
    Done(State),
    /// The very same report ended it before.
    Repeated(State),
    /// No such execution, or not the token of that attempt.
    BadToken,
    /// A failure of an attempt that is over; `current` is the one that counts.
    NotCurrent { current: u16, state: State },
    /// It ended otherwise.
    Conflict(State),
    /// The webhook's answer completes it.
    NotExpected,
}

/// Whether the token is the attempt's: the current one's stands in the execution, an earlier one's beside its attempt.
/// Both move in one statement, so one snapshot always shows it. Nothing is locked for who has no token.
pub(crate) fn token_sql(day: Day) -> String {
    format!(
        "SELECT e.completion, COALESCE(CASE WHEN e.attempt = $3 THEN e.callback_digest ELSE
              (SELECT a.callback_digest FROM attempts_{day} a WHERE a.tenant_id = $1 AND a.id = $2 AND a.attempt = $3) END = $4, false) AS ours
          FROM executions_{day} e WHERE e.tenant_id = $1 AND e.id = $2",
        day = day.suffix()
    )
}

pub(crate) fn lock_sql(day: Day) -> String {
    format!(
        "SELECT state, attempt, lane, extract(epoch FROM now() - accepted_at)::float8 AS age FROM executions_{day} WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
        day = day.suffix()
    )
}

pub(crate) fn repeat_sql(day: Day) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM executions_{day} WHERE tenant_id = $1 AND id = $2 AND report_attempt = $3 AND report_digest = $4)",
        day = day.suffix()
    )
}

/// A statement of its own behind the lock: it sees the timer that was re-armed while the lock was waited for. What was
/// reported stands with the execution, for its repeat must be known also when the result is kept no longer.
pub(crate) fn end_sql(day: Day) -> String {
    format!(
        "WITH u AS (UPDATE executions_{day} SET state = $3, evidence = $4, reason = $5, error = $6, n8n_execution_id = COALESCE($7, n8n_execution_id),
              lease_until = NULL, finished_at = now(), report_attempt = $8, report_digest = $13
            WHERE tenant_id = $1 AND id = $2 RETURNING tenant_id, id, due_at, state, on_failure, caused_by),
          d AS (DELETE FROM timers t USING u WHERE t.due_at = u.due_at AND t.tenant_id = u.tenant_id AND t.execution_id = u.id),
          s AS (INSERT INTO results_{day} (tenant_id, id, attempt, content_type, body, truncated, data_key)
            SELECT tenant_id, id, $8, $9, $10, $11, $12 FROM u WHERE $10::bytea IS NOT NULL ON CONFLICT DO NOTHING),
          {follow_ups}
        SELECT count(*) FROM u",
        day = day.suffix(),
        follow_ups = follow_ups("u")
    )
}

impl Store {
    /// Whether the token is one of the execution's, so that nothing more is done for strangers.
    pub async fn holds_token(
        &self,
        tenant: &TenantId,
        id: ExecutionId,
        attempt: u16,
        digest: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let named = |source| StoreError::Statement { name: "report.token", source };
        let Some(day) = Day::named(id) else { return Ok(false) };
        let found = sqlx::query(AssertSqlSafe(token_sql(day)))
            .bind(tenant.as_str())
            .bind(id.uuid())
            .bind(attempt as i16)
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await;
        match found {
            Ok(Some(row)) => row.try_get("ours").map_err(named),
            Ok(None) => Ok(false),
            // Its day's partition is not there (any more).
            Err(source) if fault(&source) == Fault::Gone => Ok(false),
            Err(source) => Err(named(source)),
        }
    }

    /// A success of any attempt ends an execution that is running, waiting or retrying; a failure only one whose current
    /// attempt it is.
    pub async fn report(&self, report: Report) -> Result<Reported, StoreError> {
        let Some(day) = Day::named(report.id) else { return Ok(Reported::BadToken) };
        let report = &report;
        let outcome = tx::transaction(&self.pool, "report", self.transaction_limit(), |connection, _| {
            Box::pin(take(connection, day, report))
        })
        .await;
        match outcome {
            // Its day's partition is not there (any more).
            Err(StoreError::Statement { source, .. }) if fault(&source) == Fault::Gone => {
                Ok(Reported::BadToken)
            }
            Ok((reported, ended)) => {
                ended.iter().for_each(Ended::count);
                Ok(reported)
            }
            Err(error) => Err(error),
        }
    }
}

async fn take(
    connection: &mut PgConnection,
    day: Day,
    report: &Report,
) -> Result<(Reported, Option<Ended>), sqlx::Error> {
    let (tenant, id, attempt) = (report.tenant.as_str(), report.id.uuid(), report.attempt as i16);
    let Some(row) = sqlx::query(AssertSqlSafe(token_sql(day)))
        .bind(tenant)
        .bind(id)
        .bind(attempt)
        .bind(report.token_digest.as_slice())
        .fetch_optional(&mut *connection)
        .await?
    else {
        return Ok((Reported::BadToken, None));
    };
    if rows::completion(row.try_get("completion")?)? == Completion::Response {
        return Ok((Reported::NotExpected, None));
    }
    if !row.try_get::<bool, _>("ours")? {
        return Ok((Reported::BadToken, None));
    }
    let Some(row) = sqlx::query(AssertSqlSafe(lock_sql(day)))
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?
    else {
        return Ok((Reported::BadToken, None));
    };
    let state = rows::state(row.try_get("state")?)?;
    let current = row.try_get::<i16, _>("attempt")? as u16;
    if state.is_terminal() {
        let repeated = sqlx::query_scalar(AssertSqlSafe(repeat_sql(day)))
            .bind(tenant)
            .bind(id)
            .bind(attempt)
            .bind(report.report_digest.as_slice())
            .fetch_one(connection)
            .await?;
        let reported = if repeated { Reported::Repeated(state) } else { Reported::Conflict(state) };
        return Ok((reported, None));
    }
    // An attempt whose failure is known already is over, though its number still stands.
    let over = state == State::Retrying || report.attempt != current;
    if !report.success && over {
        let current = if state == State::Retrying { current.saturating_add(1) } else { current };
        return Ok((Reported::NotCurrent { current, state }, None));
    }
    let next = if report.success { State::Succeeded } else { State::Failed };
    end(connection, day, tenant, id, next, report).await?;
    let ended = Ended {
        lane: rows::lane(row.try_get("lane")?)?,
        state: next,
        reason: (!report.success).then_some(Reason::ReportedFailure),
        evidence: report.success.then_some(Evidence::Callback),
        took: rows::elapsed(row.try_get("age")?),
    };
    Ok((Reported::Done(next), Some(ended)))
}

async fn end(
    connection: &mut PgConnection,
    day: Day,
    tenant: &str,
    id: Uuid,
    next: State,
    report: &Report,
) -> Result<(), sqlx::Error> {
    let result = report.result.as_ref();
    sqlx::query(AssertSqlSafe(end_sql(day)))
        .bind(tenant)
        .bind(id)
        .bind(next.code())
        .bind(report.success.then_some(Evidence::Callback.code()))
        .bind((!report.success).then_some(Reason::ReportedFailure.as_str()))
        .bind(report.error.as_deref())
        .bind(report.n8n_execution_id.as_deref())
        .bind(report.attempt as i16)
        .bind(result.and_then(|result| result.content_type.as_deref()))
        .bind(result.map(|result| result.body.as_ref()))
        .bind(result.is_some_and(|result| result.truncated))
        .bind(result.and_then(|result| result.data_key))
        .bind(report.report_digest.as_slice())
        .execute(connection)
        .await
        .map(drop)
}
