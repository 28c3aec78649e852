//! A keep-alive HTTP/1.1 connection to this machine, and to no other.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Where to connect and what every request carries.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    base: String,
    host: HeaderValue,
    /// Used in turn, so that a load is spread over as many tenants.
    authorizations: Rc<[HeaderValue]>,
    turn: Rc<Cell<usize>>,
}

impl Target {
    pub async fn resolve(url: &Url, tokens: &[&str]) -> anyhow::Result<Self> {
        if url.scheme() != "http" {
            bail!("{url} is not a plain http URL: the bench talks to daemons on this machine only");
        }
        let host = url.host_str().context("the URL has no host")?;
        let port = url.port_or_known_default().context("the URL has no port")?;
        let mut addresses = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
            .await
            .with_context(|| format!("cannot resolve {host}"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        if !address.ip().is_loopback() {
            bail!("{host} is {address}: load is sent to loopback addresses only");
        }
        let authorizations = tokens.iter().map(|token| bearer(token)).collect::<Result<_, _>>()?;
        let base = url.path().trim_end_matches('/').to_owned();
        let host = HeaderValue::from_str(&format!("{host}:{port}"))?;
        Ok(Self { address, base, host, authorizations, turn: Rc::default() })
    }

    fn authorization(&self) -> Option<&HeaderValue> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        self.authorizations.get(turn.checked_rem(self.authorizations.len())?)
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(self.address))
            .await
            .with_context(|| format!("{} did not accept a connection within 5 s", self.address))?
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // The sender of the next request sees the same failure and reports it.
            let _ended = connection.await;
        });
        Ok(Connection { sender, target: self.clone() })
    }
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .context("the token holds characters that a header cannot carry")?;
    value.set_sensitive(true);
    Ok(value)
}

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

impl Connection {
    pub async fn post_json(&mut self, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        self.send(Method::POST, path, body).await
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.base))
            .header(header::HOST, &self.target.host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = self.target.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body))?;
        timeout(ANSWER_LIMIT, async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error).context("the answer broke off"))?;
            Ok((status, body.to_bytes()))
        })
        .await
        .with_context(|| format!("no answer to {path} within 60 s"))?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_a_target() {
        for refused in ["http://192.0.2.1:80", "https://127.0.0.1:1"] {
            assert!(Target::resolve(&Url::parse(refused).unwrap(), &[]).await.is_err(), "{refused}");
        }
        for taken in ["http://127.0.0.1:8000", "http://[::1]:8000/base/"] {
            assert!(Target::resolve(&Url::parse(taken).unwrap(), &["t"]).await.is_ok(), "{taken}");
        }
    }
}
