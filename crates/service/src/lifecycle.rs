//! Start, soft stop, hard stop.
//!
//! `soft` means: take no new work, finish what is in hand. `hard` means: the deadline is over, drop it; the timers
//! in Postgres bring it back. A second signal ends the process at once.

use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub soft: CancellationToken,
    pub hard: CancellationToken,
    pub tracker: TaskTracker,
}

impl Lifecycle {
    /// Listens for SIGTERM and SIGINT. Needs a runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be set.
    pub fn install() -> std::io::Result<Self> {
        let lifecycle = Self::default();
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        // Not tracked: it lives as long as the process.
        tokio::spawn(lifecycle.clone().listen(signals));
        Ok(lifecycle)
    }

    async fn listen(self, mut signals: Signals) {
        let (name, _) = signals.next().await;
        tracing::info!(
            signal = name,
            "stopping: no new work, what is in hand is finished; a second signal aborts"
        );
        self.soft.cancel();
        let (name, number) = signals.next().await;
        tracing::warn!(signal = name, "aborted by a second signal");
        std::process::exit(128 + number);
    }

    /// Starts a task that `stop` waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Waits for the soft stop, then for the tasks, at most `drain`; then the hard stop and a last short wait.
    /// `true` when every task ended in time.
    pub async fn stop(&self, drain: Duration) -> bool {
        self.soft.cancelled().await;
        self.tracker.close();
        if tokio::time::timeout(drain, self.tracker.wait()).await.is_ok() {
            self.hard.cancel();
            return true;
        }
        tracing::warn!(
            tasks = self.tracker.len(),
            drain_ms = drain.as_millis() as u64,
            "the time to finish is over"
        );
        self.hard.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.tracker.wait()).await.is_ok()
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_soft_stop_is_stopped_hard() {
        let lifecycle = Lifecycle::default();
        let hard = lifecycle.hard.clone();
        lifecycle.spawn(async move { hard.cancelled().await });
        lifecycle.soft.cancel();
        assert!(lifecycle.stop(Duration::from_secs(5)).await, "it ended after the hard stop");
        assert!(lifecycle.hard.is_cancelled());
    }
}
