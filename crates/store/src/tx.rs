//! Every transaction runs through here: named, measured, and run again when Postgres says so.

use std::marker::PhantomData;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::PgPool;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::StoreError;
use crate::error::{Fault, fault};

const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(25);

/// Says that what a body borrows (`'b`) outlives the connection that it is lent (`'c`); it carries nothing.
pub(crate) type Lent<'c, 'b> = PhantomData<&'c &'b ()>;

/// Runs `body` in one transaction. It may run more than once, also after a COMMIT whose answer got lost: it must
/// bear that. `limit` covers one run, for the network that says nothing any more.
pub(crate) async fn transaction<'b, T, F>(
    pool: &PgPool,
    name: &'static str,
    limit: Duration,
    mut body: F,
) -> Result<T, StoreError>
where
    F: for<'c> FnMut(&'c mut PgConnection, Lent<'c, 'b>) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
    T: Send,
{
    let mut attempt = 1;
    loop {
        let started = Instant::now();
        let outcome = tokio::time::timeout(limit, once(pool, &mut body)).await;
        metrics::histogram!("bridge_store_transaction_seconds", "name" => name)
            .record(started.elapsed().as_secs_f64());
        let source = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(source)) => source,
            Err(_) => return Err(StoreError::TimedOut { name, after: limit }),
        };
        let again = matches!(fault(&source), Fault::Connection | Fault::Again);
        if !again {
            return Err(StoreError::Statement { name, source });
        }
        if attempt == ATTEMPTS {
            return Err(StoreError::Unavailable(source));
        }
        metrics::counter!("bridge_store_retries_total", "name" => name).increment(1);
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

async fn once<'b, T, F>(pool: &PgPool, body: &mut F) -> Result<T, sqlx::Error>
where
    F: for<'c> FnMut(&'c mut PgConnection, Lent<'c, 'b>) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
{
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let value = body(&mut transaction, PhantomData).await?;
    transaction.commit().await?;
    Ok(value)
}
