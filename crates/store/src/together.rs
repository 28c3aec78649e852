//! Accepting many executions of one request in one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::accept::{Accepted, NewExecution, accept};
use crate::day::Day;
use crate::error::{Fault, fault};
use crate::{Store, StoreError, WriteError, batch, tx};

const PAUSE: Duration = Duration::from_millis(100);

impl Store {
    /// All rows become durable together or none does, but for those that their outcome says were not written; the
    /// outcomes are in the order of `rows`.
    pub async fn accept_all(
        &self,
        rows: Vec<NewExecution>,
        patience: Duration,
    ) -> Result<Vec<Accepted>, WriteError> {
        // Dropping the work half-way rolls it back, or leaves a commit that the same rows meet again.
        match tokio::time::timeout(patience, self.accept_together(&rows, patience)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(WriteError::Unavailable {
                statement: "accept_all",
                patience,
                last: "the transaction did not end".to_owned(),
            }),
        }
    }

    async fn accept_together(
        &self,
        rows: &[NewExecution],
        patience: Duration,
    ) -> Result<Vec<Accepted>, WriteError> {
        let deadline = Instant::now() + patience;
        loop {
            let outcome =
                tx::transaction(&self.batch_pool, "accept_all", self.transaction_limit(), |connection, _| {
                    Box::pin(accept_by_day(connection, rows))
                })
                .await;
            let last = match outcome {
                Ok(outcomes) => return Ok(outcomes),
                Err(StoreError::Statement { source, .. }) => {
                    let detail = batch::detail(&source);
                    return Err(match fault(&source) {
                        Fault::Row => WriteError::BadRow { statement: "accept_all", detail },
                        _ => WriteError::Failed { statement: "accept_all", detail },
                    });
                }
                Err(StoreError::Unavailable(source)) => batch::detail(&source),
                Err(other) => other.to_string(),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(WriteError::Unavailable { statement: "accept_all", patience, last });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn accept_by_day(
    connection: &mut sqlx::PgConnection,
    rows: &[NewExecution],
) -> Result<Vec<Accepted>, sqlx::Error> {
    let mut by_day: BTreeMap<Day, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        by_day.entry(Day::of(row.id)).or_default().push(index);
    }
    let mut outcomes = vec![Accepted::New; rows.len()];
    for (day, mut indexes) in by_day {
        indexes
            .sort_unstable_by(|a, b| (&rows[*a].tenant, rows[*a].id).cmp(&(&rows[*b].tenant, rows[*b].id)));
        let sorted: Vec<&NewExecution> = indexes.iter().map(|index| &rows[*index]).collect();
        for (index, outcome) in indexes.into_iter().zip(accept(connection, day, &sorted).await?) {
            outcomes[index] = outcome;
        }
    }
    Ok(outcomes)
}
