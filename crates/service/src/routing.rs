//! Routes and holds, whole, in memory, as every daemon decides and fires by them.
//!
//! Postgres tells of each change at once over a connection of its own, and a poll stands behind that: what it missed
//! is in force a poll later. A look costs one small query; a change loads only what changed. While Postgres is away
//! the last table stays in force.

mod listen;

use crate::directory::Directory;
use crate::looks::Looks;
use arc_swap::ArcSwap;
use bridge_protocol::{Defaults, RouteTable, RouteTableError};
use bridge_store::{RoutingRows, Store, StoreError};
use metrics::{counter, gauge};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For one look at the revision and the load that may follow.
const LOOK_LIMIT: Duration = Duration::from_secs(8);
/// The revision of a table that was never read; those in the database begin at 1.
const NEVER: i64 = 0;

/// A handle to the table; clones share it.
#[derive(Clone)]
pub struct Routing(Arc<Inner>);

struct Inner {
    store: Store,
    /// Without any tenant's routes.
    bare: RouteTable,
    table: Arc<ArcSwap<RouteTable>>,
    changes: watch::Sender<i64>,
    /// Held while a load is compared with the table in force and put in its place.
    taking: Mutex<()>,
    wake: Notify,
}

impl Routing {
    /// # Errors
    /// When the operator's own URLs cannot be used.
    pub fn new(store: Store, defaults: Defaults) -> Result<Self, RouteTableError> {
        let bare = RouteTable::new(defaults)?;
        Ok(Self(Arc::new(Inner {
            store,
            table: Arc::new(ArcSwap::from_pointee(bare.clone())),
            bare,
            changes: watch::Sender::new(NEVER),
            taking: Mutex::new(()),
            wake: Notify::new(),
        })))
    }

    /// No tenant's routes, as if that had been read: for tests without a database.
    ///
    /// # Errors
    /// As [`Routing::new`].
    pub fn fixed(store: Store, defaults: Defaults) -> Result<Self, RouteTableError> {
        let routing = Self::new(store, defaults)?;
        let read = routing.0.bare.with(NEVER + 1, Vec::new(), Vec::new());
        routing.0.table.store(Arc::new(read));
        Ok(routing)
    }

    /// The table in force, now and after every change.
    pub fn table(&self) -> Arc<ArcSwap<RouteTable>> {
        self.0.table.clone()
    }

    pub fn revision(&self) -> i64 {
        self.0.table.load().revision()
    }

    /// False until Postgres has answered once: nobody knows then where anything goes, and nothing may be accepted or
    /// fired.
    pub fn is_loaded(&self) -> bool {
        self.revision() != NEVER
    }

    /// The revision in force, whenever it moves.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.0.changes.subscribe()
    }

    /// Looks whether routes or holds have changed and loads the changes if so; says whether it did.
    ///
    /// # Errors
    /// When Postgres does not answer; the old table stays.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let look = async {
            let now = self.0.store.routing_revision().await?;
            let known = self.revision();
            if now == known {
                return Ok(false);
            }
            // Lower than ours: the database was restored, and what we know may never have been.
            let since = if now < known { NEVER } else { known };
            let rows = self.0.store.routing(since).await?;
            Ok(self.take(known, since, rows))
        };
        let name = "routing";
        timeout(LOOK_LIMIT, look).await.unwrap_or(Err(StoreError::TimedOut { name, after: LOOK_LIMIT }))
    }

    /// Puts a load in force, unless another one came first: then what it says has another table to stand on, and the
    /// next look, which comes at once, sees what is left to do.
    fn take(&self, known: i64, since: i64, rows: RoutingRows) -> bool {
        let _taking = self.0.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.0.table.load();
        if old.revision() != known {
            self.0.wake.notify_one();
            return false;
        }
        let base = if rows.whole || since == NEVER { &self.0.bare } else { &**old };
        let changed = rows.routes.into_iter().map(|row| (row.tenant, row.name, row.route)).collect();
        let holds = rows.holds.len();
        let table = base.with(rows.revision, changed, rows.holds);
        tracing::info!(revision = rows.revision, routes = table.len(), holds, "routes loaded");
        gauge!("bridge_routing_revision").set(rows.revision as f64);
        gauge!("bridge_holds").set(holds as f64);
        self.0.table.store(Arc::new(table));
        self.0.changes.send_replace(rows.revision);
        true
    }

    /// A daemon's first look: the routes, then the directory. A daemon that knows a tenant without its routes would
    /// fire its executions wherever the defaults say.
    ///
    /// # Errors
    /// When Postgres does not answer; [`Routing::watch`] goes on looking.
    pub async fn first_look(&self, directory: &Directory) -> Result<(), StoreError> {
        self.refresh().await?;
        directory.refresh().await.map(drop)
    }

    /// Keeps the table current until the daemon stops, and the directory, once there is a table. It runs the
    /// directory's own watch, and wakes it when Postgres tells of a change.
    pub async fn watch(self, directory: Directory, every: Duration, stop: CancellationToken) {
        let store = &self.0.store;
        let heard = || {
            self.0.wake.notify_one();
            directory.wake();
        };
        let directory_too = async {
            let mut changes = self.changes();
            // The sender lives as long as this task.
            if changes.wait_for(|revision| *revision != NEVER).await.is_ok() {
                directory.clone().watch(every, stop.clone()).await;
            }
        };
        let all = async { tokio::join!(self.look(every), listen::forever(store, heard), directory_too) };
        stop.run_until_cancelled(all).await;
    }

    async fn look(&self, every: Duration) {
        let mut looks = Looks::new(every, &self.0.wake);
        loop {
            looks.next().await;
            let outcome = self.refresh().await;
            let say = looks.ended(&outcome);
            if let Err(error) = outcome {
                counter!("bridge_routing_failures_total").increment(1);
                if say {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        revision = self.revision(),
                        "the routes could not be looked at; what was loaded before stays in force"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests;
