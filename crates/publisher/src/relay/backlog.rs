//! What still waits in the topics, asked from the broker at most once in a while per topic.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridge_bus::Admin;
use bridge_protocol::Backlog;
use futures::StreamExt;
use tokio::time::Instant;

/// A broker that does not answer must not hold up the timers of other topics.
const ANSWER: Duration = Duration::from_secs(5);
/// Questions to the broker at a time.
const AT_ONCE: usize = 16;

#[derive(Clone)]
pub struct Backlogs {
    admin: Admin,
    subscription: Arc<str>,
    max_age: Duration,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    topics: HashMap<String, (Backlog, Instant)>,
    wanted: HashSet<String>,
}

impl Backlogs {
    pub fn new(admin: Admin, subscription: String, max_age: Duration) -> Self {
        Self { admin, subscription: subscription.into(), max_age, known: Arc::default() }
    }

    /// None: not known freshly enough; it will be by the next round.
    pub fn known(&self, topic: &str) -> Option<Backlog> {
        let mut known = super::lock(&self.known);
        match known.topics.get(topic) {
            Some((backlog, asked)) if asked.elapsed() < self.max_age => Some(*backlog),
            _ => {
                known.wanted.insert(topic.to_owned());
                None
            }
        }
    }

    /// Asks for what was missed. An unanswered question counts as "unknown": then the message is published again.
    pub async fn refresh(&self) -> bool {
        let wanted: Vec<String> = {
            let mut known = super::lock(&self.known);
            let max_age = self.max_age;
            known.topics.retain(|_, (_, asked)| asked.elapsed() < max_age);
            known.wanted.drain().collect()
        };
        if wanted.is_empty() {
            return false;
        }
        let answers: Vec<(String, Backlog)> = futures::stream::iter(wanted)
            .map(|topic| async {
                let unknown = |why: &dyn std::fmt::Display| {
                    tracing::warn!(topic, error = %why, "the backlog is not known; messages of this topic may be published twice");
                    Backlog::Unknown
                };
                let asked = self.admin.backlog(&topic, &self.subscription);
                let backlog = match tokio::time::timeout(ANSWER, asked).await {
                    Ok(Ok(found)) => found.backlog,
                    Ok(Err(error)) => unknown(&error),
                    Err(_) => unknown(&format_args!("the broker did not answer within {ANSWER:?}")),
                };
                (topic, backlog)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let now = Instant::now();
        super::lock(&self.known)
            .topics
            .extend(answers.into_iter().map(|(topic, backlog)| (topic, (backlog, now))));
        true
    }
}
