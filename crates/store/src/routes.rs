//! Routes: how each workflow, type and tenant is fired. Small, and kept in every daemon's memory.

use std::collections::BTreeMap;

use bridge_protocol::{Route, RouteName, TenantId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome};
use crate::routing::{record, step_routing, unchanged_routing};
use crate::tenants::{lock, lock_kept};
use crate::{Store, StoreError, rows};

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRow {
    pub tenant: TenantId,
    pub name: RouteName,
    /// None: it was deleted.
    pub route: Option<Route>,
    pub revision: i64,
    pub changed_at: Time,
}

/// What an apply changed, each route by its place in the applied document: `workflows.orders`, `types.crm_sync`,
/// `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RouteDiff {
    pub created: Vec<String>,
    pub changed: Vec<String>,
    pub deleted: Vec<String>,
    pub unchanged: Vec<String>,
}

pub(crate) struct Row {
    pub tenant_id: String,
    pub kind: i16,
    pub name: String,
    pub route: Option<Value>,
    pub revision: i64,
    pub changed_at: Time,
}

impl Row {
    pub fn record(self) -> Result<RouteRow, sqlx::Error> {
        let name = RouteName::from_parts(self.kind, &self.name)
            .ok_or_else(|| rows::bad("route name", format!("{}/{}", self.kind, self.name)))?;
        let route = self.route.map(serde_json::from_value).transpose();
        Ok(RouteRow {
            tenant: rows::tenant(&self.tenant_id)?,
            route: route
                .map_err(|error| rows::bad("route", format!("{name}, which does not read: {error}")))?,
            name,
            revision: self.revision,
            changed_at: self.changed_at,
        })
    }
}

/// What is wanted under each name; None: nothing.
type Wanted<'a> = BTreeMap<&'a RouteName, Option<&'a Route>>;

impl Store {
    /// The outcome's revision is the routing's.
    pub async fn put_route(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &RouteName,
        route: &Route,
    ) -> Result<Done<RouteRow>, AdminError> {
        let wanted = Wanted::from([(name, Some(route))]);
        let wanted = &wanted;
        self.administer("route.put", |connection, _| {
            Box::pin(async move {
                let done = match apply(connection, actor, tenant, wanted).await? {
                    Ok(done) => done,
                    Err(refused) => return Ok(Err(refused)),
                };
                let outcome = if done.value.created.is_empty() { done.outcome } else { Outcome::Created };
                let row = read(connection, tenant, name).await?.ok_or(sqlx::Error::RowNotFound)?;
                Ok(Ok(Done { outcome, revision: done.revision, value: row.record()? }))
            })
        })
        .await
    }

    /// Unchanged when there is none of this name.
    pub async fn delete_route(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &RouteName,
    ) -> Result<Done<()>, AdminError> {
        let wanted = Wanted::from([(name, None)]);
        let wanted = &wanted;
        let done = self
            .administer("route.delete", |connection, _| Box::pin(apply(connection, actor, tenant, wanted)))
            .await?;
        Ok(Done { outcome: done.outcome, revision: done.revision, value: () })
    }

    /// All of it or nothing, in one transaction. What is both put and deleted is put.
    pub async fn apply_routes(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        puts: &[(RouteName, Route)],
        deletes: &[RouteName],
    ) -> Result<Done<RouteDiff>, AdminError> {
        let mut wanted: Wanted<'_> = deletes.iter().map(|name| (name, None)).collect();
        wanted.extend(puts.iter().map(|(name, route)| (name, Some(route))));
        let wanted = &wanted;
        self.administer("routes.apply", |connection, _| Box::pin(apply(connection, actor, tenant, wanted)))
            .await
    }

    pub async fn route(&self, tenant: &TenantId, name: &RouteName) -> Result<Option<RouteRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "route", source };
        let mut connection = self.pool.acquire().await.map_err(named)?;
        let found = read(&mut connection, tenant, name).await.map_err(named)?;
        found.map(Row::record).transpose().map_err(named)
    }

    /// By kind and name, from after that pair on. Deleted ones are not among them.
    pub async fn routes(
        &self,
        tenant: &TenantId,
        after: Option<(i16, String)>,
        limit: u16,
    ) -> Result<Vec<RouteRow>, StoreError> {
        let named = |source| StoreError::Statement { name: "routes", source };
        let (kind, name) = after.unwrap_or((-1, String::new()));
        let found = sqlx::query_as!(
            Row,
            "SELECT tenant_id, kind, name, route, revision, changed_at FROM routes
             WHERE tenant_id = $1 AND (kind, name) > ($2, $3) AND route IS NOT NULL ORDER BY kind, name LIMIT $4",
            tenant.as_str(),
            kind,
            name,
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found.into_iter().map(Row::record).collect::<Result<_, _>>().map_err(named)
    }
}

async fn read(
    connection: &mut PgConnection,
    tenant: &TenantId,
    name: &RouteName,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT tenant_id, kind, name, route, revision, changed_at FROM routes
         WHERE tenant_id = $1 AND kind = $2 AND name = $3 AND route IS NOT NULL",
        tenant.as_str(),
        name.kind(),
        name.name()
    )
    .fetch_optional(connection)
    .await
}

async fn apply(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    wanted: &Wanted<'_>,
) -> Answer<RouteDiff> {
    // The lock makes the changes of one tenant's routes come one after the other.
    if wanted.values().any(Option::is_some) {
        if let Err(refused) = lock_kept(connection, tenant).await? {
            return Ok(Err(refused));
        }
    } else if lock(connection, tenant).await?.is_none() {
        return Ok(Err(AdminError::NotFound));
    }
    let mut before = standing(connection, tenant, wanted).await?;
    let mut diff = RouteDiff::default();
    let mut changes = Vec::new();
    for (name, route) in wanted {
        let old = before.remove(&(name.kind(), name.name().to_owned()));
        let place = place(name);
        match (&old, route) {
            (None, None) => continue,
            (Some(_), None) => diff.deleted.push(place),
            (None, Some(_)) => diff.created.push(place),
            (Some(old), Some(new)) if reads_as(old, new) => {
                diff.unchanged.push(place);
                continue;
            }
            (Some(_), Some(_)) => diff.changed.push(place),
        }
        let new =
            route.map(serde_json::to_value).transpose().map_err(|error| sqlx::Error::Encode(error.into()))?;
        changes.push((*name, old, new));
    }
    if changes.is_empty() {
        return unchanged_routing(connection, diff).await;
    }
    let revision = step_routing(connection).await?;
    write(connection, tenant, revision, &changes).await?;
    let targets: Vec<String> = changes.iter().map(|(name, ..)| place(name)).collect();
    let notes: Vec<Note<'_>> = targets
        .iter()
        .zip(changes)
        .map(|(target, (_, before, after))| Note {
            action: if after.is_some() { "route.put" } else { "route.delete" },
            tenant: Some(tenant),
            target,
            before,
            after,
        })
        .collect();
    record(connection, actor, revision, &notes).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: diff }))
}

/// What is there under the wanted names.
async fn standing(
    connection: &mut PgConnection,
    tenant: &TenantId,
    wanted: &Wanted<'_>,
) -> Result<BTreeMap<(i16, String), Value>, sqlx::Error> {
    let kinds: Vec<i16> = wanted.keys().map(|name| name.kind()).collect();
    let names: Vec<&str> = wanted.keys().map(|name| name.name()).collect();
    let found = sqlx::query!(
        r#"SELECT r.kind, r.name, r.route AS "route!" FROM unnest($2::int2[], $3::text[]) AS w(kind, name)
             JOIN routes r ON r.tenant_id = $1 AND r.kind = w.kind AND r.name = w.name WHERE r.route IS NOT NULL"#,
        tenant.as_str(),
        &kinds,
        &names as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|row| ((row.kind, row.name), row.route)).collect())
}

/// A deleted route leaves its row without a route: by that every daemon learns of it.
async fn write(
    connection: &mut PgConnection,
    tenant: &TenantId,
    revision: i64,
    changes: &[(&RouteName, Option<Value>, Option<Value>)],
) -> Result<(), sqlx::Error> {
    let kinds: Vec<i16> = changes.iter().map(|(name, ..)| name.kind()).collect();
    let names: Vec<&str> = changes.iter().map(|(name, ..)| name.name()).collect();
    let routes: Vec<Option<Value>> = changes.iter().map(|(.., new)| new.clone()).collect();
    sqlx::query!(
        "INSERT INTO routes (tenant_id, kind, name, route, revision)
         SELECT $1, w.kind, w.name, w.route, $2 FROM unnest($3::int2[], $4::text[], $5::jsonb[]) AS w(kind, name, route)
         ON CONFLICT (tenant_id, kind, name) DO UPDATE SET route = excluded.route, revision = excluded.revision, changed_at = now(),
           created_at = CASE WHEN routes.route IS NULL THEN now() ELSE routes.created_at END",
        tenant.as_str(),
        revision,
        &kinds,
        &names as &[&str],
        &routes as &[Option<Value>]
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The same route may be written in several ways.
fn reads_as(stored: &Value, route: &Route) -> bool {
    Route::deserialize(stored).is_ok_and(|stored| stored == *route)
}

/// As the applied document names it.
fn place(name: &RouteName) -> String {
    match name {
        RouteName::Workflow(id) => format!("workflows.{id}"),
        RouteName::Type(ty) => format!("types.{ty}"),
        RouteName::Default => "default".to_owned(),
    }
}
