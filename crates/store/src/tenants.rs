//! Tenants: their state and their limits.

use bridge_protocol::{TenantId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::admin::{Actor, AdminError, Answer, Done, Note, Outcome, conflict, revision, step, unchanged};
use crate::webhook_secrets::secret_exists;
use crate::{Store, StoreError, rows};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantState {
    Active,
    /// Accepts nothing and fires nothing; what it has is kept.
    Suspended,
    /// Accepts nothing; what lives runs to its end, then everything is removed.
    Deleting,
}

impl TenantState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }

    pub fn code(self) -> i16 {
        match self {
            Self::Active => 0,
            Self::Suspended => 1,
            Self::Deleting => 2,
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleting].into_iter().find(|state| state.code() == code)
    }
}

/// None: not limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    pub requests_per_second: Option<f64>,
    pub burst: Option<u32>,
    pub open_executions: Option<u64>,
    pub payload_bytes_per_day: Option<u64>,
    /// How long a result is kept; without it as long as payloads are.
    pub result_ttl_s: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    pub id: TenantId,
    pub state: TenantState,
    pub limits: TenantLimits,
    pub created_at: Time,
    pub changed_at: Time,
}

pub(crate) struct TenantRow {
    pub id: String,
    pub state: i16,
    pub requests_per_second: Option<f64>,
    pub burst: Option<i32>,
    pub open_executions: Option<i64>,
    pub payload_bytes_per_day: Option<i64>,
    pub result_ttl_s: Option<i64>,
    pub created_at: Time,
    pub changed_at: Time,
}

impl TenantRow {
    pub fn record(self) -> Result<TenantRecord, sqlx::Error> {
        Ok(TenantRecord {
            id: rows::tenant(&self.id)?,
            state: TenantState::from_code(self.state).ok_or_else(|| rows::bad("tenant state", self.state))?,
            limits: TenantLimits {
                requests_per_second: self.requests_per_second,
                burst: self.burst.map(|burst| burst.max(0) as u32),
                open_executions: self.open_executions.map(rows::unsigned),
                payload_bytes_per_day: self.payload_bytes_per_day.map(rows::unsigned),
                result_ttl_s: self.result_ttl_s.map(rows::unsigned),
            },
            created_at: self.created_at,
            changed_at: self.changed_at,
        })
    }
}

/// Above this many timers nobody waits for the exact number.
const COUNTED_EXACTLY: i64 = 10_000;

impl Store {
    /// Makes the tenant or brings it to `state` and `limits`; what is None stays (of a new one: active, unlimited).
    /// `first_secret` is the sealed webhook secret of a new tenant. By its id a creation whose answer was lost
    /// recognises itself, so each call brings a new one.
    pub async fn put_tenant(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        state: Option<TenantState>,
        limits: Option<TenantLimits>,
        first_secret: Option<(Uuid, Vec<u8>)>,
    ) -> Result<Done<TenantRecord>, AdminError> {
        let wanted = Wanted { state, limits, first_secret };
        self.administer("tenant.put", |connection, _| Box::pin(put(connection, actor, tenant, &wanted))).await
    }

    pub async fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let named = |source| StoreError::Statement { name: "tenant", source };
        let found = sqlx::query_as!(TenantRow, "SELECT * FROM tenants WHERE id = $1", tenant.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(named)?;
        found.map(TenantRow::record).transpose().map_err(named)
    }

    /// By id.
    pub async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<TenantRecord>, StoreError> {
        let named = |source| StoreError::Statement { name: "tenants", source };
        let found = sqlx::query_as!(
            TenantRow,
            "SELECT * FROM tenants WHERE id > $1 ORDER BY id LIMIT $2",
            after.map_or("", TenantId::as_str),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(named)?;
        found.into_iter().map(TenantRow::record).collect::<Result<_, _>>().map_err(named)
    }

    pub async fn mark_deleting(
        &self,
        actor: &Actor,
        tenant: &TenantId,
    ) -> Result<Done<TenantRecord>, AdminError> {
        self.administer("tenant.delete", |connection, _| Box::pin(mark(connection, actor, tenant))).await
    }

    /// Executions that have not ended. Exact while they are not very many; beyond, left-over timers count too.
    pub async fn live_count(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let named = |source| StoreError::Statement { name: "live_count", source };
        let timers = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM timers WHERE tenant_id = $1"#,
            tenant.as_str()
        )
        .fetch_one(&self.pool)
        .await
        .map_err(named)?;
        if timers == 0 || timers > COUNTED_EXACTLY {
            return Ok(rows::unsigned(timers));
        }
        // This pool's sessions look executions up by key, whatever the planner thinks of the tables' sizes.
        sqlx::query_scalar!(
            r#"SELECT count(DISTINCT e.id) AS "count!" FROM timers t JOIN executions e ON e.tenant_id = t.tenant_id AND e.id = t.execution_id
               WHERE t.tenant_id = $1 AND e.state < 4"#,
            tenant.as_str()
        )
        .fetch_one(&self.batch_pool)
        .await
        .map(rows::unsigned)
        .map_err(named)
    }
}

struct Wanted {
    state: Option<TenantState>,
    limits: Option<TenantLimits>,
    first_secret: Option<(Uuid, Vec<u8>)>,
}

async fn put(
    connection: &mut PgConnection,
    actor: &Actor,
    tenant: &TenantId,
    wanted: &Wanted,
) -> Answer<TenantRecord> {
    if wanted.state == Some(TenantState::Deleting) {
        return conflict("a tenant is deleted by its own call, not by a change of its state");
    }
    let mut found = lock(connection, tenant).await?;
    if found.is_none() {
        if let Some(record) = insert(connection, tenant, wanted).await? {
            let note = note("tenant.create", tenant, None, Some(&record));
            let revision = step(connection, actor, note).await?;
            return Ok(Ok(Done { outcome: Outcome::Created, revision, value: record }));
        }
        // Another creation was faster.
        found = lock(connection, tenant).await?;
    }
    let Some(before) = found else {
        return conflict(format!("tenant {tenant} was removed in this very moment; run the call again"));
    };
    if let Some((secret, _)) = &wanted.first_secret
        && secret_exists(connection, tenant, *secret).await?
    {
        let revision = revision(connection).await?;
        return Ok(Ok(Done { outcome: Outcome::Created, revision, value: before }));
    }
    if before.state == TenantState::Deleting {
        return conflict(deleting(tenant));
    }
    let state = wanted.state.unwrap_or(before.state);
    let limits = wanted.limits.clone().unwrap_or_else(|| before.limits.clone());
    if state == before.state && limits == before.limits {
        return unchanged(connection, before).await;
    }
    let after = update(connection, tenant, state, &limits).await?;
    let action = match (before.state, state) {
        (TenantState::Active, TenantState::Suspended) => "tenant.suspend",
        (TenantState::Suspended, TenantState::Active) => "tenant.resume",
        _ => "tenant.change",
    };
    let revision = step(connection, actor, note(action, tenant, Some(&before), Some(&after))).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: after }))
}

async fn mark(connection: &mut PgConnection, actor: &Actor, tenant: &TenantId) -> Answer<TenantRecord> {
    let Some(before) = lock(connection, tenant).await? else { return Ok(Err(AdminError::NotFound)) };
    if before.state == TenantState::Deleting {
        return unchanged(connection, before).await;
    }
    let after = update(connection, tenant, TenantState::Deleting, &before.limits).await?;
    let note = note("tenant.delete", tenant, Some(&before), Some(&after));
    let revision = step(connection, actor, note).await?;
    Ok(Ok(Done { outcome: Outcome::Changed, revision, value: after }))
}

fn note<'a>(
    action: &'a str,
    tenant: &'a TenantId,
    before: Option<&TenantRecord>,
    after: Option<&TenantRecord>,
) -> Note<'a> {
    let shown = |record: &TenantRecord| json!({ "state": record.state.as_str(), "limits": record.limits });
    Note {
        action,
        tenant: Some(tenant),
        target: tenant.as_str(),
        before: before.map(shown),
        after: after.map(shown),
    }
}

pub(crate) fn deleting(tenant: &TenantId) -> String {
    format!("tenant {tenant} is being deleted; wait until it is gone, then make it anew")
}

/// The tenant's row, held until the transaction ends: its changes come one after the other.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Option<TenantRecord>, sqlx::Error> {
    sqlx::query_as!(TenantRow, "SELECT * FROM tenants WHERE id = $1 FOR UPDATE", tenant.as_str())
        .fetch_optional(connection)
        .await?
        .map(TenantRow::record)
        .transpose()
}

/// Locks the tenant for a change of what belongs to it; the inner error says why there may be none.
pub(crate) async fn lock_kept(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Result<(), AdminError>, sqlx::Error> {
    Ok(match lock(connection, tenant).await? {
        None => Err(AdminError::NotFound),
        Some(record) if record.state == TenantState::Deleting => Err(AdminError::Conflict(deleting(tenant))),
        Some(_) => Ok(()),
    })
}

async fn insert(
    connection: &mut PgConnection,
    tenant: &TenantId,
    wanted: &Wanted,
) -> Result<Option<TenantRecord>, sqlx::Error> {
    let limits = wanted.limits.clone().unwrap_or_default();
    let created = sqlx::query_as!(
        TenantRow,
        "INSERT INTO tenants (id, state, requests_per_second, burst, open_executions, payload_bytes_per_day, result_ttl_s) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT DO NOTHING RETURNING *",
        tenant.as_str(),
        wanted.state.unwrap_or(TenantState::Active).code(),
        limits.requests_per_second,
        limits.burst.map(burst),
        limits.open_executions.map(rows::signed),
        limits.payload_bytes_per_day.map(rows::signed),
        limits.result_ttl_s.map(rows::signed)
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(created) = created else { return Ok(None) };
    if let Some((id, sealed)) = &wanted.first_secret {
        sqlx::query!(
            "INSERT INTO webhook_secrets (tenant_id, id, sealed) VALUES ($1, $2, $3)",
            tenant.as_str(),
            id,
            sealed
        )
        .execute(connection)
        .await?;
    }
    created.record().map(Some)
}

async fn update(
    connection: &mut PgConnection,
    tenant: &TenantId,
    state: TenantState,
    limits: &TenantLimits,
) -> Result<TenantRecord, sqlx::Error> {
    sqlx::query_as!(
        TenantRow,
        "UPDATE tenants SET state = $2, requests_per_second = $3, burst = $4, open_executions = $5, payload_bytes_per_day = $6, result_ttl_s = $7, changed_at = clock_timestamp()
         WHERE id = $1 RETURNING *",
        tenant.as_str(),
        state.code(),
        limits.requests_per_second,
        limits.burst.map(burst),
        limits.open_executions.map(rows::signed),
        limits.payload_bytes_per_day.map(rows::signed),
        limits.result_ttl_s.map(rows::signed)
    )
    .fetch_one(connection)
    .await?
    .record()
}

fn burst(burst: u32) -> i32 {
    i32::try_from(burst).unwrap_or(i32::MAX)
}
