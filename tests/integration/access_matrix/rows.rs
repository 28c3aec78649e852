//! What each route answers to who may call it.

use serde_json::{Value, json};

/// What a row's request is about.
pub struct Target<'a> {
    pub tenant: &'a str,
    pub execution: &'a str,
    /// Differs from request to request.
    pub nth: usize,
}

pub struct Row {
    pub route: (&'static str, &'static str),
    /// Path and body.
    pub request: fn(&Target) -> (String, Option<Value>),
    /// The status for who may, on the own tenant, and on another's; for administrators only the first counts.
    pub own: u16,
    pub foreign: u16,
}

fn row(
    method: &'static str,
    path: &'static str,
    (own, foreign): (u16, u16),
    request: fn(&Target) -> (String, Option<Value>),
) -> Row {
    Row { route: (method, path), request, own, foreign }
}

/// A credential of the tenant meets another tenant's thing as if it did not exist.
const HIDDEN: (u16, u16) = (200, 404);
/// There is no tenant to be foreign to.
const fn admin(status: u16) -> (u16, u16) {
    (status, status)
}

pub fn rows() -> Vec<Row> {
    vec![
        row("POST", "/pulsar/publish", (202, 403), |t| {
            (
                "/pulsar/publish".into(),
                Some(json!({ "tenant_id": t.tenant, "workflow_id": "w", "payload": {} })),
            )
        }),
        row("POST", "/pulsar/publish/batch", (202, 403), |t| {
            let item = json!({ "tenant_id": t.tenant, "workflow_id": "w", "payload": {} });
            ("/pulsar/publish/batch".into(), Some(json!([item])))
        }),
        row("GET", "/pulsar/executions", (200, 403), |t| {
            (format!("/pulsar/executions?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/executions/{id}", HIDDEN, |t| {
            (format!("/pulsar/executions/{}", t.execution), None)
        }),
        row("GET", "/pulsar/executions/{id}/payload", HIDDEN, |t| {
            (format!("/pulsar/executions/{}/payload", t.execution), None)
        }),
        row("GET", "/pulsar/executions/{id}/result", HIDDEN, |t| {
            (format!("/pulsar/executions/{}/result", t.execution), None)
        }),
        // Its own token counts, and nothing else.
        row("POST", "/pulsar/executions/{id}/result", (401, 401), |t| {
            let path = format!("/pulsar/executions/{}/result?tenant_id={}&token=x", t.execution, t.tenant);
            (path, Some(json!({ "status": "success" })))
        }),
        row("POST", "/api/v2/n8n/queue", (200, 403), |t| {
            let body = json!({ "tenant_id": t.tenant, "workflow_id": "w", "payload": {} });
            ("/api/v2/n8n/queue".into(), Some(body))
        }),
        row("GET", "/api/v2/n8n/result/{id}", HIDDEN, |t| {
            (format!("/api/v2/n8n/result/{}", t.execution), None)
        }),
        row("POST", "/pulsar/executions/{id}/replay", (202, 404), |t| {
            (format!("/pulsar/executions/{}/replay", t.execution), Some(json!({})))
        }),
        // It has ended.
        row("POST", "/pulsar/executions/{id}/cancel", (409, 404), |t| {
            (format!("/pulsar/executions/{}/cancel", t.execution), Some(json!({})))
        }),
        row("POST", "/pulsar/replay", (200, 403), |t| {
            let body = json!({ "filter": { "state": "failed" }, "dry_run": true });
            (format!("/pulsar/replay?tenant_id={}", t.tenant), Some(body))
        }),
        row("POST", "/pulsar/cancel", (200, 403), |t| {
            (format!("/pulsar/cancel?tenant_id={}", t.tenant), Some(json!({ "dry_run": true })))
        }),
        row("GET", "/pulsar/jobs", (200, 403), |t| (format!("/pulsar/jobs?tenant_id={}", t.tenant), None)),
        row("GET", "/pulsar/jobs/{id}", (404, 403), |t| (no_job(t, ""), None)),
        row("POST", "/pulsar/jobs/{id}/pause", (404, 403), |t| (no_job(t, "/pause"), None)),
        row("POST", "/pulsar/jobs/{id}/resume", (404, 403), |t| (no_job(t, "/resume"), None)),
        row("POST", "/pulsar/jobs/{id}/cancel", (404, 403), |t| (no_job(t, "/cancel"), None)),
        row("GET", "/pulsar/dead-letters", (200, 403), |t| {
            (format!("/pulsar/dead-letters?tenant_id={}", t.tenant), None)
        }),
        // It ended well.
        row("GET", "/pulsar/dead-letters/{id}", (404, 404), |t| {
            (format!("/pulsar/dead-letters/{}", t.execution), None)
        }),
        row("POST", "/pulsar/dead-letters/{id}/discard", (409, 404), |t| {
            (format!("/pulsar/dead-letters/{}/discard", t.execution), Some(json!({ "note": "n" })))
        }),
        row("GET", "/pulsar/status", (200, 403), |t| {
            (format!("/pulsar/status?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/admin/status", admin(200), |_| ("/pulsar/admin/status".into(), None)),
        row("GET", "/pulsar/workflows", (200, 403), |t| {
            (format!("/pulsar/workflows?tenant_id={}", t.tenant), None)
        }),
        row("PUT", "/pulsar/workflows", (200, 403), |t| {
            (format!("/pulsar/workflows?tenant_id={}", t.tenant), Some(json!({ "dry_run": true })))
        }),
        row("GET", "/pulsar/workflows/{workflow_id}", (404, 403), |t| {
            (format!("/pulsar/workflows/none?tenant_id={}", t.tenant), None)
        }),
        row("PUT", "/pulsar/workflows/{workflow_id}", (200, 403), |t| {
            (format!("/pulsar/workflows/matrix?tenant_id={}", t.tenant), Some(json!({ "lane": "ai" })))
        }),
        row("DELETE", "/pulsar/workflows/{workflow_id}", (200, 403), |t| {
            (format!("/pulsar/workflows/matrix?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/types/{type}", (404, 403), |t| {
            (format!("/pulsar/types/none?tenant_id={}", t.tenant), None)
        }),
        row("PUT", "/pulsar/types/{type}", (200, 403), |t| {
            (format!("/pulsar/types/matrix?tenant_id={}", t.tenant), Some(json!({ "lane": "ai" })))
        }),
        row("DELETE", "/pulsar/types/{type}", (200, 403), |t| {
            (format!("/pulsar/types/matrix?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/default-route", (404, 403), |t| {
            (format!("/pulsar/default-route?tenant_id={}", t.tenant), None)
        }),
        row("PUT", "/pulsar/default-route", (200, 403), |t| {
            (format!("/pulsar/default-route?tenant_id={}", t.tenant), Some(json!({})))
        }),
        row("DELETE", "/pulsar/default-route", (200, 403), |t| {
            (format!("/pulsar/default-route?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/holds", (200, 403), |t| (format!("/pulsar/holds?tenant_id={}", t.tenant), None)),
        row("PUT", "/pulsar/holds/{id}", (200, 403), |t| {
            let body = json!({ "workflow_id": "held", "reason": "r" });
            (format!("/pulsar/holds/matrix?tenant_id={}", t.tenant), Some(body))
        }),
        row("DELETE", "/pulsar/holds/{id}", (404, 403), |t| {
            (format!("/pulsar/holds/none?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/credentials", (200, 403), |t| {
            (format!("/pulsar/credentials?tenant_id={}", t.tenant), None)
        }),
        row("PUT", "/pulsar/credentials/{name}", (200, 403), |t| {
            let body = json!({ "kind": "bearer", "token": format!("secret-{}", t.nth) });
            (format!("/pulsar/credentials/matrix?tenant_id={}", t.tenant), Some(body))
        }),
        row("GET", "/pulsar/credentials/{name}", (200, 403), |t| {
            (format!("/pulsar/credentials/matrix?tenant_id={}", t.tenant), None)
        }),
        row("DELETE", "/pulsar/credentials/{name}", (200, 403), |t| {
            (format!("/pulsar/credentials/matrix?tenant_id={}", t.tenant), None)
        }),
        row("GET", "/pulsar/tenants", admin(200), |_| ("/pulsar/tenants".into(), None)),
        row("GET", "/pulsar/tenants/{id}", admin(200), |t| (format!("/pulsar/tenants/{}", t.tenant), None)),
        row("PUT", "/pulsar/tenants/{id}", admin(200), |t| {
            (format!("/pulsar/tenants/{}", t.tenant), Some(json!({ "limits": {} })))
        }),
        row("GET", "/pulsar/tenants/{id}/export", admin(200), |t| {
            (format!("/pulsar/tenants/{}/export", t.tenant), None)
        }),
        // Without the name said twice nothing happens.
        row("DELETE", "/pulsar/tenants/{id}", admin(400), |t| {
            (format!("/pulsar/tenants/{}", t.tenant), None)
        }),
        row("POST", "/pulsar/clients", admin(201), |t| {
            let body = json!({ "name": "m", "kind": "api_key", "tenants": [t.tenant], "scopes": ["read"] });
            ("/pulsar/clients".into(), Some(body))
        }),
        row("GET", "/pulsar/clients", admin(200), |t| {
            (format!("/pulsar/clients?tenant_id={}", t.tenant), None)
        }),
        row("POST", "/pulsar/clients/{id}/rotate", admin(404), |_| {
            ("/pulsar/clients/svc_nobody000000/rotate".into(), Some(json!({})))
        }),
        row("DELETE", "/pulsar/clients/{id}", admin(404), |_| {
            ("/pulsar/clients/svc_nobody000000".into(), None)
        }),
        row("POST", "/pulsar/keys/rotate", admin(200), |t| {
            ("/pulsar/keys/rotate".into(), Some(json!({ "key": "webhook", "tenant_id": t.tenant })))
        }),
        row("POST", "/pulsar/keys/destroy", admin(400), |t| {
            ("/pulsar/keys/destroy".into(), Some(json!({ "key": "data", "tenant_id": t.tenant })))
        }),
        row("GET", "/pulsar/audit", admin(200), |_| ("/pulsar/audit".into(), None)),
        row("GET", "/pulsar/audit/refusals", admin(200), |_| ("/pulsar/audit/refusals".into(), None)),
        row("GET", "/health/live", admin(200), |_| ("/health/live".into(), None)),
        row("GET", "/health/ready", admin(200), |_| ("/health/ready".into(), None)),
        row("GET", "/metrics", admin(200), |_| ("/metrics".into(), None)),
        row("GET", "/openapi.json", admin(200), |_| ("/openapi.json".into(), None)),
        row("GET", "/docs", admin(200), |_| ("/docs".into(), None)),
        // It is switched off here.
        row("POST", "/internal/canary", (404, 404), |_| ("/internal/canary".into(), Some(json!({})))),
        // Open, and refused for want of a grant.
        row("POST", "/oauth2/token", admin(400), |_| ("/oauth2/token".into(), None)),
        row("GET", "/.well-known/oauth-authorization-server", admin(200), |_| {
            ("/.well-known/oauth-authorization-server".into(), None)
        }),
        row("GET", "/.well-known/jwks.json", admin(200), |_| ("/.well-known/jwks.json".into(), None)),
    ]
}

fn no_job(target: &Target, act: &str) -> String {
    format!("/pulsar/jobs/00000000-0000-7000-8000-000000000000{act}?tenant_id={}", target.tenant)
}
