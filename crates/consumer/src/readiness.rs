//! What readiness says of the subscriptions.

use std::sync::Arc;

use bridge_bus::{Subscriptions, TopicHealth};
use bridge_service::health::{Reading, Status};
use tokio::time::Instant;

use crate::heal::Healer;

pub fn read(subscriptions: &Subscriptions, healer: &Healer) -> Reading {
    let stuck = healer.stuck();
    judge(&subscriptions.health(), &stuck, Instant::now())
}

/// `at` is when the worst of it began, or the last sign of life when all is well.
fn judge(topics: &[TopicHealth], stuck: &[Arc<str>], now: Instant) -> Reading {
    let lost: Vec<&TopicHealth> = topics.iter().filter(|topic| !topic.connected).collect();
    if let Some(first) = lost.iter().min_by_key(|topic| topic.since) {
        let status = if lost.len() == topics.len() { Status::Down } else { Status::Degraded };
        let trouble = first.trouble.as_deref().unwrap_or("not connected yet");
        let detail =
            format!("{} of {} topics not connected; {}: {trouble}", lost.len(), topics.len(), first.topic);
        return Reading { status, detail, at: first.since };
    }
    if topics.is_empty() {
        return Reading { status: Status::Down, detail: "no topic is subscribed yet".to_owned(), at: now };
    }
    if let Some(first) = stuck.first() {
        let status = if stuck.len() >= topics.len() { Status::Down } else { Status::Degraded };
        let detail = format!("{} topics have messages that do not arrive, {first} among them", stuck.len());
        return Reading { status, detail, at: now };
    }
    let last = topics.iter().filter_map(|topic| topic.last_receive).max();
    let detail = match last {
        Some(at) => {
            format!("{} topics; last message {} s ago", topics.len(), now.duration_since(at).as_secs())
        }
        None => format!("{} topics; no message yet", topics.len()),
    };
    let at = last.or_else(|| topics.iter().map(|topic| topic.since).max()).unwrap_or(now);
    Reading { status: Status::Ok, detail, at }
}

#[cfg(test)]
mod tests {
    use std::slice;
    use std::time::Duration;

    use super::*;

    fn topic(name: &str, connected: bool, since: Instant) -> TopicHealth {
        TopicHealth {
            topic: name.into(),
            logical: name.into(),
            connected,
            since,
            last_receive: None,
            last_ack: None,
            permits_in_use: 0,
            permits: 1,
            incarnation: 1,
            trouble: None,
        }
    }

    #[test]
    fn the_worst_is_said_first() {
        let then = Instant::now();
        let now = then + Duration::from_secs(9);
        let (up, down) = (topic("up", true, then), topic("down", false, then));
        assert_eq!(judge(&[], &[], now).status, Status::Down);
        assert_eq!(judge(slice::from_ref(&up), &[], now).status, Status::Ok);
        assert_eq!(judge(&[up.clone(), up.clone()], &["up".into()], now).status, Status::Degraded);
        let some = judge(&[up, down.clone()], &[], now);
        assert_eq!((some.status, some.at), (Status::Degraded, then));
        assert!(some.detail.starts_with("1 of 2 topics not connected; down"), "{}", some.detail);
        assert_eq!(judge(&[down], &[], now).status, Status::Down);
    }
}
