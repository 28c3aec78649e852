//! Against a real Postgres, each test in a database of its own. `scripts/test` starts the server and names it.

mod admin;
mod callbacks;
mod counts;
mod directory;
mod jobs;
mod keys;
mod life;
mod lists;
mod model;
mod native;
mod plans;
mod pulse;
mod release;
mod removal;
mod replays;
mod results;
mod retention;
mod ring;
mod routes;

use std::time::Duration;

use bridge_protocol::{Completion, ExecutionId, Lane, Mode, PayloadHash, TenantId, Time, WorkflowId};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::{
    Actor, Claim, ClaimAnswer, Claimed, Ending, Finish, NewExecution, Store, StoreConfig, StoredPayload,
    TenantRecord,
};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct TestStore {
    pub store: Store,
    pub url: String,
}

pub fn now() -> Time {
    chrono::Utc::now()
}

/// A store that accepts for the tenants of these tests.
pub async fn accepting() -> TestStore {
    let opened = open().await;
    let mut connection = PgConnection::connect(&opened.url).await.unwrap();
    sqlx::query("INSERT INTO tenants (id) VALUES ('acme'), ('globex')")
        .execute(&mut connection)
        .await
        .unwrap();
    opened
}

/// A migrated store in a new database.
pub async fn open() -> TestStore {
    open_with(|_| {}).await
}

pub async fn open_with(change: impl FnOnce(&mut StoreConfig)) -> TestStore {
    let server = std::env::var("BRIDGE_TEST_DATABASE_URL").expect(
        "BRIDGE_TEST_DATABASE_URL is not set; run ./scripts/test, which starts a Postgres for the tests",
    );
    let name = format!("store_{}", Uuid::from_u128(rand::random()).simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let mut config = StoreConfig::new(url.to_string());
    change(&mut config);
    let store = Store::open(config).unwrap();
    store.migrate(now()).await.unwrap();
    store.check().await.unwrap();
    TestStore { store, url: url.to_string() }
}

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn execution() -> NewExecution {
    let payload = Bytes::from_static(b"{\"n\":1}");
    NewExecution {
        id: ExecutionId::new(now(), &mut rand::rng()),
        tenant: tenant(),
        workflow: WorkflowId::parse("orders").unwrap(),
        lane: Lane::Long,
        mode: Mode::Pulsar,
        completion: Completion::Response,
        kind: None,
        psh: PayloadHash::of(&payload),
        payload,
        data_key: None,
        metadata: None,
        traceparent: None,
        idempotency: None,
        deliver_at: None,
        expires_at: None,
        due_in: Duration::from_secs(30),
        handed_off: true,
        decided_by: "default",
        decided_because: "the workflow has no route".to_owned(),
        on_failure: None,
        caused_by: None,
        native: None,
    }
}

pub fn named(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

pub fn actor() -> Actor {
    Actor { who: "svc_root".to_owned(), source: Some("10.0.0.7".to_owned()) }
}

pub fn id() -> Uuid {
    Uuid::from_u128(rand::random())
}

pub fn stored(new: &NewExecution) -> StoredPayload {
    StoredPayload { bytes: new.payload.clone(), data_key: new.data_key }
}

pub fn claim(id: ExecutionId, attempt: u16) -> Claim {
    Claim {
        tenant: tenant(),
        id,
        attempt,
        claim_id: Uuid::from_u128(rand::random()),
        message_id: "1:2:-1".to_owned(),
        lease: Duration::from_secs(60),
        max_attempts: 3,
        callback_digest: None,
    }
}

pub fn finish(claim: &Claim, ending: Ending) -> Finish {
    Finish {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: claim.attempt,
        claim_id: claim.claim_id,
        ending,
        http_status: Some(200),
        error: None,
        n8n_execution_id: None,
    }
}

impl TestStore {
    /// An active tenant without limits and secrets.
    pub async fn tenant(&self, tenant: &str) -> TenantRecord {
        self.store.put_tenant(&actor(), &named(tenant), None, None, None).await.unwrap().value
    }

    /// As if every tenant had been closed long ago: no statement can have begun before that.
    pub async fn calm(&self) {
        self.sql("UPDATE tenants SET changed_at = now() - interval '1 hour'").await;
    }

    /// The directory's revision and the length of the audit log: what every change steps once.
    pub async fn trail(&self) -> (i64, i64) {
        let revision = self.store.directory_revision().await.unwrap();
        (revision, self.number("SELECT count(*) FROM audit_log").await)
    }

    pub async fn accepted(&self) -> NewExecution {
        let new = execution();
        self.store.accept(new.clone(), PATIENCE).await.unwrap();
        new
    }

    pub async fn claimed(&self, claim: Claim) -> Claimed {
        match self.store.claim(claim, PATIENCE).await.unwrap() {
            ClaimAnswer::Claimed(claimed) => *claimed,
            ClaimAnswer::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// As if the lease, or the time for the callback, had run out long ago, and its timer rang.
    pub async fn lapse(&self, id: ExecutionId) {
        self.sql(&format!(
            "WITH e AS (UPDATE executions SET lease_until = now() - interval '1 hour', due_at = now() WHERE id = '{id}')
             UPDATE timers SET due_at = now() WHERE execution_id = '{id}'"
        ))
        .await;
    }

    pub async fn sql(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    pub async fn assert_every_live_execution_has_its_timer(&self) {
        assert_eq!(self.store.live_without_timer().await.unwrap(), []);
    }
}
