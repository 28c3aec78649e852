//! One client of the broker, kept alive by a task of its own.

use std::sync::Arc;
use std::time::Duration;

use pulsar::{ConnectionRetryOptions, OperationRetryOptions, Pulsar, TokioExecutor};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::auth;
use crate::config::BusConfig;
use crate::detached::{Overdue, detached};
use crate::fault::Fault;
use crate::jitter::Jitter;

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
}

/// Hands out the present client; builds the next one when the present one was thrown away.
#[derive(Clone)]
pub(crate) struct Keeper {
    asks: mpsc::Sender<Ask>,
    generation: watch::Receiver<Option<u64>>,
}

/// Opens one connection to the broker and proves the credential.
pub(crate) async fn connect(config: &BusConfig, outbound: usize) -> Result<Client, Fault> {
    install_crypto();
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
    if let Some(provider) = auth::provider(&config.auth) {
        builder = builder.with_auth_provider(provider);
    }
    // Connecting may look up a name, shake hands and fetch an OAuth2 token before the operation itself.
    let deadline = config.connection_timeout + config.operation_timeout;
    match detached(deadline, builder.build()).await {
        Ok(built) => built.map_err(|error| Fault::of(&error)),
        Err(Overdue) => Err(Fault::TimedOut(format!("no connection within {deadline:?}"))),
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
        outbound: usize,
        stop: CancellationToken,
    ) -> Self {
        let (asks, inbox) = mpsc::channel(1024);
        let (up, generation) = watch::channel(None);
        let task = KeeperTask { name, config, outbound, stop, up, jitter: Jitter::default(), generation: 0 };
        tokio::spawn(task.run(inbox));
        Self { asks, generation }
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

    /// The generation in use, `None` while there is none.
    pub(crate) fn generation(&self) -> watch::Receiver<Option<u64>> {
        self.generation.clone()
    }
}

struct KeeperTask {
    name: Arc<str>,
    config: Arc<BusConfig>,
    outbound: usize,
    stop: CancellationToken,
    up: watch::Sender<Option<u64>>,
    jitter: Jitter,
    generation: u64,
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
            let fault = match connect(&self.config, self.outbound).await {
                Ok(client) => {
                    self.generation += 1;
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
            let (url, error) = (&self.config.service_url, fault.text());
            if matches!(fault, Fault::Credential(_)) {
                tracing::error!(client = %self.name, url, error, "the broker refuses our credential: renew the token or its file; trying again");
            } else if attempt == 0 {
                tracing::warn!(client = %self.name, url, error, "cannot reach the broker; trying until it answers");
            } else {
                tracing::debug!(client = %self.name, url, error, attempt, "cannot reach the broker yet");
            }
            let pause =
                self.jitter.backoff(&self.name, attempt, Duration::from_millis(250), Duration::from_secs(5));
            attempt += 1;
            self.rest(pause).await;
        }
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
