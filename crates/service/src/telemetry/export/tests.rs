use super::*;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

fn sender() -> Sender {
    Sender::new(&Resource::builder_empty().build(), &InstrumentationScope::builder("test").build())
}

fn end(queue: &Queue, number: usize) {
    let provider = SdkTracerProvider::builder().with_span_processor(queue.clone()).build();
    let tracer = provider.tracer("test");
    (0..number).for_each(|_| drop(tracer.start("span")));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_takes_nothing_holds_nothing_up_and_every_lost_span_is_counted() {
    let recorder = crate::telemetry::detached_recorder().unwrap();
    let queue = metrics::with_local_recorder(&recorder, || Queue::new(BATCH + 4));
    end(&queue, BATCH + 10);
    assert_eq!(queue.0.no_room.load(Ordering::Relaxed), 6);
    let (collector, mut asked) = Collector::scripted([
        Err(Refusal::later("busy")),
        Ok(()),
        Err(Refusal { spans: Some(1), ..Refusal::never("one was bad") }),
    ]);
    let exporting = queue.export(collector, sender());
    // The same bytes again.
    let first = asked.recv().await.unwrap();
    assert_eq!(first, asked.recv().await.unwrap());
    asked.recv().await.unwrap();
    exporting.finish().await;
    end(&queue, 1);
    let text = recorder.handle().render();
    for line in [
        format!("bridge_spans_total{{outcome=\"exported\"}} {}", BATCH + 3),
        "bridge_spans_total{outcome=\"dropped\"} 8".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_never_taken_makes_room_for_the_next() {
    let queue = Queue::new(8);
    let (collector, mut asked) = Collector::scripted(std::iter::repeat_with(|| Err(Refusal::later("down"))));
    let exporting = queue.export(collector, sender());
    end(&queue, 8);
    let first = asked.recv().await.unwrap();
    let began = Instant::now();
    end(&queue, 8);
    while asked.recv().await.unwrap() == first {}
    assert!((PATIENCE / 2..=PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(exporting);
}

#[test]
fn the_log_says_it_once_a_minute() {
    let queue = Queue::new(1);
    let now = Instant::now();
    assert_eq!(queue.to_be_said(now), None);
    queue.0.no_room.fetch_add(2, Ordering::Relaxed);
    assert_eq!(queue.to_be_said(now), Some((2, 0)));
    queue.0.not_taken.fetch_add(3, Ordering::Relaxed);
    assert_eq!(queue.to_be_said(now + Duration::from_secs(59)), None);
    assert_eq!(queue.to_be_said(now + SAY_EVERY), Some((0, 3)));
}
