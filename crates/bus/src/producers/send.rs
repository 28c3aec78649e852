//! One message on its way: sent, receipted or given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pulsar::producer::{Message, SendFuture};
use pulsar::proto::CommandSendReceipt;
use pulsar::{Producer, TokioExecutor};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::pulse::Beat;
use super::{Job, PublishError, Reply, Shared};
use crate::fault::Fault;
use crate::message_id::MessageId;

/// Receipts in a row that did not come before a producer is built anew.
const SILENCES: u32 = 3;

/// What the receipts say about their producer.
#[derive(Default)]
pub(super) struct Health {
    sick: AtomicBool,
    silences: AtomicU32,
}

impl Health {
    pub(super) fn is_sick(&self) -> bool {
        self.sick.load(Ordering::Acquire)
    }

    fn note(&self, outcome: Result<(), &Fault>) {
        match outcome {
            Ok(()) => self.silences.store(0, Ordering::Release),
            // The library sends again by itself; only when that goes on failing is the producer of no use.
            Err(Fault::TimedOut(_)) => {
                if self.silences.fetch_add(1, Ordering::AcqRel) + 1 >= SILENCES {
                    self.sick.store(true, Ordering::Release);
                }
            }
            Err(_) => self.sick.store(true, Ordering::Release),
        }
    }
}

/// What happens to the producer while it sends.
pub(super) struct Fate {
    pub(super) health: Arc<Health>,
    pub(super) gone: CancellationToken,
}

type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// hazard 7: sending is done without waiting for the receipt, and can itself block up to the operation time-out
/// while disconnected. Only this topic's task waits for it; the receipt is awaited by a task of its own.
pub(super) async fn send(
    shared: &Arc<Shared>,
    producer: &mut Producer<TokioExecutor>,
    partition: Option<i32>,
    job: Job,
    fate: Fate,
    places: Places,
) {
    let Fate { health, gone } = fate;
    let Job { outgoing, reply, taken: _, _waiting: waiting } = job;
    drop(waiting);
    let message = Message {
        payload: outgoing.body.into_bytes(),
        properties: outgoing.properties.into_iter().collect::<HashMap<_, _>>(),
        ..Message::default()
    };
    let beat = shared.pulse.begin();
    // hazard 2 does not count here: the client is thrown away with what was left half done.
    let sent = tokio::select! {
        biased;
        () = gone.cancelled() => {
            shared.pulse.end(beat, false);
            drop(reply.send(Err(PublishError::TimedOut)));
            return;
        }
        sent = producer.send_non_blocking(message) => sent,
    };
    match sent {
        Ok(receipt) => {
            let shared = shared.clone();
            tokio::spawn(async move {
                let result = receipted(&shared, receipt, beat, partition, &health).await;
                drop(places);
                drop(reply.send(result));
            });
        }
        Err(error) => {
            let fault = Fault::of(&error);
            shared.pulse.end(beat, matches!(fault, Fault::Refused(_) | Fault::Forbidden(_) | Fault::Busy(_)));
            health.note(Err(&fault));
            tracing::warn!(topic = producer.topic(), error = fault.text(), "cannot send");
            drop(reply.send(Err(match fault {
                Fault::Refused(text) | Fault::Forbidden(text) | Fault::Busy(text) => {
                    PublishError::Refused(text)
                }
                Fault::Credential(_)
                | Fault::Certificate(_)
                | Fault::Undecodable(_)
                | Fault::TimedOut(_)
                | Fault::Broken(_) => PublishError::Down,
            })));
        }
    }
}

async fn receipted(
    shared: &Shared,
    receipt: SendFuture,
    beat: Beat,
    partition: Option<i32>,
    health: &Health,
) -> Reply {
    // hazard 9: the operation time-out counts from the first send, and when it is over the message may be there all
    // the same. The library says so itself; twice the time is only the guard against it never doing so. A receipt
    // may be abandoned: it is a plain channel.
    let outcome = tokio::select! {
        outcome = receipt => outcome,
        () = tokio::time::sleep(shared.config.operation_timeout * 2) => {
            shared.pulse.end(beat, false);
            health.note(Err(&Fault::TimedOut(String::new())));
            return Err(PublishError::TimedOut);
        }
    };
    match outcome {
        Ok(receipt) => {
            shared.pulse.end(beat, true);
            health.note(Ok(()));
            named(receipt, partition)
        }
        Err(error) => {
            let fault = Fault::of(&error);
            shared.pulse.end(beat, matches!(fault, Fault::Refused(_) | Fault::Forbidden(_) | Fault::Busy(_)));
            health.note(Err(&fault));
            tracing::debug!(error = fault.text(), fault = fault.name(), "no receipt");
            Err(match fault {
                Fault::Refused(text) | Fault::Forbidden(text) => PublishError::Refused(text),
                _ => PublishError::TimedOut,
            })
        }
    }
}

fn named(receipt: CommandSendReceipt, partition: Option<i32>) -> Reply {
    match receipt.message_id {
        // hazard 11: a message that the broker's deduplication threw away is receipted too, with this id.
        Some(id) if id.ledger_id == u64::MAX || id.entry_id == u64::MAX => {
            tracing::error!("the broker's deduplication dropped a message; turn it off for the namespace");
            Err(PublishError::Refused(
                "the broker's deduplication dropped it; turn it off for the namespace".into(),
            ))
        }
        Some(mut id) => {
            id.partition = partition.or(id.partition);
            Ok(MessageId::of(&id))
        }
        None => Err(PublishError::TimedOut),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use pulsar::proto::MessageIdData;

    #[test]
    fn a_deduplicated_message_is_no_success() {
        let id = MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..Default::default() };
        let receipt = CommandSendReceipt { message_id: Some(id), ..Default::default() };
        assert!(matches!(named(receipt, None), Err(PublishError::Refused(_))));
    }

    #[test]
    fn the_partition_is_part_of_the_name() {
        let id = MessageIdData { ledger_id: 1, entry_id: 2, ..Default::default() };
        let receipt = CommandSendReceipt { message_id: Some(id), ..Default::default() };
        assert_eq!(named(receipt, Some(3)).unwrap().as_str(), "1:2:3");
    }

    #[test]
    fn three_silences_in_a_row_condemn_a_producer() {
        let health = Health::default();
        let late = Fault::TimedOut(String::new());
        health.note(Err(&late));
        health.note(Err(&late));
        health.note(Ok(()));
        health.note(Err(&late));
        health.note(Err(&late));
        assert!(!health.is_sick());
        health.note(Err(&late));
        assert!(health.is_sick());
    }
}
