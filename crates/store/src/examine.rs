//! What an operator's check of the database looks at. Nothing is changed.

use bridge_protocol::Time;
use sqlx::Row;

use crate::{MIGRATIONS, Store, StoreError};

#[derive(Clone, Debug)]
pub struct Examined {
    /// As Postgres says it: "15.8".
    pub version: String,
    /// 150008 for 15.8.
    pub version_number: i32,
    pub now: Time,
    /// A standby, which cannot be written to.
    pub in_recovery: bool,
    pub connections: i64,
    pub max_connections: i64,
    /// The newest migration that is there; None: no schema yet.
    pub schema: Option<i64>,
    /// The newest migration that this program knows.
    pub schema_known: i64,
}

impl Store {
    /// Works on a database without a schema too.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        let named = |source| StoreError::Statement { name: "examine", source };
        let row = sqlx::query(
            "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
               clock_timestamp() AS now, pg_is_in_recovery() AS in_recovery,
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
               current_setting('max_connections')::bigint AS max_connections,
               to_regclass('_sqlx_migrations') IS NOT NULL AS has_schema",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::Unavailable)?;
        let schema = match row.try_get("has_schema").map_err(named)? {
            true => sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(named)?,
            false => None,
        };
        Ok(Examined {
            version: row.try_get("version").map_err(named)?,
            version_number: row.try_get("number").map_err(named)?,
            now: row.try_get("now").map_err(named)?,
            in_recovery: row.try_get("in_recovery").map_err(named)?,
            connections: row.try_get("connections").map_err(named)?,
            max_connections: row.try_get("max_connections").map_err(named)?,
            schema,
            schema_known: MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default(),
        })
    }
}
