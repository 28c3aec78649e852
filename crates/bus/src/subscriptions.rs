//! Receiving: one task a topic, clients shared by shards of topics, one bounded sink for all.

mod batch;
mod delivery;
mod health;
mod intake;
mod partitions;
mod shards;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::BusConfig;
pub use delivery::Delivery;
use health::Status;
pub use health::TopicHealth;
use partitions::TopicRoot;
use shards::Shards;

/// Subscribes that are under way at the same time. hazard 5: a broker that must load thousands of topics answers
/// the last ones later than the operation time-out, and one late answer breaks the connection for all on it.
const SUBSCRIBES_AT_A_TIME: usize = 128;

/// A topic to receive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Full name, without a partition.
    pub topic: String,
    /// Deliveries of this topic that may be unsettled at the same time.
    pub permits: usize,
}

pub(crate) struct Shared {
    config: Arc<BusConfig>,
    sink: mpsc::Sender<Delivery>,
    stop: CancellationToken,
    shards: Shards,
    subscribes: Semaphore,
    /// Number of topics of the last plan: it decides how much each may prefetch.
    planned: std::sync::atomic::AtomicUsize,
    statuses: Mutex<HashMap<Arc<str>, Arc<Status>>>,
    tracker: TaskTracker,
}

struct Running {
    permits: usize,
    stop: CancellationToken,
}

pub struct Subscriptions {
    shared: Arc<Shared>,
    running: Mutex<HashMap<String, Running>>,
}

impl Subscriptions {
    /// Receives from `topics` into `sink` until `stop`; then each topic waits for its unsettled deliveries, makes
    /// sure that their acknowledgements left, and closes. [`Subscriptions::drained`] tells when all have.
    pub fn start(
        config: BusConfig,
        topics: Vec<TopicPlan>,
        sink: mpsc::Sender<Delivery>,
        stop: CancellationToken,
    ) -> Self {
        let config = Arc::new(config);
        let tracker = TaskTracker::new();
        let shared = Arc::new(Shared {
            shards: Shards::new(config.clone()),
            config,
            sink,
            stop: stop.clone(),
            subscribes: Semaphore::new(SUBSCRIBES_AT_A_TIME),
            planned: topics.len().into(),
            statuses: Mutex::default(),
            tracker: tracker.clone(),
        });
        let subscriptions = Self { shared, running: Mutex::default() };
        subscriptions.set_topics(topics);
        // From the stop on, no new topic starts and the tracker can become empty.
        tokio::spawn(async move {
            stop.cancelled().await;
            tracker.close();
        });
        subscriptions
    }

    /// Starts what is new, stops what is no longer named, leaves the rest alone. A topic with another number of
    /// permits starts anew.
    pub fn set_topics(&self, topics: Vec<TopicPlan>) {
        if self.shared.stop.is_cancelled() {
            return;
        }
        let wanted: HashMap<String, usize> =
            topics.into_iter().map(|plan| (plan.topic, plan.permits.max(1))).collect();
        self.shared.planned.store(wanted.len(), std::sync::atomic::Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|topic, run| {
            let stays = wanted.get(topic) == Some(&run.permits);
            if !stays {
                run.stop.cancel();
            }
            stays
        });
        for (topic, permits) in wanted {
            running.entry(topic).or_insert_with_key(|topic| {
                let stop = self.shared.stop.child_token();
                let root = TopicRoot::new(self.shared.clone(), topic.as_str().into(), permits, stop.clone());
                self.shared.tracker.spawn(root.run());
                Running { permits, stop }
            });
        }
    }

    /// One entry for each topic or partition that is received from.
    pub fn health(&self) -> Vec<TopicHealth> {
        let statuses = self.shared.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut health: Vec<_> = statuses.values().map(|status| status.health()).collect();
        drop(statuses);
        // Why there is no connection says more than how the last one was lost.
        if let Some(fault) = self.fault() {
            for topic in health.iter_mut().filter(|topic| !topic.connected) {
                topic.trouble = Some(fault.to_string());
            }
        }
        health.sort_by(|a, b| a.topic.cmp(&b.topic));
        health
    }

    /// Why there is no connection to the broker, with what to do about it; `None` while there is one.
    pub fn fault(&self) -> Option<Arc<str>> {
        self.shared.shards.fault()
    }

    /// Drops the topic's consumers (all partitions of it) and subscribes anew.
    pub fn rebuild(&self, topic: &str) {
        let statuses = self.shared.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        for status in statuses.values().filter(|status| status.is(topic)) {
            status.rebuild.notify_one();
        }
    }

    /// Ends when every topic has closed after the stop. The caller sets the limit: unsettled deliveries hold it up.
    pub async fn drained(&self) {
        self.shared.tracker.wait().await;
    }
}

impl Shared {
    fn register(&self, status: &Arc<Status>) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.insert(status.topic.clone(), status.clone());
    }

    fn unregister(&self, status: &Arc<Status>) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        if statuses.get(&status.topic).is_some_and(|present| Arc::ptr_eq(present, status)) {
            statuses.remove(&status.topic);
        }
    }

    fn receive_batch(&self) -> u32 {
        self.config.receive_batch(self.planned.load(std::sync::atomic::Ordering::Relaxed))
    }
}
