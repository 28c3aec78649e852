//! The payload of a claimed execution: brought along by the claim, or loaded within the memory that is set aside
//! for large ones.

use std::sync::Arc;

use bridge_fire::{Aim, Settlement, heavy};
use bridge_protocol::{PayloadHash, Reason};
use bridge_service::clock::jitter;
use bridge_store::{Payload, StoreError};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attempt::unsent;
use crate::claim::Held;
use crate::job::Job;
use crate::works::Works;

/// The unit in which memory is counted.
const BLOCK: usize = 1024;

/// Memory for payloads that are too large to come with their claim.
pub struct LargePayloads {
    blocks: Arc<Semaphore>,
    all: usize,
}

impl LargePayloads {
    pub fn new(bytes: usize) -> Self {
        let all = bytes.div_ceil(BLOCK).clamp(1, Semaphore::MAX_PERMITS);
        Self { blocks: Arc::new(Semaphore::new(all)), all }
    }

    /// Room for a payload and its envelope. One that is larger than everything takes everything.
    async fn room(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        let blocks = (2 * size).div_ceil(BLOCK).min(self.all);
        self.blocks.clone().acquire_many_owned(u32::try_from(blocks).unwrap_or(u32::MAX)).await.ok()
    }

    #[cfg(test)]
    pub async fn fill(&self) -> OwnedSemaphorePermit {
        self.room(self.all * BLOCK).await.expect("never closed")
    }
}

/// A payload that is the one that was signed, and its share of the memory.
pub struct Loaded {
    pub bytes: Bytes,
    /// Given back when it is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

pub async fn load(works: &Works, job: &Job, held: &mut Held, aim: &Aim) -> Result<Loaded, Settlement> {
    let attempt = held.claimed.attempt;
    let unreadable = |why: &str| Settlement::dead(Reason::PayloadUnreadable, why);
    let gone = || Settlement::dead(Reason::PayloadGone, GONE);
    let latest = held
        .latest_send(aim.target.timeout)
        .ok_or_else(|| unsent(works, "lease", "the claim took too long"))?;
    let (stored, room) = match std::mem::replace(&mut held.claimed.payload, Payload::Gone) {
        Payload::Here(stored) => (stored, None),
        Payload::Gone => return Err(gone()),
        Payload::Large(size) => {
            let work = async {
                let room = works.large.room(size).await;
                (works.store.payload(&job.tenant, job.id).await, room)
            };
            match tokio::time::timeout_at(latest, work).await {
                Ok((Ok(Some(stored)), room)) => (stored, room),
                Ok((Ok(None), _)) => return Err(gone()),
                Ok((Err(error), _)) => return Err(unread(works, aim, attempt, &error)),
                Err(_) => return Err(unsent(works, "memory", FULL)),
            }
        }
    };
    let opening = works.data_keys.open(&works.hooks.directory, &job.tenant, job.id, stored);
    let bytes = match tokio::time::timeout_at(latest, opening).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if error.is_final() => return Err(unreadable(&error.to_string())),
        Ok(Err(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error, execution_id = %job.id, tenant_id = %job.tenant,
                "a sealed payload cannot be opened here; it is tried again"
            );
            return Err(unsent(works, "master_key", &error.to_string()));
        }
        Err(_) => return Err(unsent(works, "master_key", "the payload's data key was not found in time")),
    };
    if heavy(bytes.len(), || PayloadHash::of(&bytes)) != job.psh || held.claimed.psh != job.psh {
        return Err(unreadable("the stored payload is not the one that was signed"));
    }
    Ok(Loaded { bytes, _room: room })
}

/// A database that is away comes back; what it refuses for another reason must not go on for ever.
fn unread(works: &Works, aim: &Aim, attempt: u16, error: &StoreError) -> Settlement {
    let text = format!("the payload could not be read: {error}");
    if error.is_out_of_reach() {
        return unsent(works, "payload", &text);
    }
    Settlement::retry(&aim.target, attempt, aim.target.retry.delay(attempt, None, jitter()), &text)
}

const GONE: &str = "the payload's row is gone";
const FULL: &str = "the memory for large payloads stayed full; raise consumer.large_payload_bytes";
