//! Who may do what: every route's need is checked here, before its handler sees the request.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bridge_access::{Caller, CallerKind, Denied};
use bridge_protocol::Scope;
use bridge_service::Problem;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

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
        Ok(caller) if caller.kind == CallerKind::Insecure && !is_of_this_machine(headers) => {
            Err(from_elsewhere())
        }
        Ok(caller) if caller.may(scope) => Ok(caller),
        Ok(caller) => {
            app.tally.add("login", caller.counted_as(), "missing_scope");
            metrics::counter!("bridge_forbidden_total", "scope" => scope.as_str()).increment(1);
            tracing::debug!(subject = %caller.subject, scope = scope.as_str(), "a credential lacks a scope");
            Err(missing_scope(scope))
        }
        Err(Denied::Missing) => {
            app.tally.add("login", "unknown", "missing");
            Err(unauthorized())
        }
        Err(Denied::Invalid { why, subject }) => {
            app.tally.add("login", &subject, why);
            Err(unauthorized())
        }
        Err(Denied::NotReady) => Err(not_ready()),
        Err(Denied::NoKeys) => Err(no_keys()),
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

/// Where nobody is asked for a credential, any web page that the developer looks at could send requests: its own say
/// where they come from, and those of a name that was bent to this machine say that name.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return !headers.contains_key(ORIGIN) };
    let named = host.to_str().ok().and_then(|host| format!("http://{host}/").parse::<Url>().ok());
    let bare = named.filter(|url| url.username().is_empty() && url.path() == "/");
    let local = match bare.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    local && !headers.contains_key(ORIGIN)
}

fn from_elsewhere() -> Problem {
    let detail = "with --insecure-dev only requests to localhost are answered, and none that a web page sends (with an \
                  Origin header); call http://localhost or http://127.0.0.1 without one, or run with credentials";
    Problem::new(StatusCode::FORBIDDEN, "not-local", "Not from this machine", detail)
}

/// The bridge knows the issuer, and could not yet ask it for its keys.
fn no_keys() -> Problem {
    let detail = "the keys of the token's issuer have not been fetched yet, so the token cannot be checked; repeat the \
                  request after the Retry-After time, and see the publisher's log when it stays so";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "issuer-unavailable", "Issuer out of reach", detail)
        .retry_after(Duration::from_secs(2))
}

/// Callers are known from the database, and it was not read since the start.
pub fn not_ready() -> Problem {
    let detail = "the bridge has not read its tenants and credentials yet, because its database is out of reach; \
                  repeat the request after the Retry-After time";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail)
        .retry_after(Duration::from_secs(2))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn is_local(host: Option<&str>, origin: Option<&str>) -> bool {
        let given = [(HOST, host), (ORIGIN, origin)].into_iter();
        let given = given.filter_map(|(name, value)| Some((name, value?.parse().unwrap())));
        is_of_this_machine(&HeaderMap::from_iter(given))
    }

    #[test]
    fn without_credentials_only_this_machine_is_answered_and_no_web_page() {
        for host in
            ["localhost", "localhost:8000", "LOCALHOST:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"]
        {
            assert!(is_local(Some(host), None), "{host}");
            assert!(!is_local(Some(host), Some("http://localhost:8000")), "{host} with an origin");
            assert!(!is_local(Some(host), Some("null")), "{host} with an origin that is none");
        }
        for host in
            ["evil.example", "localhost.evil.example:8000", "10.0.0.1", "[::]", "x@localhost/", "a b", ""]
        {
            assert!(!is_local(Some(host), None), "{host}");
        }
        // Of HTTP/1.0, which no browser speaks.
        assert!(is_local(None, None) && !is_local(None, Some("http://evil.example")));
    }
}
