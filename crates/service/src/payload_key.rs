//! Payloads and results at rest: a tenant's data key seals them, bound to tenant, execution and what it is, so that a
//! ciphertext that was moved to another row or table does not open.
//!
//! Sealed: version (1 byte), nonce (12 bytes), ciphertext and tag. The row names the data key.

use bridge_protocol::{ExecutionId, TenantId};
use bytes::Bytes;
use rand::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HEAD: usize = 1 + NONCE_LEN;

/// What a sealed payload has more than the plain one.
pub const SEALED_OVERHEAD: usize = HEAD + 16;

/// A tenant's key for its payloads. Nonces are random, so one key should seal fewer than 2^32 payloads.
pub struct DataKey {
    pub id: Uuid,
    key: LessSafeKey,
}

/// A stored payload or result that will not open with this key, today or tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(
        "the {what} of execution {execution} of tenant {tenant} is not sealed in a form this version knows"
    )]
    Form { what: &'static str, tenant: TenantId, execution: ExecutionId },
    #[error(
        "the {what} of execution {execution} of tenant {tenant} does not open with data key {key}: it was altered, or \
         belongs to another execution"
    )]
    Refused { what: &'static str, tenant: TenantId, execution: ExecutionId, key: Uuid },
}

impl DataKey {
    /// The bytes of a new key, for the vault to seal.
    pub fn generate(mut rng: impl CryptoRng) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        bytes
    }

    pub fn new(id: Uuid, bytes: &[u8; 32]) -> Self {
        // Unwrap safety: it fails only for another length.
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key");
        Self { id, key: LessSafeKey::new(key) }
    }

    pub fn seal(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        plain: &[u8],
        rng: impl CryptoRng,
    ) -> Vec<u8> {
        self.seal_as(What::Payload, tenant, execution, plain, rng)
    }

    /// An execution's result: never taken for its payload.
    pub fn seal_result(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        plain: &[u8],
        rng: impl CryptoRng,
    ) -> Vec<u8> {
        self.seal_as(What::Result, tenant, execution, plain, rng)
    }

    fn seal_as(
        &self,
        what: What,
        tenant: &TenantId,
        execution: ExecutionId,
        plain: &[u8],
        mut rng: impl CryptoRng,
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(plain.len() + SEALED_OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            associated(what, tenant, execution),
            &mut sealed[HEAD..],
        );
        // Unwrap safety: sealing fails only beyond 64 GiB.
        sealed.extend_from_slice(tag.expect("a payload is far below the limit").as_ref());
        sealed
    }

    /// Opens in place: a large payload is not copied.
    ///
    /// # Errors
    /// When it was altered or was sealed for another execution, tenant or key.
    pub fn open(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        sealed: impl Into<Vec<u8>>,
    ) -> Result<Bytes, Unreadable> {
        self.open_as(What::Payload, tenant, execution, sealed.into())
    }

    /// # Errors
    /// As [`DataKey::open`], and for what is no result.
    pub fn open_result(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        sealed: impl Into<Vec<u8>>,
    ) -> Result<Bytes, Unreadable> {
        self.open_as(What::Result, tenant, execution, sealed.into())
    }

    fn open_as(
        &self,
        what: What,
        tenant: &TenantId,
        execution: ExecutionId,
        mut sealed: Vec<u8>,
    ) -> Result<Bytes, Unreadable> {
        let (name, tenant) = (what.name(), tenant.clone());
        let nonce = match sealed.split_first_chunk::<HEAD>() {
            Some(([VERSION, nonce @ ..], _)) => *nonce,
            _ => return Err(Unreadable::Form { what: name, tenant, execution }),
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .key
            .open_in_place(nonce, associated(what, &tenant, execution), &mut sealed[HEAD..])
            .map_err(|_| Unreadable::Refused { what: name, tenant, execution, key: self.id })?
            .len();
        sealed.truncate(HEAD + opened);
        Ok(Bytes::from(sealed).slice(HEAD..))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

/// What was sealed.
#[derive(Clone, Copy)]
enum What {
    Payload,
    Result,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Result => "result",
        }
    }
}

/// The execution id has a fixed length and stands first, and no tenant's id holds a colon: nothing has the bytes of
/// something else.
fn associated(what: What, tenant: &TenantId, execution: ExecutionId) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(96);
    bytes.push(VERSION);
    bytes.extend_from_slice(execution.uuid().as_bytes());
    bytes.extend_from_slice(tenant.as_str().as_bytes());
    if let What::Result = what {
        bytes.extend_from_slice(b":result");
    }
    Aad::from(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::clock::entropy;

    const TENANT: &str = "acme";
    const EXECUTION: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const OTHER: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn execution(text: &str) -> ExecutionId {
        text.parse().unwrap()
    }

    fn key() -> DataKey {
        DataKey::new(Uuid::from_u128(7), &[9; 32])
    }

    #[test]
    fn a_payload_opens_for_its_own_execution_only() {
        for plain in [&b""[..], b"{\"a\":1}", &[0; 100_000]] {
            let sealed = key().seal(&tenant(TENANT), execution(EXECUTION), plain, entropy());
            assert_eq!(sealed.len(), plain.len() + SEALED_OVERHEAD);
            let opened = key().open(&tenant(TENANT), execution(EXECUTION), Bytes::from(sealed.clone()));
            assert_eq!(opened.unwrap(), plain);

            assert!(key().open(&tenant("acm"), execution(EXECUTION), sealed.clone()).is_err());
            assert!(key().open(&tenant(TENANT), execution(OTHER), sealed.clone()).is_err());
            let other = DataKey::new(Uuid::from_u128(7), &[8; 32]);
            assert!(other.open(&tenant(TENANT), execution(EXECUTION), sealed).is_err());
        }
    }

    #[test]
    fn a_result_is_no_payload_and_the_other_way_round() {
        let (tenant, id) = (tenant(TENANT), execution(EXECUTION));
        let (payload, result) =
            (key().seal(&tenant, id, b"in", entropy()), key().seal_result(&tenant, id, b"out", entropy()));
        assert_eq!(key().open_result(&tenant, id, result.clone()).unwrap(), &b"out"[..]);
        let error = key().open_result(&tenant, id, payload).unwrap_err().to_string();
        assert!(error.starts_with("the result of execution"), "{error}");
        assert!(key().open(&tenant, id, result.clone()).is_err());
        assert!(key().open_result(&tenant, execution(OTHER), result).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let sealed = key().seal(&tenant(TENANT), execution(EXECUTION), b"payload", entropy());
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut bad = sealed.clone();
                bad[at] ^= 1 << bit;
                let error = key().open(&tenant(TENANT), execution(EXECUTION), bad).unwrap_err();
                assert!(error.to_string().contains(EXECUTION), "{error}");
            }
            assert!(key().open(&tenant(TENANT), execution(EXECUTION), &sealed[..at]).is_err());
        }
    }

    #[test]
    fn a_payload_sealed_long_ago_still_opens() {
        let sealed: Vec<u8> = GOLDEN
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
            .collect();
        let opened = key().open(&tenant(TENANT), execution(EXECUTION), sealed).unwrap();
        assert_eq!(opened, &b"{\"kept\":\"for ever\"}"[..]);
    }

    /// Version 1, made by another implementation of AES-GCM. Never make it anew: rows like this one are in databases.
    const GOLDEN: &[u8] = b"01000102030405060708090a0b9173f0a74c3b08dfbd3043edf0a6b351a157f2c8ad3af5a257f708\
        d46a4bc988b69898";

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", key()), "DataKey(00000000-0000-0000-0000-000000000007)");
    }
}
