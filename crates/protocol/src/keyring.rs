//! Signing and verifying messages.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;

use crate::keyring_file::{self, KeyringError};
use crate::{
    Claims, Forged, LEEWAY, MAX_MESSAGE_BYTES, Notice, Rejection, Signed, Stale, Time, TopicNames, VERSION,
    logical_topic,
};

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("this keyring has no signing key; name one that can sign under `signing`")]
    NoSigningKey,
    #[error("key {0:?} cannot sign: it is not in this keyring, is retired, or has no secret half here")]
    NotASigner(String),
    #[error(
        "the message would have {0} bytes, more than any consumer accepts; shorten topic names or issuer"
    )]
    TooLong(usize),
    #[error("the message could not be encoded")]
    Encode(#[source] serde_json::Error),
    #[error("the key {kid:?} failed to sign")]
    Key { kid: String, source: jsonwebtoken::errors::Error },
}

/// One key, made ready once.
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) encoding: Option<EncodingKey>,
    pub(crate) retired: bool,
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// The first part of every message this key signs, with its dot.
    head: String,
    created: Option<Time>,
}

impl Key {
    pub(crate) fn new(
        kid: &str,
        algorithm: Algorithm,
        decoding: DecodingKey,
        encoding: Option<EncodingKey>,
        retired: bool,
    ) -> Self {
        // A kid has no character that JSON would escape.
        let header = format!(r#"{{"alg":"{}","kid":"{kid}","typ":"{TYPE}"}}"#, name(algorithm));
        let head = URL_SAFE_NO_PAD.encode(header) + ".";
        Self { kid: kid.into(), encoding, retired, algorithm, decoding, head, created: None }
    }

    pub(crate) fn created(self, created: Option<Time>) -> Self {
        Self { created, ..self }
    }

    pub(crate) fn signs_what_it_verifies(&self) -> bool {
        let signed = self.encoding.as_ref().and_then(|key| crypto::sign(b"probe", key, self.algorithm).ok());
        signed.is_some_and(|signature| self.verifies(&signature, b"probe"))
    }

    fn can_sign(&self) -> bool {
        self.encoding.is_some() && !self.retired
    }

    fn verifies(&self, signature: &str, signed: &[u8]) -> bool {
        // An error is a signature of the wrong length: the key itself was checked when it was read.
        crypto::verify(signature, signed, &self.decoding, self.algorithm).unwrap_or(false)
    }
}

const TYPE: &str = "JWT";

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDSA => "EdDSA",
        _ => "HS256",
    }
}

/// The header as it must be: anything beside these three fields is junk.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// The one claim that is read before the others, because it says what the others look like.
#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

/// The keys of one process. Replace the whole to reload it.
pub struct Keyring {
    keys: Vec<Key>,
    signing: Option<usize>,
}

impl Keyring {
    pub fn from_toml(text: &str) -> Result<Self, KeyringError> {
        let (keys, signing) = keyring_file::read(text)?;
        Ok(Self { keys, signing })
    }

    pub fn signing_kid(&self) -> Option<&str> {
        self.signing_key().map(|key| key.kid.as_str())
    }

    /// When the key that signs was made, as the file says it.
    pub fn signing_since(&self) -> Option<Time> {
        self.signing_key().and_then(|key| key.created)
    }

    /// The keys whose messages are accepted.
    pub fn kids(&self) -> Vec<String> {
        self.keys.iter().filter(|key| !key.retired).map(|key| key.kid.clone()).collect()
    }

    /// The accepted keys whose secret half is here, in the file's order: whoever reads this keyring can sign with them.
    pub fn kids_with_secrets(&self) -> Vec<&str> {
        let secret = self.keys.iter().filter(|key| key.can_sign());
        secret.map(|key| key.kid.as_str()).collect()
    }

    pub fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    pub fn sign(&self, claims: &impl Signed) -> Result<String, SignError> {
        sign(self.signing_key().ok_or(SignError::NoSigningKey)?, claims)
    }

    /// Signs with a key of the caller's choice, while the file's own choice is not known everywhere.
    pub fn sign_with(&self, kid: &str, claims: &impl Signed) -> Result<String, SignError> {
        let key = self.keys.iter().find(|key| key.kid == kid && key.can_sign());
        sign(key.ok_or_else(|| SignError::NotASigner(kid.to_owned()))?, claims)
    }

    /// Nothing in the message is believed before its signature is known to be good; until then
    /// only its shape and its kid are looked at.
    pub fn verify(
        &self,
        message: &[u8],
        received_from: &str,
        names: &TopicNames,
        now: Time,
    ) -> Result<Claims, Rejection> {
        self.verify_as(message, received_from, names, now)
    }

    /// The same for what comes from a dead-letter topic.
    pub fn verify_notice(
        &self,
        message: &[u8],
        received_from: &str,
        names: &TopicNames,
        now: Time,
    ) -> Result<Notice, Rejection> {
        self.verify_as(message, received_from, names, now)
    }

    fn verify_as<T: Signed>(
        &self,
        message: &[u8],
        received_from: &str,
        names: &TopicNames,
        now: Time,
    ) -> Result<T, Rejection> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(Rejection::Forged(Forged::Oversize));
        }
        let parts = Parts::of(message).ok_or(Rejection::Forged(Forged::Junk))?;
        let key = self.keys.iter().find(|key| key.kid == parts.header.kid);
        let key = key.ok_or(Rejection::Stale(Stale::UnknownKey))?;
        if key.retired {
            return Err(Rejection::Stale(Stale::RetiredKey));
        }
        if parts.header.alg != name(key.algorithm) {
            return Err(Rejection::Forged(Forged::Algorithm));
        }
        if !key.verifies(parts.signature, parts.signed.as_bytes()) {
            return Err(Rejection::Forged(Forged::Signature));
        }
        accept(&parts.claims, received_from, names, now)
    }

    fn signing_key(&self) -> Option<&Key> {
        self.signing.map(|at| &self.keys[at])
    }
}

/// Only for keys that can sign.
fn sign(key: &Key, claims: &impl Signed) -> Result<String, SignError> {
    let encoding = key.encoding.as_ref().ok_or(SignError::NoSigningKey)?;
    let json = serde_json::to_vec(claims).map_err(SignError::Encode)?;
    let mut message = key.head.clone();
    URL_SAFE_NO_PAD.encode_string(json, &mut message);
    let signature = crypto::sign(message.as_bytes(), encoding, key.algorithm)
        .map_err(|source| SignError::Key { kid: key.kid.clone(), source })?;
    message.push('.');
    message.push_str(&signature);
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(SignError::TooLong(message.len()));
    }
    Ok(message)
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("kids", &self.kids()).field("signing", &self.signing_kid()).finish()
    }
}

/// A message taken apart, its signature not yet checked.
struct Parts<'a> {
    header: Header,
    /// Decoded, not parsed.
    claims: Vec<u8>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // The decoder refuses padding, foreign letters (a fourth dot too) and spare bits, so every
        // content has exactly one spelling.
        let header: Header = object(&URL_SAFE_NO_PAD.decode(header).ok()?)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        URL_SAFE_NO_PAD.decode(signature).ok()?;
        (header.typ == TYPE).then_some(Self { header, claims, signed, signature })
    }
}

/// The claims of a message whose signature is good, if they are meant for this topic and time.
fn accept<T: Signed>(
    claims: &[u8],
    received_from: &str,
    names: &TopicNames,
    now: Time,
) -> Result<T, Rejection> {
    let junk = Rejection::Forged(Forged::Junk);
    let version: Versioned = object(claims).ok_or(junk)?;
    if version.v != u64::from(VERSION) {
        return Err(Rejection::Stale(Stale::Version));
    }
    let claims: T = object(claims).ok_or(junk)?;
    let topic = logical_topic(received_from);
    let fits = claims.bound();
    let address =
        names.parse(topic).filter(|address| address.dead_letter == T::DEAD_LETTER && fits.aud == topic);
    let address = address.ok_or(Rejection::Forged(Forged::Audience))?;
    if *fits.tid != address.tenant {
        return Err(Rejection::Forged(Forged::Tenant));
    }
    if now.timestamp() > fits.exp.saturating_add_unsigned(LEEWAY.as_secs()) {
        return Err(Rejection::Stale(Stale::Expired));
    }
    Ok(claims)
}

/// A JSON object. Serde alone would read a JSON array as a struct too.
fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}
