//! Signatures of the webhooks we send, by the Standard Webhooks specification: HMAC-SHA256 over
//! `{id}.{timestamp}.{body}`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const PREFIX: &str = "whsec_";
const SCHEME: &str = "v1,";

/// A tenant's webhook secret, its key made ready once.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is \"whsec_\" followed by the base64 of 24 to 64 random bytes")]
pub struct WebhookSecretError;

impl WebhookSecret {
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(WebhookSecretError)?;
        let key = STANDARD.decode(encoded).map_err(|_| WebhookSecretError)?;
        if !(24..=64).contains(&key.len()) {
            return Err(WebhookSecretError);
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| WebhookSecretError)
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, WebhookSecretError> {
        Self::parse(text)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(hidden)")
    }
}

/// The `webhook-signature` header: one signature a secret, so that receivers can rotate.
pub fn webhook_signature(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut header = String::with_capacity(secrets.len() * 48);
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(SCHEME);
        STANDARD.encode_string(secret.sign(id, timestamp, body), &mut header);
    }
    header
}

/// What a receiver does: true when any of its secrets made any of the header's signatures.
pub fn verify_webhook_signature(
    secrets: &[WebhookSecret],
    id: &str,
    timestamp: i64,
    body: &[u8],
    header: &str,
    now: i64,
    tolerance: Duration,
) -> bool {
    if now.abs_diff(timestamp) > tolerance.as_secs() {
        return false;
    }
    let given: Vec<Vec<u8>> =
        header.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix(SCHEME)?).ok()).collect();
    secrets.iter().any(|secret| {
        let wanted = secret.sign(id, timestamp, body);
        given.iter().any(|one| bool::from(one.as_slice().ct_eq(&wanted)))
    })
}
