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
    const RESULT: Need = Need::Scope(Scope::Result);
    const REPLAY: Need = Need::Scope(Scope::Replay);
    const ROUTES: Need = Need::Scope(Scope::Routes);
    vec![
        post("/pulsar/publish", PUBLISH, routes::publish::handle),
        post("/pulsar/publish/batch", PUBLISH, routes::batch::handle),
        get("/pulsar/executions", READ, routes::executions::handle),
        get("/pulsar/executions/{id}", READ, routes::execution::handle),
        get("/pulsar/executions/{id}/payload", PAYLOAD, routes::payload::handle),
        get("/pulsar/executions/{id}/result", RESULT, routes::result::handle),
        // By the workflow itself, which has a token for it.
        post("/pulsar/executions/{id}/result", Open, routes::callback::handle),
        post("/pulsar/executions/{id}/replay", REPLAY, routes::replay::handle),
        post("/pulsar/executions/{id}/cancel", REPLAY, routes::cancel::handle),
        // Many at once.
        post("/pulsar/replay", REPLAY, routes::many::replay),
        post("/pulsar/cancel", REPLAY, routes::many::cancel),
        get("/pulsar/jobs", READ, routes::jobs::list),
        get("/pulsar/jobs/{id}", READ, routes::jobs::get),
        post("/pulsar/jobs/{id}/pause", REPLAY, routes::jobs::pause),
        post("/pulsar/jobs/{id}/resume", REPLAY, routes::jobs::resume),
        post("/pulsar/jobs/{id}/cancel", REPLAY, routes::jobs::cancel),
        // What ended without success.
        get("/pulsar/dead-letters", READ, routes::dead_letters::list),
        get("/pulsar/dead-letters/{id}", READ, routes::dead_letters::get),
        post("/pulsar/dead-letters/{id}/discard", REPLAY, routes::dead_letters::discard),
        get("/pulsar/status", READ, routes::status::tenant),
        // Where a tenant's executions go.
        get("/pulsar/workflows", ROUTES, routes::workflows::list),
        put("/pulsar/workflows", ROUTES, routes::workflows::apply),
        get("/pulsar/workflows/{workflow_id}", ROUTES, routes::workflow::get),
        put("/pulsar/workflows/{workflow_id}", ROUTES, routes::workflow::put),
        delete("/pulsar/workflows/{workflow_id}", ROUTES, routes::workflow::delete),
        get("/pulsar/types/{type}", ROUTES, routes::type_rule::get),
        put("/pulsar/types/{type}", ROUTES, routes::type_rule::put),
        delete("/pulsar/types/{type}", ROUTES, routes::type_rule::delete),
        get("/pulsar/default-route", ROUTES, routes::default_route::get),
        put("/pulsar/default-route", ROUTES, routes::default_route::put),
        delete("/pulsar/default-route", ROUTES, routes::default_route::delete),
        get("/pulsar/holds", ROUTES, routes::hold::list),
        put("/pulsar/holds/{id}", ROUTES, routes::hold::put),
        delete("/pulsar/holds/{id}", ROUTES, routes::hold::delete),
        // A tenant's credentials at its webhooks.
        get("/pulsar/credentials", ROUTES, routes::credentials::list),
        put("/pulsar/credentials/{name}", ROUTES, routes::credentials::put),
        get("/pulsar/credentials/{name}", ROUTES, routes::credentials::get),
        delete("/pulsar/credentials/{name}", ROUTES, routes::credentials::delete),
        // As the older bridge had them.
        post("/api/v2/n8n/queue", PUBLISH, routes::older::queue),
        get("/api/v2/n8n/result/{id}", RESULT, routes::older::result),
        // Operators.
        get("/pulsar/admin/status", Admin, routes::status::whole),
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
        // For the bridge's own canary, which is known by its signature.
        post("/internal/canary", Open, routes::canary::handle),
        get("/openapi.json", Open, routes::docs::document),
        get("/docs", Open, routes::docs::page),
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
