//! Publishing: one task a topic, one client for all of them, apart from the consumers' clients.

mod pulse;
mod send;
mod topic;
mod watchdog;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::auth::Credentials;
use crate::client::Keeper;
use crate::config::BusConfig;
use crate::message_id::MessageId;
use pulse::Pulse;
use topic::TopicTask;

/// Callers that may wait in the topics' queues, as a multiple of the messages in flight.
const WAITING_PER_IN_FLIGHT: usize = 16;
/// Producers that are being built at the same time: a broker loads cold topics slowly.
const BUILDS_AT_A_TIME: usize = 64;

/// A message to publish; the topic is named beside it.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub body: String,
    pub properties: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("the broker cannot be reached, nothing was sent; publish again later")]
    Down,
    #[error("the broker did not confirm in time, the message may be there; publish it again")]
    TimedOut,
    #[error("the broker refused: {0}")]
    Refused(String),
    #[error("the bus is closed, this process is stopping")]
    Closed,
}

impl PublishError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::TimedOut => "timed_out",
            Self::Refused(_) => "refused",
            Self::Closed => "closed",
        }
    }
}

type Reply = Result<MessageId, PublishError>;

struct Job {
    outgoing: Outgoing,
    reply: oneshot::Sender<Reply>,
    /// Set by whoever comes first: the topic's task that sends it, or the caller that gives up.
    taken: Arc<AtomicBool>,
    _waiting: OwnedSemaphorePermit,
}

impl Job {
    fn take(taken: &AtomicBool) -> bool {
        !taken.swap(true, Ordering::AcqRel)
    }
}

struct Shared {
    config: Arc<BusConfig>,
    credentials: Credentials,
    keeper: Keeper,
    stop: CancellationToken,
    /// hazard 7: the library bounds neither messages nor memory (27 kB each in flight); this does.
    in_flight: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    builds: Arc<Semaphore>,
    topics: Mutex<HashMap<Arc<str>, mpsc::Sender<Job>>>,
    pulse: Pulse,
}

#[derive(Clone)]
pub struct Producers {
    shared: Arc<Shared>,
}

impl Producers {
    /// Connects in the background and stays connected until `stop`.
    pub fn start(config: BusConfig, stop: CancellationToken) -> Self {
        let config = Arc::new(config);
        // hazard 5: one unanswered request breaks the connection for everyone on it, so producing and consuming
        // never share a client.
        let in_flight = config.produce_in_flight.max(1);
        let credentials = config.credentials();
        let keeper = Keeper::start(
            "producers".into(),
            config.clone(),
            credentials.clone(),
            in_flight * 2,
            stop.clone(),
        );
        let shared = Arc::new(Shared {
            credentials,
            keeper,
            stop,
            in_flight: Arc::new(Semaphore::new(in_flight)),
            waiting: Arc::new(Semaphore::new(in_flight * WAITING_PER_IN_FLIGHT)),
            builds: Arc::new(Semaphore::new(BUILDS_AT_A_TIME)),
            topics: Mutex::default(),
            pulse: Pulse::default(),
            config,
        });
        tokio::spawn(watchdog::run(shared.clone()));
        Self { shared }
    }

    /// The last known state of the broker; asks nobody.
    pub fn is_up(&self) -> bool {
        self.shared.pulse.is_up()
    }

    /// Why there is no connection to the broker, with what to do about it; `None` while there is one.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.shared.keeper.fault()
    }

    /// Publishes and waits for the broker's receipt.
    ///
    /// Thousands may call at once. The caller may stop waiting at any time: the message is then sent or not. While
    /// the broker is down this answers [`PublishError::Down`] at once, and it never waits longer than the time-outs
    /// of a build, a send and a receipt together.
    pub async fn publish(&self, topic: &str, outgoing: Outgoing) -> Result<MessageId, PublishError> {
        let started = tokio::time::Instant::now();
        let result = self.publish_inner(topic, outgoing).await;
        let outcome = result.as_ref().map_or_else(PublishError::outcome, |_| "receipted");
        metrics::counter!("bridge_bus_publishes_total", "outcome" => outcome).increment(1);
        metrics::histogram!("bridge_bus_publish_seconds").record(started.elapsed().as_secs_f64());
        result
    }

    async fn publish_inner(&self, topic: &str, outgoing: Outgoing) -> Reply {
        let shared = &self.shared;
        let limit =
            tokio::time::sleep(shared.config.operation_timeout * 2 + shared.config.connection_timeout);
        tokio::pin!(limit);
        let waiting = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Err(PublishError::Closed),
            () = shared.pulse.down() => return Err(PublishError::Down),
            waiting = shared.waiting.clone().acquire_owned() => waiting.map_err(|_| PublishError::Closed)?,
            () = &mut limit => return Err(PublishError::TimedOut),
        };
        let (reply, mut answer) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        self.enqueue(topic, Job { outgoing, reply, taken: taken.clone(), _waiting: waiting })?;

        let given_up = tokio::select! {
            biased;
            reply = &mut answer => return reply.unwrap_or(Err(PublishError::Closed)),
            () = shared.pulse.down() => PublishError::Down,
            () = &mut limit => PublishError::TimedOut,
        };
        if Job::take(&taken) {
            return Err(given_up);
        }
        // It is on its way already: only its receipt, or the lack of it, says how that ended.
        tokio::select! {
            biased;
            reply = &mut answer => reply.unwrap_or(Err(PublishError::TimedOut)),
            () = &mut limit => Err(PublishError::TimedOut),
        }
    }

    /// Puts the job before its topic's task, which is made here when there is none: under one lock, so that two
    /// callers never build the same producer twice.
    fn enqueue(&self, topic: &str, job: Job) -> Result<(), PublishError> {
        let mut topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match topics.get(topic) {
            None => job,
            Some(queue) => match queue.try_send(job) {
                Ok(()) => return Ok(()),
                // Its task has died; a new one takes over.
                Err(TrySendError::Closed(job)) => job,
                Err(TrySendError::Full(_)) => return Err(PublishError::Down),
            },
        };
        let topic: Arc<str> = topic.into();
        // As long as the permits to wait, so it cannot be full.
        let (queue, jobs) = mpsc::channel(self.shared.in_flight_limit() * WAITING_PER_IN_FLIGHT);
        queue.try_send(job).map_err(|_| PublishError::Closed)?;
        topics.insert(topic.clone(), queue);
        metrics::gauge!("bridge_bus_producers").set(topics.len() as f64);
        tokio::spawn(TopicTask::new(topic, self.shared.clone()).run(jobs));
        Ok(())
    }
}

impl Shared {
    fn in_flight_limit(&self) -> usize {
        self.config.produce_in_flight.max(1)
    }

    /// Forgets an idle topic, unless a job came in just now.
    fn leave(&self, topic: &Arc<str>, jobs: &mpsc::Receiver<Job>) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !jobs.is_empty() {
            return false;
        }
        topics.remove(topic);
        metrics::gauge!("bridge_bus_producers").set(topics.len() as f64);
        true
    }
}
