//! Tokens with which roles log in at the broker, as its token provider takes them: the role is the subject.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use bridge_protocol::Time;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// The broker's library takes no shorter secret.
const SHORTEST_SECRET: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("cannot read the signing key {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no signing key: {why}", path.display())]
    Key { path: PathBuf, why: &'static str },
    #[error("the token of role {role} cannot be signed")]
    Sign {
        role: String,
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    #[error("the token of role {role} would end at a time that does not exist; use a shorter --expires")]
    Expiry { role: String },
    #[error("a role needs a name")]
    NoName,
}

/// The broker's secret (its `tokenSecretKey`), or the private half of its `tokenPublicKey`.
#[derive(Clone)]
pub struct SigningKeyFile {
    algorithm: Algorithm,
    signs: EncodingKey,
    verifies: DecodingKey,
}

impl fmt::Debug for SigningKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeyFile({:?}, ***)", self.algorithm)
    }
}

impl SigningKeyFile {
    pub fn read(path: &Path) -> Result<Self, RoleError> {
        let bytes =
            std::fs::read(path).map_err(|source| RoleError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|why| RoleError::Key { path: path.to_owned(), why })
    }

    /// A secret is whatever bytes the file has, a last newline too: the broker reads it the same way. A private key
    /// is PEM, or DER as `pulsar tokens create-key-pair` writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            return private(bytes).ok_or(
                "it must hold an RSA or P-256 private key in PKCS#8 (openssl pkcs8 -topk8 -nodes makes one)",
            );
        }
        if let Some(key) = private(&as_pem("PRIVATE KEY", bytes)) {
            return Ok(key);
        }
        let public = as_pem("PUBLIC KEY", bytes);
        if DecodingKey::from_rsa_pem(&public).is_ok() || DecodingKey::from_ec_pem(&public).is_ok() {
            return Err("it holds a public key; tokens are signed with the private one");
        }
        if bytes.len() < SHORTEST_SECRET {
            return Err("the broker takes no secret of fewer than 32 bytes");
        }
        Ok(Self {
            algorithm: Algorithm::HS256,
            signs: EncodingKey::from_secret(bytes),
            verifies: DecodingKey::from_secret(bytes),
        })
    }
}

fn as_pem(label: &str, der: &[u8]) -> Vec<u8> {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    for start in (0..encoded.len()).step_by(64) {
        text.push_str(&encoded[start..encoded.len().min(start + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text.into_bytes()
}

fn private(pem: &[u8]) -> Option<SigningKeyFile> {
    let found = EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
    let (algorithm, signs) =
        found.or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key))).ok()?;
    // Also finds out a key of another curve.
    let verifies = DecodingKey::from_jwk(&Jwk::from_encoding_key(&signs, algorithm).ok()?).ok()?;
    Some(SigningKeyFile { algorithm, signs, verifies })
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// Whose a token is and when it ends, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    pub role: String,
    pub expires_at: Option<Time>,
}

/// A token of `role` that is good for `expires`, or without end.
pub fn mint(
    role: &str,
    key: &SigningKeyFile,
    expires: Option<Duration>,
    now: Time,
) -> Result<String, RoleError> {
    if role.trim().is_empty() {
        return Err(RoleError::NoName);
    }
    let role = role.to_owned();
    let iat = now.timestamp();
    let exp = match expires {
        None => None,
        Some(lasts) => {
            let end = i64::try_from(lasts.as_secs()).ok().and_then(|lasts| iat.checked_add(lasts));
            let real = end.filter(|end| Time::from_timestamp_secs(*end).is_some());
            Some(real.ok_or_else(|| RoleError::Expiry { role: role.clone() })?)
        }
    };
    let claims = Claims { sub: role.clone(), iat: Some(iat), exp };
    jsonwebtoken::encode(&Header::new(key.algorithm), &claims, &key.signs)
        .map_err(|source| RoleError::Sign { role, source })
}

/// Is this a token of `role`, signed by `key`, that still holds at `at`?
pub fn still_good(token: &str, role: &str, key: &SigningKeyFile, at: Time) -> bool {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    // Judged below, by the caller's clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let Ok(read) = jsonwebtoken::decode::<Claims>(token, &key.verifies, &validation) else { return false };
    read.claims.sub == role && read.claims.exp.is_none_or(|end| end > at.timestamp())
}

/// What an existing token says of itself; `None` when it is no such token.
pub fn read(token: &str) -> Option<TokenFacts> {
    let claims = token.trim().split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&bytes).ok()?;
    let expires_at = match claims.exp {
        None => None,
        Some(end) => Some(Time::from_timestamp_secs(end)?),
    };
    Some(TokenFacts { role: claims.sub, expires_at })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Time {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn keys() -> Vec<SigningKeyFile> {
        let ec = include_bytes!("../tests/keys/p256.pem");
        let rsa = include_bytes!("../tests/keys/rsa.pem");
        [&[7; 32][..], ec, rsa].map(|bytes| SigningKeyFile::parse(bytes).unwrap()).into()
    }

    #[test]
    fn a_token_is_good_for_its_role_its_key_and_its_time() {
        for key in keys() {
            let token = mint("bridge-publisher", &key, Some(DAY), now()).unwrap();
            assert!(still_good(&token, "bridge-publisher", &key, now()), "{key:?}");
            assert!(!still_good(&token, "bridge-consumer", &key, now()));
            assert!(!still_good(&token, "bridge-publisher", &key, now() + DAY));
            let other = SigningKeyFile::parse(&[8; 32]).unwrap();
            assert!(!still_good(&token, "bridge-publisher", &other, now()));
            let facts = read(&token).unwrap();
            assert_eq!((facts.role.as_str(), facts.expires_at), ("bridge-publisher", Some(now() + DAY)));
            let endless = mint("r", &key, None, now()).unwrap();
            assert!(still_good(&endless, "r", &key, now() + DAY * 40_000));
            assert_eq!(read(&endless).unwrap().expires_at, None);
        }
        assert_eq!(read("junk"), None);
        assert!(!still_good("junk", "r", &keys()[0], now()));
    }

    #[test]
    fn keys_are_told_apart_and_bad_ones_refused() {
        let algorithms: Vec<_> = keys().iter().map(|key| key.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::HS256, Algorithm::ES256, Algorithm::RS256]);
        assert!(SigningKeyFile::parse(b"short").unwrap_err().contains("32 bytes"));
        assert!(SigningKeyFile::parse(b"-----BEGIN NONSENSE-----").is_err());
        // As `pulsar tokens create-key-pair` writes it.
        let pem = std::str::from_utf8(include_bytes!("../tests/keys/p256.pem")).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        assert_eq!(SigningKeyFile::parse(&der).unwrap().algorithm, Algorithm::ES256);
        assert!(mint("r", &keys()[0], Some(Duration::MAX), now()).is_err());
        assert!(mint(" ", &keys()[0], None, now()).is_err());
    }
}
