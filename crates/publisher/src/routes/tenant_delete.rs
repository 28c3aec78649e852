//! `DELETE /pulsar/tenants/{id}`: nothing new, then the end of what lives, then the end of all it holds. The same call
//! again goes on where the last one stopped.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_store::{Actor, AdminError, TenantState};
use http::StatusCode;

use super::admin::{By, conflict, in_effect, refused, tenant_in_path};
use super::fields::Fields;
use crate::accept::on_its_own;
use crate::answer::failed;
use crate::app::{App, AppState};

#[derive(Clone, Copy)]
struct Asked {
    /// Cancel what lives instead of waiting for its end.
    abandon: bool,
    /// Without it the tenant is only drained: what it leaves behind can still be exported.
    remove: bool,
}

pub async fn handle(
    State(app): State<AppState>,
    By(actor): By,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let tenant = tenant_in_path(&id)?;
    let mut fields = Fields::query(query, &["confirm", "abandon", "remove"]);
    let what = format!("must be {tenant}: it says that this tenant and all it holds shall be removed");
    fields.need("confirm", |text| if text == tenant.as_str() { Ok(()) } else { Err(what) });
    let asked = Asked {
        abandon: fields.flag("abandon").unwrap_or(false),
        remove: fields.flag("remove").unwrap_or(true),
    };
    fields.check()?;
    // A caller that hangs up must not leave it half cancelled.
    on_its_own(async move { delete(&app, &actor, &tenant, asked).await }).await
}

async fn delete(app: &App, actor: &Actor, tenant: &TenantId, asked: Asked) -> Result<Response, Problem> {
    let refused = |error| refused(error, format_args!("tenant {tenant}"));
    let read = |error| failed(&error);
    let found = app.store.tenant(tenant).await.map_err(read)?;
    let state = found.ok_or_else(|| refused(AdminError::NotFound))?.state;
    let mut cancelled = 0;
    if state == TenantState::Suspended {
        if !asked.abandon {
            return Err(conflict(suspended(tenant)));
        }
        // A tenant that is being deleted lets what lives run: what the suspension holds is cancelled before that.
        let over = app.store.accepts_are_over(tenant).await.map_err(read)?;
        if over {
            cancelled = app.store.cancel_live(actor, tenant).await.map_err(refused)?;
        }
        let live = app.store.live_count(tenant).await.map_err(read)?;
        if !over || live > 0 {
            return Ok(not_yet(tenant, state, live, cancelled, false));
        }
    }
    let marked = app.store.mark_deleting(actor, tenant).await.map_err(refused)?;
    // While something is still accepted for the tenant, nothing may be cancelled or removed under it.
    let closed =
        in_effect(app, marked.revision).await && app.store.accepts_are_over(tenant).await.map_err(read)?;
    if asked.abandon && closed {
        cancelled += app.store.cancel_live(actor, tenant).await.map_err(refused)?;
    }
    let live = app.store.live_count(tenant).await.map_err(read)?;
    if live > 0 || !closed || !asked.remove {
        return Ok(not_yet(tenant, TenantState::Deleting, live, cancelled, closed));
    }
    let done = app.store.remove_tenant(actor, tenant).await.map_err(refused)?;
    let body = serde_json::json!({
        "tenant_id": tenant, "state": "removed", "removed": done.value, "cancelled": cancelled, "in_effect": true,
    });
    Ok(Json(body).into_response())
}

fn suspended(tenant: &TenantId) -> String {
    format!(
        "tenant {tenant} is suspended, and its deletion would fire what the suspension holds; resume it to let what \
         lives come to its end, or give abandon=true"
    )
}

/// The caller asks again.
fn not_yet(tenant: &TenantId, state: TenantState, live: u64, cancelled: u64, in_effect: bool) -> Response {
    let body = serde_json::json!({
        "tenant_id": tenant, "state": state.as_str(), "live": live, "cancelled": cancelled, "in_effect": in_effect,
    });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}
