//! The loop between one consumer and the sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use pulsar::consumer::Message;
use pulsar::proto::MessageIdData;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::batch::{Batches, whole_entry};
use super::delivery::{Delivery, Receipt, Settled, Verdict};
use super::health::{Place, Status};
use super::topic::RawConsumer;
use crate::fault::Fault;

/// hazard 6: the broker sends a refused message again at once, over and over. These pauses are ours; the message
/// keeps its permit meanwhile, so that a caller who refuses everything does not stir the whole backlog.
const NACK_PAUSE: Duration = Duration::from_secs(1);
const DROPPED_PAUSE: Duration = Duration::from_secs(5);
/// How long the last acknowledgements may take to leave.
const FLUSH: Duration = Duration::from_secs(5);

pub(super) enum End {
    Stopped,
    Rebuild,
    ClientGone,
    Lost(String),
}

pub(super) struct Intake<'a> {
    shared: &'a Shared,
    status: Arc<Status>,
    permits: Arc<Semaphore>,
    verdicts: mpsc::Sender<Settled>,
    consumer: RawConsumer,
    incarnation: u64,
    batches: Batches,
    /// To be delivered again, each group in the order of its time.
    nacked: VecDeque<Later>,
    dropped: VecDeque<Later>,
    /// Deliveries of this incarnation that are not settled.
    unsettled: usize,
}

struct Later {
    at: Instant,
    id: MessageIdData,
    _place: Place,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        status: Arc<Status>,
        permits: Arc<Semaphore>,
        verdicts: mpsc::Sender<Settled>,
        consumer: RawConsumer,
        incarnation: u64,
    ) -> Self {
        Self {
            shared,
            status,
            permits,
            verdicts,
            consumer,
            incarnation,
            batches: Batches::default(),
            nacked: VecDeque::new(),
            dropped: VecDeque::new(),
            unsettled: 0,
        }
    }

    /// Moves messages from the consumer to the sink until something ends it.
    ///
    /// hazard 6: what is received and not acknowledged grows to the broker's own limit of 50,000, whatever the batch
    /// size. So a message is read only when a permit is in hand.
    pub(super) async fn receive(
        &mut self,
        settled: &mut mpsc::Receiver<Settled>,
        gone: &CancellationToken,
        stop: &CancellationToken,
    ) -> End {
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut ready: Option<Delivery> = None;
        let status = self.status.clone();
        let permits = self.permits.clone();
        let sink = self.shared.sink.clone();
        loop {
            let again = self.next_again();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    drop((permit, ready));
                    return self.drain(settled, gone).await;
                }
                () = gone.cancelled() => return End::ClientGone,
                () = status.rebuild.notified() => return End::Rebuild,
                Some(verdict) = settled.recv() => {
                    if let Err(why) = self.settle(verdict).await {
                        return End::Lost(why);
                    }
                }
                () = sleep_until(again), if again.is_some() => {
                    if let Err(why) = self.deliver_again().await {
                        return End::Lost(why);
                    }
                }
                place = sink.reserve(), if ready.is_some() => match (place, ready.take()) {
                    (Ok(place), Some(delivery)) => place.send(delivery),
                    // Nobody receives any more; the process is ending.
                    _ => stop.cancelled().await,
                },
                free = permits.clone().acquire_owned(), if permit.is_none() => permit = free.ok(),
                // Polling a stream may be given up at any time; hazard 2 is about building one.
                message = self.consumer.next(), if permit.is_some() && ready.is_none() => match message {
                    Some(Ok(message)) => {
                        // The guard of this branch says that there is one.
                        if let Some(permit) = permit.take() {
                            ready = self.accept(message, permit);
                        }
                    }
                    Some(Err(error)) => match Fault::of(&error) {
                        Fault::Undecodable(why) => self.undecodable(&why),
                        fault => return End::Lost(fault.text().to_owned()),
                    },
                    None => return End::Lost("the consumer ended".to_owned()),
                },
            }
        }
    }

    /// Whatever is in it, the message goes to the caller as it is; only the caller can tell what it is worth.
    fn accept(&mut self, message: Message<Vec<u8>>, permit: OwnedSemaphorePermit) -> Option<Delivery> {
        let place = self.status.received(permit);
        metrics::counter!("bridge_bus_received_total").increment(1);
        let batch_size = message.message_id.batch_size;
        let id = message.message_id.id;
        if self.batches.is_done(&id) {
            return None;
        }
        let metadata = message.payload.metadata;
        let publish_time = i64::try_from(metadata.publish_time)
            .ok()
            .and_then(bridge_protocol::Time::from_timestamp_millis)
            .unwrap_or_default();
        let properties = metadata.properties.into_iter().map(|pair| (pair.key, pair.value)).collect();
        let receipt =
            Receipt { id, batch_size, incarnation: self.incarnation, place, verdicts: self.verdicts.clone() };
        self.unsettled += 1;
        let body = Bytes::from(message.payload.data);
        Some(Delivery::new(self.status.topic.clone(), body, properties, publish_time, receipt))
    }

    /// A batch or a compression that cannot be unpacked: the library gives no id for it, so it can't be
    /// acknowledged. It stays in the backlog and blocks nothing behind it. Resubscribing would only bring it again.
    fn undecodable(&self, why: &str) {
        metrics::counter!("bridge_bus_undecodable_total").increment(1);
        tracing::error!(topic = %self.status.topic, error = why, "an entry cannot be unpacked and stays in the backlog; look at it with the broker's peek and skip it");
    }

    async fn settle(&mut self, settled: Settled) -> Result<(), String> {
        let Settled { verdict, id, batch_size, incarnation, place } = settled;
        if incarnation != self.incarnation {
            // Its consumer is gone, so the broker delivers it again; the claim makes the repeat harmless.
            metrics::counter!("bridge_bus_stale_verdicts_total").increment(1);
            return Ok(());
        }
        self.unsettled = self.unsettled.saturating_sub(1);
        match verdict {
            Verdict::Ack => {
                self.status.acked();
                let Some(id) = self.batches.ack(id, batch_size) else { return Ok(()) };
                let topic = self.status.topic.as_ref();
                let acked = self.consumer.ack_with_id(topic, id).await;
                acked.map_err(|error| format!("cannot acknowledge: {error}"))
            }
            Verdict::Nack => {
                let later = Later { at: Instant::now() + NACK_PAUSE, id, _place: place };
                self.nacked.push_back(later);
                Ok(())
            }
            Verdict::Dropped => {
                metrics::counter!("bridge_bus_dropped_total").increment(1);
                let later = Later { at: Instant::now() + DROPPED_PAUSE, id, _place: place };
                self.dropped.push_back(later);
                Ok(())
            }
        }
    }

    fn next_again(&self) -> Option<Instant> {
        let fronts = [self.nacked.front(), self.dropped.front()];
        fronts.into_iter().flatten().map(|later| later.at).min()
    }

    async fn deliver_again(&mut self) -> Result<(), String> {
        let now = Instant::now();
        for queue in [&mut self.nacked, &mut self.dropped] {
            while queue.front().is_some_and(|later| later.at <= now) {
                let Some(later) = queue.pop_front() else { break };
                // Of a batch, the broker can only send the whole entry again.
                let id = whole_entry(later.id);
                let asked = self.consumer.nack_with_id(self.status.topic.as_ref(), id).await;
                asked.map_err(|error| format!("cannot ask for redelivery: {error}"))?;
            }
        }
        Ok(())
    }

    /// Told to stop: nothing new is read, what is out comes back, and its acknowledgements leave.
    async fn drain(&mut self, settled: &mut mpsc::Receiver<Settled>, gone: &CancellationToken) -> End {
        while self.unsettled > 0 {
            let verdict = tokio::select! {
                biased;
                () = gone.cancelled() => return End::Stopped,
                verdict = settled.recv() => verdict,
            };
            let Some(verdict) = verdict else { return End::Stopped };
            if self.settle(verdict).await.is_err() {
                return End::Stopped;
            }
        }
        self.flush().await;
        End::Stopped
    }

    /// hazard 6: acknowledgements wait behind messages in the library's queue, and stand still while that queue is
    /// full and nobody reads. So read on and throw away (it is unacknowledged and comes again) until a question
    /// that was put behind the acknowledgements is answered.
    async fn flush(&mut self) {
        let deadline = Instant::now() + FLUSH;
        while Instant::now() < deadline {
            // The question goes no further than the library's own task: giving it up is safe.
            let asked = tokio::select! {
                answer = self.consumer.connections() => Some(answer),
                () = tokio::time::sleep(Duration::from_millis(20)) => None,
            };
            if asked.is_some() {
                return;
            }
            while let Some(Some(thrown_away)) = self.consumer.next().now_or_never() {
                drop(thrown_away);
            }
        }
        tracing::warn!(topic = %self.status.topic, "the last acknowledgements may not have left; those messages come again");
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
