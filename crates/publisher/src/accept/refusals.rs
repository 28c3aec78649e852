//! Who may not publish, and what was not accepted.

use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_service::directory::Tenant;
use bridge_store::{TenantState, WriteError};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

use crate::access::not_ready;
use crate::app::App;

/// The tenant, when it may publish.
pub fn open_tenant(app: &App, id: &TenantId) -> Result<Arc<Tenant>, Problem> {
    let snapshot = app.directory.snapshot();
    match snapshot.tenant(id) {
        Some(tenant) if tenant.state == TenantState::Active => Ok(tenant.clone()),
        Some(tenant) => Err(closed(id, Some(tenant.state))),
        None if !app.directory.is_loaded() => Err(not_ready()),
        None => {
            let detail = format!("there is no tenant {id}; create it with `bridgectl tenant create {id}`");
            Err(Problem::new(StatusCode::FORBIDDEN, "unknown-tenant", "Unknown tenant", detail))
        }
    }
}

/// The database may know of it before the directory: then the state is not told.
pub fn closed(id: &TenantId, state: Option<TenantState>) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => "tenant_suspended").increment(1);
    let detail = match state {
        Some(TenantState::Deleting) => format!("tenant {id} is being deleted; it accepts nothing any more"),
        Some(TenantState::Suspended) => format!("tenant {id} is suspended; ask the operator to resume it"),
        Some(TenantState::Active) | None => {
            format!("tenant {id} was suspended or deleted a moment ago; ask the operator to resume it")
        }
    };
    Problem::new(StatusCode::FORBIDDEN, "tenant-suspended", "Tenant suspended", detail)
}

pub fn refused(error: WriteError) -> Problem {
    let reason = match error {
        WriteError::Unavailable { .. } => "postgres_unavailable",
        WriteError::BadRow { .. } => "bad_row",
        _ => "failed",
    };
    metrics::counter!("bridge_publish_refused_total", "reason" => reason).increment(1);
    tracing::warn!(%error, "an execution was not accepted");
    match error {
        WriteError::Unavailable { .. } => unavailable(),
        WriteError::BadRow { .. } => {
            let detail = "the database refuses this request's text; remove unusual characters or numbers from metadata";
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", detail)
        }
        _ => Problem::internal(),
    }
}

/// Whether the execution was written is not known; a key makes the repetition safe.
pub fn unavailable() -> Problem {
    let detail = "the database is out of reach; repeat the request after the Retry-After time, with an \
                  idempotency_key so that it cannot be accepted twice";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database-unavailable", "Database unavailable", detail)
        .retry_after(Duration::from_secs(5))
}
