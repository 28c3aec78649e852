//! An outside issuer: its documents on a local port, and tokens signed with its keys.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bridge_access::OutsideIssuer;
use bridge_service::clock::{Clock as _, entropy};
use bridge_service::key_pair::KeyPair;
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, jwk};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lab::{Lab, sign};

pub const OUT_AUDIENCE: &str = "https://api.example.test";

pub struct Issuer {
    pub url: String,
    pub site: Arc<Site>,
    keys: HashMap<&'static str, (EncodingKey, Algorithm)>,
}

/// What the issuer answers with.
pub struct Site {
    url: String,
    pub jwks: Mutex<Value>,
    pub status: Mutex<StatusCode>,
    pub metadata_path: Mutex<&'static str>,
    pub fetches: AtomicUsize,
    /// Answers wait for it: a slow issuer.
    pub gate: Semaphore,
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self::at(listener.local_addr().unwrap().port());
        issuer.serve(listener);
        issuer
    }

    /// Not listening yet.
    pub fn at(port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}");
        let ed = KeyPair::generate(entropy());
        let keys = HashMap::from([
            ("rsa", (EncodingKey::from_rsa_pem(include_bytes!("rsa.pem")).unwrap(), Algorithm::RS256)),
            ("p256", (EncodingKey::from_ec_pem(include_bytes!("p256.pem")).unwrap(), Algorithm::ES256)),
            ("ed", (EncodingKey::from_ed_der(ed.pkcs8()), Algorithm::EdDSA)),
        ]);
        let site = Site {
            url: url.clone(),
            jwks: Mutex::new(Value::Null),
            status: Mutex::new(StatusCode::OK),
            metadata_path: Mutex::new("/.well-known/openid-configuration"),
            fetches: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        };
        let issuer = Self { url, site: Arc::new(site), keys };
        issuer.show(&["rsa", "p256", "ed"]);
        issuer
    }

    pub fn serve(&self, listener: TcpListener) {
        let metadata = |State(site): State<Arc<Site>>, uri: http::Uri| async move {
            if uri.path() != *site.metadata_path.lock().unwrap() {
                return StatusCode::NOT_FOUND.into_response();
            }
            Json(json!({ "issuer": site.url, "jwks_uri": format!("{}/jwks", site.url) })).into_response()
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/jwks", get(jwks))
            .with_state(self.site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    }

    /// The key set from now on.
    pub fn show(&self, kids: &[&'static str]) {
        self.show_all(kids.iter().map(|kid| self.jwk(kid)).collect());
    }

    pub fn show_all(&self, keys: Vec<Value>) {
        *self.site.jwks.lock().unwrap() = json!({ "keys": keys });
    }

    pub fn fetches(&self) -> usize {
        self.site.fetches.load(Ordering::SeqCst)
    }

    pub fn jwk(&self, kid: &'static str) -> Value {
        let (key, algorithm) = &self.keys[kid];
        let mut jwk = serde_json::to_value(jwk::Jwk::from_encoding_key(key, *algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub fn sign(&self, kid: &str, header: &Value, claims: &Value) -> String {
        let (key, algorithm) = &self.keys[kid];
        sign(header, claims, key, *algorithm)
    }

    pub fn claims(&self, lab: &Lab) -> Value {
        let now = lab.clock.now().timestamp();
        json!({
            "iss": self.url, "sub": "robot", "aud": ["account", OUT_AUDIENCE], "iat": now, "exp": now + 300,
            "tenant_id": "acme", "scope": "openid publish read"
        })
    }

    /// A good token by that key.
    pub fn token(&self, lab: &Lab, kid: &'static str) -> String {
        let alg = format!("{:?}", self.keys[kid].1);
        self.sign(kid, &json!({ "alg": alg, "kid": kid }), &self.claims(lab))
    }

    pub fn entry(&self) -> OutsideIssuer {
        OutsideIssuer {
            issuer: self.url.clone(),
            audience: OUT_AUDIENCE.to_owned(),
            discovery_url: None,
            jwks_url: None,
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).into(),
            tenant_claim: "tenant_id".to_owned(),
            scope_claim: "scope".to_owned(),
            tenants: None,
            default_scopes: None,
            admin: false,
        }
    }

    /// Starts the background task and waits for the first key set.
    pub async fn run(&self, lab: &Lab) -> DropGuard {
        let running = spawn(lab);
        until(|| async { lab.bearer(&self.token(lab, "rsa")).await.is_ok() }).await;
        running
    }
}

async fn jwks(State(site): State<Arc<Site>>) -> Response {
    site.fetches.fetch_add(1, Ordering::SeqCst);
    drop(site.gate.acquire().await);
    let status = *site.status.lock().unwrap();
    (status, Json(site.jwks.lock().unwrap().clone())).into_response()
}

pub fn spawn(lab: &Lab) -> DropGuard {
    let stop = CancellationToken::new();
    tokio::spawn(lab.access.clone().run(stop.clone()));
    stop.drop_guard()
}

pub async fn until<F: Future<Output = bool>>(mut there: impl FnMut() -> F) {
    let waiting = async {
        while !there().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("it never came about");
}
