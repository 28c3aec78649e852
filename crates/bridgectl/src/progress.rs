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
            None if self.is_worth_a_line(done) => {
                self.said.set(done - done % LINE_EVERY);
                self.said_at.set(Instant::now());
                eprintln!("{done} of {of} {}, {} s", self.what, self.started.elapsed().as_secs());
            }
            None => {}
        }
    }

    fn is_worth_a_line(&self, done: u64) -> bool {
        done >= self.said.get() + LINE_EVERY || self.said_at.get().elapsed() >= QUIET_AT_MOST
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
