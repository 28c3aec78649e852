//! The exporter: OTLP over gRPC or HTTP, with the headers and the TLS that OpenTelemetry's standard variables name.

use super::TelemetryError;
use crate::config::{OtlpProtocol, Telemetry, otlp_headers};
use http::{Request, Response};
use opentelemetry_http::{Bytes, HttpClient, HttpError, ResponseBodyTooLarge};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// For one request, and all its repetitions.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A collector answers a few bytes.
const LARGEST_ANSWER: usize = 64 << 10;

pub(super) fn exporter(config: &Telemetry, endpoint: &str) -> Result<SpanExporter, TelemetryError> {
    let tls = TlsFiles::read()?;
    let built = match config.otlp_protocol {
        OtlpProtocol::Grpc => {
            let mut builder = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(TIMEOUT)
                .with_metadata(MetadataMap::from_headers(headers(config)));
            if endpoint.starts_with("https://") {
                builder = builder.with_tls_config(tls.for_grpc());
            }
            builder.build()
        }
        OtlpProtocol::HttpProtobuf => {
            let named = headers(config);
            let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
            let headers: HashMap<String, String> =
                named.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
            let client = tls
                .for_http()
                .map_err(|source| TelemetryError::Client { endpoint: endpoint.to_owned(), source })?;
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(traces_url(endpoint))
                .with_timeout(TIMEOUT)
                .with_headers(headers)
                .with_http_client(client)
                .build()
        }
    };
    built.map_err(|source| TelemetryError::Exporter { endpoint: endpoint.to_owned(), source })
}

/// The variables name the collector's base address; over HTTP, traces have a path of their own.
fn traces_url(endpoint: &str) -> String {
    const PATH: &str = "/v1/traces";
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

/// The configuration's, without those that the standard variables name too: the exporter reads the variables itself,
/// and would send both.
fn headers(config: &Telemetry) -> http::HeaderMap {
    let variable = std::env::var("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
        .or_else(|_| std::env::var("OTEL_EXPORTER_OTLP_HEADERS"))
        .unwrap_or_default();
    let named: HashSet<http::HeaderName> =
        otlp_headers(&variable).filter_map(Result::ok).map(|(name, _)| name).collect();
    let text = config.otlp_headers.as_ref().map_or("", |headers| headers.expose());
    // What is no header was told when the configuration was checked.
    otlp_headers(text).filter_map(Result::ok).filter(|(name, _)| !named.contains(name)).collect()
}

/// PEM texts.
#[derive(Default)]
struct TlsFiles {
    authority: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl TlsFiles {
    fn read() -> Result<Self, TelemetryError> {
        Ok(Self {
            authority: file("CERTIFICATE")?,
            certificate: file("CLIENT_CERTIFICATE")?,
            key: file("CLIENT_KEY")?,
        })
    }

    fn for_grpc(self) -> ClientTlsConfig {
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

    fn for_http(self) -> Result<OnRuntime, reqwest::Error> {
        let mut builder =
            reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = self.authority {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        if let (Some(mut certificate), Some(key)) = (self.certificate, self.key) {
            certificate.push(b'\n');
            certificate.extend(key);
            builder = builder.identity(reqwest::Identity::from_pem(&certificate)?);
        }
        Ok(OnRuntime { client: builder.build()?, runtime: tokio::runtime::Handle::current() })
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

/// The exporter runs on a thread without a runtime, where an async client panics: its requests are made on the daemon's.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for OnRuntime {
    // As `async_trait` writes it.
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sending<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move { send(&client, request).await });
        Box::pin(async move { sending.await? })
    }
}

async fn send(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    let request = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
    let mut answer = request.send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Box::new(ResponseBodyTooLarge::new()));
        }
        body.extend_from_slice(&chunk);
    }
    // Whatever listens there and says 200 has not taken the spans unless it speaks OTLP.
    let kind =
        headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if status.is_success() && !body.is_empty() && !kind.starts_with("application/x-protobuf") {
        return Err(format!("what answered {status} is no OTLP collector: its answer is {kind:?}").into());
    }
    let mut answer = Response::builder().status(status).body(body.freeze())?;
    *answer.headers_mut() = headers;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_collectors_or_that_of_its_traces() {
        for (given, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp", "https://c/otlp/v1/traces"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(given), url);
        }
    }
}
