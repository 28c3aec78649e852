//! A publisher whose tenants and credentials are all in memory; Postgres and the broker are out of reach.

use super::super::*;
use crate::busiest::Busiest;
use crate::in_flight::InFlight;
use crate::outbound::Outbound;
use axum::body::Body;
use axum::response::Response;
use bridge_access::AccessConfig;
use bridge_bus::{BusConfig, Producers};
use bridge_fire::Webhooks;
use bridge_protocol::{Defaults, Keyring, Scope, Scopes, TenantId, Time};
use bridge_service::clock::{ManualClock, entropy};
use bridge_service::config::Role;
use bridge_service::directory::{Credential, IssuerKey, Snapshot, Tenant};
use bridge_service::health::Weight;
use bridge_service::key_pair::KeyPair;
use bridge_service::payload_key::DataKey;
use bridge_service::signing_gate::SigningGate;
use bridge_store::{CredentialKind, StoreConfig, TenantLimits, TenantState};
use bridge_webhook::{BreakerConfig, Breakers, SlotLimits, Slots, WebhookClient, WebhookConfig};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use uuid::Uuid;

/// Every data scope for acme.
pub const ACME: &str = "npb_acmeacmeacme_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// For acme and globex.
pub const BOTH: &str = "npb_bothbothboth_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Acme's, may only read.
pub const READER: &str = "npb_readerreader_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Of a suspended tenant, of one that is being deleted, of one with every limit.
pub const SLEEPY: &str = "npb_sleepysleepy_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const LEAVING: &str = "npb_leavingleave_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const LIMITED: &str = "npb_limitedlimit_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const ADMIN: &str = "npb_adminadminad_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const CLIENT: &str = "svc_acmeacmeacme";
pub const SECRET: &str = "nps_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub fn tenant_id(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn now() -> Time {
    "2026-01-31T09:00:00Z".parse().unwrap()
}

pub struct World {
    pub router: Router,
    pub app: AppState,
}

/// What a test changes before the publisher is put together.
pub struct Setup {
    pub inflight: usize,
    pub loaded: bool,
    pub token_requests_per_minute: u32,
    pub at_rest: AtRest,
}

impl Default for Setup {
    fn default() -> Self {
        Self { inflight: 8, loaded: true, token_requests_per_minute: 0, at_rest: AtRest::Plain }
    }
}

pub async fn world(setup: Setup) -> World {
    let clock = ManualClock::at(now());
    // A closed store says at once what one out of reach says after its time limits.
    let store = Store::open(StoreConfig::new("postgres://nobody@127.0.0.1:9/none")).unwrap();
    store.close().await;
    let vault = Vault::from_text(&format!("test:{}=", "A".repeat(43))).unwrap();
    let directory = match setup.loaded {
        true => Directory::fixed(store.clone(), vault.clone(), snapshot()),
        false => Directory::new(store.clone(), vault.clone()),
    };
    let config = AccessConfig {
        issuer: "http://bridge.example".into(),
        audience: "n8n-pulsar-bridge".into(),
        token_lifetime: Duration::from_secs(900),
        issuers: Vec::new(),
        jwks_refresh: Duration::from_secs(300),
        jwks_min_refresh: Duration::from_secs(10),
        fetch_timeout: Duration::from_secs(1),
        max_token_bytes: 8192,
        token_cache: 100,
        token_requests_per_minute: setup.token_requests_per_minute,
    };
    let keyring = format!(
        "signing = \"k\"\n[[keys]]\nkid = \"k\"\nalg = \"HS256\"\nsecret = \"{}=\"\n",
        "A".repeat(43)
    );
    let keyring = Arc::new(ArcSwap::from_pointee(Keyring::from_toml(&keyring).unwrap()));
    // Port 9 of this machine: nobody listens.
    let bus = BusConfig { service_url: "pulsar://127.0.0.1:9".into(), ..BusConfig::default() };
    let outbound = Arc::new(Outbound {
        producers: Producers::start(bus, CancellationToken::new()),
        keys: SigningGate::open(keyring, store.clone()).await,
        names: TopicNames::default(),
        issuer: "test".into(),
        lifetime: Duration::from_secs(60),
        clock: clock.clone(),
    });
    let n8n =
        Defaults { default_url: "http://n8n.example/webhook/{workflow_id}".into(), ..Defaults::default() };
    // As the daemon does at its start.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = WebhookClient::new(WebhookConfig::default()).unwrap();
    let guard = client.guard().clone();
    let routing = Routing::fixed(store.clone(), n8n).unwrap();
    let health = Health::default();
    health.slot("postgres", Weight::Essential, None);
    let app = Arc::new(App {
        access: Access::new(config, directory.clone(), clock.clone()).unwrap(),
        tally: Tally::new(clock.clone()),
        allowances: Arc::new(Allowances::default()),
        token_requests: Throttle::per_minute(setup.token_requests_per_minute),
        failed_logins: Throttle::per_minute(setup.token_requests_per_minute),
        credential_changes: Throttle::per_minute(2),
        route_changes: Throttle::per_minute(100),
        at_rest: setup.at_rest,
        members: Members::new(store.clone()),
        store,
        directory: directory.clone(),
        vault,
        handoff: Handoff::new(outbound, InFlight::default(), 1, TaskTracker::new()),
        native: Native {
            hooks: Webhooks {
                routes: routing.table(),
                directory: directory.clone(),
                slots: Slots::new(SlotLimits::default(), Breakers::new(BreakerConfig::default())),
                client,
                clock: clock.clone(),
                canary: None,
            },
            lease_margin: Duration::from_secs(30),
            write_patience: Duration::from_millis(300),
            slot_wait: Duration::from_secs(1),
            largest: 256 << 10,
            tasks: TaskTracker::new(),
            hard: CancellationToken::new(),
        },
        waiters: Waiters::new(10, Duration::from_secs(30), CancellationToken::new()),
        routes: routing.table(),
        routing,
        guard,
        names: TopicNames::default(),
        clock,
        budget: Budget::new(setup.inflight, 10_000_000),
        limits: Limits {
            payload_bytes: 1000,
            body_timeout: Duration::from_millis(100),
            batch_rows: 3,
            max_delay: Duration::from_secs(60),
            accept_patience: Duration::from_millis(300),
            result_bytes: 1000,
            result_wait: Duration::from_millis(100),
            callbacks: true,
            payload_retention: Duration::from_secs(7 * 24 * 3600),
            patience: Duration::from_secs(30),
            jobs: JobLimits {
                at_once: 4,
                open: 20,
                lease: Duration::from_secs(15),
                pause: Duration::from_secs(15),
                page: 10,
                per_second: 50.0,
            },
            token_lifetime: Duration::from_secs(900),
        },
        public_url: String::new(),
        jaeger_url: None,
        issuer: "http://bridge.example".into(),
        trusted_proxies: Vec::new(),
        health,
        metrics: bridge_service::telemetry::detached_metrics().unwrap(),
        busiest: Busiest::new(20),
        canary: Config::load_for(Role::Operator, None, std::iter::empty()).unwrap().0.canary,
    });
    World { router: router(app.clone()), app }
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    let limits = TenantLimits {
        requests_per_second: Some(1.0),
        burst: Some(3),
        open_executions: None,
        payload_bytes_per_day: Some(10),
        result_ttl_s: None,
    };
    for (id, state, limits) in [
        ("acme", TenantState::Active, TenantLimits::default()),
        ("globex", TenantState::Active, TenantLimits::default()),
        ("sleepy", TenantState::Suspended, TenantLimits::default()),
        ("leaving", TenantState::Deleting, TenantLimits::default()),
        ("limited", TenantState::Active, limits),
    ] {
        let mut tenant = Tenant::new(tenant_id(id), state, limits);
        if id == "globex" {
            tenant = tenant.with_data_key(DataKey::new(Uuid::from_u128(7), &[7; 32]), true);
        }
        snapshot.tenants.insert(tenant.id.clone(), Arc::new(tenant));
    }
    let read = Scopes::from(Scope::Read);
    for (text, kind, tenants, scopes) in [
        (ACME, CredentialKind::ApiKey, vec!["acme"], Scopes::ALL_OF_TENANT),
        (BOTH, CredentialKind::ApiKey, vec!["acme", "globex"], Scopes::ALL_OF_TENANT),
        (READER, CredentialKind::ApiKey, vec!["acme"], read),
        (SLEEPY, CredentialKind::ApiKey, vec!["sleepy"], Scopes::ALL_OF_TENANT),
        (LEAVING, CredentialKind::ApiKey, vec!["leaving"], Scopes::ALL_OF_TENANT),
        (LIMITED, CredentialKind::ApiKey, vec!["limited"], Scopes::ALL_OF_TENANT),
        (ADMIN, CredentialKind::ApiKey, vec![], Scope::Admin.into()),
        (SECRET, CredentialKind::ServiceAccount, vec!["acme"], read),
    ] {
        let id = if kind == CredentialKind::ApiKey { &text[..16] } else { CLIENT };
        let credential = Arc::new(Credential {
            id: id.to_owned(),
            kind,
            name: id.to_owned(),
            tenants: tenants.into_iter().map(tenant_id).collect(),
            scopes,
            digest: Sha256::digest(text.as_bytes()).into(),
            old: None,
            expires_at: None,
        });
        snapshot.by_digest.insert(credential.digest, (credential.clone(), None));
        snapshot.by_id.insert(credential.id.clone(), credential);
    }
    let pair = KeyPair::generate(entropy());
    snapshot.issuer_keys.push(Arc::new(IssuerKey {
        kid: "one".into(),
        pkcs8: pair.pkcs8().to_vec().into(),
        public_jwk: pair.jwk("one"),
        signs_from: now(),
        retires_at: None,
    }));
    snapshot
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub json: serde_json::Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and kind of a problem.
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.json["message"], self.json["detail"], "{}", self.json);
        (self.status, self.json["type"].as_str().unwrap_or_default())
    }

    pub fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }
}

impl World {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status: parts.status.as_u16(), headers: parts.headers, json }
    }
}

pub fn post(path: &str, key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .header(CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

pub fn get(path: &str, key: &str) -> Request<Body> {
    Request::get(path).header("x-api-key", key).body(Body::empty()).unwrap()
}

pub const OK: u16 = StatusCode::OK.as_u16();
