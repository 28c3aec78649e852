//! Work of the client library that must run to its end.

use std::future::Future;
use std::time::Duration;

/// The work was not done by its deadline; it goes on by itself and its result is thrown away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overdue;

/// Runs `work` as a task of its own and waits for it until `deadline`.
///
/// hazard 2: when the future of a build, a lookup or a subscribe is dropped half-way, the client keeps a
/// connection in the state "connecting" for ever and every later request on it hangs. So nothing here is ever
/// cancelled: past the deadline the task is left alone, and the caller throws the whole client away.
pub(crate) async fn detached<T, F>(deadline: Duration, work: F) -> Result<T, Overdue>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut task = tokio::spawn(work);
    tokio::select! {
        done = &mut task => done.map_err(|error| {
            tracing::error!(%error, "a task of the broker client panicked");
            Overdue
        }),
        () = tokio::time::sleep(deadline) => Err(Overdue),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn overdue_work_is_left_to_finish() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let work = async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            done.send(()).unwrap();
        };
        assert_eq!(detached(Duration::from_secs(1), work).await, Err(Overdue));
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_reported_as_overdue() {
        let work = async { panic!("on purpose") };
        assert_eq!(detached::<(), _>(Duration::from_secs(1), work).await, Err(Overdue));
    }
}
