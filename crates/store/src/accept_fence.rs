//! When no accept of a closed tenant can commit any more.

use std::time::Duration;

use bridge_protocol::TenantId;
use tokio::time::Instant;

use crate::{Store, StoreError, rows};

/// Beyond the statement's own time limit: for the commit, and for the server to notice the limit.
const MARGIN: Duration = Duration::from_secs(1);
/// How long one call waits for the writers that it met; they take some milliseconds, mostly.
const WRITERS_END_WITHIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Whether every statement that may have read the tenant as active has ended: it was closed longer ago than a
    /// statement may run, and whoever was writing when that was seen is done. A tenant that is not there (any more)
    /// accepts nothing either.
    pub async fn accepts_are_over(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let longest = rows::seconds(self.config.statement_timeout + MARGIN);
        let over = sqlx::query_scalar!(
            r#"SELECT state <> 0 AND changed_at < now() - make_interval(secs => $2) AS "over!" FROM tenants WHERE id = $1"#,
            tenant.as_str(),
            longest
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "accepts_are_over", source })?;
        match over {
            Some(true) => self.writers_end().await,
            Some(false) => Ok(false),
            None => Ok(true),
        }
    }

    /// A statement's limit is none for its COMMIT, which may wait for a standby; other daemons have limits of their
    /// own; and the change of the tenant was committed some time after its `changed_at`. So the time alone proves
    /// nothing: those who write now must have ended.
    async fn writers_end(&self) -> Result<bool, StoreError> {
        let deadline = Instant::now() + WRITERS_END_WITHIN;
        let mut met = self.writers().await?;
        while !met.is_empty() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
            let present = self.writers().await?;
            met.retain(|writer| present.contains(writer));
        }
        Ok(true)
    }

    /// The transactions that write timers, as every accept does: it takes this lock before it looks at the tenant and
    /// has it until its COMMIT is over.
    async fn writers(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT virtualtransaction AS "writer!" FROM pg_locks WHERE locktype = 'relation' AND relation = 'timers'::regclass
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode = 'RowExclusiveLock' AND granted"#
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|source| StoreError::Statement { name: "accepts_are_over.writers", source })
    }
}
