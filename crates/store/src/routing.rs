//! The routing as a whole: routes and holds at one revision. Whoever changes one of them steps the revision, writes the
//! audit log and wakes the daemons, all in one transaction.

use bridge_protocol::{Hold, TenantId};
use sqlx::PgConnection;

use crate::admin::{Actor, Answer, Done, Note, Outcome};
use crate::directory::readable;
use crate::{RouteRow, Store, StoreError, audit, holds, routes, tx};

/// What changed since the revision that was asked for, and all holds.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingRows {
    pub revision: i64,
    /// These are all routes there are: what the reader had before counts for nothing.
    pub whole: bool,
    /// In the order of their revisions.
    pub routes: Vec<RouteRow>,
    pub holds: Vec<Hold>,
}

impl Store {
    /// Steps with every change of routes and holds.
    pub async fn routing_revision(&self) -> Result<i64, StoreError> {
        let named = |source| StoreError::Statement { name: "routing_revision", source };
        let mut connection = self.duty_pool.acquire().await.map_err(named)?;
        revision(&mut connection).await.map_err(named)
    }

    /// What changed after revision `since`, deletions too. 0 gives everything, and so does a revision that is so old that
    /// deletions after it are forgotten, or one that this database never had.
    pub async fn routing(&self, since: i64) -> Result<RoutingRows, StoreError> {
        tx::transaction(&self.duty_pool, "routing", self.transaction_limit(), |connection, _| {
            Box::pin(read(connection, since))
        })
        .await
    }
}

async fn read(connection: &mut PgConnection, since: i64) -> Result<RoutingRows, sqlx::Error> {
    // One snapshot: rows are never seen without their revision.
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *connection)
        .await?;
    let now =
        sqlx::query!("SELECT revision, forgotten FROM routing_revision").fetch_one(&mut *connection).await?;
    let whole = since <= 0 || since < now.forgotten || since > now.revision;
    let changed = sqlx::query_as!(
        routes::Row,
        "SELECT tenant_id, kind, name, route, revision, changed_at FROM routes
         WHERE revision > $1 AND ($2 = false OR route IS NOT NULL) ORDER BY revision",
        if whole { 0 } else { since },
        whole
    )
    .fetch_all(&mut *connection)
    .await?;
    let held = sqlx::query_as!(holds::Row, "SELECT * FROM holds ORDER BY tenant_id, id")
        .fetch_all(connection)
        .await?;
    let which = |row: &routes::Row| format!("{}/{} of {}", row.kind, row.name, row.tenant_id);
    Ok(RoutingRows {
        revision: now.revision,
        whole,
        routes: readable("route", changed, which, routes::Row::record),
        holds: readable(
            "hold",
            held,
            |row| format!("{} of {}", row.id, row.tenant_id),
            |row| row.record().map(|row| row.hold),
        ),
    })
}

async fn revision(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT revision FROM routing_revision").fetch_one(connection).await
}

pub(crate) async fn unchanged_routing<T>(connection: &mut PgConnection, value: T) -> Answer<T> {
    Ok(Ok(Done { outcome: Outcome::Unchanged, revision: revision(connection).await?, value }))
}

/// Begins a change. Its one row is locked until the transaction ends, so that revisions become visible in their order:
/// who has read one of them has all before it.
pub(crate) async fn step_routing(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("UPDATE routing_revision SET revision = revision + 1 RETURNING revision")
        .fetch_one(connection)
        .await
}

/// Ends a change: its lines in the log, and the call that wakes the daemons when it is committed.
pub(crate) async fn record(
    connection: &mut PgConnection,
    actor: &Actor,
    revision: i64,
    notes: &[Note<'_>],
) -> Result<(), sqlx::Error> {
    audit::write(&mut *connection, actor, notes).await?;
    wake(connection, revision).await
}

async fn wake(connection: &mut PgConnection, revision: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_notify('bridge_routing', $1)", revision.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// Of a tenant that is removed nothing stays, not even that its routes are gone: the daemons read everything again.
pub(crate) async fn drop_tenant(connection: &mut PgConnection, tenant: &TenantId) -> Result<(), sqlx::Error> {
    let revision = step_routing(connection).await?;
    let routes = sqlx::query!("DELETE FROM routes WHERE tenant_id = $1", tenant.as_str())
        .execute(&mut *connection)
        .await?
        .rows_affected();
    if routes > 0 {
        sqlx::query!("UPDATE routing_revision SET forgotten = revision").execute(&mut *connection).await?;
    }
    sqlx::query!("DELETE FROM holds WHERE tenant_id = $1", tenant.as_str()).execute(&mut *connection).await?;
    wake(connection, revision).await
}

/// Drops what is left of routes that were deleted long ago. A daemon that has not looked since then reads everything.
pub(crate) async fn forget(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The revision first, as everybody does who writes routes.
    sqlx::query!("SELECT FROM routing_revision FOR UPDATE").execute(&mut *connection).await?;
    sqlx::query!(
        "WITH gone AS (DELETE FROM routes WHERE route IS NULL AND changed_at < now() - interval '1 day' RETURNING revision)
         UPDATE routing_revision SET forgotten = greatest(forgotten, (SELECT max(revision) FROM gone))"
    )
    .execute(connection)
    .await
    .map(drop)
}
