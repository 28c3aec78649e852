//! One topic's producer and the jobs that wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pulsar::{Producer, ProducerOptions, TokioExecutor};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::send::{Fate, Health, send};
use super::{Job, PublishError, Shared};
use crate::client::{Client, Leased};
use crate::detached::{Overdue, detached};
use crate::fault::Fault;
use crate::jitter::Jitter;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After a missing right: somebody has to grant it first.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct TopicTask {
    topic: Arc<str>,
    shared: Arc<Shared>,
    /// Half of the whole: a topic whose receipts do not come cannot take every place.
    own_in_flight: Arc<tokio::sync::Semaphore>,
    open: Option<Open>,
    jitter: Jitter,
    failures: u32,
    /// Until then a build is not tried again, and callers get the last answer.
    resting: Option<(Instant, PublishError)>,
    longest_pause: Duration,
}

struct Open {
    /// One for a plain topic, one for each partition otherwise.
    producers: Vec<Producer<TokioExecutor>>,
    next: usize,
    partitioned: bool,
    lease: Leased,
    health: Arc<Health>,
}

impl TopicTask {
    pub(super) fn new(topic: Arc<str>, shared: Arc<Shared>) -> Self {
        let half = (shared.in_flight_limit() / 2).max(1);
        Self {
            topic,
            shared,
            own_in_flight: Arc::new(tokio::sync::Semaphore::new(half)),
            open: None,
            jitter: Jitter::default(),
            failures: 0,
            resting: None,
            longest_pause: LONGEST_PAUSE,
        }
    }

    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let stop = self.shared.stop.clone();
        loop {
            let gone = self.open.as_ref().map(|open| open.lease.gone.clone()).unwrap_or_default();
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = gone.cancelled() => {
                    self.open = None;
                    continue;
                }
                job = jobs.recv() => job,
                () = tokio::time::sleep(self.shared.config.idle_producer) => {
                    if self.shared.leave(&self.topic, &jobs) {
                        return;
                    }
                    continue;
                }
            };
            let Some(job) = job else { break };
            if job.taken.load(Ordering::Acquire) {
                continue;
            }
            if let Err(error) = self.ensure_open().await {
                // Whoever waits for the same producer has the same answer coming.
                answer(job, &error);
                while let Ok(job) = jobs.try_recv() {
                    answer(job, &error);
                }
                continue;
            }
            self.publish(job).await;
        }
        jobs.close();
        while let Ok(job) = jobs.try_recv() {
            answer(job, &PublishError::Closed);
        }
    }

    async fn publish(&mut self, job: Job) {
        // Both only fail when closed, which nobody does.
        let Ok(own) = self.own_in_flight.clone().acquire_owned().await else { return };
        let Ok(global) = self.shared.in_flight.clone().acquire_owned().await else { return };
        if !Job::take(&job.taken) {
            return;
        }
        let Some(open) = self.open.as_mut() else { return answer_taken(job, PublishError::Down) };
        open.next = (open.next + 1) % open.producers.len();
        let partition = open.partitioned.then_some(open.next as i32);
        let producer = &mut open.producers[open.next];
        let fate = Fate { health: open.health.clone(), gone: open.lease.gone.clone() };
        send(&self.shared, producer, partition, job, fate, (own, global)).await;
    }

    async fn ensure_open(&mut self) -> Result<(), PublishError> {
        if let Some(open) = &self.open {
            if !open.lease.gone.is_cancelled() && !open.health.is_sick() {
                return Ok(());
            }
            // Dropping the producers closes them.
            self.open = None;
        }
        if let Some((until, error)) = &self.resting
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match self.build().await {
            Ok(open) => {
                self.open = Some(open);
                self.failures = 0;
                self.resting = None;
                Ok(())
            }
            Err(error) => {
                let pause = self.jitter.backoff(&self.topic, self.failures, FIRST_PAUSE, self.longest_pause);
                self.failures += 1;
                self.resting = Some((Instant::now() + pause, error.clone()));
                Err(error)
            }
        }
    }

    async fn build(&mut self) -> Result<Open, PublishError> {
        let shared = self.shared.clone();
        let _building = shared.builds.acquire().await.map_err(|_| PublishError::Closed)?;
        let lease = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Err(PublishError::Closed),
            lease = shared.keeper.lease() => lease.ok_or(PublishError::Closed)?,
            // Not the library's future: only the place in our own queue is given up.
            () = shared.pulse.down() => return Err(PublishError::Down),
        };
        let beat = shared.pulse.begin();
        let deadline = shared.config.operation_timeout * 2 + shared.config.connection_timeout;
        let built = detached(deadline, open_all(lease.client.clone(), self.topic.clone())).await;
        shared
            .pulse
            .end(beat, !matches!(built, Err(Overdue) | Ok(Err(Fault::Broken(_) | Fault::TimedOut(_)))));
        let fault = match built {
            Ok(Ok((producers, partitioned))) => {
                return Ok(Open { producers, next: 0, partitioned, lease, health: Arc::default() });
            }
            Ok(Err(fault)) => fault,
            Err(Overdue) => Fault::Broken(format!("not opened within {deadline:?}")),
        };
        metrics::counter!("bridge_bus_producer_failures_total", "fault" => fault.name()).increment(1);
        fault.count_refusal();
        tracing::warn!(topic = %self.topic, error = fault.text(), fault = fault.name(), "cannot open a producer");
        self.longest_pause =
            if matches!(fault, Fault::Forbidden(_)) { FORBIDDEN_PAUSE } else { LONGEST_PAUSE };
        match fault {
            Fault::Refused(text) | Fault::Busy(text) => Err(PublishError::Refused(text)),
            Fault::Forbidden(text) => {
                shared.keeper.forbidden(lease.generation).await;
                Err(PublishError::Refused(format!(
                    "our role may not produce to {} ({text}); grant it: bridgectl topics apply",
                    self.topic
                )))
            }
            // hazard 12: a credential is the whole client's. The keeper finds out what is wrong with it, and says so.
            Fault::Credential(text)
            | Fault::Certificate(text)
            | Fault::Undecodable(text)
            | Fault::TimedOut(text)
            | Fault::Broken(text) => {
                let why = format!("the producer of {} could not be opened: {text}", self.topic);
                shared.keeper.discard(lease.generation, why).await;
                Err(PublishError::Down)
            }
        }
    }
}

/// The partitions are opened one by one by us, not by the library's round robin: the receipt does not say which
/// partition a message went to, and its name would differ from the one the consumer sees.
async fn open_all(client: Client, topic: Arc<str>) -> Result<(Vec<Producer<TokioExecutor>>, bool), Fault> {
    let fault = |error: pulsar::Error| Fault::of(&error);
    let partitions = client.lookup_partitioned_topic_number(topic.as_ref()).await.map_err(fault)?;
    let names: Vec<String> = match partitions {
        0 => vec![topic.to_string()],
        n => (0..n).map(|index| format!("{topic}-partition-{index}")).collect(),
    };
    let mut producers = Vec::with_capacity(names.len());
    for name in names {
        // hazard 8: the library's batching keeps one batch in flight and drops delivery times, so no batch options.
        // hazard 11: a fixed producer name would let the broker's deduplication lose messages after a restart,
        // because the sequence starts at 0 again: the broker gives the names.
        let options = ProducerOptions { block_queue_if_full: true, ..ProducerOptions::default() };
        let built = client.producer().with_topic(name).with_options(options).build().await;
        producers.push(built.map_err(fault)?);
    }
    Ok((producers, partitions > 0))
}

fn answer(job: Job, error: &PublishError) {
    if Job::take(&job.taken) {
        answer_taken(job, error.clone());
    }
}

fn answer_taken(job: Job, error: PublishError) {
    // A caller that has left needs no answer.
    drop(job.reply.send(Err(error)));
}
