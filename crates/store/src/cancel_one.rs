//! Cancelling one execution.

use std::sync::{Mutex, PoisonError};

use bridge_protocol::{ExecutionId, State, TenantId};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::callback::lock_sql;
use crate::day::Day;
use crate::error::{Fault, fault};
use crate::{Ended, Store, StoreError, rows, tx};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    Cancelled {
        from: State,
    },
    /// Nothing to cancel.
    Ended(State),
    /// It lives, but has left the states that were asked for.
    Spared(State),
}

/// Runs behind the lock, so that it sees the timer that was re-armed while the lock was waited for.
pub(crate) fn end_sql(day: Day) -> String {
    format!(
        "WITH u AS (UPDATE executions_{day} SET state = 7, lease_until = NULL, finished_at = now(), error = $3
            WHERE tenant_id = $1 AND id = $2 RETURNING tenant_id, id, due_at)
        DELETE FROM timers t USING u WHERE t.due_at = u.due_at AND t.tenant_id = u.tenant_id AND t.execution_id = u.id",
        day = day.suffix()
    )
}

impl Store {
    /// Also what is running: whoever fires it finds its fence lost. Who cancelled it, and why, is its error. `only`: while
    /// it is in one of these states; empty: in any. None: no such execution.
    pub async fn cancel_one(
        &self,
        actor: &str,
        tenant: &TenantId,
        id: ExecutionId,
        only: &[State],
        reason: Option<&str>,
    ) -> Result<Option<CancelOutcome>, StoreError> {
        let Some(day) = Day::named(id) else { return Ok(None) };
        let error = match reason {
            Some(reason) => format!("cancelled by {actor}: {reason}"),
            None => format!("cancelled by {actor}"),
        };
        // What the run before found, whose COMMIT may have got through without an answer.
        let before = Mutex::new(None);
        let (error, before) = (error.as_str(), &before);
        let outcome = tx::transaction(&self.pool, "cancel_one", self.transaction_limit(), |connection, _| {
            Box::pin(async move {
                let outcome = cancel(connection, day, tenant, id, only, error).await?;
                let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(match (outcome, *before) {
                    (Some((CancelOutcome::Ended(State::Cancelled), _)), Some(_)) => *before,
                    (Some((CancelOutcome::Cancelled { .. }, _)), _) => {
                        *before = outcome;
                        outcome
                    }
                    _ => outcome,
                })
            })
        })
        .await;
        match outcome {
            // Its day's partition is not there (any more).
            Err(StoreError::Statement { source, .. }) if fault(&source) == Fault::Gone => Ok(None),
            Ok(Some((outcome, ended))) => {
                ended.iter().for_each(Ended::count);
                Ok(Some(outcome))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn cancel(
    connection: &mut PgConnection,
    day: Day,
    tenant: &TenantId,
    id: ExecutionId,
    only: &[State],
    error: &str,
) -> Result<Option<(CancelOutcome, Option<Ended>)>, sqlx::Error> {
    let found = sqlx::query(AssertSqlSafe(lock_sql(day)))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let from = rows::state(row.try_get("state")?)?;
    if from.is_terminal() {
        return Ok(Some((CancelOutcome::Ended(from), None)));
    }
    if !only.is_empty() && !only.contains(&from) {
        return Ok(Some((CancelOutcome::Spared(from), None)));
    }
    sqlx::query(AssertSqlSafe(end_sql(day)))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .bind(error)
        .execute(connection)
        .await?;
    let ended = Ended {
        lane: rows::lane(row.try_get("lane")?)?,
        state: State::Cancelled,
        reason: None,
        evidence: None,
        took: rows::elapsed(row.try_get("age")?),
    };
    Ok(Some((CancelOutcome::Cancelled { from }, Some(ended))))
}
