//! What a message says. It carries ids and never a payload or a URL.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{ExecutionId, TenantId};

/// The version this code writes and reads.
pub const VERSION: u8 = 1;
/// Longer bodies are refused before anything in them is looked at.
pub const MAX_MESSAGE_BYTES: usize = 4096;
/// How far the clocks of the signer and of the verifier may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// SHA-256 of the payload as it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadHash(pub [u8; 32]);

impl PayloadHash {
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha256::digest(payload).into())
    }
}

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadHash({self})")
    }
}

impl Serialize for PayloadHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for PayloadHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a payload hash is 32 bytes in base64url"))
    }
}

/// The claims of a message. The order of the fields is the order on the wire: signing the same
/// claims with the same key yields the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// [`VERSION`].
    pub v: u8,
    /// Who signed, for people; not checked.
    pub iss: String,
    /// The full topic it was published to, without a partition.
    pub aud: String,
    pub sub: ExecutionId,
    /// The execution's tenant; must be the topic's.
    pub tid: TenantId,
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
    /// Unique to this message.
    pub jti: String,
    /// The attempt it was published for, from 1.
    pub att: u16,
    pub psh: PayloadHash,
}
