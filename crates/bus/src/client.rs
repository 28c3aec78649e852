//! One client of the broker, kept alive by a task of its own.

use std::sync::Arc;
use std::time::Duration;

use pulsar::{ConnectionRetryOptions, OperationRetryOptions, Pulsar, TokioExecutor};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::{Credentials, chain};
use crate::config::BusConfig;
use crate::detached::{Overdue, detached};
use crate::fault::Fault;
use crate::handshake;
use crate::jitter::Jitter;
use crate::tls;

pub(crate) type Client = Pulsar<TokioExecutor>;

/// A client and the generation it belongs to.
#[derive(Clone)]
pub(crate) struct Leased {
    pub(crate) client: Client,
    pub(crate) generation: u64,
    /// Cancelled when this generation is thrown away: whatever was built on it goes with it.
    pub(crate) gone: CancellationToken,
}

enum Ask {
    Lease(oneshot::Sender<Leased>),
    Discard { generation: u64, why: String },
    Forbidden { generation: u64 },
}

/// Hands out the present client; builds the next one when the present one was thrown away.
#[derive(Clone)]
pub(crate) struct Keeper {
    asks: mpsc::Sender<Ask>,
    generation: watch::Receiver<Option<u64>>,
    fault: watch::Receiver<Option<Arc<str>>>,
}

/// Opens one connection to the broker and proves the credential; the token it was proved with.
pub(crate) async fn connect(
    config: &BusConfig,
    credentials: &Credentials,
    outbound: usize,
) -> Result<(Client, Option<String>), Fault> {
    install_crypto();
    // Asked for beforehand, because the library hides why there is none.
    let token = credentials.token().await.map_err(|error| Fault::Credential(error.told()))?;
    let authorities = if config.service_url.starts_with("pulsar+ssl:") {
        config.tls.clone().authorities().await.map_err(|error| Fault::Certificate(chain(&error)))?
    } else {
        Vec::new()
    };
    let mut builder = Pulsar::builder(config.service_url.clone(), TokioExecutor)
        .with_connection_retry_options(ConnectionRetryOptions {
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            // hazard 3: after a lost connection every producer and consumer of a client may open a connection of
            // its own, thousands at once, and keep it. Retries are ours: no retry inside, one rebuild from outside.
            max_retries: 0,
            connection_timeout: config.connection_timeout,
            keep_alive: config.keep_alive,
            ..ConnectionRetryOptions::default()
        })
        .with_operation_retry_options(OperationRetryOptions {
            operation_timeout: config.operation_timeout,
            retry_delay: Duration::from_millis(500),
            // The default is to retry for ever inside the library, out of our sight.
            max_retries: Some(0),
        })
        .with_outbound_channel_size(outbound);
    if !authorities.is_empty() {
        // The library adds them to the public ones it has built in, and it always verifies the host's name.
        builder = builder.with_certificate_chain(tls::pem(&authorities));
    }
    if let Some(provider) = credentials.provider() {
        builder = builder.with_auth_provider(provider);
    }
    // Connecting may look up a name, shake hands and fetch an OAuth2 token before the operation itself.
    let deadline = config.connection_timeout + config.operation_timeout;
    let fault = match detached(deadline, builder.build()).await {
        Ok(Ok(client)) => return Ok((client, token)),
        Ok(Err(error)) => Fault::of(&error),
        Err(Overdue) => return Err(Fault::TimedOut(format!("no connection within {deadline:?}"))),
    };
    let attempt = handshake::Attempt {
        service_url: &config.service_url,
        token,
        authorities: &authorities,
        limit: config.connection_timeout,
    };
    match handshake::why(attempt).await.unwrap_or(fault) {
        Fault::Credential(text) => {
            credentials.refused();
            Err(Fault::Credential(format!("it says: {text}; {}", credentials.remedy())))
        }
        other => Err(other),
    }
}

/// The TLS library wants one provider for the whole process; a second call changes nothing.
pub(crate) fn install_crypto() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

impl Keeper {
    pub(crate) fn start(
        name: Arc<str>,
        config: Arc<BusConfig>,
        credentials: Credentials,
        outbound: usize,
        stop: CancellationToken,
    ) -> Self {
        let (asks, inbox) = mpsc::channel(1024);
        let (up, generation) = watch::channel(None);
        let (told, fault) = watch::channel(None);
        let task = KeeperTask {
            name,
            config,
            credentials,
            outbound,
            stop,
            up,
            told,
            jitter: Jitter::default(),
            generation: 0,
            token: None,
        };
        tokio::spawn(task.run(inbox));
        Self { asks, generation, fault }
    }

    /// Why there is no client, in words for the operator; `None` while there is one.
    pub(crate) fn fault(&self) -> Option<Arc<str>> {
        self.fault.borrow().clone()
    }

    /// Waits until there is a client; `None` when the keeper has stopped.
    pub(crate) async fn lease(&self) -> Option<Leased> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Lease(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Throws this generation away, with everything built on it. An older generation is gone already.
    pub(crate) async fn discard(&self, generation: u64, why: String) {
        // The keeper only stops when the process does.
        let _stopped = self.asks.send(Ask::Discard { generation, why }).await;
    }

    /// Our role may not do something on this generation. When another token has been put in place meanwhile, its role
    /// may: the connection keeps the old one's, so it is made anew.
    pub(crate) async fn forbidden(&self, generation: u64) {
        let _stopped = self.asks.send(Ask::Forbidden { generation }).await;
    }

    /// The generation in use, `None` while there is none.
    pub(crate) fn generation(&self) -> watch::Receiver<Option<u64>> {
        self.generation.clone()
    }
}

struct KeeperTask {
    name: Arc<str>,
    config: Arc<BusConfig>,
    credentials: Credentials,
    outbound: usize,
    stop: CancellationToken,
    up: watch::Sender<Option<u64>>,
    told: watch::Sender<Option<Arc<str>>>,
    jitter: Jitter,
    generation: u64,
    /// What the present client logged in with.
    token: Option<String>,
}

impl KeeperTask {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        while let Some(lease) = self.build().await {
            self.up.send_replace(Some(lease.generation));
            let why = self.serve(&lease, &mut inbox).await;
            lease.gone.cancel();
            self.up.send_replace(None);
            let Some(why) = why else { return };
            metrics::counter!("bridge_bus_client_rebuilds_total").increment(1);
            tracing::warn!(client = %self.name, generation = self.generation, why, "broker client thrown away");
            self.rest(self.jitter.within((&self.name, self.generation), Duration::from_secs(1))).await;
        }
    }

    /// Answers leases until this generation is thrown away (`Some(why)`) or all is over (`None`).
    async fn serve(&self, lease: &Leased, inbox: &mut mpsc::Receiver<Ask>) -> Option<String> {
        loop {
            let ask = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                ask = inbox.recv() => ask?,
            };
            match ask {
                // One who no longer waits needs no answer.
                Ask::Lease(reply) => drop(reply.send(lease.clone())),
                Ask::Discard { generation, why } if generation == lease.generation => return Some(why),
                Ask::Discard { .. } => {}
                Ask::Forbidden { generation } if generation == lease.generation => {
                    // Without a token to be had there is nothing to try.
                    if self.credentials.token().await.is_ok_and(|token| token != self.token) {
                        return Some("its role lacks a right, and another token is in place now".to_owned());
                    }
                }
                Ask::Forbidden { .. } => {}
            }
        }
    }

    /// Tries until there is a connection; `None` when told to stop.
    async fn build(&mut self) -> Option<Leased> {
        let mut attempt = 0;
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            let fault = match connect(&self.config, &self.credentials, self.outbound).await {
                Ok((client, token)) => {
                    self.generation += 1;
                    self.token = token;
                    self.told.send_replace(None);
                    tracing::info!(client = %self.name, generation = self.generation, "connected to the broker");
                    return Some(Leased {
                        client,
                        generation: self.generation,
                        gone: CancellationToken::new(),
                    });
                }
                Err(fault) => fault,
            };
            metrics::counter!("bridge_bus_connect_failures_total", "fault" => fault.name()).increment(1);
            fault.count_refusal();
            self.tell(&fault, attempt);
            let pause =
                self.jitter.backoff(&self.name, attempt, Duration::from_millis(250), Duration::from_secs(5));
            attempt += 1;
            self.rest(pause).await;
        }
    }

    /// Loud when somebody has to do something, and again when the reason changes.
    fn tell(&self, fault: &Fault, attempt: u32) {
        let words = match fault {
            Fault::Credential(text) => format!("the broker does not let us in: {text}"),
            Fault::Certificate(text) => text.clone(),
            other => format!("no connection to the broker: {}", other.text()),
        };
        let news = self.told.send_if_modified(|told| {
            let news = told.as_deref() != Some(words.as_str());
            *told = Some(words.as_str().into());
            news
        });
        let url = &self.config.service_url;
        match fault {
            // Every half minute, for whoever looks at the log's end.
            Fault::Credential(_) | Fault::Certificate(_) if news || attempt.is_multiple_of(6) => {
                tracing::error!(client = %self.name, url, error = words, "trying again");
            }
            _ if attempt == 0 => {
                tracing::warn!(client = %self.name, url, error = words, "trying until it answers")
            }
            _ => {
                tracing::debug!(client = %self.name, url, error = words, attempt, "cannot reach the broker yet")
            }
        }
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
