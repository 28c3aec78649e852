//! When no accept of a closed tenant can commit any more.

use std::time::Duration;

use bridge_protocol::TenantId;

use crate::{Store, StoreError, rows};

/// Beyond the statement's own time limit: for the commit, and for the server to notice the limit.
const MARGIN: Duration = Duration::from_secs(1);

impl Store {
    /// Whether every statement that may have read the tenant as active has ended: it was closed longer ago than a
    /// statement may run. A tenant that is not there (any more) accepts nothing either.
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
        Ok(over.unwrap_or(true))
    }
}
