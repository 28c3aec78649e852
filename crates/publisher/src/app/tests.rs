#![allow(clippy::unwrap_used, reason = "tests")]
//! The API as far as it answers without a database: Postgres and the broker are out of reach here.

use super::*;
use crate::in_flight::InFlight;
use crate::outbound::Outbound;
use axum::body::Body;
use axum::response::Response;
use bridge_bus::{BusConfig, Producers};
use bridge_protocol::{Keyring, TenantId};
use bridge_service::clock::SystemClock;
use bridge_service::config::{Secret, Tenant};
use bridge_service::health::Weight;
use bridge_store::StoreConfig;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

const TOKEN: &str = "acme-token-000000001";

fn app(inflight: usize) -> Router {
    let keyring = format!(
        "signing = \"k\"\n[[keys]]\nkid = \"k\"\nalg = \"HS256\"\nsecret = \"{}=\"\n",
        "A".repeat(43)
    );
    // Port 9 of this machine: nobody listens.
    let bus = BusConfig { service_url: "pulsar://127.0.0.1:9".into(), ..BusConfig::default() };
    let outbound = Arc::new(Outbound {
        producers: Producers::start(bus, CancellationToken::new()),
        keyring: Arc::new(ArcSwap::from_pointee(Keyring::from_toml(&keyring).unwrap())),
        names: TopicNames::default(),
        issuer: "test".into(),
        lifetime: Duration::from_secs(60),
        clock: SystemClock::shared(),
    });
    let routes =
        RouteTable::new("http://n8n.example/webhook/{workflow_id}".into(), Vec::new(), true, false).unwrap();
    let tenant = Tenant {
        id: TenantId::parse("acme").unwrap(),
        api_token: Secret::new(TOKEN),
        webhook_secrets: Vec::new(),
    };
    let health = Health::default();
    health.slot("postgres", Weight::Essential, None);
    let app = App {
        store: Store::open(StoreConfig::new("postgres://nobody@127.0.0.1:9/none")).unwrap(),
        handoff: Handoff::new(outbound, InFlight::default(), 1, TaskTracker::new()),
        routes: Arc::new(ArcSwap::from_pointee(routes)),
        names: TopicNames::default(),
        clock: SystemClock::shared(),
        tokens: Tokens::new(&[tenant]),
        budget: Budget::new(inflight, 10_000_000),
        limits: Limits {
            payload_bytes: 1000,
            body_timeout: Duration::from_millis(100),
            batch_rows: 3,
            max_delay: Duration::from_secs(60),
            accept_patience: Duration::from_millis(300),
            patience: Duration::from_secs(30),
        },
        public_url: String::new(),
        metrics: bridge_service::telemetry::detached_metrics().unwrap(),
    };
    router(Arc::new(app), &health)
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("x-api-key", TOKEN).body(Body::empty()).unwrap()
}

async fn answer(response: Response) -> (StatusCode, serde_json::Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn problem(app: &Router, request: Request<Body>) -> (u16, String) {
    let (status, body) = answer(app.clone().oneshot(request).await.unwrap()).await;
    assert_eq!(body["message"], body["detail"], "{body}");
    (status.as_u16(), body["type"].as_str().unwrap_or_default().to_owned())
}

const GOOD: &str = r#"{"workflow_id": "lead", "payload": {}}"#;

#[tokio::test]
async fn without_a_token_nothing_is_read() {
    let app = app(8);
    for (method, path) in [
        ("POST", "/pulsar/publish"),
        ("POST", "/pulsar/publish/batch"),
        ("GET", "/pulsar/executions"),
        ("GET", "/pulsar/executions/x"),
        ("POST", "/pulsar/executions/x/replay"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::from("junk")).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"bridge\"");
        let (status, body) = answer(response).await;
        assert_eq!((status.as_u16(), &body["type"]), (401, &"/problems/unauthorized".into()), "{path}");
    }
    for open in ["/health/live", "/metrics"] {
        let request = Request::get(open).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    }
    let ready = Request::get("/health/ready").body(Body::empty()).unwrap();
    let (status, body) = answer(app.oneshot(ready).await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["dependencies"][0]["status"]), (503, &"down".into()));
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let app = app(8);
    let mut form = post("/pulsar/publish", GOOD);
    form.headers_mut().insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(problem(&app, form).await, (415, "/problems/unsupported-media-type".into()));

    let mut announced = post("/pulsar/publish", GOOD);
    announced.headers_mut().insert("content-length", "20000000".parse().unwrap());
    assert_eq!(problem(&app, announced).await, (413, "/problems/payload-too-large".into()));
    let streamed = post("/pulsar/publish", " ".repeat(80_000));
    assert_eq!(problem(&app, streamed).await, (413, "/problems/payload-too-large".into()));

    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    assert_eq!(problem(&app, post("/pulsar/publish", never)).await, (408, "/problems/slow-body".into()));

    assert_eq!(problem(&app, post("/pulsar/publish", "{")).await, (400, "/problems/malformed-json".into()));
    assert_eq!(problem(&app, post("/pulsar/publish", "{}")).await, (400, "/problems/invalid-request".into()));
    assert_eq!(
        problem(&app, post("/pulsar/publish/batch", "{}")).await,
        (400, "/problems/malformed-json".into())
    );
    let four = "[1,2,3,4]";
    assert_eq!(
        problem(&app, post("/pulsar/publish/batch", four)).await,
        (413, "/problems/batch-too-large".into())
    );
    let mut keyed = post("/pulsar/publish/batch", "[]");
    keyed.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(problem(&app, keyed).await, (400, "/problems/invalid-request".into()));

    assert_eq!(
        problem(&app, get("/pulsar/executions?state=x")).await,
        (400, "/problems/invalid-request".into())
    );
    assert_eq!(problem(&app, get("/pulsar/executions/x")).await, (404, "/problems/not-found".into()));
    assert_eq!(problem(&app, get("/nothing")).await, (404, "/problems/not-found".into()));
    assert_eq!(problem(&app, get("/pulsar/publish")).await, (405, "/problems/method-not-allowed".into()));
}

#[tokio::test]
async fn a_batch_of_nothing_but_faults_needs_no_database() {
    let body = r#"[{"workflow_id": "a"}, 7, {"workflow_id": "a", "payload": 1, "tenant_id": "other"}]"#;
    let (status, outcomes) = answer(app(8).oneshot(post("/pulsar/publish/batch", body)).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let told: Vec<_> = (0..3).map(|index| outcomes[index]["status"].as_u64().unwrap()).collect();
    assert_eq!(told, [400, 400, 403]);
    assert_eq!(outcomes[2]["index"], 2);
    assert_eq!(outcomes[0]["problem"]["errors"][0]["field"], "payload");
}

#[tokio::test]
async fn a_database_out_of_reach_is_503_with_a_time_to_come_back() {
    let app = app(8);
    for (path, body) in [("/pulsar/publish", GOOD.to_owned()), ("/pulsar/publish/batch", format!("[{GOOD}]"))]
    {
        let response = app.clone().oneshot(post(path, body)).await.unwrap();
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        let (status, body) = answer(response).await;
        assert_eq!((status.as_u16(), &body["type"]), (503, &"/problems/database-unavailable".into()));
    }
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_refused_at_once() {
    let (status, body) = answer(app(0).oneshot(post("/pulsar/publish", GOOD)).await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["type"]), (503, &"/problems/overloaded".into()));
}

#[tokio::test]
async fn the_content_type_follows_accept() {
    let app = app(8);
    let plain = app.clone().oneshot(get("/nothing")).await.unwrap();
    assert_eq!(plain.headers()[CONTENT_TYPE], "application/json");
    let mut named = get("/nothing");
    named.headers_mut().insert(ACCEPT, "text/html, application/problem+json;q=0.9".parse().unwrap());
    assert_eq!(app.oneshot(named).await.unwrap().headers()[CONTENT_TYPE], "application/problem+json");
}
