//! From the topics to one task per message. The topics' permits bound how many there are.

use std::sync::Arc;

use bridge_bus::Delivery;
use bridge_protocol::{Claims, Lane, Rejection};
use bridge_service::failpoint::hit;
use bridge_service::trace;
use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, field, info_span};

use crate::attempt;
use crate::job::{End, Job};
use crate::rejected;
use crate::works::Works;

/// Takes messages until the soft stop; what was taken goes on to its end, or to the hard stop.
pub async fn run(
    works: Arc<Works>,
    mut deliveries: Receiver<Delivery>,
    tracker: TaskTracker,
    hard: CancellationToken,
) {
    while let Some(Some(delivery)) = works.soft.run_until_cancelled(deliveries.recv()).await {
        let (works, hard) = (works.clone(), hard.clone());
        tracker.spawn(async move { hard.run_until_cancelled(process(&works, delivery)).await });
    }
}

/// One message, from the topic to its acknowledgement.
async fn process(works: &Works, delivery: Delivery) {
    hit("consumer.received");
    let (_in_hand, received) = (InHand::new(), Instant::now());
    let lane = works.names.parse(&delivery.topic).map(|address| address.lane);
    let end = match lane.map(|lane| verify(works, &delivery, lane)) {
        None => {
            tracing::error!(topic = %delivery.topic, "a message came from a topic that is no lane's; it is left alone");
            End::Settled
        }
        Some(Err(rejection)) => rejected::settle(works, &delivery, rejection).await,
        Some(Ok(job)) => {
            hit("consumer.verified");
            let span = span(works, &job);
            // Boxed: the task is moved around while it is spawned, and an attempt is kilobytes of state.
            Box::pin(attempt::run(works, &job).instrument(span)).await
        }
    };
    match end {
        End::Settled => {
            delivery.ack();
            hit("consumer.acked");
        }
        End::Unrecorded => delivery.nack(),
        End::Leaving => drop(delivery),
    }
    if let Some(lane) = lane {
        histogram!("bridge_process_seconds", "lane" => lane.as_str())
            .record(received.elapsed().as_secs_f64());
    }
}

fn verify(works: &Works, delivery: &Delivery, lane: Lane) -> Result<Job, Rejection> {
    counter!("bridge_messages_received_total", "lane" => lane.as_str()).increment(1);
    let keyring = works.keyring.load();
    let claims: Claims =
        keyring.verify(&delivery.body, &delivery.topic, &works.names, works.hooks.clock.now())?;
    Ok(Job::new(claims, lane, delivery))
}

/// Both parent of and linked to what the publisher sent: one trace for whoever follows the tree, one
/// link for whoever follows the messages.
fn span(works: &Works, job: &Job) -> Span {
    let span = info_span!(
        parent: None,
        "process",
        otel.name = %format_args!("process {}", job.topic),
        otel.kind = "consumer",
        messaging.system = "pulsar",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = job.topic,
        messaging.destination.subscription.name = works.settings.subscription,
        messaging.message.id = job.message_id,
        execution.id = %job.id,
        tenant.id = job.tenant.as_str(),
        // Recorded by the claim: until then there is only a hint that nobody signed.
        workflow.id = field::Empty,
        lane = job.lane.as_str(),
        attempt = i64::from(job.attempt),
        error.type = field::Empty,
        otel.status_code = field::Empty,
        execution.state = field::Empty,
    );
    trace::set_parent(&span, job.traceparent.as_deref());
    trace::add_link(&span, job.traceparent.as_deref());
    span
}

/// Counts the messages in hand, however their task ends.
struct InHand;

impl InHand {
    fn new() -> Self {
        gauge!("bridge_messages_in_hand").increment(1.0);
        Self
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        gauge!("bridge_messages_in_hand").decrement(1.0);
    }
}
