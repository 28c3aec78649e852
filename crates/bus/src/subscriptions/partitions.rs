//! From the topic of the plan to the topics that are really received from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::health::Status;
use super::topic::TopicTask;
use crate::detached::{Overdue, detached};
use crate::fault::Fault;
use crate::jitter::Jitter;

/// A topic may get more partitions while it is received from.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// hazard 10: the library's consumer of several topics hides which of them is dead, and its regular expressions
/// find topics late. So every partition is subscribed on its own, with a task of its own.
pub(super) struct TopicRoot {
    shared: Arc<Shared>,
    topic: Arc<str>,
    permits: Arc<Semaphore>,
    total: usize,
    stop: CancellationToken,
    jitter: Jitter,
}

impl TopicRoot {
    pub(super) fn new(shared: Arc<Shared>, topic: Arc<str>, permits: usize, stop: CancellationToken) -> Self {
        let permits_all = Arc::new(Semaphore::new(permits));
        Self { shared, topic, permits: permits_all, total: permits, stop, jitter: Jitter::default() }
    }

    pub(super) async fn run(self) {
        // The topic's health is shown under the topic's own name until its partitions are known.
        let own = self.status(&self.topic);
        self.shared.register(&own);
        let mut known = 0;
        let mut running: HashMap<Arc<str>, Arc<Status>> = HashMap::new();
        let mut attempt = 0;
        while !self.stop.is_cancelled() {
            // What is received from already is not called lost because a later look failed.
            let told = running.is_empty().then_some(&own);
            let pause = match self.count(told.map(|own| &**own)).await {
                Some(partitions) => {
                    attempt = 0;
                    if partitions > 0 {
                        self.shared.unregister(&own);
                    }
                    known = known.max(partitions);
                    self.start_missing(known, &own, &mut running);
                    LOOK_AGAIN.mul_f64(1.0 + self.jitter.fraction(&self.topic))
                }
                None => {
                    attempt += 1;
                    self.jitter.backoff(
                        &self.topic,
                        attempt,
                        Duration::from_millis(250),
                        Duration::from_secs(30),
                    )
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.shared.unregister(&own);
    }

    fn status(&self, name: &Arc<str>) -> Arc<Status> {
        Arc::new(Status::new(name.clone(), self.topic.clone(), self.total))
    }

    fn start_missing(
        &self,
        partitions: u32,
        own: &Arc<Status>,
        running: &mut HashMap<Arc<str>, Arc<Status>>,
    ) {
        let names: Vec<Arc<str>> = match partitions {
            0 => vec![self.topic.clone()],
            n => (0..n).map(|index| format!("{}-partition-{index}", self.topic).into()).collect(),
        };
        for name in names {
            running.entry(name).or_insert_with_key(|name| {
                let status = if *name == self.topic { own.clone() } else { self.status(name) };
                let task = TopicTask::new(
                    self.shared.clone(),
                    status.clone(),
                    self.permits.clone(),
                    self.total,
                    self.stop.clone(),
                );
                self.shared.tracker.spawn(task.run());
                status
            });
        }
    }

    async fn count(&self, told: Option<&Status>) -> Option<u32> {
        // Only while asking: the seats are for consumers.
        let seat = self.shared.shards.seat();
        let lease = tokio::select! {
            () = self.stop.cancelled() => return None,
            lease = seat.keeper().lease() => lease?,
        };
        let _asking = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = lease.gone.cancelled() => return None,
            asking = self.shared.subscribes.acquire() => asking.ok()?,
        };
        let (client, topic) = (lease.client.clone(), self.topic.to_string());
        let deadline = self.shared.config.operation_timeout + self.shared.config.connection_timeout;
        let asked =
            detached(deadline, async move { client.lookup_partitioned_topic_number(topic).await }).await;
        let fault = match asked {
            Ok(Ok(partitions)) => return Some(partitions),
            Ok(Err(error)) => Fault::of(&error),
            Err(Overdue) => Fault::Broken(format!("no answer within {deadline:?}")),
        };
        let (fault_name, error) = (fault.name(), fault.text());
        tracing::warn!(topic = %self.topic, fault = fault_name, error, "cannot ask for the topic's partitions");
        fault.count_refusal();
        if let Some(status) = told {
            status.refused(&fault);
        }
        if matches!(
            fault,
            Fault::Broken(_) | Fault::TimedOut(_) | Fault::Credential(_) | Fault::Certificate(_)
        ) {
            seat.keeper().discard(lease.generation, format!("partitions of {}: {error}", self.topic)).await;
        }
        None
    }
}
