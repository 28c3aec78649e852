//! Messages of tenants in every state, on a real Postgres and a real webhook; only the broker is left out.
//! `scripts/test` starts the server and names it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bars;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use bridge_protocol::{
    ExecutionId, Keyring, Lane, PayloadHash, Reason, RouteTable, State, TenantId, TopicNames, WebhookSecret,
    WorkflowId, verify_webhook_signature,
};
use bridge_service::clock::{SystemClock, entropy};
use bridge_service::payload_key::DataKey;
use bridge_service::tally::Tally;
use bridge_service::vault::Purpose;
use bridge_service::{Directory, OutgoingCredential, Vault};
use bridge_store::{Actor, Execution, NewExecution, Store, StoreConfig, TenantState};
use bridge_webhook::{BreakerConfig, Breakers, SlotLimits, Slots, WebhookClient, WebhookConfig};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt;
use crate::bar::Said;
use crate::data_keys::DataKeys;
use crate::job::{End, Job};
use crate::payload::LargePayloads;
use crate::rejected::PerMinute;
use crate::tenants::release;
use crate::works::{Settings, Works};

const MASTER: &str = "a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];
const PATIENCE: Duration = Duration::from_secs(10);

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

struct World {
    works: Works,
    vault: Vault,
    tenant: TenantId,
    /// What the webhook received.
    seen: Seen,
}

fn random() -> Uuid {
    crate::claim::random_id()
}

fn actor() -> Actor {
    Actor { who: "test".to_owned(), source: None }
}

async fn store() -> Store {
    let server = std::env::var("BRIDGE_TEST_DATABASE_URL").expect(
        "BRIDGE_TEST_DATABASE_URL is not set; run ./scripts/test, which starts a Postgres for the tests",
    );
    let name = format!("consumer_{}", random().simple());
    // Only the store speaks to Postgres itself.
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &server, "-c", &format!("CREATE DATABASE {name}")]);
    assert!(psql.status().unwrap().success());
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let store = Store::open(StoreConfig::new(url)).unwrap();
    store.migrate(SystemClock::shared().now()).await.unwrap();
    store
}

/// A tenant with one secret and workflows `plain` and `guarded`; the latter's route names the credential `n8n`.
async fn world() -> World {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only when another test's crate was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let seen = Seen::default();
    let kept = seen.clone();
    let app = post(async move |headers: HeaderMap, body: Bytes| kept.lock().unwrap().push((headers, body)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(app)).await });

    let (store, vault) = (store().await, Vault::from_text(MASTER).unwrap());
    let tenant = TenantId::parse("acme").unwrap();
    let id = random();
    let sealed = vault.seal(&Purpose::WebhookSecret(&tenant, id), SECRETS[0].as_bytes(), entropy());
    store.put_tenant(&actor(), &tenant, None, None, Some((id, sealed))).await.unwrap();

    let guarded = serde_json::json!({ "tenant": "acme", "workflow": "guarded", "credential": "n8n" });
    let routes = vec![serde_json::from_value(guarded).unwrap()];
    let clock = SystemClock::shared();
    let directory = Directory::new(store.clone(), vault.clone());
    directory.refresh().await.unwrap();
    let trusted_hosts = [host.to_string()].into();
    let works = Works {
        directory,
        data_keys: DataKeys::default(),
        store,
        keyring: Arc::new(ArcSwap::from_pointee(
            Keyring::from_toml(include_str!("../../protocol/tests/vectors/keyring.toml")).unwrap(),
        )),
        names: TopicNames::default(),
        routes: RouteTable::new(format!("http://{host}/{{workflow_id}}"), routes, true, false).unwrap(),
        slots: Slots::new(SlotLimits::default(), Breakers::new(BreakerConfig::default())),
        client: WebhookClient::new(WebhookConfig { trusted_hosts, ..WebhookConfig::default() }).unwrap(),
        tally: Tally::new(clock.clone()),
        clock,
        rejected: PerMinute::new(10),
        said: Said::default(),
        settings: Settings {
            subscription: "bridge-consumer".to_owned(),
            slot_wait: Duration::from_secs(100),
            lease_margin: Duration::from_secs(30),
            write_patience: PATIENCE,
            max_result_bytes: 1024,
        },
        large: LargePayloads::new(1 << 24),
        soft: CancellationToken::new(),
    };
    World { works, vault, tenant, seen }
}

impl World {
    async fn state(&self, state: TenantState) {
        self.works.store.put_tenant(&actor(), &self.tenant, Some(state), None, None).await.unwrap();
    }

    async fn look(&self) {
        self.works.directory.refresh().await.unwrap();
    }

    /// A data key in the database, and in the hands of a publisher.
    async fn data_key(&self) -> DataKey {
        let (id, bytes) = (random(), DataKey::generate(entropy()));
        let sealed = self.vault.seal(&Purpose::DataKey(&self.tenant, id), bytes.as_slice(), entropy());
        self.works.store.add_data_key(&actor(), &self.tenant, id, sealed).await.unwrap();
        DataKey::new(id, &bytes)
    }

    async fn credential(&self, credential: &OutgoingCredential) {
        let purpose = Purpose::WebhookCredential(&self.tenant, "n8n");
        let sealed = self.vault.seal(&purpose, &credential.to_secret(), entropy());
        let store = &self.works.store;
        store.put_webhook_credential(&actor(), &self.tenant, "n8n", credential.kind(), sealed).await.unwrap();
    }

    async fn accept(&self, workflow: &str, plain: &[u8], key: Option<&DataKey>) -> Job {
        self.accept_as(ExecutionId::new(self.works.clock.now(), &mut entropy()), None, workflow, plain, key)
            .await
    }

    /// Sealed for `sealed_for`, when that is another execution.
    async fn accept_as(
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

    async fn deliver(&self, job: &Job) -> Execution {
        assert_eq!(attempt::run(&self.works, job).await, End::Settled);
        self.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap()
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> (HeaderMap, Bytes) {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn wait_of(&self, execution: &Execution) -> Duration {
        (execution.due_at.unwrap() - self.works.clock.now()).to_std().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_parked_and_let_go_when_it_resumes() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    world.state(TenantState::Suspended).await;
    world.look().await;
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));
    assert!(world.wait_of(&parked) > Duration::from_secs(60), "{:?}", parked.due_at);

    let mut waiting = BTreeSet::from([world.tenant.clone()]);
    release(&world.works, &mut waiting).await;
    let held = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((held.parks, waiting.len()), (1, 0), "suspended still");

    world.state(TenantState::Active).await;
    world.look().await;
    release(&world.works, &mut BTreeSet::from([world.tenant.clone()])).await;
    let due = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((due.parks, world.wait_of(&due)), (0, Duration::ZERO));
    let done = world.deliver(&job).await;
    assert_eq!((done.state, done.attempt, world.requests()), (State::Succeeded, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_tenant_is_drained() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    world.works.store.mark_deleting(&actor(), &world.tenant).await.unwrap();
    world.look().await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_live_secret_signs() {
    let world = world().await;
    let id = random();
    let sealed =
        world.vault.seal(&Purpose::WebhookSecret(&world.tenant, id), SECRETS[1].as_bytes(), entropy());
    let overlap = Duration::from_secs(3600);
    world.works.store.add_webhook_secret(&actor(), &world.tenant, id, sealed, overlap).await.unwrap();
    world.look().await;
    let job = world.accept("plain", b"{\"n\":1}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let (headers, body) = world.last();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let at = text("webhook-timestamp").parse().unwrap();
    let signatures: Vec<String> = text("webhook-signature").split(' ').map(str::to_owned).collect();
    assert_eq!(signatures.len(), 2);
    // The newest signs first.
    for (secret, signature) in SECRETS.iter().rev().zip(signatures) {
        let secret = [WebhookSecret::parse(secret).unwrap()];
        let tolerance = Duration::from_secs(300);
        assert!(verify_webhook_signature(&secret, &text("webhook-id"), at, &body, &signature, at, tolerance));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credential_nothing_is_sent_and_no_attempt_is_spent() {
    let world = world().await;
    let job = world.accept("guarded", b"{}", None).await;
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));

    world.credential(&OutgoingCredential::Basic { user: "n8n".to_owned(), password: "p".to_owned() }).await;
    world.look().await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    assert_eq!(world.last().0["authorization"], "Basic bjhuOnA=");

    // Replaced: the next request carries the new one, and never the old.
    world
        .credential(&OutgoingCredential::Jwt { secret: "0123456789abcdef0123456789abcdef".to_owned() })
        .await;
    world.look().await;
    let job = world.accept("guarded", b"{}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let (headers, _) = world.last();
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer ey"));
    assert!(headers.contains_key("webhook-signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_payload_arrives_plain_even_under_a_key_that_is_a_moment_old() {
    let world = world().await;
    // Made after the directory was loaded.
    let key = world.data_key().await;
    let small = world.accept("plain", b"{\"n\":1}", Some(&key)).await;
    let large = [b"\"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat();
    let large = (world.accept("plain", &large, Some(&key)).await, large);
    let (one, two) = tokio::join!(world.deliver(&small), world.deliver(&large.0));
    assert_eq!((one.state, two.state), (State::Succeeded, State::Succeeded), "{one:?} {two:?}");
    let bodies: Vec<Bytes> = world.seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    for plain in [&b"{\"n\":1}"[..], &large.1] {
        let end = [b"\"payload\":", plain, b"}"].concat();
        assert!(bodies.iter().any(|body| body.ends_with(&end)));
    }
    assert_eq!(world.deliver(&world.accept("plain", b"{}", None).await).await.state, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_dead_lettered_and_says_why() {
    let world = world().await;
    let key = world.data_key().await;
    let new = || ExecutionId::new(world.works.clock.now(), &mut entropy());
    let moved = world.accept_as(new(), Some(new()), "plain", b"{}", Some(&key)).await;
    let destroyed = world.accept("plain", b"{}", Some(&key)).await;
    let unknown = world.accept("plain", b"{}", Some(&DataKey::new(random(), &[1; 32]))).await;
    let mut forged = world.accept("plain", b"{}", Some(&key)).await;
    forged.psh = PayloadHash::of(b"another");

    let dead = async |job: &Job, why: &str| {
        let execution = world.deliver(job).await;
        assert_eq!(execution.state, State::DeadLettered, "{execution:?}");
        assert_eq!(execution.reason.as_deref(), Some(Reason::PayloadUnreadable.as_str()));
        assert!(execution.error.as_deref().unwrap().contains(why), "{execution:?}");
    };
    dead(&moved, "does not open").await;
    dead(&unknown, "is not known").await;
    dead(&forged, "not the one that was signed").await;
    world.works.store.destroy_data_keys(&actor(), &world.tenant).await.unwrap();
    world.look().await;
    dead(&destroyed, "was destroyed").await;
    assert_eq!(world.requests(), 0);
}
