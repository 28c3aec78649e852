//! The keyring's file: several keys, at most one of them signs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;

use crate::Time;
use crate::keyring::Key;

const MIN_SECRET_BYTES: usize = 32;

/// Everything that is wrong with a keyring file, so that one edit can repair it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringError {
    pub faults: Vec<String>,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keyring cannot be used: {}", self.faults.join("; "))
    }
}

impl std::error::Error for KeyringError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    signing: Option<String>,
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kid: String,
    alg: String,
    secret: Option<String>,
    public_pem: Option<String>,
    private_pem: Option<String>,
    #[serde(default)]
    retired: bool,
    /// When it was made; a copy of the file knows it too.
    created: Option<toml::value::Datetime>,
}

/// The keys of a file and the place of the one that signs.
pub(crate) fn read(text: &str) -> Result<(Vec<Key>, Option<usize>), KeyringError> {
    let file: File = toml::from_str(text).map_err(|error| KeyringError {
        // The parser's own Display would quote the line, and the line may be a secret.
        faults: vec![format!("it is not the expected TOML: {}{}", error.message(), line_of(text, &error))],
    })?;
    let mut faults = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    for (at, entry) in file.keys.iter().enumerate() {
        if file.keys[..at].iter().any(|other| other.kid == entry.kid) {
            faults.push(format!("kid {:?} is there twice; every key needs its own", entry.kid));
        }
        match key(entry).and_then(|key| Ok(key.created(created(entry)?))) {
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(format!("key {:?}: {fault}", entry.kid)),
        }
    }
    if file.keys.is_empty() {
        faults.push("it holds no [[keys]]; add at least one".into());
    }
    let signing = file.signing.as_ref().and_then(|kid| {
        let found = keys.iter().position(|key| &key.kid == kid);
        match found.map(|at| &keys[at]) {
            None if file.keys.iter().any(|entry| &entry.kid == kid) => {} // its own fault is told above
            None => faults.push(format!("signing names {kid:?}, which is not among the keys")),
            Some(key) if key.retired => {
                faults.push(format!(
                    "signing names {kid:?}, which is retired; name a key that is still accepted"
                ));
            }
            Some(key) if key.encoding.is_none() => {
                faults.push(format!("signing names {kid:?}, which has no private_pem"));
            }
            Some(_) => {}
        }
        found
    });
    if faults.is_empty() { Ok((keys, signing)) } else { Err(KeyringError { faults }) }
}

fn line_of(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| format!(" (line {})", before.matches('\n').count() + 1))
}

fn key(entry: &Entry) -> Result<Key, String> {
    let kid_ok = (1..=64).contains(&entry.kid.len())
        && entry.kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !kid_ok {
        return Err("a kid is 1 to 64 letters, digits and . _ -".into());
    }
    match entry.alg.as_str() {
        "HS256" => shared_secret(entry),
        "EdDSA" => key_pair(entry),
        other => Err(format!("alg {other:?} is not supported; use HS256 or EdDSA")),
    }
}

fn created(entry: &Entry) -> Result<Option<Time>, String> {
    let Some(written) = &entry.created else { return Ok(None) };
    let text = written.to_string();
    // A day alone begins at midnight.
    let full = if written.time.is_none() { format!("{text}T00:00:00Z") } else { text };
    let time = full.parse::<Time>();
    time.map(Some)
        .map_err(|_| "created is a day or a time with its offset: 2026-11-21, or 2026-11-21T10:00:00Z".into())
}

fn shared_secret(entry: &Entry) -> Result<Key, String> {
    if entry.public_pem.is_some() || entry.private_pem.is_some() {
        return Err("HS256 takes a secret, not a PEM".into());
    }
    let secret = entry.secret.as_deref().ok_or("HS256 needs a secret")?;
    let secret = STANDARD.decode(secret.trim()).map_err(|_| "the secret is not base64")?;
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!("the secret has {} bytes; it needs at least {MIN_SECRET_BYTES}", secret.len()));
    }
    let signs = Some(EncodingKey::from_secret(&secret));
    Ok(Key::new(&entry.kid, Algorithm::HS256, DecodingKey::from_secret(&secret), signs, entry.retired))
}

fn key_pair(entry: &Entry) -> Result<Key, String> {
    if entry.secret.is_some() {
        return Err("EdDSA takes public_pem and private_pem, not a secret".into());
    }
    let public = entry.public_pem.as_deref().ok_or("EdDSA needs a public_pem")?;
    let public = DecodingKey::from_ed_pem(public.as_bytes())
        .ok()
        .filter(|key| key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32))
        .ok_or("public_pem is not an Ed25519 public key (SPKI, \"BEGIN PUBLIC KEY\")")?;
    let private = match entry.private_pem.as_deref() {
        None => None,
        Some(pem) => Some(
            EncodingKey::from_ed_pem(pem.as_bytes())
                .map_err(|_| "private_pem is not an Ed25519 private key (PKCS#8, \"BEGIN PRIVATE KEY\")")?,
        ),
    };
    let key = Key::new(&entry.kid, Algorithm::EdDSA, public, private, entry.retired);
    // Two halves of different pairs would sign messages that nobody accepts.
    if key.encoding.is_some() && !key.signs_what_it_verifies() {
        return Err(
            "private_pem and public_pem are not usable together; they must be halves of one Ed25519 pair"
                .into(),
        );
    }
    Ok(key)
}
