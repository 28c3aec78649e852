//! A directory that the test replaces, a clock it moves, and tokens of its own making.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_access::{Access, AccessConfig, Caller, Denied, OutsideIssuer};
use bridge_protocol::{ApiKey, ClientSecret, Scopes, TenantId, Time};
use bridge_service::clock::{Clock as _, ManualClock, entropy};
use bridge_service::directory::{
    Credential, CredentialKind, IssuerKey, Snapshot, Tenant, TenantLimits, TenantState,
};
use bridge_service::key_pair::KeyPair;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const ISSUER: &str = "http://localhost:8000";
pub const AUDIENCE: &str = "n8n-pulsar-bridge";
pub const CLIENT: &str = "svc_abcdefghijkl";

pub fn start() -> Time {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

pub fn config(issuers: Vec<OutsideIssuer>) -> AccessConfig {
    AccessConfig {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        token_lifetime: seconds(900),
        issuers,
        jwks_refresh: seconds(300),
        jwks_min_refresh: seconds(3600),
        fetch_timeout: seconds(5),
        max_token_bytes: 8192,
        token_cache: 100,
        token_requests_per_minute: 120,
    }
}

/// What the next snapshot will hold.
pub struct World {
    pub tenants: Vec<(&'static str, TenantState)>,
    pub credentials: Vec<Credential>,
    pub keys: Vec<Arc<IssuerKey>>,
    revision: i64,
}

impl World {
    fn snapshot(&self) -> Snapshot {
        let tenants = self.tenants.iter().map(|(id, state)| {
            (tenant(id), Arc::new(Tenant::new(tenant(id), *state, TenantLimits::default())))
        });
        let (mut by_digest, mut by_id) = (HashMap::new(), HashMap::new());
        for credential in &self.credentials {
            let credential = Arc::new(credential.clone());
            by_digest.insert(credential.digest, (credential.clone(), None));
            if let Some((digest, until)) = credential.old {
                by_digest.insert(digest, (credential.clone(), Some(until)));
            }
            by_id.insert(credential.id.clone(), credential);
        }
        let (revision, issuer_keys) = (self.revision, self.keys.clone());
        Snapshot { revision, tenants: tenants.collect(), by_digest, by_id, issuer_keys }
    }

    pub fn credential(&mut self, id: &str) -> &mut Credential {
        self.credentials.iter_mut().find(|credential| credential.id == id).unwrap()
    }
}

pub struct Lab {
    pub access: Access,
    pub clock: Arc<ManualClock>,
    pub world: World,
    state: Arc<ArcSwap<Snapshot>>,
    pub key: ApiKey,
    pub secret: ClientSecret,
    pub pair: KeyPair,
}

impl Lab {
    /// Tenants acme and other; a service account and an API key of acme with all scopes; one key of the issuer.
    pub fn new() -> Self {
        Self::with(config(Vec::new()))
    }

    pub fn with(config: AccessConfig) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let (key, secret) = (ApiKey::generate(entropy()), ClientSecret::generate(entropy()));
        let pair = KeyPair::generate(entropy());
        let credentials = vec![
            credential(CLIENT, CredentialKind::ServiceAccount, secret.digest(), &["acme"]),
            credential(key.id(), CredentialKind::ApiKey, key.digest(), &["acme"]),
        ];
        let keys = vec![issuer_key("one", &pair, start() - seconds(60), None)];
        let tenants = vec![("acme", TenantState::Active), ("other", TenantState::Active)];
        let world = World { tenants, credentials, keys, revision: 1 };
        let state = Arc::new(ArcSwap::from_pointee(world.snapshot()));
        let clock = ManualClock::at(start());
        let access = Access::new(config, state.clone(), clock.clone()).unwrap();
        Self { access, clock, world, state, key, secret, pair }
    }

    /// Puts the world as it is now in force, as the directory's poll does.
    pub fn publish(&mut self) {
        self.world.revision += 1;
        self.state.store(Arc::new(self.world.snapshot()));
    }

    pub fn snapshot(&self) -> Snapshot {
        self.world.snapshot()
    }

    pub fn unload(&self) {
        self.state.store(Arc::new(Snapshot { revision: -1, ..Snapshot::default() }));
    }

    pub fn token(&self, scope: Option<&str>) -> String {
        self.access.token(CLIENT, self.secret.expose(), scope).unwrap().access_token
    }

    pub async fn bearer(&self, token: &str) -> Result<Arc<Caller>, Denied> {
        self.access.authenticate(&bearer(token)).await
    }

    pub async fn why(&self, token: &str) -> &'static str {
        why(self.bearer(token).await)
    }

    /// Claims that the built-in issuer would write now.
    pub fn claims(&self) -> Value {
        let now = self.clock.now().timestamp();
        json!({
            "iss": ISSUER, "sub": CLIENT, "client_id": CLIENT, "aud": AUDIENCE, "iat": now, "nbf": now,
            "exp": now + 900, "jti": "x", "scope": "publish read",
            "sec": self.mark()
        })
    }

    /// What names the secret that got a token.
    pub fn mark(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.secret.digest()))[..12].to_owned()
    }

    pub fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "one" })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims, &EncodingKey::from_ed_der(self.pair.pkcs8()), Algorithm::EdDSA)
    }
}

pub fn credential(id: &str, kind: CredentialKind, digest: [u8; 32], tenants: &[&str]) -> Credential {
    Credential {
        id: id.to_owned(),
        kind,
        name: "test".to_owned(),
        tenants: tenants.iter().map(|id| tenant(id)).collect(),
        scopes: Scopes::ALL_OF_TENANT,
        digest,
        old: None,
        expires_at: None,
    }
}

pub fn issuer_key(kid: &str, pair: &KeyPair, signs_from: Time, retires_at: Option<Time>) -> Arc<IssuerKey> {
    Arc::new(IssuerKey {
        kid: kid.to_owned(),
        pkcs8: zeroize::Zeroizing::new(pair.pkcs8().to_vec()),
        public_jwk: pair.jwk(kid),
        signs_from,
        retires_at,
    })
}

pub fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

pub fn why(found: Result<Arc<Caller>, Denied>) -> &'static str {
    match found {
        Err(Denied::Invalid { why, .. }) => why,
        Err(Denied::Missing) => "missing",
        Err(Denied::NotReady) => "not_ready",
        Err(Denied::NoKeys) => "no_keys",
        Ok(caller) => panic!("{caller:?} was let in"),
    }
}

pub fn sign(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// A changed copy; null takes the field away.
pub fn but(value: &Value, field: &str, to: Value) -> Value {
    let mut value = value.clone();
    if to.is_null() {
        value.as_object_mut().unwrap().remove(field);
    } else {
        value[field] = to;
    }
    value
}
