//! How long what would be published is put off while the broker is away.

use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// None while the broker is there. As long again as it has been away, up to `longest`: a short absence costs little
    /// time, a long one little work.
    pub fn pause(&mut self, is_up: bool, longest: Duration) -> Option<Duration> {
        if is_up {
            self.since = None;
            return None;
        }
        let away = self.since.get_or_insert_with(Instant::now).elapsed();
        Some(away.clamp(SHORTEST, longest.max(SHORTEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_grows_with_the_outage_and_ends_with_it() {
        let longest = Duration::from_secs(30);
        let mut outage = Outage::default();
        assert_eq!(outage.pause(true, longest), None);
        for (after, pause) in [(0, 1), (4, 4), (6, 10), (3600, 30)] {
            tokio::time::advance(Duration::from_secs(after)).await;
            assert_eq!(outage.pause(false, longest), Some(Duration::from_secs(pause)));
        }
        assert_eq!(outage.pause(true, longest), None);
        assert_eq!(outage.pause(false, longest), Some(Duration::from_secs(1)), "a new one");
    }
}
