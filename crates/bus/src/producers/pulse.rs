//! Whether the broker answers, told by what it answers and not by pings.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub(super) struct Pulse {
    up: watch::Sender<bool>,
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// Requests without an answer, oldest first.
    open: BTreeMap<u64, Instant>,
    last_answer: Instant,
}

impl Default for Pulse {
    fn default() -> Self {
        let state = State { next: 0, open: BTreeMap::new(), last_answer: Instant::now() };
        Self { up: watch::Sender::new(false), state: Mutex::new(state) }
    }
}

/// A request that the broker owes an answer.
pub(super) struct Beat(u64);

impl Pulse {
    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    pub(super) fn set_up(&self, up: bool) {
        let changed = self.up.send_if_modified(|now| std::mem::replace(now, up) != up);
        if changed {
            metrics::gauge!("bridge_bus_up").set(f64::from(u8::from(up)));
            tracing::info!(up, "the broker, as seen by the producers");
        }
    }

    /// Ends when the broker is down, at once if it is so already.
    pub(super) async fn down(&self) {
        let mut up = self.up.subscribe();
        // It cannot be closed while `self` holds the sender.
        let _never_closed = up.wait_for(|up| !up).await;
    }

    pub(super) fn begin(&self) -> Beat {
        let mut state = self.state();
        state.next += 1;
        let beat = state.next;
        state.open.insert(beat, Instant::now());
        Beat(beat)
    }

    /// Any answer is a sign of life, a refusal too; a time-out is none.
    pub(super) fn end(&self, beat: Beat, answered: bool) {
        let mut state = self.state();
        state.open.remove(&beat.0);
        if answered {
            state.last_answer = Instant::now();
        }
    }

    /// Something waits for `patience`, and nothing else was answered meanwhile.
    pub(super) fn stalled(&self, patience: Duration) -> bool {
        let state = self.state();
        let waits = state.open.first_key_value().is_some_and(|(_, since)| since.elapsed() > patience);
        waits && state.last_answer.elapsed() > patience
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn only_silence_is_a_stall() {
        let pulse = Pulse::default();
        assert!(!pulse.stalled(PATIENCE));
        let slow = pulse.begin();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(pulse.stalled(PATIENCE));
        let quick = pulse.begin();
        pulse.end(quick, true);
        assert!(!pulse.stalled(PATIENCE), "the slow one is that topic's own trouble");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(pulse.stalled(PATIENCE));
        pulse.end(slow, false);
        assert!(!pulse.stalled(PATIENCE), "nothing waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn down_is_noticed_by_those_who_wait() {
        let pulse = Pulse::default();
        pulse.set_up(true);
        tokio::select! {
            () = pulse.down() => panic!("it is up"),
            () = async { tokio::time::sleep(PATIENCE).await } => {}
        }
        pulse.set_up(false);
        pulse.down().await;
    }
}
