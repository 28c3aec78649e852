//! Every route the server has, with every kind of credential, on the caller's own tenant and on another's. The routes
//! come from the server: one without a row here fails.

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{Scope, Scopes, TenantId};
use bridge_tests::daemon::{PUBLISHER, binary};
use bridge_tests::{Api, World};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    method: String,
    path: String,
    need: String,
}

/// What a row's request is about.
struct Target<'a> {
    tenant: &'a str,
    execution: &'a str,
    /// Differs from request to request.
    nth: usize,
}

struct Row {
    route: (&'static str, &'static str),
    /// Path and body.
    request: fn(&Target) -> (String, Option<Value>),
    /// The status for who may, on the own tenant, and on another's; for administrators only the first counts.
    own: u16,
    foreign: u16,
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

fn rows() -> Vec<Row> {
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
        row("POST", "/pulsar/dead-letters/{id}/discard", (404, 404), |t| {
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

/// A way to say who calls, and what it may.
struct Credential {
    name: &'static str,
    headers: Vec<(&'static str, String)>,
    scopes: Option<Scopes>,
}

impl Credential {
    /// The status of a request to a route by this credential, or what the row says for who may.
    fn expected(&self, need: &str, allowed: u16) -> u16 {
        if need == "open" {
            return allowed;
        }
        let Some(scopes) = self.scopes else { return 401 };
        let scope: Scope = need.parse().unwrap_or_else(|_| panic!("{need} is no scope"));
        if scopes.contains(scope) { allowed } else { 403 }
    }
}

fn routes() -> Vec<Route> {
    let output = Command::new(binary(PUBLISHER)).arg("routes").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn credentials(world: &World) -> anyhow::Result<Vec<Credential>> {
    let own = &world.tenants[0];
    let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
    let all = Some(Scopes::ALL_OF_TENANT);
    let mut credentials = vec![
        Credential { name: "nothing", headers: vec![], scopes: None },
        Credential { name: "a wrong key", headers: bearer("npb_000000000000_nothing"), scopes: None },
        Credential { name: "a wrong token", headers: bearer("a.b.c"), scopes: None },
        Credential { name: "an API key", headers: bearer(&own.token), scopes: all },
        Credential { name: "X-API-Key", headers: vec![("x-api-key", own.token.clone())], scopes: all },
    ];
    let basic = format!("Basic {}", STANDARD.encode(format!("anyone:{}", own.token)));
    credentials.push(Credential { name: "Basic", headers: vec![("authorization", basic)], scopes: all });
    let admin = Credential {
        name: "an administrator",
        headers: bearer(&world.admin_token),
        scopes: Some(Scope::Admin.into()),
    };
    credentials.push(admin);
    for scope in Scope::ALL.iter().copied().filter(|scope| *scope != Scope::Admin) {
        let key = world.registrar.new_key(vec![world.tenant()], scope.into()).await?;
        credentials.push(Credential {
            name: scope.as_str(),
            headers: bearer(&key),
            scopes: Some(scope.into()),
        });
    }
    credentials.push(Credential {
        name: "our token",
        headers: bearer(&our_token(world).await?),
        scopes: all,
    });
    Ok(credentials)
}

/// As n8n's OAuth 2 credential gets it.
async fn our_token(world: &World) -> anyhow::Result<String> {
    let scopes = Scopes::ALL_OF_TENANT.to_string();
    let (id, secret) = service_account(world, &world.tenant(), &scopes).await?;
    let token = world.api.login(&id, &secret, &scopes).await?;
    anyhow::ensure!(token.status == 200, "{token:?}");
    Ok(token.json["access_token"].as_str().unwrap_or_default().to_owned())
}

pub async fn service_account(
    world: &World,
    tenant: &TenantId,
    scopes: &str,
) -> anyhow::Result<(String, String)> {
    let scopes: Vec<&str> = scopes.split(' ').collect();
    let body = json!({ "name": "n8n", "kind": "service_account", "tenants": [tenant], "scopes": scopes });
    let made = world.admin().post("/pulsar/clients", &body).await?;
    anyhow::ensure!(made.status == 201, "{made:?}");
    let text = |field: &str| made.json[field].as_str().unwrap_or_default().to_owned();
    Ok((text("client_id"), text("client_secret")))
}

#[tokio::test]
async fn every_route_answers_every_credential_as_it_must() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let rows: BTreeMap<(String, String), Row> =
        rows().into_iter().map(|row| ((row.route.0.to_owned(), row.route.1.to_owned()), row)).collect();
    let routes = routes();
    for (method, path) in rows.keys() {
        assert!(
            routes.iter().any(|r| r.method == *method && r.path == *path),
            "{method} {path} is not a route"
        );
    }
    world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    let executions = [world.api_of(0).fire("w").await?, world.api_of(1).fire("w").await?];
    for (number, id) in executions.iter().enumerate() {
        world.api_of(number).until(id, "succeeded").await;
    }
    let credentials = credentials(&world).await?;
    let mut faults = Vec::new();
    let mut nth = 0;
    for route in &routes {
        let Some(row) = rows.get(&(route.method.clone(), route.path.clone())) else {
            faults.push(format!("{} {} has no row here", route.method, route.path));
            continue;
        };
        for credential in &credentials {
            for (whose, number) in [("own", 0), ("foreign", 1)] {
                nth += 1;
                let target =
                    Target { tenant: &world.tenants[number].id, execution: &executions[number], nth };
                // What a row deletes is there before each try.
                if route.method == "DELETE" && route.path.starts_with("/pulsar/credentials/") {
                    put_credential(&world.api).await?;
                }
                let allowed = if whose == "own" { row.own } else { row.foreign };
                let expected = credential.expected(&route.need, allowed);
                let (path, body) = (row.request)(&target);
                let method: Method = route.method.parse()?;
                let answer = world.api.call_as(&credential.headers, method, &path, body.as_ref()).await?;
                // The first that may creates what the next ones find.
                let created =
                    row.own == 200 && route.method == "PUT" && answer.status == 201 && expected == 200;
                // A batch says it item by item.
                let item = answer.json[0]["status"].as_u64();
                let status = item.map_or(u64::from(answer.status.as_u16()), |status| status);
                if status != u64::from(expected) && !created {
                    let json = answer.json;
                    faults.push(format!(
                        "{} {path} by {} on the {whose} tenant: {status}, not {expected}: {json}",
                        route.method, credential.name
                    ));
                }
                if expected == 401 && !answer.headers.contains_key("www-authenticate") {
                    faults.push(format!("{} {path}: 401 without WWW-Authenticate", route.method));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    world.finish().await
}

async fn put_credential(api: &Api) -> anyhow::Result<()> {
    let made =
        api.put("/pulsar/credentials/matrix", &json!({ "kind": "bearer", "token": "secret-0" })).await?;
    anyhow::ensure!(made.status.is_success(), "{made:?}");
    Ok(())
}

#[tokio::test]
async fn another_tenants_execution_looks_like_none() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let id = world.api_of(1).fire("w").await?;
    world.api_of(1).until(&id, "succeeded").await;
    let nobodys = id.replacen(&id[..2], if id.starts_with("01") { "00" } else { "01" }, 1);
    for rest in ["", "/payload", "/replay", "/cancel"] {
        let method = if matches!(rest, "/replay" | "/cancel") { Method::POST } else { Method::GET };
        let ask = async |id: &str| {
            let path = format!("/pulsar/executions/{id}{rest}");
            let answer = world.api.call(method.clone(), &path, None).await?;
            anyhow::Ok((answer.status, answer.json.to_string().replace(id, "ID"), names(&answer.headers)))
        };
        assert_eq!(ask(&id).await?, ask(&nobodys).await?, "{rest}");
    }
    world.finish().await
}

fn names(headers: &http::HeaderMap) -> Vec<String> {
    headers.keys().map(ToString::to_string).collect()
}
