//! Who may call and with what: tenants, credentials and keys, whole, in memory.
//!
//! Each daemon polls the directory's revision and loads all of it when that has moved, so the hot path never asks
//! Postgres about a caller, and a revocation is in force everywhere within a poll. While Postgres is away the last
//! snapshot stays.

mod build;
mod snapshot;

pub use bridge_store::{CredentialKind, TenantLimits, TenantState};
pub use snapshot::{Credential, IssuerKey, KeyGone, Snapshot, Tenant};

use crate::vault::Vault;
use arc_swap::{ArcSwap, Guard};
use bridge_store::{Store, StoreError};
use metrics::{counter, gauge};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

/// For one look at the revision and the load that may follow.
const LOOK_LIMIT: Duration = Duration::from_secs(15);
/// A directory that cannot be read is said this often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The revision of a directory that was never read.
const NEVER: i64 = -1;

/// A handle to the snapshot; clones share it.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    /// None: it stands still.
    store: Option<Store>,
    vault: Vault,
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<i64>,
    looked: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    /// How many loads have been taken over.
    loads: u64,
    /// When Postgres last said what the directory's revision is.
    at: Option<Instant>,
    /// When a webhook secret of the snapshot ends.
    next_end: Option<Instant>,
    unreadable: build::Unreadable,
}

impl Directory {
    pub fn new(store: Store, vault: Vault) -> Self {
        Self::begin(Some(store), vault)
    }

    fn begin(store: Option<Store>, vault: Vault) -> Self {
        Self(Arc::new(Inner {
            store,
            vault,
            current: ArcSwap::from_pointee(Snapshot::empty(NEVER)),
            changes: watch::Sender::new(NEVER),
            looked: Mutex::default(),
        }))
    }

    /// For tests: a directory that begins with a snapshot of the caller's.
    pub fn fixed(store: Store, vault: Vault, snapshot: Snapshot) -> Self {
        let directory = Self::new(store, vault);
        directory.set(snapshot);
        directory
    }

    /// For tests and tools: a directory without a database. It is changed by [`Directory::set`] only.
    pub fn still(vault: Vault, snapshot: Snapshot) -> Self {
        let directory = Self::begin(None, vault);
        directory.set(snapshot);
        directory
    }

    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The snapshot for holders that wait: a guard should not live over an await.
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// False until Postgres has answered once: nobody is known then, and nobody may be told that he is unknown.
    pub fn is_loaded(&self) -> bool {
        self.snapshot().revision != NEVER
    }

    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The revision in force, whenever it moves.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.0.changes.subscribe()
    }

    /// Looks whether the directory has changed and loads it if so; says whether it did.
    ///
    /// # Errors
    /// When Postgres does not answer; the old snapshot stays.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let look = async {
            let (loads, ended) = {
                let looked = self.looked();
                (looked.loads, looked.next_end.is_some_and(|end| end <= Instant::now()))
            };
            let Some(store) = &self.0.store else { return Ok(false) };
            let revision = store.directory_revision().await?;
            if revision == self.snapshot().revision && !ended {
                self.looked().at = Some(Instant::now());
                return Ok(false);
            }
            let rows = store.directory().await?;
            Ok(self.take(loads, build::snapshot(rows, &self.0.vault)))
        };
        let name = "directory";
        timeout(LOOK_LIMIT, look).await.unwrap_or(Err(StoreError::TimedOut { name, after: LOOK_LIMIT }))
    }

    /// Takes a load over unless a newer one came first. A revision may well be lower than the one in force: the
    /// database was restored. Then it counts that the load began after the one in force was taken over.
    fn take(&self, loads_before: u64, built: build::Built) -> bool {
        let build::Built { snapshot, next_end, unreadable, said } = built;
        let mut looked = self.looked();
        let now = Instant::now();
        looked.at = Some(now);
        if looked.loads != loads_before && snapshot.revision <= self.snapshot().revision {
            return false;
        }
        looked.loads += 1;
        looked.next_end = next_end.map(|after| now + after);
        for (kind, count) in unreadable {
            gauge!("bridge_sealed_unreadable", "kind" => kind).set(count as f64);
        }
        // Not again with every change of something else.
        if std::mem::replace(&mut looked.unreadable, unreadable) != unreadable {
            for (tenant, what) in said {
                tracing::error!(tenant_id = tenant.as_ref().map(tracing::field::display), "{what}");
            }
        }
        tracing::info!(
            revision = snapshot.revision,
            tenants = snapshot.tenants.len(),
            credentials = snapshot.by_id.len(),
            "directory loaded"
        );
        self.set(snapshot);
        true
    }

    /// Puts a snapshot in force.
    pub fn set(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        gauge!("bridge_directory_revision").set(revision as f64);
        self.0.current.store(Arc::new(snapshot));
        self.0.changes.send_replace(revision);
    }

    /// Looks every so often until the daemon stops.
    pub async fn watch(self, every: Duration, stop: CancellationToken) {
        counter!("bridge_directory_failures_total").increment(0);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, mut said) = (Instant::now(), None::<Instant>);
        let looking = async {
            loop {
                ticks.tick().await;
                match self.refresh().await {
                    Ok(_) => said = None,
                    Err(error) => {
                        counter!("bridge_directory_failures_total").increment(1);
                        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                            said = Some(Instant::now());
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                revision = self.snapshot().revision,
                                "the directory could not be looked at; what was loaded before stays in force"
                            );
                        }
                    }
                }
                gauge!("bridge_directory_age_seconds").set(self.age(began).as_secs_f64());
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// How long ago Postgres last confirmed the snapshot.
    fn age(&self, began: Instant) -> Duration {
        self.looked().at.unwrap_or(began).elapsed()
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, Looked> {
        self.0.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests;
