//! How a request logs in at its endpoint, beside the signature that every request carries.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{ExecutionId, TenantId};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A login. n8n's Webhook node knows `Header`, `Basic` and `Jwt` (key type passphrase, HS256) as its own
/// credentials.
#[derive(Clone, Copy)]
pub enum Auth<'a> {
    Header {
        name: &'a str,
        value: &'a str,
    },
    Basic {
        user: &'a str,
        password: &'a str,
    },
    Bearer {
        token: &'a str,
    },
    /// A token of its own for each request, signed with HMAC-SHA256.
    Jwt {
        secret: &'a str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("{0:?} is not the name of a header")]
    Name(String),
    #[error("the header {0} is set by the bridge itself: let the credential use another one")]
    Reserved(String),
    #[error("the credential has characters that no header can carry")]
    Value,
    #[error("a user name for basic authentication may not hold a colon")]
    User,
    #[error("the secret that signs tokens is empty")]
    NoSecret,
    #[error("the token could not be signed")]
    Sign,
}

/// What a minted token says of its request.
#[derive(Debug)]
pub struct Minted<'a> {
    pub execution: ExecutionId,
    pub tenant: &'a TenantId,
    pub body: &'a [u8],
    /// Seconds since the epoch.
    pub now: i64,
}

/// How long a minted token is good for.
const TOKEN_SECONDS: i64 = 60;

impl Auth<'_> {
    /// Can every request carry it? For whoever takes a credential, and again before an attempt is spent.
    ///
    /// # Errors
    /// When its header is one of ours or of the transport, or when no header can hold it.
    pub fn check(&self) -> Result<(), AuthError> {
        match self {
            Self::Jwt { secret: "" } => Err(AuthError::NoSecret),
            Self::Jwt { .. } => Ok(()),
            fixed => fixed.header(None).map(drop),
        }
    }

    /// Adds the login to the headers of a request; replaces none of them.
    ///
    /// # Errors
    /// As `check`.
    pub fn apply(&self, headers: &mut HeaderMap, minted: &Minted<'_>) -> Result<(), AuthError> {
        let (name, value) = self.header(Some(minted))?;
        if headers.contains_key(&name) {
            return Err(AuthError::Reserved(name.as_str().to_owned()));
        }
        headers.insert(name, value);
        Ok(())
    }

    fn header(&self, minted: Option<&Minted<'_>>) -> Result<(HeaderName, HeaderValue), AuthError> {
        let (name, value) = match *self {
            Self::Header { name, value } => {
                let parsed = HeaderName::try_from(name).map_err(|_| AuthError::Name(name.to_owned()))?;
                if is_reserved_header(parsed.as_str()) {
                    return Err(AuthError::Reserved(parsed.as_str().to_owned()));
                }
                (parsed, HeaderValue::from_str(value))
            }
            Self::Basic { user, .. } if user.contains(':') => return Err(AuthError::User),
            Self::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                (AUTHORIZATION, HeaderValue::try_from(format!("Basic {pair}")))
            }
            Self::Bearer { token } => (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))),
            Self::Jwt { secret: "" } => return Err(AuthError::NoSecret),
            Self::Jwt { secret } => {
                let token = minted.ok_or(AuthError::Sign).and_then(|minted| mint(secret, minted))?;
                (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")))
            }
        };
        let mut value = value.map_err(|_| AuthError::Value)?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header { .. } => "Auth(header)",
            Self::Basic { .. } => "Auth(basic)",
            Self::Bearer { .. } => "Auth(bearer)",
            Self::Jwt { .. } => "Auth(jwt)",
        })
    }
}

/// Headers that say what a request is, sign it, or frame it on its connection; in small letters.
pub fn is_reserved_header(name: &str) -> bool {
    const OURS: [&str; 4] = ["content-type", "idempotency-key", "user-agent", "baggage"];
    const TRANSPORT: [&str; 10] = [
        "host",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ];
    const PREFIXES: [&str; 9] = [
        "webhook-",
        "x-execution-",
        "x-tenant-",
        "x-workflow-",
        "x-attempt",
        "x-callback-",
        "traceparent",
        "tracestate",
        "proxy-",
    ];
    OURS.contains(&name)
        || TRANSPORT.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[derive(Serialize)]
struct Claims<'a> {
    execution_id: ExecutionId,
    tenant_id: &'a TenantId,
    /// In hex, as receivers' hash functions print it.
    body_sha256: &'a str,
    iat: i64,
    exp: i64,
}

fn mint(secret: &str, minted: &Minted<'_>) -> Result<String, AuthError> {
    let claims = Claims {
        execution_id: minted.execution,
        tenant_id: minted.tenant,
        body_sha256: &hex(&Sha256::digest(minted.body)),
        iat: minted.now,
        exp: minted.now + TOKEN_SECONDS,
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| AuthError::Sign)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
