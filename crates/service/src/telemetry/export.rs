//! Spans leave in the background, from a bounded queue. Whatever the collector does, the work is not held up: a span
//! that finds no room or is not taken is counted and gone, and the log says so once a minute.

use metrics::Counter;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of the same trouble one line a minute.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Spans sent at once. Larger batches cost less each, but a collector's limit for one request is 4 MiB.
const BATCH: usize = 1024;
/// How long a span may wait for others.
const GATHER: Duration = Duration::from_secs(1);

/// What the queue and the exporter know of each other.
struct Passage {
    /// Spans in the queue.
    waiting: AtomicUsize,
    exported: Counter,
    dropped: Counter,
    /// Dropped since the log last said so: for want of room, and because they were not taken.
    no_room: AtomicU64,
    not_taken: AtomicU64,
    said: Mutex<Option<Instant>>,
}

/// The SDK's batch processor behind a bound of our own: the SDK keeps the number that it drops to itself.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: BatchSpanProcessor,
    passage: Arc<Passage>,
    room: usize,
}

/// The processor that exports by `exporter` from a queue of `room` spans.
pub(super) fn bounded<E: SpanExporter + 'static>(exporter: E, endpoint: &str, room: usize) -> Bounded {
    let passage = Arc::new(Passage::new());
    let counted = Counted { inner: exporter, passage: passage.clone(), endpoint: endpoint.to_owned() };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(room)
        .with_max_export_batch_size(BATCH.min(room))
        .with_scheduled_delay(GATHER)
        .build();
    let inner = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
    Bounded { inner, passage, room }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.passage.waiting.fetch_add(1, Ordering::Relaxed) >= self.room {
            self.passage.waiting.fetch_sub(1, Ordering::Relaxed);
            self.passage.no_room.fetch_add(1, Ordering::Relaxed);
            // Only counted: a log line from within a span's end could end in here again.
            self.passage.dropped.increment(1);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what is exported and what is lost. Runs on the processor's own thread.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    passage: Arc<Passage>,
    endpoint: String,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = batch.len();
        self.passage.waiting.fetch_sub(number, Ordering::Relaxed);
        let result = self.inner.export(batch).await;
        if result.is_ok() {
            self.passage.exported.increment(number as u64);
        } else {
            self.passage.dropped.increment(number as u64);
            self.passage.not_taken.fetch_add(number as u64, Ordering::Relaxed);
        }
        if let Some((no_room, not_taken)) = self.passage.to_be_said(Instant::now()) {
            let error = result.as_ref().err().map(tracing::field::display);
            tracing::warn!(
                endpoint = self.endpoint,
                no_room,
                not_taken,
                error,
                "spans are dropped: the collector does not take them, or not fast enough; nothing else is affected"
            );
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl std::fmt::Debug for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passage").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Passage {
    fn new() -> Self {
        let counter = |outcome: &'static str| {
            let counter = metrics::counter!("bridge_spans_total", "outcome" => outcome);
            counter.absolute(0);
            counter
        };
        Self {
            waiting: AtomicUsize::new(0),
            exported: counter("exported"),
            dropped: counter("dropped"),
            no_room: AtomicU64::new(0),
            not_taken: AtomicU64::new(0),
            said: Mutex::new(None),
        }
    }

    /// The drops that the log has not told of, when it may.
    fn to_be_said(&self, now: Instant) -> Option<(u64, u64)> {
        let anything = |number: &AtomicU64| number.load(Ordering::Relaxed) > 0;
        if !anything(&self.no_room) && !anything(&self.not_taken) {
            return None;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            return None;
        }
        *said = Some(now);
        Some((self.no_room.swap(0, Ordering::Relaxed), self.not_taken.swap(0, Ordering::Relaxed)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// Says when it is asked, and answers when it is told to.
    #[derive(Debug)]
    struct Stuck {
        asked: SyncSender<usize>,
        answer: Mutex<Receiver<bool>>,
    }

    impl SpanExporter for Stuck {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.asked.send(batch.len()).unwrap();
            let good = self.answer.lock().unwrap().recv().unwrap_or(true);
            if good { Ok(()) } else { Err(OTelSdkError::InternalFailure("no".to_owned())) }
        }
    }

    #[test]
    fn a_stuck_collector_holds_nothing_up_and_every_lost_span_is_counted() {
        let recorder = crate::telemetry::detached_recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let (asked, asks) = sync_channel(16);
            let (answers, answer) = sync_channel(16);
            let processor = bounded(Stuck { asked, answer: Mutex::new(answer) }, "http://collector", 4);
            let passage = processor.passage.clone();
            let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
            let tracer = provider.tracer("test");
            let end = |number| (0..number).for_each(|_| drop(tracer.start("span")));
            end(4);
            assert_eq!(asks.recv().unwrap(), 4);
            // The exporter has four in hand and does not come back: four more wait, the rest is dropped.
            end(10);
            assert_eq!(passage.no_room.load(Ordering::Relaxed), 6);
            answers.send(false).unwrap();
            assert_eq!(asks.recv().unwrap(), 4);
            answers.send(true).unwrap();
            provider.shutdown().unwrap();
            for line in
                ["bridge_spans_total{outcome=\"dropped\"} 10", "bridge_spans_total{outcome=\"exported\"} 4"]
            {
                assert!(handle.render().contains(line), "{}", handle.render());
            }
        });
    }

    #[test]
    fn the_log_says_it_once_a_minute() {
        let passage = Passage::new();
        let now = Instant::now();
        assert_eq!(passage.to_be_said(now), None);
        passage.no_room.fetch_add(2, Ordering::Relaxed);
        assert_eq!(passage.to_be_said(now), Some((2, 0)));
        passage.not_taken.fetch_add(3, Ordering::Relaxed);
        assert_eq!(passage.to_be_said(now + Duration::from_secs(59)), None);
        assert_eq!(passage.to_be_said(now + SAY_EVERY), Some((0, 3)));
    }
}
