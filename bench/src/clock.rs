//! Wall-clock microseconds: the one measure that the load generator and the endpoint share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The wall clock read once, advanced by the monotonic one: a step of the wall clock during a
/// run does not become a latency.
#[derive(Clone, Copy)]
pub struct Clock {
    wall: u64,
    from: Instant,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the bench's one source of wall time")]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: micros(wall), from: Instant::now() }
    }

    pub fn at(&self, instant: Instant) -> u64 {
        self.wall + micros(instant.saturating_duration_since(self.from))
    }

    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
