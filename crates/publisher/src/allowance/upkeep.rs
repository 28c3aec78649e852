//! Keeps the accounts fresh: writes down what was used and reads what the other publishers used, counts open executions
//! and living publishers. Each of it only as often, and only for those tenants, as their limits ask for.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bridge_protocol::TenantId;
use bridge_service::directory::{Directory, Snapshot};
use bridge_service::heartbeat::ALIVE_WITHIN;
use bridge_store::{Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Allowances;
use super::account::{Account, Unwritten};

const EVERY: Duration = Duration::from_secs(1);
/// Ticks between two counts of open executions.
const COUNT_OPEN: u64 = 2;
/// Ticks between two looks at what the others used, and at who lives.
const LOOK_AROUND: u64 = 5;
/// Ticks between two writes of the use of tenants without a quota: that is only for the statistics.
const WRITE_ALL: u64 = 10;
const LIMIT: Duration = Duration::from_secs(5);

/// Which limits any tenant has.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    rate: bool,
    open: bool,
    bytes: bool,
}

impl Asked {
    fn by(snapshot: &Snapshot) -> Self {
        snapshot.tenants.values().fold(Self::default(), |asked, tenant| Self {
            rate: asked.rate || tenant.limits.requests_per_second.is_some(),
            open: asked.open || tenant.limits.open_executions.is_some(),
            bytes: asked.bytes || tenant.limits.payload_bytes_per_day.is_some(),
        })
    }
}

/// Runs until the stop, and then writes down what is left.
pub async fn keep(allowances: Arc<Allowances>, store: Store, directory: Directory, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut asked) = (None, Asked::default());
    let (mut tick, mut count_after) = (0u64, Instant::now());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let snapshot = directory.snapshot_full();
        // A new limit is looked after at once.
        let fresh = seen != Some(snapshot.revision);
        if fresh {
            (seen, asked) = (Some(snapshot.revision), Asked::by(&snapshot));
            allowances.adjust(&snapshot);
        }
        if asked.rate && (fresh || tick.is_multiple_of(LOOK_AROUND)) {
            told("publishers", allowances.count_publishers(&store).await);
        }
        if asked.open && (fresh || tick.is_multiple_of(COUNT_OPEN)) && Instant::now() >= count_after {
            let began = Instant::now();
            told("open_executions", allowances.count_open(&store, &snapshot).await);
            // With millions open a count takes its time; it must not become the database's main work.
            count_after = Instant::now() + began.elapsed() * 10;
        }
        let which = match () {
            () if tick % WRITE_ALL == WRITE_ALL - 1 => Which::Used,
            () if fresh || tick.is_multiple_of(LOOK_AROUND) => Which::Limited,
            () => Which::LimitedAndUsed,
        };
        if asked.bytes || which == Which::Used {
            told("usage", allowances.write(&store, &snapshot, which).await);
        }
        tick += 1;
    }
    told("usage", allowances.write(&store, &directory.snapshot_full(), Which::Used).await);
}

/// Whose use is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Everybody who used something, and all with a quota.
    Used,
    /// All with a quota: what others used is told in the answer.
    Limited,
    LimitedAndUsed,
}

fn told(what: &'static str, outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        metrics::counter!("bridge_allowance_errors_total", "what" => what).increment(1);
        tracing::debug!(
            what,
            error = &error as &dyn std::error::Error,
            "the figures that limits are judged by are not fresh; the last ones stay in force"
        );
    }
}

async fn limited<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(StoreError::TimedOut { name, after: LIMIT }))
}

impl Allowances {
    /// Accounts for all with a quota, none for who is not there any more.
    fn adjust(&self, snapshot: &Snapshot) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|id, _| snapshot.tenants.contains_key(id));
        for tenant in snapshot.tenants.values() {
            let limits = &tenant.limits;
            if limits.open_executions.is_some() || limits.payload_bytes_per_day.is_some() {
                accounts.entry(tenant.id.clone()).or_default();
            }
        }
    }

    async fn count_publishers(&self, store: &Store) -> Result<(), StoreError> {
        let members = limited("live_members", store.live_members(ALIVE_WITHIN)).await?;
        let publishers = members.iter().filter(|member| member.kind == "publisher").count();
        self.publishers.store(u32::try_from(publishers).unwrap_or(u32::MAX).max(1), Relaxed);
        Ok(())
    }

    async fn count_open(&self, store: &Store, snapshot: &Snapshot) -> Result<(), StoreError> {
        let before: Vec<_> = self
            .some(|id| snapshot.tenant(id).is_some_and(|tenant| tenant.limits.open_executions.is_some()))
            .into_iter()
            .map(|(id, account)| (id, account.executions(), account))
            .collect();
        let counted = limited("open_executions", store.open_executions()).await?;
        let open: std::collections::HashMap<_, _> = counted.into_iter().collect();
        for (id, executions, account) in before {
            account.counted(open.get(&id).copied().unwrap_or(0), executions);
        }
        Ok(())
    }

    async fn write(&self, store: &Store, snapshot: &Snapshot, which: Which) -> Result<(), StoreError> {
        let is_limited = |id: &TenantId| {
            snapshot.tenant(id).is_some_and(|tenant| tenant.limits.payload_bytes_per_day.is_some())
        };
        let rows: Vec<(TenantId, Arc<Account>, Unwritten)> = self
            .some(|id| which == Which::Used || is_limited(id))
            .into_iter()
            .map(|(id, account)| {
                let unwritten = account.unwritten();
                (id, account, unwritten)
            })
            .filter(|(id, _, unwritten)| {
                let used = unwritten.bytes > 0 || unwritten.executions > 0;
                used || (which != Which::LimitedAndUsed && is_limited(id))
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let used: Vec<_> = rows
            .iter()
            .map(|(id, _, unwritten)| (id.clone(), unwritten.bytes, unwritten.executions))
            .collect();
        let totals = limited("add_usage", store.add_usage(&used)).await?;
        let totals: std::collections::HashMap<_, _> =
            totals.into_iter().map(|(id, bytes, _)| (id, bytes)).collect();
        for (id, account, unwritten) in rows {
            account.written(unwritten, totals.get(&id).copied().unwrap_or(unwritten.bytes));
        }
        Ok(())
    }

    fn some(&self, wanted: impl Fn(&TenantId) -> bool) -> Vec<(TenantId, Arc<Account>)> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts
            .iter()
            .filter(|(id, _)| wanted(id))
            .map(|(id, account)| (id.clone(), account.clone()))
            .collect()
    }
}
