//! One topic's consumer: subscribed, watched, subscribed again.

use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;
use pulsar::{Consumer, ConsumerOptions, SubType, TokioExecutor};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::delivery::Settled;
use super::health::Status;
use super::intake::{End, Intake};
use super::shards::Seat;
use crate::client::{Client, Leased};
use crate::detached::{Overdue, detached};
use crate::fault::Fault;
use crate::jitter::Jitter;

/// The consumer that the library gives; we read the bytes ourselves.
pub(super) type RawConsumer = Consumer<Vec<u8>, TokioExecutor>;

/// A consumer that lived this long was sound: the next failure starts from a short pause again.
const SOUND: Duration = Duration::from_secs(60);

pub(super) struct TopicTask {
    shared: Arc<Shared>,
    status: Arc<Status>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    verdicts: (mpsc::Sender<Settled>, mpsc::Receiver<Settled>),
    jitter: Jitter,
    failures: u32,
}

impl TopicTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        status: Arc<Status>,
        permits: Arc<Semaphore>,
        total: usize,
        stop: CancellationToken,
    ) -> Self {
        let verdicts = mpsc::channel(total);
        Self { shared, status, permits, stop, verdicts, jitter: Jitter::default(), failures: 0 }
    }

    pub(super) async fn run(mut self) {
        self.shared.register(&self.status);
        let seat = self.shared.shards.seat();
        while !self.stop.is_cancelled() {
            let Some((consumer, lease)) = self.subscribe(&seat).await else { continue };
            let incarnation = self.status.connected();
            let since = Instant::now();
            tracing::info!(topic = %self.status.topic, incarnation, "subscribed");
            let mut intake = Intake::new(
                &self.shared,
                self.status.clone(),
                self.permits.clone(),
                self.verdicts.0.clone(),
                consumer,
                incarnation,
            );
            let end = intake.receive(&mut self.verdicts.1, &lease.gone, &self.stop).await;
            if since.elapsed() > SOUND {
                self.failures = 0;
            }
            let why = match end {
                End::Stopped => break,
                End::Rebuild => "rebuild was asked for".to_owned(),
                End::ClientGone => "its client was thrown away".to_owned(),
                // hazard 4: after one error the library's consumer may stay silent for ever, or end.
                End::Lost(why) => {
                    if seat.too_many_ended(lease.generation) {
                        seat.keeper()
                            .discard(lease.generation, format!("many consumers ended, last: {why}"))
                            .await;
                    }
                    why
                }
            };
            drop(intake);
            self.status.disconnected(&why);
            metrics::counter!("bridge_bus_consumers_lost_total").increment(1);
            tracing::warn!(topic = %self.status.topic, incarnation, why, "consumer lost, subscribing again");
            self.rest(Duration::from_secs(5)).await;
        }
        self.status.disconnected("stopped");
        self.shared.unregister(&self.status);
    }

    /// Waits, longer after each failure in a row, and not in step with the other topics.
    async fn rest(&mut self, longest: Duration) {
        let base = Duration::from_millis(100);
        let pause = self.jitter.backoff(&self.status.topic, self.failures, base, longest);
        self.failures += 1;
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    async fn subscribe(&mut self, seat: &Seat) -> Option<(RawConsumer, Leased)> {
        // First the client and then the place in the queue, or one shard without a broker would block the others.
        let lease = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            lease = seat.keeper().lease() => lease?,
        };
        let asking = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            () = lease.gone.cancelled() => return None,
            asking = self.shared.subscribes.acquire() => asking.ok()?,
        };
        let config = &self.shared.config;
        let deadline = config.operation_timeout * 2 + config.connection_timeout;
        let work = subscribe(
            lease.client.clone(),
            self.status.topic.to_string(),
            config.subscription.clone(),
            self.shared.receive_batch(),
        );
        let done = detached(deadline, work).await;
        drop(asking);
        let fault = match done {
            Ok(Ok(consumer)) => return Some((consumer, lease)),
            Ok(Err(fault)) => fault,
            Err(Overdue) => Fault::Broken(format!("not subscribed within {deadline:?}")),
        };
        let (fault_name, error) = (fault.name(), fault.text());
        metrics::counter!("bridge_bus_subscribe_failures_total", "fault" => fault_name).increment(1);
        if self.failures == 0 {
            tracing::warn!(topic = %self.status.topic, fault = fault_name, error, "cannot subscribe; trying again");
        } else {
            tracing::debug!(topic = %self.status.topic, fault = fault_name, error, "cannot subscribe yet");
        }
        self.status.refused(&fault);
        fault.count_refusal();
        match fault {
            // Somebody must create the topic or grant the right first.
            Fault::Refused(_) => self.rest(Duration::from_secs(30)).await,
            Fault::Forbidden(_) => {
                seat.keeper().forbidden(lease.generation).await;
                self.rest(Duration::from_secs(10)).await;
            }
            Fault::Busy(_) | Fault::Undecodable(_) => self.rest(Duration::from_secs(5)).await,
            // hazard 12: a credential is the whole client's. Its keeper finds out what is wrong, and says so.
            Fault::Credential(_) | Fault::Certificate(_) | Fault::TimedOut(_) | Fault::Broken(_) => {
                let why = format!("subscribing to {} failed: {}", self.status.topic, fault.text());
                seat.keeper().discard(lease.generation, why).await;
                self.rest(Duration::from_secs(5)).await;
            }
        }
        None
    }
}

async fn subscribe(
    client: Client,
    topic: String,
    subscription: String,
    batch: u32,
) -> Result<RawConsumer, Fault> {
    let options = ConsumerOptions {
        // hazard 10: the default is Latest, which skips what was published before. Provisioning creates the
        // subscription first; this is for a topic that was made anew behind our back.
        initial_position: InitialPosition::Earliest,
        durable: Some(true),
        // The library asks for more as soon as it has put half a batch into this queue: one batch bounds it.
        receiver_queue_size: Some(batch),
        ..ConsumerOptions::default()
    };
    client
        .consumer()
        .with_topic(topic)
        .with_subscription(subscription)
        .with_subscription_type(SubType::Shared)
        .with_batch_size(batch)
        .with_options(options)
        // hazard 6: neither the library's dead-letter policy (it loses the metadata) nor its redelivery of what is
        // unacknowledged for long (a slow webhook is not lost): attempts and retries are rows in Postgres.
        .build()
        .await
        .map_err(|error| Fault::of(&error))
}
