//! What is only counted: refusals by the minute, each tenant's use by the day, and what is open.

use bridge_protocol::{TenantId, Time};

use crate::{Store, StoreError, rows};

/// Refusals of one minute that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub minute: Time,
    /// login | message
    pub kind: &'static str,
    pub subject: String,
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    pub minute: Time,
    pub kind: String,
    pub subject: String,
    pub reason: String,
    pub count: u64,
}

impl Store {
    /// Adds to what is counted. Run again after a lost answer it may count twice.
    pub async fn add_refusals(&self, refused: &[Refused]) -> Result<(), StoreError> {
        let minutes: Vec<Time> = refused.iter().map(|r| r.minute).collect();
        let kinds: Vec<&str> = refused.iter().map(|r| r.kind).collect();
        let subjects: Vec<&str> = refused.iter().map(|r| r.subject.as_str()).collect();
        let reasons: Vec<&str> = refused.iter().map(|r| r.reason.as_str()).collect();
        let counts: Vec<i64> = refused.iter().map(|r| rows::signed(r.count)).collect();
        // In the order of the key: two daemons that count the same do not wait for each other in a circle.
        sqlx::query!(
            "INSERT INTO refusals (minute, kind, subject, reason, count)
             SELECT date_trunc('minute', minute), kind, subject, reason, sum(count)::int8
             FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::int8[]) AS r(minute, kind, subject, reason, count)
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
             ON CONFLICT (minute, kind, subject, reason) DO UPDATE SET count = refusals.count + excluded.count",
            &minutes,
            &kinds as &[&str],
            &subjects as &[&str],
            &reasons as &[&str],
            &counts
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|source| StoreError::Statement { name: "add_refusals", source })
    }

    /// Newest first.
    pub async fn refusals(&self, since: Time, limit: u32) -> Result<Vec<RefusedRow>, StoreError> {
        let found = sqlx::query!(
            "SELECT minute, kind, subject, reason, count FROM refusals WHERE minute >= $1
             ORDER BY minute DESC, count DESC, kind, subject, reason LIMIT $2",
            since,
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "refusals", source })?;
        Ok(found
            .into_iter()
            .map(|row| RefusedRow {
                minute: row.minute,
                kind: row.kind,
                subject: row.subject,
                reason: row.reason,
                count: rows::unsigned(row.count),
            })
            .collect())
    }

    /// Adds payload bytes and executions to today's use (a day of UTC) and returns today's sums. Zeros only read; of a
    /// tenant that is not there nothing is kept. Run again after a lost answer it may count twice.
    pub async fn add_usage(
        &self,
        used: &[(TenantId, u64, u64)],
    ) -> Result<Vec<(TenantId, u64, u64)>, StoreError> {
        let named = |source| StoreError::Statement { name: "add_usage", source };
        let tenants: Vec<&str> = used.iter().map(|(tenant, ..)| tenant.as_str()).collect();
        let bytes: Vec<i64> = used.iter().map(|(_, bytes, _)| rows::signed(*bytes)).collect();
        let executions: Vec<i64> = used.iter().map(|(.., executions)| rows::signed(*executions)).collect();
        let found = sqlx::query!(
            r#"WITH r AS (SELECT tenant_id, sum(bytes)::int8 AS bytes, sum(executions)::int8 AS executions
                 FROM unnest($1::text[], $2::int8[], $3::int8[]) AS r(tenant_id, bytes, executions) GROUP BY tenant_id),
               w AS (INSERT INTO usage (tenant_id, day, bytes, executions)
                 SELECT r.tenant_id, current_date, r.bytes, r.executions FROM r JOIN tenants t ON t.id = r.tenant_id
                 WHERE r.bytes > 0 OR r.executions > 0 ORDER BY r.tenant_id
                 ON CONFLICT (tenant_id, day) DO UPDATE SET bytes = usage.bytes + excluded.bytes, executions = usage.executions + excluded.executions
                 RETURNING tenant_id, bytes, executions)
               SELECT r.tenant_id AS "tenant_id!", COALESCE(w.bytes, u.bytes, 0) AS "bytes!", COALESCE(w.executions, u.executions, 0) AS "executions!"
               FROM r LEFT JOIN w USING (tenant_id) LEFT JOIN usage u ON u.tenant_id = r.tenant_id AND u.day = current_date"#,
            &tenants as &[&str],
            &bytes,
            &executions
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found
            .into_iter()
            .map(|row| {
                Ok((rows::tenant(&row.tenant_id)?, rows::unsigned(row.bytes), rows::unsigned(row.executions)))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }

    /// Live executions of each tenant that has any; a few left-over timers may be among them.
    pub async fn open_executions(&self) -> Result<Vec<(TenantId, u64)>, StoreError> {
        let named = |source| StoreError::Statement { name: "open_executions", source };
        let found = sqlx::query!(r#"SELECT tenant_id, count(*) AS "count!" FROM timers GROUP BY tenant_id"#)
            .fetch_all(&self.pool)
            .await
            .map_err(named)?;
        found
            .into_iter()
            .map(|row| Ok((rows::tenant(&row.tenant_id)?, rows::unsigned(row.count))))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(named)
    }
}
