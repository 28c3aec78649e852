//! What both daemons share through Postgres. `scripts/test` starts the server and names it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use arc_swap::ArcSwap;
use bridge_protocol::{
    Asked, Defaults, ExecutionId, Hold, Keyring, Lane, Route, RouteName, Scopes, TenantId, Time, WorkflowId,
};
use bridge_service::clock::{SystemClock, entropy};
use bridge_service::heartbeat::{self, ALIVE_WITHIN};
use bridge_service::signing_gate::SigningGate;
use bridge_service::tally::Tally;
use bridge_service::vault::Purpose;
use bridge_service::{Directory, Routing, Vault};
use bridge_store::{
    Actor, CredentialKind, CredentialRecord, Member, Store, StoreConfig, TenantLimits, TenantState,
};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const MASTER: &str = "a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const POLL: Duration = Duration::from_millis(100);

fn random() -> Uuid {
    ExecutionId::new(now(), &mut entropy()).uuid()
}

fn now() -> Time {
    chrono::Utc::now()
}

/// A migrated store in a new database.
async fn open() -> Store {
    open_at().await.0
}

/// The same, and the database's address.
async fn open_at() -> (Store, String) {
    let server = std::env::var("BRIDGE_TEST_DATABASE_URL").expect(
        "BRIDGE_TEST_DATABASE_URL is not set; run ./scripts/test, which starts a Postgres for the tests",
    );
    let name = format!("service_{}", random().simple());
    // Only the store speaks to Postgres itself.
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &server, "-c", &format!("CREATE DATABASE {name}")]);
    assert!(psql.status().unwrap().success());
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let store = Store::open(StoreConfig::new(url.clone())).unwrap();
    store.migrate(now()).await.unwrap();
    (store, url.into())
}

fn actor() -> Actor {
    Actor { who: "test".into(), source: None }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_within_a_poll() {
    let (store, vault, stop) = (open().await, Vault::from_text(MASTER).unwrap(), CancellationToken::new());
    let directory = Directory::new(store.clone(), vault.clone());
    let mut changes = directory.changes();
    tokio::spawn(directory.clone().watch(POLL, stop.clone()));
    let mut next = async || {
        timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
        *changes.borrow_and_update()
    };
    next().await;
    assert!(directory.is_loaded() && directory.snapshot().tenants.is_empty());

    let (acme, id) = (TenantId::parse("acme").unwrap(), random());
    let sealed = vault.seal(&Purpose::WebhookSecret(&acme, id), WHSEC.as_bytes(), entropy());
    let done = store.put_tenant(&actor(), &acme, None, None, Some((id, sealed))).await.unwrap();
    assert_eq!(next().await, done.revision);
    let seen = directory.snapshot_full();
    assert_eq!(seen.tenants[&acme].webhook_secrets.len(), 1);
    assert_eq!(seen.tenants[&acme].state, TenantState::Active);

    // The old secret stays for the overlap, then goes without a change of the revision.
    let id = random();
    let sealed = vault.seal(&Purpose::WebhookSecret(&acme, id), WHSEC.as_bytes(), entropy());
    let overlap = Duration::from_millis(700);
    let done = store.add_webhook_secret(&actor(), &acme, id, sealed, overlap).await.unwrap();
    assert_eq!(next().await, done.revision);
    assert_eq!(directory.snapshot().tenants[&acme].webhook_secrets.len(), 2);
    eventually("the old secret goes", async || {
        directory.snapshot().tenants[&acme].webhook_secrets.len() == 1
    })
    .await;

    let record = CredentialRecord {
        id: "svc_a".into(),
        kind: CredentialKind::ServiceAccount,
        name: "n8n".into(),
        tenants: vec![acme.clone()],
        scopes: Scopes::ALL_OF_TENANT,
        digest: [1; 32],
        old: None,
        expires_at: None,
        revoked_at: None,
        created_at: now(),
    };
    let created = store.create_credential(&actor(), &record).await.unwrap();
    eventually("the credential", async || directory.snapshot().revision == created.revision).await;
    assert!(directory.snapshot().by_digest.contains_key(&[1; 32]));
    let begun = Instant::now();
    let revoked = store.revoke_credential(&actor(), "svc_a").await.unwrap();
    eventually("the revocation", async || directory.snapshot().revision == revoked.revision).await;
    println!("a revocation was in force after {:?}, polling every {POLL:?}", begun.elapsed());
    assert!(directory.snapshot().by_digest.is_empty() && directory.snapshot().by_id.is_empty());

    let limits = TenantLimits { burst: Some(3), ..TenantLimits::default() };
    store.put_tenant(&actor(), &acme, Some(TenantState::Suspended), Some(limits), None).await.unwrap();
    assert!(directory.refresh().await.unwrap(), "whoever changes it need not wait for the poll");
    let seen = directory.snapshot_full();
    assert_eq!(
        (seen.tenants[&acme].state, seen.tenants[&acme].limits.burst),
        (TenantState::Suspended, Some(3))
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_says_new_keys_and_a_new_revision_at_once() {
    let (store, stop) = (open().await, CancellationToken::new());
    let directory = Directory::new(store.clone(), Vault::from_text(MASTER).unwrap());
    let routing = routing(&store);
    let keys = Arc::new(ArcSwap::from_pointee(vec!["one".to_owned()]));
    let shown = keys.clone();
    tokio::spawn(heartbeat::run(
        store.clone(),
        "consumer",
        move || shown.load().to_vec(),
        directory.clone(),
        routing.clone(),
        || serde_json::json!({ "slots_free": 3 }),
        stop.clone(),
    ));
    let said = async || {
        let members = store.live_members(ALIVE_WITHIN).await.unwrap();
        members.first().map(|member| {
            // What a change of the master keys waits for.
            assert!(!member.masters.is_empty(), "{member:?}");
            (member.keys.join(" "), member.directory)
        })
    };
    eventually("the first beat", async || said().await == Some(("one".into(), -1))).await;
    let begun = Instant::now();
    keys.store(Arc::new(vec!["one".into(), "two".into()]));
    eventually("the new key", async || said().await == Some(("one two".into(), -1))).await;
    directory.refresh().await.unwrap();
    let revision = directory.snapshot().revision;
    eventually("the revision", async || said().await == Some(("one two".into(), revision))).await;
    let routes = async || {
        let members = store.members(ALIVE_WITHIN).await.unwrap();
        members[0].detail["routes"].as_i64()
    };
    assert_eq!(routes().await, Some(0));
    routing.refresh().await.unwrap();
    eventually("the routes' revision", async || routes().await == Some(routing.revision())).await;
    assert!(routing.is_loaded() && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    stop.cancel();
}

fn routing(store: &Store) -> Routing {
    let defaults = Defaults { default_url: "http://n8n/{workflow_id}".into(), ..Defaults::default() };
    Routing::new(store.clone(), defaults).unwrap()
}

fn workflow() -> WorkflowId {
    WorkflowId::parse("orders/new").unwrap()
}

fn lane(routing: &Routing, tenant: &TenantId) -> Lane {
    routing.table().load().decide(tenant, &workflow(), None, Asked::default()).unwrap().lane
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_holds_are_heard_of_at_once_and_found_by_a_poll() {
    let (store, stop) = (open().await, CancellationToken::new());
    let acme = TenantId::parse("acme").unwrap();
    store.put_tenant(&actor(), &acme, None, None, None).await.unwrap();
    let vault = Vault::from_text(MASTER).unwrap();
    // One is told of changes and would never look by itself in this test; the other looks only when it is asked.
    let (told, asked) = (routing(&store), routing(&store));
    let directory = Directory::new(store.clone(), vault.clone());
    tokio::spawn(told.clone().watch(directory.clone(), Duration::from_secs(3600), stop.clone()));
    eventually("the first load of routes and directory", async || told.is_loaded() && directory.is_loaded())
        .await;
    assert!(asked.refresh().await.unwrap() && !asked.refresh().await.unwrap());

    let name = RouteName::Workflow(workflow());
    let ai = Route { lane: Some(Lane::Ai), ..Route::default() };
    let put = store.put_route(&actor(), &acme, &name, &ai).await.unwrap();
    let begun = Instant::now();
    eventually("the route", async || told.revision() == put.revision).await;
    println!("a route was in force after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(asked.refresh().await.unwrap());
    assert_eq!((lane(&told, &acme), lane(&asked, &acme)), (Lane::Ai, Lane::Ai));

    let hold = Hold {
        tenant: acme.clone(),
        id: "stop".into(),
        workflow: None,
        lane: Some(Lane::Ai),
        host: None,
        reason: "a test".into(),
    };
    store.put_hold(&actor(), &hold).await.unwrap();
    let held = || told.table().load().hold(&acme, &workflow(), Lane::Ai, None).is_some();
    eventually("the hold", async || held()).await;
    store.delete_hold(&actor(), &acme, "stop").await.unwrap();
    eventually("the end of the hold", async || !held()).await;
    store.delete_route(&actor(), &acme, &name).await.unwrap();
    eventually("the end of the route", async || lane(&told, &acme) == Lane::Long).await;

    // The directory, too, is looked at when Postgres tells of a change.
    let changed = store.put_tenant(&actor(), &acme, Some(TenantState::Suspended), None, None).await.unwrap();
    eventually("the suspension", async || directory.snapshot().revision == changed.revision).await;
    stop.cancel();
}

/// As after a restore, or while the connection that tells of changes is down.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_tells_of_is_in_force_a_poll_later() {
    const EVERY: Duration = Duration::from_secs(1);
    let ((store, url), stop) = (open_at().await, CancellationToken::new());
    let (routing, directory) =
        (routing(&store), Directory::new(store.clone(), Vault::from_text(MASTER).unwrap()));
    tokio::spawn(routing.clone().watch(directory.clone(), EVERY, stop.clone()));
    eventually("the first load of routes and directory", async || {
        routing.is_loaded() && directory.is_loaded()
    })
    .await;
    for _ in 0..2 {
        let known = routing.revision();
        let mut psql = Command::new("psql");
        psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &url]);
        psql.args(["-c", "UPDATE routing_revision SET revision = revision + 1"]);
        assert!(psql.status().unwrap().success());
        let begun = Instant::now();
        eventually("the new revision", async || routing.revision() == known + 1).await;
        assert!(begun.elapsed() < 2 * EVERY, "{:?}", begun.elapsed());
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_finds_what_nobody_told() {
    let ((store, url), stop) = (open_at().await, CancellationToken::new());
    let acme = TenantId::parse("acme").unwrap();
    store.put_tenant(&actor(), &acme, None, None, None).await.unwrap();
    let routing = routing(&store);
    let directory = Directory::still(Vault::from_text(MASTER).unwrap(), Default::default());
    tokio::spawn(routing.clone().watch(directory, POLL, stop.clone()));
    eventually("the first load", async || routing.is_loaded()).await;
    // Not by the store: nobody is told.
    let sql = "INSERT INTO holds (tenant_id, id, reason, created_by) VALUES ('acme', 'h', 'r', 'sql');
               UPDATE routing_revision SET revision = revision + 1";
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]);
    assert!(psql.status().unwrap().success());
    let held = || routing.table().load().hold(&acme, &workflow(), Lane::Ai, None).is_some();
    eventually("the hold", async || held()).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_waits_for_the_slowest_consumer() {
    let (store, stop) = (open().await, CancellationToken::new());
    let key = |kid: &str, byte: &str| {
        format!("[[keys]]\nkid = \"{kid}\"\nalg = \"HS256\"\nsecret = \"{}=\"\n", byte.repeat(43))
    };
    let text = format!("signing = \"new\"\n{}{}", key("old", "A"), key("new", "E"));
    let keyring = Arc::new(ArcSwap::from_pointee(Keyring::from_toml(&text).unwrap()));
    let beat = async |id: u128, kind: &'static str, keys: &[&str]| {
        let detail = serde_json::json!({ "keys": keys, "directory": 1 });
        let member = Member { id: Uuid::from_u128(id), kind, version: "0", host: "test".into(), detail };
        store.beat(&member).await.unwrap();
    };
    beat(1, "consumer", &["old", "new"]).await;
    beat(2, "consumer", &["old"]).await;
    beat(3, "publisher", &[]).await;
    let gate = SigningGate::open(keyring.clone(), store.clone()).await;
    assert_eq!(gate.kid().as_deref(), Some("old"));
    tokio::spawn(gate.clone().watch(stop.clone()));
    beat(2, "consumer", &["old", "new"]).await;
    let begun = Instant::now();
    eventually("the new key signs", async || gate.kid().as_deref() == Some("new")).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_written_down_at_the_stop() {
    let (store, stop) = (open().await, CancellationToken::new());
    let tally = Tally::new(SystemClock::shared());
    let running = tokio::spawn(tally.clone().run(store.clone(), stop.clone()));
    for _ in 0..3 {
        tally.add("login", "svc_a\0", "unknown");
    }
    stop.cancel();
    running.await.unwrap();
    let rows = store.refusals(now() - Duration::from_secs(120), 10).await.unwrap();
    let count: u64 = rows.iter().map(|row| row.count).sum();
    assert_eq!((count, rows[0].subject.as_str()), (3, "svc_a?"));
}
