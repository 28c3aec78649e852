//! Day partitions: made ahead, dropped by retention, kept while a row in them lives.

use bridge_protocol::Time;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::day::Day;
use crate::{Store, StoreError, connect, routing};

const TABLES: [(&str, &str); 4] = [
    // Half of each page stays free, so that claim and finish find room for their HOT updates.
    ("executions", "WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)"),
    ("payloads", ""),
    ("results", ""),
    ("attempts", ""),
];
/// Serialises partition work across all daemons.
const LOCK: i64 = 0x6272_6467_7061_7274;

/// What one round of maintenance did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub created: Vec<String>,
    pub dropped: Vec<String>,
    /// Past retention, but something in them lives.
    pub kept: Vec<String>,
    pub keys_forgotten: u64,
}

impl Store {
    /// Makes the partitions from yesterday to the configured days ahead. `now` is the caller's clock: ids are made by it.
    pub async fn ensure_partitions(&self, now: Time) -> Result<Vec<String>, StoreError> {
        let mut connection = connect::connect(&self.options).await.map_err(StoreError::Unavailable)?;
        ensure(&mut connection, now, self.config.partitions_ahead_days)
            .await
            .map_err(|source| StoreError::Statement { name: "partitions.ensure", source })
    }

    /// Partitions ahead, retention behind, and idempotency keys that are past their days.
    pub async fn maintain(&self, now: Time) -> Result<Maintained, StoreError> {
        let named = |source| StoreError::Statement { name: "partitions.maintain", source };
        let mut connection = connect::connect(&self.options).await.map_err(StoreError::Unavailable)?;
        let mut done = Maintained {
            created: ensure(&mut connection, now, self.config.partitions_ahead_days).await.map_err(named)?,
            ..Maintained::default()
        };
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut connection)
            .await
            .map_err(named)?;
        if !locked {
            return Ok(done);
        }
        for (table, days) in [
            ("payloads", self.config.payloads_days),
            ("results", self.config.payloads_days),
            ("attempts", self.config.executions_days),
            ("executions", self.config.executions_days),
        ] {
            let oldest = Day::at(now).minus(days);
            for name in partitions_of(&mut connection, table).await.map_err(named)? {
                let day =
                    name.strip_prefix(table).and_then(|rest| Day::from_suffix(rest.trim_start_matches('_')));
                let Some(day) = day.filter(|day| *day < oldest) else { continue };
                if lives(&mut connection, day).await.map_err(named)? {
                    done.kept.push(name);
                    continue;
                }
                drop_partition(&mut connection, table, &name).await.map_err(named)?;
                done.dropped.push(name);
            }
        }
        metrics::gauge!("bridge_store_partitions_kept").set(done.kept.len() as f64);
        done.keys_forgotten =
            forget_keys(&mut connection, self.config.idempotency_days).await.map_err(named)?;
        forget_counts(&mut connection).await.map_err(named)?;
        let oldest = Day::at(now).minus(self.config.executions_days);
        forget_follow_ups(&mut connection, oldest).await.map_err(named)?;
        let mut transaction = connection.begin().await.map_err(named)?;
        routing::forget(&mut transaction).await.map_err(named)?;
        transaction.commit().await.map_err(named)?;
        forget_ended(&mut connection, self.config.executions_days).await.map_err(named)?;
        // The session ends here and the advisory lock with it.
        Ok(done)
    }
}

pub(crate) async fn ensure(
    connection: &mut PgConnection,
    now: Time,
    ahead: u64,
) -> Result<Vec<String>, sqlx::Error> {
    let mut created = Vec::new();
    let first = Day::at(now).minus(1);
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    for offset in 0..=ahead + 1 {
        let day = first.plus(offset);
        for (table, options) in TABLES {
            let name = format!("{table}_{}", day.suffix());
            let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(&name)
                .fetch_one(&mut *connection)
                .await?;
            if exists {
                continue;
            }
            let (from, to) = (day.first_id(), day.plus(1).first_id());
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ('{from}') TO ('{to}') {options}"
            );
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
            if table == "executions" {
                let sql = format!("CREATE INDEX IF NOT EXISTS {name}_brin ON {name} USING brin (id)");
                sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
            }
            created.push(name);
        }
    }
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(connection).await?;
    Ok(created)
}

pub(crate) async fn partitions_of(
    connection: &mut PgConnection,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1) ORDER BY c.relname",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("relname")).collect()
}

/// A live execution has its timer, so the timers tell whether anything of the day still lives.
async fn lives(connection: &mut PgConnection, day: Day) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM timers t JOIN executions e ON e.tenant_id = t.tenant_id AND e.id = t.execution_id
           WHERE t.execution_id >= $1 AND t.execution_id < $2 AND e.state < 4)",
    )
    .bind(day.first_id())
    .bind(day.plus(1).first_id())
    .fetch_one(connection)
    .await
}

/// DROP of an attached partition would deadlock with running claims: detach without blocking them, then drop.
async fn drop_partition(connection: &mut PgConnection, table: &str, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SET lock_timeout = '2s'").execute(&mut *connection).await?;
    let detach = format!("ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY");
    sqlx::query(AssertSqlSafe(detach)).execute(&mut *connection).await?;
    sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}"))).execute(connection).await?;
    Ok(())
}

async fn forget_keys(connection: &mut PgConnection, days: u64) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    loop {
        let gone = sqlx::query(
            "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN
               (SELECT tenant_id, key FROM idempotency_keys WHERE created_at < now() - make_interval(days => $1) LIMIT 5000)",
        )
        .bind(days.min(36_500) as i32)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        forgotten += gone;
        if gone < 5000 {
            return Ok(forgotten);
        }
    }
}

/// Dead letters whose executions retention took, and jobs that are as old.
async fn forget_ended(connection: &mut PgConnection, days: u64) -> Result<(), sqlx::Error> {
    let days = days.min(36_500) as i32;
    sqlx::query!("DELETE FROM dead_letters WHERE at < now() - make_interval(days => $1)", days)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM jobs WHERE state > 1 AND changed_at < now() - make_interval(days => $1)", days)
        .execute(connection)
        .await?;
    Ok(())
}

/// A bad end that could not be told as long as its execution was kept: its tenant was closed all the time, or its route
/// was never corrected.
async fn forget_follow_ups(connection: &mut PgConnection, oldest: Day) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM follow_ups f WHERE f.execution_id < $1
           AND NOT EXISTS (SELECT FROM executions e WHERE e.tenant_id = f.tenant_id AND e.id = f.execution_id)",
    )
    .bind(oldest.first_id())
    .execute(connection)
    .await
    .map(drop)
}

/// Refusals and rejected messages serve whoever looks into an attack, the use of a day its quota and some reporting after it.
async fn forget_counts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM refusals WHERE minute < now() - interval '90 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM rejected_messages WHERE rejected_at < now() - interval '90 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM usage WHERE day < current_date - 400").execute(connection).await?;
    Ok(())
}
