//! The issuer's routes.

use super::world::*;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

fn token(basic: Option<(&str, &str)>, form: &str) -> Request<Body> {
    let mut request = Request::post("/oauth2/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
    if let Some((id, secret)) = basic {
        let credential = STANDARD.encode(format!("{id}:{secret}"));
        request = request.header(AUTHORIZATION, format!("Basic {credential}"));
    }
    request.body(Body::from(form.to_owned())).unwrap()
}

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_client_gets_a_token_that_nobody_keeps() {
    let world = world(Setup::default()).await;
    let in_body = format!("{GRANT}&client_id={CLIENT}&client_secret={SECRET}&scope=");
    for request in [token(Some((CLIENT, SECRET)), &format!("{GRANT}&scope=read")), token(None, &in_body)] {
        let answer = world.send(request).await;
        assert_eq!(answer.status, OK, "{}", answer.json);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.json["token_type"], "Bearer");
        assert_eq!(answer.json["expires_in"], 900);
        assert_eq!(answer.json["scope"], "read");
    }
}

#[tokio::test]
async fn refusals_speak_oauth() {
    let world = world(Setup::default()).await;
    let good = Some((CLIENT, SECRET));
    let long = format!("{GRANT}&x={}", "y".repeat(20_000));
    let mut json = token(good, "{}");
    json.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    for (request, status, error) in [
        (token(good, ""), 400, "invalid_request"),
        (token(good, &long), 400, "invalid_request"),
        (json, 400, "invalid_request"),
        (token(good, "grant_type=password"), 400, "unsupported_grant_type"),
        (token(good, &format!("{GRANT}&scope=publish")), 400, "invalid_scope"),
        (token(good, &format!("{GRANT}&scope=everything")), 400, "invalid_scope"),
        (token(None, GRANT), 401, "invalid_client"),
        (token(Some((CLIENT, "nps_wrong")), GRANT), 401, "invalid_client"),
        (token(Some(("svc_nobodynobod", SECRET)), GRANT), 401, "invalid_client"),
        // An API key is no client's secret.
        (token(Some(("npb_acmeacmeacme", ACME)), GRANT), 401, "invalid_client"),
    ] {
        let answer = world.send(request).await;
        assert_eq!(
            (answer.status, answer.json["error"].as_str().unwrap()),
            (status, error),
            "{}",
            answer.json
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, if status == 401 { "Basic realm=\"bridge\"" } else { "" });
    }
}

fn from(mut request: Request<Body>, address: &str) -> Request<Body> {
    let peer = format!("{address}:1").parse().unwrap();
    request.extensions_mut().insert(bridge_service::serve::Peer(peer));
    request
}

#[tokio::test]
async fn token_requests_are_limited_by_address() {
    let world = world(Setup { token_requests_per_minute: 3, ..Setup::default() }).await;
    let good = |address: &str| from(token(Some((CLIENT, SECRET)), GRANT), address);
    for host in 1..=3 {
        let answer = world.send(good(&format!("[2001:db8::{host}]"))).await;
        assert_eq!(answer.status, OK, "{}", answer.json);
    }
    let answer = world.send(good("[2001:db8::4]")).await;
    assert_eq!((answer.status, answer.json["error"].as_str()), (429, Some("slow_down")));
    assert_eq!(answer.header("retry-after"), "20");
    // What went well is not charged to the client, which is as welcome as ever from elsewhere.
    for address in ["[2001:db8:0:1::1]", "203.0.113.9"] {
        assert_eq!(world.send(good(address)).await.status, OK);
    }
}

#[tokio::test]
async fn a_stranger_cannot_lock_a_client_out() {
    let world = world(Setup { token_requests_per_minute: 3, ..Setup::default() }).await;
    for _ in 0..3 {
        let wrong = from(token(Some((CLIENT, "nps_wrong")), GRANT), "203.0.113.9");
        assert_eq!(world.send(wrong).await.status, 401);
    }
    let here = |address| world.send(from(token(Some((CLIENT, SECRET)), GRANT), address));
    assert_eq!(here("203.0.113.9").await.status, 429);
    assert_eq!(here("203.0.113.10").await.status, OK);
}

#[tokio::test]
async fn the_issuer_describes_itself() {
    let world = world(Setup::default()).await;
    let ask = |path: &str| world.send(Request::get(path).body(Body::empty()).unwrap());
    let server = ask("/.well-known/oauth-authorization-server").await;
    assert_eq!(server.json["issuer"], "http://bridge.example");
    assert_eq!(server.json["token_endpoint"], "http://bridge.example/oauth2/token");
    let keys = ask("/.well-known/jwks.json").await;
    assert_eq!(keys.json["keys"][0]["kid"], "one");
    assert_eq!(keys.json["keys"][0]["d"], serde_json::Value::Null);
}
