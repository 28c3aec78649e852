//! Connections: how they are set up, and the refusal of poolers that swap the server between statements.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};

use crate::{StoreConfig, StoreError};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn options(config: &StoreConfig) -> Result<PgConnectOptions, StoreError> {
    let statement_timeout = config.statement_timeout.as_millis().to_string();
    Ok(PgConnectOptions::from_str(&config.url)
        .map_err(StoreError::Url)?
        .application_name(&config.application_name)
        .statement_cache_capacity(256)
        .options([
            ("statement_timeout", statement_timeout.as_str()),
            ("lock_timeout", statement_timeout.as_str()),
            ("idle_in_transaction_session_timeout", "30000"),
            ("timezone", "UTC"),
        ]))
}

/// Keys are looked up by index in batches of at most some hundred rows: anything but a nested loop over the index
/// is a misjudgement of a table that was small when it was last analysed.
pub(crate) fn batch_options(config: &StoreConfig) -> Result<PgConnectOptions, StoreError> {
    Ok(options(config)?.options([
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ]))
}

/// A page comes out of an index in its order. A partition that was not analysed yet looks so small that reading all of
/// it and sorting that seems as good. And the plan is made once: over many partitions making it takes longer than the page.
pub(crate) fn list_options(config: &StoreConfig) -> Result<PgConnectOptions, StoreError> {
    Ok(batch_options(config)?.options([("enable_bitmapscan", "off"), ("enable_sort", "off")]))
}

pub(crate) fn pool(config: &StoreConfig, size: u32) -> Result<PgPool, StoreError> {
    Ok(PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(CONNECT_LIMIT)
        .connect_lazy_with(options(config)?))
}

pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(options)).await {
        Ok(connection) => connection,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no connection to Postgres within {CONNECT_LIMIT:?}"),
        ))),
    }
}

/// Two open connections that share one server process can only mean pooling by transaction: prepared statements
/// and session settings would come and go.
pub(crate) async fn refuse_transaction_pooling(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut first = connect(options).await.map_err(StoreError::Unavailable)?;
    let mut second = connect(options).await.map_err(StoreError::Unavailable)?;
    let pid = "SELECT pg_backend_pid()";
    let a: i32 = sqlx::query_scalar(pid).fetch_one(&mut first).await.map_err(StoreError::Unavailable)?;
    let b: i32 = sqlx::query_scalar(pid).fetch_one(&mut second).await.map_err(StoreError::Unavailable)?;
    if a == b {
        return Err(StoreError::Setup(
            "the database URL leads to a pooler that pools by transaction; use its session mode or connect to Postgres itself"
                .to_owned(),
        ));
    }
    first.close().await.map_err(StoreError::Unavailable)?;
    second.close().await.map_err(StoreError::Unavailable)
}
