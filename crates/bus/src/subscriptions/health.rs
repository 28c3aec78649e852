//! What a topic's consumer last did. Liveness is judged from this and the broker's statistics, never from a ping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::fault::Fault;

/// A topic or partition that is received from.
#[derive(Clone, Debug)]
pub struct TopicHealth {
    pub topic: Arc<str>,
    /// Without `-partition-N`: the name the plan gave.
    pub logical: Arc<str>,
    pub connected: bool,
    /// When `connected` last changed.
    pub since: Instant,
    pub last_receive: Option<Instant>,
    pub last_ack: Option<Instant>,
    /// Deliveries that are with the caller, or waiting to be sent again.
    pub permits_in_use: usize,
    /// All that the topic may have out, its partitions together.
    pub permits: usize,
    /// Consumers this topic has had; more than one means that it was lost and rebuilt.
    pub incarnation: u64,
    /// Why it is not connected, in the broker's words.
    pub trouble: Option<String>,
}

/// A delivery's place among its topic's permits, free again when this is dropped.
pub(super) struct Place {
    in_use: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) struct Status {
    pub(super) topic: Arc<str>,
    logical: Arc<str>,
    permits: usize,
    in_use: Arc<AtomicUsize>,
    state: Mutex<State>,
    pub(super) rebuild: Notify,
}

struct State {
    connected: bool,
    since: Instant,
    last_receive: Option<Instant>,
    last_ack: Option<Instant>,
    incarnation: u64,
    trouble: Option<String>,
}

impl Status {
    pub(super) fn new(topic: Arc<str>, logical: Arc<str>, permits: usize) -> Self {
        let state = State {
            connected: false,
            since: Instant::now(),
            last_receive: None,
            last_ack: None,
            incarnation: 0,
            trouble: None,
        };
        Self {
            topic,
            logical,
            permits,
            in_use: Arc::default(),
            state: Mutex::new(state),
            rebuild: Notify::new(),
        }
    }

    pub(super) fn is(&self, topic: &str) -> bool {
        *self.topic == *topic || *self.logical == *topic
    }

    pub(super) fn connected(&self) -> u64 {
        let mut state = self.state();
        state.connected = true;
        state.since = Instant::now();
        state.trouble = None;
        state.incarnation += 1;
        state.incarnation
    }

    pub(super) fn disconnected(&self, why: &str) {
        let mut state = self.state();
        if state.connected {
            state.connected = false;
            state.since = Instant::now();
        }
        state.trouble = Some(why.to_owned());
    }

    /// The broker did not let us subscribe.
    pub(super) fn refused(&self, fault: &Fault) {
        match fault {
            Fault::Forbidden(text) => self.disconnected(&format!(
                "our role may not consume {} ({text}); grant it: bridgectl topics apply",
                self.topic
            )),
            other => self.disconnected(other.text()),
        }
    }

    pub(super) fn received(&self, permit: OwnedSemaphorePermit) -> Place {
        self.state().last_receive = Some(Instant::now());
        self.in_use.fetch_add(1, Ordering::AcqRel);
        Place { in_use: self.in_use.clone(), _permit: permit }
    }

    pub(super) fn acked(&self) {
        self.state().last_ack = Some(Instant::now());
    }

    pub(super) fn health(&self) -> TopicHealth {
        let state = self.state();
        TopicHealth {
            topic: self.topic.clone(),
            logical: self.logical.clone(),
            connected: state.connected,
            since: state.since,
            last_receive: state.last_receive,
            last_ack: state.last_ack,
            permits_in_use: self.in_use.load(Ordering::Acquire),
            permits: self.permits,
            incarnation: state.incarnation,
            trouble: state.trouble.clone(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
