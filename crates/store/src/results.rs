//! Results: reading one, learning which executions have ended, and the end of what is kept no longer.

use std::collections::BTreeMap;

use bridge_protocol::{Evidence, ExecutionId, State, TenantId, Time};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::day::Day;
use crate::error::{Fault, fault};
use crate::{Store, StoreError, StoredPayload, rows, tx};

/// How an execution stands and what came of it.
#[derive(Clone, Debug)]
pub struct ResultRow {
    pub state: State,
    pub evidence: Option<Evidence>,
    pub attempt: u16,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub http_status: Option<u16>,
    pub n8n_execution_id: Option<String>,
    pub finished_at: Option<Time>,
    pub body: Option<StoredResult>,
    /// It ended so long ago that its result is kept no longer.
    pub expired: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult {
    pub content_type: Option<String>,
    /// As it is stored: plain, or sealed by its data key.
    pub body: StoredPayload,
    pub truncated: bool,
    /// The attempt that it is of.
    pub attempt: u16,
    pub recorded_at: Time,
}

impl Store {
    /// None: there is no such execution.
    pub async fn result(&self, tenant: &TenantId, id: ExecutionId) -> Result<Option<ResultRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "result", source };
        let found = sqlx::query!(
            r#"SELECT e.state, e.evidence, e.attempt, e.reason, e.error, e.http_status, e.n8n_execution_id, e.finished_at,
                 r.attempt AS "of_attempt?", r.content_type, r.body AS "body?", r.data_key, r.truncated AS "truncated?", r.recorded_at AS "recorded_at?",
                 coalesce(e.finished_at < now() - make_interval(secs => least(t.result_ttl_s, 3153600000)), false) AS "lapsed!",
                 coalesce(e.finished_at < now() - make_interval(days => $3), false) AS "dropped!"
               FROM executions e LEFT JOIN tenants t ON t.id = e.tenant_id
                 LEFT JOIN results r ON r.tenant_id = e.tenant_id AND r.id = e.id AND r.id = $2
               WHERE e.tenant_id = $1 AND e.id = $2"#,
            tenant.as_str(),
            id.uuid(),
            self.config.payloads_days.min(36_500) as i32
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(named)?;
        let Some(row) = found else { return Ok(None) };
        let state = rows::state(row.state).map_err(named)?;
        let body = match (row.body, row.of_attempt, row.recorded_at) {
            // A report without a result once left an empty body.
            (Some(body), Some(attempt), Some(recorded_at)) if !row.lapsed && !body.is_empty() => {
                Some(StoredResult {
                    content_type: row.content_type,
                    body: StoredPayload { bytes: body.into(), data_key: row.data_key },
                    truncated: row.truncated.unwrap_or_default(),
                    attempt: attempt as u16,
                    recorded_at,
                })
            }
            _ => None,
        };
        // The other ends never have a result.
        let may_have_had = matches!(state, State::Succeeded | State::Failed);
        Ok(Some(ResultRow {
            state,
            evidence: row.evidence.and_then(Evidence::from_code),
            attempt: row.attempt as u16,
            reason: row.reason,
            error: row.error,
            http_status: row.http_status.map(|status| status as u16),
            n8n_execution_id: row.n8n_execution_id,
            finished_at: row.finished_at.filter(|_| state.is_terminal()),
            expired: may_have_had && body.is_none() && (row.lapsed || row.dropped),
            body,
        }))
    }

    /// Which of them have ended, or are gone. One statement for each day that the ids are of, by key.
    pub async fn ended(
        &self,
        asked: &[(TenantId, ExecutionId)],
    ) -> Result<Vec<(TenantId, ExecutionId)>, StoreError> {
        let mut days: BTreeMap<Day, Vec<&(TenantId, ExecutionId)>> = BTreeMap::new();
        for one in asked {
            days.entry(Day::of(one.1)).or_default().push(one);
        }
        let mut ended = Vec::new();
        for (day, asked) in days {
            let tenants: Vec<&str> = asked.iter().map(|(tenant, _)| tenant.as_str()).collect();
            let ids: Vec<Uuid> = asked.iter().map(|(_, id)| id.uuid()).collect();
            let found: Result<Vec<i64>, _> = sqlx::query_scalar(AssertSqlSafe(ended_sql(day)))
                .bind(&tenants)
                .bind(&ids)
                .fetch_all(&self.batch_pool)
                .await;
            match found {
                Ok(found) => {
                    let at =
                        found.into_iter().filter_map(|number| asked.get(usize::try_from(number).ok()? - 1));
                    ended.extend(at.map(|one| (*one).clone()));
                }
                // Retention took the whole day.
                Err(error) if fault(&error) == Fault::Gone => ended.extend(asked.into_iter().cloned()),
                Err(source) => return Err(StoreError::Statement { name: "ended", source }),
            }
        }
        Ok(ended)
    }

    /// Removes up to `limit` results that are older than their tenant's `result_ttl_s`.
    pub async fn expire_results(&self, limit: u32) -> Result<u64, StoreError> {
        tx::transaction(&self.batch_pool, "expire_results", self.transaction_limit(), |connection, _| {
            Box::pin(expire(connection, limit))
        })
        .await
    }
}

pub(crate) fn ended_sql(day: Day) -> String {
    format!(
        "SELECT r.number FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS r(tenant_id, id, number)
           LEFT JOIN executions_{day} e ON e.tenant_id = r.tenant_id AND e.id = r.id WHERE e.id IS NULL OR e.state >= 4",
        day = day.suffix()
    )
}

/// A tenant's oldest results come first by its key; those that were recorded late are passed over until their time.
async fn expire(connection: &mut PgConnection, limit: u32) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "WITH t AS MATERIALIZED (SELECT id, now() - make_interval(secs => least(result_ttl_s, 3153600000)) AS until FROM tenants WHERE result_ttl_s IS NOT NULL),
           old AS MATERIALIZED (SELECT r.tenant_id, r.id FROM t CROSS JOIN LATERAL
             (SELECT tenant_id, id FROM results WHERE tenant_id = t.id
                AND id < (lpad(to_hex((extract(epoch FROM t.until) * 1000)::int8), 12, '0') || repeat('0', 20))::uuid
                AND recorded_at < t.until ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) r LIMIT $1)
         DELETE FROM results r USING old WHERE r.tenant_id = old.tenant_id AND r.id = old.id",
        i64::from(limit)
    )
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}
