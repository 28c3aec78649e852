//! Spans leave in the background, from a bounded queue. Whatever the collector does, the work is not held up: a span
//! that finds no room or is not taken is counted and gone, and the log says so once a minute.

use super::encode::{self, Sender};
use super::otlp::{Collector, Refusal};
use bytes::Bytes;
use metrics::Counter;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Of the same trouble one line a minute.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Spans sent at once. Larger batches cost less each, but a collector's limit for one request is 4 MiB.
const BATCH: usize = 1024;
/// How long a span may wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// For a batch to be taken, repetitions included; then the next one has its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a batch is offered again to a collector that may take it later; then twice as long.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Takes the spans that end; clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct Queue(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    /// A batch is full, or the last ones are to leave.
    wake: Notify,
    room: usize,
    exported: Counter,
    dropped: Counter,
    /// Dropped since the log last said so: for want of room, and because they were not taken.
    no_room: AtomicU64,
    not_taken: AtomicU64,
    said: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Waiting {
    /// All but the last are full.
    batches: VecDeque<Batch>,
    spans: usize,
    /// No more will come: what is here leaves, and that is the end.
    closed: bool,
}

#[derive(Default)]
struct Batch {
    /// Written, one after the other.
    bytes: Vec<u8>,
    spans: usize,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        thread_local!(static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        if !span.span_context.is_sampled() {
            return;
        }
        WRITTEN.with_borrow_mut(|written| {
            written.clear();
            encode::span(written, &span);
            self.put(written);
        });
    }

    /// The guard of telemetry has the last ones sent, where there is a runtime.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Queue {
    /// For `room` spans.
    pub(super) fn new(room: usize) -> Self {
        let counter = |outcome: &'static str| {
            let counter = metrics::counter!("bridge_spans_total", "outcome" => outcome);
            counter.absolute(0);
            counter
        };
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            wake: Notify::new(),
            room,
            exported: counter("exported"),
            dropped: counter("dropped"),
            no_room: AtomicU64::new(0),
            not_taken: AtomicU64::new(0),
            said: Mutex::new(None),
        }))
    }

    fn put(&self, span: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.spans >= self.0.room || waiting.closed {
            drop(waiting);
            self.0.no_room.fetch_add(1, Ordering::Relaxed);
            // Only counted: a log line from within a span's end could end in here again.
            self.0.dropped.increment(1);
            return;
        }
        waiting.spans += 1;
        if waiting.batches.back().is_none_or(|last| last.spans >= BATCH) {
            waiting.batches.push_back(Batch::default());
        }
        let Some(last) = waiting.batches.back_mut() else { return };
        last.bytes.extend_from_slice(span);
        last.spans += 1;
        if last.spans == BATCH {
            drop(waiting);
            self.0.wake.notify_one();
        }
    }

    /// Sends batch after batch until the queue is closed and empty.
    pub(super) fn export(&self, collector: Collector, sender: Sender) -> Exporting {
        let queue = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let closed = queue.waiting().closed;
                // When a second is over, and at the end, a batch leaves that is not full.
                let full = !closed && timeout(GATHER, queue.0.wake.notified()).await.is_ok();
                while let Some(batch) = queue.next(full) {
                    let outcome = offer(&collector, sender.request(&batch.bytes).into()).await;
                    queue.count(batch.spans as u64, outcome.err(), collector.endpoint());
                }
                if closed {
                    return;
                }
            }
        });
        Exporting { queue: self.clone(), task }
    }

    fn next(&self, full: bool) -> Option<Batch> {
        let mut waiting = self.waiting();
        let batch = waiting.batches.pop_front_if(|batch| !full || batch.spans == BATCH)?;
        waiting.spans -= batch.spans;
        Some(batch)
    }

    fn count(&self, spans: u64, refusal: Option<Refusal>, endpoint: &str) {
        let lost = refusal.as_ref().map_or(0, |refusal| refusal.spans.unwrap_or(spans).min(spans));
        self.0.exported.increment(spans - lost);
        self.0.dropped.increment(lost);
        self.0.not_taken.fetch_add(lost, Ordering::Relaxed);
        if let Some((no_room, not_taken)) = self.to_be_said(Instant::now()) {
            tracing::warn!(
                endpoint,
                no_room,
                not_taken,
                error = refusal.map(|refusal| refusal.why),
                "spans are dropped: the collector does not take them, or not fast enough; nothing else is affected"
            );
        }
    }

    /// The drops that the log has not told of, when it may.
    fn to_be_said(&self, now: Instant) -> Option<(u64, u64)> {
        let anything = |number: &AtomicU64| number.load(Ordering::Relaxed) > 0;
        if !anything(&self.0.no_room) && !anything(&self.0.not_taken) {
            return None;
        }
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            return None;
        }
        *said = Some(now);
        Some((self.0.no_room.swap(0, Ordering::Relaxed), self.0.not_taken.swap(0, Ordering::Relaxed)))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Again and again while the collector may take it later and its time is not over.
async fn offer(collector: &Collector, request: Bytes) -> Result<(), Refusal> {
    let end = Instant::now() + PATIENCE;
    let mut pause = AGAIN_AFTER;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let refusal = match timeout(left, collector.take(request.clone())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::never(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if !refusal.later || Instant::now() + pause >= end {
            return Err(refusal);
        }
        sleep(pause).await;
        pause *= 2;
    }
}

/// The sending task.
pub(super) struct Exporting {
    queue: Queue,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Returns when the last spans are sent, or dropped.
    pub(super) async fn finish(self) {
        self.queue.waiting().closed = true;
        self.queue.0.wake.notify_one();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the export of the last spans failed");
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("room", &self.room).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
