//! What OpenTelemetry's standard variables say of the collector's TLS.

use super::TelemetryError;
use std::path::PathBuf;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// PEM texts.
#[derive(Default)]
pub(super) struct TlsFiles {
    authority: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl TlsFiles {
    pub(super) fn read() -> Result<Self, TelemetryError> {
        Ok(Self {
            authority: file("CERTIFICATE")?,
            certificate: file("CLIENT_CERTIFICATE")?,
            key: file("CLIENT_KEY")?,
        })
    }

    pub(super) fn for_grpc(self) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new();
        let tls = match self.authority {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => tls.identity(Identity::from_pem(certificate, key)),
            _ => tls,
        }
    }

    pub(super) fn for_http(
        self,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        if let Some(pem) = self.authority {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        if let (Some(mut certificate), Some(key)) = (self.certificate, self.key) {
            certificate.push(b'\n');
            certificate.extend(key);
            builder = builder.identity(reqwest::Identity::from_pem(&certificate)?);
        }
        Ok(builder)
    }
}

/// The variable of traces alone goes before the general one.
fn file(what: &str) -> Result<Option<Vec<u8>>, TelemetryError> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
    let set = |name: &String| std::env::var_os(name).filter(|value| !value.is_empty());
    let Some((variable, file)) =
        names.into_iter().find_map(|name| set(&name).map(|file| (name, PathBuf::from(file))))
    else {
        return Ok(None);
    };
    match std::fs::read(&file) {
        Ok(pem) => Ok(Some(pem)),
        Err(source) => Err(TelemetryError::Certificate { variable, file, source }),
    }
}
