//! Payloads at rest: sealing new ones, opening stored ones, and making a tenant's first data key.

use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::{ExecutionId, TenantId};
use bridge_service::Problem;
use bridge_service::clock::{SharedClock, entropy};
use bridge_service::directory::{Directory, KeyGone};
use bridge_service::payload_key::{DataKey, Unreadable};
use bridge_service::vault::Purpose;
use bridge_store::{Actor, Store, StoredPayload};
use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Larger payloads are hashed, sealed and opened off the runtime's threads: milliseconds in which others would wait.
pub const LARGE: usize = 256 * 1024;
/// Tenants that wait for their first key; who finds it full asks again.
const WAITING: usize = 1024;
/// Keys that are made before the directory is read again.
const AT_ONCE: usize = 16;
const LIMIT: Duration = Duration::from_secs(5);

/// Takes the tenants that need their first key to [`make`].
pub type KeyMaker = mpsc::Sender<TenantId>;

/// How payloads are stored.
pub enum AtRest {
    Plain,
    Sealed(KeyMaker),
}

impl AtRest {
    /// The receiver is for [`make`].
    pub fn sealed() -> (Self, mpsc::Receiver<TenantId>) {
        let (maker, asked) = mpsc::channel(WAITING);
        (Self::Sealed(maker), asked)
    }
}

/// The key that seals a tenant's new payloads. A tenant that has none yet gets its first one, and the request waits for
/// that within the patience of an accept.
pub async fn sealing_key(app: &App, maker: &KeyMaker, tenant: &TenantId) -> Result<Arc<DataKey>, Problem> {
    match known(&app.directory, tenant) {
        Known::Key(key) => return Ok(key),
        Known::Gone(why) => {
            tracing::error!(tenant_id = %tenant, "no payload can be sealed: {why}");
            return Err(unavailable("its sealing key cannot be opened by this publisher; see its log"));
        }
        Known::None => {}
    }
    let mut changes = app.directory.changes();
    // Full or closed: the wait below ends without a key, and the caller comes again.
    let _asked = maker.try_send(tenant.clone());
    let found = async {
        loop {
            changes.mark_unchanged();
            if let Known::Key(key) = known(&app.directory, tenant) {
                return Some(key);
            }
            changes.changed().await.ok()?;
        }
    };
    match tokio::time::timeout(app.limits.accept_patience, found).await {
        Ok(Some(key)) => Ok(key),
        _ => Err(unavailable(
            "its first key is still being made; repeat the request after the Retry-After time",
        )),
    }
}

enum Known {
    Key(Arc<DataKey>),
    /// There is one, and it does not open. Another one would hide the fault.
    Gone(KeyGone),
    None,
}

fn known(directory: &Directory, tenant: &TenantId) -> Known {
    let snapshot = directory.snapshot();
    let Some(tenant) = snapshot.tenant(tenant) else { return Known::None };
    match (tenant.sealing_key(), tenant.sealing_key_gone()) {
        (Some(key), _) => Known::Key(key.clone()),
        (None, Some(gone)) => Known::Gone(gone.clone()),
        (None, None) => Known::None,
    }
}

/// Nothing is ever stored in the clear because a key is missing.
fn unavailable(what: &str) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => "no_data_key").increment(1);
    let detail = format!("payloads of this tenant are stored encrypted, and {what}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "data-key-unavailable", "Data key unavailable", detail)
        .retry_after(Duration::from_secs(1))
}

/// Makes the first data key of whoever asks, one round at a time: a tenant that asks a hundred times gets one.
pub async fn make(
    mut asked: mpsc::Receiver<TenantId>,
    store: Store,
    directory: Directory,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let making = async {
        let mut tenants = Vec::new();
        while asked.recv_many(&mut tenants, AT_ONCE).await > 0 {
            tenants.sort();
            tenants.dedup();
            let rows = tenants
                .drain(..)
                .filter(|tenant| matches!(known(&directory, tenant), Known::None))
                .map(|tenant| add(&store, &directory, &clock, tenant));
            if join_all(rows).await.contains(&true)
                && let Err(error) = directory.refresh().await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a new data key is not in force yet"
                );
            }
        }
    };
    stop.run_until_cancelled(making).await;
}

async fn add(store: &Store, directory: &Directory, clock: &SharedClock, tenant: TenantId) -> bool {
    let id = ExecutionId::new(clock.now(), &mut entropy()).uuid();
    let sealed = directory.vault().seal(
        &Purpose::DataKey(&tenant, id),
        DataKey::generate(entropy()).as_slice(),
        entropy(),
    );
    let actor = Actor { who: "bridge-publisher".to_owned(), source: None };
    match tokio::time::timeout(LIMIT, store.add_data_key(&actor, &tenant, id, sealed)).await {
        Ok(Ok(_)) => {
            tracing::info!(tenant_id = %tenant, data_key = %id, "the tenant's payloads have a key now");
            true
        }
        Ok(Err(error)) => {
            tracing::warn!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "a tenant's first data key could not be written; the next request asks again");
            false
        }
        Err(_) => {
            tracing::warn!(tenant_id = %tenant, "a tenant's first data key was not written in time; the next request asks again");
            false
        }
    }
}

/// A stored payload as it was published.
pub async fn open(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    stored: StoredPayload,
) -> Result<Bytes, Problem> {
    open_with(app, tenant, id, stored, |key, tenant, id, bytes| key.open(tenant, id, bytes)).await
}

/// A stored result as it was reported or answered.
pub async fn open_result(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    stored: StoredPayload,
) -> Result<Bytes, Problem> {
    open_with(app, tenant, id, stored, |key, tenant, id, bytes| key.open_result(tenant, id, bytes)).await
}

type Opened = Result<Bytes, Unreadable>;

async fn open_with(
    app: &App,
    tenant: &TenantId,
    id: ExecutionId,
    stored: StoredPayload,
    open: fn(&DataKey, &TenantId, ExecutionId, Bytes) -> Opened,
) -> Result<Bytes, Problem> {
    let Some(key) = stored.data_key else { return Ok(stored.bytes) };
    let find = || match app.directory.snapshot().tenant(tenant) {
        Some(tenant) => tenant.data_key(key).cloned(),
        None => Err(KeyGone::Unknown { tenant: tenant.clone(), key }),
    };
    let mut found = find();
    // Another publisher may have made it a moment ago.
    if let Err(KeyGone::Unknown { .. }) = found
        && app.directory.refresh().await.is_ok_and(|changed| changed)
    {
        found = find();
    }
    let key = found.map_err(|gone| without_key(&gone, id))?;
    let large = stored.bytes.len() > LARGE;
    let tenant = tenant.clone();
    let work = move || open(&key, &tenant, id, stored.bytes);
    let opened = if large {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, execution_id = %id, "opening a payload failed in an unforeseen way");
            Problem::internal()
        })?
    } else {
        work()
    };
    opened.map_err(|error| {
        metrics::counter!("bridge_payloads_unreadable_total", "reason" => "altered").increment(1);
        tracing::error!(execution_id = %id, "{error}");
        unreadable(
            id,
            "it was altered in the database, or belongs to another execution; restore it from a backup",
        )
    })
}

fn without_key(gone: &KeyGone, id: ExecutionId) -> Problem {
    if let KeyGone::Destroyed { .. } = gone {
        metrics::counter!("bridge_payloads_unreadable_total", "reason" => "destroyed").increment(1);
        return unreadable(
            id,
            "the data key that sealed it was destroyed, for ever; publish it again from its source",
        );
    }
    tracing::error!(execution_id = %id, "a payload cannot be opened: {gone}");
    let detail = format!(
        "the data key of execution {id}'s payload is not loaded here; repeat the request after the Retry-After time, and \
         if that does not help give the bridge the master keys it had"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "data-key-unavailable", "Data key unavailable", detail)
        .about(id)
        .retry_after(Duration::from_secs(5))
}

fn unreadable(id: ExecutionId, why: &str) -> Problem {
    let detail = format!("the payload of execution {id} cannot be read: {why}");
    Problem::new(StatusCode::GONE, "payload-unreadable", "Payload unreadable", detail).about(id)
}

/// Retention has taken it.
pub fn gone(id: ExecutionId) -> Problem {
    let detail =
        format!("the payload of execution {id} is past its retention; publish it again from its source");
    Problem::new(StatusCode::GONE, "payload-gone", "Payload gone", detail).about(id)
}
