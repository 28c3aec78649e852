//! New Ed25519 pairs, in the forms that keyrings, the vault and JWKS documents take.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::CryptoRng;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// The fixed beginning of a PKCS#8 version 1 document for Ed25519 (RFC 8410); the seed follows.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The same of a SubjectPublicKeyInfo; the public key follows.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub struct KeyPair {
    pkcs8: Zeroizing<Vec<u8>>,
    public: [u8; 32],
}

impl KeyPair {
    pub fn generate(mut rng: impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        // Unwrap safety: it fails only for another length.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are an Ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        let mut pkcs8 = Zeroizing::new(Vec::with_capacity(PKCS8.len() + seed.len()));
        pkcs8.extend_from_slice(&PKCS8);
        pkcs8.extend_from_slice(seed);
        Self { pkcs8, public }
    }

    /// The private half, DER.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half as it stands in a JWKS document.
    pub fn jwk(&self, kid: &str) -> serde_json::Value {
        let x = URL_SAFE_NO_PAD.encode(self.public);
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x })
    }

    pub fn private_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.pkcs8))
    }

    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI[..], &self.public].concat())
    }
}

/// Both documents are short enough for one line.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use bridge_protocol::Keyring;

    #[test]
    fn the_first_vector_of_rfc_8032() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let pair = KeyPair::from_seed(STANDARD.decode(seed).unwrap().as_slice().try_into().unwrap());
        assert_eq!(pair.jwk("k")["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }

    #[test]
    fn a_new_pair_is_a_keyring_that_signs() {
        let pair = KeyPair::generate(crate::clock::entropy());
        let ring = format!(
            "signing = \"k\"\n[[keys]]\nkid = \"k\"\nalg = \"EdDSA\"\npublic_pem = '''{}'''\nprivate_pem = '''{}'''\n",
            pair.public_pem(),
            pair.private_pem().as_str()
        );
        assert!(Keyring::from_toml(&ring).unwrap().can_sign());
    }
}
