//! How far a long act is: a bar on a terminal, a line now and then elsewhere. On standard error: the answer stays whole.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Elsewhere than on a terminal a line is said each time so many more are done,
const LINE_EVERY: u64 = 100;
/// and after this time when it goes on slowly.
const QUIET_AT_MOST: Duration = Duration::from_secs(10);

pub struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    said: Cell<u64>,
    said_at: Cell<Instant>,
}

impl Progress {
    pub fn new(what: &'static str, of: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of);
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}, {eta} to go");
            // The template stands right above.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        if bar.is_none() && of > 0 {
            eprintln!("0 of {of} {what}");
        }
        let now = Instant::now();
        Self { what, bar, started: now, said: Cell::new(0), said_at: Cell::new(now) }
    }

    pub fn set(&self, done: u64, of: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(of);
                bar.set_position(done);
            }
            None => {
                if let Some(line) = self.line(done, of) {
                    eprintln!("{line}");
                }
            }
        }
    }

    /// When it is worth one.
    fn line(&self, done: u64, of: u64) -> Option<String> {
        if done < self.said.get() + LINE_EVERY && self.said_at.get().elapsed() < QUIET_AT_MOST {
            return None;
        }
        self.said.set(done - done % LINE_EVERY);
        self.said_at.set(Instant::now());
        Some(format!("{done} of {of} {}, {} s", self.what, self.started.elapsed().as_secs()))
    }

    /// A remark that does not tear the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("bridgectl: {text}")),
            None => eprintln!("bridgectl: {text}"),
        }
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn elsewhere_than_on_a_terminal_a_line_is_said_now_and_then() {
        let progress = Progress::new("tenants", 1000);
        let mut said = Vec::new();
        for done in 1..=450 {
            tokio::time::advance(Duration::from_millis(10)).await;
            said.extend(progress.line(done, 1000));
        }
        assert_eq!(
            said,
            [
                "100 of 1000 tenants, 1 s",
                "200 of 1000 tenants, 2 s",
                "300 of 1000 tenants, 3 s",
                "400 of 1000 tenants, 4 s",
            ]
        );
        // However slowly it goes on, it is seen to live.
        tokio::time::advance(QUIET_AT_MOST).await;
        assert_eq!(progress.line(451, 1000).as_deref(), Some("451 of 1000 tenants, 14 s"));
        assert_eq!(progress.line(452, 1000), None);
    }
}
