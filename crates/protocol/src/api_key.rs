//! The texts callers log in with. Only digests of them are ever stored: each text has 256 bits of chance, so a plain
//! SHA-256 cannot be searched backwards, and looking one up costs next to nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use sha2::{Digest, Sha256};

const KEY_PREFIX: &str = "npb_";
const CLIENT_PREFIX: &str = "svc_";
const SECRET_PREFIX: &str = "nps_";
const ID_LENGTH: usize = 12;
/// 32 bytes as base64url.
const SECRET_LENGTH: usize = 43;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// An API key: `npb_`, an id that may be shown, `_`, the secret half.
pub struct ApiKey(String);

impl ApiKey {
    pub fn generate(mut rng: impl CryptoRng) -> Self {
        let id = chars(&mut rng);
        Self(format!("{KEY_PREFIX}{id}_{}", secret(&mut rng)))
    }

    /// A new secret half for an id that is there already; `None` when `id` is no key's id.
    pub fn renew(id: &str, mut rng: impl CryptoRng) -> Option<Self> {
        let known = id.strip_prefix(KEY_PREFIX).is_some_and(is_id);
        known.then(|| Self(format!("{id}_{}", secret(&mut rng))))
    }

    /// Whether the text has the shape of an API key. It says nothing about whether it is one.
    pub fn looks_like(text: &str) -> bool {
        let Some((id, secret)) = text.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_')) else {
            return false;
        };
        let url_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        is_id(id) && secret.len() == SECRET_LENGTH && secret.bytes().all(url_safe)
    }

    /// The part that may be shown and logged: `npb_<id>`.
    pub fn id(&self) -> &str {
        &self.0[..KEY_PREFIX.len() + ID_LENGTH]
    }

    /// What is stored: of the whole text.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The secret of a service account: `nps_` and 32 random bytes.
pub struct ClientSecret(String);

impl ClientSecret {
    pub fn generate(mut rng: impl CryptoRng) -> Self {
        Self(format!("{SECRET_PREFIX}{}", secret(&mut rng)))
    }

    /// What is stored: of the whole text.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The id of a service account, `svc_<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(String);

impl ClientId {
    pub fn generate(mut rng: impl CryptoRng) -> Self {
        Self(format!("{CLIENT_PREFIX}{}", chars(&mut rng)))
    }

    pub fn looks_like(text: &str) -> bool {
        text.strip_prefix(CLIENT_PREFIX).is_some_and(is_id)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}_...)", self.id())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(...)")
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|b| ALPHABET.contains(&b))
}

fn chars(rng: &mut impl CryptoRng) -> String {
    let mut id = String::with_capacity(ID_LENGTH);
    let mut byte = [0u8; 1];
    while id.len() < ID_LENGTH {
        rng.fill_bytes(&mut byte);
        // 252 is the largest multiple of 36 in a byte: what lies above would favour the first letters.
        if byte[0] < 252 {
            id.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    id
}

fn secret(rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0u8; 32];
    rng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_key_has_its_shape_and_an_id_that_shows_no_secret() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let key = ApiKey::generate(&mut rng);
            assert!(ApiKey::looks_like(key.expose()), "{}", key.expose());
            assert_eq!(key.expose().len(), 4 + 12 + 1 + 43);
            assert!(key.expose().starts_with(key.id()) && key.id().len() == 16);
            assert!(!format!("{key:?}").contains(&key.expose()[17..]));
            let renewed = ApiKey::renew(key.id(), &mut rng).map(|new| (new.id() == key.id(), new.digest()));
            assert!(renewed.is_some_and(|(same_id, digest)| same_id && digest != key.digest()));
            assert_eq!(key.digest().as_slice(), Sha256::digest(key.expose().as_bytes()).as_slice());
            assert!(ClientId::looks_like(ClientId::generate(&mut rng).as_str()));
        }
    }

    #[test]
    fn two_are_never_the_same() {
        let mut rng = StdRng::seed_from_u64(2);
        let (one, two) = (ClientSecret::generate(&mut rng), ClientSecret::generate(&mut rng));
        assert_ne!(one.digest(), two.digest());
        assert!(one.expose().starts_with("nps_") && one.expose().len() == 47);
        assert_eq!(format!("{one:?}"), "ClientSecret(...)");
    }

    #[test]
    fn other_texts_are_not_taken_for_keys() {
        let secret = "A".repeat(43);
        assert!(ApiKey::looks_like(&format!("npb_abcdefghij12_{secret}")));
        for bad in [
            String::new(),
            "npb_".to_owned(),
            format!("npb_abcdefghij1_{secret}"),
            format!("npb_ABCDEFGHIJ12_{secret}"),
            format!("npb_abcdefghij12_{secret}A"),
            format!("npb_abcdefghij12_{}=", &secret[1..]),
            format!("nps_abcdefghij12_{secret}"),
            format!("npb_abcdefghij12{secret}"),
        ] {
            assert!(!ApiKey::looks_like(&bad), "{bad}");
        }
    }
}
