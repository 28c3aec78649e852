//! Who may call and with what: tenants, credentials and keys, whole, in memory.
//!
//! Each daemon polls the directory's revision, and looks when Postgres tells of a change; it loads all of it when that has moved, so the hot path never asks
//! Postgres about a caller, and a revocation is in force everywhere within a poll. While Postgres is away the last
//! snapshot stays, but it says that it is not fresh any more: nobody is let in by it.

mod build;
mod snapshot;

pub use bridge_store::{CredentialKind, TenantLimits, TenantState};
pub use snapshot::{Credential, IssuerKey, KeyGone, Snapshot, Tenant};

use crate::looks::Looks;
use crate::vault::Vault;
use arc_swap::{ArcSwap, Guard};
use bridge_store::{Store, StoreError};
use metrics::{counter, gauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// For one look at the revision. With the poll before it shorter than [`STALE_AFTER`]: one look that hangs does not
/// lead to a stale directory by itself.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// For the load that may follow. A directory too large for it would never be read, so it is generous.
const LOAD_LIMIT: Duration = Duration::from_secs(8);
/// A snapshot that Postgres has not confirmed for this long may lack a revocation, which is promised within 5 s.
pub const STALE_AFTER: Duration = Duration::from_secs(4);
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
    /// For tests and tools: what is in force is right by itself.
    stands: bool,
    born: Instant,
    /// When the last look began that Postgres answered: milliseconds since `born`, and one; 0 is never. Every
    /// request asks, so it is no part of what is locked.
    confirmed: AtomicU64,
    wake: Notify,
}

#[derive(Default)]
struct Looked {
    /// How many loads have been taken over.
    loads: u64,
    /// When a webhook secret of the snapshot ends.
    next_end: Option<Instant>,
    unreadable: build::Unreadable,
}

impl Directory {
    pub fn new(store: Store, vault: Vault) -> Self {
        Self::begin(Some(store), vault, false)
    }

    fn begin(store: Option<Store>, vault: Vault, stands: bool) -> Self {
        Self(Arc::new(Inner {
            store,
            vault,
            current: ArcSwap::from_pointee(Snapshot::empty(NEVER)),
            changes: watch::Sender::new(NEVER),
            looked: Mutex::default(),
            stands,
            born: Instant::now(),
            confirmed: AtomicU64::new(0),
            wake: Notify::new(),
        }))
    }

    /// For tests: a directory that begins with a snapshot of the caller's.
    pub fn fixed(store: Store, vault: Vault, snapshot: Snapshot) -> Self {
        let directory = Self::begin(Some(store), vault, true);
        directory.set(snapshot);
        directory
    }

    /// For tests and tools: a directory without a database. It is changed by [`Directory::set`] only.
    pub fn still(vault: Vault, snapshot: Snapshot) -> Self {
        let directory = Self::begin(None, vault, true);
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

    /// Whether Postgres has confirmed the snapshot within [`STALE_AFTER`].
    pub fn is_fresh(&self) -> bool {
        self.0.stands || self.confirmed().is_some_and(|at| at.elapsed() <= STALE_AFTER)
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
        let began = Instant::now();
        let (loads, ended) = {
            let looked = self.looked();
            (looked.loads, looked.next_end.is_some_and(|end| end <= Instant::now()))
        };
        let Some(store) = &self.0.store else { return Ok(false) };
        let revision = within("directory_revision", LOOK_LIMIT, store.directory_revision()).await?;
        if revision == self.snapshot().revision && !ended {
            self.confirm(began);
            return Ok(false);
        }
        let rows = within("directory", LOAD_LIMIT, store.directory()).await?;
        let taken = self.take(loads, build::snapshot(rows, &self.0.vault));
        self.confirm(began);
        Ok(taken)
    }

    /// Takes a load over unless a newer one came first. A revision may well be lower than the one in force: the
    /// database was restored. Then it counts that the load began after the one in force was taken over.
    fn take(&self, loads_before: u64, built: build::Built) -> bool {
        let build::Built { snapshot, next_end, unreadable, said } = built;
        let mut looked = self.looked();
        if looked.loads != loads_before && snapshot.revision <= self.snapshot().revision {
            return false;
        }
        looked.loads += 1;
        looked.next_end = next_end.map(|after| Instant::now() + after);
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

    /// Has the watch look at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Looks every so often, and when it is woken, until the daemon stops.
    pub async fn watch(self, every: Duration, stop: CancellationToken) {
        let began = Instant::now();
        let mut looks = Looks::new(every, &self.0.wake);
        let looking = async {
            loop {
                looks.next().await;
                let outcome = self.refresh().await;
                let say = looks.ended(&outcome);
                if let Err(error) = outcome {
                    counter!("bridge_directory_failures_total").increment(1);
                    if say {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            revision = self.snapshot().revision,
                            "the directory could not be looked at; what was loaded before stays in force"
                        );
                    }
                }
                gauge!("bridge_directory_age_seconds").set(self.age(began).as_secs_f64());
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// How long ago Postgres last confirmed the snapshot.
    fn age(&self, began: Instant) -> Duration {
        self.confirmed().unwrap_or(began).elapsed()
    }

    /// As of the look's beginning: what changed while it went on is not in its answer. An answer that took longer
    /// than another's takes nothing back.
    fn confirm(&self, began: Instant) {
        let after = began.saturating_duration_since(self.0.born).as_millis();
        self.0.confirmed.fetch_max(u64::try_from(after).unwrap_or(u64::MAX - 1) + 1, Ordering::Release);
    }

    fn confirmed(&self) -> Option<Instant> {
        let after = self.0.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.0.born + Duration::from_millis(after))
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, Looked> {
        self.0.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    name: &'static str,
    limit: Duration,
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, asking).await.unwrap_or(Err(StoreError::TimedOut { name, after: limit }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests;
