//! The one table of what the publisher answers: method, path, what the caller needs, and who answers.
//! The router and `bridge-publisher routes` are both made from it, so a route without a need cannot exist.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use bridge_protocol::Scope;
use serde::Serialize;

use crate::app::AppState;
use crate::routes;

pub struct Endpoint {
    pub method: http::Method,
    pub path: &'static str,
    pub access: Need,
    pub handler: MethodRouter<AppState>,
}

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the route is for everybody, or checks a credential of its own.
    Open,
    /// A credential of a tenant with this scope.
    Scope(Scope),
    /// A credential of the operator.
    Admin,
}

impl Need {
    /// As `routes` prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Scope(scope) => scope.as_str(),
            Self::Admin => Scope::Admin.as_str(),
        }
    }

    /// The scope a credential must have; None: no credential.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Open => None,
            Self::Scope(scope) => Some(scope),
            Self::Admin => Some(Scope::Admin),
        }
    }
}

#[rustfmt::skip]
pub fn all() -> Vec<Endpoint> {
    use Need::{Admin, Open};
    const PUBLISH: Need = Need::Scope(Scope::Publish);
    const READ: Need = Need::Scope(Scope::Read);
    const PAYLOAD: Need = Need::Scope(Scope::Payload);
    const REPLAY: Need = Need::Scope(Scope::Replay);
    const ROUTES: Need = Need::Scope(Scope::Routes);
    vec![
        post("/pulsar/publish", PUBLISH, routes::publish::handle),
        post("/pulsar/publish/batch", PUBLISH, routes::batch::handle),
        get("/pulsar/executions", READ, routes::executions::handle),
        get("/pulsar/executions/{id}", READ, routes::execution::handle),
        get("/pulsar/executions/{id}/payload", PAYLOAD, routes::payload::handle),
        post("/pulsar/executions/{id}/replay", REPLAY, routes::replay::handle),
        // A tenant's credentials at its webhooks.
        get("/pulsar/credentials", ROUTES, routes::credentials::list),
        put("/pulsar/credentials/{name}", ROUTES, routes::credentials::put),
        get("/pulsar/credentials/{name}", ROUTES, routes::credentials::get),
        delete("/pulsar/credentials/{name}", ROUTES, routes::credentials::delete),
        // Operators.
        get("/pulsar/tenants", Admin, routes::tenants::handle),
        put("/pulsar/tenants/{id}", Admin, routes::tenant::put),
        get("/pulsar/tenants/{id}", Admin, routes::tenant::get),
        delete("/pulsar/tenants/{id}", Admin, routes::tenant_delete::handle),
        get("/pulsar/tenants/{id}/export", Admin, routes::tenant_export::handle),
        post("/pulsar/clients", Admin, routes::clients::create),
        get("/pulsar/clients", Admin, routes::clients::list),
        post("/pulsar/clients/{id}/rotate", Admin, routes::clients::rotate),
        delete("/pulsar/clients/{id}", Admin, routes::clients::revoke),
        post("/pulsar/keys/rotate", Admin, routes::keys::rotate),
        post("/pulsar/keys/destroy", Admin, routes::keys::destroy),
        get("/pulsar/audit", Admin, routes::audit::list),
        get("/pulsar/audit/refusals", Admin, routes::audit::refusals),
        // The issuer of tokens.
        post("/oauth2/token", Open, routes::token::handle),
        get("/.well-known/oauth-authorization-server", Open, routes::well_known::server),
        get("/.well-known/jwks.json", Open, routes::well_known::keys),
        // How it is.
        get("/health/live", Open, routes::health::live),
        get("/health/ready", Open, routes::health::ready),
        get("/metrics", Open, routes::metrics::handle),
    ]
}

fn get<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Need, handler: H) -> Endpoint {
    Endpoint { method: http::Method::GET, path, access, handler: on(MethodFilter::GET, handler) }
}

fn post<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Need, handler: H) -> Endpoint {
    Endpoint { method: http::Method::POST, path, access, handler: on(MethodFilter::POST, handler) }
}

fn put<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Need, handler: H) -> Endpoint {
    Endpoint { method: http::Method::PUT, path, access, handler: on(MethodFilter::PUT, handler) }
}

fn delete<H: Handler<T, AppState>, T: 'static>(path: &'static str, access: Need, handler: H) -> Endpoint {
    Endpoint { method: http::Method::DELETE, path, access, handler: on(MethodFilter::DELETE, handler) }
}

/// The table as JSON, for documentation and for tests that must miss no route.
pub fn as_json() -> String {
    #[derive(Serialize)]
    struct Line {
        method: String,
        path: &'static str,
        need: &'static str,
    }
    let lines: Vec<Line> = all()
        .into_iter()
        .map(|endpoint| Line {
            method: endpoint.method.to_string(),
            path: endpoint.path,
            need: endpoint.access.as_str(),
        })
        .collect();
    // Plain text always serializes.
    serde_json::to_string_pretty(&lines).unwrap_or_default()
}
