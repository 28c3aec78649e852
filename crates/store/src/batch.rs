//! Group commit: one task per connection of a statement kind; while one batch commits the next one gathers.
//! There is no artificial delay: a lone row goes at once, a thousand waiting rows go together.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::{ExecutionId, TenantId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::connect;
use crate::day::Day;
use crate::error::{Fault, WriteError, fault};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One kind of batched statement. It must be idempotent: an answer may be lost after COMMIT, and then it runs again.
pub(crate) trait Statement: Send + Sync + 'static {
    const NAME: &'static str;
    type Row: Send + Sync + 'static;
    type Out: Send + 'static;

    fn key(row: &Self::Row) -> (&TenantId, ExecutionId);

    fn bytes(_row: &Self::Row) -> usize {
        0
    }

    /// All rows are of `day` and sorted by key; one outcome a row, in order.
    fn run(
        &self,
        connection: &mut PgConnection,
        day: Day,
        rows: &[&Self::Row],
    ) -> impl Future<Output = Result<Vec<Self::Out>, sqlx::Error>> + Send;

    /// The row's partition does not exist (any more).
    fn gone(row: &Self::Row) -> Result<Self::Out, WriteError>;
}

struct Job<S: Statement> {
    row: S::Row,
    deadline: Instant,
    patience: Duration,
    reply: oneshot::Sender<Result<S::Out, WriteError>>,
    /// Of whoever waits: it is linked with the commit that its row went with.
    span: Span,
}

struct Queue<S: Statement> {
    jobs: mpsc::Receiver<Job<S>>,
    /// Taken from the channel, but over the byte limit of the batch before.
    held: Option<Job<S>>,
}

pub(crate) struct BatchLimits {
    pub rows: usize,
    pub bytes: usize,
    pub connections: usize,
    pub queue_rows: usize,
    pub statement_timeout: Duration,
}

pub(crate) struct Batcher<S: Statement> {
    jobs: mpsc::Sender<Job<S>>,
}

impl<S: Statement> Clone for Batcher<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<S: Statement> Batcher<S> {
    pub fn start(
        statement: S,
        options: PgConnectOptions,
        limits: &BatchLimits,
        stop: &CancellationToken,
    ) -> Self {
        let (sender, jobs) = mpsc::channel(limits.queue_rows);
        let queue = Arc::new(Mutex::new(Queue { jobs, held: None }));
        let statement = Arc::new(statement);
        for _ in 0..limits.connections {
            let worker = Worker {
                statement: statement.clone(),
                queue: queue.clone(),
                options: options.clone(),
                rows: limits.rows,
                bytes: limits.bytes,
                statement_timeout: limits.statement_timeout,
                connection: None,
            };
            tokio::spawn(worker.work(stop.clone()));
        }
        Self { jobs: sender }
    }

    /// Waits for the row's own outcome, at most `patience`.
    pub async fn submit(&self, row: S::Row, patience: Duration) -> Result<S::Out, WriteError> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + patience;
        let unavailable =
            |last: &str| WriteError::Unavailable { statement: S::NAME, patience, last: last.to_owned() };
        let job = Job { row, deadline, patience, reply, span: Span::current() };
        let queued = tokio::time::timeout_at(deadline, self.jobs.send(job));
        match queued.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable("the store is shutting down")),
            Err(_) => return Err(unavailable("the queue stayed full")),
        }
        match tokio::time::timeout_at(deadline + Duration::from_millis(50), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unavailable("the store is shutting down")),
            Err(_) => Err(unavailable("the statement did not end")),
        }
    }
}

struct Worker<S: Statement> {
    statement: Arc<S>,
    queue: Arc<Mutex<Queue<S>>>,
    options: PgConnectOptions,
    rows: usize,
    bytes: usize,
    statement_timeout: Duration,
    connection: Option<PgConnection>,
}

impl<S: Statement> Worker<S> {
    async fn work(mut self, stop: CancellationToken) {
        loop {
            let jobs = tokio::select! {
                biased;
                jobs = gather(&self.queue, self.rows, self.bytes) => jobs,
                () = stop.cancelled() => return,
            };
            if jobs.is_empty() {
                return;
            }
            self.settle(jobs).await;
        }
    }

    /// Runs the jobs until each has its answer: a lost connection runs them again, a bad row is found by halving.
    async fn settle(&mut self, jobs: Vec<Job<S>>) {
        let mut by_day: BTreeMap<Day, Vec<Job<S>>> = BTreeMap::new();
        for job in jobs {
            by_day.entry(Day::of(S::key(&job.row).1)).or_default().push(job);
        }
        let mut work: VecDeque<(Day, Vec<Job<S>>)> = by_day.into_iter().collect();
        let mut pause = FIRST_PAUSE;
        while let Some((day, mut jobs)) = work.pop_front() {
            jobs.retain(|job| !job.reply.is_closed());
            if jobs.is_empty() {
                continue;
            }
            jobs.sort_unstable_by(|a, b| S::key(&a.row).cmp(&S::key(&b.row)));
            let error = match self.run(day, &jobs).await {
                Ok(outs) => {
                    for (job, out) in jobs.into_iter().zip(outs) {
                        // A caller that stopped waiting has decided already; the row is written all the same.
                        drop(job.reply.send(Ok(out)));
                    }
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) => error,
            };
            let kind = fault(&error);
            metrics::counter!("bridge_store_faults_total", "statement" => S::NAME, "fault" => label(&kind))
                .increment(1);
            match kind {
                Fault::Row if jobs.len() > 1 => {
                    let other = jobs.split_off(jobs.len() / 2);
                    work.push_front((day, other));
                    work.push_front((day, jobs));
                }
                Fault::Row => {
                    refuse(jobs, |_| Err(WriteError::BadRow { statement: S::NAME, detail: detail(&error) }))
                }
                Fault::Gone => refuse(jobs, |row| S::gone(row)),
                Fault::Other => {
                    tracing::error!(statement = S::NAME, error = %error, rows = jobs.len(), "statement failed for good");
                    refuse(jobs, |_| Err(WriteError::Failed { statement: S::NAME, detail: detail(&error) }));
                }
                Fault::Connection | Fault::Again => {
                    if kind == Fault::Connection {
                        self.connection = None;
                    }
                    tracing::warn!(statement = S::NAME, error = %error, rows = jobs.len(), "statement runs again");
                    let jobs = expire(jobs, &error, pause);
                    if !jobs.is_empty() {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        work.push_front((day, jobs));
                    }
                }
            }
        }
    }

    async fn run(&mut self, day: Day, jobs: &[Job<S>]) -> Result<Vec<S::Out>, sqlx::Error> {
        let rows: Vec<&S::Row> = jobs.iter().map(|job| &job.row).collect();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(connect::connect(&self.options).await?),
        };
        let span = commit_span(S::NAME, jobs.iter().map(|job| &job.span));
        let started = Instant::now();
        // The server ends a slow statement itself; this limit is for a network that says nothing any more.
        let limit = self.statement_timeout + Duration::from_secs(1);
        let outcome = match tokio::time::timeout(limit, self.statement.run(connection, day, &rows)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.connection = None;
                Err(sqlx::Error::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("no answer from Postgres within {limit:?}"),
                )))
            }
        };
        metrics::histogram!("bridge_store_batch_rows", "statement" => S::NAME).record(rows.len() as f64);
        metrics::histogram!("bridge_store_batch_seconds", "statement" => S::NAME)
            .record(started.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            span.record("error.type", label(&fault(error)));
            span.record("otel.status_code", "ERROR");
        }
        if let Ok(outs) = &outcome
            && outs.len() != rows.len()
        {
            return Err(sqlx::Error::Decode(
                format!("{} rows went in, {} outcomes came back", rows.len(), outs.len()).into(),
            ));
        }
        outcome
    }
}

/// A batch belongs to no single trace: it is one of its own, and everybody's span is linked with it.
fn commit_span<'a>(statement: &'static str, waiting: impl Iterator<Item = &'a Span>) -> Span {
    let mut commit = Span::none();
    let mut rows = 0;
    for span in waiting.filter(|span| !span.is_none()) {
        if commit.is_none() {
            commit = tracing::info_span!(
                parent: None,
                "commit",
                otel.name = format_args!("commit {statement}"),
                otel.kind = "client",
                otel.status_code = tracing::field::Empty,
                db.system.name = "postgresql",
                db.operation.name = statement,
                db.operation.batch.size = tracing::field::Empty,
                error.type = tracing::field::Empty,
            );
        }
        span.follows_from(&commit);
        rows += 1;
    }
    commit.record("db.operation.batch.size", rows);
    commit
}

impl<S: Statement> Drop for Worker<S> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Closing politely needs the runtime; when it is gone the server notices the closed socket.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    if let Err(error) = connection.close().await {
                        tracing::debug!(error = %error, "a connection to Postgres did not close cleanly");
                    }
                });
            }
        }
    }
}

async fn gather<S: Statement>(queue: &Mutex<Queue<S>>, rows: usize, limit: usize) -> Vec<Job<S>> {
    let mut queue = queue.lock().await;
    let first = match queue.held.take() {
        Some(job) => job,
        None => match queue.jobs.recv().await {
            Some(job) => job,
            None => return Vec::new(),
        },
    };
    let mut bytes = S::bytes(&first.row);
    let mut jobs = vec![first];
    while jobs.len() < rows {
        let Ok(job) = queue.jobs.try_recv() else { break };
        bytes += S::bytes(&job.row);
        if bytes > limit {
            queue.held = Some(job);
            break;
        }
        jobs.push(job);
    }
    jobs
}

fn refuse<S: Statement>(jobs: Vec<Job<S>>, outcome: impl Fn(&S::Row) -> Result<S::Out, WriteError>) {
    for job in jobs {
        let outcome = outcome(&job.row);
        drop(job.reply.send(outcome));
    }
}

/// Keeps the jobs that may still wait for `pause`; the others are told.
fn expire<S: Statement>(jobs: Vec<Job<S>>, error: &sqlx::Error, pause: Duration) -> Vec<Job<S>> {
    let until = Instant::now() + pause;
    let (alive, late): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.deadline > until);
    for job in late {
        let outcome =
            Err(WriteError::Unavailable { statement: S::NAME, patience: job.patience, last: detail(error) });
        drop(job.reply.send(outcome));
    }
    alive
}

pub(crate) fn detail(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => format!("{} ({})", db.message(), db.code().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn label(fault: &Fault) -> &'static str {
    match fault {
        Fault::Connection => "connection",
        Fault::Again => "again",
        Fault::Row => "row",
        Fault::Gone => "gone",
        Fault::Other => "other",
    }
}
