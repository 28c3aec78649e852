//! Who is let in, to what, and for whom.

use super::world::*;
use crate::endpoints::{self, Need};
use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

const GOOD: &str = r#"{"workflow_id": "lead", "payload": {}}"#;
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Every route as the table has it, with a path that can be asked for.
fn routes() -> Vec<(http::Method, String, Need)> {
    endpoints::all()
        .into_iter()
        .map(|endpoint| {
            let path = endpoint.path.replace("{id}", ID).replace("{name}", "header").replace("{key}", "data");
            (endpoint.method, path, endpoint.access)
        })
        .collect()
}

fn request(method: &http::Method, path: &str, authorization: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Body::from("junk")).unwrap()
}

#[tokio::test]
async fn no_route_but_the_open_ones_answers_a_stranger() {
    let world = world(Setup::default()).await;
    let junk = format!("Bearer {}", "x".repeat(65_536));
    let unknown = format!("Bearer npb_nobodynobody_{}", "A".repeat(43));
    let none = format!("Bearer {}.{}.", "eyJhbGciOiJub25lIn0", "eyJzdWIiOiJzdmNfYWNtZWFjbWVhY21lIn0");
    let mut bodies = std::collections::HashSet::new();
    for (method, path, need) in routes() {
        for credential in
            [None, Some("Bearer x"), Some(&*unknown), Some(&*junk), Some(&*none), Some("Basic ==")]
        {
            let answer = world.send(request(&method, &path, credential)).await;
            if need == Need::Open {
                assert_ne!(answer.status, 403, "{path}");
                continue;
            }
            assert_eq!(answer.problem(), (401, "/problems/unauthorized"), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"bridge\"");
            bodies.insert(answer.json.to_string());
        }
    }
    assert_eq!(bodies.len(), 1, "the answer does not tell what was wrong");
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let world = world(Setup::default()).await;
    for (method, path, need) in routes() {
        let Some(scope) = need.scope() else { continue };
        let mut without = vec![ADMIN, ACME, READER];
        without.retain(|key| match *key {
            ADMIN => need != Need::Admin,
            ACME => need == Need::Admin,
            _ => scope != bridge_protocol::Scope::Read,
        });
        for key in without {
            let answer = world.send(request(&method, &path, Some(&format!("Bearer {key}")))).await;
            assert_eq!(answer.problem(), (403, "/problems/missing-scope"), "{method} {path} {key}");
            assert!(answer.detail().contains(&format!("scope {scope}")), "{}", answer.detail());
        }
    }
}

#[tokio::test]
async fn before_the_directory_is_read_nobody_is_called_unknown() {
    let world = world(Setup { loaded: false, ..Setup::default() }).await;
    let answer = world.send(post("/pulsar/publish", ACME, GOOD)).await;
    assert_eq!(answer.problem(), (503, "/problems/not-ready"));
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn a_credential_of_several_tenants_names_one() {
    let world = world(Setup::default()).await;
    let publish = |key, tenant: &str| {
        let body = format!(r#"{{"workflow_id": "lead", "payload": {{}}, "tenant_id": "{tenant}"}}"#);
        world.send(post("/pulsar/publish", key, body))
    };
    let unnamed = publish(BOTH, "").await;
    assert_eq!(unnamed.problem(), (400, "/problems/invalid-request"));
    assert!(unnamed.detail().contains("acme, globex"), "{}", unnamed.detail());
    // Let in: it fails later, for want of a database.
    assert_eq!(publish(BOTH, "globex").await.problem(), (503, "/problems/database-unavailable"));
    assert_eq!(publish(BOTH, "No Tenant").await.problem(), (400, "/problems/invalid-request"));

    let there = publish(ACME, "globex").await;
    let not_there = publish(ACME, "nowhere").await;
    assert_eq!(there.problem(), (403, "/problems/foreign-tenant"));
    assert_eq!(there.json.to_string().replace("globex", "nowhere"), not_there.json.to_string());
}

#[tokio::test]
async fn a_reader_of_several_tenants_names_one_in_the_address() {
    let world = world(Setup::default()).await;
    for path in ["/pulsar/executions", "/pulsar/executions/x", "/pulsar/executions/x/payload"] {
        let ask = |key, query: &str| world.send(get(&format!("{path}{query}"), key));
        assert_eq!(ask(BOTH, "").await.problem(), (400, "/problems/invalid-request"), "{path}");
        assert_eq!(ask(BOTH, "?tenant_id=Bad").await.problem(), (400, "/problems/invalid-request"));
        let there = ask(ACME, "?tenant_id=globex").await;
        assert_eq!(there.problem(), (403, "/problems/foreign-tenant"));
        let not_there = ask(ACME, "?tenant_id=nowhere").await;
        assert_eq!(there.json.to_string().replace("globex", "nowhere"), not_there.json.to_string());
        assert!(ask(BOTH, "?tenant_id=globex").await.status != 400);
    }
}

#[tokio::test]
async fn a_token_of_our_own_is_a_credential() {
    let world = world(Setup::default()).await;
    let form = format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}");
    let request = Request::post("/oauth2/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let answer = world.send(request).await;
    assert_eq!(answer.status, OK, "{}", answer.json);
    let token = format!("Bearer {}", answer.json["access_token"].as_str().unwrap());
    let read = world.send(self::request(&http::Method::GET, "/pulsar/executions/x", Some(&token))).await;
    assert_eq!(read.problem(), (404, "/problems/not-found"));
    let publish = self::request(&http::Method::POST, "/pulsar/publish", Some(&token));
    assert_eq!(world.send(publish).await.problem(), (403, "/problems/missing-scope"));
}

#[test]
fn the_table_is_printed_and_names_each_route_once() {
    let printed: serde_json::Value = serde_json::from_str(&endpoints::as_json()).unwrap();
    let lines = printed.as_array().unwrap();
    let distinct: std::collections::HashSet<_> =
        lines.iter().map(|line| (line["method"].as_str().unwrap(), line["path"].as_str().unwrap())).collect();
    assert_eq!(lines.len(), distinct.len());
    assert_eq!(lines[0], serde_json::json!({"method": "POST", "path": "/pulsar/publish", "need": "publish"}));
}
