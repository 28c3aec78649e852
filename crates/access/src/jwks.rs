//! An outside issuer's public keys, out of its JWKS document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cache::Digest;

/// Issuers publish a handful.
const MOST_KEYS: usize = 64;
/// Shorter ones are within reach of whoever would pay for it; longer ones the verifier does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JwksError {
    #[error("the answer is no JWKS document")]
    Form(#[source] serde_json::Error),
    #[error("the document has more than {MOST_KEYS} keys")]
    TooMany,
    #[error("none of the document's {0} keys can verify a signature of an allowed algorithm")]
    NoneUsable(usize),
}

pub(crate) struct PublicKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(crate) decoding: DecodingKey,
    /// Of the key itself: a kid that comes back with another key is another key.
    pub(crate) print: Digest,
}

/// The keys of one issuer at one time.
#[derive(Default)]
pub(crate) struct KeySet {
    /// 0: never fetched. It moves only when the keys do.
    pub(crate) generation: u64,
    keys: Vec<PublicKey>,
}

/// What is read of a key; the rest (certificates, private halves) is of no interest.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Takes what it understands: one odd key never hides the others.
    pub(crate) fn read(document: &[u8], allowed: &[Algorithm]) -> Result<Self, JwksError> {
        let Document { keys: values } = serde_json::from_slice(document).map_err(JwksError::Form)?;
        if values.len() > MOST_KEYS {
            return Err(JwksError::TooMany);
        }
        let count = values.len();
        let read = |value| usable(serde_json::from_value(value).ok()?, allowed);
        let keys: Vec<_> = values.into_iter().filter_map(read).collect();
        if keys.is_empty() { Err(JwksError::NoneUsable(count)) } else { Ok(Self { generation: 0, keys }) }
    }

    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        let alike = |(a, b): (&PublicKey, &PublicKey)| {
            a.print == b.print && a.kid == b.kid && a.algorithms == b.algorithms
        };
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(alike)
    }

    pub(crate) fn is_fetched(&self) -> bool {
        self.generation > 0
    }

    /// The key of that name. A token without a name is taken only when there is no choice.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&PublicKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        });
        let first = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then_some(first)
    }

    pub(crate) fn holds(&self, print: &Digest) -> bool {
        self.keys.iter().any(|key| key.print == *print)
    }

    pub(crate) fn kids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.kid.as_deref().unwrap_or("-")).collect()
    }
}

/// `None` for keys that encrypt, that are secret, that are too weak, or that nothing here could verify with.
fn usable(jwk: Jwk, allowed: &[Algorithm]) -> Option<PublicKey> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return None;
    }
    let family: &[Algorithm] = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => jsonwebtoken::AlgorithmFamily::Rsa.algorithms(),
        ("EC", Some("P-256")) => &[Algorithm::ES256],
        ("EC", Some("P-384")) => &[Algorithm::ES384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
        _ => return None,
    };
    let named = match &jwk.alg {
        // RFC 9864's name for the same.
        Some(alg) if alg == "Ed25519" => Some(Algorithm::EdDSA),
        Some(alg) => Some(alg.parse().ok()?),
        None => None,
    };
    let fits =
        |algorithm: &Algorithm| allowed.contains(algorithm) && named.is_none_or(|named| named == *algorithm);
    let algorithms: Vec<_> = family.iter().copied().filter(fits).collect();
    if algorithms.is_empty() {
        return None;
    }
    let mut print = Sha256::new();
    print.update(&jwk.kty);
    // Lengths are checked here: the verifier takes them for granted.
    let decoding = if jwk.kty == "RSA" {
        let (n, e) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
        let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) || e.len() > 4 {
            return None;
        }
        print.update(&n);
        print.update(&e);
        DecodingKey::from_rsa_raw_components(&n, &e)
    } else if jwk.kty == "EC" {
        let length = if algorithms == [Algorithm::ES256] { 32 } else { 48 };
        let (x, y) = (fixed(jwk.x.as_deref()?, length)?, fixed(jwk.y.as_deref()?, length)?);
        let point = [&[4][..], &x, &y].concat();
        print.update(&point);
        DecodingKey::from_ec_der(&point)
    } else {
        let x = fixed(jwk.x.as_deref()?, 32)?;
        print.update(&x);
        DecodingKey::from_ed_der(&x)
    };
    // A point that is not on its curve.
    jsonwebtoken::crypto::verify("", b"", &decoding, algorithms[0]).ok()?;
    Some(PublicKey { kid: jwk.kid, algorithms, decoding, print: print.finalize().into() })
}

/// Without leading zeros, which some issuers write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

fn fixed(text: &str, length: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    const ALLOWED: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

    fn read(keys: Value) -> Result<KeySet, JwksError> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), ALLOWED)
    }

    fn ed(kid: &str) -> Value {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn rsa(bytes: usize) -> Value {
        let n = URL_SAFE_NO_PAD.encode([&[0xC1][..], &vec![0x55; bytes - 1]].concat());
        json!({ "kty": "RSA", "kid": "r", "n": n, "e": "AQAB" })
    }

    /// RFC 7515, A.3.
    fn ec() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": "e",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
        })
    }

    #[test]
    fn the_three_kinds_of_keys_are_taken() {
        let set = read(json!([ed("d"), rsa(256), ec()])).unwrap();
        assert_eq!(set.kids(), ["d", "r", "e"]);
        assert!(set.find(Some("d"), Algorithm::EdDSA).is_some());
        assert!(set.find(Some("r"), Algorithm::RS256).is_some());
        assert!(set.find(Some("r"), Algorithm::PS256).is_some());
        assert!(set.find(Some("r"), Algorithm::RS512).is_none(), "not on the allow-list");
        assert!(set.find(Some("e"), Algorithm::ES256).is_some());
        assert!(set.find(Some("e"), Algorithm::EdDSA).is_none());
        let named = read(json!([with(rsa(256), "alg", json!("PS256"))])).unwrap();
        assert!(named.find(Some("r"), Algorithm::RS256).is_none(), "the key says what it is for");
    }

    #[test]
    fn other_keys_are_left_out() {
        let mut weak = ec();
        weak["y"] = json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1");
        for bad in [
            with(ed("k"), "use", json!("enc")),
            with(ed("k"), "key_ops", json!(["encrypt"])),
            with(ed("k"), "alg", json!("RS256")),
            with(ed("k"), "crv", json!("Ed448")),
            with(ed("k"), "x", json!("AAAA")),
            with(ed("k"), "kty", json!("oct")),
            with(rsa(256), "alg", json!("RSA-OAEP")),
            json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256" }),
            rsa(128),
            rsa(1024),
            weak,
            json!("key"),
        ] {
            let set = read(json!([bad.clone(), with(ed("good"), "use", json!("sig"))])).unwrap();
            assert_eq!(set.kids(), ["good"], "{bad}");
            assert!(matches!(read(json!([bad])), Err(JwksError::NoneUsable(1))));
        }
    }

    #[test]
    fn a_nameless_token_needs_a_set_without_a_choice() {
        let one = read(json!([ed("a"), ec()])).unwrap();
        assert!(one.find(None, Algorithm::EdDSA).is_some());
        let two = read(json!([ed("a"), ed("b")])).unwrap();
        assert!(two.find(None, Algorithm::EdDSA).is_none());
        assert!(!one.same_keys(&two) && two.same_keys(&read(json!([ed("a"), ed("b")])).unwrap()));
    }

    #[test]
    fn a_document_is_bounded() {
        assert!(matches!(KeySet::read(b"<html>", ALLOWED), Err(JwksError::Form(_))));
        assert!(matches!(KeySet::read(b"{}", ALLOWED), Err(JwksError::Form(_))));
        let many: Vec<_> = (0..65).map(|kid| ed(&kid.to_string())).collect();
        assert!(matches!(read(json!(many)), Err(JwksError::TooMany)));
    }
}
