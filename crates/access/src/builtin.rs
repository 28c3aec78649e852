//! The built-in issuer: tokens for service accounts, signed with the directory's keys.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_protocol::{Scope, Scopes, Time};
use bridge_service::clock::entropy;
use bridge_service::directory::{Credential, CredentialKind, IssuerKey, Snapshot};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, jwk};
use rand::Rng as _;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::cache::{Basis, Digest};
use crate::caller::present;
use crate::config::AccessConfig;
use crate::denied::Why;
use crate::token::{Token, names};

/// RFC 9068: an access token, never to be taken for anything else.
const TYPE: &str = "at+jwt";

/// The answer to a client that logged in (RFC 6749, section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issued {
    pub access_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
    /// What was granted, separated by spaces.
    pub scope: String,
}

/// Why a client got no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Unknown, revoked, expired, or the secret is wrong: the same for all of them.
    #[error("client authentication failed")]
    InvalidClient,
    #[error("the scope {0:?} is not one that this client may ask for; leave `scope` out to get all it has")]
    InvalidScope(String),
    /// The directory was never loaded, or not confirmed for too long: ask again soon.
    #[error("clients cannot be checked at present")]
    NotReady,
    #[error("the built-in issuer has no key to sign with; make one with `bridgectl key rotate issuer`")]
    NoKey,
    #[error("the built-in issuer's key {kid:?} failed to sign")]
    Signing { kid: String, source: jsonwebtoken::errors::Error },
}

/// A key of the directory, made ready.
struct OwnKey {
    key: Arc<IssuerKey>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Value,
}

/// The keys of one snapshot, the newest first.
struct OwnKeys {
    of: Weak<Snapshot>,
    keys: Vec<OwnKey>,
}

pub(crate) struct Builtin {
    issuer: String,
    audience: String,
    lifetime: std::time::Duration,
    keys: ArcSwap<OwnKeys>,
}

#[derive(Serialize)]
struct OwnClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    client_id: &'a str,
    aud: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    scope: &'a str,
    /// Which of the client's secrets got the token.
    sec: &'a str,
}

impl Builtin {
    pub(crate) fn new(config: &AccessConfig) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime: config.token_lifetime,
            keys: ArcSwap::from_pointee(OwnKeys { of: Weak::new(), keys: Vec::new() }),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn verify(
        &self,
        token: &Token<'_>,
        snapshot: &Arc<Snapshot>,
        now: Time,
    ) -> Result<Basis, Why> {
        if token.algorithm != Algorithm::EdDSA {
            return Err(Why::Algorithm);
        }
        if !token.has_type(&[TYPE], true) {
            return Err(Why::Type);
        }
        let expires = token.check(&self.audience, now)?;
        let client = token.claims.sub.clone().ok_or(Why::Subject)?;
        let kid = token.kid.clone().ok_or(Why::Kid)?;
        let keys = self.keys(snapshot);
        // Also a key that does not sign yet: the clock of the publisher that signed may be ahead.
        let key = keys.keys.iter().find(|own| own.key.kid == kid && own.key.verifies(now)).ok_or(Why::Kid)?;
        if !token.is_signed_by(&key.decoding) {
            return Err(Why::Signature);
        }
        let scope = token.claims.others.get("scope").map(names).unwrap_or_default();
        let scopes = scope.into_iter().filter_map(|name| name.parse::<Scope>().ok()).collect();
        // Without it nobody could say whether the secret was replaced since.
        let secret = token.claims.others.get("sec").and_then(Value::as_str).ok_or(Why::Secret)?.to_owned();
        Ok(Basis::Own { client, scopes, kid, secret, expires })
    }

    pub(crate) fn token(
        &self,
        snapshot: &Arc<Snapshot>,
        now: Time,
        client: &str,
        secret: &str,
        scope: Option<&str>,
    ) -> Result<Issued, TokenError> {
        let Login { credential, digest, ends: secret_ends } =
            authenticated(snapshot, now, client, secret).ok_or(TokenError::InvalidClient)?;
        let held = present(&credential.tenants, credential.scopes, snapshot);
        let (_, held) = held.ok_or(TokenError::InvalidClient)?;
        let granted = grant(held, scope.unwrap_or_default())?;
        let keys = self.keys(snapshot);
        let signs = |own: &&OwnKey| own.key.signs_from <= now && own.key.verifies(now);
        let own = keys.keys.iter().find(signs).ok_or(TokenError::NoKey)?;
        let scope = granted.to_string();
        let (begins, lifetime) = (now.timestamp(), self.lifetime.as_secs() as i64);
        // It never outlives what it stands on.
        let ends = [credential.expires_at, own.key.retires_at, secret_ends];
        let ends = ends.into_iter().flatten().map(|end| end.timestamp());
        let exp = ends.fold(begins + lifetime, i64::min);
        let claims = OwnClaims {
            iss: &self.issuer,
            sub: &credential.id,
            client_id: &credential.id,
            aud: &self.audience,
            iat: begins,
            nbf: begins,
            exp,
            jti: token_id(),
            scope: &scope,
            sec: &mark(&digest),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(own.key.kid.clone());
        let access_token = jsonwebtoken::encode(&header, &claims, &own.encoding)
            .map_err(|source| TokenError::Signing { kid: own.key.kid.clone(), source })?;
        let expires_in = u64::try_from(exp - begins).unwrap_or(0);
        Ok(Issued { access_token, token_type: "Bearer", expires_in, scope })
    }

    /// The public halves of all keys that are not retired; also of those that will sign soon, so that whoever keeps
    /// a copy knows them in time.
    pub(crate) fn jwks(&self, snapshot: &Arc<Snapshot>, now: Time) -> Value {
        let keys = self.keys(snapshot);
        let public = keys.keys.iter().filter(|own| own.key.verifies(now)).map(|own| &own.jwk);
        json!({ "keys": public.collect::<Vec<_>>() })
    }

    /// RFC 8414.
    pub(crate) fn metadata(&self) -> Value {
        let base = &self.issuer;
        let scopes: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        json!({
            "issuer": base,
            "token_endpoint": format!("{base}/oauth2/token"),
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": scopes,
        })
    }

    fn keys(&self, snapshot: &Arc<Snapshot>) -> Arc<OwnKeys> {
        let keys = self.keys.load_full();
        if std::ptr::eq(keys.of.as_ptr(), Arc::as_ptr(snapshot)) {
            return keys;
        }
        let keys = snapshot.issuer_keys.iter().filter_map(ready).collect();
        let keys = Arc::new(OwnKeys { of: Arc::downgrade(snapshot), keys });
        self.keys.store(keys.clone());
        keys
    }
}

/// The public half comes out of the sealed one: what merely stands beside it in the database proves nothing.
fn ready(key: &Arc<IssuerKey>) -> Option<OwnKey> {
    let encoding = EncodingKey::from_ed_der(&key.pkcs8);
    let derived = jwk::Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).and_then(|mut public| {
        public.common.key_id = Some(key.kid.clone());
        public.common.public_key_use = Some(jwk::PublicKeyUse::Signature);
        Ok((DecodingKey::from_jwk(&public)?, public))
    });
    match derived.map(|(decoding, public)| (decoding, serde_json::to_value(public))) {
        Ok((decoding, Ok(jwk))) => Some(OwnKey { key: key.clone(), encoding, decoding, jwk }),
        Ok((_, Err(error))) => unusable(&key.kid, &error),
        Err(error) => unusable(&key.kid, &error),
    }
}

fn unusable(kid: &str, error: &(dyn std::error::Error + 'static)) -> Option<OwnKey> {
    tracing::error!(
        kid,
        error,
        "this key of the built-in issuer cannot be used; make another with `bridgectl key rotate`"
    );
    None
}

/// How many base64url characters name a secret in a token: 72 bits, of which nothing leads back to the digest.
const MARK: usize = 12;

/// Names a secret in the tokens it got.
fn mark(digest: &Digest) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(Sha256::digest(digest));
    text.truncate(MARK);
    text
}

/// Until when tokens of the secret with this mark are taken, `Some(None)` if for as long as the credential is;
/// `None` when it is no secret of the credential (any more).
pub(crate) fn secret_ends(credential: &Credential, marked: &str) -> Option<Option<Time>> {
    if mark(&credential.digest) == marked {
        return Some(None);
    }
    credential.old.filter(|(digest, _)| mark(digest) == marked).map(|(_, until)| Some(until))
}

/// A client whose secret was right.
struct Login<'a> {
    credential: &'a Arc<Credential>,
    /// Of the secret he used.
    digest: Digest,
    /// Until when that is taken, if it is the old one.
    ends: Option<Time>,
}

/// The same work whether the client is unknown, the secret wrong or the account at its end.
fn authenticated<'a>(snapshot: &'a Snapshot, now: Time, client: &str, secret: &str) -> Option<Login<'a>> {
    let given: Digest = Sha256::digest(secret.as_bytes()).into();
    let known = snapshot.by_id.get(client);
    let no_secret = ([0; 32], Time::MIN_UTC);
    let (digest, old, valid) = match known {
        Some(known) => {
            let valid = known.kind == CredentialKind::ServiceAccount && known.is_live(now);
            (known.digest, known.old.unwrap_or(no_secret), valid)
        }
        None => (no_secret.0, no_secret, false),
    };
    let present = given.ct_eq(&digest);
    let past = given.ct_eq(&old.0) & Choice::from(u8::from(now < old.1));
    let good = (present | past) & Choice::from(u8::from(valid));
    let credential = known.filter(|_| bool::from(good))?;
    Some(Login { credential, digest: given, ends: (!bool::from(present)).then_some(old.1) })
}

/// Everything the client has, or the part it asks for; never more.
fn grant(held: Scopes, asked: &str) -> Result<Scopes, TokenError> {
    let mut granted = Scopes::NONE;
    for name in asked.split_ascii_whitespace() {
        match name.parse::<Scope>() {
            Ok(scope) if held.contains(scope) => granted.insert(scope),
            _ => return Err(TokenError::InvalidScope(name.chars().take(64).collect())),
        }
    }
    Ok(if granted.is_empty() { held } else { granted })
}

fn token_id() -> String {
    let mut bytes = [0; 16];
    entropy().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
