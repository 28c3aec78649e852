//! What a tenant may not: when it is suspended, beyond its limits, without its data key.

use super::world::*;
use crate::accept::{Candidate, open_tenant};
use crate::answer::Published;
use crate::data_keys::{self, AtRest};
use crate::parse::{self, Context};
use bridge_protocol::ExecutionId;
use bridge_service::Problem;
use bridge_service::clock::entropy;
use bridge_store::Accepted;
use bridge_store::StoredPayload;
use bytes::Bytes;
use uuid::Uuid;

const GOOD: &str = r#"{"workflow_id": "lead", "payload": {}}"#;
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[tokio::test]
async fn suspended_and_leaving_tenants_publish_nothing() {
    let world = world(Setup::default()).await;
    for key in [SLEEPY, LEAVING] {
        let single = world.send(post("/pulsar/publish", key, GOOD)).await;
        assert_eq!(single.problem(), (403, "/problems/tenant-suspended"));
        let batch = world.send(post("/pulsar/publish/batch", key, format!("[{GOOD}]"))).await;
        assert_eq!((batch.status, &batch.json[0]["status"]), (OK, &403.into()));
        let replay = world.send(post(&format!("/pulsar/executions/{ID}/replay"), key, "")).await;
        assert_eq!(replay.problem(), (403, "/problems/tenant-suspended"));
    }
}

#[tokio::test]
async fn a_rate_is_told_and_kept() {
    let world = world(Setup::default()).await;
    let first = world.send(post("/pulsar/publish", LIMITED, GOOD)).await;
    assert_eq!(first.header("ratelimit-policy"), "\"tenant\";q=3;w=3");
    assert!(first.header("ratelimit").starts_with("\"tenant\";r=2;t="), "{}", first.header("ratelimit"));

    // A batch counts its good rows, and passes whole or not at all.
    let three = format!("[{GOOD},{GOOD},{GOOD}]");
    let batch = world.send(post("/pulsar/publish/batch", LIMITED, three)).await;
    assert_eq!(batch.problem(), (429, "/problems/rate-limited"));
    assert_eq!(batch.header("retry-after"), "1");
    assert!(batch.header("ratelimit").starts_with("\"tenant\";r=0;t="));
    let two = format!("[{GOOD},7,{GOOD}]");
    let batch = world.send(post("/pulsar/publish/batch", LIMITED, two)).await;
    assert_eq!(batch.problem(), (503, "/problems/database-unavailable"));

    let spent = world.send(post("/pulsar/publish", LIMITED, GOOD)).await;
    assert_eq!(spent.problem(), (429, "/problems/rate-limited"));
    let other = world.send(post("/pulsar/publish", ACME, GOOD)).await;
    assert_eq!((other.status, other.header("ratelimit")), (503, ""));
}

#[tokio::test]
async fn a_quota_is_no_reason_to_come_again_soon() {
    let world = world(Setup::default()).await;
    let large = r#"{"workflow_id": "lead", "payload": "0123456789"}"#;
    let answer = world.send(post("/pulsar/publish", LIMITED, large)).await;
    assert_eq!(answer.problem(), (403, "/problems/quota-exceeded"));
    assert!(answer.detail().contains("payload_bytes_per_day of 10 bytes a day"), "{}", answer.detail());
    assert!(answer.detail().contains("2026-02-01T00:00:00Z"), "{}", answer.detail());
    assert_eq!(answer.header("retry-after"), "");
    // What was not written is not counted: five times two bytes fit only if the failures were given back.
    for _ in 0..2 {
        assert_eq!(world.send(post("/pulsar/publish", LIMITED, GOOD)).await.status, 503);
    }
}

#[tokio::test]
async fn with_encryption_nothing_is_stored_in_the_clear() {
    let (at_rest, mut asked) = AtRest::sealed();
    let world = world(Setup { at_rest, ..Setup::default() }).await;
    // Nobody makes keys here: acme waits in vain, and asked once for each request.
    let answer = world.send(post("/pulsar/publish", ACME, GOOD)).await;
    assert_eq!(answer.problem(), (503, "/problems/data-key-unavailable"));
    assert_eq!(asked.recv().await, Some(tenant_id("acme")));
    // Globex has its key, and fails for want of a database only.
    let globex = r#"{"workflow_id": "lead", "payload": {}, "tenant_id": "globex"}"#;
    let answer = world.send(post("/pulsar/publish", BOTH, globex)).await;
    assert_eq!(answer.problem(), (503, "/problems/database-unavailable"));
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_stored_payload_opens_for_its_own_execution() {
    let world = world(Setup::default()).await;
    let (globex, id): (_, ExecutionId) = (tenant_id("globex"), ID.parse().unwrap());
    let key = world.app.directory.snapshot().tenant(&globex).unwrap().sealing_key().unwrap().clone();
    for plain in [b"{}".to_vec(), vec![b' '; 2 * data_keys::LARGE]] {
        let sealed = key.seal(&globex, id, &plain, entropy());
        let stored = |data_key| StoredPayload { bytes: sealed.clone().into(), data_key };
        let opened = data_keys::open(&world.app, &globex, id, stored(Some(key.id))).await.unwrap();
        assert_eq!(opened, plain);

        let other = ExecutionId::new(world.app.clock.now(), &mut entropy());
        let problem = data_keys::open(&world.app, &globex, other, stored(Some(key.id))).await.unwrap_err();
        assert_eq!(problem.status().as_u16(), 410);
        let unknown = data_keys::open(&world.app, &globex, id, stored(Some(Uuid::from_u128(8)))).await;
        assert_eq!(unknown.unwrap_err().status().as_u16(), 503);
        assert_eq!(data_keys::open(&world.app, &globex, id, stored(None)).await.unwrap(), sealed);
    }
}

#[tokio::test]
async fn what_the_database_refuses_for_its_tenant_is_told_as_ever() {
    let world = world(Setup::default()).await;
    let context = Context {
        tenant: &|_| Ok(tenant_id("acme")),
        limits: &world.app.limits,
        now: world.app.clock.now(),
        header_key: None,
    };
    let publish = parse::publish(&Bytes::from(GOOD), GOOD.as_bytes(), &context).unwrap();
    let tenant = open_tenant(&world.app, &publish.tenant).unwrap();
    let mut candidate = Candidate::new(&world.app, &tenant, publish, None).unwrap();
    let fate = candidate.settle(&world.app, Accepted::TenantClosed);
    let problem = Published::new(&world.app, candidate, fate).await.unwrap_err();
    let known = open_tenant(&world.app, &tenant_id("sleepy")).unwrap_err();
    let told = |problem: &Problem| serde_json::to_value(problem).unwrap()["type"].clone();
    assert_eq!((problem.status(), told(&problem)), (known.status(), told(&known)));
}

#[tokio::test]
async fn changes_of_credentials_are_limited_by_tenant() {
    let world = world(Setup::default()).await;
    let put = |key| {
        let mut request =
            post("/pulsar/credentials/crm?tenant_id=acme", key, r#"{"kind": "bearer", "token": "t"}"#);
        *request.method_mut() = http::Method::PUT;
        world.send(request)
    };
    for _ in 0..2 {
        assert_ne!(put(ACME).await.status, 429);
    }
    // The tenant's, whichever credential it uses.
    let refused = put(BOTH).await;
    assert_eq!(refused.problem(), (429, "/problems/rate-limited"));
    assert_eq!(refused.header("retry-after"), "30");
    let mut delete = get("/pulsar/credentials/crm", ACME);
    *delete.method_mut() = http::Method::DELETE;
    assert_eq!(world.send(delete).await.status, 429);
    // Reading is free, and so is another tenant.
    assert_ne!(world.send(get("/pulsar/credentials", ACME)).await.status, 429);
    let mut other = get("/pulsar/credentials/crm?tenant_id=globex", BOTH);
    *other.method_mut() = http::Method::DELETE;
    assert_ne!(world.send(other).await.status, 429);
}

#[tokio::test]
async fn an_issuer_key_is_replaced_with_time_or_at_once() {
    let world = world(Setup::default()).await;
    for (overlap, status) in [(0, 503), (1, 400), (900, 400), (990, 503)] {
        let body = format!(r#"{{"key": "issuer", "overlap_seconds": {overlap}}}"#);
        let answer = world.send(post("/pulsar/keys/rotate", ADMIN, body)).await;
        assert_eq!(answer.status, status, "{overlap}: {}", answer.json);
    }
}
