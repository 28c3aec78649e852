//! Secrets at rest: sealed by a master key that lives outside of the database, and bound to what they belong to, so
//! that a blob that was moved to another row does not open.
//!
//! A blob: version (1 byte), length of the master key's id (1 byte), that id, nonce (12 bytes), ciphertext and tag.

mod text;

use bridge_protocol::TenantId;
use rand::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;

/// What a sealed secret is for. It is no part of the blob: whoever opens it says what he expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    WebhookSecret(&'a TenantId, Uuid),
    DataKey(&'a TenantId, Uuid),
    WebhookCredential(&'a TenantId, &'a str),
    IssuerKey(&'a str),
}

impl Purpose<'_> {
    /// Each part with its length before it: no two purposes have the same bytes.
    fn write(&self, to: &mut Vec<u8>) {
        let mut part = |bytes: &[u8]| {
            to.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            to.extend_from_slice(bytes);
        };
        match self {
            Self::WebhookSecret(tenant, id) => {
                part(b"webhook-secret");
                part(tenant.as_str().as_bytes());
                part(id.as_bytes());
            }
            Self::DataKey(tenant, id) => {
                part(b"data-key");
                part(tenant.as_str().as_bytes());
                part(id.as_bytes());
            }
            Self::WebhookCredential(tenant, name) => {
                part(b"webhook-credential");
                part(tenant.as_str().as_bytes());
                part(name.as_bytes());
            }
            Self::IssuerKey(kid) => {
                part(b"issuer-key");
                part(kid.as_bytes());
            }
        }
    }
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebhookSecret(tenant, id) => write!(f, "webhook secret {id} of tenant {tenant}"),
            Self::DataKey(tenant, id) => write!(f, "data key {id} of tenant {tenant}"),
            Self::WebhookCredential(tenant, name) => write!(f, "credential {name:?} of tenant {tenant}"),
            Self::IssuerKey(kid) => write!(f, "issuer key {kid:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Everything that is wrong with a text of master keys.
    #[error("the master keys cannot be used: {}", .0.join("; "))]
    Text(Vec<String>),
    #[error(
        "the {what} is sealed by master key {id:?}, which is not loaded: add it to the master keys, behind the first"
    )]
    UnknownMaster { what: String, id: String },
    #[error(
        "the {what} does not open: it was altered, belongs to another row, or master key {id:?} has another value now"
    )]
    Refused { what: String, id: String },
    #[error(
        "the {what} is not a sealed secret of this version: restore the row, or update the bridge if a newer one wrote it"
    )]
    Malformed { what: String },
}

/// The master keys of a process. The first seals, all of them open.
#[derive(Clone)]
pub struct Vault(Arc<[Master]>);

struct Master {
    id: String,
    key: LessSafeKey,
    /// For what the bridge gives away and must know again.
    mac: hmac::Key,
}

impl Vault {
    /// Reads `id:base64 of 32 bytes`, several separated by white space or commas.
    ///
    /// # Errors
    /// Everything that is wrong with the text at once; no word of it is repeated but the ids.
    pub fn from_text(text: &str) -> Result<Self, VaultError> {
        text::parse(text).map(|masters| Self(masters.into())).map_err(VaultError::Text)
    }

    pub fn seal(&self, purpose: &Purpose<'_>, secret: &[u8], mut rng: impl CryptoRng) -> Vec<u8> {
        let master = self.current();
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut blob = Vec::with_capacity(2 + master.id.len() + NONCE_LEN + secret.len() + 16);
        // An id has at most 64 letters.
        blob.extend_from_slice(&[VERSION, master.id.len() as u8]);
        blob.extend_from_slice(master.id.as_bytes());
        let aad = associated(&blob, purpose);
        blob.extend_from_slice(&nonce);
        let body = blob.len();
        blob.extend_from_slice(secret);
        let tag = master.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            aad,
            &mut blob[body..],
        );
        // Unwrap safety: sealing fails only beyond 64 GiB.
        blob.extend_from_slice(tag.expect("a secret is small").as_ref());
        blob
    }

    /// # Errors
    /// When the master key is not loaded, the blob was altered, or it was sealed for something else.
    pub fn open(&self, purpose: &Purpose<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let what = || purpose.to_string();
        let Some(parts) = Parts::of(sealed) else { return Err(VaultError::Malformed { what: what() }) };
        let id = || parts.id.to_owned();
        let Some(master) = self.0.iter().find(|master| master.id == parts.id) else {
            return Err(VaultError::UnknownMaster { what: what(), id: id() });
        };
        let mut body = Zeroizing::new(parts.body.to_vec());
        let nonce = Nonce::assume_unique_for_key(parts.nonce);
        let opened = master
            .key
            .open_in_place(nonce, associated(parts.head, purpose), &mut body)
            .map_err(|_| VaultError::Refused { what: what(), id: id() })?
            .len();
        body.truncate(opened);
        Ok(body)
    }

    /// Marks what callers get and bring back, so that every process of the same master keys knows it again. `label`
    /// keeps the uses apart.
    pub fn mark(&self, label: &str, text: &[u8]) -> [u8; 32] {
        let mut mark = [0; 32];
        mark.copy_from_slice(marked(&self.current().mac, label, text).as_ref());
        mark
    }

    /// Whether any of the keys made this mark, or what begins it: a mark may be cut to 16 bytes.
    pub fn knows_mark(&self, label: &str, text: &[u8], mark: &[u8]) -> bool {
        let is = |master: &Master| {
            let whole = marked(&master.mac, label, text);
            // Every byte is looked at, wherever the first difference is.
            let differs = whole.as_ref().iter().zip(mark).fold(0, |seen, (one, other)| seen | (one ^ other));
            differs == 0
        };
        (16..=32).contains(&mark.len()) && self.0.iter().any(is)
    }

    /// Whether the first master key sealed it: the others may go when this is true of everything.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        Parts::of(sealed).is_some_and(|parts| parts.id == self.current().id)
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|master| master.id.as_str())
    }

    fn current(&self) -> &Master {
        // Unwrap safety: a text without a key is refused.
        self.0.first().expect("a vault has a master key")
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

fn associated(head: &[u8], purpose: &Purpose<'_>) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(192);
    bytes.extend_from_slice(head);
    purpose.write(&mut bytes);
    Aad::from(bytes)
}

fn marked(key: &hmac::Key, label: &str, text: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(&(label.len() as u64).to_be_bytes());
    context.update(label.as_bytes());
    context.update(text);
    context.sign()
}

/// Another key than the one that seals, though made from it.
fn mac_key(bytes: &[u8; 32]) -> hmac::Key {
    let from = hmac::Key::new(hmac::HMAC_SHA256, bytes);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&from, b"marks of n8n-pulsar-bridge").as_ref())
}

fn aead_key(bytes: &[u8; 32]) -> LessSafeKey {
    // Unwrap safety: it fails only for another length.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key"))
}

/// A blob taken apart, nothing of it checked.
struct Parts<'a> {
    head: &'a [u8],
    id: &'a str,
    nonce: [u8; NONCE_LEN],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Option<Self> {
        let (&[version, length], _) = sealed.split_first_chunk::<2>()?;
        if version != VERSION {
            return None;
        }
        let (head, rest) = sealed.split_at_checked(2 + usize::from(length))?;
        let id = std::str::from_utf8(&head[2..]).ok().filter(|id| text::is_id(id))?;
        let (nonce, body) = rest.split_first_chunk()?;
        Some(Self { head, id, nonce: *nonce, body })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
