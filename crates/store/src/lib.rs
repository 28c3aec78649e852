//! The truth of the bridge, in Postgres. The only crate that knows sqlx.
//!
//! The hot statements (`accept`, `claim`, `finish`, `reschedule`) are micro-batched by [`batch`]; the relay's
//! [`timers`] are one short transaction; administrative changes go through [`admin`] and are on the record; everything
//! else is plain reading and writing.

mod accept;
mod accept_fence;
mod admin;
mod audit;
mod batch;
mod callback;
mod cancel;
mod cancel_one;
mod changes;
mod claim;
mod config;
mod connect;
mod counts;
mod credentials;
mod data_keys;
mod day;
mod dead_letters;
mod directory;
mod error;
mod examine;
mod executions;
mod export;
mod finish;
mod follow_ups;
mod health;
mod holds;
mod issuer_keys;
mod jobs;
mod lists;
mod measures;
mod notices;
mod overview;
mod page;
mod partitions;
mod pulse;
mod release;
mod removal;
mod replay;
mod reschedule;
mod results;
mod routes;
mod routing;
mod rows;
mod sealed;
mod tenants;
mod timers;
mod together;
mod tx;
mod webhook_credentials;
mod webhook_secrets;

use std::time::Duration;

use bridge_protocol::Time;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;

pub use accept::{Accepted, Idempotency, NativeClaim, NewExecution};
pub use admin::{Actor, AdminError, Done, Outcome};
pub use audit::{AuditFilter, AuditRow};
pub use callback::{Report, Reported};
pub use cancel_one::CancelOutcome;
pub use changes::Changes;
pub use claim::{Claim, ClaimAnswer, Claimed, Payload, Refusal, StoredPayload};
pub use config::StoreConfig;
pub use counts::{Refused, RefusedRow};
pub use credentials::{CredentialKind, CredentialRecord};
pub use data_keys::SealedDataKey;
pub use day::Day;
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetters, Discarded};
pub use directory::DirectoryRows;
pub use error::{StoreError, WriteError};
pub use examine::Examined;
pub use executions::{Attempt, Execution};
pub use export::ExportedRow;
pub use finish::{Ending, Finish, Finished, ResultBody};
pub use follow_ups::FollowUp;
pub use health::{LiveMember, Member, Pulse};
pub use holds::HoldRow;
pub use issuer_keys::SealedIssuerKey;
pub use jobs::{Job, JobKind, JobProgress, JobState, NewJob};
pub use lists::{Filter, Listed, Listing};
pub use measures::Ended;
pub use notices::{Notice, Rejected};
pub use overview::{MemberRow, Overview};
pub use partitions::Maintained;
pub use pulse::{Lives, Living, PoolUse};
pub use removal::Removed;
pub use replay::{PayloadSize, Replayable};
pub use reschedule::{Reschedule, Why};
pub use results::{ResultRow, StoredResult};
pub use routes::{RouteDiff, RouteRow};
pub use routing::RoutingRows;
pub use sealed::{SealedAt, SealedBlob};
pub use tenants::{TenantLimits, TenantRecord, TenantState};
pub use timers::{Due, Rung};
pub use webhook_credentials::SealedWebhookCredential;
pub use webhook_secrets::SealedRow;

use batch::{BatchLimits, Batcher};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Connections that the relay and batch requests share.
const BATCH_POOL: u32 = 3;

/// Connections for lists and counts: however many are asked for, they do not keep the other reads waiting.
const LIST_POOL: u32 = 3;

/// Connections for what keeps the daemon honest: its directory, its routing and its heartbeat. They do not queue behind
/// the reads of the API, which may be as many and as slow as callers like. One for each of the three loops.
const DUTY_POOL: u32 = 3;

/// The connection that counts for metrics: nothing else waits for it, and it for nobody.
const WATCH_POOL: u32 = 1;

/// A handle to the database; clones share its connections.
#[derive(Clone)]
pub struct Store {
    config: StoreConfig,
    options: PgConnectOptions,
    pool: PgPool,
    batch_pool: PgPool,
    duty_pool: PgPool,
    list_pool: PgPool,
    watch_pool: PgPool,
    accepts: Batcher<accept::Accept>,
    claims: Batcher<claim::ClaimStatement>,
    finishes: Batcher<finish::FinishStatement>,
    reschedules: Batcher<reschedule::RescheduleStatement>,
    stop: CancellationToken,
}

impl Store {
    /// Opens the store. The connections come up as they are needed, so this succeeds while Postgres is down;
    /// `check` is for the start-up that wants to know.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let batch_options = connect::batch_options(&config)?;
        let stop = CancellationToken::new();
        let limits = BatchLimits {
            rows: config.batch_rows,
            bytes: config.batch_bytes,
            connections: config.batch_connections,
            queue_rows: config.queue_rows,
            statement_timeout: config.statement_timeout,
        };
        Ok(Self {
            options: connect::options(&config)?,
            pool: connect::pool(&config, config.pool_size)?,
            duty_pool: connect::pool(&config, DUTY_POOL)?,
            list_pool: PgPoolOptions::new()
                .max_connections(LIST_POOL)
                .acquire_timeout(config.statement_timeout)
                .connect_lazy_with(connect::list_options(&config)?),
            watch_pool: PgPoolOptions::new()
                .max_connections(WATCH_POOL)
                .acquire_timeout(config.statement_timeout)
                .connect_lazy_with(batch_options.clone()),
            batch_pool: PgPoolOptions::new()
                .max_connections(BATCH_POOL)
                .acquire_timeout(config.statement_timeout)
                .connect_lazy_with(batch_options.clone()),
            accepts: Batcher::start(accept::Accept, batch_options.clone(), &limits, &stop),
            claims: Batcher::start(claim::ClaimStatement, batch_options.clone(), &limits, &stop),
            finishes: Batcher::start(finish::FinishStatement, batch_options.clone(), &limits, &stop),
            reschedules: Batcher::start(reschedule::RescheduleStatement, batch_options, &limits, &stop),
            config,
            stop,
        })
    }

    /// Refuses a pooler that pools by transaction and a schema that is not this program's.
    pub async fn check(&self) -> Result<(), StoreError> {
        connect::refuse_transaction_pooling(&self.options).await?;
        let wanted = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or_default();
        let found: Result<Option<i64>, _> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await;
        match found {
            Ok(Some(found)) if found >= wanted => Ok(()),
            Ok(found) => Err(StoreError::Setup(format!(
                "the schema is at version {}, this program needs {wanted}; run `bridgectl migrate`",
                found.unwrap_or_default()
            ))),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
                Err(StoreError::Setup("the database has no schema yet; run `bridgectl migrate`".to_owned()))
            }
            Err(error) => Err(StoreError::Unavailable(error)),
        }
    }

    /// Brings the schema up to date under an advisory lock, and makes the partitions ahead.
    pub async fn migrate(&self, now: Time) -> Result<(), StoreError> {
        let mut connection = connect::connect(&self.options).await.map_err(StoreError::Unavailable)?;
        MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migration)?;
        drop(connection);
        self.ensure_partitions(now).await.map(drop)
    }

    /// Durable when it returns `New` or `Replayed`; `TenantClosed` wrote nothing.
    pub async fn accept(&self, execution: NewExecution, patience: Duration) -> Result<Accepted, WriteError> {
        self.accepts.submit(execution, patience).await
    }

    pub async fn claim(&self, claim: Claim, patience: Duration) -> Result<ClaimAnswer, WriteError> {
        self.claims.submit(claim, patience).await
    }

    pub async fn finish(&self, finish: Finish, patience: Duration) -> Result<Finished, WriteError> {
        self.finishes.submit(finish, patience).await
    }

    pub async fn reschedule(
        &self,
        reschedule: Reschedule,
        patience: Duration,
    ) -> Result<Finished, WriteError> {
        self.reschedules.submit(reschedule, patience).await
    }

    /// Closes every connection; statements that are still queued are answered as unavailable.
    pub async fn close(&self) {
        self.stop.cancel();
        self.pool.close().await;
        self.batch_pool.close().await;
        self.duty_pool.close().await;
        self.list_pool.close().await;
        self.watch_pool.close().await;
    }

    fn transaction_limit(&self) -> Duration {
        self.config.statement_timeout * 4
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests;
