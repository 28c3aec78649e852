//! What of a topic a subscription has not acknowledged yet.

use std::collections::HashMap;

use bridge_protocol::{Backlog, Time};
use serde::Deserialize;

use super::objects::path;
use super::{Admin, AdminError};

/// The backlog and how many messages it has, delivered but unacknowledged ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicBacklog {
    pub backlog: Backlog,
    /// Entries: a foreign batch counts as one.
    pub count: u64,
    /// Delivered to a consumer and not yet acknowledged.
    pub unacked: u64,
    /// Consumers that are connected to the subscription now.
    pub consumers: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    subscriptions: HashMap<String, Subscription>,
    #[serde(default)]
    partitions: HashMap<String, Stats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    msg_backlog: i64,
    #[serde(default)]
    earliest_msg_publish_time_in_backlog: i64,
    #[serde(default)]
    unacked_messages: i64,
    #[serde(default)]
    consumers: Vec<serde::de::IgnoredAny>,
}

const WANTED: &str = "getPreciseBacklog=true&getEarliestTimeInBacklog=true&subscriptionBacklogSize=false";

impl Admin {
    /// Works for plain topics, single partitions, and partitioned topics as a whole.
    pub async fn backlog(&self, topic: &str, subscription: &str) -> Result<TopicBacklog, AdminError> {
        let verb = "read the backlog of";
        let plain: Option<Stats> = self.find(verb, topic, path(topic, &format!("/stats?{WANTED}"))?).await?;
        if let Some(stats) = plain {
            return Ok(sum([&stats].into_iter(), subscription));
        }
        // The sum over the partitions is made here: the broker's own shows an empty partition's "no time" as 0.
        let whole = path(topic, &format!("/partitioned-stats?perPartition=true&{WANTED}"))?;
        let stats: Stats = self.read(verb, topic, whole).await?;
        Ok(sum(stats.partitions.values(), subscription))
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a Stats>, name: &str) -> TopicBacklog {
    let mut total = TopicBacklog { backlog: Backlog::Empty, count: 0, unacked: 0, consumers: 0 };
    let mut asked = 0;
    for part in parts {
        asked += 1;
        let Some(subscription) = part.subscriptions.get(name) else {
            // Nothing is kept for us there, so nothing can be said of what was published.
            total.backlog = Backlog::Unknown;
            continue;
        };
        let count = u64::try_from(subscription.msg_backlog).unwrap_or(0);
        total.count += count;
        total.unacked += u64::try_from(subscription.unacked_messages).unwrap_or(0);
        total.consumers += subscription.consumers.len();
        if count == 0 {
            continue;
        }
        let at = subscription.earliest_msg_publish_time_in_backlog;
        let earliest = Time::from_timestamp_millis(at).filter(|_| at > 0);
        total.backlog = match (total.backlog, earliest) {
            (Backlog::Unknown, _) | (_, None) => Backlog::Unknown,
            (Backlog::Empty, Some(at)) => Backlog::Since(at),
            (Backlog::Since(other), Some(at)) => Backlog::Since(other.min(at)),
        };
    }
    if asked == 0 {
        total.backlog = Backlog::Unknown;
    }
    total
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn stats(backlog: i64, earliest: i64) -> Stats {
        let text = format!(
            r#"{{"subscriptions":{{"s":{{"msgBacklog":{backlog},"earliestMsgPublishTimeInBacklog":{earliest}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_empty_backlog_is_empty_whatever_its_time() {
        assert_eq!(sum([&stats(0, -1)].into_iter(), "s").backlog, Backlog::Empty);
        assert_eq!(sum([&stats(0, 5)].into_iter(), "s").backlog, Backlog::Empty);
    }

    #[test]
    fn the_earliest_of_all_partitions_counts() {
        let (a, b, c) = (stats(2, 2000), stats(0, -1), stats(1, 1000));
        let total = sum([&a, &b, &c].into_iter(), "s");
        assert_eq!(total.backlog, Backlog::Since(Time::from_timestamp_millis(1000).unwrap()));
        assert_eq!(total.count, 3);
    }

    #[test]
    fn what_is_not_known_is_not_called_empty() {
        assert_eq!(sum([&stats(1, 0)].into_iter(), "s").backlog, Backlog::Unknown);
        assert_eq!(sum([&stats(0, -1)].into_iter(), "other").backlog, Backlog::Unknown);
        assert_eq!(sum(std::iter::empty(), "s").backlog, Backlog::Unknown);
    }
}
