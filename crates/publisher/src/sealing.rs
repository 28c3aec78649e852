//! New payloads on their way into the database.

use std::sync::Arc;

use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_service::clock::entropy;
use bridge_service::payload_key::{DataKey, SEALED_OVERHEAD};
use bytes::Bytes;
use uuid::Uuid;

use crate::accept::Candidate;
use crate::app::App;
use crate::budget::Share;
use crate::data_keys::{AtRest, LARGE, sealing_key};

/// Seals the payloads for their executions, where payloads are stored sealed. All or none: what cannot be sealed is not
/// stored.
pub async fn seal(app: &App, candidates: &mut [Candidate], share: &mut Share) -> Result<(), Problem> {
    let AtRest::Sealed(maker) = &app.at_rest else { return Ok(()) };
    let bytes: usize = candidates.iter().map(|candidate| candidate.publish.payload.len()).sum();
    // For a moment a payload is there twice.
    share.grow_by(bytes + candidates.len() * SEALED_OVERHEAD)?;
    let mut work = Vec::with_capacity(candidates.len());
    // A batch is one tenant's, nearly always.
    let mut last: Option<(TenantId, Arc<DataKey>)> = None;
    for candidate in candidates.iter() {
        let tenant = &candidate.publish.tenant;
        let key = match &last {
            Some((known, key)) if known == tenant => key.clone(),
            _ => sealing_key(app, maker, tenant).await?,
        };
        last = Some((tenant.clone(), key.clone()));
        work.push((key, tenant.clone(), candidate.id, candidate.publish.payload.clone()));
    }
    let seal_all = move || -> Vec<(Bytes, Uuid)> {
        work.into_iter()
            .map(|(key, tenant, id, plain)| (key.seal(&tenant, id, &plain, entropy()).into(), key.id))
            .collect()
    };
    let sealed = if bytes > LARGE {
        tokio::task::spawn_blocking(seal_all).await.map_err(|error| {
            tracing::error!(%error, "sealing payloads failed in an unforeseen way");
            Problem::internal()
        })?
    } else {
        seal_all()
    };
    for (candidate, (payload, key)) in candidates.iter_mut().zip(sealed) {
        candidate.publish.payload = payload;
        candidate.data_key = Some(key);
    }
    Ok(())
}
