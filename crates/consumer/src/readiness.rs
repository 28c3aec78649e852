//! What readiness says of the subscriptions and of the directory they follow.

use std::sync::Arc;

use bridge_bus::{Subscriptions, TopicHealth};
use bridge_service::Directory;
use bridge_service::health::{Reading, Status};
use tokio::time::Instant;

use crate::heal::Healer;

pub fn read(subscriptions: &Subscriptions, healer: &Healer, directory: &Directory) -> Reading {
    let stuck = healer.stuck();
    let tenants = directory.is_loaded().then(|| directory.snapshot().tenants.len());
    judge(&subscriptions.health(), &stuck, tenants, Instant::now())
}

/// Without it nobody knows which topics there are, and which of them may be fired for.
pub fn directory(directory: &Directory) -> Reading {
    let snapshot = directory.snapshot();
    if !directory.is_loaded() {
        return Reading::now(Status::Down, "the tenants have not been loaded from Postgres yet");
    }
    let detail = format!("{} tenants, revision {}", snapshot.tenants.len(), snapshot.revision);
    Reading::now(Status::Ok, detail)
}

/// `at` is when the worst of it began, or the last sign of life when all is well.
fn judge(topics: &[TopicHealth], stuck: &[Arc<str>], tenants: Option<usize>, now: Instant) -> Reading {
    let lost: Vec<&TopicHealth> = topics.iter().filter(|topic| !topic.connected).collect();
    if let Some(first) = lost.iter().min_by_key(|topic| topic.since) {
        let status = if lost.len() == topics.len() { Status::Down } else { Status::Degraded };
        let trouble = first.trouble.as_deref().unwrap_or("not connected yet");
        let detail =
            format!("{} of {} topics not connected; {}: {trouble}", lost.len(), topics.len(), first.topic);
        return Reading { status, detail, at: first.since };
    }
    if topics.is_empty() {
        let (status, detail) = match tenants {
            // Nothing to receive is no fault: the first tenant is picked up when it is made.
            Some(0) => (Status::Ok, "there is no tenant yet; make one with `bridgectl tenant create`"),
            _ => (Status::Down, "no topic is subscribed yet"),
        };
        return Reading { status, detail: detail.to_owned(), at: now };
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
        let of = |topics: &[TopicHealth], stuck: &[Arc<str>]| judge(topics, stuck, Some(1), now);
        assert_eq!(of(&[], &[]).status, Status::Down);
        assert_eq!(judge(&[], &[], None, now).status, Status::Down);
        assert_eq!(judge(&[], &[], Some(0), now).status, Status::Ok);
        assert_eq!(of(slice::from_ref(&up), &[]).status, Status::Ok);
        assert_eq!(of(&[up.clone(), up.clone()], &["up".into()]).status, Status::Degraded);
        let some = of(&[up, down.clone()], &[]);
        assert_eq!((some.status, some.at), (Status::Degraded, then));
        assert!(some.detail.starts_with("1 of 2 topics not connected; down"), "{}", some.detail);
        assert_eq!(of(&[down], &[]).status, Status::Down);
    }
}
