//! The collector: OTLP over gRPC or HTTP, with the headers and the TLS that OpenTelemetry's standard variables name.

use super::TelemetryError;
use super::tls::TlsFiles;
use crate::config::{OtlpProtocol, Telemetry, otlp_headers};
use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A collector answers a few bytes.
const LARGEST_ANSWER: usize = 64 << 10;
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Why spans were not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// Whether the same request may be taken later.
    pub(super) later: bool,
    /// So many of them; none: all.
    pub(super) spans: Option<u64>,
}

impl Refusal {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self { why: why.into(), later: true, spans: None }
    }

    pub(super) fn never(why: impl Into<String>) -> Self {
        Self { why: why.into(), later: false, spans: None }
    }
}

pub(super) struct Collector {
    endpoint: String,
    headers: HeaderMap,
    way: Way,
}

enum Way {
    Grpc(Grpc<Channel>),
    Http {
        client: reqwest::Client,
        url: String,
    },
    #[cfg(test)]
    Scripted(tests::Script),
}

impl Collector {
    pub(super) fn new(config: &Telemetry, endpoint: &str) -> Result<Self, TelemetryError> {
        let tls = TlsFiles::read()?;
        let way = match config.otlp_protocol {
            OtlpProtocol::Grpc => {
                let unusable = |source| TelemetryError::Address { endpoint: endpoint.to_owned(), source };
                let mut address = Endpoint::from_shared(endpoint.to_owned())
                    .map_err(unusable)?
                    .connect_timeout(TIMEOUT)
                    .timeout(TIMEOUT);
                if endpoint.starts_with("https://") {
                    address = address.tls_config(tls.for_grpc()).map_err(unusable)?;
                }
                Way::Grpc(Grpc::new(address.connect_lazy()).max_decoding_message_size(LARGEST_ANSWER))
            }
            OtlpProtocol::HttpProtobuf => {
                let builder =
                    reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
                let client = tls
                    .for_http(builder)
                    .and_then(reqwest::ClientBuilder::build)
                    .map_err(|source| TelemetryError::Client { endpoint: endpoint.to_owned(), source })?;
                Way::Http { client, url: traces_url(endpoint) }
            }
        };
        Ok(Self { endpoint: endpoint.to_owned(), headers: headers(config)?, way })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Offers the spans of one request.
    pub(super) async fn take(&self, request: Bytes) -> Result<(), Refusal> {
        let answer = match &self.way {
            Way::Grpc(client) => self.call(client.clone(), request).await?,
            Way::Http { client, url } => self.post(client, url, request).await?,
            #[cfg(test)]
            Way::Scripted(script) => return script.take(request),
        };
        let answer = ExportTraceServiceResponse::decode(answer)
            .map_err(|error| Refusal::never(format!("what answered is no OTLP collector: {error}")))?;
        match answer.partial_success {
            Some(part) if part.rejected_spans > 0 => {
                let spans = part.rejected_spans.unsigned_abs();
                Err(Refusal { spans: Some(spans), ..Refusal::never(part.error_message) })
            }
            _ => Ok(()),
        }
    }

    async fn call(&self, mut client: Grpc<Channel>, request: Bytes) -> Result<Bytes, Refusal> {
        client.ready().await.map_err(|error| Refusal::later(told(&error)))?;
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        match client.unary(request, PathAndQuery::from_static(EXPORT), Raw).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let why = format!("{:?}: {}", status.code(), told(&status));
                // As the protocol's specification has it.
                let later = matches!(
                    status.code(),
                    Code::Cancelled
                        | Code::DeadlineExceeded
                        | Code::Aborted
                        | Code::OutOfRange
                        | Code::Unavailable
                        | Code::DataLoss
                );
                Err(if later { Refusal::later(why) } else { Refusal::never(why) })
            }
        }
    }

    async fn post(&self, client: &reqwest::Client, url: &str, request: Bytes) -> Result<Bytes, Refusal> {
        let asked = client
            .post(url)
            .headers(self.headers.clone())
            .header(http::header::CONTENT_TYPE, "application/x-protobuf")
            .body(request);
        let mut answer = asked.send().await.map_err(|error| Refusal::later(told(&error)))?;
        let status = answer.status();
        if !status.is_success() {
            let later = matches!(status.as_u16(), 429 | 502..=504);
            return Err(Refusal { later, ..Refusal::never(format!("answered {status}")) });
        }
        let kind = answer.headers().get(http::header::CONTENT_TYPE).cloned();
        let mut body = bytes::BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Refusal::never(told(&error)))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Refusal::never("the answer is too long for one of a collector"));
            }
            body.extend_from_slice(&chunk);
        }
        // Whatever listens there and says 200 has not taken the spans unless it speaks OTLP.
        let kind = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !body.is_empty() && !kind.starts_with("application/x-protobuf") {
            return Err(Refusal::never(format!(
                "what answered {status} is no OTLP collector: its answer is {kind:?}"
            )));
        }
        Ok(body.freeze())
    }
}

/// An error with what caused it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The variables name the collector's base address; over HTTP, traces have a path of their own.
fn traces_url(endpoint: &str) -> String {
    const PATH: &str = "/v1/traces";
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

/// The configuration's, and over them those that the standard variables name.
fn headers(config: &Telemetry) -> Result<HeaderMap, TelemetryError> {
    let mut headers = HeaderMap::new();
    let configured = config.otlp_headers.as_ref().map_or("", |headers| headers.expose());
    // What is no header was told when the configuration was checked.
    headers.extend(otlp_headers(configured).filter_map(Result::ok));
    for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        let Ok(text) = std::env::var(variable) else { continue };
        for header in otlp_headers(&text) {
            let (name, value) = header.map_err(|what| TelemetryError::Header { variable, what })?;
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

/// The messages are bytes already.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    type Answers = Box<dyn Iterator<Item = Result<(), Refusal>> + Send>;

    /// Answers in turn, and tells what it was asked.
    pub(super) struct Script {
        answers: Mutex<Answers>,
        asked: mpsc::Sender<Bytes>,
    }

    impl Script {
        pub(super) fn take(&self, request: Bytes) -> Result<(), Refusal> {
            let _unheard = self.asked.try_send(request);
            self.answers.lock().unwrap().next().unwrap()
        }
    }

    impl Collector {
        pub(in crate::telemetry) fn scripted<I>(answers: I) -> (Self, mpsc::Receiver<Bytes>)
        where
            I: IntoIterator<Item = Result<(), Refusal>>,
            I::IntoIter: Send + 'static,
        {
            let (asked, requests) = mpsc::channel(64);
            let script = Script { answers: Mutex::new(Box::new(answers.into_iter())), asked };
            let way = Way::Scripted(script);
            (Self { endpoint: "scripted".to_owned(), headers: HeaderMap::new(), way }, requests)
        }
    }

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
