//! When to look again at what daemons keep in memory as Postgres has it: every so often, and whenever a change is heard of.

use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// What cannot be looked at is said this often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// A load is followed by so many times its own length of rest: a thousand changes in a row cost a tenth of one core,
/// and are in force all the same before anybody could tell.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_secs(1);

pub(crate) struct Looks<'a> {
    ticks: Interval,
    wake: &'a Notify,
    began: Instant,
    rest: Duration,
    said: Option<Instant>,
}

impl<'a> Looks<'a> {
    pub(crate) fn new(every: Duration, wake: &'a Notify) -> Self {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, wake, began: Instant::now(), rest: Duration::ZERO, said: None }
    }

    /// Returns when it is time for the next look.
    pub(crate) async fn next(&mut self) {
        tokio::time::sleep(std::mem::take(&mut self.rest)).await;
        tokio::select! {
            _ = self.ticks.tick() => {}
            // Many changes at once lead to one look.
            () = self.wake.notified() => {}
        }
        self.began = Instant::now();
    }

    /// What the look came to: whether it found something new. True when its failure is to be said.
    pub(crate) fn ended<E>(&mut self, outcome: &Result<bool, E>) -> bool {
        if let Ok(loaded) = outcome {
            self.said = None;
            if *loaded {
                self.rest = (self.began.elapsed() * REST).min(LONGEST_REST);
            }
            return false;
        }
        let say = self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if say {
            self.said = Some(Instant::now());
        }
        say
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_changes_is_looked_at_a_tenth_of_the_time_and_its_last_one_is_not_missed() {
        let wake = Notify::new();
        let mut looks = Looks::new(HOUR, &wake);
        let storm = async {
            for _ in 0..10_000 {
                wake.notify_one();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Instant::now()
        };
        let looking = async {
            let mut began = Vec::new();
            while tokio::time::timeout(Duration::from_secs(5), looks.next()).await.is_ok() {
                began.push(Instant::now());
                tokio::time::sleep(Duration::from_millis(10)).await;
                looks.ended(&Ok::<_, ()>(true));
            }
            began
        };
        let (last_change, began) = tokio::join!(storm, looking);
        assert!((95..=102).contains(&began.len()), "{} looks in ten seconds", began.len());
        assert!(began.last().is_some_and(|at| *at + Duration::from_millis(1) >= last_change));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_said_once_a_minute_and_again_after_a_look_that_worked() {
        let wake = Notify::new();
        let mut looks = Looks::new(Duration::from_secs(1), &wake);
        let mut said = Vec::new();
        for second in 0..70 {
            looks.next().await;
            if looks.ended(&if second == 65 { Ok(false) } else { Err(()) }) {
                said.push(second);
            }
        }
        assert_eq!(said, [0, 60, 66]);
    }
}
