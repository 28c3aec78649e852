//! Waiting for a state.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// Long enough for a loaded machine; a test that works never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`. What it was still told at the deadline stands in the panic.
pub async fn eventually<T, E: Debug>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_within(PATIENCE, what, ask).await
}

pub async fn eventually_within<T, E: Debug>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        match ask().await {
            Ok(seen) => return seen,
            Err(last) if Instant::now() >= until => {
                panic!("waited {deadline:?} for {what}; the last look showed {last:?}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
