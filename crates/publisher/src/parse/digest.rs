//! What an idempotency key stands for: the same key with another digest is a conflict.

use sha2::{Digest, Sha256};

use super::Publish;
use bridge_protocol::PayloadHash;

/// Over tenant, workflow, lane, schedule, metadata and payload, each with its length, so that no two requests run
/// together to the same bytes. The lane is the one asked for: a route may change between two repeats.
pub(super) fn of(publish: &Publish) -> [u8; 32] {
    let schedule = &publish.schedule;
    let micros = |time: Option<bridge_protocol::Time>| time.map(|time| time.timestamp_micros().to_be_bytes());
    let deliver = match schedule.delay {
        Some(delay) => Some(delay.as_millis().to_be_bytes().to_vec()),
        None => micros(schedule.deliver_at).map(Vec::from),
    };
    let expires = micros(schedule.expires_at);
    let PayloadHash(payload) = &publish.psh;
    let parts: [Option<&[u8]>; 7] = [
        Some(publish.tenant.as_str().as_bytes()),
        Some(publish.workflow.as_str().as_bytes()),
        publish.lane.map(|lane| lane.as_str().as_bytes()),
        deliver.as_deref(),
        expires.as_ref().map(<[u8; 8]>::as_slice),
        publish.metadata.as_deref().map(str::as_bytes),
        Some(payload),
    ];
    let mut hash = Sha256::new_with_prefix(b"bridge publish v1");
    for part in parts {
        // Absent is not empty.
        hash.update([u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
