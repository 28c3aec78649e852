//! The log's filter, and its change at run time: SIGHUP reads `telemetry.log_level` and `step_log` of the configuration
//! file again, SIGUSR1 shows more for ten minutes; once more, and it ends at once.

use super::TelemetryError;
use crate::config::{ConfigFaults, StepLog, Telemetry};
use crate::steps::STEPS;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// How long SIGUSR1 shows more.
const LOUD_FOR: Duration = Duration::from_secs(600);
/// Our crates only: the libraries' own debug lines are many, and theirs is not the question.
const LOUD: &str = "info,bridge=debug";

pub(super) fn filter(config: &Telemetry) -> Result<EnvFilter, TelemetryError> {
    let wrong = |source| TelemetryError::Filter { filter: config.log_level.clone(), source };
    let filter = EnvFilter::try_new(&config.log_level).map_err(wrong)?;
    Ok(match config.step_log {
        StepLog::All => filter,
        StepLog::Problems => filter.add_directive(format!("{STEPS}=warn").parse().map_err(wrong)?),
    })
}

/// Changes the filter; behind it lies the subscriber, whose type nobody needs to know.
pub(super) type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

pub(super) fn change<S: 'static>(handle: Handle<EnvFilter, S>) -> Change {
    Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
}

/// Reads the configuration again.
pub type Again = Box<dyn Fn() -> Result<Telemetry, ConfigFaults> + Send>;

/// Listens for the signals as long as the process lives.
pub(super) struct Levels {
    pub change: Change,
    pub config: Telemetry,
    pub again: Again,
}

impl Levels {
    /// # Errors
    /// When the signal handlers cannot be set.
    pub fn listen(self) -> std::io::Result<()> {
        let (again, louder) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        tokio::spawn(self.run(again, louder));
        Ok(())
    }

    async fn run(mut self, mut again: Signal, mut louder: Signal) {
        let mut loud_until = None::<Instant>;
        loop {
            let calm = async move {
                match loud_until {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = again.recv() => {
                    loud_until = None;
                    self.read_again();
                    self.put(filter(&self.config), &self.config.log_level);
                }
                _ = louder.recv() => {
                    if loud_until.take().is_some() {
                        self.put(filter(&self.config), &self.config.log_level);
                    } else {
                        loud_until = Some(Instant::now() + LOUD_FOR);
                        self.put(Ok(EnvFilter::new(LOUD)), "debug, for ten minutes");
                    }
                }
                () = calm => {
                    loud_until = None;
                    self.put(filter(&self.config), &self.config.log_level);
                }
            }
        }
    }

    /// A file that is broken now changes nothing.
    fn read_again(&mut self) {
        match (self.again)() {
            Ok(config) => self.config = config,
            Err(faults) => {
                tracing::error!(%faults, "the log's level stays as it is: correct the configuration")
            }
        }
    }

    fn put(&self, filter: Result<EnvFilter, TelemetryError>, says: &str) {
        match filter {
            Ok(filter) => match (self.change)(filter) {
                Ok(()) => tracing::info!(level = says, "the log's level was changed"),
                Err(error) => tracing::error!(error, "the log's level could not be changed"),
            },
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the log's level stays as it is");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, reload};

    fn config(level: &str, step_log: StepLog) -> Telemetry {
        use crate::config::{Config, Role};
        let (config, _) = Config::load_for(Role::Operator, None, std::iter::empty()).unwrap();
        Telemetry { log_level: level.to_owned(), step_log, ..config.telemetry }
    }

    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn steps_can_be_turned_down_and_the_filter_changes_while_it_is_used() {
        let written = Written::default();
        let into = written.clone();
        let (shown, handle) = reload::Layer::new(filter(&config("info", StepLog::All)).unwrap());
        let logs = tracing_subscriber::fmt::layer().with_writer(move || into.clone()).with_filter(shown);
        let change = change(handle);
        let said = || String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(logs), || {
            let say = || {
                tracing::info!(target: STEPS, "a step");
                tracing::warn!(target: STEPS, "a bad step");
                tracing::info!("anything else");
                tracing::debug!(target: "bridge_store", "a detail");
            };
            say();
            let all = said();
            assert!(
                all.contains("a step") && all.contains("anything else") && !all.contains("a detail"),
                "{all}"
            );
            change(filter(&config("info", StepLog::Problems)).unwrap()).unwrap();
            say();
            let few = said();
            assert!(
                !few.contains("a step") && few.contains("a bad step") && few.contains("anything else"),
                "{few}"
            );
            change(EnvFilter::new(LOUD)).unwrap();
            say();
            let loud = said();
            assert!(loud.contains("a step") && loud.contains("a detail"), "{loud}");
        });
        assert!(filter(&config("info,=x=", StepLog::All)).is_err());
    }
}
