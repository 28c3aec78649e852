//! Administrative changes: the rows, a line in the audit log and a step of the directory's revision, in one
//! transaction. A change that finds everything as wanted leaves no trace.

use bridge_protocol::TenantId;
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;

use crate::tx::{self, Lent};
use crate::{Store, StoreError};

/// Who asks for a change, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub who: String,
    pub source: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    /// Everything was as wanted already: nothing was written, not even to the audit log.
    Unchanged,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Done<T> {
    pub outcome: Outcome,
    /// The directory's revision with this change in it; of a route or a hold the routing's.
    pub revision: i64,
    pub value: T,
}

/// Why an administrative change was not made.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what was named does not exist; check the name")]
    NotFound,
    #[error("{0}")]
    Conflict(String),
    /// What it is now does not allow that.
    #[error("{why}")]
    NotNow { why: String, state: &'static str, allowed: &'static [&'static str] },
}

/// The outer error is Postgres's and may run the change again; the inner one is the caller's. A body refuses before
/// it writes anything: what stands then is committed.
pub(crate) type Answer<T> = Result<Result<Done<T>, AdminError>, sqlx::Error>;

/// A line of the audit log. Never holds a secret or its digest.
pub(crate) struct Note<'a> {
    pub action: &'a str,
    pub tenant: Option<&'a TenantId>,
    pub target: &'a str,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Store {
    /// `body` runs in one transaction, and again when its COMMIT's answer was lost: it must recognise its own work.
    pub(crate) async fn administer<'b, T, F>(
        &self,
        name: &'static str,
        body: F,
    ) -> Result<Done<T>, AdminError>
    where
        F: for<'c> FnMut(&'c mut PgConnection, Lent<'c, 'b>) -> BoxFuture<'c, Answer<T>> + Send,
        T: Send,
    {
        tx::transaction(&self.pool, name, self.transaction_limit(), body).await?
    }
}

/// Ends a change: the step of the revision, the line in the log, and the call that wakes the daemons. Its one row is what all changes queue for, so
/// this comes last, and the log's numbers are given under it: they become visible in their order.
pub(crate) async fn step(
    connection: &mut PgConnection,
    actor: &Actor,
    note: Note<'_>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH r AS (UPDATE directory_revision SET revision = revision + 1 RETURNING revision),
             a AS (INSERT INTO audit_log (actor, action, tenant_id, target, source, before, after)
               SELECT $1, $2, $3, $4, $5, $6, $7 FROM r)
           SELECT r.revision AS "revision!" FROM r, pg_notify('bridge_directory', r.revision::text)"#,
        actor.who,
        note.action,
        note.tenant.map(TenantId::as_str),
        note.target,
        actor.source,
        note.before,
        note.after
    )
    .fetch_one(connection)
    .await
}

pub(crate) async fn revision(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT revision FROM directory_revision").fetch_one(connection).await
}

pub(crate) async fn unchanged<T>(connection: &mut PgConnection, value: T) -> Answer<T> {
    Ok(Ok(Done { outcome: Outcome::Unchanged, revision: revision(connection).await?, value }))
}

pub(crate) fn conflict<T>(why: impl Into<String>) -> Answer<T> {
    Ok(Err(AdminError::Conflict(why.into())))
}
