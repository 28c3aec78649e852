//! Opening what was stored sealed: by the tenant's data key, as the directory has it.

use std::sync::Arc;

use bridge_fire::heavy;
use bridge_protocol::{ExecutionId, TenantId};
use bridge_service::Directory;
use bridge_service::directory::KeyGone;
use bridge_service::payload_key::{DataKey, Unreadable};
use bridge_store::{StoreError, StoredPayload};
use bytes::Bytes;
use metrics::counter;
use tokio::sync::Semaphore;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// For ever.
    #[error(transparent)]
    Gone(#[from] KeyGone),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Another consumer, or this one with another master key or another directory, may open it.
    #[error("{0}")]
    NotHere(String),
    #[error("data key {key} of tenant {tenant} is not known here, and the directory could not be loaded")]
    NoDirectory { tenant: TenantId, key: Uuid, source: StoreError },
}

impl NotOpened {
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Unreadable(_))
    }
}

/// Looks for keys that are younger than the snapshot, one at a time: a tenant's first key meets many messages at once.
pub struct DataKeys(Semaphore);

impl Default for DataKeys {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl DataKeys {
    /// The plain payload. The caller sets the time limit.
    pub async fn open(
        &self,
        directory: &Directory,
        tenant: &TenantId,
        execution: ExecutionId,
        stored: StoredPayload,
    ) -> Result<Bytes, NotOpened> {
        let StoredPayload { bytes, data_key: Some(id) } = stored else { return Ok(stored.bytes) };
        let key = match known(directory, tenant, id) {
            Ok(key) => key,
            Err(Missing::Final(error)) => return Err(error),
            Err(Missing::Unknown(_)) => self.look_again(directory, tenant, id).await?,
        };
        Ok(heavy(bytes.len(), || key.open(tenant, execution, bytes))?)
    }

    async fn look_again(
        &self,
        directory: &Directory,
        tenant: &TenantId,
        id: Uuid,
    ) -> Result<Arc<DataKey>, NotOpened> {
        // Never closed: an error cannot be.
        let _turn = self.0.acquire().await;
        if let Ok(key) = known(directory, tenant, id) {
            return Ok(key);
        }
        counter!("bridge_data_keys_sought_total").increment(1);
        directory.refresh().await.map_err(|source| NotOpened::NoDirectory {
            tenant: tenant.clone(),
            key: id,
            source,
        })?;
        known(directory, tenant, id).map_err(|missing| match missing {
            Missing::Final(error) => error,
            Missing::Unknown(Some(gone)) => NotOpened::Gone(gone),
            Missing::Unknown(None) => {
                NotOpened::NotHere(format!("the directory does not name tenant {tenant}"))
            }
        })
    }
}

enum Missing {
    Final(NotOpened),
    /// Perhaps younger than the snapshot. `None`: the tenant itself is.
    Unknown(Option<KeyGone>),
}

fn known(directory: &Directory, tenant: &TenantId, id: Uuid) -> Result<Arc<DataKey>, Missing> {
    let snapshot = directory.snapshot();
    let Some(tenant) = snapshot.tenant(tenant) else { return Err(Missing::Unknown(None)) };
    tenant.data_key(id).cloned().map_err(|gone| match gone {
        KeyGone::Unknown { .. } => Missing::Unknown(Some(gone)),
        KeyGone::Destroyed { .. } => Missing::Final(NotOpened::Gone(gone)),
        KeyGone::Sealed { .. } => Missing::Final(NotOpened::NotHere(gone.to_string())),
    })
}

#[cfg(test)]
#[path = "data_keys_tests.rs"]
mod tests;
