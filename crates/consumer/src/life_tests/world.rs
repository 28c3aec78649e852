//! A tenant on a real Postgres with a real webhook, and what a consumer needs to serve it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bridge_fire::Webhooks;
use bridge_protocol::{
    Completion, Defaults, ExecutionId, Hold, Keyring, Lane, Mode, PayloadHash, Route, RouteName, RouteTable,
    TenantId, TopicNames, WorkflowId,
};
use bridge_service::clock::{SystemClock, entropy};
use bridge_service::payload_key::DataKey;
use bridge_service::tally::Tally;
use bridge_service::vault::Purpose;
use bridge_service::{Directory, OutgoingCredential, Vault};
use bridge_store::{Actor, Execution, NewExecution, Store, StoreConfig, TenantState};
use bridge_webhook::{BreakerConfig, Breakers, SlotLimits, Slots, WebhookClient, WebhookConfig};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt;
use crate::data_keys::DataKeys;
use crate::job::{End, Job};
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;
use crate::said::{HoldsMet, Said};
use crate::works::{Settings, Works};

pub const MASTER: &str = "a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How the webhook answers.
pub struct Hook {
    pub status: AtomicU16,
    pub answer: Mutex<&'static str>,
    pub paused: AtomicBool,
    /// A request has arrived.
    pub asked: Notify,
    pub go: Notify,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            status: AtomicU16::new(200),
            answer: Mutex::default(),
            paused: AtomicBool::default(),
            asked: Notify::new(),
            go: Notify::new(),
        }
    }
}

pub type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

pub struct World {
    pub works: Works,
    pub vault: Vault,
    pub tenant: TenantId,
    /// Of what is accepted.
    pub completion: Completion,
    /// What the webhook received.
    pub seen: Seen,
    pub hook: Arc<Hook>,
    pub database: String,
}

pub fn random() -> Uuid {
    crate::claim::random_id()
}

pub fn actor() -> Actor {
    Actor { who: "test".to_owned(), source: None }
}

pub async fn store() -> (Store, String) {
    let server = std::env::var("BRIDGE_TEST_DATABASE_URL").expect(
        "BRIDGE_TEST_DATABASE_URL is not set; run ./scripts/test, which starts a Postgres for the tests",
    );
    let name = format!("consumer_{}", random().simple());
    psql(&server, &format!("CREATE DATABASE {name}"));
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let store = Store::open(StoreConfig::new(url.clone())).unwrap();
    store.migrate(SystemClock::shared().now()).await.unwrap();
    (store, url.into())
}

/// Only the store speaks to Postgres itself.
fn psql(database: &str, sql: &str) {
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
    assert!(psql.status().unwrap().success());
}

/// A tenant with one secret and workflows `plain` and `guarded`; the latter's route names the credential `n8n`.
pub async fn world() -> World {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only when another test's crate was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let seen = Seen::default();
    let kept = seen.clone();
    let hook = Arc::new(Hook::default());
    let hooked = hook.clone();
    let app = post(async move |headers: HeaderMap, body: Bytes| {
        kept.lock().unwrap().push((headers, body));
        hooked.asked.notify_one();
        if hooked.paused.load(Ordering::Relaxed) {
            hooked.go.notified().await;
        }
        let status = hooked.status.load(Ordering::Relaxed);
        (StatusCode::from_u16(status).unwrap(), *hooked.answer.lock().unwrap())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(app)).await });

    let ((store, database), vault) = (store().await, Vault::from_text(MASTER).unwrap());
    let tenant = TenantId::parse("acme").unwrap();
    let id = random();
    let sealed = vault.seal(&Purpose::WebhookSecret(&tenant, id), SECRETS[0].as_bytes(), entropy());
    store.put_tenant(&actor(), &tenant, None, None, Some((id, sealed))).await.unwrap();

    let clock = SystemClock::shared();
    let directory = Directory::new(store.clone(), vault.clone());
    directory.refresh().await.unwrap();
    let trusted_hosts = [host.to_string()].into();
    let default_url = format!("http://{host}/{{workflow_id}}");
    let routes = RouteTable::new(Defaults { default_url, ..Defaults::default() }).unwrap();
    let guarded = Route { credential: Some("n8n".to_owned()), ..Route::default() };
    let name = RouteName::Workflow(WorkflowId::parse("guarded").unwrap());
    let routes = routes.with(1, vec![(tenant.clone(), name, Some(guarded))], vec![]);
    let works = Works {
        hooks: Webhooks {
            routes: Arc::new(ArcSwap::from_pointee(routes)),
            directory,
            slots: Slots::new(SlotLimits::default(), Breakers::new(BreakerConfig::default())),
            client: WebhookClient::new(WebhookConfig { trusted_hosts, ..WebhookConfig::default() }).unwrap(),
            clock: clock.clone(),
            canary: None,
        },
        data_keys: DataKeys::default(),
        store,
        keyring: Arc::new(ArcSwap::from_pointee(
            Keyring::from_toml(include_str!("../../../protocol/tests/vectors/keyring.toml")).unwrap(),
        )),
        names: TopicNames::default(),
        tally: Tally::new(clock),
        rejected: PerMinute::new(10),
        said: Said::default(),
        holds: HoldsMet::default(),
        settings: Settings {
            subscription: "bridge-consumer".to_owned(),
            slot_wait: Duration::from_secs(100),
            lease_margin: Duration::from_secs(30),
            write_patience: PATIENCE,
            max_result_bytes: 1024,
            seal_results: false,
            callback_base: Some("http://bridge.test/".to_owned()),
        },
        large: LargePayloads::new(1 << 24),
        soft: CancellationToken::new(),
    };
    World { works, vault, tenant, completion: Completion::Response, seen, hook, database }
}

impl World {
    pub async fn state(&self, state: TenantState) {
        self.works.store.put_tenant(&actor(), &self.tenant, Some(state), None, None).await.unwrap();
    }

    /// What no operation of the store does; ID stands for the execution's.
    pub fn sql(&self, sql: &str, job: &Job) {
        psql(&self.database, &sql.replace("ID", &job.id.to_string()));
    }

    /// Puts routes and holds in force: another revision each time.
    pub fn route(&self, workflow: &str, route: Route, holds: Vec<Hold>) {
        let table = self.works.hooks.routes.load_full();
        let name = RouteName::Workflow(WorkflowId::parse(workflow).unwrap());
        let changed = vec![(self.tenant.clone(), name, Some(route))];
        self.works.hooks.routes.store(Arc::new(table.with(table.revision() + 1, changed, holds)));
    }

    pub async fn look(&self) {
        self.works.hooks.directory.refresh().await.unwrap();
    }

    /// A data key in the database, and in the hands of a publisher.
    pub async fn data_key(&self) -> DataKey {
        let (id, bytes) = (random(), DataKey::generate(entropy()));
        let sealed = self.vault.seal(&Purpose::DataKey(&self.tenant, id), bytes.as_slice(), entropy());
        self.works.store.add_data_key(&actor(), &self.tenant, id, sealed).await.unwrap();
        DataKey::new(id, &bytes)
    }

    pub async fn credential(&self, credential: &OutgoingCredential) {
        let purpose = Purpose::WebhookCredential(&self.tenant, "n8n");
        let sealed = self.vault.seal(&purpose, &credential.to_secret(), entropy());
        let store = &self.works.store;
        store.put_webhook_credential(&actor(), &self.tenant, "n8n", credential.kind(), sealed).await.unwrap();
    }

    pub async fn accept(&self, workflow: &str, plain: &[u8], key: Option<&DataKey>) -> Job {
        self.accept_as(
            ExecutionId::new(self.works.hooks.clock.now(), &mut entropy()),
            None,
            workflow,
            plain,
            key,
        )
        .await
    }

    /// Sealed for `sealed_for`, when that is another execution.
    pub async fn accept_as(
        &self,
        id: ExecutionId,
        sealed_for: Option<ExecutionId>,
        workflow: &str,
        plain: &[u8],
        key: Option<&DataKey>,
    ) -> Job {
        let sealed = key.map(|key| key.seal(&self.tenant, sealed_for.unwrap_or(id), plain, entropy()));
        let new = NewExecution {
            id,
            tenant: self.tenant.clone(),
            workflow: WorkflowId::parse(workflow).unwrap(),
            lane: Lane::Short,
            mode: Mode::Pulsar,
            completion: self.completion,
            kind: None,
            payload: sealed.map_or_else(|| Bytes::copy_from_slice(plain), Bytes::from),
            data_key: key.map(|key| key.id),
            psh: PayloadHash::of(plain),
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
        };
        let job = Job {
            tenant: new.tenant.clone(),
            id,
            attempt: 1,
            psh: new.psh,
            lane: new.lane,
            topic: self.works.names.topic(&new.tenant, new.lane),
            message_id: "1:2:-1".to_owned(),
            hint: Some(new.workflow.clone()),
            traceparent: None,
        };
        self.works.store.accept(new, PATIENCE).await.unwrap();
        job
    }

    pub async fn deliver(&self, job: &Job) -> Execution {
        assert_eq!(attempt::run(&self.works, job).await, End::Settled);
        self.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap()
    }

    pub fn answer(&self, body: &'static str) {
        *self.hook.answer.lock().unwrap() = body;
    }

    pub fn fail(&self) {
        self.hook.status.store(500, Ordering::Relaxed);
    }

    /// The webhook does not answer until it is told to.
    pub fn pause(&self) {
        self.hook.paused.store(true, Ordering::Relaxed);
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn last(&self) -> (HeaderMap, Bytes) {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub fn wait_of(&self, execution: &Execution) -> Duration {
        (execution.due_at.unwrap() - self.works.hooks.clock.now()).to_std().unwrap_or_default()
    }
}
