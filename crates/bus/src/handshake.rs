//! Why a connection fails. The client library says "fatal error" for a refused credential, a wrong certificate and an
//! unknown host alike, so after a failure the first steps are gone once more by ourselves.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use pulsar::error::ConnectionError;
use pulsar::message::proto::{BaseCommand, CommandConnect, ServerError, base_command};
use pulsar::message::{Codec, Message};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use crate::auth::chain;
use crate::fault::Fault;

/// The version the library speaks.
const PROTOCOL: i32 = 12;

pub(crate) struct Attempt<'a> {
    pub(crate) service_url: &'a str,
    pub(crate) token: Option<String>,
    pub(crate) authorities: &'a [CertificateDer<'static>],
    /// What the configuration asks for; the library does so always.
    pub(crate) limit: Duration,
}

/// `None` when nothing was wrong this time.
pub(crate) async fn why(attempt: Attempt<'_>) -> Option<Fault> {
    let limit = attempt.limit;
    // Nothing here is the library's: it may be given up at any time.
    match tokio::time::timeout(limit, greet(attempt)).await {
        Ok(met) => met.err(),
        Err(_) => Some(Fault::TimedOut(format!("no connection within {limit:?}"))),
    }
}

async fn greet(attempt: Attempt<'_>) -> Result<(), Fault> {
    let url = url::Url::parse(attempt.service_url)
        .map_err(|error| Fault::Broken(format!("{} is no URL: {error}", attempt.service_url)))?;
    let encrypted = url.scheme() == "pulsar+ssl";
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(if encrypted { 6651 } else { 6650 });
    let broken = |error: &dyn std::error::Error| Fault::Broken(chain(error));
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| broken(&error))?;
    if !encrypted {
        return introduce(stream, attempt.token).await;
    }
    let mut roots = RootCertStore::empty();
    for one in attempt.authorities {
        roots.add(one.clone()).map_err(|error| Fault::Certificate(error.to_string()))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.clone()).map_err(|error| broken(&error))?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    match connector.connect(name, stream).await {
        Ok(stream) => introduce(stream, attempt.token).await,
        Err(error) => Err(refused_certificate(&host, &error)),
    }
}

fn refused_certificate(host: &str, error: &std::io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = inner else { return Fault::Broken(chain(error)) };
    use CertificateError as C;
    let remedy = match tls {
        rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            "name the authority that signed it in pulsar.tls_ca_file"
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "use a name in pulsar.service_url that the certificate is for"
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "the broker needs a new certificate"
        }
        rustls::Error::InvalidCertificate(_) => "the broker needs another certificate",
        _ => "check that the port of pulsar.service_url is the broker's TLS port",
    };
    Fault::Certificate(format!("we do not trust {host}: {tls}; {remedy}"))
}

async fn introduce(stream: impl AsyncRead + AsyncWrite + Unpin, token: Option<String>) -> Result<(), Fault> {
    let mut broker = Framed::new(stream, Codec);
    let connect = CommandConnect {
        auth_method_name: token.is_some().then(|| "token".to_owned()),
        auth_data: token.map(String::into_bytes),
        client_version: "bridge".to_owned(),
        protocol_version: Some(PROTOCOL),
        ..CommandConnect::default()
    };
    let command = BaseCommand {
        r#type: base_command::Type::Connect as i32,
        connect: Some(connect),
        ..BaseCommand::default()
    };
    let lost = |error: ConnectionError| Fault::Broken(error.to_string());
    broker.send(Message { command, payload: None }).await.map_err(lost)?;
    let answer = broker.next().await.unwrap_or(Err(ConnectionError::Disconnected)).map_err(lost)?;
    let Some(error) = answer.command.error else { return Ok(()) };
    match ServerError::try_from(error.error) {
        Ok(ServerError::AuthenticationError) => Err(Fault::Credential(error.message)),
        Ok(ServerError::AuthorizationError) => Err(Fault::Forbidden(error.message)),
        _ => Err(Fault::Broken(error.message)),
    }
}
