//! What lives, for metrics: how much in which state, and how old the oldest is. Bounded: only so many timers are looked
//! at, those first that are due first.

use std::time::Duration;

use bridge_protocol::{Lane, State};
use sqlx::Row;
use sqlx::postgres::PgPool;
use tokio::time::{Instant, timeout};

use crate::{Store, StoreError, rows};

/// More live executions than this are not counted.
const COUNTED: i64 = 10_000;

/// Of a lane's executions in one state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lives {
    pub lane: Lane,
    pub state: State,
    pub count: u64,
    /// How long the oldest that is due and not claimed has been waiting; zero when none is.
    pub unclaimed_for: Duration,
    /// How long the oldest attempt has been running; zero when none is.
    pub running_for: Duration,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Living {
    pub lives: Vec<Lives>,
    /// There are more than were counted.
    pub capped: bool,
}

/// The timers in the order of their key; each one's execution by its key, in its day's partition alone. Of what was never
/// claimed an execution is due from its acceptance, or from the time that was asked for; of what waits for another
/// attempt from its publishing. What is parked is not due.
pub(crate) const LIVING: &str = "WITH t AS MATERIALIZED (SELECT due_at, tenant_id, execution_id FROM timers ORDER BY due_at LIMIT $1::int8 + 1),
      e AS (SELECT e.lane, e.state, CASE WHEN e.state = 1 THEN e.claimed_at END AS running_since,
            CASE WHEN e.published_at IS NULL AND t.due_at > now() THEN NULL
              WHEN e.state = 0 THEN greatest(e.accepted_at, e.deliver_at)
              WHEN e.state = 3 THEN coalesce(e.published_at, t.due_at) END AS due_since
          FROM t JOIN executions e ON e.tenant_id = t.tenant_id AND e.id = t.execution_id WHERE e.state < 4)
    SELECT lane, state, count(*) AS count, (SELECT count(*) > $1 FROM t) AS capped,
        coalesce(extract(epoch FROM now() - min(due_since)), 0)::float8 AS unclaimed_for,
        coalesce(extract(epoch FROM now() - min(running_since)), 0)::float8 AS running_for
      FROM e GROUP BY lane, state";

/// A pool of connections, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    pub name: &'static str,
    pub idle: u32,
    pub used: u32,
    /// How many it may have.
    pub most: u32,
}

impl Store {
    /// What lives now.
    pub async fn living(&self, limit: Duration) -> Result<Living, StoreError> {
        let name = "living";
        let counting = sqlx::query(LIVING).bind(COUNTED).fetch_all(&self.watch_pool);
        let found = match timeout(limit, counting).await {
            Ok(found) => found.map_err(|source| StoreError::Statement { name, source })?,
            Err(_) => return Err(StoreError::TimedOut { name, after: limit }),
        };
        let mut living = Living::default();
        for row in found {
            let lives = || -> Result<(Lives, bool), sqlx::Error> {
                let lives = Lives {
                    lane: rows::lane(row.try_get("lane")?)?,
                    state: rows::state(row.try_get("state")?)?,
                    count: rows::unsigned(row.try_get("count")?),
                    unclaimed_for: rows::elapsed(row.try_get("unclaimed_for")?),
                    running_for: rows::elapsed(row.try_get("running_for")?),
                };
                Ok((lives, row.try_get("capped")?))
            };
            let (lives, capped) = lives().map_err(|source| StoreError::Statement { name, source })?;
            living.lives.push(lives);
            living.capped |= capped;
        }
        Ok(living)
    }

    /// The pools, asking nobody.
    pub fn pools(&self) -> [PoolUse; 5] {
        self.named_pools().map(|(name, pool)| {
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            let most = pool.options().get_max_connections();
            PoolUse { name, idle, used: pool.size().saturating_sub(idle), most }
        })
    }

    /// How long whoever needs a connection of each pool waits for it now, up to `limit`. Nobody waits where one is idle or
    /// may be opened; of the others one connection is asked for and given back.
    pub async fn pool_waits(&self, limit: Duration) -> [(&'static str, Duration); 5] {
        let [a, b, c, d, e] = self.named_pools().map(|(name, pool)| async move {
            let full = pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections();
            let begun = Instant::now();
            if full {
                // Whether one came or not: the time says it.
                let _came = timeout(limit, pool.acquire()).await.map(drop);
            }
            (name, if full { begun.elapsed() } else { Duration::ZERO })
        });
        tokio::join!(a, b, c, d, e).into()
    }

    fn named_pools(&self) -> [(&'static str, &PgPool); 5] {
        [
            ("main", &self.pool),
            ("batch", &self.batch_pool),
            ("duty", &self.duty_pool),
            ("list", &self.list_pool),
            ("watch", &self.watch_pool),
        ]
    }
}
