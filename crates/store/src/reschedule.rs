//! Reschedule: an execution that stays alive gets a new time. A retry ends an attempt, waiting for a callback keeps it,
//! parking spends none, and one that was claimed but not sent is given back.

use std::time::Duration;

use bridge_protocol::{ExecutionId, State, TenantId};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::batch::Statement;
use crate::day::Day;
use crate::error::WriteError;
use crate::finish::{Finished, Present, present};

#[derive(Clone, Debug)]
pub struct Reschedule {
    pub tenant: TenantId,
    pub id: ExecutionId,
    /// The attempt that ended, or the one the parked message was published for.
    pub attempt: u16,
    pub after: Duration,
    pub why: Why,
}

#[derive(Clone, Debug)]
pub enum Why {
    /// The attempt failed and another one follows.
    Retry { claim_id: Uuid, http_status: Option<u16>, error: Option<String> },
    /// n8n took it and will report the result; `after` is how long that may take.
    Wait { claim_id: Uuid, http_status: Option<u16>, n8n_execution_id: Option<String> },
    /// No slot was free; nothing was claimed. Each further parking doubles `after`, up to `longest`.
    Park { longest: Duration },
    /// Nothing was sent of it: the attempt is given back, as if it had not been claimed. Its callback token was not handed
    /// out either, so the number may be taken again, by another claim with another token.
    Unsent { claim_id: Uuid, error: Option<String> },
}

pub(crate) struct RescheduleStatement;

/// Rows are locked in the order of their keys and the old timer is found by the due_at under that lock. A timer that
/// the relay re-armed in the same moment is invisible here and stays as an orphan; it rings once and is deleted.
/// `next`: the state that follows; NULL leaves it as it is, for a parked message has claimed nothing. Accepted stands for
/// where it was before the claim, and what the claim wrote over is taken from the record of the attempt before.
pub(crate) fn sql(day: Day) -> String {
    format!(
        "WITH r AS (SELECT * FROM unnest($1::text[], $2::uuid[], $3::int2[], $4::uuid[], $5::int8[], $6::int8[], $7::int2[], $8::text[], $9::int2[], $10::text[])
            AS r(tenant_id, id, attempt, claim_id, after_ms, longest_ms, http_status, error, next, n8n_execution_id)),
          o AS MATERIALIZED (SELECT e.tenant_id, e.id, e.due_at, e.claimed_at, e.message_id, e.callback_digest, r.attempt, r.http_status, r.error, r.next, r.n8n_execution_id,
              CASE WHEN r.next = {ACCEPTED} THEN (SELECT b FROM attempts_{day} b WHERE b.tenant_id = e.tenant_id AND b.id = e.id AND b.attempt = e.attempt - 1) END AS before,
              now() + (CASE WHEN r.next IS NULL THEN least(r.after_ms * power(2, least(e.parks, 20)), r.longest_ms) ELSE r.after_ms END) * interval '1 ms' AS new_due
            FROM r JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id
            WHERE CASE WHEN r.next IS NULL THEN e.state IN (0, 3) AND e.attempt = r.attempt - 1
                  ELSE e.state = 1 AND e.attempt = r.attempt AND e.claim_id = r.claim_id END
            ORDER BY e.tenant_id, e.id FOR UPDATE OF e),
          d AS (DELETE FROM timers t USING o WHERE t.due_at = o.due_at AND t.tenant_id = o.tenant_id AND t.execution_id = o.id),
          i AS (INSERT INTO timers (due_at, tenant_id, execution_id) SELECT new_due, tenant_id, id FROM o ON CONFLICT DO NOTHING),
          a AS (INSERT INTO attempts_{day} (tenant_id, id, attempt, claimed_at, finished_at, http_status, outcome, error, message_id, callback_digest)
            SELECT tenant_id, id, attempt, claimed_at, now(), http_status, 'retry', error, message_id, callback_digest FROM o WHERE next = {RETRYING} ON CONFLICT DO NOTHING)
        UPDATE executions_{day} e SET due_at = o.new_due, published_at = NULL, publishes = 0,
            lease_until = CASE WHEN o.next = {WAITING} THEN o.new_due END,
            state = CASE WHEN o.next = {ACCEPTED} AND e.attempt > 1 THEN {RETRYING} ELSE COALESCE(o.next, e.state) END,
            attempt = CASE WHEN o.next = {ACCEPTED} THEN e.attempt - 1 ELSE e.attempt END,
            parks = CASE WHEN o.next IS NULL OR o.next = {ACCEPTED} THEN least(e.parks, 1000) + 1 ELSE 0 END,
            claimed_at = CASE WHEN o.next = {ACCEPTED} THEN (o.before).claimed_at ELSE e.claimed_at END,
            message_id = CASE WHEN o.next = {ACCEPTED} THEN (o.before).message_id ELSE e.message_id END,
            callback_digest = CASE WHEN o.next = {ACCEPTED} THEN (o.before).callback_digest ELSE e.callback_digest END,
            finished_at = CASE o.next WHEN {RETRYING} THEN now() WHEN {ACCEPTED} THEN (o.before).finished_at ELSE e.finished_at END,
            http_status = CASE WHEN o.next IS NULL THEN e.http_status WHEN o.next = {ACCEPTED} THEN (o.before).http_status ELSE o.http_status END,
            error = CASE WHEN o.next IS NULL THEN e.error ELSE o.error END,
            n8n_execution_id = COALESCE(o.n8n_execution_id, e.n8n_execution_id)
          FROM o WHERE e.tenant_id = o.tenant_id AND e.id = o.id RETURNING e.tenant_id, e.id",
        day = day.suffix()
    )
}

const ACCEPTED: i16 = State::Accepted.code();
const WAITING: i16 = State::Waiting.code();
const RETRYING: i16 = State::Retrying.code();

impl Statement for RescheduleStatement {
    const NAME: &'static str = "reschedule";
    type Row = Reschedule;
    type Out = Finished;

    fn key(row: &Reschedule) -> (&TenantId, ExecutionId) {
        (&row.tenant, row.id)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        day: Day,
        rows: &[&Reschedule],
    ) -> Result<Vec<Finished>, sqlx::Error> {
        let tenants: Vec<&str> = rows.iter().map(|r| r.tenant.as_str()).collect();
        let ids: Vec<Uuid> = rows.iter().map(|r| r.id.uuid()).collect();
        let moved = sqlx::query(AssertSqlSafe(sql(day)))
            .bind(&tenants)
            .bind(&ids)
            .bind(rows.iter().map(|r| r.attempt as i16).collect::<Vec<i16>>())
            .bind(rows.iter().map(|r| r.why.claim_id()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.after.as_millis() as i64).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.why.longest().map(|l| l.as_millis() as i64)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.why.http_status()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.why.error()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.why.next().map(State::code)).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.why.n8n_execution_id()).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        if moved.len() == rows.len() {
            return Ok(vec![Finished::Done; rows.len()]);
        }
        let moved: std::collections::HashSet<(String, Uuid)> = moved
            .into_iter()
            .map(|row| Ok((row.try_get("tenant_id")?, row.try_get("id")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        let seen = present(connection, day, &tenants, &ids).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let key = (row.tenant.as_str().to_owned(), row.id.uuid());
                if moved.contains(&key) {
                    return Finished::Done;
                }
                match seen.get(&key) {
                    // Its own earlier run, whose answer was lost.
                    Some(now) if row.is_done(now) => Finished::Done,
                    now => Finished::LostFence(now.map(|now| now.state)),
                }
            })
            .collect())
    }

    fn gone(_row: &Reschedule) -> Result<Finished, WriteError> {
        Ok(Finished::LostFence(None))
    }
}

impl Reschedule {
    /// Whether the execution looks as this very move leaves it.
    fn is_done(&self, now: &Present) -> bool {
        let Some(claim_id) = self.why.claim_id() else { return false };
        let (attempt, state) = match &self.why {
            Why::Unsent { .. } if self.attempt > 1 => (self.attempt - 1, Some(State::Retrying)),
            Why::Unsent { .. } => (0, Some(State::Accepted)),
            why => (self.attempt, why.next()),
        };
        now.claim_id == Some(claim_id) && now.attempt == attempt && Some(now.state) == state
    }
}

impl Why {
    /// The state that follows; None leaves it as it is.
    fn next(&self) -> Option<State> {
        match self {
            Self::Retry { .. } => Some(State::Retrying),
            Self::Wait { .. } => Some(State::Waiting),
            Self::Unsent { .. } => Some(State::Accepted),
            Self::Park { .. } => None,
        }
    }

    fn claim_id(&self) -> Option<Uuid> {
        match self {
            Self::Retry { claim_id, .. } | Self::Wait { claim_id, .. } | Self::Unsent { claim_id, .. } => {
                Some(*claim_id)
            }
            Self::Park { .. } => None,
        }
    }

    fn longest(&self) -> Option<Duration> {
        match self {
            Self::Retry { .. } | Self::Wait { .. } | Self::Unsent { .. } => None,
            Self::Park { longest } => Some(*longest),
        }
    }

    fn http_status(&self) -> Option<i16> {
        match self {
            Self::Retry { http_status, .. } | Self::Wait { http_status, .. } => http_status.map(|s| s as i16),
            Self::Park { .. } | Self::Unsent { .. } => None,
        }
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Retry { error, .. } | Self::Unsent { error, .. } => error.as_deref(),
            Self::Wait { .. } | Self::Park { .. } => None,
        }
    }

    fn n8n_execution_id(&self) -> Option<&str> {
        match self {
            Self::Wait { n8n_execution_id, .. } => n8n_execution_id.as_deref(),
            Self::Retry { .. } | Self::Park { .. } | Self::Unsent { .. } => None,
        }
    }
}
