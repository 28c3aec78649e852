//! Who may do what: every route's need is checked here, before its handler sees the request.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bridge_access::{Caller, Denied};
use bridge_protocol::Scope;
use bridge_service::Problem;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Duration;

use crate::app::AppState;
use crate::endpoints::Need;

/// Middleware of one endpoint: lets the request pass with its caller, or answers 401, 403 or 503.
pub async fn enforce(
    State((app, need)): State<(AppState, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(scope) = need.scope() {
        match admit(&app, request.headers(), scope).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(problem) => return problem.into_response(),
        }
    }
    next.run(request).await
}

async fn admit(app: &AppState, headers: &HeaderMap, scope: Scope) -> Result<Arc<Caller>, Problem> {
    match app.access.authenticate(headers).await {
        Ok(caller) if caller.may(scope) => Ok(caller),
        Ok(caller) => {
            metrics::counter!("bridge_forbidden_total", "scope" => scope.as_str()).increment(1);
            tracing::debug!(subject = %caller.subject, scope = scope.as_str(), "a credential lacks a scope");
            Err(missing_scope(scope))
        }
        Err(Denied::Missing) => Err(unauthorized()),
        Err(Denied::Invalid { why, subject }) => {
            app.tally.add("login", &subject, why);
            Err(unauthorized())
        }
        Err(Denied::NotReady) => Err(not_ready()),
    }
}

/// The same words for a missing, a wrong, an expired and a revoked credential.
fn unauthorized() -> Problem {
    let detail = "send a valid access token or API key as Authorization: Bearer, as X-API-Key, or as the password of Basic";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail).with_challenge()
}

fn missing_scope(scope: Scope) -> Problem {
    let detail = format!(
        "this needs the scope {scope}, which the credential does not have; use one that has it, or have it added"
    );
    Problem::new(StatusCode::FORBIDDEN, "missing-scope", "Missing scope", detail)
        .with_missing_scope(scope.as_str())
}

/// Callers are known from the database, and it was not read since the start.
pub fn not_ready() -> Problem {
    let detail = "the bridge has not read its tenants and credentials yet, because its database is out of reach; \
                  repeat the request after the Retry-After time";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail)
        .retry_after(Duration::from_secs(2))
}
