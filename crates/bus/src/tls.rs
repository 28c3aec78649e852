//! Whom we believe that he is the broker.

use std::path::PathBuf;

use base64::Engine;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::Tls;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the authorities of pulsar.tls_ca_file {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("pulsar.tls_ca_file {} holds no certificate", path.display())]
    Empty { path: PathBuf },
}

impl Tls {
    /// Read afresh each time, so that a renewed authority needs no restart.
    pub(crate) async fn authorities(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let reading = tokio::task::spawn_blocking(move || self.read());
        match reading.await {
            Ok(read) => read,
            Err(panic) => Err(TlsError::Unreadable { path: PathBuf::new(), why: panic.to_string() }),
        }
    }

    /// The same for the HTTP client.
    pub(crate) async fn certificates(self) -> Result<Vec<reqwest::Certificate>, TlsError> {
        let path = self.ca_file.clone().unwrap_or_default();
        certificates(path, self.authorities().await?)
    }

    pub(crate) fn certificates_now(&self) -> Result<Vec<reqwest::Certificate>, TlsError> {
        certificates(self.ca_file.clone().unwrap_or_default(), self.read()?)
    }

    fn read(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let Some(path) = &self.ca_file else {
            let mut usable = rustls_native_certs::load_native_certs().certs;
            // One that the TLS library cannot take would make the broker's client refuse all of them.
            usable.retain(|one| RootCertStore::empty().add(one.clone()).is_ok());
            // May be none: the client has the public ones built in.
            return Ok(usable);
        };
        let unreadable = |why: String| TlsError::Unreadable { path: path.clone(), why };
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?.collect();
        let found = found.map_err(|error| unreadable(error.to_string()))?;
        for one in &found {
            RootCertStore::empty().add(one.clone()).map_err(|error| unreadable(error.to_string()))?;
        }
        if found.is_empty() { Err(TlsError::Empty { path: path.clone() }) } else { Ok(found) }
    }
}

fn certificates(
    path: PathBuf,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<Vec<reqwest::Certificate>, TlsError> {
    authorities
        .iter()
        .map(|one| reqwest::Certificate::from_der(one))
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Unreadable { path, why: error.to_string() })
}

/// As the broker's client takes them.
pub(crate) fn pem(authorities: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut text = String::new();
    for one in authorities {
        let encoded = base64::engine::general_purpose::STANDARD.encode(one);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        // Base64 is ASCII: any cut is between characters.
        for start in (0..encoded.len()).step_by(64) {
            text.push_str(&encoded[start..encoded.len().min(start + 64)]);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tls(ca_file: impl Into<PathBuf>) -> Tls {
        Tls { ca_file: Some(ca_file.into()) }
    }

    #[tokio::test]
    async fn a_file_without_authorities_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let error = tls(&path).authorities().await.unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
        std::fs::write(&path, "nothing of use").unwrap();
        let error = tls(&path).authorities().await.unwrap_err().to_string();
        assert!(error.contains("holds no certificate"), "{error}");
    }

    #[test]
    fn what_was_read_is_written_alike() {
        let der = CertificateDer::from(vec![7; 200]);
        let written = pem(std::slice::from_ref(&der));
        let read: Vec<_> = CertificateDer::pem_slice_iter(&written).map(Result::unwrap).collect();
        assert_eq!(read, [der]);
    }
}
