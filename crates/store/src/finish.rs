//! Finish: the end of an execution. State, timer, result, dead letter, notice and follow-up move in one statement.

use std::collections::HashMap;

use bridge_protocol::{Evidence, ExecutionId, Reason, State, TenantId};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::batch::Statement;
use crate::day::Day;
use crate::error::WriteError;
use crate::follow_ups::follow_ups;
use crate::rows;

/// How an execution ends. (An attempt that will be followed by another is rescheduled instead.)
#[derive(Clone, Debug)]
pub enum Ending {
    Succeeded {
        evidence: Evidence,
        result: Option<ResultBody>,
    },
    /// The result is the workflow's own account of its failure, where it gave one.
    Failed {
        reason: Reason,
        result: Option<ResultBody>,
    },
    DeadLettered(Reason),
}

#[derive(Clone, Debug)]
pub struct ResultBody {
    pub content_type: Option<String>,
    /// As it is stored: plain, or sealed by `data_key`.
    pub body: Bytes,
    pub data_key: Option<Uuid>,
    pub truncated: bool,
}

#[derive(Clone, Debug)]
pub struct Finish {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub attempt: u16,
    pub claim_id: Uuid,
    pub ending: Ending,
    pub http_status: Option<u16>,
    /// Short; never a payload.
    pub error: Option<String>,
    pub n8n_execution_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    Done,
    /// Another claim or the timer took the execution over; this is the state it is in. None: it is gone.
    LostFence(Option<State>),
}

impl Ending {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Succeeded { .. } => State::Succeeded,
            Self::Failed { .. } => State::Failed,
            Self::DeadLettered(_) => State::DeadLettered,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Failed { reason, .. } | Self::DeadLettered(reason) => Some(reason.as_str()),
        }
    }

    fn evidence(&self) -> Option<i16> {
        match self {
            Self::Succeeded { evidence, .. } => Some(evidence.code()),
            _ => None,
        }
    }

    fn result(&self) -> Option<&ResultBody> {
        match self {
            Self::Succeeded { result, .. } | Self::Failed { result, .. } => result.as_ref(),
            Self::DeadLettered(_) => None,
        }
    }
}

pub(crate) struct FinishStatement;

pub(crate) fn sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT * FROM unnest($1::text[], $2::uuid[], $3::int2[], $4::uuid[], $5::int2[], $6::int2[], $7::int2[], $8::text[], $9::text[], $10::text[],
              $11::text[], $12::bytea[], $13::bool[], $14::uuid[])
            AS r(tenant_id, id, attempt, claim_id, state, http_status, evidence, reason, error, n8n_execution_id, content_type, body, truncated, data_key)),
          u AS (UPDATE executions_{day} e SET state = r.state, lease_until = NULL, finished_at = now(), http_status = r.http_status, evidence = r.evidence,
              reason = r.reason, error = r.error, n8n_execution_id = r.n8n_execution_id
            FROM r WHERE e.tenant_id = r.tenant_id AND e.id = r.id AND e.state = 1 AND e.attempt = r.attempt AND e.claim_id = r.claim_id
            RETURNING e.tenant_id, e.id, e.due_at, e.claim_id, e.attempt, e.lane, e.workflow_id, e.state, e.reason, e.message_id, e.http_status, e.on_failure, e.caused_by,
              r.content_type, r.body, r.truncated, r.data_key),
          d AS (DELETE FROM timers t USING u WHERE t.due_at = u.due_at AND t.tenant_id = u.tenant_id AND t.execution_id = u.id),
          s AS (INSERT INTO results_{day} (tenant_id, id, attempt, content_type, body, truncated, data_key)
            SELECT tenant_id, id, attempt, content_type, body, truncated, data_key FROM u WHERE body IS NOT NULL ON CONFLICT DO NOTHING),
          {dead_letters},
          {follow_ups}
        SELECT claim_id FROM u",
        day = day.suffix(),
        dead_letters = dead_letters("u"),
        follow_ups = follow_ups("u")
    )
}

/// Index and outbox of dead letters, for every row of `source` that ended as one.
pub(crate) fn dead_letters(source: &str) -> String {
    format!(
        "l AS (INSERT INTO dead_letters (tenant_id, execution_id, lane, workflow_id, reason, attempt)
            SELECT tenant_id, id, lane, workflow_id, reason, attempt FROM {source} WHERE state = 6 ON CONFLICT DO NOTHING),
          n AS (INSERT INTO notices (tenant_id, lane, execution_id, kind, reason, detail)
            SELECT tenant_id, lane, id, 'dead_lettered', reason, jsonb_build_object('workflow_id', workflow_id, 'attempt', attempt, 'message_id', message_id, 'http_status', http_status)
            FROM {source} WHERE state = 6)"
    )
}

pub(crate) fn now_sql(day: Day) -> String {
    format!(
        "SELECT e.tenant_id, e.id, e.state, e.attempt, e.claim_id
           FROM unnest($1::text[], $2::uuid[]) AS r(tenant_id, id) JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id",
        day = day.suffix()
    )
}

impl Statement for FinishStatement {
    const NAME: &'static str = "finish";
    type Row = Finish;
    type Out = Finished;

    fn key(row: &Finish) -> (&TenantId, ExecutionId) {
        (&row.tenant, row.id)
    }

    fn bytes(row: &Finish) -> usize {
        row.ending.result().map_or(0, |result| result.body.len())
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        day: Day,
        rows: &[&Finish],
    ) -> Result<Vec<Finished>, sqlx::Error> {
        let tenants: Vec<&str> = rows.iter().map(|r| r.tenant.as_str()).collect();
        let ids: Vec<Uuid> = rows.iter().map(|r| r.id.uuid()).collect();
        let results: Vec<Option<&ResultBody>> = rows.iter().map(|r| r.ending.result()).collect();
        let done: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql(day)))
            .bind(&tenants)
            .bind(&ids)
            .bind(rows.iter().map(|r| r.attempt as i16).collect::<Vec<i16>>())
            .bind(rows.iter().map(|r| r.claim_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.ending.state().code()).collect::<Vec<i16>>())
            .bind(rows.iter().map(|r| r.http_status.map(|s| s as i16)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.ending.evidence()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.ending.reason()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.error.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.n8n_execution_id.as_deref()).collect::<Vec<_>>())
            .bind(results.iter().map(|r| r.and_then(|r| r.content_type.as_deref())).collect::<Vec<_>>())
            .bind(results.iter().map(|r| r.map(|r| r.body.as_ref())).collect::<Vec<Option<&[u8]>>>())
            .bind(results.iter().map(|r| r.is_some_and(|r| r.truncated)).collect::<Vec<bool>>())
            .bind(results.iter().map(|r| r.and_then(|r| r.data_key)).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        if done.len() == rows.len() {
            return Ok(vec![Finished::Done; rows.len()]);
        }
        let done: std::collections::HashSet<Uuid> = done.into_iter().collect();
        let seen = present(connection, day, &tenants, &ids).await?;
        Ok(rows
            .iter()
            .map(|row| {
                if done.contains(&row.claim_id) {
                    return Finished::Done;
                }
                match seen.get(&(row.tenant.as_str().to_owned(), row.id.uuid())) {
                    // Its own earlier run, whose answer was lost.
                    Some(now)
                        if now.claim_id == Some(row.claim_id)
                            && now.attempt == row.attempt
                            && now.state == row.ending.state() =>
                    {
                        Finished::Done
                    }
                    now => Finished::LostFence(now.map(|now| now.state)),
                }
            })
            .collect())
    }

    fn gone(_row: &Finish) -> Result<Finished, WriteError> {
        Ok(Finished::LostFence(None))
    }
}

pub(crate) struct Present {
    pub state: State,
    pub attempt: u16,
    pub claim_id: Option<Uuid>,
}

/// What the executions look like now; for the seldom case that a statement did not match.
pub(crate) async fn present(
    connection: &mut PgConnection,
    day: Day,
    tenants: &[&str],
    ids: &[Uuid],
) -> Result<HashMap<(String, Uuid), Present>, sqlx::Error> {
    let found =
        sqlx::query(AssertSqlSafe(now_sql(day))).bind(tenants).bind(ids).fetch_all(connection).await?;
    found
        .into_iter()
        .map(|row| {
            let present = Present {
                state: rows::state(row.try_get("state")?)?,
                attempt: row.try_get::<i16, _>("attempt")? as u16,
                claim_id: row.try_get("claim_id")?,
            };
            Ok(((row.try_get("tenant_id")?, row.try_get("id")?), present))
        })
        .collect()
}
