//! Which topics receive nothing although they could, and since when. Knows no broker and asks nobody:
//! it is told what was seen and says what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bridge_bus::{TopicBacklog, TopicHealth};
use bridge_protocol::Backlog;
use tokio::time::Instant;

/// What the broker says of a topic that we believe to be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that are in nobody's hands.
    messages: u64,
    earliest: Backlog,
    /// The broker knows of no consumer, not even of ours.
    forgotten: bool,
}

impl Waiting {
    pub fn of(found: &TopicBacklog, in_hand: usize) -> Self {
        let in_hand = in_hand as u64;
        // To the broker, what it sent ahead to a consumer that does not read looks taken. Alone on the
        // topic we know better; beside other consumers it may be theirs.
        let taken = if found.consumers > 1 { found.unacked.max(in_hand) } else { in_hand };
        let messages = found.count.saturating_sub(taken);
        Self { messages, earliest: found.backlog, forgotten: found.consumers == 0 }
    }

    fn is_well(&self) -> bool {
        self.messages == 0 && !self.forgotten
    }
}

/// The topics under suspicion.
#[derive(Debug)]
pub struct Watch {
    patience: Duration,
    idle: HashMap<Arc<str>, Idle>,
}

#[derive(Debug)]
struct Idle {
    asked_at: Instant,
    /// Since when messages wait and none moves, and what the broker said then.
    stuck: Option<(Instant, Waiting)>,
}

impl Watch {
    pub fn new(patience: Duration) -> Self {
        Self { patience, idle: HashMap::new() }
    }

    /// Forgets what is busy again, and picks at most `limit` topics to ask about, longest unasked first;
    /// each is asked about at most once within the patience.
    pub fn due(&mut self, topics: Vec<TopicHealth>, now: Instant, limit: usize) -> Vec<TopicHealth> {
        let idle: HashMap<Arc<str>, TopicHealth> = topics
            .into_iter()
            .filter(|topic| is_idle(topic, now, self.patience))
            .map(|topic| (topic.topic.clone(), topic))
            .collect();
        self.idle.retain(|topic, _| idle.contains_key(topic));
        let asked = |topic: &TopicHealth| self.idle.get(&topic.topic).map(|idle| idle.asked_at);
        let unasked = |topic: &TopicHealth| asked(topic).is_none_or(|at| now - at >= self.patience);
        let mut due: Vec<TopicHealth> = idle.into_values().filter(unasked).collect();
        due.sort_by_key(asked);
        due.truncate(limit);
        for topic in &due {
            let entry = self.idle.entry(topic.topic.clone());
            entry.or_insert(Idle { asked_at: now, stuck: None }).asked_at = now;
        }
        due
    }

    /// True when the topic must be subscribed to anew: the same backlog, or the same absence, at two
    /// looks that lie the patience apart. It then gets as long again.
    pub fn judge(&mut self, topic: &str, waiting: Waiting, now: Instant) -> bool {
        let Some(idle) = self.idle.get_mut(topic) else { return false };
        if waiting.is_well() {
            idle.stuck = None;
            return false;
        }
        match &idle.stuck {
            Some((since, before)) if *before == waiting && now - *since < self.patience => false,
            Some((_, before)) if *before == waiting => {
                idle.stuck = Some((now, waiting));
                true
            }
            _ => {
                idle.stuck = Some((now, waiting));
                false
            }
        }
    }

    pub fn stuck(&self) -> Vec<Arc<str>> {
        self.idle.iter().filter(|(_, idle)| idle.stuck.is_some()).map(|(topic, _)| topic.clone()).collect()
    }
}

fn is_idle(topic: &TopicHealth, now: Instant, patience: Duration) -> bool {
    let last = topic.last_receive.into_iter().chain(topic.last_ack).fold(topic.since, Instant::max);
    topic.connected && topic.permits_in_use < topic.permits && now.duration_since(last) >= patience
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn topic(name: &str, last: Instant) -> TopicHealth {
        TopicHealth {
            topic: name.into(),
            logical: name.into(),
            connected: true,
            since: last,
            last_receive: Some(last),
            last_ack: None,
            permits_in_use: 0,
            permits: 4,
            incarnation: 1,
            trouble: None,
        }
    }

    fn waiting(count: u64, unacked: u64, consumers: usize, in_hand: usize) -> Waiting {
        Waiting::of(&TopicBacklog { backlog: Backlog::Unknown, count, unacked, consumers }, in_hand)
    }

    #[test]
    fn what_is_in_our_own_hands_does_not_wait_for_us() {
        assert!(waiting(3, 3, 1, 3).is_well());
        assert!(!waiting(3, 3, 1, 0).is_well(), "sent ahead to us, and we have not seen it");
        assert!(waiting(3, 3, 2, 0).is_well(), "another consumer is at work");
        assert!(!waiting(0, 0, 0, 0).is_well(), "the broker has lost us");
    }

    #[test]
    fn a_backlog_that_does_not_move_is_cured_and_a_moving_one_is_not() {
        let then = Instant::now();
        let at = |seconds| then + Duration::from_secs(seconds);
        let mut watch = Watch::new(PATIENCE);
        assert!(watch.due(vec![topic("t", then)], at(29), 9).is_empty(), "not idle for long enough");
        assert_eq!(watch.due(vec![topic("t", then)], at(30), 9).len(), 1);
        assert!(!watch.judge("t", waiting(5, 0, 1, 0), at(30)));
        assert_eq!(watch.stuck(), ["t".into()]);
        assert!(watch.due(vec![topic("t", then)], at(40), 9).is_empty(), "asked a moment ago");
        assert_eq!(watch.due(vec![topic("t", then)], at(60), 9).len(), 1);
        assert!(!watch.judge("t", waiting(4, 0, 1, 0), at(60)), "somebody moves it");
        assert!(watch.judge("t", waiting(4, 0, 1, 0), at(90)));
        assert!(!watch.judge("t", waiting(4, 0, 1, 0), at(95)), "the cure gets its time");
        assert!(watch.due(vec![topic("t", at(96))], at(97), 9).is_empty());
        assert!(watch.stuck().is_empty(), "it receives again");
    }

    #[test]
    fn many_idle_topics_are_asked_about_in_turn() {
        let then = Instant::now();
        let topics = || (0..5).map(|n| topic(&n.to_string(), then)).collect::<Vec<_>>();
        let mut watch = Watch::new(PATIENCE);
        let mut asked = Vec::new();
        for round in 0..3 {
            let now = then + PATIENCE + Duration::from_secs(round);
            asked.extend(watch.due(topics(), now, 2).into_iter().map(|topic| topic.topic));
        }
        asked.sort();
        assert_eq!(asked, ["0", "1", "2", "3", "4"].map(Arc::from));
    }
}
