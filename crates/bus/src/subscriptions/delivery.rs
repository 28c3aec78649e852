//! A received message in the hands of the caller.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bridge_protocol::Time;
use bytes::Bytes;
use pulsar::proto::MessageIdData;
use tokio::sync::mpsc;

use super::health::Place;
use crate::message_id::MessageId;

/// A message as it came, unverified. Settle it with [`Delivery::ack`] or [`Delivery::nack`]; one that is dropped
/// without either is delivered again some seconds later, to whoever is subscribed then.
pub struct Delivery {
    /// As received from: with `-partition-N` on a partitioned topic.
    pub topic: Arc<str>,
    pub message_id: MessageId,
    pub body: Bytes,
    /// Written by the producer and never trusted.
    pub properties: HashMap<String, String>,
    pub publish_time: Time,
    receipt: Option<Receipt>,
}

/// The way back to the topic's task.
pub(super) struct Receipt {
    pub(super) id: MessageIdData,
    pub(super) batch_size: Option<i32>,
    pub(super) incarnation: u64,
    /// The place this delivery takes; free again when the topic's task has dealt with the verdict.
    pub(super) place: Place,
    pub(super) verdicts: mpsc::Sender<Settled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Nack,
    Dropped,
}

pub(super) struct Settled {
    pub(super) verdict: Verdict,
    pub(super) id: MessageIdData,
    pub(super) batch_size: Option<i32>,
    pub(super) incarnation: u64,
    pub(super) place: Place,
}

impl Delivery {
    pub(super) fn new(
        topic: Arc<str>,
        body: Bytes,
        properties: HashMap<String, String>,
        publish_time: Time,
        receipt: Receipt,
    ) -> Self {
        let message_id = MessageId::of(&receipt.id);
        Self { topic, message_id, body, properties, publish_time, receipt: Some(receipt) }
    }

    /// The message is done with and will not come again, unless its consumer was lost meanwhile.
    pub fn ack(mut self) {
        self.settle(Verdict::Ack);
    }

    /// Deliver it again, soon.
    pub fn nack(mut self) {
        self.settle(Verdict::Nack);
    }

    fn settle(&mut self, verdict: Verdict) {
        let Some(receipt) = self.receipt.take() else { return };
        let Receipt { id, batch_size, incarnation, place, verdicts } = receipt;
        // The channel is as long as there are permits, and each entry holds one: it is never full. It is closed when
        // the topic has been stopped; the broker then delivers the message again.
        if verdicts.try_send(Settled { verdict, id, batch_size, incarnation, place }).is_err() {
            metrics::counter!("bridge_bus_lost_verdicts_total").increment(1);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.settle(Verdict::Dropped);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("topic", &self.topic)
            .field("message_id", &self.message_id)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
