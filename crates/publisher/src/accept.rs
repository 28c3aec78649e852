//! From a checked request to a durable execution: decide the route, write it, hand it off.

mod candidate;
mod decide;
mod refusals;

use bridge_protocol::ExecutionId;
use bridge_service::{Problem, failpoint, trace};
use bridge_store::NewExecution;
use std::collections::HashSet;
use tracing::Instrument;

use crate::app::AppState;
use crate::budget::Share;
use crate::sealing::seal;

pub use candidate::Candidate;
pub use refusals::{closed, open_tenant, refused, unavailable};

/// What became of it.
#[derive(Debug)]
pub enum Fate {
    New,
    /// The idempotency key named this execution already.
    Replayed(ExecutionId),
    KeyConflict(ExecutionId),
    /// The tenant was suspended or marked as deleting a moment ago; nothing was written.
    TenantClosed,
}

/// Accepts one. Runs on a task of its own: a caller that hangs up neither stops it nor frees its memory too early.
pub async fn one(
    app: &AppState,
    candidate: Candidate,
    mut share: Share,
) -> Result<(Candidate, Fate), Problem> {
    let app = app.clone();
    on_its_own(async move {
        let mut candidate = candidate;
        seal(&app, std::slice::from_mut(&mut candidate), &mut share).await?;
        let accepted =
            app.store.accept(candidate.row(&app), app.limits.accept_patience).await.map_err(refused)?;
        failpoint::hit("publisher.accepted");
        trace::event("committed");
        let fate = candidate.settle(&app, accepted);
        drop(share);
        Ok((candidate, fate))
    })
    .await
}

/// Accepts many in one transaction: all become durable or none.
pub async fn all(
    app: &AppState,
    mut candidates: Vec<Candidate>,
    mut share: Share,
) -> Result<Vec<(Candidate, Fate)>, Problem> {
    let app = app.clone();
    on_its_own(async move {
        seal(&app, &mut candidates, &mut share).await?;
        let (firsts, repeats) = by_first_use_of_a_key(&candidates);
        let mut fates: Vec<Option<Fate>> = candidates.iter().map(|_| None).collect();
        // A key's first use decides what it stands for; the repeats only find it there, and write nothing.
        for part in [firsts, repeats] {
            let rows: Vec<NewExecution> = part.iter().map(|index| candidates[*index].row(&app)).collect();
            if rows.is_empty() {
                continue;
            }
            let accepted = app.store.accept_all(rows, app.limits.accept_patience).await.map_err(refused)?;
            failpoint::hit("publisher.accepted");
            for (index, accepted) in part.into_iter().zip(accepted) {
                fates[index] = Some(candidates[index].settle(&app, accepted));
            }
        }
        drop(share);
        let settled = candidates.into_iter().zip(fates);
        Ok(settled.filter_map(|(candidate, fate)| Some((candidate, fate?))).collect())
    })
    .await
}

fn by_first_use_of_a_key(candidates: &[Candidate]) -> (Vec<usize>, Vec<usize>) {
    let mut used = HashSet::new();
    (0..candidates.len()).partition(|index| {
        candidates[*index].publish.idempotency_key.as_deref().is_none_or(|key| used.insert(key))
    })
}

/// To its end, whether or not the caller stays for the answer.
pub async fn on_its_own<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request's work failed in an unforeseen way");
            Err(Problem::internal())
        }
    }
}
