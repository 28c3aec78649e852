//! What access is decided by: the `[auth]` section, checked when it was loaded.

pub use bridge_service::config::{AuthSettings as AccessConfig, Issuer as OutsideIssuer};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "issuer {issuer}: {algorithm:?} is not taken; use signatures with a public key: RS256, PS256, ES256, EdDSA"
    )]
    Algorithm { issuer: String, algorithm: String },
    #[error("the client that fetches the keys of issuer {issuer} could not be set up")]
    Client { issuer: String, source: reqwest::Error },
}

/// The allow-list of an issuer. With HMAC, who verifies can sign, and a public key would do as the secret.
pub(crate) fn algorithms(issuer: &OutsideIssuer) -> Result<Vec<Algorithm>, AccessError> {
    let parse = |name: &String| match name.parse::<Algorithm>() {
        Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => Ok(algorithm),
        _ => Err(AccessError::Algorithm { issuer: issuer.issuer.clone(), algorithm: name.clone() }),
    };
    issuer.algorithms.iter().map(parse).collect()
}
