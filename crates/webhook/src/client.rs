//! The guarded send: one request out, a bounded answer back, and an honest word on how far it got.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use ipnet::IpNet;
use reqwest::{Client, ClientBuilder, Response, redirect, retry};
use url::Url;

use crate::guard::{Guard, Refused};
use crate::result::{FireResult, HttpAnswer, retry_after, text};

/// How the client reaches out. `Default` is what the shipped configuration says.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Below the 5 s after which n8n closes an idle connection: else requests meet a closing socket.
    pub pool_idle_timeout: Duration,
    pub max_idle_per_host: usize,
    /// An answer is read up to here, then cut.
    pub max_answer_bytes: usize,
    pub allow_private: Vec<IpNet>,
    /// Hosts that may be anywhere, as `host` or `host:port`: the operator's own, and those that routes may
    /// name although they are private.
    pub trusted_hosts: HashSet<String>,
    /// What the operator's own URLs begin with: more of their hosts no route may name.
    pub own_urls: Vec<Url>,
    pub user_agent: String,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(4),
            max_idle_per_host: 64,
            max_answer_bytes: 1 << 20,
            allow_private: Vec::new(),
            trusted_hosts: HashSet::new(),
            own_urls: Vec::new(),
            user_agent: concat!("n8n-pulsar-bridge/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the webhook client could not be set up: check the system's certificate store and webhook.* settings"
)]
pub struct WebhookSetupError(#[source] reqwest::Error);

/// One request. `timeout` covers all of it: connecting, sending, waiting, reading.
#[derive(Debug)]
pub struct Fire<'a> {
    pub url: &'a Url,
    pub body: Bytes,
    pub headers: HeaderMap,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct WebhookClient {
    guard: Guard,
    /// Resolves through the guard.
    guarded: Client,
    /// For the hosts that the operator named. A pool of its own: no connection passes from one to the other.
    trusting: Client,
    max_answer_bytes: usize,
}

impl WebhookClient {
    /// Needs the process's TLS provider to be installed.
    pub fn new(config: WebhookConfig) -> Result<Self, WebhookSetupError> {
        let guard = Guard::new(config.allow_private.clone(), config.trusted_hosts.clone())
            .with_own(config.own_urls.clone());
        Self::with_guard(&config, guard)
    }

    /// As `new`, with a guard that may resolve names in its own way.
    pub fn with_guard(config: &WebhookConfig, guard: Guard) -> Result<Self, WebhookSetupError> {
        let guarded = builder(config).dns_resolver(Arc::new(guard.clone())).build();
        let trusting = builder(config).dns_resolver(guard.names()).build();
        Ok(Self {
            guard,
            guarded: guarded.map_err(WebhookSetupError)?,
            trusting: trusting.map_err(WebhookSetupError)?,
            max_answer_bytes: config.max_answer_bytes,
        })
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    pub async fn fire(&self, fire: Fire<'_>) -> FireResult {
        let result = self.send(fire).await;
        if let FireResult::Blocked(refused) = &result {
            // With the address, for the operator.
            tracing::warn!(?refused, "the guard kept a request in");
        }
        result
    }

    async fn send(&self, fire: Fire<'_>) -> FireResult {
        // Again: the URL may have been written down before the rule, or under another configuration.
        if let Err(refused) = self.guard.check_text(fire.url) {
            return FireResult::Blocked(refused);
        }
        let client = if self.guard.trusts(fire.url) { &self.trusting } else { &self.guarded };
        let (body, begun) = WatchedBody::new(fire.body);
        let request = client
            .post(fire.url.clone())
            .headers(fire.headers)
            .timeout(fire.timeout)
            .body(reqwest::Body::wrap(body));
        match request.send().await {
            Ok(response) => self.read(response).await,
            Err(error) => not_answered(&error, begun.load(Ordering::Acquire)),
        }
    }

    async fn read(&self, mut response: Response) -> FireResult {
        let headers = response.headers();
        let mut answer = HttpAnswer {
            status: response.status().as_u16(),
            content_type: text(headers, header::CONTENT_TYPE).map(str::to_owned),
            retry_after: retry_after(headers),
            body: Bytes::new(),
            truncated: false,
        };
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = self.max_answer_bytes - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        answer.truncated = true;
                        break;
                    }
                }
                Ok(None) => break,
                // An error status speaks for itself; half a success is no success.
                Err(_) if answer.status >= 400 => break,
                Err(error) => return FireResult::SentNoAnswer(describe(&error)),
            }
        }
        answer.body = body.freeze();
        FireResult::Answered(answer)
    }
}

fn builder(config: &WebhookConfig) -> ClientBuilder {
    Client::builder()
        .user_agent(&config.user_agent)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.max_idle_per_host)
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
}

/// `begun`: the connection had taken the body, so bytes may have left.
fn not_answered(error: &reqwest::Error, begun: bool) -> FireResult {
    if let Some(refused) = refusal(error) {
        return FireResult::Blocked(refused.clone());
    }
    let text = describe(error);
    if begun { FireResult::SentNoAnswer(text) } else { FireResult::ConnectError(text) }
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}

fn refusal(error: &reqwest::Error) -> Option<&Refused> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The innermost cause says what happened; the outer ones repeat the URL, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let step = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "could not connect"
    } else {
        "the connection failed"
    };
    match causes(error).skip(1).last() {
        Some(cause) => format!("{step}: {cause}"),
        None => step.to_owned(),
    }
}

/// The request's body, which remembers whether a connection ever asked for it. HTTP/1 asks before it
/// writes the first byte of the head, so "never asked" proves that nothing was sent.
struct WatchedBody {
    bytes: Option<Bytes>,
    begun: Arc<AtomicBool>,
}

impl WatchedBody {
    fn new(bytes: Bytes) -> (Self, Arc<AtomicBool>) {
        let begun = Arc::new(AtomicBool::new(false));
        (Self { bytes: Some(bytes), begun: Arc::clone(&begun) }, begun)
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begun.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
