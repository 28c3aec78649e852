//! Compact JWS tokens: read without being believed, then checked, the cheap things first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_protocol::{LEEWAY, Time};
use jsonwebtoken::Algorithm;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::denied::Why;

/// Fields beside these are never used: no key or URL in a token's header is of interest.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    iss: Option<String>,
    pub(crate) sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    iat: Option<serde_json::Number>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A token that has the right shape. Nothing in it is true yet.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) claims: Claims,
    typ: Option<String>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Why> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Why::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Why::Malformed)?;
        let header: Header = json(header)?;
        if header.crit {
            return Err(Why::Critical);
        }
        // "none" is no algorithm at all here, nor is one that this version does not know.
        let algorithm = header.alg.parse().map_err(|_| Why::Algorithm)?;
        if signature.is_empty() {
            return Err(Why::Malformed);
        }
        let claims = json(claims)?;
        Ok(Self { algorithm, kid: header.kid, typ: header.typ, claims, signed, signature })
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.iss.as_deref()
    }

    /// Audience and times. `exp` has no leeway: a caller who is refused gets himself a new token.
    pub(crate) fn check(&self, audience: &str, now: Time) -> Result<Time, Why> {
        let meant = match &self.claims.aud {
            None => false,
            Some(OneOrMany::One(one)) => one == audience,
            Some(OneOrMany::Many(many)) => many.iter().any(|one| one == audience),
        };
        if !meant {
            return Err(Why::Audience);
        }
        let expires = time(self.claims.exp.as_ref())?.ok_or(Why::NoExpiry)?;
        if expires <= now {
            return Err(Why::Expired);
        }
        for begins in [&self.claims.nbf, &self.claims.iat] {
            if time(begins.as_ref())?.is_some_and(|begins| begins > now + LEEWAY) {
                return Err(Why::NotYet);
            }
        }
        Ok(expires)
    }

    /// RFC 9068's type, and what issuers that do not follow it write for access tokens.
    pub(crate) fn has_type(&self, allowed: &[&str], needed: bool) -> bool {
        let Some(typ) = &self.typ else { return !needed };
        let typ = typ.to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        allowed.contains(&typ)
    }

    pub(crate) fn is_signed_by(&self, key: &jsonwebtoken::DecodingKey) -> bool {
        // An error is a key of another family or a signature of another length.
        jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key, self.algorithm)
            .unwrap_or(false)
    }
}

/// Strict base64url: each token has one text, so one place in the cache.
fn json<T: DeserializeOwned>(part: &str) -> Result<T, Why> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Why::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Why::Malformed)
}

/// RFC 7519 allows fractions of seconds.
fn time(number: Option<&serde_json::Number>) -> Result<Option<Time>, Why> {
    let Some(number) = number else { return Ok(None) };
    let seconds = number.as_f64().filter(|seconds| seconds.is_finite()).ok_or(Why::Malformed)?;
    // Casting saturates. A time that no calendar has is at its end.
    let end = if seconds < 0.0 { Time::MIN_UTC } else { Time::MAX_UTC };
    Ok(Some(Time::from_timestamp(seconds.floor() as i64, 0).unwrap_or(end)))
}

/// Names in a claim: one text with spaces between, or a list.
pub(crate) fn names(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
